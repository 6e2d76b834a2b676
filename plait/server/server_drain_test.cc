// How a server takes its leave: two GOAWAYs, "connection: close", and nobody who was let in is turned away.
#include "plait/server/server_test.h"

namespace plait::server_test {
namespace {

using DrainTest = ServerTest;
INSTANTIATE_TEST_SUITE_P(Backends, DrainTest, testing::Values(IoKind::uring, IoKind::epoll), backendName);

std::vector<uint32_t> goawayIds(H2Client& client) {
  std::vector<uint32_t> ids;
  for (const Sent& one : client.frames()) {
    if (one.header.type == FrameType::goaway) ids.push_back(loadBe32(one.payload.data()));
  }
  return ids;
}

TEST_P(DrainTest, AFirstGoawayRefusesNothingAndTheSecondNamesTheLastRequestServed) {
  World world(GetParam());
  H2Client client(world);
  client.answers_pings = false;
  client.send(get(1, "/hold"));
  ASSERT_TRUE(world.turnUntil([&] { return world.handler.running == 1; }));
  world.drain();
  ASSERT_TRUE(world.turnUntil([&] { return client.find(FrameType::ping, 0) != nullptr; }));
  EXPECT_EQ(goawayIds(client), std::vector<uint32_t>{h2::max_stream_id});
  // A request that crossed the first GOAWAY is served.
  client.send(get(3, "/hello"));
  ASSERT_TRUE(client.seesEnd(3));
  EXPECT_EQ(goawayIds(client).size(), 1u);
  client.send(frame(FrameType::ping, flags::ack, 0, client.find(FrameType::ping, 0)->payload));
  ASSERT_TRUE(world.turnUntil([&] { return goawayIds(client).size() == 2; }));
  EXPECT_EQ(goawayIds(client)[1], 3u);
  // One behind it is not, and the client knows.
  client.send(get(5, "/hello"));
  world.turnFor(30);
  EXPECT_FALSE(client.hasEnded(5));
  EXPECT_FALSE(world.drained);
  world.handler.released = true;
  EXPECT_TRUE(client.seesEnd(1));
  EXPECT_TRUE(client.sees([&] { return client.is_closed; }));
  client.close();
  EXPECT_TRUE(world.turnUntil([&] { return world.drained; }));
}

TEST_P(DrainTest, AnIdleConnectionEndsWithBothGoawaysAndNoReset) {
  World world(GetParam());
  H2Client client(world);
  client.send(get(1, "/hello"));
  ASSERT_TRUE(client.seesEnd(1));
  world.drain();
  EXPECT_TRUE(world.turnUntil([&] { return goawayIds(client).size() == 2 && client.is_closed; }));
  EXPECT_EQ(goawayIds(client), (std::vector<uint32_t>{h2::max_stream_id, 1}));
}

TEST_P(DrainTest, AnIdleClientThatAnswersNoPingIsNotWaitedForLong) {
  World world(GetParam());
  H2Client client(world);
  client.answers_pings = false;
  client.send(get(1, "/hello"));
  ASSERT_TRUE(client.seesEnd(1));
  world.drain();
  EXPECT_TRUE(world.turnUntil([&] { return goawayIds(client).size() == 2 && client.is_closed; }, 5'000));
}

TEST_P(DrainTest, ClientsInTheListenQueueAreServedBeforeTheListenerGoes) {
  World world(GetParam());
  // The loop has not turned since: the kernel has completed these connections, and nobody has accepted them.
  std::vector<std::unique_ptr<RawClient>> waiting;
  for (int i = 0; i < 8; ++i) {
    waiting.push_back(std::make_unique<RawClient>(world));
    const std::string_view request = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    ASSERT_EQ(::send(waiting.back()->fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  }
  world.drain();
  for (auto& client : waiting) {
    EXPECT_TRUE(client->seesText("hello"));
    EXPECT_TRUE(client->seesText("connection: close") ||
                client->received.find("Connection: close") != std::string::npos);
    EXPECT_TRUE(client->sees([&] { return client->is_closed; }));
    client->close();
  }
  EXPECT_TRUE(world.turnUntil([&] { return world.drained; }));
}

TEST_P(DrainTest, AnIdleHttp1ConnectionIsClosedSoonAndABusyOneAfterItsResponse) {
  World world(GetParam());
  RawClient idle(world);
  idle.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(idle.seesText("hello"));
  RawClient busy(world);
  busy.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(world.turnUntil([&] { return world.handler.running == 1; }));
  world.drain();
  EXPECT_TRUE(idle.sees([&] { return idle.is_closed; }));
  busy.collect();
  EXPECT_FALSE(busy.is_closed);
  world.handler.released = true;
  EXPECT_TRUE(busy.seesText("held"));
  EXPECT_TRUE(busy.sees([&] { return busy.is_closed; }));
}

TEST_P(DrainTest, ARequestThatWasOnItsWayOnAnIdleHttp1ConnectionIsAnsweredAndEndsIt) {
  World world(GetParam());
  RawClient client(world);
  client.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(client.seesText("hello"));
  world.drain();
  client.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(client.sees([&] { return client.is_closed; }));
  EXPECT_NE(client.received.find("connection: close"), std::string::npos) << client.received;
  EXPECT_TRUE(world.turnUntil([&] { return world.drained; }));
}

TEST_P(DrainTest, AClientThatOnlyConnectedIsNotWaitedForUntilTheDeadline) {
  World world(GetParam(), smallLimits(), {.client_header_ms = 60'000, .drain_ms = 60'000});
  RawClient silent(world);
  ASSERT_TRUE(world.turnUntil([&] { return world.server.connectionCount() == 1; }));
  world.drain();
  EXPECT_TRUE(world.turnUntil([&] { return world.drained; }, 5'000));
}

TEST_P(DrainTest, AtTheDeadlineWhatIsLeftIsCutOff) {
  World world(GetParam(), smallLimits(), {.drain_ms = 100});
  H2Client client(world);
  client.send(get(1, "/hold"));
  ASSERT_TRUE(world.turnUntil([&] { return world.handler.running == 1; }));
  world.drain();
  EXPECT_TRUE(world.turnUntil([&] { return world.drained; }));
  EXPECT_EQ(world.handler.running, 0);
}

TEST_P(DrainTest, ClientsThatWaitForAConnectionAreServedWhileOthersLeave) {
  Limits limits = smallLimits();
  limits.client_connections = 1;
  World world(GetParam(), limits);
  RawClient first(world);
  first.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(world.turnUntil([&] { return world.handler.running == 1; }));
  RawClient second(world);
  const std::string_view request = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
  ASSERT_EQ(::send(second.fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  world.drain();
  world.turnFor(30);
  world.handler.released = true;
  EXPECT_TRUE(first.seesText("held"));
  first.close();
  EXPECT_TRUE(second.seesText("hello"));
}

}  // namespace
}  // namespace plait::server_test
