// From a backend's name to a socket that is ready for a version of HTTP. Knows no pool.
#pragma once

#include "plait/client/pool_options.h"
#include "plait/net/ultra_sock.h"

namespace plait {

// Looks the name up, connects, and performs TLS where the protocol is https; all within `connect_ms`. `options` and
// `sock` must outlive the call. Errors reach the backend: resolve_failed, connect_failed, connect_timeout, tls_failed,
// http_1_1_required; and no_memory, no_descriptor or no_local_port, which say nothing about the backend.
Task<Status> openSocket(const BackendOptions& options, AlpnOffer offer, int64_t connect_ms, UltraSock& sock, Io& io);

// Error::detail of http_1_1_required where the backend has said nothing at all.
inline constexpr uint32_t probe_silence = 1;

// Waits for the answer to HTTP/2's preface, which has been queued: SETTINGS begin with a zero byte, since no frame of
// them is longer than 2^16 bytes. The bytes are those of sock.recv(). http_1_1_required where the answer is text, the
// end, or nothing within `probe_ms`; no_memory where it could not be read.
Task<Result<Bytes>> awaitSettings(UltraSock& sock, int64_t probe_ms, Io& io);

}  // namespace plait
