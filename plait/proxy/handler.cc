#include "plait/proxy/handler.h"

#include "plait/base/rare.h"
#include "plait/io/sync.h"

namespace plait {

// The heart of plait: one request to one backend. Stale connections, GOAWAY and refused streams are the pool's affair.
Task<Result<Outcome>> proxyHttp2(ProxyRequest& request, ConnectionPool& pool, uint32_t backend_idx, Io& io) {
  auto lease = co_await pool.getOrCreate(backend_idx, io, request.options.cancel);
  if (!lease) co_return fail(lease.error());
  auto response = co_await (*lease)->request(request.head, request.options, io);
  pool.release(*lease, response || !response.error().reachesConnection(), io);
  if (!response) co_return fail(response.error());
  co_return co_await forwardResponse(request.exchange, *response);
}

namespace {

bool mayTryAnotherBackend(const Error& error) {
  return error.reach == Reach::backend;
}

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

std::string_view textOf(uint16_t status) {
  switch (status) {
    case 503:
      return "no backend has room for this request\n";
    case 504:
      return "the backend did not answer in time\n";
    default:
      return "the backend could not be reached or broke off\n";
  }
}

}  // namespace

Task<void> ProxyHandler::handle(Exchange& exchange, Io& io) {
  ProxyRequest request(exchange);
  // Taken back before it was looked at: no backend hears of it.
  if (exchange.cancelToken().isCancelled()) {
    finish(request, io);
    co_return;
  }
  if (exchange.request().method == "CONNECT") {
    exchange.respondError(501, "this proxy takes no CONNECT\n");
    request.is_complete = exchange.isHeadSent();
    finish(request, io);
    co_return;
  }
  // A request that may go no further is answered here (RFC 9110 §7.6.2).
  if (isLastHop(exchange.request())) {
    if (exchange.request().method == "OPTIONS") {
      exchange.respond(200, "text/plain; charset=utf-8", {});
    } else {
      exchange.respondError(501, "this proxy answers no TRACE\n");
    }
    request.is_complete = exchange.isHeadSent();
    finish(request, io);
    co_return;
  }
  if (goesRound(exchange.request(), pool_.limits().hops_through_plait)) {
    exchange.respondError(508, "this request comes round to this proxy again and again\n");
    request.is_complete = exchange.isHeadSent();
    finish(request, io);
    co_return;
  }
  if (!prepareRequest(exchange, options_)) {
    exchange.respondError(503, textOf(503));
    request.is_complete = exchange.isHeadSent();
    finish(request, io);
    co_return;
  }
  request.options.wanted_with_head = exchange.hotMemory();
  request.options.deadline_ns = io.nowNs() + response_head_ms_ * ns_per_ms;
  request.options.cancel = &exchange.cancelToken();
  request.options.interim = &request;
  request.options.body = exchange.requestBody();
  request.options.retries = &request.retries;
  request.options.retry_class = &request.retry_class;
  request.options.unknown_retried = &request.unknown_retried;
  request.options.head_timeout_ms = response_head_ms_;
  // What goes through a tunnel begins after its request has been answered: there is nothing to repeat.
  if (request.options.body != nullptr && request.head.protocol.empty()) {
    request.options.body->enableReplay(pool_.replayBudget(), pool_.limits().replay_bytes_per_request);
  }
  const TimeNs give_up_ns = io.nowNs() + pool_.timeouts().queue_ms * ns_per_ms;
  Result<Outcome> outcome = fail(backendError(ErrorCode::connect_failed, "no backend was tried"));
  // Round robin over the backends that answer; one that cannot be reached passes the request to the next. When none
  // can, the request waits for the first that may be tried again.
  while (true) {
    TimeNs retry_at_ns = never_ns;
    for (uint32_t i = 0; i < pool_.backendCount(); ++i) {
      const uint32_t backend_idx = next_++ % pool_.backendCount();
      if (pool_.retryAt(backend_idx) > io.nowNs() && pool_.readyConnections(backend_idx) == 0) {
        retry_at_ns = std::min(retry_at_ns, pool_.retryAt(backend_idx));
        continue;
      }
      request.backend_idx = backend_idx;
      chooseAuthority(request.asked_authority, options_, backend_idx, request.head);
      outcome = co_await proxyHttp2(request, pool_, backend_idx, io);
      // Whoever has waited in a full backend's line has waited long enough.
      if (outcome || !mayTryAnotherBackend(outcome.error()) || outcome.error().code == ErrorCode::pool_exhausted) break;
      retry_at_ns = std::min(retry_at_ns, pool_.retryAt(backend_idx));
      if (request.options.body != nullptr) {
        if (!request.options.body->canReplay()) break;
        PLAIT_RARE("a body goes to another backend");
        request.options.body->rewind();
      }
    }
    if (outcome || !mayTryAnotherBackend(outcome.error()) || outcome.error().code == ErrorCode::pool_exhausted) break;
    if (exchange.cancelToken().isCancelled()) break;
    if (request.options.body != nullptr && !request.options.body->canReplay()) break;
    if (retry_at_ns == never_ns || retry_at_ns >= give_up_ns) break;
    PLAIT_RARE("a request waits for a backend that is down");
    co_await sleepUntil(std::max(retry_at_ns, io.nowNs() + ns_per_ms), io);
  }
  if (!outcome && !exchange.cancelToken().isCancelled()) {
    const uint16_t status = statusOf(outcome.error());
    const bool is_broken_off = exchange.isHeadSent();
    exchange.respondError(status, textOf(status));
    request.is_complete = !is_broken_off && exchange.isHeadSent();
  }
  if (request.options.body != nullptr) {
    request.options.body->cancel(streamError(ErrorCode::cancelled, "the response is complete"));
  }
  if (outcome) request.is_complete = outcome->is_complete;
  finish(request, io);
}

void ProxyHandler::finish(ProxyRequest& request, Io& io) {
  Exchange& exchange = request.exchange;
  const http::RequestHead& head = exchange.request();
  const uint16_t status = exchange.status();
  counters_.responses[status < 600 ? status / 100 : 0] += 1;
  if (!request.is_complete) counters_.responses_incomplete += 1;
  if (http::Pipe* body = exchange.requestBody()) counters_.body_bytes_in += body->totalBytes();
  counters_.body_bytes_out += exchange.responseBytes();
  counters_.duration.add(io.nowNs() - exchange.startedNs());
  if (log_ != nullptr) {
    AccessRecord record;
    record.started_ns = exchange.startedNs();
    record.ended_ns = io.nowNs();
    record.bytes = exchange.responseBytes();
    record.backend_idx = request.backend_idx;
    record.status = status;
    record.version = head.version;
    record.retries = request.retries;
    record.retry_class = request.retry_class;
    record.is_complete = request.is_complete;
    record.client = exchange.client().address();
    record.method = head.method;
    record.authority = request.asked_authority;
    record.path = head.path;
    record.referer = head.fields.value(http::FieldName::referer);
    record.user_agent = head.fields.value(http::FieldName::user_agent);
    log_->push(record);
  }
  exchange.end();
}

void ProxyHandler::onRejected(const Rejection& rejection) {
  counters_.responses[rejection.status / 100] += 1;
  if (log_ == nullptr) return;
  AccessRecord record;
  record.started_ns = rejection.started_ns;
  record.ended_ns = pool_.io().nowNs();
  record.status = rejection.status;
  record.version = rejection.request.version;
  record.client = rejection.client.address();
  record.method = rejection.request.method;
  record.authority = rejection.request.authority;
  record.path = rejection.request.path;
  log_->push(record);
}

}  // namespace plait
