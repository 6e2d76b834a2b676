// What has become of reloads, for metrics.
#pragma once

#include <atomic>
#include <cstdint>

namespace plait {

// From any thread. Times are seconds since 1970; 0: never.
struct ReloadFigures {
  std::atomic<uint64_t> generation{1};
  std::atomic<int64_t> last_success_s{0};
  std::atomic<int64_t> last_failure_s{0};
  std::atomic<uint64_t> successes{0};
  std::atomic<uint64_t> failures{0};
  std::atomic<uint64_t> tls_contexts{0};  // that are in memory
};

}  // namespace plait
