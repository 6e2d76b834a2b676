#include "plait/client/head_time.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

constexpr int64_t ms = ns_per_ms;

TEST(HeadTime, AReadingCountsAnEighthAndIsHalfForgottenAfterTenSeconds) {
  HeadTime time;
  const TimeNs now_ns = 100 * ns_per_s;
  EXPECT_EQ(time.average(now_ns, 10 * ms), 10 * ms) << "a new endpoint is like its siblings";
  time.add(now_ns, 90 * ms);
  EXPECT_EQ(time.average(now_ns, 10 * ms), 20 * ms);
  EXPECT_EQ(time.average(now_ns + HeadTime::half_life_ns, 10 * ms), 15 * ms);
  EXPECT_EQ(time.average(now_ns + 2 * HeadTime::half_life_ns, 10 * ms), 12'500'000);
}

TEST(HeadTime, TheFirstReadingOfAllCountsWhole) {
  HeadTime time;
  EXPECT_FALSE(time.isMeasured());
  time.add(ns_per_s, 40 * ms);
  EXPECT_TRUE(time.isMeasured());
  EXPECT_EQ(time.average(ns_per_s, 0), 40 * ms);
}

TEST(HeadTime, TheFirstReadingOfANewEndpointIsNoMoreThanAnyOther) {
  HeadTime time;
  EXPECT_EQ(time.average(ns_per_s, 10 * ms), 10 * ms);
  time.add(ns_per_s, 90 * ms);
  EXPECT_EQ(time.average(ns_per_s, 10 * ms), 20 * ms);
}

TEST(HeadTime, AnEndpointThatWasSlowOnceIsMeasuredAgainSinceItComesBackToItsSiblings) {
  HeadTime time;
  (void)time.average(ns_per_s, 5 * ms);
  time.add(ns_per_s, 800 * ms);
  int64_t before_ns = time.average(ns_per_s, 5 * ms);
  for (int second = 2; second <= 200; ++second) {
    const int64_t now_ns = time.average(second * ns_per_s, 5 * ms);
    EXPECT_LE(now_ns, before_ns);
    before_ns = now_ns;
  }
  EXPECT_LT(before_ns, 6 * ms);
}

TEST(HeadTime, OtherTimesOfTheSiblingsLeaveWhatWasMeasured) {
  HeadTime time;
  (void)time.average(ns_per_s, 10 * ms);
  time.add(ns_per_s, 330 * ms);
  EXPECT_EQ(time.average(ns_per_s, 20 * ms), 50 * ms) << "the endpoint is as quick as before";
  EXPECT_EQ(time.average(ns_per_s + HeadTime::half_life_ns, 20 * ms), 35 * ms);
}

TEST(HeadTime, NothingIsLeftAfterManyHalfLives) {
  EXPECT_EQ(decayed(1000, 0, 10), 1000);
  EXPECT_EQ(decayed(1000, 10, 10), 500);
  EXPECT_EQ(decayed(1000, 15, 10), 375) << "a straight line between two halvings";
  EXPECT_EQ(decayed(-1000, 10, 10), -500);
  EXPECT_EQ(decayed(INT64_MAX, 400, 10), 0);
}

}  // namespace
}  // namespace plait
