// One try at one endpoint.
#pragma once

#include "plait/proxy/forward.h"
#include "plait/proxy/proxy_request.h"

namespace plait {

// Sends the request to the endpoint and forwards the response. Errors: as getOrCreate, request and relay report them;
// `ejected` for a trial that was answered with 502, 503 or 504 and can be repeated. The response's head was forwarded
// exactly if exchange.isHeadSent().
Task<Result<Outcome>> attempt(ProxyRequest& request, ConnectionPool& pool, EndpointId endpoint, Io& io);

}  // namespace plait
