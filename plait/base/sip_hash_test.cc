#include "plait/base/sip_hash.h"

#include <gtest/gtest.h>

#include <string>

namespace plait {
namespace {

// The key 00 01 … 0f, and texts 00 01 … of so many bytes.
constexpr SipKey counting_key{0x0706050403020100, 0x0f0e0d0c0b0a0908};

std::string counting(size_t size) {
  std::string text;
  for (size_t i = 0; i < size; ++i) text += static_cast<char>(i);
  return text;
}

TEST(SipHash, IsWhatItsAuthorsComputed) {
  // SipHash-2-4, from the paper's appendix and the reference implementation's vectors.
  EXPECT_EQ((sipHash<2, 4>(counting_key, counting(15))), 0xa129ca6149be45e5u);
  EXPECT_EQ((sipHash<2, 4>(counting_key, counting(0))), 0x726fdb47dd0e0e31u);
  EXPECT_EQ((sipHash<2, 4>(counting_key, counting(8))), 0x93f5f5799a932462u);
  // SipHash-1-3, as Rust's standard library tests it.
  EXPECT_EQ(sipHash(counting_key, counting(0)), 0xabac0158050fc4dcu);
  EXPECT_EQ(sipHash(counting_key, counting(1)), 0xc9f49bf37d57ca93u);
}

TEST(SipHash, DependsOnKeyTextAndLength) {
  EXPECT_NE(sipHash(counting_key, "a"), sipHash({1, 2}, "a"));
  EXPECT_NE(sipHash(counting_key, std::string_view("a\0", 2)), sipHash(counting_key, "a"));
}

}  // namespace
}  // namespace plait
