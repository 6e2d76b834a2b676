#include "plait/proxy/attempt.h"

namespace plait {

// The heart of plait: one request to one endpoint. Stale connections, GOAWAY and refused streams are the pool's affair.
Task<Result<Outcome>> attempt(ProxyRequest& request, ConnectionPool& pool, EndpointId endpoint, Io& io) {
  auto lease = co_await pool.getOrCreate(endpoint, io, request.lease);
  if (!lease) co_return fail(lease.error());
  auto response = co_await lease->request(request.head, request.options, io);
  pool.release(*lease, response || !response.error().reachesConnection(), io);
  if (!response) co_return fail(response.error());
  co_return co_await forwardResponse(request, *response);
}

}  // namespace plait
