// Which endpoint a request goes to, who waits, and who is left out, with backends over real sockets.
#include <set>

#include "plait/client/pool_test.h"
#include "plait/cluster/cluster_table.h"
#include "plait/plan/identities.h"

namespace plait {
namespace {

using Speaks = FakeBackend::Behaviour::Speaks;

// A request as the proxy brings it to the cluster: it waits in line where no endpoint has room.
struct Asked : Answer {
  using Answer::Answer;
  Wish wish;
  Choice choice;
  int64_t wait_ms = 10'000;
  bool has_waited = false;
};

Task<void> serve(Cluster& cluster, Asked& asked, Io& io) {
  Cluster::Spot spot(cluster, asked.wish);
  const TimeNs until_ns = io.nowNs() + asked.wait_ms * ns_per_ms;
  while (true) {
    asked.choice = cluster.choose(asked.wish, spot.isWaiting());
    if (!asked.choice.endpoint.isNone()) break;
    asked.has_waited = true;
    if (const Status room = co_await cluster.wait(spot, until_ns, asked.options.cancel, io); !room) {
      asked.error = room.error();
      asked.done = true;
      co_return;
    }
  }
  spot.leave();
  co_await ask(cluster.pool(), asked.choice.endpoint, asked, io);
}

struct ClusterTest : testing::TestWithParam<IoKind>, ClusterObserver {
  void TearDown() override {
    table.reset();
    Scope closing;
    closing.spawn(pool->close(*world.io), *world.io);
    EXPECT_TRUE(run([&] {
      for (FakeBackend& backend : backends) backend.answerAll();
      return closing.running() == 0 && scope.running() == 0;
    })) << "the pool does not close";
    pool.reset();
    backends.clear();
    EXPECT_EQ(world.send_blocks.used(), 0u);
    EXPECT_EQ(world.buffers.lent(), 0u);
  }
  void onPanic(bool panics) override { is_panic = panics; }

