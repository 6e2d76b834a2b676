// Which route a request takes, and what the route does to it before it goes anywhere.
#pragma once

#include "plait/plan/forward_options.h"
#include "plait/proxy/plan_store.h"
#include "plait/proxy/proxy_request.h"

namespace plait {

// Finds the request's route in the present generation and lets it through, or answers it: 400 for a path that can be
// read in several ways, 404 without a route, 403 by allow and deny, 413 and 503 by limits, redirects. False where it
// has been answered. The policy is held from then on, and `request.cluster` is chosen where it goes to one.
bool chooseRoute(ProxyRequest& request, PlanStore& store, const ForwardOptions& options, Io& io);

// Answers a request that its listener sends to HTTPS: 308. False where it is none of those.
bool redirectToHttps(ProxyRequest& request, const ForwardOptions& options);

// Path, host and fields as the route changes them, after plait's own have been added. False where no memory is left.
bool rewriteRequest(ProxyRequest& request);

// The cluster of a request that takes no route, or whose route has chosen it: false where it takes no more requests, or
// has gone, and the request has been answered.
bool enterCluster(ProxyRequest& request, PlanStore& store, uint32_t number, const ForwardOptions& options);

}  // namespace plait
