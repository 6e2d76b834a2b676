// One request on its way to backends: what is sent, what it has met, and where interim responses go.
#pragma once

#include "plait/client/request.h"
#include "plait/cluster/cluster.h"
#include "plait/server/exchange.h"

namespace plait {

struct ProxyRequest final : InterimSink {
  explicit ProxyRequest(Exchange& served)
      : exchange(served), head(served.mutableRequest()), asked_authority(head.authority) {}
  void onInterim(const http::ResponseHead& interim) override {
    // 100 was answered at this hop; other interim responses (103) are forwarded.
    if (interim.status != 100) exchange.sendInterim(interim);
  }
  http::Pipe* body() const { return options.body; }
  // Nothing of it has gone anywhere, or all that has gone can be sent again.
  bool canReplay() const { return options.body == nullptr || options.body->canReplay(); }

  Exchange& exchange;
  http::RequestHead& head;           // the exchange's, as it goes to the backend
  std::string_view asked_authority;  // which the client has named; stays where it is (Exchange::makeRoom)
  RequestOptions options;
  LeaseOptions lease;
  Attempts attempts;
  Wish wish;
  Choice choice;                 // the endpoint that was tried last
  std::string_view real_client;  // which trusted proxies have named; empty where there is none
  Error cause;                   // why the answer is plait's own, or not whole
  // The time from the beginning of the last try to its failure; where there was none, from the request's head.
  int64_t cause_after_ns = 0;
  // Outcomes are compared: there is more than one endpoint.
  bool is_compared = false;
  bool is_complete = false;
};

}  // namespace plait
