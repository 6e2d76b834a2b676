#include "plait/proxy/plan_store.h"

namespace plait {

PlanStore::PlanStore(ConnectionPool& pool, const ForwardOptions& forward, Io& io)
    : clusters_(pool, io),
      counts_(most_policies * sizeof(std::atomic<uint32_t>)),
      own_forward_(forward),
      forward_(&forward) {
  static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));
}

void PlanStore::commit(const Plan& next, route::RouteScratch* scratch, ServerTimeouts& server_timeouts) {
  clusters_.pool().setTimeouts(next.pool_timeouts);
  server_timeouts = next.server_timeouts;
  clusters_.commit(next.clusters);
  current_ = &next;
  scratch_ = scratch;
  sites_ = next.sites;
  forward_ = next.forward != nullptr ? next.forward.get() : &own_forward_;
  has_routes_ = next.routes != nullptr;
  only_cluster_ = next.only_cluster;
}

}  // namespace plait
