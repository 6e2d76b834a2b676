// What changes on a message between client and backend.
#pragma once

#include <string>
#include <vector>

#include "plait/client/response.h"
#include "plait/proxy/forward_trust.h"
#include "plait/server/exchange.h"

namespace plait {

// The authority that a backend is asked for. SNI and verification use the backend's name all the same.
struct BackendAuthority {
  std::string fixed;  // sent instead of the client's; empty: the client's is
  std::string own;    // the backend's host and port, for clients that name none (HTTP/1.0)
};

struct ForwardOptions {
  bool x_forwarded = true;
  bool forwarded = false;
  bool via = true;
  TrustedProxies trusted_proxies;             // their forwarded fields are kept and added to
  std::vector<BackendAuthority> authorities;  // one for each backend
};

// How a request ended, for the log and the counters.
struct Outcome {
  uint16_t status = 0;
  uint32_t backend_idx = 0;
  bool is_complete = false;  // the client has the whole response
};

// Makes of the client's request the one that goes to the backend: without hop-by-hop fields (RFC 9110 §7.6.1), with
// what tells the backend who asks. Views of the head may move. False when memory has run out. The authority is that of
// the backend, so chooseAuthority comes before each try.
bool prepareRequest(Exchange& exchange, const ForwardOptions& options);

// True for a TRACE or OPTIONS whose Max-Forwards is used up: it must not be forwarded (RFC 9110 §7.6.2).
bool isLastHop(const http::RequestHead& head);

// True for a request that has come through plait `most_hops` times, as its Via says: it would come again without end
// (RFC 9110 §7.6).
bool goesRound(const http::RequestHead& head, uint32_t most_hops);

// Gives `out` the authority for that backend, whose views are the options', or `asked`, which the client has named.
void chooseAuthority(std::string_view asked, const ForwardOptions& options, uint32_t backend_idx,
                     http::RequestHead& out);

class ForwardAwaiter {
 public:
  ForwardAwaiter(Exchange& exchange, Response& response)
      : exchange_(exchange), response_(response), relay_(exchange, response.pipe()) {}
  bool await_ready();
  void await_suspend(std::coroutine_handle<> handle) { relay_.await_suspend(handle); }
  Result<Outcome> await_resume();

 private:
  Exchange& exchange_;
  Response& response_;
  Exchange::RelayAwaiter relay_;
  bool is_refused_ = false;
  bool is_relayed_ = false;
};

// Sends head, body and trailers to the client; ends when the client's side has all of it, which often is at once. An
// upstream that breaks off leaves a response that is visibly broken off.
inline ForwardAwaiter forwardResponse(Exchange& exchange, Response& response) {
  return ForwardAwaiter(exchange, response);
}

}  // namespace plait
