#include "plait/proxy/routing.h"

#include "plait/base/rare.h"
#include "plait/filter/fields.h"
#include "plait/proxy/local_reply.h"
#include "plait/proxy/route_effects.h"

namespace plait {
namespace {

// By weight; the same side for the same key. A request without the key is drawn.
uint32_t sideFor(const ProxyRequest& request, const RoutePolicy& policy, Io& io) {
  if (policy.sides.size() == 1) return policy.sides[0].cluster->number;
  const std::string_view key = splitKeyOf(policy, request.head, request.clientAddress());
  return key.empty() ? sideAt(policy, io.random().below(policy.sides.back().upto)) : sideOf(policy, key);
}

void answerLocation(ProxyRequest& request, bool is_made, uint16_t status, const TextWriter& location,
                    const ForwardOptions& options) {
  if (is_made) return replyRedirect(request, status, location.text(), options);
  replyWith(request, 400, streamError(ErrorCode::bad_target, "the request names no host that it could be sent to"),
            options);
}

void answerRedirect(ProxyRequest& request, const RoutePolicy& policy, const ForwardOptions& options) {
  char location[most_location];
  TextWriter out(location);
  const bool is_made =
      writeLocation(out, policy, request.head, request.exchange.client().scheme(), request.matched_elements);
  answerLocation(request, is_made, policy.status, out, options);
}

}  // namespace

bool redirectToHttps(ProxyRequest& request, const ForwardOptions& options) {
  if (!isForHttps(request.head, request.exchange.client(), options.trusted_proxies)) return false;
  char buffer[most_location];
  TextWriter location(buffer);
  request.is_for_https = true;
  const bool is_made = writeHttpsLocation(location, request.head);
  answerLocation(request, is_made, https_redirect_status, location, options);
  return true;
}

bool chooseRoute(ProxyRequest& request, PlanStore& store, const ForwardOptions& options, Io& io) {
  const route::Choice choice = store.lookup(request.head);
  if (choice.verdict == route::Verdict::refused) {
    replyWith(request, 400, streamError(ErrorCode::bad_target, choice.reason), options);
    return false;
  }
  if (choice.verdict == route::Verdict::none) {
    replyWith(request, 404, streamError(ErrorCode::no_route, "no route leads anywhere for this host and path"),
              options);
    return false;
  }
  const RoutePolicy& policy = *store.current().policies[choice.policy];
  request.policy.hold(store, policy);
  request.matched_elements = static_cast<uint16_t>(choice.elements);
  if (!isOpenTo(policy, request.clientAddress())) {
    PLAIT_RARE("a route denies a client");
    replyWith(request, 403, streamError(ErrorCode::access_denied, "this route is not open to this client"), options);
    return false;
  }
  if (policy.most_requests != 0 && !request.entered_route.enter(policy.requests, policy.most_requests)) {
    replyWith(request, 503,
              streamError(ErrorCode::pool_exhausted, "the route has as many requests as limits.requests allows"),
              options);
    return false;
  }
  if (policy.most_body_bytes && request.exchange.requestBody() != nullptr) {
    if (!allowsLength(policy, request.head)) {
      replyWith(request, 413,
                streamError(ErrorCode::body_too_large, "the request's body is larger than this route allows"), options);
      return false;
    }
    request.exchange.requestBody()->limit(*policy.most_body_bytes);
  }
  switch (policy.action) {
    case RoutePolicy::Action::redirect:
      answerRedirect(request, policy, options);
      return false;
    case RoutePolicy::Action::respond:
      request.is_stored_answer = true;
      return true;
    case RoutePolicy::Action::forward:
      return enterCluster(request, store, sideFor(request, policy, io), options);
  }
  return false;
}

bool enterCluster(ProxyRequest& request, PlanStore& store, uint32_t number, const ForwardOptions& options) {
  Cluster* const cluster = store.clusters().at(number);
  if (cluster == nullptr) {
    replyWith(request, 503,
              streamError(ErrorCode::shutting_down, "the route's cluster has been taken out of the configuration"),
              options);
    return false;
  }
  const ClusterSpec& spec = *cluster->spec();
  if (spec.most_requests != 0 && !request.entered_cluster.enter(spec.identity->requests, spec.most_requests)) {
    replyWith(request, 503,
              streamError(ErrorCode::pool_exhausted, "the cluster has as many requests as its limits.requests allows"),
              options);
    return false;
  }
  request.cluster = cluster;
  request.attempts.budget = &cluster->budget();
  return true;
}

bool rewriteRequest(ProxyRequest& request) {
  const RoutePolicy& policy = *request.policy;
  if (policy.rewrite_path.empty() && policy.rewrite_host.empty() && policy.request_fields.empty()) return true;
  Exchange& exchange = request.exchange;
  if (!policy.request_fields.empty() && !changeRequestFields(exchange, policy.request_fields, request.variables()))
    return false;
  if (!policy.rewrite_host.empty()) request.head.authority = policy.rewrite_host;
  if (policy.rewrite_path.empty() || request.head.path == "*") return true;
  char buffer[most_rewritten];
  TextWriter out(buffer);
  writeTarget(out, request.asked_path, policy.rewrite_path, policy.rewrites_prefix, request.matched_elements);
  if (!out.fits() || !exchange.makeRoom(out.text().size())) return false;
  request.head.path = request.head.fields.keep(out.text());
  return request.head.path.data() != nullptr;
}

}  // namespace plait
