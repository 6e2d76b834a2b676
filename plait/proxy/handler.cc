#include "plait/proxy/handler.h"

#include "plait/http/field_rules.h"
#include "plait/net/tls.h"
#include "plait/proxy/attempt.h"
#include "plait/proxy/failover.h"
#include "plait/proxy/local_reply.h"
#include "plait/proxy/routing.h"
#include "plait/route/host_table.h"

namespace plait {

namespace {

// The request's body is there, or will be soon: it is short enough to be kept for a repetition.
bool isSmall(const Exchange& exchange, const PoolLimits& limits) {
  const http::Pipe* body = exchange.requestBody();
  if (body == nullptr || exchange.request().content_length <= limits.replay_bytes_per_request) return true;
  return body->isEnded() && body->totalBytes() <= limits.replay_bytes_per_request;
}

// The request came over TLS that was made for a site with other demands (RFC 9110 §15.5.20). A request that names no
// host is one for the site that the handshake named.
bool isMisdirected(ProxyRequest& request, const TlsContext& sites) {
  const TlsSession* const tls = request.exchange.tls();
  char buffer[route::max_host];
  const std::string_view host = route::normalHost(request.head.authority, buffer);
  if (tls == nullptr || request.head.authority.empty() || !sites.isMisdirected(*tls, host)) return false;
  // The demands of its own site may have changed since the handshake: then only a new one helps.
  if (&tls->context() != &sites) request.exchange.drainConnection();
  return true;
}

}  // namespace

Task<void> ProxyHandler::handle(Exchange& exchange, Io& io) {
  ProxyRequest request(exchange);
  if (!admit(request, io)) {
    finish(request, io);
    co_return;
  }
  if (request.is_stored_answer) {
    if (Task<void> reply = replyStored(request, options(), blocks_, io)) {
      co_await std::move(reply);
    } else {
      // No coroutine frame is left.
      replyWith(request, 503, streamError(ErrorCode::no_memory, "no memory is left for the answer"), options());
    }
  } else {
    Failover failover(request, store_, io);
    while (!failover.isOver()) {
      if (failover.choose()) {
        failover.tried(noteTry(request, co_await attempt(request, pool_, request.choice.endpoint, io)));
      } else if (!failover.isOver()) {
        failover.waited(co_await failover.room());
      }
    }
    if (failover.outcome()) {
      request.is_complete = true;
    } else {
      answerFailure(request, failover.outcome().error(), io);
    }
  }
  if (http::Pipe* body = exchange.requestBody()) {
    body->cancel(streamError(ErrorCode::cancelled, "the response is complete"));
  }
  finish(request, io);
}

// A request that may go no further is answered here (RFC 9110 §7.6.2).
bool ProxyHandler::mayGoFurther(ProxyRequest& request) {
  if (hasUsedUpMaxForwards(request.head)) {
    if (request.head.method != "OPTIONS") {
      replyWith(request, 501, streamError(ErrorCode::not_served, "this proxy answers no TRACE"), options());
      return false;
    }
    replyWith(request, 200, {}, options());
    return false;
  }
  if (isForwardingLoop(request.head)) {
    replyWith(request, 508,
              streamError(ErrorCode::forwarding_loop, "this request comes round to this proxy again and again"),
              options());
    return false;
  }
  return true;
}

bool ProxyHandler::admit(ProxyRequest& request, Io& io) {
  Exchange& exchange = request.exchange;
  // The client cancelled before anything was done: nothing is sent to a backend.
  if (exchange.cancelToken().isCancelled()) return false;
  if (request.head.method == "CONNECT") {
    replyWith(request, 501, streamError(ErrorCode::not_served, "this proxy takes no CONNECT"), options());
    return false;
  }
  static constexpr http::FieldNameSet counting_hops{http::FieldName::max_forwards, http::FieldName::via};
  if (request.head.fields.containsAny(counting_hops) && !mayGoFurther(request)) return false;
  if (!options().trusted_proxies.empty())
    request.real_client = realClientOf(exchange.request(), exchange.client(), options());
  request.options.claim.client = clientKeyOf(exchange.client(), request.real_client);
  if (options().request_id.value_or(log_ != nullptr)) {
    adoptRequestId(exchange, options());
    (void)exchange.requestId();
  }
  if (exchange.client().redirects_https && redirectToHttps(request, options())) [[unlikely]]
    return false;
  if (store_.sites() != nullptr && isMisdirected(request, *store_.sites())) {
    replyWith(request, 421,
              streamError(ErrorCode::misdirected,
                          "this connection was made for a site that asks its clients for something else"),
              options());
    return false;
  }
  if (!store_.hasRoutes())
    return enterCluster(request, store_, store_.onlyCluster(), options()) && prepare(request, io);
  if (!chooseRoute(request, store_, options(), io)) return false;
  return request.is_stored_answer || prepare(request, io);
}

bool ProxyHandler::prepare(ProxyRequest& request, Io& io) {
  Exchange& exchange = request.exchange;
  if (!prepareRequest(exchange, options())) {
    replyWith(request, 503, streamError(ErrorCode::no_memory, "no memory is left for the request's fields"), options());
    return false;
  }
  if (const Status told = addClientCertificate(exchange, options()); !told) {
    replyWith(request, told.error().code == ErrorCode::no_memory ? 503 : 431, told.error(), options());
    return false;
  }
  if (request.policy && !rewriteRequest(request)) {
    replyWith(request, 503, streamError(ErrorCode::no_memory, "no memory is left for the request's fields"), options());
    return false;
  }
  request.wish.is_tunnel = !request.head.protocol.empty();
  request.is_compared = !request.cluster->isAlone();
  request.wish.suits_trial =
      request.is_compared && exchange.requestBody() == nullptr && http::isIdempotent(request.head.method);
  request.options.claim.is_small = isSmall(exchange, pool_.limits());
  CancelToken* cancel = &exchange.cancelToken();
  if (request.policy) {
    const RoutePolicy& policy = *request.policy;
    request.attempts.most_retries = policy.most_retries.value_or(UINT32_MAX);
    request.attempts.may_repeat_unknown = policy.repeats_unknown;
    request.options.idle_ms = policy.idle_ms;
    if (policy.total_ms != 0) {
      request.total = TotalTimeout::make(exchange, policy.total_ms, io);
      if (request.total == nullptr) {
        replyWith(request, 503, streamError(ErrorCode::no_memory, "no memory is left for the request's time limit"),
                  options());
        return false;
      }
      cancel = &request.total->token();
    }
  }
  request.options.wanted_with_head = exchange.hotMemory();
  request.options.cancel = cancel;
  request.options.interim = &request;
  request.options.body = exchange.requestBody();
  request.options.attempts = &request.attempts;
  // A tunnel's bytes begin after its request has been answered: there is nothing to repeat.
  if (request.body() != nullptr && !request.wish.is_tunnel) {
    request.body()->enableReplay(pool_.replayBudget(), pool_.limits().replay_bytes_per_request);
  }
  return true;
}

EndpointCounters& ProxyHandler::countersOf(EndpointId endpoint) {
  return endpoint.number < endpoints_.size() ? endpoints_[endpoint.number] : counters_.nowhere;
}

const Result<Outcome>& ProxyHandler::noteTry(const ProxyRequest& request, const Result<Outcome>& outcome) {
  if (outcome) return outcome;
  // A client that leaves or sends too much, and a route that adds too much, say nothing about the endpoint, and that it
  // had no room was no try.
  const ErrorCode code = outcome.error().code;
  if (!request.isCancelled() && code != ErrorCode::pool_exhausted && code != ErrorCode::body_too_large &&
      code != ErrorCode::fields_too_large)
    countersOf(request.choice.endpoint).failures[static_cast<size_t>(code)] += 1;
  return outcome;
}

void ProxyHandler::answerFailure(ProxyRequest& request, const Error& error, Io& io) {
  Exchange& exchange = request.exchange;
  if (exchange.cancelToken().isCancelled()) {
    request.cause = exchange.cancelToken().error();
    return;
  }
  request.cause = error;
  replyToFailure(request, error, options(), pool_);
  // What the client has done is no failure of a backend.
  if (observer_ == nullptr || error.code == ErrorCode::body_too_large) return;
  const std::string_view id = exchange.hasRequestId() ? exchange.requestId() : std::string_view();
  observer_->onRequestFailed(request.choice.endpoint, exchange.isOwnAnswer() ? statusOf(error) : 0, error,
                             request.cause_after_ns, id, io.nowNs());
}

void ProxyHandler::finish(ProxyRequest& request, Io& io) {
  Exchange& exchange = request.exchange;
  const http::RequestHead& head = exchange.request();
  const uint16_t status = exchange.status();
  if (request.cause.code == ErrorCode::fields_too_large) counters_.fields_too_large += 1;
  counters_.responses[status < 600 ? status / 100 : 0] += 1;
  if (!request.is_complete) counters_.responses_incomplete += 1;
  if (http::Pipe* body = exchange.requestBody()) counters_.body_bytes_in += body->totalBytes();
  counters_.body_bytes_out += exchange.responseBytes();
  if (const auto grpc = exchange.grpcStatus()) {
    (exchange.isOwnAnswer() ? counters_.grpc_own : counters_.grpc_from_backends)[*grpc] += 1;
  }
  EndpointCounters& endpoint = countersOf(request.choice.endpoint);
  endpoint.duration.add(io.nowNs() - exchange.startedNs());
  endpoint.responses[!exchange.isOwnAnswer() && status < 600 ? status / 100 : 0] += 1;
  // A client that left, or was given up, before anything was done.
  if (!request.is_complete && request.cause.code == ErrorCode::none) request.cause = exchange.cancelToken().error();
  if (log_ != nullptr) {
    AccessRecord record;
    record.started_ns = exchange.startedNs();
    record.ended_ns = io.nowNs();
    record.bytes = exchange.responseBytes();
    record.endpoint = request.choice.endpoint;
    record.status = status;
    record.version = head.version;
    record.retries = request.attempts.retries;
    record.retry_class = request.attempts.last;
    record.is_complete = request.is_complete;
    record.grpc_status = exchange.grpcStatus();
    record.cause = request.cause;
    record.cause_after_ns = request.cause_after_ns;
    if (request.policy) record.route = request.policy->name;
    if (request.is_for_https) record.route = https_redirect_name;
    record.client = exchange.client().address();
    record.real_client = request.real_client;
    record.request_id = exchange.hasRequestId() ? exchange.requestId() : std::string_view();
    record.method = head.method;
    record.authority = request.asked_authority;
    record.path = request.asked_path;
    record.referer = head.fields.value(http::FieldName::referer);
    record.user_agent = head.fields.value(http::FieldName::user_agent);
    log_->push(record);
  }
  // It listens to the exchange's token, and the exchange may be gone with its end.
  request.total.reset();
  exchange.end();
}

uint64_t ProxyHandler::addressOf(const http::RequestHead& request, const ClientInfo& client) const {
  return clientKeyOf(client, realClientOf(request, client, options())).address;
}

uint64_t ProxyHandler::addressOf(const ClientInfo& client) const {
  const bool speaks_for_many =
      !options().trusted_proxies.empty() && options().trusted_proxies.contains(client.address());
  return speaks_for_many ? 0 : client.address_number;
}

void ProxyHandler::onRejected(const Rejection& rejection) {
  counters_.responses[rejection.status / 100] += 1;
  counters_.body_bytes_out += rejection.bytes;
  if (log_ == nullptr) return;
  AccessRecord record;
  record.started_ns = rejection.started_ns;
  record.ended_ns = pool_.io().nowNs();
  record.status = rejection.status;
  record.version = rejection.request.version;
  record.bytes = rejection.bytes;
  record.is_complete = rejection.status != 0;
  record.cause = rejection.error;
  record.request_id = rejection.request_id;
  record.client = rejection.client.address();
  record.method = rejection.request.method;
  record.authority = rejection.request.authority;
  record.path = rejection.request.path;
  log_->push(record);
}

}  // namespace plait
