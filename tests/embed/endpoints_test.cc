// Endpoints that come and go while the loop runs, by the hands of other threads.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "plait/plait.h"

namespace plait {
namespace {

// Answers at once, or while it holds when it is let go.
struct HoldingHandler final : Handler {
  Task<void> handle(Exchange& exchange, Io& io) override {
    begun += 1;
    while (holds) co_await sleepUntil(io.nowNs() + ns_per_ms, io);
    exchange.respond(200, "text/plain", "answered");
    exchange.end();
  }
  int begun = 0;
  bool holds = false;
};

struct Outcome {
  uint16_t status = 0;
  std::optional<Error> error;
};

Task<void> ask(ConnectionPool& pool, EndpointId endpoint, Outcome& outcome, Io& io) {
  auto lease = co_await pool.getOrCreate(endpoint, io);
  if (!lease) {
    outcome.error = lease.error();
    co_return;
  }
  auto response = co_await lease->request("GET", "/", "embedder.test", nullptr, io);
  pool.release(*lease, response || !response.error().reachesConnection(), io);
  if (response) {
    outcome.status = response->status();
  } else {
    outcome.error = response.error();
  }
}

Task<void> waitFor(const std::atomic<bool>& flag, Io& io) {
  while (!flag) co_await sleepUntil(io.nowNs() + ns_per_ms, io);
}

// What the loop and the other threads know together.
struct Shared {
  std::mutex mutex;
  std::deque<EndpointId> ids;
  std::atomic<bool> is_done{false};
  std::atomic<int> answered{0};
  std::string unexpected;
};

// Asks the endpoint that stays, and the oldest of those that come and go, until the others are done.
Task<void> askInTurns(ConnectionPool& pool, EndpointId lasting, Shared& shared, Io& io) {
  while (!shared.is_done) {
    EndpointId oldest;
    {
      const std::lock_guard lock(shared.mutex);
      if (!shared.ids.empty()) oldest = shared.ids.front();
    }
    Outcome outcome;
    co_await ask(pool, lasting, outcome, io);
    if (outcome.status == 200) {
      shared.answered += 1;
    } else {
      shared.unexpected = outcome.error ? outcome.error->reason : std::to_string(outcome.status);
    }
    Outcome other;
    co_await ask(pool, oldest, other, io);
    if (other.status != 200 && (!other.error || other.error->code != ErrorCode::invalid_argument))
      shared.unexpected = other.error ? other.error->reason : std::to_string(other.status);
  }
}

// Until so many places are taken, and no more.
Task<void> waitForPlaces(const ConnectionPool& pool, size_t taken, Io& io) {
  while (pool.endpoints().used() != taken) co_await sleepUntil(io.nowNs() + ns_per_ms, io);
}

struct EndpointsTest : testing::TestWithParam<IoKind> {
  void SetUp() override {
    RuntimeOptions options;
    options.io = GetParam();
    options.limits.exchanges = 64;
    options.limits.client_connections = 64;
    options.limits.receive_buffers = 64;
    auto made = Runtime::make(options);
    ASSERT_TRUE(made.has_value());
    runtime = std::move(*made);
    server = makeServer(*runtime, handler);
    sockaddr_storage address = *parseLiteral("127.0.0.1", 0);
    ASSERT_TRUE(server->listen(address, nullptr));
    backend.protocol = BackendProtocol::h2c;
    backend.host = "127.0.0.1";
    backend.port = portOf(address);
  }
  void TearDown() override { runtime->run(end(pool.get(), *server, runtime->io())); }
  static Task<void> end(ConnectionPool* pool, Server& server, Io& io) {
    if (pool != nullptr) co_await pool->close(io);
    co_await server.drain(io);
  }
  void open(uint32_t places) { pool = runtime->makePool({}, {}, {.endpoints = places}); }
  // Runs the loop on this thread while another one does that.
  template <class Do>
  void whileTheLoopRuns(Do what) {
    std::atomic<bool> is_done{false};
    std::thread other([&] {
      what();
      is_done = true;
    });
    runtime->run(waitFor(is_done, runtime->io()));
    other.join();
  }
  Outcome get(EndpointId endpoint) {
    Outcome outcome;
    runtime->run(ask(*pool, endpoint, outcome, runtime->io()));
    return outcome;
  }

