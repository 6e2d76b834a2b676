// Shared by the targets: a condition that ends the run, and the input as a sequence of choices.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "plait/base/bytes.h"

namespace plait::fuzz {

inline void require(bool condition) {
  if (!condition) std::abort();
}

// As require(a == b); what differs is printed.
inline void requireEqual(std::string_view ours, std::string_view theirs) {
  if (ours == theirs) return;
  std::fprintf(stderr, "ours:   %.*s\ntheirs: %.*s\n", static_cast<int>(ours.size()), ours.data(),
               static_cast<int>(theirs.size()), theirs.data());
  std::abort();
}

// Takes choices off the front of the input; zero when it is used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(data, size) {}
  bool empty() const { return rest_.empty(); }
  uint8_t byte() {
    if (rest_.empty()) return 0;
    const uint8_t value = rest_[0];
    rest_ = rest_.subspan(1);
    return value;
  }
  uint32_t below(uint32_t bound) { return (uint32_t{byte()} << 8 | byte()) % bound; }
  // At most `count` bytes; fewer at the end.
  Bytes bytes(size_t count) {
    const Bytes taken = rest_.first(std::min(count, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  Bytes rest() { return bytes(rest_.size()); }
  std::string string(size_t count) { return std::string(asText(bytes(count))); }

 private:
  Bytes rest_;
};

// Bytes in memory of exactly their size: a read behind the end is then seen by the sanitizer.
inline std::vector<uint8_t> exact(Bytes bytes) {
  return {bytes.begin(), bytes.end()};
}

}  // namespace plait::fuzz
