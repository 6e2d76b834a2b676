// Views of bytes and their big-endian integers. Text on the wire is bytes: the two casts live here and nowhere else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace plait {

using Bytes = std::span<const uint8_t>;
using MutableBytes = std::span<uint8_t>;

inline std::string_view asText(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes asBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline uint16_t loadBe16(const uint8_t* p) {
  return static_cast<uint16_t>(p[0] << 8 | p[1]);
}
inline uint32_t loadBe24(const uint8_t* p) {
  return uint32_t{p[0]} << 16 | uint32_t{p[1]} << 8 | p[2];
}
inline uint32_t loadBe32(const uint8_t* p) {
  uint32_t value;
  std::memcpy(&value, p, sizeof(value));
  return __builtin_bswap32(value);
}
inline uint64_t loadBe64(const uint8_t* p) {
  uint64_t value;
  std::memcpy(&value, p, sizeof(value));
  return __builtin_bswap64(value);
}
inline void storeBe16(uint8_t* p, uint16_t value) {
  p[0] = static_cast<uint8_t>(value >> 8);
  p[1] = static_cast<uint8_t>(value);
}
inline void storeBe24(uint8_t* p, uint32_t value) {
  p[0] = static_cast<uint8_t>(value >> 16);
  p[1] = static_cast<uint8_t>(value >> 8);
  p[2] = static_cast<uint8_t>(value);
}
inline void storeBe32(uint8_t* p, uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(p, &value, sizeof(value));
}
inline void storeBe64(uint8_t* p, uint64_t value) {
  value = __builtin_bswap64(value);
  std::memcpy(p, &value, sizeof(value));
}

// memcpy and memcmp for texts of a few bytes, which names and values of fields mostly are: no call, no dispatch by
// size. Two loads that may overlap take the place of a loop.
inline void copyShort(void* to, const void* from, size_t size) {
  auto* out = static_cast<uint8_t*>(to);
  const auto* in = static_cast<const uint8_t*>(from);
  const auto ends = [&](auto word) {
    auto last = word;
    std::memcpy(&word, in, sizeof(word));
    std::memcpy(&last, in + size - sizeof(word), sizeof(word));
    std::memcpy(out, &word, sizeof(word));
    std::memcpy(out + size - sizeof(word), &last, sizeof(word));
  };
  using Word16 = unsigned __int128;
  if (size >= 8) {
    if (size <= 16) return ends(uint64_t{0});
    if (size <= 32) return ends(Word16{0});
    std::memcpy(out, in, size);
  } else if (size >= 4) {
    ends(uint32_t{0});
  } else if (size != 0) {
    const uint8_t middle = in[size / 2];
    const uint8_t last = in[size - 1];
    out[0] = in[0];
    out[size / 2] = middle;
    out[size - 1] = last;
  }
}
// No byte of `word` is below 0x20, nor 0x7f. HTAB is one of those below.
inline bool isFreeOfControls(uint64_t word) {
  constexpr uint64_t ones = 0x0101010101010101;
  const uint64_t low_bits = word & (0x7f * ones);
  const uint64_t not_below = low_bits + 0x60 * ones;
  const uint64_t del = low_bits + ones;
  return ((~(not_below | word) | (del & ~word)) & (0x80 * ones)) == 0;
}
inline bool equalShort(const void* a, const void* b, size_t size) {
  const auto* left = static_cast<const uint8_t*>(a);
  const auto* right = static_cast<const uint8_t*>(b);
  const auto load = [](const uint8_t* p, auto word) {
    std::memcpy(&word, p, sizeof(word));
    return word;
  };
  if (size >= 8) {
    size_t i = 0;
    for (; i + 8 < size; i += 8) {
      if (load(left + i, uint64_t{0}) != load(right + i, uint64_t{0})) return false;
    }
    return load(left + size - 8, uint64_t{0}) == load(right + size - 8, uint64_t{0});
  }
  if (size >= 4) {
    return ((load(left, uint32_t{0}) ^ load(right, uint32_t{0})) |
            (load(left + size - 4, uint32_t{0}) ^ load(right + size - 4, uint32_t{0}))) == 0;
  }
  if (size == 0) return true;
  return left[0] == right[0] && left[size / 2] == right[size / 2] && left[size - 1] == right[size - 1];
}
inline bool equalShort(std::string_view a, std::string_view b) {
  return a.size() == b.size() && equalShort(a.data(), b.data(), a.size());
}

}  // namespace plait
