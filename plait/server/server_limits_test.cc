// What the server does about clients that make no progress, and when it is short of something.
#include "plait/server/server_test.h"

namespace plait::server_test {
namespace {

using LimitsTest = ServerTest;
INSTANTIATE_TEST_SUITE_P(Backends, LimitsTest, testing::Values(IoKind::uring, IoKind::epoll), backendName);

ServerTimeouts hasty() {
  return {.client_header_ms = 200, .client_idle_ms = 60'000, .stall_ms = 200, .drain_ms = 5'000};
}

TEST_P(LimitsTest, AnEndOfAResponseThatFindsNoBlockIsSentOnceThereIsOne) {
  World world(GetParam());
  H2Client client(world);
  client.send(get(1, "/open"));
  ASSERT_TRUE(world.turnUntil([&] { return world.handler.pushed != nullptr; }));
  ASSERT_TRUE(world.handler.pushed->push(asBytes("text"), false));
  ASSERT_TRUE(world.turnUntil([&] { return client.body(1) == "text" && world.send_blocks.used() == 0; }));
  std::vector<void*> taken;
  while (void* block = world.send_blocks.take()) taken.push_back(block);
  ASSERT_TRUE(world.handler.pushed->push({}, true));
  world.turnFor(150);
  EXPECT_FALSE(client.hasEnded(1));
  EXPECT_EQ(world.handler.running, 1) << "the response is not complete as long as its end has not been queued";
  for (void* block : taken) world.send_blocks.give(block);
  EXPECT_TRUE(client.seesEnd(1));
}

TEST_P(LimitsTest, AStreamWhoseWindowStaysClosedIsResetAndItsNeighboursGoOn) {
  World world(GetParam(), smallLimits(), hasty());
  H2Client client(world, settings(SettingId::initial_window_size, 0));
  client.send(get(1, "/big?100"));
  EXPECT_TRUE(client.seesReset(1, H2Error::cancel));
  EXPECT_EQ(world.server.counters().stalled_streams, 1u);
  EXPECT_TRUE(world.handler.relay_failed);
  client.send(get(3, "/empty"));
  EXPECT_TRUE(client.seesEnd(3));
  EXPECT_EQ(world.server.counters().stalled_connections, 0u);
}

TEST_P(LimitsTest, AWindowThatOpensSlowlyButSteadilyIsNoStall) {
  Limits limits = smallLimits();
  limits.download_bytes_per_second = 2;
  World world(GetParam(), limits, hasty());
  H2Client client(world, settings(SettingId::initial_window_size, 0));
  client.send(get(1, "/big?10"));
  for (int i = 0; i < 10; ++i) {
    world.turnFor(90);
    client.send(frame(FrameType::window_update, 0, 1, be32(1)));
  }
  EXPECT_TRUE(client.seesEnd(1));
  EXPECT_EQ(world.server.counters().stalled_streams, 0u);
}

TEST_P(LimitsTest, AWindowThatOpensByATrickleIsAStallWhileANeighbourThatIsReadGoesOn) {
  World world(GetParam(), smallLimits(), hasty());
  H2Client client(world, settings(SettingId::initial_window_size, 0));
  client.send(get(1, "/big?1000") + get(3, "/big?8000"));
  for (int i = 0; i < 12; ++i) {
    world.turnFor(40);
    client.send(frame(FrameType::window_update, 0, 1, be32(1)) + frame(FrameType::window_update, 0, 3, be32(100)));
  }
  EXPECT_TRUE(client.seesReset(1, H2Error::cancel));
  EXPECT_EQ(client.find(FrameType::rst_stream, 3), nullptr);
  EXPECT_EQ(world.server.counters().stream_faults[static_cast<size_t>(Fault::window_timeout)], 1u);
  client.send(frame(FrameType::window_update, 0, 3, be32(8000)));
  EXPECT_TRUE(client.seesEnd(3));
}

TEST_P(LimitsTest, ARequestBodyThatTricklesIsAStallUnlessItsMessagesMayBeRare) {
  Limits limits = smallLimits();
  limits.client_connections = 4;
  World world(GetParam(), limits, hasty());
  H2Client client(world);
  client.send(post(1, "/upload") + post(3, "/upload", field("content-type", "application/grpc")));
  RawClient http1(world);
  http1.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
  for (int i = 0; i < 12; ++i) {
    world.turnFor(40);
    client.send(data(1, 1) + data(3, 1));
    http1.send("x");
  }
  EXPECT_TRUE(client.seesReset(1, H2Error::cancel));
  EXPECT_EQ(client.find(FrameType::rst_stream, 3), nullptr) << "gRPC's messages come when they come";
  EXPECT_TRUE(http1.seesText("HTTP/1.1 408 "));
  EXPECT_EQ(world.server.counters().stream_faults[static_cast<size_t>(Fault::body_timeout)], 2u);
  client.send(data(3, 1, true));
  EXPECT_TRUE(client.seesEnd(3));
}

TEST_P(LimitsTest, AnHttp1HeadThatDoesNotEndIsAnsweredWith408) {
  World world(GetParam(), smallLimits(), hasty());
  RawClient client(world);
  client.send("GET / HTTP/1.1\r\nHost: a\r\n");
  EXPECT_TRUE(client.seesText("HTTP/1.1 408 "));
  EXPECT_EQ(world.server.counters().header_timeouts, 1u);
  EXPECT_EQ(world.server.counters().rejections[static_cast<size_t>(Fault::header_timeout)], 1u);
}

TEST_P(LimitsTest, AConnectionThatIsIdleLeavesForAClientThatWaits) {
  Limits limits = smallLimits();
  limits.client_connections = 2;
  World world(GetParam(), limits);
  H2Client busy(world);
  busy.send(get(1, "/hold"));
  H2Client idle(world);
  idle.send(get(1, "/hello"));
  ASSERT_TRUE(idle.seesEnd(1));
  H2Client waiting(world);
  waiting.send(get(1, "/hello"));
  EXPECT_TRUE(waiting.seesEnd(1));
  EXPECT_TRUE(idle.sees([&] { return idle.find(FrameType::goaway, 0) != nullptr; }));
  EXPECT_EQ(world.server.counters().connections_evicted, 1u);
  world.handler.released = true;
  EXPECT_TRUE(busy.seesEnd(1));
}

TEST_P(LimitsTest, AConnectionThatIsNotReadIsClosed) {
  World world(GetParam(), smallLimits(), hasty());
  H2Client client(world, settings(SettingId::initial_window_size, 0x7fffffff), 4096);
  client.send(frame(FrameType::window_update, 0, 0, be32(0x7fffffff - 65'535)));
  // More than the kernel's buffers of both sides hold.
  client.send(get(1, "/big?8000000"));
  EXPECT_TRUE(world.turnUntil(
      [&] { return world.server.connectionCount() == 0 && world.server.counters().connections_total == 1; }));
  EXPECT_EQ(world.server.counters().stalled_connections, 1u);
  EXPECT_TRUE(world.handler.relay_failed);
}

TEST_P(LimitsTest, AnHttp1ClientThatDoesNotReadIsCutOff) {
  World world(GetParam(), smallLimits(), hasty());
  RawClient client(world, 4096);
  client.send("GET /big?8000000 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(world.turnUntil(
      [&] { return world.server.connectionCount() == 0 && world.server.counters().connections_total == 1; }));
  EXPECT_EQ(world.server.counters().stalled_connections, 1u);
}

TEST_P(LimitsTest, ARequestBodyThatStopsIsResetUnlessItsResponseHasBegun) {
  World world(GetParam(), smallLimits(), hasty());
  H2Client client(world);
  client.send(post(1, "/upload") + data(1, 10) + post(3, "/open"));
  EXPECT_TRUE(client.seesReset(1, H2Error::cancel));
  EXPECT_TRUE(client.sees([&] { return world.handler.last_abort == ErrorCode::stalled; }));
  world.turnFor(300);
  EXPECT_EQ(client.find(FrameType::rst_stream, 3), nullptr) << "a stream of messages may be silent";
  ASSERT_NE(world.handler.pushed, nullptr);
  ASSERT_TRUE(world.handler.pushed->push({}, true));
  EXPECT_TRUE(client.seesEnd(3));
}

TEST_P(LimitsTest, ABodyThatTheBackendDoesNotReadIsNotTheClientsStall) {
  World world(GetParam(), smallLimits(), hasty());
  H2Client client(world);
  client.send(post(1, "/closed") + data(1, 10));
  world.turnFor(500);
  EXPECT_EQ(world.server.counters().stalled_streams, 0u);
  world.handler.released = true;
  client.send(data(1, 10, true));
  EXPECT_TRUE(client.seesEnd(1));
}

TEST_P(LimitsTest, AHeaderBlockThatDoesNotEndClosesTheConnectionThoughOtherStreamsRun) {
  World world(GetParam(), smallLimits(), hasty());
  H2Client client(world);
  client.send(get(1, "/hold"));
  client.send(frame(FrameType::headers, flags::end_stream, 3, requestBlock("GET", "/hello")));
  for (int i = 0; i < 6; ++i) {
    client.sees([] { return false; }, 60);
    (void)::send(client.fd, "\0\0\0\x9\0\0\0\0\x3", 9, MSG_NOSIGNAL);  // an empty CONTINUATION buys no time
  }
  EXPECT_TRUE(client.sees([&] { return client.is_closed; }));
  EXPECT_EQ(world.server.counters().header_timeouts, 1u);
}

TEST_P(LimitsTest, AnIdleClientIsToldGoawayBeforeItsConnectionEnds) {
  ServerTimeouts timeouts = hasty();
  timeouts.client_idle_ms = 100;
  World world(GetParam(), smallLimits(), timeouts);
  H2Client client(world);
  client.send(get(1, "/hello"));
  ASSERT_TRUE(client.seesEnd(1));
  EXPECT_TRUE(client.sees([&] { return client.find(FrameType::goaway, 0) != nullptr && client.is_closed; }));
  const Sent* goaway = client.find(FrameType::goaway, 0);
  ASSERT_NE(goaway, nullptr);
  EXPECT_EQ(loadBe32(goaway->payload.data()), 1u);
  EXPECT_EQ(loadBe32(goaway->payload.data() + 4), 0u);
}

TEST_P(LimitsTest, AClientsWindowStartsSmallAndGrowsWhileItsUploadDrains) {
  World world(GetParam());
  H2Client client(world);
  client.send(post(1, "/upload"));
  ASSERT_TRUE(world.turnUntil([&] { return world.handler.running == 1; }));
  world.turnFor(20);
  EXPECT_EQ(client.count(FrameType::window_update), 0u);
  client.upload(1, 8 << 20, true);
  ASSERT_TRUE(client.seesEnd(1));
  EXPECT_EQ(world.handler.stored, size_t{8} << 20);
  // What is missing to the full window is less than the half at which it is given back.
  EXPECT_GT(client.windows[0], (1 << 20) / 2);
  EXPECT_LE(client.windows[0], 1 << 20);
}

TEST_P(LimitsTest, AClientWhoseUploadIsNotReadGetsNoCredit) {
  World world(GetParam());
  H2Client client(world);
  client.send(post(1, "/closed"));
  client.upload(1, 65'535, false);
  world.turnFor(30);
  EXPECT_EQ(client.count(FrameType::window_update), 0u);
  EXPECT_GE(world.server.upload_blocks.used() * 4096, size_t{65'535});
  world.handler.released = true;
  client.upload(1, 1000, true);
  EXPECT_TRUE(client.seesEnd(1));
}

TEST_P(LimitsTest, UploadsThatAreResetGiveTheConnectionsWindowBack) {
  World world(GetParam());
  H2Client client(world);
  for (uint32_t id = 1; id < 21; id += 2) {
    client.send(post(id, "/closed"));
    client.upload(id, 60'000, false);
    client.send(frame(FrameType::rst_stream, 0, id, be32(8)));
  }
  world.handler.released = true;
  client.send(post(21, "/upload"));
  client.upload(21, 100'000, true);
  EXPECT_TRUE(client.seesEnd(21));
}

TEST_P(LimitsTest, WithoutMemoryForUploadsTheirClientsWaitAndNobodyElse) {
  Limits limits = smallLimits();
  limits.upload_pool_bytes = 128 << 10;
  World world(GetParam(), limits);
  H2Client hog(world);
  H2Client second_hog(world);
  for (H2Client* one : {&hog, &second_hog}) {
    one->send(post(1, "/closed"));
    one->upload(1, 65'535, false);
  }
  H2Client waiting(world);
  waiting.send(post(1, "/upload"));
  waiting.upload(1, 60'000, true);
  RawClient waiting_h1(world);
  waiting_h1.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + std::string(20'000, 'u'));
  ASSERT_TRUE(world.turnUntil([&] { return world.server.counters().upload_pauses >= 2; }));
  H2Client downloader(world);
  downloader.send(get(1, "/big?50000"));
  EXPECT_TRUE(downloader.seesEnd(1));
  EXPECT_FALSE(waiting.hasEnded(1));
  waiting_h1.collect();
  EXPECT_EQ(waiting_h1.received.find("stored"), std::string::npos);
  EXPECT_LE(world.buffers.lent(), 6u) << "a client that waits holds no receive buffer but what has just arrived";
  world.handler.released = true;
  hog.send(data(1, 0, true));
  second_hog.send(data(1, 0, true));
  for (H2Client* one : {&hog, &second_hog, &waiting}) {
    EXPECT_TRUE(one->seesEnd(1));
    EXPECT_EQ(one->count(FrameType::rst_stream), 0u);
    EXPECT_EQ(one->count(FrameType::goaway), 0u);
  }
  EXPECT_TRUE(waiting_h1.seesText("stored"));
  EXPECT_EQ(world.handler.stored, 2 * 65'535u + 60'000 + 20'000);
}

TEST_P(LimitsTest, ARequestForWhichNoExchangeIsLeftIsRefusedAndMayBeRepeated) {
  Limits limits = smallLimits();
  limits.exchanges = 1;
  World world(GetParam(), limits);
  H2Client client(world);
  client.send(get(1, "/hold") + get(3, "/hello"));
  EXPECT_TRUE(client.seesReset(3, H2Error::refused_stream));
  world.handler.released = true;
  EXPECT_TRUE(client.seesEnd(1));
  client.send(get(5, "/hello"));
  EXPECT_TRUE(client.seesEnd(5));
  EXPECT_EQ(world.server.counters().requests_refused, 1u);
}

TEST_P(LimitsTest, AnHttp1RequestForWhichNoExchangeIsLeftGets503) {
  Limits limits = smallLimits();
  limits.exchanges = 1;
  World world(GetParam(), limits);
  RawClient first(world);
  first.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(world.turnUntil([&] { return world.handler.running == 1; }));
  RawClient second(world);
  second.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(second.seesText("HTTP/1.1 503 "));
  world.handler.released = true;
  EXPECT_TRUE(first.seesText("held"));
}

TEST_P(LimitsTest, TheVersionIsToldByBytesThatComeOneByOne) {
  World world(GetParam());
  const auto sendSlowly = [&](RawClient& client, std::string_view bytes) {
    for (const char byte : bytes) {
      client.send(std::string_view(&byte, 1));
      world.turnFor(5);
    }
  };
  RawClient modern(world);
  sendSlowly(modern, h2::client_preface.substr(0, 5));
  modern.send(h2::client_preface.substr(5));
  modern.send(frame(FrameType::settings, 0, 0) + get(1, "/hello"));
  EXPECT_TRUE(modern.seesText("hello"));
  RawClient old(world);
  sendSlowly(old, "PUT /");
  old.send("hello HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(old.seesText("HTTP/1.1 200 "));
  RawClient gone(world);
  sendSlowly(gone, "P");
  gone.close();
  world.turnFor(5);
}

TEST_P(LimitsTest, WhenEveryConnectionIsInUseNewClientsWaitUntilOneEnds) {
  Limits limits = smallLimits();
  limits.client_connections = 2;
  World world(GetParam(), limits);
  H2Client first(world);
  H2Client second(world);
  first.send(get(1, "/hello"));
  second.send(get(1, "/hello"));
  ASSERT_TRUE(first.seesEnd(1));
  ASSERT_TRUE(second.seesEnd(1));
  H2Client third(world);
  H2Client fourth(world);
  third.send(get(1, "/hello"));
  fourth.send(get(1, "/hello"));
  world.turnFor(50);
  EXPECT_FALSE(third.hasEnded(1));
  EXPECT_FALSE(third.is_closed) << "it waits, and is not turned away";
  EXPECT_EQ(world.server.counters().accept_pauses, 1u);
  first.close();
  EXPECT_TRUE(third.seesEnd(1));
  EXPECT_FALSE(fourth.hasEnded(1));
  second.close();
  EXPECT_TRUE(fourth.seesEnd(1));
  EXPECT_EQ(world.server.counters().connections_refused, 0u);
}

TEST_P(LimitsTest, StreamsThatShareASlowConnectionTakeTurns) {
  World world(GetParam());
  H2Client client(world, settings(SettingId::initial_window_size, 0x7fffffff), 8192);
  client.send(frame(FrameType::window_update, 0, 0, be32(0x7fffffff - 65'535)));
  client.send(get(1, "/big?4000000") + get(3, "/big?2000000"));
  ASSERT_TRUE(client.seesEnd(3));
  EXPECT_FALSE(client.hasEnded(1)) << "the smaller response does not wait for all of the larger one";
  ASSERT_TRUE(client.seesEnd(1));
}

}  // namespace
}  // namespace plait::server_test
