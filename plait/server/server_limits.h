// ServerLimits: the bounds of the clients' side, beside those of the loop it is on.
#pragma once

#include "plait/runtime/loop_limits.h"

namespace plait {

struct ServerLimits {
  bool operator==(const ServerLimits&) const = default;

  uint32_t streams_per_client = 128;
  uint32_t client_connection_window = 16 << 20;  // what it may grow to; it starts with RFC 9113's 65,535
  uint32_t client_stream_window = 65'535;
  // Request bodies have blocks of their own, so that neither direction can starve the other.
  uint32_t upload_pool_bytes = 64 << 20;
  uint32_t target_bytes = 8 << 10;  // of a request
  // TLS handshakes at once, each of which takes more memory until it is done. The others wait (server/handshakes.h).
  uint32_t tls_handshakes = 1024;

  // The rates that a client must keep up over each stall timeout while plait waits for it: with a request's body, or in
  // taking a response. 0 asks for nothing.
  uint32_t upload_bytes_per_second = 240;
  uint32_t download_bytes_per_second = 240;
  // Limits on streams that a client takes back (h2/session.h).
  uint32_t reset_burst = 1000;
  uint32_t resets_per_second = 100;

  constexpr std::optional<LimitsMistake> defect() const {
    if (const auto found = LoopLimits::windowMistake("client_connection_window", client_connection_window))
      return found;
    return LoopLimits::windowMistake("client_stream_window", client_stream_window);
  }
  constexpr std::optional<LimitsMistake> mistake() const {
    if (const auto found = defect()) return found;
    if (client_stream_window > upload_pool_bytes / 8)
      return LimitsMistake{.key = "client_stream_window",
                           .value = client_stream_window,
                           .allowed = upload_pool_bytes / 8,
                           .by_key = "upload_pool_bytes",
                           .by_value = upload_pool_bytes,
                           .reason = "one upload may hold an eighth of the memory for uploads"};
    return std::nullopt;
  }
};

}  // namespace plait
