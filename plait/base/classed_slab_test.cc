#include "plait/base/classed_slab.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace plait {
namespace {

struct Held {
  uint8_t* block;
  size_t size;
  uint8_t mark;
};

TEST(ClassedSlab, HoldsAsManyBlocksAsItWasMadeForWhateverTheirSizesWere) {
  constexpr size_t count = 40;
  ClassedSlab slab(count);
  std::mt19937 random(8192);
  std::vector<Held> held;
  for (int round = 0; round < 20'000; ++round) {
    // Rounds of mostly taking and of mostly giving, so that the slab fills up and empties.
    const bool takes = random() % 8 < (round / 200 % 2 == 0 ? 6u : 2u);
    if (takes && held.size() < count) {
      const size_t size = ClassedSlab::smallest << random() % ClassedSlab::class_count;
      uint8_t* block = slab.take(size);
      ASSERT_NE(block, nullptr) << held.size() << " blocks are held";
      const auto mark = static_cast<uint8_t>(random());
      std::memset(block, mark, size);
      held.push_back({block, size, mark});
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      const Held given = held.back();
      held.pop_back();
      for (size_t i = 0; i < given.size; ++i) ASSERT_EQ(given.block[i], given.mark) << "blocks overlap";
      slab.give(given.block);
    }
    ASSERT_EQ(slab.used(), held.size());
  }
  EXPECT_EQ(slab.peak(), count);
}

TEST(ClassedSlab, SmallBlocksShareAChunkAndOneTooManyIsRefused) {
  ClassedSlab slab(2);
  std::vector<uint8_t*> blocks;
  for (size_t i = 0; i < 2 * ClassedSlab::largest / ClassedSlab::smallest; ++i) {
    blocks.push_back(slab.take(ClassedSlab::smallest));
    ASSERT_NE(blocks.back(), nullptr);
  }
  EXPECT_EQ(slab.take(ClassedSlab::smallest), nullptr);
  // A chunk goes from one class to another as soon as its last block is back.
  for (size_t i = 0; i < ClassedSlab::largest / ClassedSlab::smallest; ++i) slab.give(blocks[i]);
  EXPECT_EQ(slab.take(256), blocks[0]);
  EXPECT_EQ(slab.take(ClassedSlab::largest), nullptr);
}

TEST(ClassedSlab, RoundsUpToItsClasses) {
  EXPECT_EQ(ClassedSlab::roundUp(0), 128u);
  EXPECT_EQ(ClassedSlab::roundUp(129), 256u);
  EXPECT_EQ(ClassedSlab::roundUp(256), 256u);
  EXPECT_EQ(ClassedSlab::roundUp(257), 512u);
  EXPECT_EQ(ClassedSlab::roundUp(8192), 8192u);
}

}  // namespace
}  // namespace plait
