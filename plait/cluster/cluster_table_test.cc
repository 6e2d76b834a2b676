// Generations of a worker's clusters: prepared, committed or undone, with requests that wait in line meanwhile.
#include "plait/cluster/cluster_table.h"

#include "plait/client/pool_test.h"
#include "plait/plan/identities.h"

namespace plait {
namespace {

using Specs = std::vector<std::shared_ptr<const ClusterSpec>>;

// A request that waits for room, until it has an endpoint or is told that there will be none.
struct Waiter {
  Wish wish;
  std::optional<Status> room;
};

Task<void> waitIn(Cluster& cluster, Waiter& waiter, Io& io) {
  Cluster::Spot spot(cluster, waiter.wish);
  while (true) {
    const Status room = co_await cluster.wait(spot, io.nowNs() + 60'000 * ns_per_ms, nullptr, io);
    if (room && cluster.choose(waiter.wish, true).endpoint.isNone()) continue;
    waiter.room = room;
    co_return;
  }
}

class ClusterTableTest : public testing::TestWithParam<IoKind> {
 protected:
  void SetUp() override {
    world.limits.endpoints = 4;
    pool.emplace(*world.io, world.limits, world.limits, world.timeouts, std::vector<BackendOptions>(),
                 UpstreamMemory{world.stream_blocks, world.headers}, world.send_blocks, world.record_blocks);
    table.emplace(*pool, *world.io);
  }
  void TearDown() override {
    EXPECT_TRUE(run([&] { return scope.running() == 0; }));
    table.reset();
    Scope closing;
    closing.spawn(pool->close(*world.io), *world.io);
    EXPECT_TRUE(run([&] { return closing.running() == 0; }));
    pool.reset();
  }
  bool run(const std::function<bool()>& done) { return world.runUntil(done); }

  BackendOptions silent(const std::string& name) {
    FakeBackend& backend = backends.emplace_back(world);
    backend.behaviour.answers = false;
    backend.behaviour.max_streams = 1;
    BackendOptions options = backend.options(BackendProtocol::h2c);
    options.name = name;
    options.connections = 1;
    return options;
  }
  std::shared_ptr<ClusterSpec> cluster(const std::string& name, const std::vector<BackendOptions>& options) {
    auto spec = std::make_shared<ClusterSpec>();
    spec->identity = identities.cluster(name);
    for (const BackendOptions& one : options) {
      auto endpoint = identities.endpoint(name, one);
      EXPECT_NE(endpoint, nullptr);
      spec->endpoints.push_back({std::move(endpoint), {}});
    }
    return spec;
  }
  static Specs plan(const std::vector<std::shared_ptr<ClusterSpec>>& specs) {
    Specs by_number;
    for (const auto& spec : specs) {
      if (by_number.size() <= spec->identity->number) by_number.resize(spec->identity->number + 1);
      by_number[spec->identity->number] = spec;
    }
    return by_number;
  }
  void install(Specs next) {
    ASSERT_TRUE(table->prepare(next));
    table->commit(next);
    installed = std::move(next);
    identities.sweep([](const RoutePolicy&) { return 0u; });
  }
  void start(Waiter& waiter, uint32_t number) {
    scope.spawn(waitIn(*table->at(number), waiter, *world.io), *world.io);
    EXPECT_TRUE(run([&] { return table->waiting() != 0; }));
  }

  World world{GetParam()};
  std::list<FakeBackend> backends;
  std::optional<ConnectionPool> pool;
  PlanIdentities identities{4, 4};
  Specs installed;
  std::optional<ClusterTable> table;
  Scope scope;
};

TEST_P(ClusterTableTest, WhatIsPreparedIsSeenByNobodyAndCanBeUndone) {
  const BackendOptions one = silent("one");
  const BackendOptions two = silent("two");
  install(plan({cluster("a", {one})}));
  const EndpointId before = table->endpoint(0);
  {
    const Specs next = plan({cluster("a", {one, two}), cluster("b", {two})});
    ASSERT_TRUE(table->prepare(next));
    EXPECT_EQ(table->count(), 1u);
    EXPECT_EQ(table->at(0)->size(), 1u);
    EXPECT_EQ(pool->endpoints().used(), 3u);
    table->undo();
  }
  EXPECT_TRUE(run([&] { return pool->endpoints().used() == 1; }));
  EXPECT_EQ(table->endpoint(0).index, before.index);
  EXPECT_EQ(table->endpoint(0).generation, before.generation);
  identities.sweep([](const RoutePolicy&) { return 0u; });
  EXPECT_EQ(identities.endpointCount(), 1u);
}

TEST_P(ClusterTableTest, WithoutAPlaceNothingHasChanged) {
  const BackendOptions one = silent("one");
  install(plan({cluster("a", {one})}));
  PlanIdentities others(16, 1);
  auto spec = std::make_shared<ClusterSpec>();
  spec->identity = others.cluster("x");
  // The pool has four places, one of which is taken.
  for (int i = 0; i < 4; ++i) {
    BackendOptions options = one;
    options.name = "other-" + std::to_string(i);
    if (i == 0) spec->endpoints.push_back({installed[0]->endpoints[0]});
    auto made = std::make_shared<BackendOptions>(options);
    made->number = static_cast<uint32_t>(i + (i == 0 ? 3 : 0));
    if (i != 0) spec->endpoints.push_back({made, {}});
  }
  Specs next = {spec};
  ASSERT_TRUE(table->prepare(next));
  table->undo();
  EXPECT_TRUE(run([&] { return pool->endpoints().used() == 1; }));
  // A cluster's number beyond all places is an ordinary result.
  Specs far(6);
  far[5] = installed[0];
  const Status refused = table->prepare(far);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::no_memory);
  EXPECT_EQ(pool->endpoints().used(), 1u);
  EXPECT_EQ(table->at(0)->size(), 1u);
}

TEST_P(ClusterTableTest, AnEndpointThatStaysKeepsItsPlaceAndItsConnections) {
  const BackendOptions one = silent("one");
  const BackendOptions two = silent("two");
  install(plan({cluster("a", {one, two})}));
  const EndpointId kept = table->endpoint(0);
  Answer answer;
  scope.spawn(ask(*pool, kept, answer, *world.io), *world.io);
  EXPECT_TRUE(run([&] { return backends.front().requests == 1; }));
  install(plan({cluster("a", {one})}));
  EXPECT_EQ(table->endpoint(0).index, kept.index);
  EXPECT_EQ(table->endpoint(0).generation, kept.generation);
  EXPECT_EQ(pool->find(kept)->readyConnections(), 1u);
  EXPECT_TRUE(table->endpoint(1).isNone());
  EXPECT_TRUE(run([&] { return pool->endpoints().used() == 1; }));
  backends.front().answerAll();
  EXPECT_TRUE(run([&] { return answer.done; }));
  EXPECT_EQ(answer.status, 200);
}

TEST_P(ClusterTableTest, WhoWaitsInAClusterThatLeavesIsToldSo) {
  const BackendOptions one = silent("one");
  const BackendOptions two = silent("two");
  install(plan({cluster("a", {one}), cluster("b", {two})}));
  Answer holding;
  scope.spawn(ask(*pool, table->endpoint(0), holding, *world.io), *world.io);
  EXPECT_TRUE(run([&] { return backends.front().requests == 1; }));
  Waiter waiter;
  start(waiter, 0);
  install(plan({cluster("b", {two})}));
  EXPECT_EQ(table->at(0), nullptr);
  EXPECT_TRUE(run([&] { return waiter.room.has_value(); }));
  EXPECT_FALSE(waiter.room->has_value());
  EXPECT_EQ(table->waiting(), 0u);
  EXPECT_TRUE(table->isAtRest());
  // What was under way is brought to its end.
  backends.front().answerAll();
  EXPECT_TRUE(run([&] { return holding.done; }));
  EXPECT_EQ(holding.status, 200);
  EXPECT_TRUE(run([&] { return pool->endpoints().used() == 1; })) << "the endpoint's place is free";
}

TEST_P(ClusterTableTest, WhoWaitsGoesToAnEndpointThatComes) {
  const BackendOptions one = silent("one");
  const BackendOptions two = silent("two");
  install(plan({cluster("a", {one})}));
  Answer holding;
  scope.spawn(ask(*pool, table->endpoint(0), holding, *world.io), *world.io);
  EXPECT_TRUE(run([&] { return backends.front().requests == 1; }));
  Waiter waiter;
  start(waiter, 0);
  install(plan({cluster("a", {one, two})}));
  EXPECT_TRUE(run([&] { return waiter.room.has_value(); }));
  EXPECT_TRUE(waiter.room->has_value()) << "the new endpoint has room";
  backends.front().answerAll();
  EXPECT_TRUE(run([&] { return holding.done; }));
}

TEST_P(ClusterTableTest, ANumberServesAnotherClusterWhenNobodyUsesTheFirst) {
  const BackendOptions one = silent("one");
  for (int round = 0; round < 20; ++round) {
    const std::string name = "c" + std::to_string(round);
    install(plan({cluster(name, {one})}));
    EXPECT_LE(installed.size(), 2u) << "numbers are used again";
    ASSERT_TRUE(run([&] { return pool->endpoints().used() == 1; }));
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, ClusterTableTest, testing::Values(IoKind::uring, IoKind::epoll), ioName);

}  // namespace
}  // namespace plait
