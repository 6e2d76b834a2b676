// A worker's figures. Counters are plain numbers that belong to a worker's thread. A scrape asks each worker for a copy
// (Worker::requestSnapshot), so counting costs an addition and reading costs no lock.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "plait/base/time.h"
#include "plait/client/pool.h"
#include "plait/cluster/cluster.h"
#include "plait/http/grpc.h"
#include "plait/server/server_counters.h"

namespace plait {

// How long requests took, from their head to the last byte that the client's side took.
struct DurationHistogram {
  // Upper bounds of the buckets; the last bucket, which has none, follows.
  static constexpr std::array<int64_t, 16> bounds_us = {
      500,     1'000,   2'500,     5'000,     10'000,    25'000,     50'000,     100'000,
      250'000, 500'000, 1'000'000, 2'500'000, 5'000'000, 10'000'000, 30'000'000, 60'000'000};
  std::array<uint64_t, bounds_us.size() + 1> counts{};
  int64_t sum_ns = 0;

  void add(int64_t duration_ns) {
    size_t bucket = 0;
    while (bucket < bounds_us.size() && duration_ns > bounds_us[bucket] * ns_per_us) bucket += 1;
    counts[bucket] += 1;
    sum_ns += duration_ns;
  }
  void add(const DurationHistogram& other) {
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += other.counts[i];
    sum_ns += other.sum_ns;
  }
};

// The outcomes of requests whose last try was at one endpoint, or at none.
struct EndpointCounters {
  // By the first digit of the endpoint's own status; 0: it gave none.
  std::array<uint64_t, 6> responses{};
  // Tries that failed, repeated or not, by ErrorCode.
  std::array<uint64_t, error_code_count> failures{};
  DurationHistogram duration;
};

// The handler's counters.
struct ProxyCounters {
  std::array<uint64_t, 6> responses{};  // by the status' first digit; 0: none was sent
  uint64_t responses_incomplete = 0;
  uint64_t fields_too_large = 0;  // requests that a route's response_fields made fail
  // Responses that had a grpc-status, by it: backends' and plait's own.
  std::array<uint64_t, http::grpc_status_count> grpc_from_backends{};
  std::array<uint64_t, http::grpc_status_count> grpc_own{};
  uint64_t body_bytes_in = 0;   // of requests
  uint64_t body_bytes_out = 0;  // of responses
  EndpointCounters nowhere;     // requests that reached no endpoint
};

// The slabs of a worker that are shown.
enum class ShownSlab : uint8_t {
  client_connections,
  exchanges_http1,
  exchanges_http2,
  send_blocks,
  record_blocks,
  stream_blocks,
  upload_blocks,
  receive_buffers,
  header_blocks_small,
  header_blocks_medium,
  header_blocks_large,
  frames,
  send_arrays,
  upstream_connections,
  upstream_streams,
  endpoints,
};
inline constexpr std::array<const char*, 16> shown_slab_names = {
    "client_connections",  "exchanges_http1",      "exchanges_http2",     "send_blocks",
    "record_blocks",       "stream_blocks",        "upload_blocks",       "receive_buffers",
    "header_blocks_small", "header_blocks_medium", "header_blocks_large", "frames",
    "send_arrays",         "upstream_connections", "upstream_streams",    "endpoints"};
static_assert(static_cast<size_t>(ShownSlab::endpoints) + 1 == shown_slab_names.size());

struct SlabUse {
  size_t used = 0;
  size_t peak = 0;
  size_t capacity = 0;
};

// A place for each of them, and for nothing else.
class SlabTable {
 public:
  SlabUse& operator[](ShownSlab slab) { return uses_[static_cast<size_t>(slab)]; }
  const SlabUse& operator[](ShownSlab slab) const { return uses_[static_cast<size_t>(slab)]; }
  // Calls use(name, SlabUse) for those that the worker has.
  template <class Use>
  void forEach(Use use) const {
    for (size_t i = 0; i < uses_.size(); ++i) {
      if (uses_[i].capacity != 0) use(shown_slab_names[i], uses_[i]);
    }
  }

 private:
  std::array<SlabUse, shown_slab_names.size()> uses_{};
};

// One worker's figures at one moment.
struct WorkerSnapshot {
  struct Backend {
    uint32_t ready_connections = 0;
    uint32_t requests = 0;  // with it now
    int64_t score = 0;      // Cluster::score
    EndpointState state = EndpointState::up;
    Error cause;                                           // of a state other than up
    std::array<uint64_t, h2::error_code_count> goaways{};  // by h2::errorIndex
    EndpointCounters counters;
  };
  ServerCounters server;
  PoolCounters pool;
  ConnectionPool::Places places;
  ClusterCounters cluster;
  bool is_panic = false;
  uint64_t waiting = 0;  // requests in the cluster's line
  ProxyCounters proxy;
  uint64_t client_connections = 0;
  uint64_t upstream_streams = 0;
  uint64_t log_lines = 0;
  uint64_t log_dropped = 0;
  uint64_t frame_refusals = 0;
  uint64_t tls_live_bytes = 0;
  uint64_t tls_peak_bytes = 0;
  uint64_t tls_reserved_bytes = 0;
  uint64_t tls_allocations = 0;
  uint64_t tls_refusals = 0;
  SlabTable slabs;
  std::vector<Backend> backends;  // sized by the asker, since a worker may not allocate
};

}  // namespace plait
