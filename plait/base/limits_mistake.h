#pragma once

#include <cstdint>

namespace plait {

// A bound that another one does not allow (limits.h).
struct LimitsMistake {
  // The bound, by its key in the configuration.
  const char* key;
  uint64_t value;
  // The most that it may be, unless it has to be a power of two.
  uint64_t allowed = 0;
  bool must_be_power_of_two = false;
  // The bound that `allowed` follows from; null where it follows from none.
  const char* by_key = nullptr;
  uint64_t by_value = 0;
  const char* reason;  // a clause
};

}  // namespace plait
