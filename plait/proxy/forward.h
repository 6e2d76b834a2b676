// What changes on a message between client and backend.
#pragma once

#include "plait/client/response.h"
#include "plait/server/exchange.h"

namespace plait {

struct ForwardOptions {
  bool x_forwarded = true;
  bool forwarded = false;
  bool via = true;
};

// How a request ended, for the log and the counters.
struct Outcome {
  uint16_t status = 0;
  uint32_t backend_idx = 0;
  bool is_complete = false;  // the client has the whole response
};

// Builds the request that goes to the backend: without hop-by-hop fields (RFC 9110 §7.6.1), with what tells the backend
// who asks. The fields live in `block`. False when memory for them has run out.
bool prepareRequest(Exchange& exchange, const ForwardOptions& options, std::string_view fallback_authority,
                    http::HeaderBlock& block, http::RequestHead& out);

// Sends head, body and trailers to the client; ends when the client's side has all of it. An upstream that breaks off
// leaves a response that is visibly broken off.
Task<Result<Outcome>> forwardResponse(Exchange& exchange, Response& response, Io& io);

}  // namespace plait
