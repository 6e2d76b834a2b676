// Ids by which a request is found again in a client's message, in the logs, and at a backend.
#pragma once

#include <cstdint>
#include <string_view>

namespace plait::http {

// A worker's source of ids: a counter from a random start, mixed so that no id tells how many requests there were
// before it. Two workers, or two runs, give the same id with the probability of two random numbers of 64 bits.
class RequestIds {
 public:
  static constexpr size_t size = 16;

  explicit RequestIds(uint64_t seed) : counter_(seed) {}
  // 16 digits, written into `out`.
  std::string_view next(char (&out)[size]) {
    static constexpr char digits[] = "0123456789abcdef";
    // The permutation of splitmix64 (Steele, Lea and Flood 2014): no id comes twice.
    counter_ += 0x9e3779b97f4a7c15;
    uint64_t z = counter_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    for (size_t i = 0; i < size; ++i) out[i] = digits[(z >> (60 - 4 * i)) & 15];
    return {out, size};
  }

  // Whether an id that somebody else has made can be written anywhere as it is, and is of a length that ids have.
  static bool isSane(std::string_view id) {
    if (id.empty() || id.size() > 128) return false;
    for (const char c : id) {
      const bool is_alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      if (!is_alphanumeric && std::string_view("-_.~:=+/@").find(c) == std::string_view::npos) return false;
    }
    return true;
  }

 private:
  uint64_t counter_;
};

}  // namespace plait::http