  HoldingHandler handler;
  BackendOptions backend;
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<Server> server;
  std::unique_ptr<ConnectionPool> pool;
};
INSTANTIATE_TEST_SUITE_P(Backends, EndpointsTest, testing::Values(IoKind::uring, IoKind::epoll),
                         [](const testing::TestParamInfo<IoKind>& kind) {
                           return kind.param == IoKind::uring ? "uring" : "epoll";
                         });

TEST_P(EndpointsTest, AnEndpointThatAnotherThreadAddsServesUntilAnotherThreadRemovesIt) {
  open(4);
  EndpointId id;
  whileTheLoopRuns([&] {
    const auto added = pool->addFromAnyThread(backend);
    ASSERT_TRUE(added.has_value()) << added.error().reason;
    id = *added;
  });
  EXPECT_EQ(get(id).status, 200);
  whileTheLoopRuns([&] {
    EXPECT_TRUE(pool->removeFromAnyThread(id).has_value());
    const Status again = pool->removeFromAnyThread(id);
    ASSERT_FALSE(again.has_value());
    EXPECT_EQ(again.error().code, ErrorCode::invalid_argument);
  });
  const Outcome outcome = get(id);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code, ErrorCode::invalid_argument);
  EXPECT_TRUE(outcome.error->reachesConnection());
}

TEST_P(EndpointsTest, WhereEveryPlaceIsTakenAnEndpointMoreIsAnErrorUntilOneHasGone) {
  open(2);
  whileTheLoopRuns([&] {
    const auto first = pool->addFromAnyThread(backend);
    ASSERT_TRUE(first.has_value());
    ASSERT_TRUE(pool->addFromAnyThread(backend).has_value());
    const auto third = pool->addFromAnyThread(backend);
    ASSERT_FALSE(third.has_value());
    EXPECT_EQ(third.error().code, ErrorCode::no_memory);
    EXPECT_TRUE(pool->removeFromAnyThread(*first).has_value());
    const auto again = pool->addFromAnyThread(backend);
    ASSERT_TRUE(again.has_value());
    EXPECT_NE(*again, *first) << "the place has another tenant, and the old id finds nothing";
  });
}

Task<void> waitUntilBegun(const HoldingHandler& handler, Io& io) {
  while (handler.begun == 0) co_await sleepUntil(io.nowNs() + ns_per_ms, io);
}

Task<void> askAndRemove(EndpointsTest& test, EndpointId id, Outcome& outcome, EndpointId& next, Io& io) {
  Scope scope;
  scope.spawn(ask(*test.pool, id, outcome, io), io);
  co_await waitUntilBegun(test.handler, io);
  std::atomic<bool> is_done{false};
  std::thread other([&] {
    EXPECT_TRUE(test.pool->removeFromAnyThread(id).has_value());
    const auto added = test.pool->addFromAnyThread(test.backend);
    if (added) next = *added;
    is_done = true;
  });
  co_await waitFor(is_done, io);
  other.join();
  EXPECT_EQ(outcome.status, 0) << "the request still runs";
  test.handler.holds = false;
  co_await scope.join();
}

TEST_P(EndpointsTest, ARequestOfARemovedEndpointRunsOnAndItsPlaceIsFreeMeanwhile) {
  open(1);
  handler.holds = true;
  EndpointId id;
  whileTheLoopRuns([&] { id = *pool->addFromAnyThread(backend); });
  Outcome outcome;
  EndpointId next;
  runtime->run(askAndRemove(*this, id, outcome, next, runtime->io()));
  EXPECT_EQ(outcome.status, 200) << (outcome.error ? outcome.error->reason : "");
  ASSERT_FALSE(next.isNone());
  EXPECT_EQ(get(next).status, 200);
}

TEST_P(EndpointsTest, TheLoopsOwnThreadMayAskTheSameWay) {
  open(1);
  const auto added = pool->addFromAnyThread(backend);
  ASSERT_TRUE(added.has_value());
  EXPECT_EQ(get(*added).status, 200);
  EXPECT_TRUE(pool->removeFromAnyThread(*added).has_value());
}

TEST_P(EndpointsTest, TwoThreadsAddAndRemoveWhileRequestsRun) {
  open(16);
  const auto lasting = pool->addFromAnyThread(backend);
  ASSERT_TRUE(lasting.has_value());
  Shared shared;
  const auto change = [&] {
    for (int i = 0; i < 200 || (shared.answered < 50 && i < 1'000'000); ++i) {
      const auto added = pool->addFromAnyThread(backend);
      if (!added) {
        // Those that were removed while they were dialled have their places until their dials end.
        ASSERT_EQ(added.error().code, ErrorCode::no_memory) << added.error().reason;
        std::this_thread::yield();
        continue;
      }
      EndpointId removed;
      {
        const std::lock_guard lock(shared.mutex);
        shared.ids.push_back(*added);
        if (shared.ids.size() < 3) continue;
        removed = shared.ids.front();
        shared.ids.pop_front();
      }
      EXPECT_TRUE(pool->removeFromAnyThread(removed).has_value());
    }
  };
  std::thread both([&] {
    std::thread second(change);
    change();
    second.join();
    shared.is_done = true;
  });
  runtime->run(askInTurns(*pool, *lasting, shared, runtime->io()));
  both.join();
  EXPECT_EQ(shared.unexpected, "");
  EXPECT_GE(shared.answered, 50);
  runtime->run(waitForPlaces(*pool, 1 + shared.ids.size(), runtime->io()));
  const Outcome outcome = get(*lasting);
  EXPECT_EQ(outcome.status, 200) << (outcome.error ? outcome.error->reason : "");
}

TEST_P(EndpointsTest, WhenThePoolClosesNoThreadIsLeftWaiting) {
  open(1);
  std::atomic<int> changes{0};
  std::thread other([&] {
    while (true) {
      const auto added = pool->addFromAnyThread(backend);
      if (!added) {
        EXPECT_EQ(added.error().code, ErrorCode::shutting_down) << added.error().reason;
        return;
      }
      changes += 1;
      const Status removed = pool->removeFromAnyThread(*added);
      if (!removed) {
        EXPECT_EQ(removed.error().code, ErrorCode::shutting_down) << removed.error().reason;
        return;
      }
    }
  });
  runtime->run([](ConnectionPool& closed, std::atomic<int>& made, Io& io) -> Task<void> {
    while (made < 10) co_await sleepUntil(io.nowNs() + ns_per_ms, io);
    co_await closed.close(io);
  }(*pool, changes, runtime->io()));
  other.join();
  EXPECT_EQ(pool->addFromAnyThread(backend).error().code, ErrorCode::shutting_down);
}

}  // namespace
}  // namespace plait
