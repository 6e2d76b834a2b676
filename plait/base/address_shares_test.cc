#include "plait/base/address_shares.h"

#include <gtest/gtest.h>

#include <map>

#include "plait/base/random.h"

namespace plait {
namespace {

TEST(AddressShares, OneAddressLeavesASixtyFourthToOthersAndWithOthersAShare) {
  AddressShares shares(128, 7);
  for (int i = 0; i < 126; ++i) {
    ASSERT_TRUE(shares.mayTake(1, 128, 128 - i)) << i;
    shares.add(1);
  }
  EXPECT_FALSE(shares.mayTake(1, 128, 2)) << "the rest is for others";
  ASSERT_TRUE(shares.mayTake(2, 128, 2));
  shares.add(2);
  EXPECT_TRUE(shares.mayTake(2, 128, 1));
  EXPECT_FALSE(shares.mayTake(1, 128, 1));
  for (int i = 0; i < 20; ++i) shares.remove(1);
  EXPECT_TRUE(shares.mayTake(1, 128, 21)) << "nothing is short";
}

TEST(AddressShares, AnAddressIsAboveItsShareOnlyBesideOthers) {
  AddressShares shares(128, 7);
  for (int i = 0; i < 100; ++i) shares.add(1);
  EXPECT_FALSE(shares.isAbove(1, 128));
  shares.add(2);
  EXPECT_TRUE(shares.isAbove(1, 128)) << "half is its share";
  EXPECT_FALSE(shares.isAbove(2, 128));
  EXPECT_FALSE(shares.isAbove(3, 128));
}

TEST(AddressShares, WhereAllIsFewOneAddressMayHaveAll) {
  AddressShares shares(8, 7);
  for (size_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(shares.mayTake(1, 8, 8 - i));
    shares.add(1);
  }
}

TEST(AddressShares, CountsLikeATableOfTheStandardLibrary) {
  AddressShares shares(64, 1);
  std::map<uint64_t, size_t> expected;
  Random random(5);
  size_t held = 0;
  for (int i = 0; i < 20'000; ++i) {
    const uint64_t address = 1 + random.below(40);
    if (random.below(2) == 0 && held < 64) {
      shares.add(address);
      expected[address] += 1;
      held += 1;
    } else if (expected.contains(address)) {
      shares.remove(address);
      held -= 1;
      if (--expected[address] == 0) expected.erase(address);
    }
    ASSERT_EQ(shares.addresses(), expected.size());
    const uint64_t asked = 1 + random.below(40);
    const bool is_known = expected.contains(asked);
    if (expected.size() > 1 || !is_known) {
      const size_t share = 64 / (expected.size() + (is_known ? 0 : 1));
      ASSERT_EQ(shares.mayTake(asked, 64, 1), (is_known ? expected[asked] : 0) < std::max<size_t>(share, 1));
    }
  }
}

}  // namespace
}  // namespace plait
