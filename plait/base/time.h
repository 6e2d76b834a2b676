// Time as the runtime hands it out. All of it comes from Io::nowNs(), so that a simulator can own the clock.
#pragma once

#include <cstdint>

namespace plait {

inline constexpr int64_t ns_per_us = 1'000;
inline constexpr int64_t ns_per_ms = 1'000'000;
inline constexpr int64_t ns_per_s = 1'000'000'000;

// A point on the monotonic clock, in nanoseconds. `never` is later than every other point.
using TimeNs = int64_t;
inline constexpr TimeNs never_ns = INT64_MAX;

}  // namespace plait
