// PoolLimits: the bounds of the connections to backends, beside those of the loop they are on.
#pragma once

#include "plait/runtime/loop_limits.h"

namespace plait {

struct PoolLimits {
  bool operator==(const PoolLimits&) const = default;

  // Addresses of backends that there may be at a time.
  uint32_t endpoints = 1024;
  uint32_t h2_connections_per_backend = 8;
  uint32_t h1_connections_per_backend = 256;
  uint32_t streams_per_upstream_connection = 128;
  uint32_t upstream_connection_window = 16 << 20;

  uint32_t replay_bytes_per_request = 16 << 10;
  uint32_t replay_bytes = 8 << 20;
  uint32_t unprocessed_retries = 5;
  uint32_t unknown_retry_percent = 20;
  uint32_t unknown_retry_burst = 1024;

  constexpr std::optional<LimitsMistake> mistake() const {
    return LoopLimits::windowMistake("upstream_connection_window", upstream_connection_window);
  }
};

}  // namespace plait
