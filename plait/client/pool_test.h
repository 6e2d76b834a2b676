// A pool with a backend, and a request's outcome as the pool's user sees it. For tests only.
#pragma once

#include "plait/client/fake_backend_test.h"
#include "plait/io/sync.h"

namespace plait {

inline std::string ioName(const testing::TestParamInfo<IoKind>& kind) {
  return kind.param == IoKind::uring ? "uring" : "epoll";
}

// One request's outcome as the pool's user sees it.
struct Answer {
  explicit Answer(std::string_view method = "GET") {
    head.fields = http::FieldList(memory);
    head.method = method;
    head.scheme = "http";
    head.authority = "backend.test";
    head.path = "/";
    head.end_stream = true;
  }
  void asTunnel(http::Pipe& upwards) {
    head.protocol = "websocket";
    head.end_stream = false;
    options.body = &upwards;
  }
  http::RequestHead head;
  RequestOptions options;
  alignas(8) uint8_t memory[256];
  uint16_t status = 0;
  std::optional<Error> error;
  bool done = false;
  bool holds_response = false;  // keeps the response open until it is cleared
  std::string body;
  size_t backend = 0;
  bool rejects = false;  // the lease is released as if the connection were of no use
};

// Sends the request to the endpoint and reads the whole response.
inline Task<void> ask(ConnectionPool& pool, EndpointId endpoint, Answer& answer, Io& io) {
  auto lease = co_await pool.getOrCreate(
      endpoint, io, {.cancel = answer.options.cancel, .needs_http_1_1 = !answer.head.protocol.empty()});
  if (!lease) {
    answer.error = lease.error();
  } else {
    auto response = co_await lease->request(answer.head, answer.options, io);
    pool.release(*lease, !answer.rejects && (response || !response.error().reachesConnection()), io);
    if (response) {
      answer.status = response->status();
      while (answer.holds_response) co_await sleepUntil(io.nowNs() + 10 * ns_per_ms, io);
      while (true) {
        auto bytes = co_await response->read(io);
        if (!bytes) answer.error = bytes.error();
        if (!bytes || bytes->empty()) break;
        answer.body += asText(*bytes);
      }
    } else {
      answer.error = response.error();
    }
  }
  answer.done = true;
}

class PoolTest : public testing::TestWithParam<IoKind> {
 protected:
  void SetUp() override { backend.emplace(world); }
  void TearDown() override {
    closeAll();
    backend.reset();
    EXPECT_EQ(world.stream_blocks.used(), 0u);
    EXPECT_EQ(world.send_blocks.used(), 0u);
    EXPECT_EQ(world.buffers.lent(), 0u);
  }
  // Also for a test with backends of its own, which end before the fixture does.
  void closeAll() {
    if (pool) {
      Scope closing;
      closing.spawn(pool->close(*world.io), *world.io);
      EXPECT_TRUE(world.runUntil([&] { return closing.running() == 0 && scope.running() == 0; }))
          << "the pool does not close";
      EXPECT_EQ(pool->h2Streams().used(), 0u);
      EXPECT_EQ(pool->h1Streams().used(), 0u);
      pool.reset();
    }
  }
  void open(BackendProtocol protocol = BackendProtocol::h2c) { open(std::vector{backend->options(protocol)}); }
  void open(std::vector<BackendOptions> backends) {
    pool.emplace(*world.io, world.limits, world.limits, world.timeouts, std::move(backends),
                 UpstreamMemory{world.stream_blocks, world.headers}, world.send_blocks, world.record_blocks);
  }
  void start(Answer& answer) { scope.spawn(ask(*pool, pool->endpoint(answer.backend), answer, *world.io), *world.io); }
  void get(Answer& answer) {
    start(answer);
    EXPECT_TRUE(world.runUntil([&] { return answer.done; })) << "no answer";
  }
  bool runUntil(const std::function<bool()>& done, int64_t at_most_ms = 10'000) {
    return world.runUntil(done, at_most_ms);
  }
  void runFor(int64_t ms) {
    (void)world.runUntil([] { return false; }, ms);
  }
  bool runToEnd() {
    return world.runUntil([&] { return scope.running() == 0; });
  }
  Endpoint& endpoint(size_t n = 0) { return *pool->find(pool->endpoint(n)); }
  // Retires a ready connection of the endpoint, as a handler does that does not like its answers.
  void retireOne(size_t n = 0) {
    bool done = false;
    scope.spawn(rejectOne(*pool, pool->endpoint(n), done, *world.io), *world.io);
    EXPECT_TRUE(world.runUntil([&] { return done; }));
  }
  void expectOk(std::string_view method = "GET") {
    Answer answer(method);
    get(answer);
    EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  }

  static Task<void> rejectOne(ConnectionPool& pool, EndpointId endpoint, bool& done, Io& io) {
    auto lease = co_await pool.getOrCreate(endpoint, io);
    PLAIT_ASSERT(lease.has_value());
    pool.release(*lease, false, io);
    done = true;
  }

  World world{GetParam()};
  std::optional<FakeBackend> backend;
  std::optional<ConnectionPool> pool;
  Scope scope;
};

}  // namespace plait
