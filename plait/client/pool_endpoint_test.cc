// Endpoints that go down, come back and are taken out; repetitions on connections of their own; connections that are
// retired and what still runs on them.
#include <sys/resource.h>

#include <atomic>
#include <thread>

#include "plait/base/alloc_guard.h"
#include "plait/client/pool_test.h"

namespace plait {
namespace {

using Speaks = FakeBackend::Behaviour::Speaks;

struct PoolEndpointTest : PoolTest {
  // The GET shows that the endpoint has fallen silent.
  void findSilent(Answer& answer) {
    world.timeouts.ping_ms = 50;
    world.timeouts.ping_answer_ms = 50;
    open();
    expectOk();
    backend->behaviour.answers = backend->behaviour.reads = false;
    start(answer);
    ASSERT_TRUE(runUntil([&] { return endpoint().state == EndpointState::down; }));
  }
  static Task<void> leaseOwn(ConnectionPool& pool, EndpointId endpoint, Error& error, Io& io) {
    const auto lease = co_await pool.getOrCreate(endpoint, io, {.own = true});
    if (!lease) error = lease.error();
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, PoolEndpointTest, testing::Values(IoKind::uring, IoKind::epoll), ioName);

// -- what runs out here is no fault of a backend

// Leaves the process no descriptor while it lives.
class DescriptorHog {
 public:
  DescriptorHog() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit none = before_;
    none.rlim_cur = 0;
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~DescriptorHog() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_P(PoolEndpointTest, WhereNoDescriptorIsLeftARequestFailsAndTheBackendStaysUp) {
  open();
  runFor(5);  // the backend listens
  {
    Answer answer;
    const DescriptorHog hog;
    get(answer);
    ASSERT_TRUE(answer.error);
    EXPECT_EQ(answer.error->code, ErrorCode::no_descriptor) << answer.error->reason;
    EXPECT_EQ(endpoint().state, EndpointState::up);
  }
  EXPECT_EQ(pool->counters().shortages.descriptors, 1u);
  EXPECT_EQ(pool->counters().state_changes, decltype(PoolCounters::state_changes){});
  ASSERT_TRUE(runUntil([&] { return endpoint().not_before_ns <= world.io->nowNs(); }));
  expectOk();
}

TEST_P(PoolEndpointTest, ATrialForWhichNoDescriptorIsLeftSaysNothingAboutTheBackend) {
  world.timeouts.backoff_min_ms = world.timeouts.backoff_max_ms = 20;
  open();
  backend.reset();
  Answer refused;
  get(refused);
  ASSERT_EQ(endpoint().state, EndpointState::down);
  ASSERT_EQ(endpoint().cause.code, ErrorCode::connect_failed);
  const uint32_t failures = endpoint().failures;
  {
    const DescriptorHog hog;
    ASSERT_TRUE(runUntil([&] { return pool->counters().shortages.descriptors >= 2; }));
    EXPECT_EQ(endpoint().cause.code, ErrorCode::connect_failed) << "it is down for what was found out before";
    EXPECT_LE(endpoint().failures, failures + 1);
  }
}

// -- down, and back

TEST_P(PoolEndpointTest, AGetThatShowsThatItsEndpointIsSilentIsRepeatedWhenTheEndpointIsBack) {
  Answer answer;
  findSilent(answer);
  EXPECT_FALSE(answer.done) << "it waits for the trial";
  backend->behaviour.answers = backend->behaviour.reads = true;
  ASSERT_TRUE(runUntil([&] { return answer.done; }));
  EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  EXPECT_EQ(pool->counters().retries_unknown, 1u);
  EXPECT_EQ(endpoint().state, EndpointState::up);
}

TEST_P(PoolEndpointTest, ARepetitionThatWaitsForATrialFailsWithIt) {
  Answer answer;
  findSilent(answer);
  backend->behaviour.reads = true;
  backend.reset();
  ASSERT_TRUE(runUntil([&] { return answer.done; }));
  ASSERT_TRUE(answer.error);
  EXPECT_EQ(answer.error->code, ErrorCode::connect_failed) << answer.error->reason;
  EXPECT_EQ(answer.error->reach, Reach::backend);
}

TEST_P(PoolEndpointTest, ARepetitionWaitsForATrialNoLongerThanOthersWaitAndANewcomerNotAtAll) {
  world.timeouts.backoff_min_ms = world.timeouts.backoff_max_ms = 3'600'000;
  world.timeouts.queue_ms = 300;
  Answer answer;
  findSilent(answer);
  Answer newcomer;
  const TimeNs came_ns = world.io->nowNs();
  get(newcomer);
  ASSERT_TRUE(newcomer.error);
  EXPECT_EQ(newcomer.error->reach, Reach::backend);
  EXPECT_LT(world.io->nowNs() - came_ns, 100 * ns_per_ms);
  EXPECT_FALSE(answer.done);
  ASSERT_TRUE(runUntil([&] { return answer.done; }, 1000));
  EXPECT_EQ(answer.error->code, ErrorCode::pool_exhausted) << answer.error->reason;
  backend->behaviour.reads = true;
}

TEST_P(PoolEndpointTest, AfterABrokenConnectionNothingIsSentBeforeTheBackendHasShownThatItAnswers) {
  world.timeouts.connect_ms = 200;
  open();
  expectOk();
  backend->behaviour.hang_up_after = 1;
  Answer broken("POST");
  get(broken);
  ASSERT_TRUE(broken.error);
  ASSERT_TRUE(runUntil([&] { return backend->open == 0; }));
  backend->behaviour.is_mute = true;
  const uint32_t before = backend->requests;
  Answer answer("POST");
  get(answer);
  ASSERT_TRUE(answer.error);
  EXPECT_EQ(answer.error->reach, Reach::backend) << "it went nowhere, and may be repeated elsewhere";
  EXPECT_EQ(backend->requests, before);
  EXPECT_EQ(endpoint().state, EndpointState::down);
  backend->behaviour.is_mute = false;
  ASSERT_TRUE(runUntil([&] { return endpoint().state == EndpointState::up; })) << "its trial succeeds by itself";
  expectOk("POST");
}

// -- taken out

TEST_P(PoolEndpointTest, AnEndpointThatHasGoneIsAnOrdinaryError) {
  open();
  expectOk();
  const EndpointId id = pool->endpoint(0);
  EXPECT_TRUE(pool->remove(id));
  EXPECT_FALSE(pool->remove(id));
  EXPECT_EQ(pool->find(id), nullptr);
  Answer answer("POST");
  get(answer);
  ASSERT_TRUE(answer.error);
  EXPECT_EQ(answer.error->code, ErrorCode::invalid_argument);
  EXPECT_EQ(answer.error->reach, Reach::backend);
  EXPECT_TRUE(runUntil([&] { return backend->open == 0; })) << "its idle connection is closed";
}

TEST_P(PoolEndpointTest, WhatOtherThreadsAddAndRemoveAllocatesNothingOnTheLoop) {
  open();
  pool->takeOrders(world.mailbox);
  std::atomic<bool> is_done{false};
  const BackendOptions options = backend->options(BackendProtocol::h2c);
  std::thread other([&] {
    for (int i = 0; i < 100; ++i) {
      const auto added = pool->addFromAnyThread(options);
      EXPECT_TRUE(added && pool->removeFromAnyThread(*added));
    }
    is_done = true;
  });
  const std::function<bool()> isDone = [&] { return is_done.load(); };
  const uint64_t before = AllocGuard::servingAllocations();
  const AllocGuard::Phase phase = AllocGuard::phase();
  AllocGuard::enter(AllocGuard::Phase::serving);
  const bool ended = runUntil(isDone);
  AllocGuard::enter(phase);
  other.join();
  EXPECT_TRUE(ended);
  EXPECT_EQ(AllocGuard::servingAllocations(), before);
}

TEST_P(PoolEndpointTest, RequestsThatWaitForAnEndpointThatGoesFailOverAndWhatRunsRunsOn) {
  backend->behaviour.max_streams = 1;
  backend->behaviour.answers = false;
  world.limits.h2_connections_per_backend = 1;
  open();
  Answer running("POST");
  start(running);
  ASSERT_TRUE(runUntil([&] { return backend->requests == 1; }));
  std::list<Answer> waiting;
  for (int i = 0; i < 3; ++i) start(waiting.emplace_back("POST"));
  runFor(50);
  EXPECT_TRUE(pool->remove(pool->endpoint(0)));
  ASSERT_TRUE(runUntil([&] { return scope.running() == 1; }));
  for (const Answer& answer : waiting) {
    ASSERT_TRUE(answer.error);
    EXPECT_EQ(answer.error->reach, Reach::backend);
  }
  runFor(50);
  EXPECT_FALSE(running.done);
  backend->answerAll();
  ASSERT_TRUE(runToEnd());
  EXPECT_EQ(running.status, 200) << (running.error ? running.error->reason : "");
  EXPECT_EQ(backend->requests, 1u);
}

TEST_P(PoolEndpointTest, AResponseThatRunsIsWholeAlthoughItsEndpointHasGone) {
  world.timeouts.drain_ms = 50;
  backend->behaviour.holds_body = true;
  open({backend->options(BackendProtocol::h2c), backend->options(BackendProtocol::h1)});
  for (size_t n = 0; n < 2; ++n) {
    backend->behaviour.speaks = n == 0 ? Speaks::h2 : Speaks::http1;
    Answer answer;
    answer.backend = n;
    start(answer);
    ASSERT_TRUE(runUntil([&] { return answer.status == 200; })) << (answer.error ? answer.error->reason : "");
    EXPECT_TRUE(pool->remove(pool->endpoint(n)));
    runFor(200);
    EXPECT_FALSE(answer.done) << "nothing is cut, however long it takes";
    backend->answerAll();
    ASSERT_TRUE(runToEnd());
    EXPECT_FALSE(answer.error) << answer.error->reason;
  }
}

TEST_P(PoolEndpointTest, ATunnelRunsOnAlthoughItsEndpointHasGone) {
  world.timeouts.drain_ms = 50;
  backend->behaviour.speaks = Speaks::http1;
  open(BackendProtocol::h1);
  http::Pipe upwards(world.stream_blocks, world.headers);
  Answer tunnel;
  tunnel.asTunnel(upwards);
  start(tunnel);
  ASSERT_TRUE(runUntil([&] { return tunnel.status == 101; })) << (tunnel.error ? tunnel.error->reason : "");
  EXPECT_TRUE(pool->remove(pool->endpoint(0)));
  runFor(200);
  ASSERT_TRUE(upwards.push(asBytes(std::string_view("there and back")), false));
  EXPECT_TRUE(runUntil([&] { return tunnel.body == "there and back"; }));
  EXPECT_FALSE(tunnel.done);
  ASSERT_TRUE(upwards.end(nullptr));
  ASSERT_TRUE(runToEnd());
  EXPECT_FALSE(tunnel.error);
}

// A backend may need long for the bytes that its client sent before the FIN, and a client for the response.
TEST_P(PoolEndpointTest, AHalfOpenTunnelIsNotSilentWhileItsBackendStillTakesWhatWasSaid) {
  world.timeouts.stream_idle_ms = 150;
  backend->keepLittle();
  backend->behaviour.speaks = Speaks::http1;
  backend->behaviour.echoes = false;
  backend->behaviour.pause_ms = 10;
  open(BackendProtocol::h1);
  http::Pipe upwards(world.stream_blocks, world.headers);
  Answer tunnel;
  tunnel.asTunnel(upwards);
  start(tunnel);
  ASSERT_TRUE(runUntil([&] { return tunnel.status == 101; })) << (tunnel.error ? tunnel.error->reason : "");
  const std::string much(600'000, 'm');
  ASSERT_TRUE(upwards.push(asBytes(much), true));
  ASSERT_TRUE(runToEnd());
  EXPECT_FALSE(tunnel.error) << tunnel.error->reason;
  EXPECT_EQ(backend->tunnelled, much.size());
}

TEST_P(PoolEndpointTest, AHalfOpenTunnelIsNotSilentWhileItsResponseWaitsForTheClient) {
  world.timeouts.stream_idle_ms = 50;
  backend->behaviour.speaks = Speaks::http1;
  open(BackendProtocol::h1);
  http::Pipe upwards(world.stream_blocks, world.headers);
  Answer tunnel;
  tunnel.asTunnel(upwards);
  tunnel.holds_response = true;
  start(tunnel);
  ASSERT_TRUE(runUntil([&] { return tunnel.status == 101; })) << (tunnel.error ? tunnel.error->reason : "");
  const std::string much(600'000, 'm');
  ASSERT_TRUE(upwards.push(asBytes(much), true));
  runFor(400);
  tunnel.holds_response = false;
  ASSERT_TRUE(runToEnd());
  EXPECT_FALSE(tunnel.error) << tunnel.error->reason;
  EXPECT_EQ(tunnel.body.size(), much.size());
}

TEST_P(PoolEndpointTest, ThePlaceOfAnEndpointThatGoesIsFreeWhenItsLastDialHasEnded) {
  world.limits.endpoints = 1;
  world.timeouts.probe_ms = 200;
  backend->behaviour.speaks = Speaks::nothing;
  open(BackendProtocol::probe);
  const EndpointId first = pool->endpoint(0);
  const auto full = pool->add(backend->options());
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, ErrorCode::no_memory);
  Answer answer;
  start(answer);
  ASSERT_TRUE(runUntil([&] { return backend->connections == 1; }));
  EXPECT_TRUE(pool->remove(first));
  EXPECT_FALSE(pool->add(backend->options())) << "the dial still needs it";
  ASSERT_TRUE(runToEnd());
  EXPECT_TRUE(answer.error) << "who waited for it did not wait for the dial's end";
  ASSERT_TRUE(runUntil([&] { return pool->endpoints().used() == 0; }));
  backend->behaviour.speaks = Speaks::h2;
  const auto second = pool->add(backend->options());
  ASSERT_TRUE(second);
  EXPECT_EQ(second->index, first.index);
  EXPECT_NE(*second, first);
  EXPECT_EQ(pool->find(first), nullptr) << "the old id does not find its place's new tenant";
  Answer again("POST");
  scope.spawn(ask(*pool, *second, again, *world.io), *world.io);
  ASSERT_TRUE(runToEnd());
  EXPECT_EQ(again.status, 200) << (again.error ? again.error->reason : "");
}

TEST_P(PoolEndpointTest, AProbeThatSucceedsWhenItsEndpointHasGoneEndsWithGoaway) {
  backend->behaviour.is_mute = true;
  open(BackendProtocol::probe);
  Answer answer;
  start(answer);
  ASSERT_TRUE(runUntil([&] { return backend->connections == 1; }));
  EXPECT_TRUE(pool->remove(pool->endpoint(0)));
  backend->behaviour.is_mute = false;
  backend->answerAll();  // SETTINGS leave with it
  ASSERT_TRUE(runUntil([&] { return backend->open == 0 && pool->endpoints().used() == 0; }));
  EXPECT_EQ(backend->goaways, 1u);
}

TEST_P(PoolEndpointTest, ThePlaceIsFreeWhileAResponseOfItsLastTenantStillRuns) {
  world.limits.endpoints = 1;
  backend->behaviour.holds_body = true;
  open();
  Answer answer;
  start(answer);
  ASSERT_TRUE(runUntil([&] { return answer.status == 200; }));
  EXPECT_TRUE(pool->remove(pool->endpoint(0)));
  EXPECT_TRUE(pool->add(backend->options())) << "the connection is the pool's alone by now";
  backend->answerAll();
  ASSERT_TRUE(runToEnd());
  EXPECT_FALSE(answer.error);
}

// -- connections of their own

TEST_P(PoolEndpointTest, GetsThatMeetStaleConnectionsSucceedAtTheSecondTryHoweverManyMoreAreStale) {
  backend->behaviour.speaks = Speaks::http1;
  backend->behaviour.answers = false;
  open(BackendProtocol::h1);
  std::list<Answer> answers(40);
  for (Answer& answer : answers) start(answer);
  ASSERT_TRUE(runUntil([&] { return backend->requests == 40; }));
  backend->answerAll();
  ASSERT_TRUE(runToEnd());
  ASSERT_EQ(endpoint().readyConnections(), 40u);
  backend->behaviour.answers = true;
  backend->behaviour.hangs_up_on_reuse = true;
  std::list<Answer> again(13);
  for (Answer& answer : again) start(answer);
  uint32_t most_own = 0;
  ASSERT_TRUE(runUntil([&] {
    most_own = std::max(most_own, endpoint().own_connections);
    return scope.running() == 0;
  }));
  for (const Answer& answer : again) EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  EXPECT_EQ(pool->counters().retries_unknown, 13u);
  EXPECT_EQ(backend->connections, 53u) << "each repetition has a connection that was made for it";
  EXPECT_LE(most_own, 8u);
  EXPECT_EQ(endpoint().own_connections, 0u);
  EXPECT_EQ(endpoint().readyConnections(), 40u) << "what has answered joins the pool";
  backend->behaviour.hangs_up_on_reuse = false;
  expectOk("POST");
  EXPECT_EQ(backend->connections, 53u);
}

TEST_P(PoolEndpointTest, GetsThatDieTogetherOverHttp2AreRepeatedApart) {
  open();
  expectOk();
  backend->behaviour.answers = false;
  std::list<Answer> answers(3);
  for (Answer& answer : answers) start(answer);
  ASSERT_TRUE(runUntil([&] { return backend->requests == 4; }));
  backend->behaviour.answers = true;
  backend->hangUp();
  ASSERT_TRUE(runToEnd());
  for (const Answer& answer : answers) EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  EXPECT_EQ(backend->connections, 4u) << "three that each carry one repetition";
}

TEST_P(PoolEndpointTest, DialsForRepetitionsThatAreRefusedAreNotMadeAgainWithoutAnEnd) {
  open();
  expectOk();
  backend->stopListening();
  std::list<Error> errors(5);
  for (Error& error : errors) scope.spawn(leaseOwn(*pool, pool->endpoint(0), error, *world.io), *world.io);
  ASSERT_TRUE(runToEnd());
  for (const Error& error : errors) EXPECT_EQ(error.code, ErrorCode::connect_failed) << error.reason;
  EXPECT_LE(pool->counters().connect_failures, 5u);
  EXPECT_EQ(endpoint().own_connections, 0u);
  expectOk();
}

// -- retired

TEST_P(PoolEndpointTest, ARetiredConnectionIsNotCutHoweverLongItsResponseTakes) {
  world.timeouts.drain_ms = 50;
  backend->behaviour.holds_body = true;
  open();
  Answer held;
  start(held);
  ASSERT_TRUE(runUntil([&] { return held.status == 200; }));
  retireOne();
  EXPECT_EQ(endpoint().readyConnections(), 0u);
  runFor(300);
  EXPECT_FALSE(held.done);
  backend->answerAll();
  ASSERT_TRUE(runToEnd());
  EXPECT_FALSE(held.error) << held.error->reason;
}

TEST_P(PoolEndpointTest, TheEndOfTheProcessCutsWhatRunsAfterItsDeadline) {
  world.timeouts.drain_ms = 100;
  backend->behaviour.holds_body = true;
  open();
  Answer held;
  start(held);
  ASSERT_TRUE(runUntil([&] { return held.status == 200; }));
  Scope closing;
  closing.spawn(pool->close(*world.io), *world.io);
  runFor(30);
  EXPECT_FALSE(held.done);
  ASSERT_TRUE(runUntil([&] { return held.done && closing.running() == 0; }, 2000));
  EXPECT_TRUE(held.error);
}

TEST_P(PoolEndpointTest, AConnectionPastItsAgeStaysInUseWhereThirtyTwoRetiredOnesRun) {
  world.timeouts.max_age_ms = 400;
  backend->behaviour.holds_body = true;
  open();
  std::list<Answer> answers;
  for (uint32_t i = 0; i < 32; ++i) {
    start(answers.emplace_back());
    ASSERT_TRUE(runUntil([&] { return answers.back().status == 200; }));
    retireOne();
  }
  ASSERT_EQ(endpoint().retired_running, 32u);
  start(answers.emplace_back());
  ASSERT_TRUE(runUntil([&] { return answers.back().status == 200; }));
  runFor(600);
  EXPECT_EQ(endpoint().retired_running, 32u) << "one more would hold one more place";
  EXPECT_EQ(endpoint().readyConnections(), 1u);
  start(answers.emplace_back());
  ASSERT_TRUE(runUntil([&] { return answers.back().status == 200; })) << "it is used where there is no other";
  backend->answerAll();
  ASSERT_TRUE(runToEnd());
  EXPECT_TRUE(runUntil([&] { return endpoint().readyConnections() == 0 && endpoint().retired_running == 0; }))
      << "empty, it goes";
}

TEST_P(PoolEndpointTest, AGracefulGoawayLetsTheResponseThatRunsComeToItsEnd) {
  world.timeouts.drain_ms = 50;
  backend->behaviour.holds_body = true;
  backend->behaviour.goaway_after = 1;
  open();
  Answer held;
  start(held);
  ASSERT_TRUE(runUntil([&] { return held.status == 200 && endpoint().readyConnections() == 0; }));
  runFor(200);
  EXPECT_FALSE(held.done);
  backend->behaviour.holds_body = false;
  expectOk("POST");
  EXPECT_EQ(backend->connections, 2u);
  backend->answerAll();
  ASSERT_TRUE(runToEnd());
  EXPECT_FALSE(held.error) << held.error->reason;
}

TEST_P(PoolEndpointTest, AConnectionThatEndsWithinAResponseIsSeenByItsReaderAlone) {
  backend->behaviour.holds_body = true;
  open();
  Answer held;
  start(held);
  ASSERT_TRUE(runUntil([&] { return held.status == 200; }));
  backend->hangUp();
  ASSERT_TRUE(runToEnd());
  ASSERT_TRUE(held.error);
  EXPECT_EQ(held.error->code, ErrorCode::connection_lost);
  EXPECT_EQ(pool->counters().retries_unknown, 0u) << "a response that has begun is never repeated";
  backend->behaviour.holds_body = false;
  expectOk("POST");
}

// -- places

TEST_P(PoolEndpointTest, TunnelsTakeHalfOfThePlacesAndTheNextIsToldWhatIsShort) {
  world.limits.upstream_connections = 4;
  backend->behaviour.speaks = Speaks::http1;
  open(BackendProtocol::h1);
  http::Pipe pipes[3] = {
      {world.stream_blocks, world.headers}, {world.stream_blocks, world.headers}, {world.stream_blocks, world.headers}};
  std::list<Answer> tunnels(3);
  size_t which = 0;
  for (Answer& tunnel : tunnels) {
    tunnel.asTunnel(pipes[which++]);
    start(tunnel);
    ASSERT_TRUE(runUntil([&] { return tunnel.status == 101 || tunnel.done; }));
  }
  EXPECT_EQ(std::next(tunnels.begin())->status, 101);
  ASSERT_TRUE(tunnels.back().error);
  EXPECT_EQ(tunnels.back().error->code, ErrorCode::no_memory);
  EXPECT_NE(std::string_view(tunnels.back().error->reason).find("upstream_connections"), std::string_view::npos);
  EXPECT_EQ(pool->places().tunnels, 2u);
  expectOk("POST");
  ASSERT_TRUE(pipes[0].end(nullptr));
  ASSERT_TRUE(runUntil([&] { return tunnels.front().done; }));
  Answer next;
  next.asTunnel(pipes[2]);
  start(next);
  EXPECT_TRUE(runUntil([&] { return next.status == 101; })) << "the place of one that has ended is used again";
  ASSERT_TRUE(pipes[1].end(nullptr));
  ASSERT_TRUE(pipes[2].end(nullptr));
  ASSERT_TRUE(runToEnd());
}

TEST_P(PoolEndpointTest, AQuarterOfThePlacesIsKeptForEndpointsWithoutAConnection) {
  world.limits.upstream_connections = 4;
  world.timeouts.queue_ms = 60'000;
  backend->behaviour.speaks = Speaks::http1;
  backend->behaviour.answers = false;
  FakeBackend other(world);
  other.behaviour.speaks = Speaks::http1;
  open({backend->options(BackendProtocol::h1), other.options(BackendProtocol::h1)});
  std::list<Answer> answers(6);
  for (Answer& answer : answers) start(answer);
  ASSERT_TRUE(runUntil([&] { return backend->requests == 3; }));
  runFor(100);
  EXPECT_EQ(backend->connections, 3u);
  Answer elsewhere("POST");
  elsewhere.backend = 1;
  get(elsewhere);
  EXPECT_EQ(elsewhere.status, 200) << (elsewhere.error ? elsewhere.error->reason : "");
  backend->behaviour.answers = true;
  backend->answerAll();
  ASSERT_TRUE(runToEnd());
  for (const Answer& answer : answers) EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  closeAll();
}

}  // namespace
}  // namespace plait
