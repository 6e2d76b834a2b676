// Joins a client's exchange with the pool.
#pragma once

#include "plait/client/pool.h"
#include "plait/proxy/forward.h"

namespace plait {

// One request on its way to a backend: what is sent, and where interim responses go.
struct ProxyRequest final : InterimSink {
  ProxyRequest(Exchange& served, http::HeaderSlab& headers) : exchange(served), block(headers) {}
  void onInterim(const http::ResponseHead& interim) override {
    // 100 was answered at this hop; what else comes early (103) is the client's to see.
    if (interim.status != 100) exchange.sendInterim(interim);
  }
  Exchange& exchange;
  http::HeaderBlock block;
  http::RequestHead head;
  RequestOptions options;
};

// Errors: as getOrCreate, request and relay report them. The response's head was forwarded exactly if
// exchange.isHeadSent().
Task<Result<Outcome>> proxyHttp2(ProxyRequest& request, ConnectionPool& pool, uint32_t backend_idx, Io& io);

class ProxyHandler final : public Handler {
 public:
  ProxyHandler(ConnectionPool& pool, http::HeaderSlab& headers, const ForwardOptions& options, int64_t response_head_ms)
      : pool_(pool), headers_(headers), options_(options), response_head_ms_(response_head_ms) {}
  Task<void> handle(Exchange& exchange, Io& io) override;

 private:
  ConnectionPool& pool_;
  http::HeaderSlab& headers_;
  ForwardOptions options_;
  int64_t response_head_ms_;
  uint32_t next_ = 0;
};

}  // namespace plait
