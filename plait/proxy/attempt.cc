#include "plait/proxy/attempt.h"

namespace plait {

// The heart of plait: one request to one endpoint. Stale connections, GOAWAY and refused streams are the pool's affair.
Task<Result<Outcome>> attempt(ProxyRequest& request, ConnectionPool& pool, EndpointId endpoint, Io& io) {
  // Waiting is the chooser's (failover.h), but for a connection that is made for this request.
  auto lease = request.needs_own ? co_await pool.getOrCreate(endpoint, io,
                                                             {.cancel = request.options.cancel,
                                                              .own = true,
                                                              .needs_http_1_1 = request.needs_http_1_1,
                                                              .claim = request.options.claim})
                                 : pool.leaseNow(endpoint, request.needs_http_1_1, request.options.claim);
  if (!lease) co_return fail(lease.error());
  auto response = co_await lease->request(request.head, request.options, io);
  pool.release(*lease, response || !response.error().reachesConnection(), io);
  if (!response) co_return fail(response.error());
  co_return co_await forwardResponse(request, *response);
}

}  // namespace plait
