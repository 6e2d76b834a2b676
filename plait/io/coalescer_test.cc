// When a turn waits for more than its first completion, and for how long. The clock and the CPU's are the test's.
#include "plait/io/coalescer.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

struct CoalescerTest : testing::Test {
  // One turn every 100 µs for `ms`, in which the thread runs `busy_percent` of the time and sends `answers` heads, each
  // `took_us` behind its request. Returns the last wait.
  TimeNs pass(int64_t ms, int64_t busy_percent, uint32_t answers, int64_t took_us) {
    TimeNs wait_ns = 0;
    for (int64_t i = 0; i < ms * 10; ++i) wait_ns = turn(busy_percent, answers, took_us);
    return wait_ns;
  }
  TimeNs turn(int64_t busy_percent, uint32_t answers, int64_t took_us) {
    const TimeNs wait_ns = coalescer.beginTurn(now_ns, false);
    now_ns += 100 * ns_per_us;
    cpu_ns += busy_percent * ns_per_us;
    for (uint32_t i = 0; i < answers; ++i) coalescer.noteAnswered(took_us * ns_per_us);
    coalescer.endTurn(now_ns, [&] { return cpu_ns; });
    return wait_ns;
  }

  Coalescer coalescer{500 * ns_per_us};
  TimeNs now_ns = ns_per_s;
  TimeNs cpu_ns = 0;
};

TEST_F(CoalescerTest, AnIdleThreadAnswersAtOnceHoweverLongItsBackendsTake) {
  EXPECT_EQ(pass(100, 2, 10, 10'000), 0);
}

TEST_F(CoalescerTest, WithQuickBackendsOnlyAThreadThatRunsMostOfTheTimeWaits) {
  EXPECT_EQ(pass(100, 45, 10, 50), 0);
  const TimeNs wait_ns = pass(100, 75, 10, 50);
  EXPECT_GE(wait_ns, 140 * ns_per_us);
  EXPECT_LE(wait_ns, 150 * ns_per_us);
}

TEST_F(CoalescerTest, AWaitIsAPartOfWhatRequestsTakeAndNeverMoreThanTheMost) {
  const TimeNs wait_ns = pass(300, 40, 10, 1250);
  EXPECT_GE(wait_ns, 180 * ns_per_us);
  EXPECT_LE(wait_ns, 210 * ns_per_us);
  EXPECT_EQ(pass(300, 40, 10, 100'000), 500 * ns_per_us);
  EXPECT_EQ(pass(300, 40, 10, 50), 0);
}

TEST_F(CoalescerTest, RequestsThatTakeLongDoNotCountWhereAThirdIsQuick) {
  for (int i = 0; i < 3000; ++i) {
    turn(40, 4, 50);
    turn(40, 8, 60'000'000);
  }
  EXPECT_EQ(coalescer.beginTurn(now_ns, false), 0);
}

TEST_F(CoalescerTest, BehindBulkNobodyWaitsForAWhile) {
  ASSERT_NE(pass(100, 75, 10, 50), 0);
  coalescer.noteBulk(now_ns);
  EXPECT_EQ(turn(75, 10, 50), 0);
  EXPECT_EQ(pass(3, 75, 10, 50), 0);
  EXPECT_NE(pass(3, 75, 10, 50), 0);
}

TEST_F(CoalescerTest, WaitsThatBringTooLittleEndAndAreTriedAgainSeldom) {
  uint32_t waits = 0;
  for (int i = 0; i < 10'000; ++i) waits += turn(75, 1, 50) != 0 ? 1 : 0;
  EXPECT_GT(waits, 10u) << "what comes may change";
  EXPECT_LT(waits, 200u) << "of 10,000 turns in a second";
  EXPECT_NE(pass(200, 75, 8, 50), 0);
}

TEST_F(CoalescerTest, ATurnWithWorkNeitherWaitsNorCountsAsAWaitThatBroughtNothing) {
  ASSERT_NE(pass(100, 75, 10, 50), 0);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(coalescer.beginTurn(now_ns, true), 0);
    now_ns += 100 * ns_per_us;
    cpu_ns += 75 * ns_per_us;
    coalescer.endTurn(now_ns, [&] { return cpu_ns; });
  }
  EXPECT_NE(coalescer.beginTurn(now_ns, false), 0);
}

TEST_F(CoalescerTest, ALongSleepEndsABusyTimeAtOnce) {
  ASSERT_NE(pass(100, 90, 10, 50), 0);
  now_ns += ns_per_s;
  turn(90, 10, 50);
  EXPECT_EQ(coalescer.beginTurn(now_ns, false), 0);
}

TEST_F(CoalescerTest, WhereNothingIsAnsweredNobodyWaits) {
  EXPECT_EQ(pass(200, 90, 0, 0), 0);
  EXPECT_NE(pass(200, 90, 10, 50), 0);
}

TEST_F(CoalescerTest, WhoWantsNoneHasNone) {
  Coalescer never(0);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(never.beginTurn(now_ns, false), 0);
    now_ns += 100 * ns_per_us;
    cpu_ns += 90 * ns_per_us;
    for (int j = 0; j < 10; ++j) never.noteAnswered(10 * ns_per_ms);
    never.endTurn(now_ns, [&] { return cpu_ns; });
  }
}

}  // namespace
}  // namespace plait
