// Joins a client's exchange with the pool.
#pragma once

#include "plait/client/pool.h"
#include "plait/proxy/access_log.h"
#include "plait/proxy/forward.h"
#include "plait/proxy/metrics.h"

namespace plait {

// One request on its way to a backend: what is sent, and where interim responses go.
struct ProxyRequest final : InterimSink {
  explicit ProxyRequest(Exchange& served)
      : exchange(served), head(served.mutableRequest()), asked_authority(head.authority) {}
  void onInterim(const http::ResponseHead& interim) override {
    // 100 was answered at this hop; what else comes early (103) is the client's to see.
    if (interim.status != 100) exchange.sendInterim(interim);
  }
  Exchange& exchange;
  http::RequestHead& head;           // the exchange's, as it goes to the backend
  std::string_view asked_authority;  // which the client has named; stays where it is (Exchange::makeRoom)
  RequestOptions options;
  uint32_t backend_idx = AccessRecord::no_backend;  // the last one that was tried
  uint8_t retries = 0;
  bool unknown_retried = false;
  RetryClass retry_class = RetryClass::none;
  bool is_complete = false;
};

// Errors: as getOrCreate, request and relay report them. The response's head was forwarded exactly if
// exchange.isHeadSent().
Task<Result<Outcome>> proxyHttp2(ProxyRequest& request, ConnectionPool& pool, uint32_t backend_idx, Io& io);

class ProxyHandler final : public Handler {
 public:
  // References must outlive the handler; `log` may be null.
  ProxyHandler(ConnectionPool& pool, const ForwardOptions& options, int64_t response_head_ms, ProxyCounters& counters,
               AccessRing* log)
      : pool_(pool), options_(options), response_head_ms_(response_head_ms), counters_(counters), log_(log) {}
  Task<void> handle(Exchange& exchange, Io& io) override;
  void onRejected(const Rejection& rejection) override;

 private:
  // Counts, logs, and ends the exchange.
  void finish(ProxyRequest& request, Io& io);

  ConnectionPool& pool_;
  ForwardOptions options_;
  int64_t response_head_ms_;
  ProxyCounters& counters_;
  AccessRing* log_;
  uint32_t next_ = 0;
};

}  // namespace plait
