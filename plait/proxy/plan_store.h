// A worker's use of the plan: the present generation, its clusters, and which policies requests still hold.
//
//   prepare() → commit() or undo()    a generation comes in two steps, so that all workers take it or none
//
// A generation is used within a turn only. Across suspensions a request holds its RoutePolicy, counted here and read by
// the control thread, which frees a policy when no plan names it and no worker counts a request with it. Nothing here
// allocates or frees.
#pragma once

#include <atomic>

#include "plait/cluster/cluster_table.h"
#include "plait/limits.h"
#include "plait/plan/plan.h"

namespace plait {

class PlanStore {
 public:
  // Policies that there may be at once, of all generations that are in use.
  static constexpr uint32_t most_policies = 1 << 18;

  // References must outlive the store. `forward` is of plans that do not say. There is no plan yet.
  PlanStore(ConnectionPool& pool, const ForwardOptions& forward, Io& io);

  // `next` must live until another generation has been committed.
  Status prepare(const Plan& next) { return clusters_.prepare(next.clusters); }
  void undo() { clusters_.undo(); }
  // After prepare() with the same plan. `server_timeouts` become the plan's. `scratch` is made for its routes, and must
  // live as long; null where it has none.
  void commit(const Plan& next, route::RouteScratch* scratch, ServerTimeouts& server_timeouts);

  const Plan& current() const { return *current_; }
  ClusterTable& clusters() { return clusters_; }
  const ClusterTable& clusters() const { return clusters_; }
  bool hasRoutes() const { return has_routes_; }
  const TlsContext* sites() const { return sites_; }
  // Of the present generation; good until the process ends.
  const ForwardOptions& forward() const { return *forward_; }
  // Where there are no routes.
  uint32_t onlyCluster() const { return only_cluster_; }
  // The route of a request in the present generation.
  route::Choice lookup(const http::RequestHead& head) const {
    return current_->routes->lookup(route::RequestView::of(head), *scratch_);
  }

  void hold(const RoutePolicy& policy) { count(policy, 1); }
  void letGo(const RoutePolicy& policy) { count(policy, UINT32_MAX); }
  // From any thread: the requests that hold it.
  uint32_t holders(const RoutePolicy& policy) const { return counts()[policy.number].load(std::memory_order_acquire); }

  static size_t bytesFor(const Limits& limits) {
    return most_policies * sizeof(uint32_t) + ClusterTable::bytesFor(limits.endpoints);
  }
  size_t reservedBytes() const { return counts_.size() + clusters_.reservedBytes(); }
  void prefault() { clusters_.prefault(); }

 private:
  std::atomic<uint32_t>* counts() const { return reinterpret_cast<std::atomic<uint32_t>*>(counts_.data()); }
  void count(const RoutePolicy& policy, uint32_t by) {
    // One writer: no read-modify-write is needed.
    std::atomic<uint32_t>& at = counts()[policy.number];
    at.store(at.load(std::memory_order_relaxed) + by, std::memory_order_release);
  }

  ClusterTable clusters_;
  Reservation counts_;  // by RoutePolicy::number
  const Plan* current_ = nullptr;
  route::RouteScratch* scratch_ = nullptr;
  const TlsContext* sites_ = nullptr;
  const ForwardOptions& own_forward_;
  const ForwardOptions* forward_;
  bool has_routes_ = false;
  uint32_t only_cluster_ = 0;
};

// A request's hold on its policy.
class HeldPolicy {
 public:
  HeldPolicy() = default;
  HeldPolicy(const HeldPolicy&) = delete;
  HeldPolicy& operator=(const HeldPolicy&) = delete;
  ~HeldPolicy() {
    if (policy_ != nullptr) store_->letGo(*policy_);
  }
  void hold(PlanStore& store, const RoutePolicy& policy) {
    store_ = &store;
    policy_ = &policy;
    store.hold(policy);
  }
  explicit operator bool() const { return policy_ != nullptr; }
  const RoutePolicy* operator->() const { return policy_; }
  const RoutePolicy& operator*() const { return *policy_; }

 private:
  PlanStore* store_ = nullptr;
  const RoutePolicy* policy_ = nullptr;
};

}  // namespace plait
