// Tests of clients that make no progress, and of a server that is short of something.
#include "plait/io/frame_hog_test.h"
#include "plait/io/io_test.h"
#include "plait/server/server_test.h"

namespace plait::server_test {
namespace {

using LimitsTest = ServerTest;
INSTANTIATE_TEST_SUITE_P(Backends, LimitsTest, testing::Values(IoKind::uring, IoKind::epoll), backendName);

ServerTimeouts hasty() {
  return {.client_header_ms = 200, .client_idle_ms = 60'000, .stall_ms = 200, .drain_ms = 5'000};
}

// However slow this machine is, no upload is taken for stuck.
ServerTimeouts patient() {
  ServerTimeouts timeouts;
  timeouts.stuck_upload_ms = 60'000;
  return timeouts;
}

// With no frame, with one, and so on, as many as each of these takes at the most: whichever coroutine finds none, its
// client is refused, and nothing is left of it.
TEST_P(LimitsTest, WhereNoFrameIsLeftClientsAndRequestsAreRefusedAndTheNextAreServed) {
  const auto isServed = [](World& world) {
    RawClient client(world);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_TRUE(client.seesText("hello"));
    H2Client h2(world);
    h2.send(get(1, "/"));
    EXPECT_TRUE(h2.seesEnd(1));
  };
  size_t refused = 0;
  for (const char* request : {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /big?100000 HTTP/1.1\r\nHost: a\r\n\r\n",
                              "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"}) {
    for (size_t left = 0; left < 7; ++left) {
      World world(GetParam());
      {
        RawClient early(world);  // has all of its frames but those for its request
        if (left % 2 == 0) ASSERT_TRUE(world.turnUntil([&] { return world.server.connectionCount() == 1; }));
        const io_test::FrameHog hog(world.io, left);
        RawClient late(world);
        for (RawClient* client : {&early, &late}) {
          client->send(request);
          EXPECT_TRUE(client->sees([&] { return client->is_closed || client->received.contains("HTTP/1.1 "); }));
          refused += client->received.contains(" 200 ") ? 0 : 1;
          client->close();
        }
        EXPECT_TRUE(world.turnUntil([&] { return world.server.connectionCount() == 0; }));
      }
      isServed(world);
    }
  }
  EXPECT_GT(refused, 10u);
  for (size_t left = 0; left < 7; ++left) {
    World world(GetParam());
    {
      H2Client early(world);
      if (left % 2 == 0) ASSERT_TRUE(world.turnUntil([&] { return early.count(FrameType::settings) != 0; }));
      const io_test::FrameHog hog(world.io, left);
      early.send(get(1, "/") + post(3, "/upload") + data(3, 100, true));
      EXPECT_TRUE(world.turnUntil([&] {
        const auto isOver = [&](uint32_t id) { return early.hasEnded(id) || early.find(FrameType::rst_stream, id); };
        return early.is_closed || (isOver(1) && isOver(3));
      }));
      early.close();
      EXPECT_TRUE(world.turnUntil([&] { return world.server.connectionCount() == 0; }));
    }
    isServed(world);
  }
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

TEST_P(LimitsTest, AnHttp1ResponseThatBreaksOffBeforeItsHeadHasLeftIsA502) {
  World world(GetParam());
  RawClient client(world);
  client.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /broken HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(client.sees([&] { return client.is_closed; }));
  EXPECT_TRUE(client.received.starts_with("HTTP/1.1 200 ")) << client.received;
  EXPECT_NE(client.received.find("helloHTTP/1.1 502 "), std::string::npos) << client.received;
  EXPECT_TRUE(client.received.ends_with("\r\n\r\nthe backend's response broke off\n")) << client.received;
}

TEST_P(LimitsTest, AnHttp1ResponseThatOnlyStopsIsSeenAsFarAsItGoesUnlessThatLooksWhole) {
  World world(GetParam());
  RawClient chunked(world);
  chunked.send("GET /broken?chunked HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(chunked.sees([&] { return chunked.is_closed; }));
  EXPECT_TRUE(chunked.received.starts_with("HTTP/1.1 200 ")) << chunked.received;
  EXPECT_TRUE(chunked.received.ends_with("some\r\n")) << chunked.received;
  RawClient whole(world);
  whole.send("GET /broken?length HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(whole.sees([&] { return whole.is_closed; }));
  EXPECT_TRUE(whole.received.starts_with("HTTP/1.1 502 ")) << whole.received;
}

TEST_P(LimitsTest, AnHttp1ResponseThatBreaksOffBehindItsHeadEndsTheConnection) {
  World world(GetParam());
  RawClient client(world);
  client.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(client.seesText("\r\n\r\n"));
  world.handler.pushed->abort(connectionError(ErrorCode::protocol_error, "a chunk without a size"));
  EXPECT_TRUE(client.sees([&] { return client.is_closed; }));
  EXPECT_EQ(client.received.find("502"), std::string::npos) << client.received;
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

TEST_P(LimitsTest, ARequestThatAnIdleClientHasBegunHasTheTimeOfAHeaderBlock) {
  ServerTimeouts timeouts = hasty();
  timeouts.client_idle_ms = 100;
  timeouts.client_header_ms = 60'000;
  World world(GetParam(), smallLimits(), timeouts);
  H2Client client(world);
  client.send(frame(FrameType::headers, flags::end_stream, 1, requestBlock("GET", "/hello")));
  client.sees([] { return false; }, 300);
  EXPECT_FALSE(client.is_closed);
  client.send(frame(FrameType::continuation, flags::end_headers, 1));
  EXPECT_TRUE(client.seesEnd(1));
  EXPECT_EQ(world.server.counters().header_timeouts, 0u);
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

TEST_P(LimitsTest, AFarClientsWindowsStartSmallAndGrowWhileItsUploadDrains) {
  World world(GetParam());
  H2Client client(world);
  client.answers_pings = false;
  client.send(post(1, "/upload"));
  ASSERT_TRUE(world.turnUntil([&] { return world.handler.running == 1; }));
  world.turnFor(20);
  EXPECT_EQ(client.count(FrameType::window_update), 0u);
  client.upload(1, 100'000, false);
  ASSERT_TRUE(world.turnUntil([&] { return client.find(FrameType::ping, 0) != nullptr; }));
  // So far away that whole windows are taken in less than two round trips, however slow this machine is.
  world.turnFor(300);
  client.send(frame(FrameType::ping, flags::ack, 0, client.find(FrameType::ping, 0)->payload));
  world.turnFor(20);
  client.upload(1, (8 << 20) - 100'000, true);
  ASSERT_TRUE(client.seesEnd(1));
  EXPECT_EQ(world.handler.stored, size_t{8} << 20);
  // A quarter of the memory for uploads. The bytes that are missing to the full window are less than the half at which
  // it is given back.
  EXPECT_GT(client.windows[0], (1 << 20) / 2);
  EXPECT_LE(client.windows[0], 1 << 20);
  EXPECT_GT(client.windows[1], 65'535);
  EXPECT_LE(client.windows[1], (4 << 20) / 8);
}

TEST_P(LimitsTest, AClientWhoseUploadIsNotReadGetsNoCreditForItsStreamAndAllForItsConnection) {
  World world(GetParam());
  H2Client client(world);
  client.send(post(1, "/closed"));
  client.upload(1, 65'535, false);
  ASSERT_TRUE(world.turnUntil([&] {
    (void)client.frames();
    return client.windows[0] > 60'000;
  }));
  EXPECT_EQ(client.windows[1], 0);
  EXPECT_GE(world.server.uploads.blocks.used() * 4096, size_t{65'535});
  world.handler.released = true;
  client.upload(1, 1000, true);
  EXPECT_TRUE(client.seesEnd(1));
}

TEST_P(LimitsTest, UploadsThatAreNotReadLeaveTheConnectionsWindowToTheOthers) {
  Limits limits = smallLimits();
  limits.upload_pool_bytes = 8 << 20;
  World world(GetParam(), limits);
  H2Client client(world);
  for (uint32_t id = 1; id < 41; id += 2) {
    client.send(post(id, "/closed"));
    client.upload(id, 65'535, false);
  }
  client.send(post(41, "/upload"));
  client.upload(41, 500'000, true);
  EXPECT_TRUE(client.seesEnd(41));
  // The bytes that they hold are credited once.
  world.handler.released = true;
  for (uint32_t id = 1; id < 41; id += 2) client.upload(id, 1000, true);
  for (uint32_t id = 1; id < 41; id += 2) EXPECT_TRUE(client.seesEnd(id));
  EXPECT_EQ(world.handler.stored, 20 * 66'535u + 500'000);
  EXPECT_TRUE(world.turnUntil([&] { return world.server.lostCredit() == 0; }));
}

TEST_P(LimitsTest, UploadsThatAreNotReadKeepTheConnectionsWindowWhileMemoryIsShortAndThenLeaveIt) {
  Limits limits = smallLimits();
  limits.upload_pool_bytes = 192 << 10;
  World world(GetParam(), limits, patient());
  std::vector<void*> taken;
  for (int i = 0; i < 26; ++i) taken.push_back(world.server.uploads.blocks.take());
  H2Client client(world);
  client.send(post(1, "/closed") + post(3, "/upload"));
  client.upload(1, 65'535, false);
  world.turnFor(400);
  EXPECT_EQ(client.count(FrameType::window_update), 0u);
  for (void* block : taken) world.server.uploads.blocks.give(block);
  client.upload(3, 100'000, true);
  EXPECT_TRUE(client.seesEnd(3));
  world.handler.released = true;
  client.upload(1, 1000, true);
  EXPECT_TRUE(client.seesEnd(1));
  EXPECT_TRUE(world.turnUntil([&] { return world.server.lostCredit() == 0; }));
}

TEST_P(LimitsTest, WhereMemoryIsShortTheLongestStuckUploadOfWhoHoldsMostIsEnded) {
  Limits limits = smallLimits();
  limits.upload_pool_bytes = 256 << 10;
  ServerTimeouts timeouts;
  timeouts.stuck_upload_ms = 50;
  World world(GetParam(), limits, timeouts);
  H2Client modest(world);
  modest.send(post(1, "/closed"));
  modest.upload(1, 20'000, false);
  world.turnFor(20);
  H2Client hog(world);
  hog.send(post(1, "/closed") + post(3, "/closed"));
  hog.upload(1, 60'000, false);
  world.turnFor(20);
  hog.upload(3, 60'000, false);
  ASSERT_TRUE(hog.seesEnd(1)) << "408 with its text";
  EXPECT_EQ(world.server.counters().stream_faults[static_cast<size_t>(Fault::stuck_upload)], 1u);
  EXPECT_TRUE(hog.seesReset(1, H2Error::no_error)) << "the rest of it is not wanted";
  world.turnFor(400);
  EXPECT_EQ(world.server.counters().stream_faults[static_cast<size_t>(Fault::stuck_upload)], 1u)
      << "half is free again";
  // Over HTTP/1.1 likewise.
  RawClient http1(world);
  http1.send("POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + std::string(100'000, 'u'));
  EXPECT_TRUE(http1.seesText("HTTP/1.1 408 "));
  world.handler.released = true;
  hog.upload(3, 10, true);
  modest.upload(1, 10, true);
  EXPECT_TRUE(hog.seesEnd(3));
  EXPECT_TRUE(modest.seesEnd(1));
  EXPECT_EQ(world.handler.stored, 60'010u + 20'010);
}

TEST_P(LimitsTest, AStuckUploadWhoseResponseHasBegunIsResetWithEnhanceYourCalm) {
  Limits limits = smallLimits();
  limits.upload_pool_bytes = 96 << 10;
  ServerTimeouts timeouts;
  timeouts.stuck_upload_ms = 50;
  World world(GetParam(), limits, timeouts);
  H2Client client(world);
  client.send(post(1, "/open"));
  client.upload(1, 60'000, false);
  EXPECT_TRUE(client.seesReset(1, H2Error::enhance_your_calm));
  client.send(post(3, "/upload"));
  client.upload(3, 100'000, true);
  EXPECT_TRUE(client.seesEnd(3));
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
  World world(GetParam(), limits, patient());
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

TEST_P(LimitsTest, UploadsThatWaitForMemoryHoldNoReceiveBuffer) {
  World world(GetParam());
  std::vector<void*> taken;
  while (void* block = world.server.uploads.blocks.take()) taken.push_back(block);
  std::vector<std::unique_ptr<RawClient>> http1;
  for (int i = 0; i < 12; ++i) {
    http1.push_back(std::make_unique<RawClient>(world));
    http1.back()->send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 14000\r\n\r\n" + std::string(14'000, 'u'));
  }
  H2Client http2(world);
  http2.send(post(1, "/upload"));
  http2.upload(1, 14'000, true);
  ASSERT_TRUE(world.turnUntil([&] { return world.server.counters().upload_pauses == 13; }));
  world.turnFor(5);
  EXPECT_EQ(world.buffers.lent(), 0u);
  EXPECT_EQ(world.headers.ofClass(2).used(), 0u) << "heads need the large blocks";
  // Without a block of any kind one keeps its buffer, and the others are not concerned.
  std::vector<void*> send_blocks, large;
  while (void* block = world.send_blocks.take()) send_blocks.push_back(block);
  while (void* block = world.headers.ofClass(2).take()) large.push_back(block);
  RawClient last(world);
  last.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 14000\r\n\r\n" + std::string(14'000, 'u'));
  ASSERT_TRUE(world.turnUntil([&] { return world.server.counters().upload_pauses == 14; }));
  world.turnFor(5);
  EXPECT_EQ(world.buffers.lent(), 1u);
  for (void* block : send_blocks) world.send_blocks.give(block);
  for (void* block : large) world.headers.ofClass(2).give(block);
  for (void* block : taken) world.server.uploads.blocks.give(block);
  world.server.uploads.noteFreed();
  for (auto& one : http1) EXPECT_TRUE(one->seesText("200 "));
  EXPECT_TRUE(last.seesText("200 "));
  EXPECT_TRUE(http2.seesEnd(1));
  EXPECT_EQ(world.server.counters().stalled_connections, 0u);
}

TEST_P(LimitsTest, AnHttp1ClientThatLeavesWhileBuffersAreShortIsNoticedThoughItsResponseIsSilent) {
  Limits limits = smallLimits();
  limits.receive_buffers = 8;
  World world(GetParam(), limits, hasty());
  RawClient client(world);
  client.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(world.turnUntil([&] { return world.handler.pushed != nullptr; }));
  // Somebody else has them all.
  int both[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
  io_test::Recorder other(world.io, OpKind::recv, both[0]);
  other.keeps = true;
  other.submit();
  while (world.buffers.lent() < limits.receive_buffers - world.buffers.kept()) {
    const uint32_t lent = world.buffers.lent();
    ASSERT_EQ(::send(both[1], "x", 1, 0), 1);
    ASSERT_TRUE(world.turnUntil([&] { return world.buffers.lent() != lent; }));
  }
  client.close();
  world.turnFor(20);
  while (!other.kept.empty()) {
    world.buffers.giveBack(other.kept.back());
    other.kept.pop_back();
    world.turnFor(5);
  }
  EXPECT_TRUE(world.turnUntil([&] { return world.handler.running == 0; })) << "the client has left";
  world.io.cancel(other.op);
  EXPECT_TRUE(world.turnUntil([&] { return other.ended; }));
  ::close(both[0]);
  ::close(both[1]);
}

TEST_P(LimitsTest, AnHttp1ClientThatAsksOnAndEndsItsDirectionBeforeAResponseIsCompleteGetsBothAnswers) {
  World world(GetParam(), smallLimits(), hasty());
  RawClient client(world);
  client.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(world.turnUntil([&] { return world.handler.pushed != nullptr; }));
  world.turnFor(20);
  client.send("GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  ASSERT_EQ(::shutdown(client.fd, SHUT_WR), 0);
  world.turnFor(20);
  ASSERT_NE(world.handler.pushed, nullptr) << "the client has not left";
  ASSERT_TRUE(world.handler.pushed->push(asBytes("open"), true));
  ASSERT_TRUE(world.turnUntil([&] {
    client.collect();
    return client.is_closed;
  }));
  EXPECT_NE(client.received.find("hello"), std::string::npos) << client.received;
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
