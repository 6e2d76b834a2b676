// One immutable generation of what is configured for requests: routes, their policies, and clusters. It is built away
// from the workers (config/compile.h), and each worker uses it through a binding of its own (proxy/plan_store.h).
#pragma once

#include <memory>
#include <vector>

#include "plait/plan/cluster_spec.h"
#include "plait/plan/forward_options.h"
#include "plait/plan/route_policy.h"
#include "plait/route/route_table.h"
#include "plait/server/server_options.h"

namespace plait {

class TlsContext;

struct Plan {
  uint64_t generation = 0;
  // By number; null where a number is free.
  std::vector<std::shared_ptr<const ClusterSpec>> clusters;
  // Null: there are no routes, and everything goes to one cluster.
  std::shared_ptr<const route::RouteTable> routes;
  // The number of that one: any, for a number of a plan before may not be free yet.
  uint32_t only_cluster = 0;
  // By RouteSpec::policy.
  std::vector<std::shared_ptr<const RoutePolicy>> policies;
  // By the endpoints' numbers.
  std::vector<BackendAuthority> authorities;
  // The sites of TLS, which lives as long as the process; null where there are none.
  const TlsContext* sites = nullptr;
  // Kept until the process ends, since requests refer to it. Null: as the worker's options say.
  std::shared_ptr<const ForwardOptions> forward;
  PoolTimeouts pool_timeouts;
  ServerTimeouts server_timeouts;
};

}  // namespace plait
