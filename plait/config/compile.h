// From a Config to a plan: clusters, routes and their policies. Reads the files that routes name.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "plait/config/config.h"
#include "plait/plan/identities.h"
#include "plait/plan/plan.h"

namespace plait {

struct CompileTools {
  PlanIdentities& identities;
  SipKey key;                    // of the process, for the table of hosts
  const Plan* before = nullptr;  // the present one: parts that did not change are used again
  // What is found outside, for one backend: its TLS context, and whether its name cannot be resolved now.
  std::function<void(const BackendConfig& backend, BackendOptions& out)> look;
};

struct CompiledPlan {
  std::shared_ptr<Plan> plan;
  std::vector<route::RouteSpec> specs;  // one for each of Config::routes
  bool has_tls_backends = false;
};

// Every mistake that can be found, each with its place; then the plan may be incomplete.
std::vector<ConfigError> compile(const Config& config, const CompileTools& tools, CompiledPlan& out);

}  // namespace plait
