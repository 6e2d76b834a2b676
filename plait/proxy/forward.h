// The changes to a message between client and backend.
#pragma once

#include "plait/client/response.h"
#include "plait/plan/forward_options.h"
#include "plait/proxy/proxy_request.h"
#include "plait/server/exchange.h"

namespace plait {

// A response that the client has whole, and its meaning for the endpoint's health.
struct Outcome {
  uint16_t status = 0;
  bool is_overloaded = false;  // 429 or 503, or gRPC's RESOURCE_EXHAUSTED or UNAVAILABLE in the head
};

// Makes of the client's request the one that goes to the backend: without hop-by-hop fields (RFC 9110 §7.6.1), and with
// fields that tell the backend who asks, and its id if it has one by now. Views of the head may move. False when memory
// has run out. The authority is that of the backend, so chooseAuthority comes before each try.
bool prepareRequest(Exchange& exchange, const ForwardOptions& options);

// Tells the backend of the certificate that the client has shown (ForwardOptions::client_cert). A trusted proxy has
// told whose certificate its own client has: its Client-Cert stays, and the proxy's own certificate is one more element
// of X-Forwarded-Client-Cert. After prepareRequest. Errors: no_memory; message_too_large for a certificate whose fields
// would be longer than 16 KiB.
Status addClientCertificate(Exchange& exchange, const ForwardOptions& options);

// True for a TRACE or OPTIONS whose Max-Forwards is used up: it must not be forwarded (RFC 9110 §7.6.2).
bool hasUsedUpMaxForwards(const http::RequestHead& head);

// True for a request that has come through plait so many times, as its Via says: it would come again without end
// (RFC 9110 §7.6).
inline constexpr uint32_t most_hops_through_plait = 16;
bool isForwardingLoop(const http::RequestHead& head);

// Gives the request the authority that it is to have at that endpoint: its route's, the backend's fixed one, else the
// client's, or the backend's own where the client has named none. False where no memory is left.
bool chooseAuthority(ProxyRequest& request, const BackendAuthority& backend);

// The client behind proxies that are trusted, as X-Forwarded-For names it: the rightmost address that is none of
// theirs. Empty where the peer is not trusted, or names nobody. To be asked before prepareRequest.
std::string_view realClientOf(const http::RequestHead& request, const ClientInfo& client,
                              const ForwardOptions& options);

// The client whose share of an endpoint's streams the request takes: the real one, or the peer where there is none.
ClientKey clientKeyOf(const ClientInfo& client, std::string_view real_client);

// Takes over the id that a trusted peer has given the request, if it is sane and the only one.
void adoptRequestId(Exchange& exchange, const ForwardOptions& options);

class ForwardAwaiter {
 public:
  ForwardAwaiter(ProxyRequest& request, Response& response)
      : request_(request), response_(response), relay_(request.exchange, response.pipe()) {}
  bool await_ready();
  void await_suspend(std::coroutine_handle<> handle) { relay_.await_suspend(handle); }
  Result<Outcome> await_resume();

 private:
  bool sendChangedHead(bool ends);

  ProxyRequest& request_;
  Response& response_;
  Exchange::RelayAwaiter relay_;
  enum class Way : uint8_t { whole, relayed, refused, broken, failed_trial };
  Way way_ = Way::whole;
};

// Sends head, body and trailers to the client; ends when the client's side has all of it, which often is at once. An
// upstream that breaks off leaves a response that is visibly broken off. One whose body is known to be wrong already is
// none: the error is returned, and nothing was sent. Nor is a trial's 502, 503 or 504 sent where the request can be
// repeated elsewhere: then the error is `ejected`.
inline ForwardAwaiter forwardResponse(ProxyRequest& request, Response& response) {
  return ForwardAwaiter(request, response);
}

}  // namespace plait
