#include "plait/client/pool_test.h"

#include "plait/io/frame_hog_test.h"

namespace plait {
namespace {

TEST_P(PoolTest, ManyRequestsShareOneConnection) {
  open();
  std::list<Answer> answers(64);
  for (Answer& answer : answers) start(answer);
  ASSERT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
  for (const Answer& answer : answers) EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(backend->connections, 1u);
}

TEST_P(PoolTest, AnotherConnectionIsOpenedBeforeTheFirstIsFull) {
  backend->behaviour.max_streams = 4;
  backend->behaviour.answers = false;
  open();
  Answer warm_up("GET");
  backend->behaviour.answers = true;
  get(warm_up);
  backend->behaviour.answers = false;
  CancelToken cancel;
  std::list<Answer> answers(3);
  for (Answer& answer : answers) {
    answer.options.cancel = &cancel;
    start(answer);
  }
  EXPECT_TRUE(world.runUntil([&] { return backend->connections == 2; })) << "three of four streams are in use";
  cancel.cancel(streamError(ErrorCode::cancelled, "the test is over"));
  EXPECT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
}

// With no frame, with one, and so on, as many as a dial and its connection take at the most: whichever coroutine finds
// none, the request fails, and the next one is served.
TEST_P(PoolTest, WhereNoFrameIsLeftRequestsFailAndTheNextAreServed) {
  World other{GetParam()};
  size_t failures = 0;
  for (const BackendProtocol protocol : {BackendProtocol::h2c, BackendProtocol::h1, BackendProtocol::probe}) {
    FakeBackend its(other);
    if (protocol == BackendProtocol::h1) its.behaviour.speaks = FakeBackend::Behaviour::Speaks::http1;
    for (size_t left = 0; left < 7; ++left) {
      open(std::vector{its.options(protocol)});
      {
        Answer hurt;
        start(hurt);  // has its own frame
        const io_test::FrameHog hog(*world.io, left);
        ASSERT_TRUE(runBoth(world, other, [&] { return hurt.done; }));
        EXPECT_EQ(endpoint().state, EndpointState::up) << "the backend has done nothing";
        EXPECT_EQ(endpoint().broken_connections, 0u);
        failures += hurt.status == 200 ? 0 : 1;
        if (hurt.error) EXPECT_EQ(hurt.error->code, ErrorCode::no_memory) << hurt.error->reason;
      }
      Answer next;
      ASSERT_TRUE(runBoth(world, other, [&] { return endpoint().not_before_ns <= world.io->nowNs(); }));
      start(next);
      ASSERT_TRUE(runBoth(world, other, [&] { return next.done; }));
      EXPECT_EQ(next.status, 200) << (next.error ? next.error->reason : "");
      Scope closing;
      closing.spawn(pool->close(*world.io), *world.io);
      EXPECT_TRUE(runBoth(world, other, [&] { return closing.running() == 0 && scope.running() == 0; }));
      EXPECT_EQ(world.io->frames().used(), 0u);
      pool.reset();
    }
    its.hangUp();
    ASSERT_TRUE(runBoth(world, other, [&] { return other.io->frames().used() == 0; }));
  }
  EXPECT_GE(failures, 9u);
}

TEST_P(PoolTest, WhatComesInOneTurnLeavesByOneConnectionAndTheNextTurnsByAnother) {
  backend->behaviour.max_streams = 8;
  world.limits.h2_connections_per_backend = 2;
  open();
  expectOk();
  backend->behaviour.answers = false;
  CancelToken warmed_up;
  CancelToken ended;
  std::list<Answer> answers;
  const auto startSome = [&](uint32_t count, CancelToken& cancel) {
    for (uint32_t i = 0; i < count; ++i) {
      answers.emplace_back().options.cancel = &cancel;
      start(answers.back());
    }
  };
  startSome(6, warmed_up);
  ASSERT_TRUE(
      world.runUntil([&] { return backend->requests == 7 && pool->find(pool->endpoint(0))->readyConnections() == 2; }));
  warmed_up.cancel(streamError(ErrorCode::cancelled, "both are idle again"));
  ASSERT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
  ASSERT_EQ(backend->requestsByConnection(), (std::vector<uint32_t>{7, 0}));

  startSome(4, ended);
  ASSERT_TRUE(world.runUntil([&] { return backend->requests == 11; }));
  EXPECT_EQ(backend->requestsByConnection(), (std::vector<uint32_t>{11, 0})) << "one send could carry all four";
  startSome(3, ended);
  ASSERT_TRUE(world.runUntil([&] { return backend->requests == 14; }));
  EXPECT_EQ(backend->requestsByConnection(), (std::vector<uint32_t>{11, 3})) << "the least loaded of this turn";
  // Three quarters full ends the run: the fourth goes to the first again.
  startSome(4, ended);
  ASSERT_TRUE(world.runUntil([&] { return backend->requests == 18; }));
  EXPECT_EQ(backend->requestsByConnection(), (std::vector<uint32_t>{12, 6})) << "the second has six of eight now";
  ended.cancel(streamError(ErrorCode::cancelled, "the test is over"));
  EXPECT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
}

TEST_P(PoolTest, ARequestWaitsForRoomWhenAllConnectionsAreFull) {
  backend->behaviour.max_streams = 1;
  backend->behaviour.answers = false;
  world.limits.h2_connections_per_backend = 1;
  open();
  CancelToken cancel;
  Answer first;
  first.options.cancel = &cancel;
  start(first);
  ASSERT_TRUE(world.runUntil([&] { return backend->requests == 1; }));
  backend->behaviour.answers = true;
  Answer second;
  start(second);
  EXPECT_FALSE(world.runUntil([&] { return second.done; }, 200)) << "it was sent beyond the peer's limit";
  cancel.cancel(streamError(ErrorCode::cancelled, "the first is given up"));
  EXPECT_TRUE(world.runUntil([&] { return second.done; }));
  EXPECT_EQ(second.status, 200);
  EXPECT_EQ(backend->connections, 1u);
}

TEST_P(PoolTest, StreamsThatWereReservedBeforeTheBackendAllowedFewerWaitForTheirTurn) {
  backend->behaviour.max_streams = 1;
  // The probe's answer is read while those who wait for the connection have a stream of it already.
  open(BackendProtocol::probe);
  std::list<Answer> answers(8);
  for (Answer& answer : answers) start(answer);
  ASSERT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
  for (const Answer& answer : answers) EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  EXPECT_EQ(backend->requests, 8u);
  EXPECT_EQ(pool->counters().retries_unprocessed, 0u);
}

TEST_P(PoolTest, RequestsThatEachNeedAConnectionWaitWhereThereAreFewerPlacesForThem) {
  world.limits.upstream_connections = 2;
  backend->behaviour.speaks = FakeBackend::Behaviour::Speaks::http1;
  open(BackendProtocol::h1);
  std::list<Answer> answers(8);
  for (Answer& answer : answers) start(answer);
  ASSERT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
  for (const Answer& answer : answers) EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  EXPECT_LE(backend->connections, 2u);
}

TEST_P(PoolTest, AnIdleConnectionGivesItsPlaceToAnotherBackend) {
  world.limits.upstream_connections = 1;
  {
    FakeBackend other(world);
    pool.emplace(*world.io, world.limits, world.limits, world.timeouts,
                 std::vector{backend->options(), other.options()}, UpstreamMemory{world.stream_blocks, world.headers},
                 world.send_blocks, world.record_blocks);
    for (uint32_t i = 0; i < 4; ++i) {
      Answer answer("POST");
      answer.backend = i % 2;
      get(answer);
      EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
    }
    EXPECT_EQ(backend->connections, 2u);
    EXPECT_EQ(other.connections, 2u);
  }
}

TEST_P(PoolTest, AnIdleConnectionGivesItsPlaceToAnotherBackendThoughOneIsKeptForBackendsWithoutAny) {
  world.limits.upstream_connections = 4;
  world.timeouts.queue_ms = 60'000;
  backend->behaviour.speaks = FakeBackend::Behaviour::Speaks::http1;
  backend->behaviour.answers = false;
  {
    FakeBackend other(world);
    other.behaviour.speaks = FakeBackend::Behaviour::Speaks::http1;
    other.behaviour.answers = false;
    open(std::vector{backend->options(BackendProtocol::h1), other.options(BackendProtocol::h1)});
    std::list<Answer> answers(3);
    answers.back().backend = 1;
    for (Answer& answer : answers) start(answer);
    ASSERT_TRUE(runUntil([&] { return backend->requests == 2 && other.requests == 1; }));
    Answer waiting;
    waiting.backend = 1;
    start(waiting);
    runFor(50);
    ASSERT_EQ(other.requests, 1u) << "the last place is for a backend without a connection";
    backend->answerAll();
    EXPECT_TRUE(runUntil([&] { return other.requests == 2; })) << "two connections are idle";
    other.answerAll();
    EXPECT_TRUE(runToEnd());
    closeAll();
  }
}

TEST_P(PoolTest, AFullPoolSaysSoAfterTheQueuesDeadline) {
  backend->behaviour.max_streams = 1;
  backend->behaviour.answers = false;
  world.limits.h2_connections_per_backend = 1;
  world.timeouts.queue_ms = 100;
  open();
  CancelToken cancel;
  Answer first;
  first.options.cancel = &cancel;
  start(first);
  ASSERT_TRUE(world.runUntil([&] { return backend->requests == 1; }));
  Answer second;
  get(second);
  ASSERT_TRUE(second.error);
  EXPECT_EQ(second.error->code, ErrorCode::pool_exhausted);
  cancel.cancel(streamError(ErrorCode::cancelled, "the test is over"));
  EXPECT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
}

TEST_P(PoolTest, RefusedStreamsAreRepeatedWithAnyMethodAndRunOnce) {
  backend->behaviour.refuse = 3;
  open();
  Attempts attempts;
  Answer answer("POST");
  answer.options.attempts = &attempts;
  get(answer);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(attempts.retries, 3);
  EXPECT_EQ(attempts.last, RetryClass::unprocessed);
  EXPECT_EQ(backend->executed, 1u);
}

TEST_P(PoolTest, ABackendThatRefusesForeverIsAskedSixTimes) {
  backend->behaviour.refuse = 1000;
  open();
  Answer answer;
  get(answer);
  ASSERT_TRUE(answer.error);
  EXPECT_EQ(answer.error->code, ErrorCode::refused_stream);
  EXPECT_EQ(backend->requests, 6u);
}

TEST_P(PoolTest, GoawayAfterEveryFewRequestsIsNotNoticed) {
  backend->behaviour.goaway_after = 5;
  open();
  std::list<Answer> answers(20);
  for (Answer& answer : answers) {
    answer.head.method = "POST";
    start(answer);
  }
  ASSERT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
  for (const Answer& answer : answers) EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  EXPECT_EQ(backend->executed, 20u);
}

TEST_P(PoolTest, AGetWhoseConnectionBreaksIsRepeatedOnceAndAPostIsNot) {
  open();
  expectOk();
  backend->behaviour.hang_up_after = 1;
  expectOk("GET");
  backend->behaviour.hang_up_after = 1;
  const uint32_t before = backend->executed;
  Answer post("POST");
  get(post);
  ASSERT_TRUE(post.error);
  EXPECT_EQ(post.error->code, ErrorCode::connection_lost);
  EXPECT_EQ(backend->executed, before + 1);
  backend->behaviour.hang_up_after = 2;
  Answer twice("GET");
  get(twice);
  EXPECT_TRUE(twice.error) << "a request whose fate is unknown is repeated once, not until it works";
}

// A backend that sends something wrong is alive: only after a loss the other connections may be lost as well.
TEST_P(PoolTest, AGetWhoseConnectionEndsForItsBackendsFaultIsRepeatedWithoutAPause) {
  world.timeouts.backoff_min_ms = 3'600'000;
  open();
  expectOk();
  backend->behaviour.garbage_after = 1;
  expectOk();
  EXPECT_EQ(pool->counters().retries_unknown, 1u);
  EXPECT_EQ(backend->connections, 2u);
}

TEST_P(PoolTest, AConnectionThatTheBackendClosedWhileIdleIsNotUsedAgain) {
  open();
  expectOk();
  backend->hangUp();
  ASSERT_TRUE(world.runUntil([&] { return pool->find(pool->endpoint(0))->readyConnections() == 0; }));
  expectOk("POST");
  EXPECT_EQ(pool->counters().retries_unknown + pool->counters().retries_unprocessed, 0u);
}

TEST_P(PoolTest, ResetStreamsLeaveNoLoadBehind) {
  backend->behaviour.reset_with = static_cast<uint32_t>(h2::H2Error::internal_error);
  backend->behaviour.max_streams = 4;
  open();
  for (int i = 0; i < 20; ++i) {
    Answer answer("POST");
    get(answer);
    ASSERT_TRUE(answer.error);
    EXPECT_EQ(answer.error->code, ErrorCode::stream_reset);
  }
  EXPECT_EQ(backend->connections, 1u) << "RST_STREAM reaches only the stream";
}

TEST_P(PoolTest, ADeadlineResetsTheStreamAndKeepsTheConnection) {
  backend->behaviour.answers = false;
  open();
  Answer answer;
  answer.options.deadline_ns = world.io->nowNs() + 100 * ns_per_ms;
  get(answer);
  ASSERT_TRUE(answer.error);
  EXPECT_EQ(answer.error->code, ErrorCode::deadline_exceeded);
  EXPECT_TRUE(world.runUntil([&] { return backend->resets == 1; }));
  backend->behaviour.answers = true;
  expectOk();
  EXPECT_EQ(backend->connections, 1u);
}

TEST_P(PoolTest, AnIdleConnectionIsClosed) {
  world.timeouts.idle_ms = 50;
  open();
  expectOk();
  EXPECT_TRUE(
      world.runUntil([&] { return backend->open == 0 && pool->find(pool->endpoint(0))->readyConnections() == 0; }));
  expectOk();
}

TEST_P(PoolTest, AConnectionPastItsAgeIsReplacedAlthoughItIsInUse) {
  world.timeouts.max_age_ms = 100;
  open();
  expectOk();
  const auto isReplaced = [&] {
    expectOk();
    return backend->connections >= 2;
  };
  EXPECT_TRUE(world.runUntil(isReplaced));
  EXPECT_TRUE(world.runUntil([&] { return backend->open == 0; })) << "what is past its age and idle is closed";
}

TEST_P(PoolTest, ASilentConnectionWithStreamsIsPingedAndGivenUp) {
  world.timeouts.ping_ms = 50;
  world.timeouts.ping_answer_ms = 50;
  backend->behaviour.answers = false;
  backend->behaviour.reads = false;
  open();
  Answer answer("POST");
  get(answer);
  ASSERT_TRUE(answer.error);
  EXPECT_EQ(answer.error->code, ErrorCode::stalled);
}

TEST_P(PoolTest, ASilentConnectionThatAnswersPingsIsKept) {
  world.timeouts.ping_ms = 20;
  world.timeouts.ping_answer_ms = 2000;
  backend->behaviour.answers = false;
  open();
  Answer answer;
  answer.options.deadline_ns = world.io->nowNs() + 400 * ns_per_ms;
  get(answer);
  ASSERT_TRUE(answer.error);
  EXPECT_EQ(answer.error->code, ErrorCode::deadline_exceeded);
  EXPECT_EQ(pool->find(pool->endpoint(0))->readyConnections(), 1u);
}

TEST_P(PoolTest, ConnectionsThatAreNoLongerNeededGo) {
  world.timeouts.shrink_ms = 30;
  backend->behaviour.max_streams = 4;
  backend->behaviour.answers = false;
  open();
  CancelToken cancel;
  std::list<Answer> answers(16);
  for (Answer& answer : answers) {
    answer.options.cancel = &cancel;
    start(answer);
  }
  EXPECT_TRUE(world.runUntil([&] { return pool->find(pool->endpoint(0))->readyConnections() >= 3; }));
  cancel.cancel(streamError(ErrorCode::cancelled, "the load goes away"));
  EXPECT_TRUE(
      world.runUntil([&] { return scope.running() == 0 && pool->find(pool->endpoint(0))->readyConnections() == 1; }));
  EXPECT_EQ(pool->counters().connect_failures, 0u);
}

TEST_P(PoolTest, AReleaseWithoutSuccessRetiresTheConnectionButNotItsStreams) {
  open();
  Answer held;
  held.holds_response = true;
  backend->behaviour.answers = true;
  start(held);
  ASSERT_TRUE(world.runUntil([&] { return held.status == 200; }));
  struct Unused {
    static Task<void> run(ConnectionPool& pool, bool& done, Io& io) {
      auto lease = co_await pool.getOrCreate(pool.endpoint(0), io);
      PLAIT_ASSERT(lease.has_value());
      pool.release(*lease, false, io);
      done = true;
    }
  };
  bool done = false;
  scope.spawn(Unused::run(*pool, done, *world.io), *world.io);
  ASSERT_TRUE(world.runUntil([&] { return done; }));
  EXPECT_EQ(pool->find(pool->endpoint(0))->readyConnections(), 0u);
  held.holds_response = false;
  EXPECT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
  expectOk();
}

TEST_P(PoolTest, AnAnswerThatIsNotLikedRetiresTheConnectionThatGaveIt) {
  open();
  Answer held;
  held.holds_response = true;
  start(held);
  ASSERT_TRUE(world.runUntil([&] { return held.status == 200; }));
  Answer rejected;
  rejected.rejects = true;
  get(rejected);
  EXPECT_EQ(rejected.status, 200);
  EXPECT_EQ(pool->find(pool->endpoint(0))->readyConnections(), 0u);
  EXPECT_FALSE(held.done) << "what still runs on it finishes";
  held.holds_response = false;
  EXPECT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
  expectOk();
  EXPECT_EQ(backend->connections, 2u);
}

TEST_P(PoolTest, ALeaseMayOutliveItsConnection) {
  open();
  struct Slow {
    static Task<void> run(ConnectionPool& pool, FakeBackend& backend, std::optional<Error>& error, bool& done, Io& io) {
      auto lease = co_await pool.getOrCreate(pool.endpoint(0), io);
      PLAIT_ASSERT(lease.has_value());
      backend.hangUp();
      co_await sleepUntil(io.nowNs() + 200 * ns_per_ms, io);
      Answer answer;
      auto response = co_await lease->request(answer.head, answer.options, io);
      pool.release(*lease, true, io);
      if (!response) error = response.error();
      done = true;
    }
  };
  std::optional<Error> error;
  bool done = false;
  scope.spawn(Slow::run(*pool, *backend, error, done, *world.io), *world.io);
  ASSERT_TRUE(world.runUntil([&] { return done; }));
  EXPECT_FALSE(error) << "the request never left and is sent on a new connection";
  EXPECT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
}

TEST_P(PoolTest, AnUnreachableBackendIsLeftAloneForAWhile) {
  const BackendOptions options = backend->options();
  backend.reset();
  pool.emplace(*world.io, world.limits, world.limits, world.timeouts, std::vector{options},
               UpstreamMemory{world.stream_blocks, world.headers}, world.send_blocks, world.record_blocks);
  Answer answer;
  get(answer);
  ASSERT_TRUE(answer.error);
  EXPECT_EQ(answer.error->code, ErrorCode::connect_failed);
  EXPECT_EQ(answer.error->reach, Reach::backend);
  EXPECT_GT(pool->find(pool->endpoint(0))->not_before_ns, world.io->nowNs());
  Answer at_once;
  get(at_once);
  EXPECT_EQ(pool->counters().connect_failures, 1u) << "no second try so soon";
}

TEST_P(PoolTest, Http1RequestsEachHaveAConnectionAndReuseIt) {
  backend->behaviour.speaks = FakeBackend::Behaviour::Speaks::http1;
  open(BackendProtocol::h1);
  std::list<Answer> answers(8);
  for (Answer& answer : answers) start(answer);
  ASSERT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
  for (const Answer& answer : answers) EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  const uint32_t opened = backend->connections;
  EXPECT_LE(opened, 8u);
  for (int i = 0; i < 8; ++i) expectOk();
  EXPECT_EQ(backend->connections, opened);
}

TEST_P(PoolTest, StaleHttp1ConnectionsAreHiddenFromGetsAndDoNotRepeatPosts) {
  backend->behaviour.speaks = FakeBackend::Behaviour::Speaks::http1;
  open(BackendProtocol::h1);
  expectOk();
  backend->behaviour.hang_up_after = 1;
  expectOk("GET");
  backend->behaviour.hang_up_after = 1;
  const uint32_t before = backend->executed;
  Answer post("POST");
  get(post);
  EXPECT_TRUE(post.error);
  EXPECT_EQ(backend->executed, before + 1);
  expectOk();
  backend->hangUp();
  ASSERT_TRUE(world.runUntil([&] { return pool->find(pool->endpoint(0))->readyConnections() == 0; }));
  expectOk("POST");
}

TEST_P(PoolTest, AProbeFindsHttp2) {
  open(BackendProtocol::probe);
  for (int i = 0; i < 3; ++i) expectOk();
  EXPECT_EQ(backend->connections, 1u);
}

TEST_P(PoolTest, AProbeFindsHttp1ByItsAnswerAndRemembersIt) {
  backend->behaviour.speaks = FakeBackend::Behaviour::Speaks::http1;
  open(BackendProtocol::probe);
  std::list<Answer> answers(4);
  for (Answer& answer : answers) start(answer);
  ASSERT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
  for (const Answer& answer : answers) EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  EXPECT_LE(backend->connections, 5u) << "one probe, and at most one connection for each request";
  EXPECT_EQ(backend->requests, 4u);
}

TEST_P(PoolTest, ABackendThatComesBackWithHttp2IsFoundOutAndNoRequestIsLost) {
  backend->behaviour.speaks = FakeBackend::Behaviour::Speaks::http1;
  open(BackendProtocol::probe);
  expectOk();
  backend->hangUp();
  ASSERT_TRUE(
      world.runUntil([&] { return backend->open == 0 && pool->find(pool->endpoint(0))->readyConnections() == 0; }));
  backend->behaviour.speaks = FakeBackend::Behaviour::Speaks::h2;
  std::list<Answer> answers;
  for (int i = 0; i < 4; ++i) start(answers.emplace_back("POST"));
  ASSERT_TRUE(world.runUntil([&] { return scope.running() == 0; }));
  for (const Answer& answer : answers) EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  const uint32_t made = backend->connections;
  expectOk("POST");
  EXPECT_EQ(backend->connections, made) << "HTTP/2 is remembered";
}

TEST_P(PoolTest, AProbeTakesSilenceForHttp1) {
  backend->behaviour.speaks = FakeBackend::Behaviour::Speaks::nothing;
  world.timeouts.probe_ms = 50;
  open(BackendProtocol::probe);
  expectOk();
  expectOk();
  EXPECT_EQ(backend->connections, 2u);
}

TEST_P(PoolTest, AProbeAloneDecidesHowLongItWaitsForSettings) {
  world.timeouts.connect_ms = 100;
  world.timeouts.probe_ms = 10'000;
  backend->behaviour.is_mute = true;
  open(BackendProtocol::probe);
  Answer answer;
  start(answer);
  ASSERT_TRUE(runUntil([&] { return backend->connections == 1; }));
  (void)runUntil([&] { return answer.done; }, 300);
  ASSERT_FALSE(answer.done) << "the connection does not end while its dial waits";
  backend->behaviour.is_mute = false;
  backend->answerAll();  // SETTINGS leave with it
  ASSERT_TRUE(runUntil([&] { return answer.done; }));
  EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  EXPECT_EQ(backend->connections, 1u);
}

TEST_P(PoolTest, Http11RequiredIsRepeatedOverHttp1) {
  backend->behaviour.reset_with = static_cast<uint32_t>(h2::H2Error::http_1_1_required);
  open(BackendProtocol::probe);
  Answer answer("POST");
  start(answer);
  ASSERT_TRUE(world.runUntil([&] { return backend->requests == 1; }));
  backend->behaviour.speaks = FakeBackend::Behaviour::Speaks::http1;
  ASSERT_TRUE(world.runUntil([&] { return answer.done; }));
  EXPECT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
  EXPECT_EQ(backend->connections, 2u);
}

TEST_P(PoolTest, GivingUpAnHttp1ResponseEndsItsConnectionAlone) {
  backend->behaviour.speaks = FakeBackend::Behaviour::Speaks::http1;
  open(BackendProtocol::h1);
  CancelToken cancel;
  cancel.cancel(streamError(ErrorCode::cancelled, "the client went"));
  Answer answer;
  answer.options.cancel = &cancel;
  get(answer);
  EXPECT_TRUE(answer.error);
  expectOk();
}

INSTANTIATE_TEST_SUITE_P(Backends, PoolTest, testing::Values(IoKind::uring, IoKind::epoll), ioName);

}  // namespace
}  // namespace plait
