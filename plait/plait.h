// plait's public surface: the only header an embedder names. docs/embedding.md shows how it is used.
//
//   PLAIT_VERSION…    the version                                              version.h
//   Runtime           the loop, its memory, name lookup                        client/runtime.h
//   ConnectionPool    getOrCreate(backend), release(lease, success)            client/pool.h
//   Lease, Response   request(), read(): head, body and trailers               client/response.h
//   Server, Exchange  the side of the clients, for programs that serve         server/server.h
//   TlsContext        certificates, verification, ALPN                         net/tls.h
//   FieldList, Pipe   fields, bodies, and which fields concern one hop only    http/*.h
//   parseAddress      socket addresses as text and back                        net/address.h
//   LogSink           takes lines about backends (PoolLines) and clients       base/log.h
//                     (ServerLines)
//   Task, Scope, Io   coroutines without threads, exceptions or malloc         io/task.h
//
// One Runtime belongs to one thread; threads have one each and share nothing. Errors are values (base/error.h): nothing
// here throws, and nothing is written to standard error but a failed assertion.
#pragma once

#if !defined(__clang__) || __clang_major__ < 19
#error "plait needs clang 19 or newer: g++ 12 miscompiles coroutines, and no other compiler is tested"
#endif

#include "plait/client/lines.h"
#include "plait/client/runtime.h"
#include "plait/http/field_rules.h"
#include "plait/net/address.h"
#include "plait/server/lines.h"
#include "plait/server/server.h"
#include "plait/version.h"

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
