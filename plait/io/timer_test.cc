#include "plait/io/timer.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "plait/base/random.h"

namespace plait {
namespace {

constexpr TimeNs tick = TimerWheel::tick_ns;

struct Probe {
  explicit Probe(std::vector<int>& fired, int number)
      : order(&fired), id(number), timer(this, [](void* self) {
          auto* probe = static_cast<Probe*>(self);
          probe->order->push_back(probe->id);
        }) {}
  std::vector<int>* order;
  int id;
  Timer timer;
};

TEST(Timers, FireInTheOrderOfTheirDeadlinesAndNeverEarly) {
  TimerWheel wheel(1000);
  std::vector<int> fired;
  Probe a(fired, 1), b(fired, 2), c(fired, 3);
  wheel.arm(c.timer, 1000 + 20 * tick);
  wheel.arm(a.timer, 1000 + 3 * tick);
  wheel.arm(b.timer, 1000 + 10 * tick);
  wheel.advance(1000 + 3 * tick - 1);
  EXPECT_TRUE(fired.empty());
  wheel.advance(1000 + 4 * tick);
  EXPECT_EQ(fired, (std::vector<int>{1}));
  wheel.advance(1000 + 40 * tick);
  EXPECT_EQ(fired, (std::vector<int>{1, 2, 3}));
  EXPECT_FALSE(a.timer.isArmed());
}

TEST(Timers, OfOneTickFireInTheOrderInWhichTheyWereArmed) {
  TimerWheel wheel(0);
  std::vector<int> fired;
  Probe a(fired, 1), b(fired, 2), c(fired, 3);
  for (Probe* one : {&b, &a, &c}) wheel.arm(one->timer, 5 * tick);
  wheel.advance(5 * tick);
  EXPECT_EQ(fired, (std::vector<int>{2, 1, 3}));
}

TEST(Timers, ArmedAgainTheyFireOnceAtTheNewTime) {
  TimerWheel wheel(0);
  std::vector<int> fired;
  Probe a(fired, 1);
  wheel.arm(a.timer, 2 * tick);
  wheel.arm(a.timer, 9 * tick);
  wheel.advance(8 * tick);
  EXPECT_TRUE(fired.empty());
  wheel.arm(a.timer, 8 * tick);  // in the past: with the next tick
  wheel.advance(9 * tick);
  EXPECT_EQ(fired.size(), 1u);
  wheel.advance(100 * tick);
  EXPECT_EQ(fired.size(), 1u);
}

TEST(Timers, CancelledOrDisarmedOrDestroyedTheyDoNotFire) {
  TimerWheel wheel(0);
  std::vector<int> fired;
  Probe a(fired, 1), b(fired, 2);
  auto c = std::make_unique<Probe>(fired, 3);
  wheel.arm(a.timer, 2 * tick);
  wheel.arm(b.timer, 2 * tick);
  wheel.arm(c->timer, 2 * tick);
  a.timer.cancel();
  wheel.arm(b.timer, never_ns);
  c.reset();
  wheel.advance(2000 * tick);
  EXPECT_TRUE(fired.empty());
  EXPECT_EQ(wheel.nextLook(), never_ns);
}

TEST(Timers, DeadlinesFarBeyondOneRevolutionAreKept) {
  TimerWheel wheel(0);
  std::vector<int> fired;
  Probe hour(fired, 1), near(fired, 2);
  const TimeNs due = 3600 * ns_per_s;
  wheel.arm(hour.timer, due);
  wheel.arm(near.timer, 1500 * tick);
  for (TimeNs now = 0; now < due; now += 700 * ns_per_ms) {
    wheel.advance(now);
    ASSERT_EQ(fired.size(), now < 1500 * tick ? 0u : 1u) << now;
  }
  wheel.advance(due);
  EXPECT_EQ(fired, (std::vector<int>{2, 1}));
}

TEST(Timers, ALongPauseFiresEverythingThatIsDueAndNothingElse) {
  TimerWheel wheel(0);
  std::vector<int> fired;
  std::vector<std::unique_ptr<Probe>> probes;
  for (int i = 0; i < 3000; ++i) {
    probes.push_back(std::make_unique<Probe>(fired, i));
    wheel.arm(probes.back()->timer, (i + 1) * tick);
  }
  wheel.advance(2000 * tick);
  EXPECT_EQ(fired.size(), 2000u);
  wheel.advance(4000 * tick);
  EXPECT_EQ(fired.size(), 3000u);
}

TEST(Timers, OneThatIsArmedWhileOthersFireWaitsForItsOwnTime) {
  TimerWheel wheel(0);
  struct Again {
    TimerWheel& wheel;
    int count = 0;
    TimeNs next = 0;
    Timer timer{this, [](void* self) {
                  auto* again = static_cast<Again*>(self);
                  again->count += 1;
                  again->next += 3 * tick;
                  again->wheel.arm(again->timer, again->next);
                }};
  } again{wheel};
  wheel.arm(again.timer, again.next);
  for (int i = 0; i <= 31; ++i) wheel.advance(i * tick);
  EXPECT_EQ(again.count, 11);
}

// The loop sleeps until nextLook(): it must never lie behind a deadline.
TEST(Timers, TheNextLookIsNeverLateAndAlwaysComes) {
  Random random(7);
  TimerWheel wheel(0);
  std::vector<int> fired;
  std::vector<std::unique_ptr<Probe>> probes;
  for (int i = 0; i < 64; ++i) probes.push_back(std::make_unique<Probe>(fired, i));
  TimeNs now = 0;
  for (int round = 0; round < 5000; ++round) {
    Probe& one = *probes[random.below(64)];
    wheel.arm(one.timer, now + static_cast<TimeNs>(random.below(3000)) * tick / 2);
    TimeNs earliest = never_ns;
    for (auto& probe : probes) {
      if (probe->timer.isArmed()) earliest = std::min(earliest, std::max(probe->timer.due(), now));
    }
    const TimeNs look = wheel.nextLook();
    ASSERT_NE(look, never_ns);
    ASSERT_LE(look, earliest + 2 * tick);
    if (random.below(3) == 0) {
      now = std::max(now, look);
      wheel.advance(now);
      for (auto& probe : probes) {
        if (probe->timer.isArmed()) ASSERT_GT(probe->timer.due() + 2 * tick, now);
      }
    }
  }
}

}  // namespace
}  // namespace plait
