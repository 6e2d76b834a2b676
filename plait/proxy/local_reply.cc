#include "plait/proxy/local_reply.h"

#include <cstdio>

#include "plait/base/rare.h"
#include "plait/client/endpoint.h"
#include "plait/proxy/proxy_status.h"

namespace plait {
uint16_t statusOf(const Error& error) {
  switch (error.code) {
    case ErrorCode::deadline_exceeded:
    case ErrorCode::connect_timeout:
      return 504;
    case ErrorCode::pool_exhausted:
    case ErrorCode::no_memory:
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
  // A bound that an operator can raise is named.
  if (error.code == ErrorCode::no_memory) answer.text = error.reason;
  char details[256];
  if (!was_head_sent && options.trusted_proxies.contains(exchange.client().address())) {
    const int64_t after_ms = request.cause_after_ns / ns_per_ms;
    const int size = std::snprintf(details, sizeof(details), "%s: %s, after %lld ms", errorCodeName(error.code),
                                   error.reason, static_cast<long long>(after_ms));
    answer.details = {details, static_cast<size_t>(std::min<int>(size, sizeof(details) - 1))};
    if (const Endpoint* endpoint = pool.find(request.choice.endpoint)) answer.next_hop = endpoint->options.name;
  }
  adoptRequestId(exchange, options);
  exchange.respondError(answer);
  request.is_complete = !was_head_sent && exchange.isHeadSent();
}

void replyWith(ProxyRequest& request, uint16_t status, const Error& cause, const ForwardOptions& options) {
  request.cause = cause;
  adoptRequestId(request.exchange, options);
  request.exchange.respondError({.status = status, .text = cause.reason, .error = proxyErrorOf(cause)});
  request.is_complete = request.exchange.isHeadSent();
}

}  // namespace plait
