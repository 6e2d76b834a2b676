// What a route does with a request, as functions of the request's head and its client: the proxy does it, and `plait
// explain` says it. Nothing here allocates.
#pragma once

#include <string_view>

#include "plait/base/text_writer.h"
#include "plait/http/message.h"
#include "plait/plan/route_policy.h"
#include "plait/server/exchange.h"

namespace plait {

// Room for a URL and for a target, as they are made.
inline constexpr size_t most_location = 16 << 10;
inline constexpr size_t most_rewritten = 48 << 10;

// By allow and deny; `client` is its numeric address, as trusted proxies name it.
bool isOpenTo(const RoutePolicy& policy, std::string_view client);

// The length that the request says is within limits.body_bytes, or it says none.
bool allowsLength(const RoutePolicy& policy, const http::RequestHead& head);

// The value by which the client stays on its side of a split; empty where the request has none.
std::string_view splitKeyOf(const RoutePolicy& policy, const http::RequestHead& head, std::string_view client);
// The cluster's number of the side that the key belongs to, the same in every process; `key` is not empty.
uint32_t sideOf(const RoutePolicy& policy, std::string_view key);
// Of the side that `drawn` belongs to, a number below the sum of all weights.
uint32_t sideAt(const RoutePolicy& policy, uint32_t drawn);

// The path and query that take the place of `target`, which had a prefix of so many elements: what the prefix has
// matched is replaced, or all of the path; the query stays.
void writeTarget(TextWriter& out, std::string_view target, std::string_view by, bool replaces_prefix,
                 uint32_t elements);

// The authority that a backend is asked for. A view of one of the three.
inline std::string_view authorityFor(const RoutePolicy* policy, std::string_view asked,
                                     const BackendAuthority& backend) {
  if (policy != nullptr && !policy->rewrite_host.empty()) return policy->rewrite_host;
  if (!backend.fixed.empty()) return backend.fixed;
  return asked.empty() ? std::string_view(backend.own) : asked;
}

// The absolute URL of a redirect. False where the request names no host, or it would be too long.
bool writeLocation(TextWriter& out, const RoutePolicy& policy, const http::RequestHead& head, std::string_view scheme,
                   uint32_t elements);

// The request came as plain HTTP through a listener that redirects to HTTPS. A trusted proxy may have said that its own
// client speaks TLS: a redirect would bring that one here again and again.
bool isForHttps(const http::RequestHead& head, const ClientInfo& client, const TrustedProxies& trusted);
// The URL of the same request over HTTPS, at the default port. False where it names no host, or would be too long.
bool writeHttpsLocation(TextWriter& out, const http::RequestHead& head);
inline constexpr uint16_t https_redirect_status = 308;  // the method stays (RFC 9110 §15.4.9)

// What a route's variables stand for in a request. `path` is its target as it came.
route::Variables variablesOf(const http::RequestHead& head, std::string_view authority, std::string_view path,
                             std::string_view client, std::string_view scheme, std::string_view request_id);

}  // namespace plait
