// What a server counts. The numbers are its worker's own, and others get a copy (proxy/metrics.h).
#pragma once

#include <array>
#include <cstdint>

#include "plait/base/error.h"

namespace plait {

struct ServerCounters {
  uint64_t connections_total = 0;
  uint64_t connections_refused = 0;  // no place was free, or the client's address holds its share
  uint64_t requests_h1 = 0;
  uint64_t requests_h2 = 0;
  uint64_t requests_refused = 0;  // no exchange or no memory for its head was free
  uint64_t accept_pauses = 0;     // accepting stopped: every connection in use, or the system out of descriptors
  uint64_t upload_pauses = 0;     // a client was not read because the memory for request bodies was used up
  uint64_t handshake_waits = 0;   // a client's TLS handshake waited for others to be done
  uint64_t stalled_streams = 0;
  uint64_t stalled_connections = 0;
  uint64_t header_timeouts = 0;
  uint64_t connections_evicted = 0;  // idle ones, to make room for others
  uint64_t requests_cut = 0;         // under way at the drain deadline
  // By Fault: requests that became no exchange, and what ended streams and connections.
  std::array<uint64_t, fault_count> rejections{};
  std::array<uint64_t, fault_count> stream_faults{};
  std::array<uint64_t, fault_count> connection_faults{};
};

}  // namespace plait
