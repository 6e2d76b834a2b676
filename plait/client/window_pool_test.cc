#include "plait/client/window_pool.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "plait/base/byte_queue.h"
#include "plait/base/random.h"

namespace plait {
namespace {

constexpr uint32_t own = 32 << 10;
constexpr size_t payload = 4080;

TEST(WindowPool, AStreamThatIsAloneGetsAnEighth) {
  WindowPool pool(16'384, payload, own);
  uint32_t window = own;
  uint32_t held = 0;
  for (int i = 0; i < 20; ++i) window = pool.grow(window, window * 2, held);
  EXPECT_EQ(held, 16'384u / 8);
  EXPECT_GE(window, 8u << 20);
  pool.shrink(own, held);
  EXPECT_EQ(pool.used(), 0u);
  EXPECT_EQ(held, 0u);
}

TEST(WindowPool, NearBackendsGetLargerWindowsForOneOrTwoStreamsAlone) {
  WindowPool pool(16'384, payload, own);
  std::array<uint32_t, 8> windows;
  std::array<uint32_t, 8> held{};
  windows.fill(own);
  for (int round = 0; round < 8; ++round) {
    for (size_t i = 0; i < windows.size(); ++i) {
      const uint32_t wanted = std::min(windows[i] * 2, pool.mostNearBy(windows[i]));
      windows[i] = pool.grow(windows[i], wanted, held[i]);
    }
  }
  EXPECT_GT(windows[0], own);
  EXPECT_LE(*std::ranges::max_element(windows), 128u << 10);
  EXPECT_LE(pool.used(), pool.blocksFor(256 << 10));
  EXPECT_EQ(windows.back(), own) << "the others keep their own";
  for (size_t i = 0; i < windows.size(); ++i) pool.shrink(own, held[i]);
  uint32_t alone = own;
  for (int i = 0; i < 8; ++i) alone = pool.grow(alone, std::min(alone * 2, pool.mostNearBy(alone)), held[0]);
  EXPECT_EQ(alone, 128u << 10);
}

TEST(WindowPool, ManyGreedyOnesLeaveSomethingToANewcomer) {
  WindowPool pool(16'384, payload, own);
  struct Stream {
    uint32_t window = own;
    uint32_t held = 0;
  };
  std::vector<Stream> streams(200);
  for (int round = 0; round < 20; ++round) {
    for (Stream& stream : streams) stream.window = pool.grow(stream.window, stream.window * 2, stream.held);
  }
  uint32_t held = 0;
  EXPECT_GE(pool.grow(own, 2 * own, held), 2 * own);
  EXPECT_LE(pool.used(), pool.capacity());
  // The first come do not keep what they got before the others came for ever: they only get no more.
  EXPECT_LE(streams.front().held, pool.capacity() / 8);
}

TEST(WindowPool, IsNeverGrantedTwice) {
  Random random(7);
  for (const size_t blocks : {size_t{0}, size_t{1}, size_t{7}, size_t{100}, size_t{5000}}) {
    WindowPool pool(blocks, payload, own);
    std::array<uint32_t, 50> windows;
    std::array<uint32_t, 50> held{};
    windows.fill(own);
    for (int i = 0; i < 20'000; ++i) {
      const size_t n = random.below(50);
      if (random.below(3) == 0) {
        windows[n] = std::max(own, windows[n] - random.below(windows[n]));
        pool.shrink(windows[n], held[n]);
      } else {
        const uint32_t before = windows[n];
        windows[n] = pool.grow(windows[n], windows[n] + random.below(1 << 20), held[n]);
        ASSERT_GE(windows[n], before);
      }
      size_t sum = 0;
      for (size_t k = 0; k < windows.size(); ++k) {
        ASSERT_EQ(held[k], pool.blocksFor(windows[k]));
        ASSERT_LE(held[k], blocks / 8);
        sum += held[k];
      }
      ASSERT_EQ(sum, pool.used());
      ASSERT_LE(sum, blocks);
    }
  }
}

// The blocks that a queue really takes for a window's bytes, wherever they begin in its first block.
TEST(WindowPool, CountsWhatTheBytesOfAWindowTake) {
  const size_t own_blocks = own / payload + 2;
  const WindowPool pool(16'384, payload, own);
  for (const uint32_t window : {own, own + 1, 2 * own, 100'000u, 1u << 20}) {
    for (const size_t begin : {size_t{0}, size_t{1}, size_t{2000}, payload - 1}) {
      BlockSlab blocks(4096, 1000);
      ByteQueue queue(blocks);
      const std::vector<uint8_t> bytes(window + begin);
      ASSERT_TRUE(queue.append(bytes));
      queue.consume(begin);
      EXPECT_LE(blocks.used(), own_blocks + pool.blocksFor(window)) << window << " bytes from " << begin;
    }
  }
}

}  // namespace
}  // namespace plait
