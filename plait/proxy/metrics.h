// What plait counts, and how it is exposed. Counters are plain numbers that belong to a worker's thread; whoever
// scrapes asks each worker for a copy (Worker::requestSnapshot), so counting costs an addition and reading costs no
// lock.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "plait/base/time.h"
#include "plait/client/pool.h"
#include "plait/server/server.h"

namespace plait {

// How long requests took, from their head to the last byte that the client's side took.
struct DurationHistogram {
  // Upper bounds of the buckets; the last bucket, which has none, follows.
  static constexpr std::array<int64_t, 14> bounds_us = {500,       1'000,     2'500,     5'000,     10'000,
                                                        25'000,    50'000,    100'000,   250'000,   500'000,
                                                        1'000'000, 2'500'000, 5'000'000, 10'000'000};
  std::array<uint64_t, bounds_us.size() + 1> counts{};
  int64_t sum_ns = 0;

  void add(int64_t duration_ns) {
    size_t bucket = 0;
    while (bucket < bounds_us.size() && duration_ns > bounds_us[bucket] * ns_per_us) bucket += 1;
    counts[bucket] += 1;
    sum_ns += duration_ns;
  }
};

// What the handler counts.
struct ProxyCounters {
  std::array<uint64_t, 6> responses{};  // by the status' first digit; 0: none was sent
  uint64_t responses_incomplete = 0;
  uint64_t body_bytes_in = 0;   // of requests
  uint64_t body_bytes_out = 0;  // of responses
  DurationHistogram duration;
};

struct SlabUse {
  const char* name = "";
  size_t used = 0;
  size_t peak = 0;
  size_t capacity = 0;
};

// One worker's figures at one moment.
struct WorkerSnapshot {
  struct Backend {
    uint32_t ready_connections = 0;
    bool is_failing = false;  // the last try to connect failed, and no earlier connection is left
  };
  ServerCounters server;
  PoolCounters pool;
  ProxyCounters proxy;
  uint64_t client_connections = 0;
  uint64_t upstream_streams = 0;
  uint64_t log_lines = 0;
  uint64_t log_dropped = 0;
  uint64_t tls_live_bytes = 0;
  uint64_t tls_peak_bytes = 0;
  uint64_t tls_reserved_bytes = 0;
  uint64_t tls_allocations = 0;
  uint64_t tls_refusals = 0;
  std::array<SlabUse, 12> slabs{};
  std::vector<Backend> backends;  // sized by whoever asks, since a worker may not allocate
};

// Some worker has a connection to it, or none has failed to get one: a worker that has not tried knows nothing.
bool isBackendUp(std::span<const WorkerSnapshot> workers, size_t backend_idx);

// What concerns the process as a whole.
struct ProcessFigures {
  uint64_t serving_allocations = 0;
  uint64_t log_failed_lines = 0;
  bool is_draining = false;
};

// The text format of Prometheus. `backends` are the names by index.
std::string formatMetrics(std::span<const WorkerSnapshot> workers, const ProcessFigures& process,
                          std::span<const std::string> backends);

}  // namespace plait
