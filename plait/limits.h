// Every bound of one worker, and what they add up to. Nothing is allocated after start: what these numbers reserve is
// what the worker can ever use. The defaults are starting values; the configuration overrides the named ones. Each
// layer has its own, and is given no others.
#pragma once

#include "plait/client/pool_limits.h"
#include "plait/runtime/loop_limits.h"
#include "plait/server/server_limits.h"

namespace plait {

struct Limits : LoopLimits, PoolLimits, ServerLimits {
  bool operator==(const Limits&) const = default;

  // OpenSSL's own memory for each connection that may speak TLS, while no handshake is under way, and what each
  // handshake takes more.
  uint32_t tls_bytes_per_connection = 24 << 10;
  static constexpr uint32_t tls_bytes_of_handshake = 40 << 10;
  // The bytes that may wait to be written to the access log; a power of two. Two tenths of a second of 100,000 requests
  // fit.
  uint32_t access_ring_bytes = 4 << 20;

  // For plans, in the whole process: of all generations that are in use together.
  uint32_t plan_bytes = 32 << 20;

  // OpenSSL's memory for so many connections of clients and to backends. Those to backends may all be in their
  // handshake. Some is for what does not depend on their number.
  constexpr uint64_t tlsBytes(uint64_t clients, uint64_t backends) const {
    if (clients + backends == 0) return 0;
    const uint64_t handshakes = (clients < tls_handshakes ? clients : tls_handshakes) + backends;
    return (clients + backends) * tls_bytes_per_connection + handshakes * tls_bytes_of_handshake + (uint64_t{4} << 20);
  }
  constexpr uint32_t uploadBlocks() const { return upload_pool_bytes / stream_block_size; }

  // Bounds are promises to each other: the first of them that cannot be kept, or none. Asked for the defaults when this
  // is compiled, and for a configuration when it is complete. What is made of limits asserts its own part of them, as
  // far as memory itself would be wrong: a test may have so little of something that it runs out.
  constexpr std::optional<LimitsMistake> mistake() const {
    if (const auto found = LoopLimits::mistake()) return found;
    if (const auto found = PoolLimits::mistake()) return found;
    if (const auto found = ServerLimits::mistake()) return found;
    if (access_ring_bytes == 0 || (access_ring_bytes & (access_ring_bytes - 1)) != 0)
      return LimitsMistake{
          .key = "access_ring_bytes", .value = access_ring_bytes, .must_be_power_of_two = true, .reason = ring_reason};
    if (replay_bytes_per_request > client_stream_window)
      return LimitsMistake{.key = "replay_bytes_per_request",
                           .value = replay_bytes_per_request,
                           .allowed = client_stream_window,
                           .by_key = "client_stream_window",
                           .by_value = client_stream_window,
                           .reason = "a body that is repeated fits into the window that it came in"};
    return std::nullopt;
  }
};

static_assert(!Limits().mistake());
static_assert(Limits().burstBlocks() / 8 * Limits().streamBlockPayload() + Limits().upstream_stream_window >= 8 << 20,
              "one stream alone may grow to 8 MiB");
static_assert(Limits().work_per_turn >= Limits().streams_per_client * (20 + 10),
              "as many requests as a client may have, of ten fields each, are one turn's work");

}  // namespace plait
