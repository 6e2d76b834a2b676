#include "plait/h2/window_growth.h"

#include <gtest/gtest.h>

namespace plait::h2 {
namespace {

using Taken = WindowGrowth::Taken;

// A peer that sends what the window allows, over a round trip of `round_trip_ms`, to a reader of so many bytes a
// millisecond. Returns what the window has come to after ten seconds.
uint32_t settle(uint32_t window, int64_t round_trip_ms, uint32_t bytes_per_ms) {
  WindowGrowth growth;
  const TimeNs round_trip_ns = round_trip_ms * ns_per_ms;
  double allowed = 0;
  for (int64_t ms = 1; ms <= 10'000; ++ms) {
    // The reader takes at its pace, and no more than a window for each round trip.
    allowed =
        std::min(allowed + std::min<double>(bytes_per_ms, double(window) / double(round_trip_ms)), double(window));
    const auto count = static_cast<uint32_t>(allowed);
    allowed -= count;
    if (count != 0 && growth.take(count, window, ms * ns_per_ms, round_trip_ns) == Taken::fast) window *= 2;
  }
  return window;
}

TEST(WindowGrowth, ComesToRestBetweenTwoAndFourTimesWhatARoundTripTakes) {
  for (const int64_t round_trip_ms : {5, 20, 100}) {
    for (const uint32_t bytes_per_ms : {4'000, 10'000, 30'000}) {
      const double product = double(round_trip_ms) * bytes_per_ms;
      const uint32_t window = settle(32 << 10, round_trip_ms, bytes_per_ms);
      if (product < 20'000) continue;  // less than what the window begins with
      EXPECT_GE(window, 1.9 * product) << round_trip_ms << " ms, " << bytes_per_ms;
      EXPECT_LE(window, 4.1 * product) << round_trip_ms << " ms, " << bytes_per_ms;
    }
  }
}

TEST(WindowGrowth, OfASlowReaderIsNone) {
  EXPECT_EQ(settle(32 << 10, 20, 100), 32u << 10);
  EXPECT_EQ(settle(32 << 10, 100, 10), 32u << 10);
}

TEST(WindowGrowth, NeedsARoundTripThatIsKnown) {
  WindowGrowth growth;
  EXPECT_EQ(growth.take(1000, 1000, ns_per_ms, 0), Taken::slow);
  EXPECT_EQ(growth.take(999, 1000, ns_per_ms, ns_per_ms), Taken::part);
  EXPECT_EQ(growth.take(1, 1000, ns_per_ms, ns_per_ms), Taken::fast);
}

TEST(WindowGrowth, CountsThePausesBetweenBursts) {
  // A whole window at once every second is slow, though each is taken in no time.
  WindowGrowth growth;
  EXPECT_EQ(growth.take(1000, 1000, ns_per_s, 20 * ns_per_ms), Taken::fast);
  for (int64_t s = 2; s < 10; ++s) {
    EXPECT_FALSE(growth.isSlow(s * ns_per_s - 900 * ns_per_ms, 20 * ns_per_ms));
    EXPECT_TRUE(growth.isSlow(s * ns_per_s - 800 * ns_per_ms, 20 * ns_per_ms));
    EXPECT_EQ(growth.take(1000, 1000, s * ns_per_s, 20 * ns_per_ms), Taken::slow);
  }
}

TEST(RoundTrip, IsAskedForOnlyAfterDataAndOneAtATime) {
  RoundTrip trip;
  TimeNs now_ns = 5 * ns_per_s;
  EXPECT_FALSE(trip.isDue(now_ns));
  trip.noteData();
  EXPECT_TRUE(trip.isDue(now_ns));
  const uint64_t asked = trip.ask(now_ns);
  trip.noteData();
  EXPECT_FALSE(trip.isDue(now_ns + ns_per_s)) << "the first has no answer";
  EXPECT_EQ(trip.ns(), 0);
  EXPECT_TRUE(trip.take(asked, now_ns + 20 * ns_per_ms));
  EXPECT_EQ(trip.ns(), 20 * ns_per_ms);
  EXPECT_FALSE(trip.isDue(now_ns + 50 * ns_per_ms)) << "a moment ago";
  EXPECT_TRUE(trip.isDue(now_ns + ns_per_s));
  (void)trip.ask(now_ns + ns_per_s);
  EXPECT_TRUE(trip.take(asked, now_ns + 2 * ns_per_s)) << "an answer that comes twice is nobody else's";
  EXPECT_EQ(trip.ns(), 20 * ns_per_ms);
}

TEST(RoundTrip, TellsItsPingsFromOthers) {
  RoundTrip trip;
  trip.noteData();
  (void)trip.ask(0);
  EXPECT_FALSE(trip.take(0, ns_per_s));
  EXPECT_FALSE(trip.take(static_cast<uint64_t>(1'700'000'000) * ns_per_s, ns_per_s)) << "a moment in nanoseconds";
  EXPECT_EQ(trip.ns(), 0);
}

TEST(RoundTrip, IsTheLeastOfRecentOnes) {
  RoundTrip trip;
  const auto measure = [&](TimeNs at_ns, int64_t took_ms) {
    trip.noteData();
    ASSERT_TRUE(trip.isDue(at_ns));
    ASSERT_TRUE(trip.take(trip.ask(at_ns), at_ns + took_ms * ns_per_ms));
  };
  measure(100 * ns_per_s, 30);
  measure(101 * ns_per_s, 20);
  measure(102 * ns_per_s, 300);
  EXPECT_EQ(trip.ns(), 20 * ns_per_ms);
  measure(112 * ns_per_s, 40);
  EXPECT_EQ(trip.ns(), 20 * ns_per_ms);
  measure(121 * ns_per_s, 50);
  EXPECT_EQ(trip.ns(), 40 * ns_per_ms) << "what was shown twenty seconds ago says nothing";
  measure(500 * ns_per_s, 60);
  EXPECT_EQ(trip.ns(), 60 * ns_per_ms);
}

}  // namespace
}  // namespace plait::h2
