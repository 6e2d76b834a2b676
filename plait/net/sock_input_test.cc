// Receiving: back-pressure, and buffers that are few.
#include "plait/net/sock_input.h"

#include "plait/net/sock_test.h"

namespace plait {
namespace {

using namespace sock_test;

struct SockInputTest : SockTest {};
INSTANTIATE_TEST_SUITE_P(Backends, SockInputTest, allKinds(), kindName);

TEST_P(SockInputTest, AReaderThatDoesNotReadStopsItsPeerAfterAFewBuffers) {
  open();
  const std::string much(16 << 20, 'm');
  client.write(much);
  turnFor(300);
  EXPECT_LE(buffers.lent(), 20u);
  EXPECT_GT(client.sock.unsent(), 0u);
  server.read(scope);
  ASSERT_TRUE(turnUntil([&] { return server.text.size() == much.size(); }));
  EXPECT_EQ(server.text, much);
}

TEST_P(SockInputTest, AnIdleConnectionHoldsNoBufferAndNoBlock) {
  open();
  server.read(scope);
  client.read(scope);
  client.write("ping");
  server.write("pong");
  ASSERT_TRUE(turnUntil([&] { return server.text == "ping" && client.text == "pong"; }));
  turnFor(10);
  EXPECT_EQ(send_blocks.used(), 0u);
  EXPECT_EQ(record_blocks.used(), 0u);
  EXPECT_EQ(buffers.lent(), 0u);
  for (Side* side : {&client, &server}) side->sock.stopReading();
  EXPECT_TRUE(turnUntil([&] { return !client.reading && !server.reading; }));
}

struct ScarceInputTest : ScarceTest {};
INSTANTIATE_TEST_SUITE_P(Backends, ScarceInputTest, allKinds(), kindName);
struct ScarcePlainInputTest : ScarceTest {};
INSTANTIATE_TEST_SUITE_P(Backends, ScarcePlainInputTest,
                         testing::Values(Kind{IoKind::uring, false}, Kind{IoKind::epoll, false}), kindName);

TEST_P(ScarceInputTest, SlowReadersDoNotTakeTheBuffersOfTheOthers) {
  std::vector<std::unique_ptr<Side>> sides;
  std::vector<int> peers;
  for (int i = 0; i < 12; ++i) {
    int both[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
    sides.push_back(std::make_unique<Side>(io, send_blocks, sock_room));
    sides.back()->sock.adopt(both[0]);
    peers.push_back(both[1]);
    const std::string bytes(100 * 1024, 'q');
    (void)::send(both[1], bytes.data(), bytes.size(), MSG_DONTWAIT);
    turnFor(2);
  }
  EXPECT_LT(buffers.lent(), 8u);
  open();
  server.read(scope);
  const std::string sent(200'000, 'f');
  client.write(sent);
  EXPECT_TRUE(turnUntil([&] { return server.text.size() == sent.size(); }));
  // And nothing of the slow ones is lost.
  for (auto& side : sides) {
    side->read(scope);
    EXPECT_TRUE(turnUntil([&] { return side->text.size() == 100 * 1024; }));
    side->sock.abort(connectionError(ErrorCode::cancelled, "done"));
    scope.spawn(Side::closeNow(*side, false, io), io);
  }
  EXPECT_TRUE(turnUntil([&] {
    for (auto& side : sides) {
      if (!side->is_closed) return false;
    }
    return true;
  }));
  for (int fd : peers) ::close(fd);
  server.sock.stopReading();
  EXPECT_TRUE(turnUntil([&] { return !server.reading; }));
}

// Readers that kept up and then stop: what was asked for in advance comes all at once.
TEST_P(ScarceInputTest, ReadersThatStopDoNotKeepTheBuffersFromTheOthers) {
  std::vector<std::unique_ptr<Side>> sides;
  std::vector<int> peers;
  for (int i = 0; i < 6; ++i) {
    int both[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
    sides.push_back(std::make_unique<Side>(io, send_blocks, sock_room));
    Side& side = *sides.back();
    side.sock.adopt(both[0]);
    peers.push_back(both[1]);
    side.read(scope);
    turnFor(1);
    side.stop_reading = true;  // after this
    ASSERT_EQ(::send(both[1], "first", 5, 0), 5);
    ASSERT_TRUE(turnUntil([&] { return !side.reading; }));
  }
  const std::string more(100 * 1024, 'r');
  for (int fd : peers) ASSERT_GT(::send(fd, more.data(), more.size(), MSG_DONTWAIT), 0);
  turnFor(20);
  open();
  server.read(scope);
  const std::string sent(200'000, 'f');
  client.write(sent);
  EXPECT_TRUE(turnUntil([&] { return server.text.size() == sent.size(); }));
  for (size_t i = 0; i < sides.size(); ++i) {
    Side& side = *sides[i];
    ::close(peers[i]);
    side.stop_reading = false;
    side.read(scope);
    EXPECT_TRUE(turnUntil([&] { return side.ended; }));
    EXPECT_EQ(side.text.substr(0, 5), "first");
    EXPECT_EQ(side.text.find_first_not_of('r', 5), side.text.npos);
    EXPECT_GT(side.text.size(), 16 * 1024u);
    scope.spawn(Side::closeNow(side, false, io), io);
    EXPECT_TRUE(turnUntil([&] { return side.is_closed; }));
  }
  server.sock.stopReading();
  EXPECT_TRUE(turnUntil([&] { return !server.reading; }));
}

// As a server of HTTP/1.1 does, that waits for a handler's response before it looks at what comes next.
TEST_P(ScarceInputTest, WhoIsDoneReadingForNowHoldsNoReceiveBuffer) {
  open();
  const uint32_t of_client = buffers.lent();  // session tickets, which it does not read
  server.read(scope);
  turnFor(1);
  server.stop_reading = true;  // after the first
  client.write("request");
  ASSERT_TRUE(turnUntil([&] { return !server.reading; }));
  EXPECT_EQ(server.text, "request");
  server.sock.doneReading();
  EXPECT_EQ(buffers.lent(), of_client);
  EXPECT_EQ(record_blocks.used(), 0u);
  // Where buffers are short neither does who has a record that nobody has asked for yet.
  take(4);
  server.text.clear();
  server.stop_reading = false;
  server.read(scope);
  turnFor(1);
  server.stop_reading = true;
  const std::string two_records(20'000, 'r');
  client.write(two_records);
  ASSERT_TRUE(turnUntil([&] { return !server.reading; }));
  EXPECT_LT(server.text.size(), two_records.size());
  server.sock.doneReading();
  if (GetParam().tls) {
    EXPECT_EQ(buffers.lent(), 4u);
  }
  server.stop_reading = false;
  server.read(scope);
  EXPECT_TRUE(turnUntil([&] { return server.text == two_records; }));
  giveBack();
  server.sock.stopReading();
  EXPECT_TRUE(turnUntil([&] { return !server.reading; }));
}

// As a server does that has read a balancer's header.
TEST_P(ScarcePlainInputTest, WhatCameBehindAHeaderIsKeptWithoutItAndWithoutABufferWhereTheseAreShort) {
  open();
  const auto receive = [&](std::string_view text) {
    server.text.clear();
    server.stop_reading = false;
    server.read(scope);
    turnFor(1);
    server.stop_reading = true;  // after the first
    client.write(text);
    EXPECT_TRUE(turnUntil([&] { return !server.reading; }));
    EXPECT_EQ(server.text, text);
  };
  receive("header and rest");
  EXPECT_EQ(asText(server.sock.keepLast(4)), "rest");
  EXPECT_EQ(buffers.lent(), 1u);
  receive("nothing");
  EXPECT_TRUE(server.sock.keepLast(0).empty());
  EXPECT_EQ(buffers.lent(), 0u);
  take(4);
  receive("header and more");
  EXPECT_EQ(asText(server.sock.keepLast(4)), "more");
  EXPECT_EQ(buffers.lent(), 4u);
  // Of bytes that lie elsewhere already likewise.
  EXPECT_EQ(asText(server.sock.keepLast(2)), "re");
  receive("what follows");
  giveBack();
}

// It tells, so that nobody takes the peer for mute.
TEST_P(ScarceInputTest, ASocketSaysThatItHadNoBufferToReceiveInto) {
  open();
  server.read(scope);
  client.write("heard");
  ASSERT_TRUE(turnUntil([&] { return server.text == "heard"; }));
  EXPECT_FALSE(server.sock.tookNoBuffer());
  turnFor(5);
  take(8);
  client.write(" not heard");
  turnFor(20);
  EXPECT_TRUE(server.sock.tookNoBuffer());
  EXPECT_TRUE(server.sock.tookNoBuffer()) << "as long as there is none";
  giveBack();
  EXPECT_TRUE(turnUntil([&] { return server.text == "heard not heard"; }));
  EXPECT_TRUE(server.sock.tookNoBuffer()) << "once afterwards";
  EXPECT_FALSE(server.sock.tookNoBuffer());
  server.sock.stopReading();
  EXPECT_TRUE(turnUntil([&] { return !server.reading; }));
}

TEST_P(ScarceInputTest, WhenAllBuffersAreOutTheSocketWaitsWithoutTurningTheLoop) {
  open();
  take(8);
  server.read(scope);
  client.write("now");
  turnFor(20);
  int turns = 0;
  const TimeNs until = backend->now() + 50 * ns_per_ms;
  while (backend->now() < until) {
    io.turn(until);
    turns += 1;
  }
  EXPECT_LT(turns, 20) << "asking again and again for a buffer that is not there";
  EXPECT_EQ(server.text, "");
  giveBack();
  EXPECT_TRUE(turnUntil([&] { return server.text == "now"; }));
  server.sock.stopReading();
  EXPECT_TRUE(turnUntil([&] { return !server.reading; }));
}

}  // namespace
}  // namespace plait
