// SipHash-1-3 (Aumasson and Bernstein): a hash with a key. Nobody who does not know the key can choose texts that
// collide.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace plait {

// Drawn at random by each process.
struct SipKey {
  uint64_t first = 0;
  uint64_t second = 0;
};

template <int compression_rounds = 1, int final_rounds = 3>
inline uint64_t sipHash(const SipKey& key, std::string_view text) {
  static_assert(std::endian::native == std::endian::little);
  uint64_t v0 = key.first ^ 0x736f6d6570736575;
  uint64_t v1 = key.second ^ 0x646f72616e646f6d;
  uint64_t v2 = key.first ^ 0x6c7967656e657261;
  uint64_t v3 = key.second ^ 0x7465646279746573;
  const auto mix = [&] {
    v0 += v1, v1 = std::rotl(v1, 13) ^ v0, v0 = std::rotl(v0, 32);
    v2 += v3, v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3, v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1, v1 = std::rotl(v1, 17) ^ v2, v2 = std::rotl(v2, 32);
  };
  const auto absorb = [&](uint64_t word) {
    v3 ^= word;
    for (int i = 0; i < compression_rounds; ++i) mix();
    v0 ^= word;
  };
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, sizeof(word));
    absorb(word);
  }
  uint64_t last = uint64_t{text.size()} << 56;
  for (size_t k = 0; i + k < text.size(); ++k) last |= uint64_t{static_cast<uint8_t>(text[i + k])} << (8 * k);
  absorb(last);
  v2 ^= 0xff;
  for (int k = 0; k < final_rounds; ++k) mix();
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace plait
