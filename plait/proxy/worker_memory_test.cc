#include "plait/proxy/worker_memory.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

TEST(MemorySum, FollowsTheLimitsAndWhatIsUsed) {
  WorkerOptions options;
  const uint64_t bare = sumOf(memoryOf(options));
  EXPECT_GT(bare, 500u << 20);
  options.has_access_log = true;
  EXPECT_EQ(sumOf(memoryOf(options)), bare + options.limits.access_ring_bytes);
  options.plan = std::make_shared<Plan>();
  const uint64_t plain = sumOf(memoryOf(options));
  EXPECT_GT(plain, bare + options.limits.access_ring_bytes);
  EXPECT_EQ(tlsArenaBytes(options), 0u) << "nobody speaks TLS";
  options.limits.exchanges /= 2;
  EXPECT_LT(sumOf(memoryOf(options)), plain - (100u << 20));
}

}  // namespace
}  // namespace plait
