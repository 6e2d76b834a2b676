#include "plait/limits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace plait {
namespace {

// The key of the bound that is wrong, and of the one that does not allow it.
std::pair<std::string_view, std::string_view> wrong(const Limits& limits) {
  const auto mistake = limits.mistake();
  if (!mistake) return {};
  return {mistake->key, mistake->by_key == nullptr ? "" : mistake->by_key};
}
using Keys = std::pair<std::string_view, std::string_view>;

TEST(Limits, OfWhichARingIsMadeArePowersOfTwo) {
  Limits limits;
  limits.receive_buffers = 48;
  EXPECT_EQ(wrong(limits), Keys("receive_buffers", ""));
  EXPECT_TRUE(limits.mistake()->must_be_power_of_two);
  limits.receive_buffers = 0;
  EXPECT_EQ(wrong(limits), Keys("receive_buffers", ""));
  limits.receive_buffers = 65'536;
  EXPECT_EQ(wrong(limits), Keys("receive_buffers", ""));
  EXPECT_EQ(limits.mistake()->allowed, 32'768u);
  limits = {};
  limits.access_ring_bytes = 100'000;
  EXPECT_EQ(wrong(limits), Keys("access_ring_bytes", ""));
}

TEST(Limits, AWindowIsNoLargerThanTheProtocolKnows) {
  Limits limits;
  limits.upstream_stream_window = 1u << 31;
  EXPECT_EQ(wrong(limits), Keys("upstream_stream_window", ""));
}

// A window towards backends is a promise of memory, which follows it.
TEST(Limits, EachResponseHasTheBlocksOfItsWindow) {
  Limits limits;
  limits.exchanges = 64;
  limits.burst_pool_bytes = 0;
  for (const uint32_t window : {4096u, 32u << 10, 1u << 20}) {
    limits.upstream_stream_window = window;
    EXPECT_FALSE(limits.mistake().has_value());
    // The bytes may begin and end anywhere in a block.
    EXPECT_GE((uint64_t{limits.streamBlocks()} / 64 - 1) * limits.streamBlockPayload(), window);
    EXPECT_GE((uint64_t{limits.streamBlocks()} / 64 - 1) * limits.streamBlockPayload(), limits.receive_buffer_size)
        << "one read of HTTP/1.1 fits";
  }
}

TEST(Limits, ClientsLeaveASendBlockToEachConnectionToABackend) {
  Limits limits;
  limits.upstream_connections = limits.send_blocks / 8;
  limits.client_connections = 100;
  EXPECT_FALSE(limits.mistake().has_value());
  limits.upstream_connections += 1;
  EXPECT_EQ(wrong(limits), Keys("upstream_connections", "send_blocks"));
  EXPECT_EQ(limits.mistake()->allowed, limits.send_blocks / 8);
  EXPECT_FALSE(limits.LoopLimits::defect().has_value()) << "a test may have so few";
}

// The most clients that may be, each with a block, and what the others hold: none is missing.
TEST(Limits, ClientsLeaveASendBlockToEachOther) {
  for (const uint32_t blocks : {64u, 256u, 1024u, 16'384u}) {
    for (const uint32_t buffers : {16u, 64u, 512u}) {
      Limits limits;
      limits.send_blocks = blocks;
      limits.receive_buffers = buffers;
      limits.upstream_connections = blocks / 16;
      limits.send_queue_bytes = 64 << 10;
      limits.client_connections = limits.clientsWithBlocks();
      EXPECT_FALSE(limits.mistake().has_value()) << blocks << ' ' << buffers;
      // While they are not scarce as few clients as can hold a quarter of the blocks.
      const uint32_t full_queues = blocks / 4 / limits.blocksOfFullQueue();
      const uint32_t others = limits.client_connections - std::min(full_queues, limits.client_connections);
      EXPECT_GE(blocks, full_queues * limits.blocksOfFullQueue() + others + limits.blocksLeftByClients() +
                            limits.blocksForEncryption());
      limits.client_connections += 1;
      EXPECT_EQ(wrong(limits), Keys("client_connections", "send_blocks"));
    }
  }
}

TEST(Limits, OneQueueIsNoMoreThanAQuarterOfTheSendBlocks) {
  Limits limits;
  limits.send_queue_bytes = limits.largestQueue();
  EXPECT_FALSE(limits.mistake().has_value());
  EXPECT_EQ(limits.blocksOfFullQueue(), limits.send_blocks / 4);
  limits.send_queue_bytes += 1;
  EXPECT_EQ(wrong(limits), Keys("send_queue_bytes", "send_blocks"));
}

TEST(Limits, AnUploadIsNoMoreThanAnEighthOfTheMemoryForThem) {
  Limits limits;
  limits.upload_pool_bytes = 1 << 20;
  limits.client_stream_window = 128 << 10;
  EXPECT_FALSE(limits.mistake().has_value());
  limits.client_stream_window += 1;
  EXPECT_EQ(wrong(limits), Keys("client_stream_window", "upload_pool_bytes"));
}

TEST(Limits, ABodyThatIsRepeatedFitsIntoTheWindowThatItCameIn) {
  Limits limits;
  limits.replay_bytes_per_request = limits.client_stream_window;
  EXPECT_FALSE(limits.mistake().has_value());
  limits.replay_bytes_per_request += 1;
  EXPECT_EQ(wrong(limits), Keys("replay_bytes_per_request", "client_stream_window"));
}

}  // namespace
}  // namespace plait
