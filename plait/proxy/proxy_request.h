// One request on its way to backends: what is sent, what it has met, and where interim responses go.
#pragma once

#include <memory>
#include <optional>

#include "plait/client/request.h"
#include "plait/cluster/cluster.h"
#include "plait/proxy/plan_store.h"
#include "plait/route/field_changes.h"
#include "plait/server/exchange.h"

namespace plait {

// A request's place in a count that the plan bounds, from its entry to its end.
class Entered {
 public:
  Entered() = default;
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;
  ~Entered() { leave(); }
  void leave() {
    if (count_ != nullptr) std::exchange(count_, nullptr)->leave();
  }
  bool isEntered() const { return count_ != nullptr; }
  // False where `most` are there already.
  // `count` must outlive this.
  bool enter(RequestCount& count, uint32_t most) {
    if (!count.enter(most)) return false;
    count_ = &count;
    return true;
  }

 private:
  RequestCount* count_ = nullptr;
};

// Ends a request that takes longer than its route allows: with a 504 before its head, else visibly broken off.
class TotalTimeout {
 public:
  // Lies in `block`, which is given back to `slab` with it (make).
  TotalTimeout(Exchange& exchange, int64_t total_ms, Io& io, http::HeaderSlab& slab, MutableBytes block);
  TotalTimeout(const TotalTimeout&) = delete;
  TotalTimeout& operator=(const TotalTimeout&) = delete;
  ~TotalTimeout();
  // Lies in a block for heads: few routes have one. Null where there is no memory.
  struct Deleter {
    void operator()(TotalTimeout* timeout) const;
  };
  using Pointer = std::unique_ptr<TotalTimeout, Deleter>;
  static Pointer make(Exchange& exchange, int64_t total_ms, Io& io);

  // Cancelled by the client's token as well.
  CancelToken& token() { return token_; }

 private:
  void end();
  Exchange& exchange_;
  http::HeaderSlab& slab_;
  MutableBytes block_;
  CancelToken token_;
  CancelNode by_client_;
  Timer timer_;
};

struct ProxyRequest final : InterimSink {
  explicit ProxyRequest(Exchange& served)
      : exchange(served), head(served.mutableRequest()), asked_authority(head.authority), asked_path(head.path) {
    wish.claim = &options.claim;
  }
  void onInterim(const http::ResponseHead& interim) override {
    // 100 was answered at this hop; other interim responses (103) are forwarded.
    if (interim.status != 100) exchange.sendInterim(interim);
  }
  http::Pipe* body() const { return options.body; }
  // Nothing of it has gone anywhere, or all that has gone can be sent again.
  bool canReplay() const { return options.body == nullptr || options.body->canReplay(); }
  // Its client has given it up, or its time is over.
  bool isCancelled() const { return options.cancel != nullptr && options.cancel->isCancelled(); }
  // The client's, as trusted proxies have named it.
  std::string_view clientAddress() const { return real_client.empty() ? exchange.client().address() : real_client; }
  // What its route may say of it, to backends and in the response.
  route::Variables variables() const;

  // The first member: what lies behind it is fetched with it when the response's head arrives (H2Connection::request).
  RequestOptions options;
  Exchange& exchange;
  http::RequestHead& head;           // the exchange's, as it goes to the backend
  std::string_view asked_authority;  // which the client has named; stays where it is (Exchange::makeRoom)
  std::string_view asked_path;       // likewise, with the query
  HeldPolicy policy;                 // none where there are no routes
  Cluster* cluster = nullptr;
  Attempts attempts;
  Choice choice;                 // the endpoint that was tried last
  std::string_view real_client;  // which trusted proxies have named; empty where there is none
  Error cause;                   // why the answer is plait's own, or not whole
  // The time from the beginning of the last try to its failure; where there was none, from the request's head.
  int64_t cause_after_ns = 0;
  // Outcomes are compared: there is more than one endpoint.
  bool is_compared = false;
  bool is_complete = false;
  bool is_for_https = false;      // its listener has redirected it
  bool is_stored_answer = false;  // its route answers it with a body of its own
  // The present try is for a tunnel over HTTP/1.1; and goes on a connection of its own.
  bool needs_http_1_1 = false;
  bool needs_own = false;
  uint16_t matched_elements = 0;  // of the path, by its route's prefix
  Entered entered_route;
  Entered entered_cluster;
  TotalTimeout::Pointer total;
  // The last member, since the end of it is mostly not touched.
  Wish wish;
};

}  // namespace plait
