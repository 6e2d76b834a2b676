// Endpoint after endpoint, each once, until one answers. Not a coroutine itself, so that a request that waits for its
// backend holds two frames: the handler's and the attempt's.
//
//   Failover failover(request, store, io);
//   while (!failover.isOver()) {
//     if (failover.choose()) failover.tried(co_await attempt(…));
//     else failover.waited(co_await failover.room());
//   }
#pragma once

#include "plait/proxy/forward.h"
#include "plait/proxy/proxy_request.h"

namespace plait {

class Failover {
 public:
  // `request.cluster` is chosen. References must outlive the object.
  Failover(ProxyRequest& request, PlanStore& store, Io& io)
      : request_(request), cluster_(*request.cluster), store_(store), io_(io), spot_(cluster_, request.wish) {}

  bool isOver() const { return is_over_; }
  // Of the last try; pool_exhausted, or why no backend can be reached, where none was had in time. Once it is over.
  const Result<Outcome>& outcome() const { return outcome_; }

  // Takes an endpoint for the next try, which begins in this turn: request.choice. False where none has room.
  bool choose();
  // Goes on to another endpoint where the failure allows it (client/retry.h).
  void tried(const Result<Outcome>& outcome) {
    if (!outcome || !cluster_.isAlone()) return judge(outcome);
    outcome_ = outcome;
    end();
  }
  // Waits in the cluster's line, for queue_ms at most.
  Cluster::WaitAwaiter room();
  void waited(const Status& room);

 private:
  void judge(const Result<Outcome>& outcome);
  void end() { is_over_ = true; }
  int64_t headMs() const;

  ProxyRequest& request_;
  Cluster& cluster_;
  PlanStore& store_;
  Io& io_;
  Cluster::Spot spot_;
  Result<Outcome> outcome_ = fail(Error());
  TimeNs begun_ns_ = 0;           // the present try
  TimeNs give_up_ns_ = never_ns;  // while it waits for an endpoint
  Entered waits_;                 // among those that the cluster lets wait
  bool is_line_full_ = false;
  bool must_wait_ = false;  // before it is worth choosing again
  bool is_over_ = false;
};

}  // namespace plait
