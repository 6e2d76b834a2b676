// plait's public surface: the only header an embedder names.
//
//   Runtime           the loop, its memory, name lookup                        client/runtime.h
//   ConnectionPool    getOrCreate(backend), release(lease, success)            client/pool.h
//   Lease, Response   request(), read(): head, body and trailers               client/response.h
//   Server, Exchange  the side of the clients, for programs that serve         server/server.h
//   TlsContext        certificates, verification, ALPN                         net/tls.h
//   LogSink           takes lines about backends (PoolLines) and clients       base/log.h
//                     (ServerLines)
//   Task, Scope, Io   coroutines without threads, exceptions or malloc         io/task.h
//
// One Runtime belongs to one thread; threads have one each and share nothing. Errors are values (base/error.h): nothing
// here throws, and nothing is written to standard error but a failed assertion.
#pragma once

#include "plait/client/lines.h"
#include "plait/client/runtime.h"
#include "plait/server/lines.h"
#include "plait/server/server.h"

namespace plait {

// A server on the runtime's loop and memory; `runtime` and `handler` must outlive it. Every request becomes a call of
// handler.handle(). `limits` must be without a mistake. Listen with Server::listen; Server::drain must have returned
// before it is destroyed.
inline std::unique_ptr<Server> makeServer(Runtime& runtime, Handler& handler, const ServerTimeouts& timeouts = {},
                                          const ServerLimits& limits = {}) {
  return std::make_unique<Server>(runtime.io(), runtime.limits(), limits, timeouts, handler, runtime.sendBlocks(),
                                  runtime.recordBlocks(), runtime.streamBlocks(), runtime.headers());
}

}  // namespace plait