  FakeBackend& add() { return backends.emplace_back(world); }
  void addAll(size_t count) {
    for (size_t i = 0; i < count; ++i) add();
  }
  void open(std::vector<BackendProtocol> protocols = {}) {
    std::vector<BackendOptions> all;
    for (const FakeBackend& backend : backends) {
      all.push_back(backend.options(protocols.empty() ? BackendProtocol::h2c : protocols[all.size()]));
    }
    pool.emplace(*world.io, world.limits, world.limits, world.timeouts, std::vector<BackendOptions>(),
                 UpstreamMemory{world.stream_blocks, world.headers}, world.send_blocks, world.record_blocks);
    table.emplace(*pool, *world.io);
    table->setObserver(this);
    install(clusterOf(all));
    cluster = table->at(0);
  }
  std::shared_ptr<ClusterSpec> clusterOf(const std::vector<BackendOptions>& options) {
    auto spec = std::make_shared<ClusterSpec>();
    spec->identity = identities.cluster("default");
    spec->outliers = outliers;
    for (const BackendOptions& one : options) spec->endpoints.push_back({identities.endpoint("default", one), {}});
    return spec;
  }
  void install(std::shared_ptr<const ClusterSpec> spec) {
    const std::vector<std::shared_ptr<const ClusterSpec>> next = {std::move(spec)};
    ASSERT_TRUE(table->prepare(next));
    table->commit(next);
    installed = next;
  }
  EndpointId idOf(size_t number) const { return table->endpoint(static_cast<uint32_t>(number)); }
  // Each endpoint has a connection.
  void warmUp() {
    for (size_t n = 0; n < backends.size(); ++n) {
      Answer answer;
      scope.spawn(ask(*pool, idOf(n), answer, *world.io), *world.io);
      ASSERT_TRUE(run([&] { return scope.running() == 0; }));
      ASSERT_EQ(answer.status, 200) << (answer.error ? answer.error->reason : "");
    }
  }
  // Two endpoints with a stream each, and requests on both.
  void fill(std::list<Answer>& running) {
    addAll(2);
    for (FakeBackend& each : backends) each.behaviour.max_streams = 1;
    world.limits.h2_connections_per_backend = 1;
    open();
    warmUp();
    for (FakeBackend& each : backends) each.behaviour.answers = false;
    size_t n = 0;
    for (Answer& answer : running) startAt(n++, answer);
    ASSERT_TRUE(run([&] { return backend(0).requests == 2 && backend(1).requests == 2; }));
  }
  // Endpoints of which the first has left for what it answered, can be reached, and waits for a real request.
  void openWithTrial() {
    outliers.eject_ms = 20;
    addAll(2);
    open();
    warmUp();
    failFor(0);
    ASSERT_TRUE(run([&] { return endpoint(0).wants_request; })) << "first a connection, by its own timer";
  }
  bool run(const std::function<bool()>& done, int64_t at_most_ms = 10'000) { return world.runUntil(done, at_most_ms); }
  void runFor(int64_t ms) {
    (void)run([] { return false; }, ms);
  }
  void start(Asked& asked) { scope.spawn(serve(*cluster, asked, *world.io), *world.io); }
  void startAt(size_t n, Answer& answer) { scope.spawn(ask(*pool, idOf(n), answer, *world.io), *world.io); }
  FakeBackend& backend(size_t n) { return *std::next(backends.begin(), static_cast<ptrdiff_t>(n)); }
  Endpoint& endpoint(size_t n) { return *pool->find(idOf(n)); }
  EndpointId id(size_t n) const { return idOf(n); }
  // Which endpoints fifty requests would go to.
  std::set<uint32_t> choices(const Wish& wish = {}) {
    std::set<uint32_t> found;
    for (int i = 0; i < 50; ++i) {
      const Choice choice = cluster->choose(wish, false);
      if (!choice.endpoint.isNone()) found.insert(choice.endpoint.index);
    }
    return found;
  }
  using Set = std::set<uint32_t>;
  // The outcomes of requests of three clients, one after another, at an endpoint.
  void failFor(size_t n, Seen seen = Seen::bad_gateway, uint32_t times = 5) {
    for (uint32_t i = 0; i < times; ++i) cluster->onOutcome({id(n)}, seen, false, {1 + i % 3, 1 + i % 3});
  }
  void leaveOut(size_t n) { pool->eject(id(n), backendError(ErrorCode::ejected, "the test says so"), 3'600'000); }

  World world{GetParam()};
  OutlierOptions outliers;
  std::list<FakeBackend> backends;
  std::optional<ConnectionPool> pool;
  PlanIdentities identities{16, 16};
  std::vector<std::shared_ptr<const ClusterSpec>> installed;
  std::optional<ClusterTable> table;
  Cluster* cluster = nullptr;
  Scope scope;
  bool is_panic = false;
};
INSTANTIATE_TEST_SUITE_P(Backends, ClusterTest, testing::Values(IoKind::uring, IoKind::epoll), ioName);

// -- the choice

TEST_P(ClusterTest, TheLessLoadedOfTwoIsChosen) {
  addAll(2);
  open();
  warmUp();
  backend(0).behaviour.answers = false;
  std::list<Answer> running(3);
  for (Answer& answer : running) startAt(0, answer);
  ASSERT_TRUE(run([&] { return backend(0).requests == 4; }));
  EXPECT_EQ(choices(), Set{1});
  backend(0).answerAll();
  ASSERT_TRUE(run([&] { return scope.running() == 0; }));
}

TEST_P(ClusterTest, TheQuickerOfTwoIsChosenUntilItHasManyMoreRequests) {
  addAll(2);
  open();
  warmUp();
  for (int i = 0; i < 50; ++i) {
    endpoint(0).head_time.add(world.io->nowNs(), 100 * ns_per_ms);
    endpoint(1).head_time.add(world.io->nowNs(), 10 * ns_per_ms);
  }
  EXPECT_EQ(choices(), Set{1});
  backend(1).behaviour.answers = false;
  std::list<Answer> running(15);
  for (Answer& answer : running) startAt(1, answer);
  ASSERT_TRUE(run([&] { return backend(1).requests == 16; }));
  EXPECT_EQ(choices(), Set{0}) << "sixteen times 10 ms is longer than once 100 ms";
  backend(1).answerAll();
  ASSERT_TRUE(run([&] { return scope.running() == 0; }));
}

TEST_P(ClusterTest, OneThatIsSlowByAMillisecondFractionIsNoWorse) {
  addAll(2);
  open();
  warmUp();
  for (int i = 0; i < 50; ++i) {
    endpoint(0).head_time.add(world.io->nowNs(), 900'000);
    endpoint(1).head_time.add(world.io->nowNs(), 20'000);
  }
  EXPECT_EQ(choices(), (Set{0, 1})) << "below a millisecond times tell nothing";
}

TEST_P(ClusterTest, AnEndpointThatOwesAnAnswerAndSaysNothingIsPassedByEvenForABusyOne) {
  addAll(2);
  open();
  warmUp();
  backend(0).behaviour.answers = backend(1).behaviour.answers = false;
  Answer hung;
  startAt(0, hung);
  ASSERT_TRUE(run([&] { return backend(0).requests == 2; }));
  runFor(300);
  std::list<Answer> running(20);
  for (Answer& answer : running) startAt(1, answer);
  ASSERT_TRUE(run([&] { return backend(1).requests == 21; }));
  for (int i = 0; i < 20; ++i) cluster->onOutcome({id(1)}, Seen::good, true, {1, 1});
  EXPECT_EQ(choices(), Set{1});
  backend(0).answerAll();
  ASSERT_TRUE(run([&] { return hung.done; }));
  EXPECT_EQ(choices(), Set{0}) << "it has spoken, and has less to do";
  backend(1).answerAll();
  ASSERT_TRUE(run([&] { return scope.running() == 0; }));
}

TEST_P(ClusterTest, ASilentEndpointIsChosenWhereNoOtherHasRoom) {
  addAll(2);
  backend(1).behaviour.max_streams = 1;
  world.limits.h2_connections_per_backend = 1;
  open();
  warmUp();
  backend(0).behaviour.answers = backend(1).behaviour.answers = false;
  Answer hung;
  startAt(0, hung);
  ASSERT_TRUE(run([&] { return backend(0).requests == 2; }));
  runFor(300);
  Answer full;
  startAt(1, full);
  ASSERT_TRUE(run([&] { return backend(1).requests == 2; }));
  EXPECT_EQ(choices(), Set{0});
  for (FakeBackend& each : backends) each.answerAll();
  ASSERT_TRUE(run([&] { return scope.running() == 0; }));
}

TEST_P(ClusterTest, OneThatFailsFastAttractsNobody) {
  addAll(2);
  open();
  warmUp();
  for (int i = 0; i < 50; ++i) endpoint(1).head_time.add(world.io->nowNs(), 5 * ns_per_ms);
  EXPECT_EQ(choices(), Set{0}) << "it is quicker";
  for (int i = 0; i < 20; ++i) cluster->onOutcome({id(0)}, Seen::good, true, {1, 1});
  EXPECT_EQ(choices(), Set{1}) << "but overloaded";
}

TEST_P(ClusterTest, AnEndpointThatComesBackStartsAnew) {
  addAll(2);
  world.timeouts.ping_ms = world.timeouts.ping_answer_ms = 50;
  open();
  warmUp();
  // One request shows that the endpoint has fallen silent; before, it was slow and failed.
  for (int i = 0; i < 50; ++i) endpoint(0).head_time.add(world.io->nowNs(), 900 * ns_per_ms);
  failFor(0, Seen::bad_gateway, 4);
  backend(0).behaviour.answers = backend(0).behaviour.reads = false;
  Answer lost;
  startAt(0, lost);
  ASSERT_TRUE(run([&] { return endpoint(0).state == EndpointState::down; }));
  EXPECT_EQ(choices(), Set{1});
  backend(0).behaviour.answers = backend(0).behaviour.reads = true;
  ASSERT_TRUE(run([&] { return endpoint(0).state == EndpointState::up && lost.done; }));
  EXPECT_EQ(choices(), (Set{0, 1}));
}

TEST_P(ClusterTest, FailingOverTakesEachEndpointOnceWhateverOthersDoMeanwhile) {
  addAll(3);
  open();
  warmUp();
  Wish wish;
  Set met;
  for (int i = 0; i < 3; ++i) {
    (void)choices();
    const Choice choice = cluster->choose(wish, false);
    ASSERT_FALSE(choice.endpoint.isNone());
    EXPECT_TRUE(met.insert(choice.endpoint.index).second) << "it was tried before";
    EXPECT_EQ(cluster->hasOther(wish, choice.endpoint), i != 2);
    wish.tried.add(choice.endpoint);
    wish.is_repeated = true;
  }
  EXPECT_FALSE(cluster->choose(wish, false).endpoint.isNone()) << "again, where there is no other";
}

TEST_P(ClusterTest, AnEndpointThatWasTriedIsNotTriedAgainWhileAnotherIsUpThoughItHasNoRoom) {
  addAll(2);
  backend(1).behaviour.max_streams = 1;
  world.limits.h2_connections_per_backend = 1;
  open();
  warmUp();
  backend(1).behaviour.answers = false;
  Answer full;
  startAt(1, full);
  ASSERT_TRUE(run([&] { return backend(1).requests == 2; }));
  Wish wish;
  wish.tried.add(id(0));
  EXPECT_EQ(choices(wish), Set{}) << "it waits";
  backend(1).answerAll();
  ASSERT_TRUE(run([&] { return scope.running() == 0; }));
}

TEST_P(ClusterTest, TunnelsGoToEndpointsThatTakeThem) {
  addAll(2);
  backend(1).behaviour.speaks = Speaks::http1;
  open({BackendProtocol::h2c, BackendProtocol::h1});
  warmUp();
  Wish wish;
  wish.is_tunnel = true;
  EXPECT_EQ(choices(wish), Set{1});
  EXPECT_EQ(choices(), (Set{0, 1}));
}

TEST_P(ClusterTest, WhereNoneTakesATunnelItIsARequestWithoutOne) {
  addAll(2);
  open();
  warmUp();
  Wish wish;
  wish.is_tunnel = true;
  EXPECT_EQ(choices(wish), (Set{0, 1}));
}

TEST_P(ClusterTest, NoRequestWaitsForAnEndpointThatIsDownOrForADialWhileAnotherHasRoom) {
  addAll(2);
  backend(0).behaviour.speaks = Speaks::nothing;
  world.timeouts.probe_ms = 3000;
  open({BackendProtocol::probe, BackendProtocol::h2c});
  Answer warm;
  startAt(1, warm);
  ASSERT_TRUE(run([&] { return warm.done; }));
  std::list<Asked> asked(50);
  for (Asked& one : asked) start(one);
  ASSERT_TRUE(run([&] { return scope.running() == 0; }, 1000));
  for (const Asked& one : asked) EXPECT_FALSE(one.has_waited);
  EXPECT_TRUE(run([&] { return backend(0).connections >= 1; }, 1000)) << "the other is dialled aside";
  EXPECT_EQ(backend(1).requests, 51u);
}

// -- the line

TEST_P(ClusterTest, WhoWaitsIsServedFirstComeFirstServedByWhicheverEndpointHasRoom) {
  std::list<Answer> running(2);
  fill(running);
  std::list<Asked> line(3);
  for (Asked& asked : line) start(asked);
  ASSERT_TRUE(run([&] { return cluster->waiting() == 3; }));
  EXPECT_TRUE(cluster->choose({}, false).endpoint.isNone());
  backend(1).behaviour.answers = true;
  backend(1).answerAll();
  ASSERT_TRUE(run([&] { return line.back().done; }));
  uint32_t before = 0;
  for (const Asked& asked : line) {
    EXPECT_EQ(asked.status, 200);
    EXPECT_EQ(asked.choice.endpoint, id(1));
    before += asked.done ? 1 : 0;
  }
  EXPECT_EQ(before, 3u) << "the last is not served before the first";
  backend(0).answerAll();
  ASSERT_TRUE(run([&] { return scope.running() == 0; }));
}

TEST_P(ClusterTest, NobodyPassesByWhoWaits) {
  std::list<Answer> running(2);
  fill(running);
  std::vector<int> order;
  struct Ordered {
    static Task<void> run(Cluster& cluster, Asked& asked, std::vector<int>& order, int number, Io& io) {
      co_await serve(cluster, asked, io);
      order.push_back(number);
    }
  };
  std::list<Asked> line(8);
  int number = 0;
  for (Asked& asked : line) {
    scope.spawn(Ordered::run(*cluster, asked, order, number++, *world.io), *world.io);
    runFor(3);
  }
  ASSERT_TRUE(run([&] {
    for (FakeBackend& each : backends) each.answerAll();
    return scope.running() == 0;
  }));
  ASSERT_EQ(order.size(), 8u);
  // Two are served at a time.
  for (int i = 0; i < 8; ++i) EXPECT_LE(std::abs(order[static_cast<size_t>(i)] - i), 1) << i;
  EXPECT_EQ(cluster->waiting(), 0u);
}

TEST_P(ClusterTest, ANewcomerNeverTakesTheRoomThatWokeSomebodyWhoWaits) {
  std::list<Answer> running(2);
  fill(running);
  std::list<Asked> line(6);
  for (Asked& asked : line) start(asked);
  ASSERT_TRUE(run([&] { return cluster->waiting() == 6; }));
  // Somebody comes several times in each turn of the loop.
  struct Newcomer final : Io::Flusher {
    Newcomer(Cluster& asked, Io& loop) : cluster(asked), io(loop) {}
    void flush() override {
      if (cluster.waiting() != 0 && !cluster.choose({}, false).endpoint.isNone()) got_ahead += 1;
      if (++times % 8 != 0) io.flushLater(*this);
    }
    Cluster& cluster;
    Io& io;
    uint32_t times = 0;
    uint32_t got_ahead = 0;
  } newcomer(*cluster, *world.io);
  ASSERT_TRUE(run([&] {
    for (FakeBackend& each : backends) each.answerAll();
    world.io->flushLater(newcomer);
    return scope.running() == 0;
  }));
  EXPECT_EQ(newcomer.got_ahead, 0u);
  runFor(10);
}

TEST_P(ClusterTest, ATunnelThatNoEndpointHasRoomForIsPassedByInTheLine) {
  addAll(2);
  backend(0).behaviour.max_streams = 1;
  backend(1).behaviour.speaks = Speaks::http1;
  backend(0).behaviour.answers = backend(1).behaviour.answers = true;
  world.limits.h2_connections_per_backend = world.limits.h1_connections_per_backend = 1;
  open({BackendProtocol::h2c, BackendProtocol::h1});
  warmUp();
  backend(0).behaviour.answers = backend(1).behaviour.answers = false;
  std::list<Answer> running(2);
  startAt(0, running.front());
  startAt(1, running.back());
  ASSERT_TRUE(run([&] { return backend(0).requests == 2 && backend(1).requests == 2; }));
  http::Pipe upwards(world.stream_blocks, world.headers);
  Asked tunnel;
  tunnel.asTunnel(upwards);
  tunnel.wish.is_tunnel = true;
  start(tunnel);
  ASSERT_TRUE(run([&] { return cluster->waiting() == 1; }));
  Asked plain;
  start(plain);
  ASSERT_TRUE(run([&] { return cluster->waiting() == 2; }));
  backend(0).behaviour.answers = true;
  backend(0).answerAll();
  ASSERT_TRUE(run([&] { return plain.done; }));
  EXPECT_EQ(plain.status, 200);
  EXPECT_EQ(tunnel.status, 0);
  backend(1).answerAll();
  ASSERT_TRUE(run([&] { return tunnel.status != 0 || tunnel.done; }));
  EXPECT_EQ(tunnel.status, 101) << (tunnel.error ? tunnel.error->reason : "");
  ASSERT_TRUE(upwards.end(nullptr));
  ASSERT_TRUE(run([&] { return scope.running() == 0; }));
}

TEST_P(ClusterTest, WhoWaitsInVainIsToldWhatIsShort) {
  addAll(1);
  backend(0).behaviour.max_streams = 1;
  world.limits.h2_connections_per_backend = 1;
  open();
  warmUp();
  backend(0).behaviour.answers = false;
  Answer running;
  startAt(0, running);
  ASSERT_TRUE(run([&] { return backend(0).requests == 2; }));
  struct Waits {
    static Task<void> run(Cluster& cluster, Status& status, bool& done, Io& io) {
      const Wish wish;
      Cluster::Spot spot(cluster, wish);
      status = co_await cluster.wait(spot, io.nowNs() + 100 * ns_per_ms, nullptr, io);
      done = true;
    }
  };
  Status status;
  bool done = false;
  scope.spawn(Waits::run(*cluster, status, done, *world.io), *world.io);
  ASSERT_TRUE(run([&] { return done; }, 1000));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::pool_exhausted);
  EXPECT_EQ(cluster->waiting(), 0u);
  backend(0).answerAll();
  ASSERT_TRUE(run([&] { return scope.running() == 0; }));
}

TEST_P(ClusterTest, AClientThatLeavesTheLineMakesRoomForTheNext) {
  addAll(2);
  for (FakeBackend& each : backends) each.behaviour.max_streams = 1;
  world.limits.h2_connections_per_backend = 1;
  open();
  warmUp();
  leaveOut(1);
  backend(0).behaviour.answers = false;
  Answer running;
  startAt(0, running);
  ASSERT_TRUE(run([&] { return backend(0).requests == 2; }));
  CancelToken cancel;
  Asked leaves;
  leaves.options.cancel = &cancel;
  Asked stays;
  start(leaves);
  start(stays);
  ASSERT_TRUE(run([&] { return cluster->waiting() == 2; }));
  cancel.cancel(streamError(ErrorCode::cancelled, "the client went"));
  ASSERT_TRUE(run([&] { return leaves.done; }));
  EXPECT_EQ(leaves.error->code, ErrorCode::cancelled);
  EXPECT_EQ(cluster->waiting(), 1u);
  backend(0).behaviour.answers = true;
  backend(0).answerAll();
  ASSERT_TRUE(run([&] { return stays.done; }));
  EXPECT_EQ(stays.status, 200);
}

// -- left out

TEST_P(ClusterTest, OneThatFailsForThreeClientsIsLeftOut) {
  addAll(2);
  open();
  warmUp();
  failFor(0, Seen::bad_gateway, 4);
  EXPECT_EQ(endpoint(0).state, EndpointState::up);
  failFor(0, Seen::bad_gateway, 1);
  EXPECT_EQ(endpoint(0).state, EndpointState::ejected);
  EXPECT_EQ(choices(), Set{1});
  EXPECT_EQ(cluster->counters().ejections, 1u);
}

TEST_P(ClusterTest, ALoneEndpointIsNeverLeftOut) {
  addAll(1);
  open();
  warmUp();
  for (int i = 0; i < 20; ++i) failFor(0);
  EXPECT_EQ(endpoint(0).state, EndpointState::up);
  EXPECT_EQ(choices(), Set{0});
}

TEST_P(ClusterTest, AtMostHalfAreLeftOut) {
  addAll(5);
  open();
  warmUp();
  for (size_t n = 0; n < 5; ++n) failFor(n);
  uint32_t ejected = 0;
  for (size_t n = 0; n < 5; ++n) ejected += endpoint(n).state == EndpointState::ejected ? 1 : 0;
  EXPECT_EQ(ejected, 2u);
  EXPECT_FALSE(is_panic);
}

TEST_P(ClusterTest, WhereFewerThanHalfAreUpThoseThatWereLeftOutAreUsedAgainAndItIsSaid) {
  addAll(4);
  open();
  warmUp();
  failFor(0);
  failFor(1);
  EXPECT_EQ(choices(), (Set{2, 3}));
  EXPECT_FALSE(is_panic);
  leaveOut(2);
  EXPECT_EQ(choices(), (Set{0, 1, 2, 3}));
  EXPECT_TRUE(is_panic);
  EXPECT_EQ(cluster->counters().panics, 1u);
}

TEST_P(ClusterTest, OneRealRequestShowsWhetherAnEndpointThatWasLeftOutIsWell) {
  openWithTrial();
  EXPECT_EQ(endpoint(0).state, EndpointState::trial);
  Wish repeated;
  repeated.is_repeated = true;
  repeated.suits_trial = true;
  EXPECT_EQ(choices(repeated), Set{1}) << "never a repetition";
  Wish post;
  EXPECT_EQ(choices(post), Set{1}) << "one that could not be repeated only where no other comes";
  Wish get;
  get.suits_trial = true;
  const Choice trial = cluster->choose(get, false);
  EXPECT_TRUE(trial.is_trial);
  EXPECT_EQ(trial.endpoint, id(0));
  EXPECT_EQ(choices(get), Set{1}) << "one at a time";
  EXPECT_GE(cluster->trialHeadMs(), 1000);
  // The client leaves: the next one shows it.
  cluster->onOutcome(trial, Seen::neutral, false, {1, 1});
  const Choice again = cluster->choose(get, false);
  EXPECT_TRUE(again.is_trial);
  cluster->onOutcome(again, Seen::good, false, {1, 1});
  EXPECT_EQ(endpoint(0).state, EndpointState::up);
  EXPECT_EQ(choices(), (Set{0, 1}));
}

TEST_P(ClusterTest, AnyRequestIsATrialWhereNoneThatCouldBeRepeatedComesWithinASecond) {
  openWithTrial();
  EXPECT_EQ(choices(), Set{1});
  runFor(1100);
  const Choice trial = cluster->choose({}, false);
  EXPECT_TRUE(trial.is_trial);
  cluster->onOutcome(trial, Seen::good, false, {1, 1});
}

TEST_P(ClusterTest, AnEndpointThatFailsItsTrialIsLeftOutForLonger) {
  openWithTrial();
  Wish get;
  get.suits_trial = true;
  const Choice trial = cluster->choose(get, false);
  ASSERT_TRUE(trial.is_trial);
  cluster->onOutcome(trial, Seen::bad_gateway, false, {1, 1});
  EXPECT_EQ(endpoint(0).state, EndpointState::ejected);
  const TimeNs ejected_ns = world.io->nowNs();
  ASSERT_TRUE(run([&] { return endpoint(0).wants_request; }));
  EXPECT_GE(world.io->nowNs() - ejected_ns, 32 * ns_per_ms) << "twice as long, a fifth less at most";
}

TEST_P(ClusterTest, AResponseThatBeganWellAndRunsForASecondIsAGoodTrial) {
  openWithTrial();
  backend(0).behaviour.holds_body = true;
  Asked stream;
  stream.wish.suits_trial = true;
  start(stream);
  ASSERT_TRUE(run([&] { return stream.status == 200; }));
  EXPECT_TRUE(stream.choice.is_trial);
  EXPECT_EQ(endpoint(0).state, EndpointState::trial);
  runFor(1100);
  (void)choices();
  EXPECT_EQ(endpoint(0).state, EndpointState::up);
  backend(0).answerAll();
  ASSERT_TRUE(run([&] { return scope.running() == 0; }));
}

TEST_P(ClusterTest, Answers500CountOnlyWhereTheSiblingsDoBetter) {
  addAll(3);
  open();
  warmUp();
  for (int round = 0; round < 30; ++round) {
    for (size_t n = 0; n < 3; ++n) failFor(n, Seen::server_error, 3);
  }
  for (size_t n = 0; n < 3; ++n) EXPECT_EQ(endpoint(n).state, EndpointState::up) << "all answer so: it is the request";
  for (int round = 0; round < 100; ++round) {
    for (size_t n = 1; n < 3; ++n) failFor(n, Seen::good, 3);
  }
  failFor(0, Seen::server_error, 5);
  EXPECT_EQ(endpoint(0).state, EndpointState::ejected);
}

TEST_P(ClusterTest, Answers500AreNoReasonToEjectAnEndpointBesideOneThatAnswersNothing) {
  addAll(2);
  open();
  warmUp();
  for (int round = 0; round < 30; ++round) failFor(0, Seen::server_error, 3);
  EXPECT_EQ(endpoint(0).state, EndpointState::up) << "all would go to the other, which may hang";
  failFor(1, Seen::good, 5);
  failFor(0, Seen::server_error, 5);
  EXPECT_EQ(endpoint(0).state, EndpointState::ejected) << "its sibling does better";
}

}  // namespace
}  // namespace plait
