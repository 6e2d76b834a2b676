#include "plait/base/token_bucket.h"

#include <gtest/gtest.h>

#include <limits>

namespace plait {
namespace {

uint32_t takeAll(TokenBucket& bucket, TimeNs now_ns) {
  uint32_t taken = 0;
  while (bucket.take(now_ns)) taken += 1;
  return taken;
}

TEST(TokenBucket, AllowsItsCapacityAtOnceAndItsRateAfterwards) {
  TokenBucket bucket(400, 30, 0);
  EXPECT_EQ(takeAll(bucket, 0), 400u);
  EXPECT_EQ(takeAll(bucket, ns_per_s), 30u);
  EXPECT_EQ(takeAll(bucket, 11 * ns_per_s), 300u);
}

TEST(TokenBucket, ManyShortLooksEarnAsMuchAsOneLongOne) {
  TokenBucket bucket(400, 30, 0);
  (void)takeAll(bucket, 0);
  uint32_t taken = 0;
  // Each look comes after less than one token's time: the part that has been earned is not lost.
  for (TimeNs now_ns = 0; now_ns <= 10 * ns_per_s; now_ns += 7 * ns_per_ms) taken += takeAll(bucket, now_ns);
  EXPECT_GE(taken, 299u);
  EXPECT_LE(taken, 300u);
}

TEST(TokenBucket, ARateMayBeLessThanOneASecond) {
  TokenBucket bucket(5, 1, 0, 2 * ns_per_s);
  EXPECT_EQ(takeAll(bucket, 0), 5u);
  EXPECT_EQ(takeAll(bucket, ns_per_s), 0u);
  EXPECT_EQ(takeAll(bucket, 2 * ns_per_s), 1u);
  EXPECT_EQ(takeAll(bucket, 7 * ns_per_s), 2u);
  EXPECT_EQ(takeAll(bucket, 8 * ns_per_s), 1u);
}

TEST(TokenBucket, AFullBucketEarnsNothing) {
  TokenBucket bucket(10, 1, 0);
  EXPECT_EQ(bucket.left(100 * ns_per_s), 10u);
  EXPECT_EQ(takeAll(bucket, 100 * ns_per_s), 10u);
  EXPECT_EQ(takeAll(bucket, 100 * ns_per_s + ns_per_s / 2), 0u) << "time as a full one counts for nothing";
}

TEST(TokenBucket, TakesAllOrNothing) {
  TokenBucket bucket(10, 0, 0);
  EXPECT_FALSE(bucket.take(0, 11));
  EXPECT_TRUE(bucket.take(0, 6));
  EXPECT_FALSE(bucket.take(0, 5));
  EXPECT_EQ(bucket.left(ns_per_s), 4u) << "without a rate time brings nothing";
  bucket.give(3);
  EXPECT_TRUE(bucket.take(0, 7));
}

TEST(TokenBucket, GivenTokensDoNotExceedItsCapacity) {
  TokenBucket bucket(10, 0, 0);
  bucket.give(100);
  EXPECT_EQ(bucket.left(0), 10u);
}

TEST(TokenBucket, CenturiesOfIdlenessDoNotOverflow) {
  TokenBucket bucket(1'000'000, 1'000'000, 0);
  (void)bucket.take(0, 1'000'000);
  EXPECT_EQ(bucket.left(std::numeric_limits<TimeNs>::max()), 1'000'000u);
}

}  // namespace
}  // namespace plait
