// A connection of HTTP/2 to a backend whose backend says nothing.
#include "plait/client/fake_backend_test.h"

namespace plait {
namespace {

struct Outcome {
  std::optional<Error> error;
  bool done = false;
};

Task<void> get(ConnectionPool& pool, Outcome& outcome, TimeNs deadline_ns, Io& io) {
  auto lease = co_await pool.getOrCreate(pool.endpoint(0), io);
  PLAIT_ASSERT(lease.has_value());
  alignas(8) uint8_t memory[256];
  http::RequestHead head;
  head.fields = http::FieldList(memory);
  head.method = "GET";
  head.scheme = "http";
  head.authority = "backend.test";
  head.path = "/";
  head.end_stream = true;
  RequestOptions options;
  options.deadline_ns = deadline_ns;
  auto response = co_await lease->request(head, options, io);
  pool.release(*lease, response || !response.error().reachesConnection(), io);
  if (!response) outcome.error = response.error();
  outcome.done = true;
}

// The backend has a loop and buffers of its own, so that it answers whatever plait is short of: its words then lie in
// plait's socket, and plait is what does not read them.
class SilenceTest : public testing::TestWithParam<IoKind> {
 protected:
  void open(BackendProtocol protocol = BackendProtocol::h2c) {
    backend.behaviour.answers = false;
    pool.emplace(*world.io, world.limits, world.limits, world.timeouts, std::vector{backend.options(protocol)},
                 UpstreamMemory{world.stream_blocks, world.headers}, world.send_blocks, world.record_blocks);
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both_), 0);
    hog_.kind = OpKind::recv;
    hog_.fd = both_[0];
    hog_.owner = this;
    hog_.on_complete = [](void* self, const Completion& completion) {
      if (completion.buffer_id >= 0)
        static_cast<SilenceTest*>(self)->taken_.push_back(static_cast<uint32_t>(completion.buffer_id));
    };
  }
  void TearDown() override {
    for (const int fd : both_) {
      Op close;
      close.kind = OpKind::close;
      close.fd = fd;
      world.io->submit(close);
    }
    closing_.spawn(pool->close(*world.io), *world.io);
    EXPECT_TRUE(run([&] { return closing_.running() == 0 && scope.running() == 0; }));
    pool.reset();
  }
  bool run(const std::function<bool()>& done, int64_t at_most_ms = 10'000) {
    return runBoth(world, theirs, done, at_most_ms);
  }
  void start(Outcome& outcome, int64_t for_ms) {
    scope.spawn(get(*pool, outcome, world.io->nowNs() + for_ms * ns_per_ms, *world.io), *world.io);
  }
  // Somebody takes every buffer that is free.
  bool takeBuffers() {
    if (!hog_.armed) world.io->submit(hog_);
    const std::string some(1000, 'h');
    (void)::send(both_[1], some.data(), some.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return world.buffers.lent() == world.buffers.count();
  }
  // Nobody gives one back for so long.
  void starveFor(int64_t ms, const Outcome& outcome) {
    const TimeNs until_ns = world.io->nowNs() + ms * ns_per_ms;
    EXPECT_TRUE(run([&] {
      (void)takeBuffers();
      return outcome.done || world.io->nowNs() >= until_ns;
    }));
  }
  void giveBuffersBack() {
    world.io->cancel(hog_);
    ASSERT_TRUE(run([&] { return !hog_.armed; }));
    for (const uint32_t id : taken_) world.buffers.giveBack(id);
    taken_.clear();
  }
  const Endpoint& endpoint() { return *pool->find(pool->endpoint(0)); }

  World world{GetParam()};
  World theirs{GetParam()};
  FakeBackend backend{theirs};
  std::optional<ConnectionPool> pool;
  Scope scope;

 private:
  Op hog_;
  std::vector<uint32_t> taken_;
  int both_[2] = {-1, -1};
  Scope closing_;
};
INSTANTIATE_TEST_SUITE_P(Backends, SilenceTest, testing::Values(IoKind::uring, IoKind::epoll),
                         [](const auto& kind) { return kind.param == IoKind::uring ? "uring" : "epoll"; });

TEST_P(SilenceTest, APingWhoseAnswerFindsNoBufferIsNoFaultOfTheBackends) {
  world.timeouts.ping_ms = 50;
  world.timeouts.ping_answer_ms = 150;
  open();
  Outcome outcome;
  start(outcome, 1500);
  ASSERT_TRUE(run([&] { return backend.requests == 1; }));
  ASSERT_TRUE(run([&] { return takeBuffers(); }));
  starveFor(700, outcome);
  EXPECT_FALSE(outcome.done) << outcome.error->reason;
  giveBuffersBack();
  ASSERT_TRUE(run([&] { return outcome.done; }));
  EXPECT_EQ(outcome.error->code, ErrorCode::deadline_exceeded) << outcome.error->reason;
  EXPECT_EQ(endpoint().readyConnections(), 1u);
  EXPECT_EQ(pool->counters().retries_unknown, 0u);
  EXPECT_EQ(backend.connections, 1u);
}

TEST_P(SilenceTest, SettingsThatFindNoBufferAreNoFaultOfTheBackends) {
  world.timeouts.connect_ms = 150;
  open();
  ASSERT_TRUE(run([&] { return takeBuffers(); }));
  Outcome outcome;
  start(outcome, 1500);
  ASSERT_TRUE(run([&] { return backend.requests == 1; })) << "the request does not wait for SETTINGS";
  starveFor(700, outcome);
  EXPECT_FALSE(outcome.done) << outcome.error->reason;
  giveBuffersBack();
  ASSERT_TRUE(run([&] { return outcome.done; }));
  EXPECT_EQ(outcome.error->code, ErrorCode::deadline_exceeded) << outcome.error->reason;
  EXPECT_EQ(endpoint().state, EndpointState::up);
  EXPECT_EQ(endpoint().readyConnections(), 1u);
  EXPECT_EQ(backend.connections, 1u);
}

TEST_P(SilenceTest, AProbeWhoseAnswerFindsNoBufferDoesNotTakeTheBackendForOneOfHttp1) {
  world.timeouts.probe_ms = 50;
  open(BackendProtocol::probe);
  ASSERT_TRUE(run([&] { return takeBuffers(); }));
  Outcome outcome;
  start(outcome, 1000);
  starveFor(400, outcome);
  EXPECT_FALSE(outcome.done) << outcome.error->reason;
  giveBuffersBack();
  ASSERT_TRUE(run([&] { return outcome.done; }));
  EXPECT_EQ(backend.requests, 1u);
  EXPECT_EQ(backend.connections, 1u);
}

TEST_P(SilenceTest, ABackendThatIsSilentWhilePlaitReadsIsFoundOut) {
  world.timeouts.connect_ms = 150;
  backend.behaviour.speaks = FakeBackend::Behaviour::Speaks::nothing;
  open();
  Outcome outcome;
  start(outcome, 5000);
  ASSERT_TRUE(run([&] { return outcome.done; }, 3000));
  EXPECT_NE(outcome.error->code, ErrorCode::deadline_exceeded);
  EXPECT_EQ(endpoint().state, EndpointState::down);
}

}  // namespace
}  // namespace plait
