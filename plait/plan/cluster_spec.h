// A cluster as it was configured: endpoints that can stand for each other. Immutable; generations of the plan share
// those that did not change.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plait/client/pool_options.h"

namespace plait {

// When an endpoint is left out for what it answers (cluster/outlier.h).
struct OutlierOptions {
  bool operator==(const OutlierOptions&) const = default;

  uint32_t failures = 5;  // consecutive strikes that eject
  int64_t eject_ms = 10'000;
  uint32_t max_percent = 50;  // of the endpoints that may be ejected at once, the present one included
};

// The authority that a backend is asked for. SNI and verification use the backend's name all the same.
struct BackendAuthority {
  bool operator==(const BackendAuthority&) const = default;

  std::string fixed;  // sent instead of the client's; empty: the client's is
  std::string own;    // the backend's host and port, for clients that name none (HTTP/1.0)
};

struct EndpointSpec {
  bool operator==(const EndpointSpec&) const = default;

  std::shared_ptr<const BackendOptions> options;  // the endpoint's identity; with its number
  BackendAuthority authority;
};

// Requests of a cluster or a route, over all workers. They are counted where the plan bounds them, and the next
// generation goes on with the same count.
struct RequestCount {
  std::atomic<uint32_t> now{0};
  // False where `most` are there already.
  bool enter(uint32_t most) {
    if (now.fetch_add(1, std::memory_order_relaxed) < most) return true;
    leave();
    return false;
  }
  void leave() { now.fetch_sub(1, std::memory_order_relaxed); }
};

// A cluster over all generations in which its name stands. As long as one of them is in use nothing else gets its
// number.
struct ClusterIdentity {
  std::string name;
  uint32_t number = 0;  // its place in each worker's ClusterTable
  mutable RequestCount requests;
  mutable RequestCount waiting;  // for room
};

struct ClusterSpec {
  bool operator==(const ClusterSpec&) const = default;

  std::shared_ptr<const ClusterIdentity> identity;
  std::vector<EndpointSpec> endpoints;
  OutlierOptions outliers;
  int64_t queue_ms = 5000;
  int64_t response_head_ms = 60'000;
  uint32_t most_requests = 0;            // at once, in the process; 0: no limit
  std::optional<uint32_t> most_waiting;  // for room, in the process; absent: no limit
};

}  // namespace plait
