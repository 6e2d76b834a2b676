#include "plait/proxy/local_reply.h"

#include <charconv>
#include <cstdio>

#include "plait/base/rare.h"
#include "plait/client/endpoint.h"
#include "plait/filter/fields.h"
#include "plait/http/grpc.h"
#include "plait/proxy/proxy_status.h"

namespace plait {

using http::FieldName;

uint16_t statusOf(const Error& error) {
  if (error.isOwnShortage()) return 503;
  switch (error.code) {
    case ErrorCode::body_too_large:
      return 413;
    case ErrorCode::deadline_exceeded:
    case ErrorCode::connect_timeout:
      return 504;
    case ErrorCode::pool_exhausted:
    case ErrorCode::shutting_down:
      return 503;
    default:
      return 502;
  }
}

namespace {

std::string_view textOf(uint16_t status) {
  switch (status) {
    case 503:
      return "no backend has room for this request";
    case 504:
      return "the backend did not answer in time";
    default:
      return "the backend could not be reached or broke off";
  }
}

Error noMemory() {
  return streamError(ErrorCode::no_memory, "no memory is left for the answer");
}

// For the log. A client that has left is its own cause.
void noteEnd(ProxyRequest& request, bool is_complete, const Error& cause) {
  request.is_complete = is_complete;
  if (!is_complete && !request.exchange.cancelToken().isCancelled()) request.cause = cause;
}

void replyNoMemory(ProxyRequest& request) {
  request.cause = noMemory();
  request.exchange.respondError(503, "no memory is left for the answer\n");
  request.is_complete = request.exchange.isHeadSent();
}

// The route's fields, and a page of its own for the status, if it has one and the client has room for it now.
void answerWith(ProxyRequest& request, const OwnAnswer& answer) {
  Exchange& exchange = request.exchange;
  const RoutePolicy* policy = request.policy ? &*request.policy : nullptr;
  const StoredBody* page = nullptr;
  if (policy != nullptr) {
    for (const RoutePolicy::ErrorPage& one : policy->error_pages) {
      if (one.status == answer.status) page = &one.body;
    }
  }
  const bool is_page_fit = page != nullptr && exchange.hasRoomForBody(page->text.size());
  if (policy == nullptr || exchange.isHeadSent() || (!is_page_fit && !policy->changesResponse()))
    return exchange.respondError(answer);
  // As respondError does: an answer that the client has no room for would be broken off.
  OwnAnswer told = answer;
  if (!is_page_fit && !exchange.hasRoomForBody(WrittenAnswer::most_body)) told.text = {};
  const WrittenAnswer written(told, exchange.request(), exchange.requestId());
  http::ResponseHead head = written.head();
  std::string_view body = written.body();
  char length[24];
  alignas(8) uint8_t memory[4096];
  if (is_page_fit && !http::isGrpc(exchange.request().fields.value(FieldName::content_type))) {
    http::FieldList fields(memory);
    for (const http::Field field : head.fields) {
      if (field.id != FieldName::content_type && field.id != FieldName::content_length)
        fields.add(field.name, field.value, field.id);
    }
    const auto end = std::to_chars(length, length + sizeof(length), page->text.size()).ptr;
    fields.add("content-type", page->content_type, FieldName::content_type);
    fields.add("content-length", {length, end}, FieldName::content_length);
    head.fields = fields;
    head.content_length = page->text.size();
    body = page->text;
  }
  ChangedHead changed(exchange.headerSlab());
  // Better without what the route adds than no answer at all.
  if (!changed.make(head, policy->response_fields, policy->hstsFor(exchange.client().is_tls), request.variables()))
    return exchange.respondError(answer);
  if (exchange.respondWith(changed.head(), body)) exchange.noteGrpcStatus(changed.head().fields);
}

}  // namespace

void replyToFailure(ProxyRequest& request, const Error& error, const ForwardOptions& options, ConnectionPool& pool) {
  Exchange& exchange = request.exchange;
  const bool was_head_sent = exchange.isHeadSent();
  const bool may_client_repeat = verdictOn(error, request.head.method) == Verdict::unprocessed && !request.canReplay();
  if (!was_head_sent && may_client_repeat && request.head.version == http::Version::http_2) {
    PLAIT_RARE("a client is told that its request was not processed");
    exchange.abort(streamError(ErrorCode::refused_stream, error.reason));
    return;
  }
  const uint16_t status = statusOf(error);
  OwnAnswer answer{.status = status, .text = textOf(status), .error = proxyErrorOf(error)};
  // A bound that an operator can raise is named, and what nobody's backend has done.
  if (error.isOwnShortage() || error.code == ErrorCode::shutting_down || error.code == ErrorCode::body_too_large)
    answer.text = error.reason;
  char details[256];
  if (!was_head_sent && options.trusted_proxies.contains(exchange.client().address())) {
    const int64_t after_ms = request.cause_after_ns / ns_per_ms;
    const int size = std::snprintf(details, sizeof(details), "%s: %s, after %lld ms", errorCodeName(error.code),
                                   error.reason, static_cast<long long>(after_ms));
    answer.details = {details, static_cast<size_t>(std::min<int>(size, sizeof(details) - 1))};
    if (const Endpoint* endpoint = pool.find(request.choice.endpoint)) answer.next_hop = endpoint->options->name;
  }
  adoptRequestId(exchange, options);
  answerWith(request, answer);
  request.is_complete = !was_head_sent && exchange.isHeadSent();
}

namespace {

// gRPC knows neither redirects nor other statuses, and no content but messages. False for any other request.
bool replyToGrpc(ProxyRequest& request, uint16_t status, std::string_view text, const ForwardOptions& options) {
  Exchange& exchange = request.exchange;
  if (!http::isGrpc(exchange.request().fields.value(FieldName::content_type))) return false;
  adoptRequestId(exchange, options);
  answerWith(request, {.status = status, .text = text, .error = proxyErrorOf({})});
  request.is_complete = exchange.isHeadSent();
  return true;
}

}  // namespace

void replyRedirect(ProxyRequest& request, uint16_t status, std::string_view location, const ForwardOptions& options) {
  Exchange& exchange = request.exchange;
  if (replyToGrpc(request, status, "the request is redirected, which gRPC does not follow", options)) return;
  alignas(8) uint8_t memory[20 << 10];
  http::ResponseHead head;
  head.status = status;
  head.fields = http::FieldList(memory);
  head.content_length = 0;
  head.fields.add("location", location, FieldName::location);
  head.fields.add("content-length", "0", FieldName::content_length);
  ChangedHead changed(exchange.headerSlab());
  if (request.policy) {
    if (const Status made = changed.make(head, request.policy->response_fields,
                                         request.policy->hstsFor(exchange.client().is_tls), request.variables());
        !made)
      return replyWith(request, statusOf(made.error()), made.error(), options);
  }
  exchange.respondWith(request.policy ? changed.head() : head, {});
  noteEnd(request, exchange.isHeadSent(), noMemory());
}

Task<void> replyStored(ProxyRequest& request, const ForwardOptions& options, BlockSlab& blocks, Io&) {
  Exchange& exchange = request.exchange;
  const RoutePolicy& policy = *request.policy;
  const StoredBody& body = policy.body;
  const bool is_text = body.content_type.starts_with("text/plain");
  if (replyToGrpc(request, policy.status, is_text ? std::string_view(body.text) : "", options)) co_return;
  const bool may_have_body = policy.status != 204 && policy.status != 304;
  alignas(8) uint8_t memory[1024];
  char length[24];
  http::ResponseHead head;
  head.status = policy.status;
  head.fields = http::FieldList(memory);
  if (may_have_body) {
    const auto end = std::to_chars(length, length + sizeof(length), body.text.size()).ptr;
    head.content_length = body.text.size();
    if (!body.text.empty()) head.fields.add("content-type", body.content_type, FieldName::content_type);
    head.fields.add("content-length", {length, end}, FieldName::content_length);
  }
  ChangedHead changed(exchange.headerSlab());
  if (const Status made =
          changed.make(head, policy.response_fields, policy.hstsFor(exchange.client().is_tls), request.variables());
      !made) {
    replyWith(request, statusOf(made.error()), made.error(), options);
    co_return;
  }
  const bool has_body = may_have_body && !body.text.empty() && exchange.request().method != "HEAD";
  if (!has_body || exchange.hasRoomForBody(body.text.size())) {
    noteEnd(request, exchange.respondWith(changed.head(), has_body ? std::string_view(body.text) : ""), noMemory());
    co_return;
  }
  http::Pipe pipe(blocks, exchange.headerSlab());
  if (!pipe.push(asBytes(body.text), true)) {
    replyNoMemory(request);
  } else if (exchange.sendHead(changed.head(), false)) {
    exchange.noteOwnAnswer();
    const Status relayed = co_await exchange.relay(pipe);
    noteEnd(request, relayed.has_value(), relayed ? noMemory() : relayed.error());
  } else {
    noteEnd(request, false, noMemory());
  }
}

void replyWith(ProxyRequest& request, uint16_t status, const Error& cause, const ForwardOptions& options) {
  request.cause = cause;
  adoptRequestId(request.exchange, options);
  answerWith(request, {.status = status, .text = cause.reason, .error = proxyErrorOf(cause)});
  request.is_complete = request.exchange.isHeadSent();
}

}  // namespace plait
