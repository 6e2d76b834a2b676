// Joins a client's exchange with the backends: admit → serve by the cluster → finish.
#pragma once

#include <span>

#include "plait/cluster/cluster.h"
#include "plait/proxy/access_ring.h"
#include "plait/proxy/figures.h"
#include "plait/proxy/forward.h"
#include "plait/proxy/proxy_request.h"

namespace plait {

// Hears of every request that failed and was not given up by its client.
class RequestObserver {
 public:
  // `status`: of plait's own answer; 0 where a response broke off, or a client was told to repeat its request itself.
  // `after_ns`: from the beginning of the last try to its failure.
  virtual void onRequestFailed(EndpointId endpoint, uint16_t status, const Error& cause, int64_t after_ns,
                               std::string_view request_id, TimeNs now_ns) = 0;

 protected:
  ~RequestObserver() = default;
};

class ProxyHandler final : public Handler {
 public:
  // References must outlive the handler; `log` may be null. `endpoints` are counters by the endpoint's number. `blocks`
  // hold what a client does not take at once of an answer of plait's own.
  ProxyHandler(PlanStore& store, ProxyCounters& counters, std::span<EndpointCounters> endpoints, AccessRing* log,
               BlockSlab& blocks)
      : store_(store),
        pool_(store.clusters().pool()),
        counters_(counters),
        endpoints_(endpoints),
        log_(log),
        blocks_(blocks) {}
  // Null for none; must outlive the handler.
  void setObserver(RequestObserver* observer) { observer_ = observer; }
  Task<void> handle(Exchange& exchange, Io& io) override;
  void onRejected(const Rejection& rejection) override;
  uint64_t addressOf(const http::RequestHead& request, const ClientInfo& client) const override;
  uint64_t addressOf(const ClientInfo& client) const override;

 private:
  // False where the request goes no further: it has been answered, or nobody waits for an answer.
  bool admit(ProxyRequest& request, Io& io);
  // The last part of it, for requests that go to a cluster.
  bool prepare(ProxyRequest& request, Io& io);
  bool mayGoFurther(ProxyRequest& request);
  const ForwardOptions& options() const { return store_.forward(); }
  EndpointCounters& countersOf(EndpointId endpoint);
  // Counts a try that failed, and returns its outcome.
  const Result<Outcome>& noteTry(const ProxyRequest& request, const Result<Outcome>& outcome);
  // Tells the client, and the operator, that the request has failed for good.
  void answerFailure(ProxyRequest& request, const Error& error, Io& io);
  // Counts, logs, and ends the exchange.
  void finish(ProxyRequest& request, Io& io);

  PlanStore& store_;
  ConnectionPool& pool_;
  ProxyCounters& counters_;
  std::span<EndpointCounters> endpoints_;
  AccessRing* log_;
  BlockSlab& blocks_;
  RequestObserver* observer_ = nullptr;
};

}  // namespace plait
