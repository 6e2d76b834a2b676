// Coroutines: tasks, scopes, locks, waits, and the memory of their frames.
#include "plait/io/frame_hog_test.h"
#include "plait/io/io_test.h"

namespace plait::io_test {
namespace {

struct TaskTest : IoTest {};
INSTANTIATE_TEST_SUITE_P(Backends, TaskTest, testing::Values(IoKind::uring, IoKind::epoll), backendName);

Task<int> add(int a, int b, Io&) {
  co_return a + b;
}
Task<int> sumTo(int n, Io& io) {
  if (n == 0) co_return 0;
  co_return n + co_await sumTo(n - 1, io);
}
Task<void> storeSum(int n, int& out, Io& io) {
  out = co_await sumTo(n, io) + co_await add(1, 2, io);
}

TEST_P(TaskTest, ATaskAwaitsOthersAndItsFramesGoBack) {
  Scope scope;
  int sum = 0;
  scope.spawn(storeSum(50, sum, io), io);
  finish(scope);
  EXPECT_EQ(sum, 50 * 51 / 2 + 3);
  EXPECT_EQ(io.frames().used(), 0u);
}

Task<void> append(std::vector<int>& to, int value, Io&) {
  to.push_back(value);
  co_return;
}

TEST_P(TaskTest, SpawnedTasksRunInTheOrderOfSpawningAndNotAtOnce) {
  Scope scope;
  std::vector<int> order;
  for (int i = 0; i < 5; ++i) scope.spawn(append(order, i, io), io);
  EXPECT_TRUE(order.empty());
  EXPECT_EQ(scope.running(), 5u);
  finish(scope);
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST_P(TaskTest, AClosedScopeStartsNothingAndWhatRunsGoesOn) {
  Scope scope;
  std::vector<int> order;
  EXPECT_TRUE(scope.spawn(append(order, 1, io), io));
  scope.close();
  EXPECT_FALSE(scope.spawn(append(order, 2, io), io));
  EXPECT_EQ(scope.running(), 1u);
  finish(scope);
  EXPECT_EQ(order, (std::vector<int>{1}));
  EXPECT_EQ(io.frames().used(), 0u) << "the frame of the refused one went back";
}

TEST_P(TaskTest, ATaskThatIsNeverStartedGivesItsFrameBack) {
  std::vector<int> order;
  {
    auto task = append(order, 1, io);
  }
  EXPECT_TRUE(order.empty());
  EXPECT_EQ(io.frames().used(), 0u);
}

TEST_P(TaskTest, FramesAreUsedAgain) {
  std::vector<int> order;
  for (int i = 0; i < 5000; ++i) {
    Scope scope;
    scope.spawn(append(order, i, io), io);
    finish(scope);
  }
  EXPECT_EQ(order.size(), 5000u);  // of a slab with 256 frames of each size
}

Task<void> sleepFor(int64_t ms, TimeNs& woke_ns, Io& io) {
  co_await sleepUntil(io.nowNs() + ms * ns_per_ms, io);
  woke_ns = io.nowNs();
}
Task<void> joinAfter(Scope& scope, bool& joined, Io&) {
  co_await scope.join();
  joined = true;
}

TEST_P(TaskTest, JoinWaitsForTheLastTaskAndSleepersAreNeverEarly) {
  Scope inner;
  Scope outer;
  TimeNs woke[3] = {};
  bool joined = false;
  const TimeNs start = io.nowNs();
  for (int i = 0; i < 3; ++i) inner.spawn(sleepFor(20 * (3 - i), woke[i], io), io);
  outer.spawn(joinAfter(inner, joined, io), io);
  EXPECT_TRUE(turnUntil([&] { return woke[2] != 0; }));
  EXPECT_FALSE(joined);
  finish(outer);
  EXPECT_TRUE(joined);
  for (int i = 0; i < 3; ++i) EXPECT_GE(woke[i] - start, 20 * (3 - i) * ns_per_ms);
  EXPECT_LE(woke[2], woke[1]);
}

TEST_P(TaskTest, SleepingUntilThePastDoesNotSuspend) {
  Scope scope;
  TimeNs woke = 0;
  scope.spawn(sleepFor(-5, woke, io), io);
  io.turn(0);
  EXPECT_NE(woke, 0);
  EXPECT_EQ(scope.running(), 0u);
}

Task<void> critical(IoMutex& mutex, std::vector<int>& log, int id, Io& io) {
  co_await mutex.lock();
  log.push_back(id);
  co_await sleepUntil(io.nowNs() + ns_per_ms, io);
  log.push_back(id);
  mutex.unlock(io);
}

TEST_P(TaskTest, AMutexAdmitsOneAtATimeFirstComeFirstServed) {
  IoMutex mutex;
  std::vector<int> log;
  Scope scope;
  for (int i = 0; i < 4; ++i) scope.spawn(critical(mutex, log, i, io), io);
  finish(scope);
  EXPECT_EQ(log, (std::vector<int>{0, 0, 1, 1, 2, 2, 3, 3}));
}

Task<void> waitFor(IoCondition& condition, std::vector<int>& log, int id, Io&) {
  co_await condition.wait();
  log.push_back(id);
}

TEST_P(TaskTest, AConditionWakesTheLongestWaiterOrAllOfThem) {
  IoCondition condition;
  std::vector<int> log;
  Scope scope;
  condition.notifyOne(io);  // with nobody waiting it is lost
  for (int i = 0; i < 4; ++i) scope.spawn(waitFor(condition, log, i, io), io);
  io.turn(0);
  EXPECT_TRUE(log.empty());
  condition.notifyOne(io);
  io.turn(0);
  EXPECT_EQ(log, (std::vector<int>{0}));
  condition.notifyAll(io);
  finish(scope);
  EXPECT_EQ(log, (std::vector<int>{0, 1, 2, 3}));
}

Task<void> waitFor(IoCondition& condition, uint32_t& woken, Io&) {
  co_await condition.wait();
  woken += 1;
}

// As when a server with many clients drains.
TEST(Tasks, AllThatThereIsMemoryForMayBeReadyAtOnce) {
  constexpr uint32_t count = 140'000;
  BufferPool buffers(8, 4096);
  Mailbox mailbox;
  auto backend = makeBackend(IoKind::epoll, buffers, mailbox, nullptr);
  ASSERT_TRUE(backend);
  Io io(**backend, buffers, {.frames = FrameCounts::evenly(count)});
  Scope scope;
  IoCondition condition;
  uint32_t woken = 0;
  for (uint32_t i = 0; i < count; ++i) {
    ASSERT_TRUE(scope.spawn(waitFor(condition, woken, io), io));
    if (i % 1000 == 999) io.turn(0);
  }
  condition.notifyAll(io);
  io.turn(0);
  EXPECT_EQ(woken, count);
}

Task<int> answer(Io&) {
  co_return 42;
}
Task<Result<int>> answerOrError(Io&) {
  co_return 42;
}
Task<bool> agree(Io&) {
  co_return true;
}
Task<void> note(bool& has_run, Io&) {
  has_run = true;
  co_return;
}
Task<void> noteLast(bool& has_run, Io&, LastFrame = {}) {
  has_run = true;
  co_return;
}
Task<void> askAll(std::vector<int>& results, bool& has_run, Io& io) {
  results.push_back(co_await answer(io));
  const Result<int> result = co_await answerOrError(io);
  results.push_back(result ? *result : -static_cast<int>(result.error().code));
  results.push_back(co_await agree(io));
  co_await note(has_run, io);
}

TEST_P(TaskTest, ATaskWithoutAFrameIsEmptyAndItsResultAnError) {
  std::vector<int> results;
  bool has_run = false;
  Scope scope;
  const uint64_t refusals = io.frames().refusals();
  {
    const FrameHog hog(io, 1);
    EXPECT_TRUE(scope.spawn(askAll(results, has_run, io), io));
    io.turn(0);
    EXPECT_EQ(results, (std::vector<int>{0, -static_cast<int>(ErrorCode::no_memory), 0}));
    EXPECT_FALSE(has_run);
    const FrameHog rest(io, 0);
    EXPECT_FALSE(scope.spawn(note(has_run, io), io));
    EXPECT_EQ(scope.running(), 0u);
    EXPECT_TRUE(scope.spawn(noteLast(has_run, io), io)) << "some are kept for those";
    io.turn(0);
    EXPECT_TRUE(has_run);
    EXPECT_GT(io.frames().refusals(), refusals);
  }
  results.clear();
  EXPECT_TRUE(scope.spawn(askAll(results, has_run, io), io));
  io.turn(0);
  EXPECT_EQ(results, (std::vector<int>{42, 42, 1}));
}

TEST_P(TaskTest, FlushingHappensOnceATurnAfterEverythingThatWasReady) {
  struct Flusher final : Io::Flusher {
    std::vector<int>* log = nullptr;
    void flush() override { log->push_back(-1); }
  } flusher;
  std::vector<int> log;
  flusher.log = &log;
  Scope scope;
  for (int i = 0; i < 3; ++i) scope.spawn(append(log, i, io), io);
  io.flushLater(flusher);
  io.flushLater(flusher);
  io.turn(0);
  EXPECT_EQ(log, (std::vector<int>{0, 1, 2, -1}));
  io.turn(0);
  EXPECT_EQ(log.size(), 4u);
}

}  // namespace
}  // namespace plait::io_test
