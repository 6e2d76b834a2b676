// What stays the same over generations of the plan: endpoints, clusters and policies that did not change are the same
// objects with the same numbers in the next one. For the thread that makes plans.
//
// A number is given away again when nothing holds the object that has it: no plan, no worker, no request.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "plait/plan/plan.h"

namespace plait {

// Numbers from 0 on, each given once until it is given back.
class Numbers {
 public:
  explicit Numbers(uint32_t most) : most_(most) {}
  // UINT32_MAX where all are taken.
  uint32_t take();
  void give(uint32_t number);

 private:
  uint32_t most_;
  uint32_t next_ = 0;
  std::vector<uint32_t> free_;  // a heap, the lowest first
};

class PlanIdentities {
 public:
  // Places for endpoints (Limits::endpoints), as many for clusters, and for policies.
  PlanIdentities(uint32_t endpoints, uint32_t policies)
      : endpoint_numbers_(endpoints), cluster_numbers_(endpoints), policy_numbers_(policies) {}

  // The endpoint of that cluster with those options: its number is that of the endpoint with the same protocol, host,
  // port and TLS identity, or a new one; equal options are the same object. Null where every place is taken.
  std::shared_ptr<const BackendOptions> endpoint(const std::string& cluster, const BackendOptions& options);
  // Null where every place is taken.
  std::shared_ptr<const ClusterIdentity> cluster(const std::string& name);
  // The policy that `key` stands for: the one that there is, or what `make` makes. Null where every place is taken.
  std::shared_ptr<const RoutePolicy> policy(const std::string& key,
                                            const std::function<std::shared_ptr<RoutePolicy>()>& make);

  // Equal options are one object, which stays: there are as many as an operator has thought of.
  std::shared_ptr<const ForwardOptions> forward(const ForwardOptions& options);
  // Forgets what nobody holds any more, and in which no request is counted. `holders` says how many requests hold a
  // policy, over all workers.
  void sweep(const std::function<uint32_t(const RoutePolicy&)>& holders);

  // Whether an endpoint with that TLS context is known, which somebody may hold.
  bool names(const TlsContext* tls) const;

  size_t endpointCount() const { return endpoints_.size(); }
  size_t policyCount() const { return policies_.size(); }
  // The memory of all that is known, about: what plans share, and what requests of former ones still hold.
  size_t bytes() const;

 private:
  Numbers endpoint_numbers_;
  Numbers cluster_numbers_;
  Numbers policy_numbers_;
  struct EndpointIdentity {
    uint32_t number = 0;
  };
  struct KnownEndpoint {
    std::shared_ptr<const EndpointIdentity> identity;
    std::shared_ptr<const BackendOptions> options;  // the last
  };
  std::map<std::string, KnownEndpoint> endpoints_;
  // Settings that endpoints had before. A worker may hold them for longer than any plan, for an endpoint that leaves,
  // and is not to free them.
  std::vector<std::shared_ptr<const BackendOptions>> former_options_;
  std::map<std::string, std::shared_ptr<const ClusterIdentity>> clusters_;
  struct KnownPolicy {
    std::shared_ptr<const RoutePolicy> policy;
    size_t bytes = 0;  // with its key
  };
  std::unordered_map<std::string, KnownPolicy> policies_;
  size_t policy_bytes_ = 0;  // of all of them, which are many
  std::map<std::string, std::shared_ptr<const ForwardOptions>> forwards_;
};

// The names of a plan's endpoints, by number; empty where a number is free.
std::vector<std::string> endpointNames(const Plan& plan);

// A plan without routes: one cluster, "default", of these backends, numbered as they stand.
std::shared_ptr<Plan> planOf(std::vector<BackendOptions> backends, std::vector<BackendAuthority> authorities,
                             const PoolTimeouts& pool_timeouts, const ServerTimeouts& server_timeouts,
                             int64_t response_head_ms = 60'000);

}  // namespace plait
