// The order in which one turn does things, with a backend that completes what it is told to.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "plait/io/io.h"
#include "plait/io/op_awaiter.h"
#include "plait/io/scope.h"

namespace plait {
namespace {

class ScriptedBackend final : public IoBackend {
 public:
  void submit(Op& op) override { op.armed = true; }
  void cancel(Op& op) override {
    cancels += 1;
    next.push_back({.op = &op, .result = -ECANCELED});
  }
  size_t poll(TimeNs until, TimeNs gather, std::span<Completion> completions) override {
    until_ns = until;
    gather_ns = gather;
    std::vector<Completion> reaped;
    reaped.swap(next);
    std::copy(reaped.begin(), reaped.end(), completions.begin());
    return reaped.size();
  }
  TimeNs now() override { return now_ns; }
  int64_t epochSeconds() override { return 1; }
  uint64_t entropy() override { return 7; }
  TimeNs threadCpu() override { return cpu_ns; }

  std::vector<Completion> next;
  TimeNs now_ns = 1;
  TimeNs until_ns = never_ns;
  TimeNs gather_ns = 0;
  TimeNs cpu_ns = 0;
  uint32_t cancels = 0;
};

class TurnTest : public testing::Test {
 protected:
  ScriptedBackend backend;
  BufferPool buffers{2, 64};
  Io io{backend, buffers, {.frames = FrameCounts::evenly(16)}};
  Scope scope;
  std::string said;
};

Task<void> waitThenSay(Op& op, char letter, std::string& said, Io& io) {
  co_await OpAwaiter(op, io);
  said += letter;
  co_await io.yield();
  said += static_cast<char>(letter - 'a' + 'A');
}

TEST_F(TurnTest, WhatOneCompletionSetsOffIsDoneBeforeTheNextIsDelivered) {
  Op a, b;
  scope.spawn(waitThenSay(a, 'a', said, io), io);
  scope.spawn(waitThenSay(b, 'b', said, io), io);
  io.turn(0);
  ASSERT_TRUE(a.armed && b.armed);
  backend.next = {{.op = &a}, {.op = &b}};
  io.turn(0);
  EXPECT_EQ(said, "aAbB");
  EXPECT_EQ(scope.running(), 0u);
}

// A process that was stopped finds everything at once: what has arrived, and deadlines that have passed.
TEST_F(TurnTest, AfterAStopAllThatHasArrivedIsLookedAtBeforeDeadlines) {
  struct Deadline {
    std::string* said;
    static void pass(void* self) { *static_cast<Deadline*>(self)->said += '!'; }
  } deadline{&said};
  Timer timer(&deadline, Deadline::pass);
  io.arm(timer, 50 * ns_per_ms);
  Op a, b;
  scope.spawn(waitThenSay(a, 'a', said, io), io);
  scope.spawn(waitThenSay(b, 'b', said, io), io);
  io.turn(0);
  backend.now_ns = 10 * ns_per_s;
  backend.next = {{.op = &a}};
  io.turn(0);
  EXPECT_EQ(said, "aA");
  backend.next = {{.op = &b}};
  io.turn(0);
  EXPECT_EQ(said, "aAbB!") << "once, or a peer that sends all the time would never be late";
}

Task<void> sayTwice(char letter, std::string& said, Io& io) {
  said += letter;
  co_await io.yield();
  said += letter;
}

// Ready again and again, as a mistake would have it.
Task<void> spin(const bool& is_over, uint64_t& rounds, Io& io) {
  struct Again {
    Io& io;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) { io.ready(handle); }
    void await_resume() const {}
  };
  while (!is_over) {
    rounds += 1;
    co_await Again{io};
  }
}

TEST_F(TurnTest, ATurnEndsThoughATaskIsAlwaysReadyAndTheOthersGetOn) {
  bool is_over = false;
  uint64_t rounds = 0;
  scope.spawn(spin(is_over, rounds, io), io);
  struct Deadline {
    std::string* said;
    static void pass(void* self) { *static_cast<Deadline*>(self)->said += '!'; }
  } deadline{&said};
  Timer timer(&deadline, Deadline::pass);
  io.arm(timer, 50 * ns_per_ms);
  Op a;
  scope.spawn(waitThenSay(a, 'a', said, io), io);
  io.turn(never_ns);
  EXPECT_EQ(io.roundsOfTurn(), Io::rounds_per_turn);
  EXPECT_EQ(rounds, Io::rounds_per_turn);
  backend.next = {{.op = &a}};
  backend.now_ns = 60 * ns_per_ms;
  io.turn(never_ns);
  EXPECT_EQ(backend.until_ns, 0) << "what is ready does not wait";
  EXPECT_EQ(said, "!") << "a timer fires, although what the completion made ready has to wait for its turn";
  io.turn(never_ns);
  EXPECT_EQ(said, "!aA");
  is_over = true;
  io.turn(0);
  io.turn(0);
  EXPECT_EQ(scope.running(), 0u);
  EXPECT_LT(io.roundsOfTurn(), 10u);
}

TEST_F(TurnTest, WhoAsksForAFlushWhileFlushingDoesNotKeepTheTurn) {
  struct Greedy final : Io::Flusher {
    Io& io;
    uint64_t flushed = 0;
    explicit Greedy(Io& used) : io(used) {}
    void flush() override {
      flushed += 1;
      io.flushLater(*this);
    }
  } greedy(io);
  io.flushLater(greedy);
  io.turn(never_ns);
  const uint64_t in_one_turn = greedy.flushed;
  EXPECT_LE(in_one_turn, Io::rounds_per_turn);
  io.turn(never_ns);
  EXPECT_GT(greedy.flushed, in_one_turn);
  greedy.flush_node.unlink();
}

Task<void> sayAndFlush(std::string& said, Io::Flusher& flusher, Io& io) {
  said += 'r';
  io.flushLater(flusher);
  co_return;
}

TEST_F(TurnTest, TheFirstFlushGoesBeforeTheOthersAndItsCoroutinesShareTheirFlush) {
  struct Saying final : Io::Flusher {
    std::string& said;
    explicit Saying(std::string& text) : said(text) {}
    void flush() override { said += 'o'; }
  } output(said);
  struct Waking final : Io::Flusher {
    std::string& said;
    Io::Flusher& output;
    Scope& scope;
    Io& io;
    Waking(std::string& text, Io::Flusher& flusher, Scope& spawning, Io& used)
        : said(text), output(flusher), scope(spawning), io(used) {}
    void flush() override {
      said += 'w';
      scope.spawn(sayAndFlush(said, output, io), io);
    }
  } waking(said, output, scope, io);
  io.flushLater(output);
  io.flushFirst(waking);
  io.turn(0);
  EXPECT_EQ(said, "wro");
}

TEST_F(TurnTest, YieldLetsEverythingThatIsReadyGoFirst) {
  scope.spawn(sayTwice('a', said, io), io);
  scope.spawn(sayTwice('b', said, io), io);
  io.turn(0);
  EXPECT_EQ(said, "abab");
}

Task<void> giveWay(std::string& said, Io& io) {
  said += '1';
  co_await io.nextTurn();
  said += '2';
  co_await io.nextTurn();
  said += '3';
}

TEST_F(TurnTest, WhoGivesWayGoesOnBehindWhatTheNextTurnBrings) {
  Op a, b;
  scope.spawn(waitThenSay(a, 'a', said, io), io);
  scope.spawn(waitThenSay(b, 'b', said, io), io);
  scope.spawn(giveWay(said, io), io);
  io.turn(0);
  EXPECT_EQ(said, "1");
  backend.next = {{.op = &a}};
  io.turn(never_ns);
  EXPECT_EQ(said, "1aA2");
  EXPECT_EQ(backend.until_ns, 0) << "a turn with work left must not wait";
  backend.next = {{.op = &b}};
  io.turn(never_ns);
  EXPECT_EQ(said, "1aA2bB3");
}

Task<int> answer(std::string& said, Io& io) {
  co_await io.yield();
  said += 'r';
  co_return 42;
}

Task<void> ask(std::string& said, Io& io) {
  const int result = co_await answer(said, io);
  said += result == 42 ? 'c' : '?';
}

TEST_F(TurnTest, ATaskThatEndsGoesOnInItsCallerAtOnce) {
  scope.spawn(ask(said, io), io);
  scope.spawn(sayTwice('x', said, io), io);
  io.turn(0);
  EXPECT_EQ(said, "xrcx");
}

Task<void> joinThenSay(Scope& scope, std::string& said, Io& io) {
  co_await scope.join();
  co_await io.yield();
  said += 'j';
}

TEST_F(TurnTest, AScopeIsJoinedWhenItsLastTaskHasEndedAndFreedItsFrame) {
  Op op;
  Scope outer;
  scope.spawn(waitThenSay(op, 'a', said, io), io);
  outer.spawn(joinThenSay(scope, said, io), io);
  io.turn(0);
  EXPECT_EQ(io.frames().used(), 2u);
  backend.next = {{.op = &op}};
  io.turn(0);
  EXPECT_EQ(said, "aAj");
  EXPECT_EQ(io.frames().used(), 0u);
}

TEST_F(TurnTest, ABusyLoopGathersButNotWhileItHasWorkLeft) {
  Io busy(backend, buffers, {.frames = FrameCounts::evenly(16), .coalesce_ns = 300 * ns_per_us});
  const auto serve = [&](Io& loop) {
    for (int i = 0; i < 1000; ++i) {
      backend.now_ns += 100 * ns_per_us;
      backend.cpu_ns += 80 * ns_per_us;
      loop.turn();
      // Those of the turn that has just ended count for the next, which comes to the same.
      for (int j = 0; j < 10; ++j) loop.noteAnswered(20 * ns_per_ms);
    }
  };
  serve(busy);
  EXPECT_EQ(backend.gather_ns, 300 * ns_per_us);
  scope.spawn(giveWay(said, busy), busy);
  busy.turn();
  EXPECT_EQ(backend.gather_ns, 0);
  busy.turn();
  busy.turn();
  EXPECT_EQ(said, "123");
  serve(busy);
  ASSERT_NE(backend.gather_ns, 0);
  Op recv;
  recv.bulk = true;
  recv.on_complete = [](void*, const Completion&) {};
  busy.submit(recv);
  backend.next = {{.op = &recv}};
  busy.turn();
  busy.turn();
  EXPECT_EQ(backend.gather_ns, 0) << "behind bulk";
  // An Io that has not asked for it never waits.
  serve(io);
  EXPECT_EQ(backend.gather_ns, 0);
}

struct Canceller {
  Io& io;
  Op& victim;
};

TEST_F(TurnTest, AnOpWhoseLastCompletionIsOnItsWayCannotBeCancelled) {
  Op victim;
  std::vector<int32_t> results;
  victim.owner = &results;
  victim.on_complete = [](void* owner, const Completion& completion) {
    static_cast<std::vector<int32_t>*>(owner)->push_back(completion.result);
  };
  Canceller canceller{io, victim};
  Op first;
  first.owner = &canceller;
  first.on_complete = [](void* owner, const Completion&) {
    auto* self = static_cast<Canceller*>(owner);
    self->io.cancel(self->victim);
  };
  io.submit(victim);
  io.submit(first);
  backend.next = {{.op = &first}, {.op = &victim, .result = 5}};
  io.turn(0);
  io.turn(0);
  EXPECT_EQ(results, std::vector<int32_t>{5});
  EXPECT_EQ(backend.cancels, 0u);

  // Armed again it can be; so can a stream op that goes on.
  io.submit(victim);
  io.submit(first);
  backend.next = {{.op = &first}, {.op = &victim, .result = 6, .more = true}};
  io.turn(0);
  io.turn(0);
  EXPECT_EQ(results, (std::vector<int32_t>{5, 6, -ECANCELED}));
  EXPECT_EQ(backend.cancels, 1u);
}

TEST(BufferPool, LendsPiecesOfABufferThatStaysUntilTheLastIsBackAndOnlySoMany) {
  BufferPool pool(8, 64);
  const auto taken = static_cast<uint32_t>(pool.takeFree());
  pool.markLent(taken);
  const uint8_t* bytes = pool.data(taken);
  const uint8_t elsewhere = 0;
  EXPECT_FALSE(pool.lend(&elsewhere));
  EXPECT_TRUE(pool.lend(bytes));
  EXPECT_TRUE(pool.lend(bytes + 63));
  EXPECT_FALSE(pool.lend(bytes + 1)) << "a quarter of eight";
  pool.giveBack(taken);
  EXPECT_EQ(pool.lent(), 1u) << "its reader is done, but what it sent on has not left";
  pool.takeBack(bytes + 63);
  EXPECT_EQ(pool.lent(), 1u);
  EXPECT_TRUE(pool.lend(bytes + 1));
  pool.takeBack(bytes);
  pool.takeBack(bytes + 1);
  EXPECT_EQ(pool.lent(), 0u);
}

}  // namespace
}  // namespace plait
