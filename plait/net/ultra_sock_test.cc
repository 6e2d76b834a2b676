// A socket's beginning and its end, as its user and its peer notice them.
#include "plait/net/ultra_sock.h"

#include <cerrno>

#include "plait/net/sock_test.h"

namespace plait {
namespace {

using namespace sock_test;

struct UltraSockTest : SockTest {};
INSTANTIATE_TEST_SUITE_P(Backends, UltraSockTest, allKinds(), kindName);

TEST(ConnectFailure, TellsWhatIsShortHereFromWhatTheBackendDoes) {
  for (const int shortage : {EMFILE, ENFILE, ENOMEM, ENOBUFS, EADDRNOTAVAIL, EAGAIN})
    EXPECT_TRUE(connectFailure(-shortage).isOwnShortage()) << shortage;
  EXPECT_EQ(connectFailure(-EADDRNOTAVAIL).code, ErrorCode::no_local_port);
  for (const int failure : {ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT, ECONNRESET})
    EXPECT_EQ(connectFailure(-failure).code, ErrorCode::connect_failed) << failure;
}

TEST_P(UltraSockTest, GracefulCloseDeliversEverythingThenTheEnd) {
  open();
  server.read(scope);
  client.read(scope);
  const std::string much(300'000, 'g');
  client.write(much);
  client.stop_reading = true;
  scope.spawn(Side::closeNow(client, true, io), io);
  ASSERT_TRUE(turnUntil([&] { return server.ended; }));
  EXPECT_EQ(server.text, much);
  EXPECT_TRUE(turnUntil([&] { return server.owner.closed >= 1; }));
  EXPECT_FALSE(client.is_closed) << "it waits for the other side, so that no reset overtakes the last bytes";
  scope.spawn(Side::closeNow(server, true, io), io);
  ASSERT_TRUE(turnUntil([&] { return client.is_closed && server.is_closed; }));
}

TEST_P(UltraSockTest, GracefulCloseWaitsForAPeerThatReadsLate) {
  open();
  const std::string much(16 << 20, 'l');
  client.write(much);
  scope.spawn(Side::closeNow(client, true, io), io);
  turnFor(700);
  EXPECT_FALSE(client.is_closed);
  server.read(scope);
  ASSERT_TRUE(turnUntil([&] { return server.ended; }));
  EXPECT_EQ(server.text.size(), much.size());
  scope.spawn(Side::closeNow(server, true, io), io);
  ASSERT_TRUE(turnUntil([&] { return client.is_closed && server.is_closed; }));
}

TEST_P(UltraSockTest, AGracefulCloseEndsWhenNothingIsTakenAnyMore) {
  open();
  client.write(std::string(16 << 20, 'l'));
  scope.spawn(Side::closeNow(client, true, io, UINT32_MAX, 200), io);
  ASSERT_TRUE(turnUntil([&] { return client.is_closed; }));
  EXPECT_EQ(client.sock.error().code, ErrorCode::stalled);
}

TEST_P(UltraSockTest, AGracefulCloseOfAPeerThatTakesLittleNowAndThenGoesOn) {
  open();
  client.write(std::string(12 << 20, 'l'));
  scope.spawn(Side::closeNow(client, true, io, UINT32_MAX, 300), io);
  // Much longer than the stall, and each step is shorter.
  for (int i = 0; i < 10; ++i) {
    turnFor(100);
    ASSERT_FALSE(client.is_closed);
    const size_t before = server.text.size();
    server.stop_reading = false;
    server.read(scope);
    ASSERT_TRUE(turnUntil([&] { return server.text.size() > before + (256 << 10); }));
    server.stop_reading = true;
    ASSERT_TRUE(turnUntil([&] { return !server.reading; }));
  }
  EXPECT_FALSE(client.sock.isAborted());
  client.sock.abort(connectionError(ErrorCode::cancelled, "done"));
  EXPECT_TRUE(turnUntil([&] { return client.is_closed; }));
}

TEST_P(UltraSockTest, AGracefulCloseThatIsFloodedReadsNoMoreThanItWas) {
  open();
  const std::string flood(8 << 20, 'f');
  client.write(flood);
  server.write("last words");
  client.read(scope);
  scope.spawn(Side::closeNow(server, true, io, 64 << 10), io);
  ASSERT_TRUE(turnUntil([&] { return server.is_closed; }));
  // Bytes that were left unread make the end a reset, which the rest of the flood runs into.
  EXPECT_TRUE(turnUntil([&] { return client.sock.isAborted(); }));
  EXPECT_EQ(client.text, "last words");
  client.sock.abort(connectionError(ErrorCode::cancelled, "done"));
  EXPECT_TRUE(turnUntil([&] { return !client.reading; }));
}

TEST_P(UltraSockTest, ClosingEndsWhoeverWaits) {
  open();
  server.read(scope);
  turnFor(5);
  scope.spawn(Side::closeNow(server, false, io), io);
  ASSERT_TRUE(turnUntil([&] { return server.is_closed && !server.reading; }));
  EXPECT_TRUE(server.error.has_value());
}

TEST_P(UltraSockTest, AnAbortReachesReaderAndDrainerWithItsReason) {
  open();
  server.read(scope);
  server.write(std::string(16 << 20, 'd'));
  turnFor(50);
  scope.spawn(Side::drainNow(server, io.nowNs() + 60 * ns_per_s, io), io);
  turnFor(10);
  EXPECT_FALSE(server.is_drained);
  server.sock.abort(connectionError(ErrorCode::stalled, "enough"));
  server.sock.abort(connectionError(ErrorCode::cancelled, "the first reason is kept"));
  ASSERT_TRUE(turnUntil([&] { return server.is_drained && !server.reading; }));
  EXPECT_EQ(server.error->code, ErrorCode::stalled);
}

TEST_P(UltraSockTest, DrainingEndsWhenAllHasLeftOrAtTheDeadline) {
  open();
  client.write("short");
  scope.spawn(Side::drainNow(client, io.nowNs() + 5 * ns_per_s, io), io);
  ASSERT_TRUE(turnUntil([&] { return client.is_drained; }));
  EXPECT_EQ(client.sock.unsent(), 0u);
  EXPECT_FALSE(client.sock.isAborted());
  client.is_drained = false;
  client.write(std::string(16 << 20, 'd'));
  const TimeNs start = io.nowNs();
  scope.spawn(Side::drainNow(client, io.nowNs() + 100 * ns_per_ms, io), io);
  ASSERT_TRUE(turnUntil([&] { return client.is_drained; }));
  EXPECT_GE(io.nowNs() - start, 100 * ns_per_ms);
  EXPECT_TRUE(client.sock.isAborted());
}

TEST_P(UltraSockTest, APeerThatVanishesIsALostConnection) {
  open();
  server.read(scope);
  turnFor(5);
  // As a process that dies: RST.
  const linger reset{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(client.sock.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  scope.spawn(Side::closeNow(client, false, io), io);
  ASSERT_TRUE(turnUntil([&] { return !server.reading; }));
  ASSERT_TRUE(server.error.has_value());
  EXPECT_EQ(server.error->code, ErrorCode::connection_lost);
  EXPECT_TRUE(server.error->reachesConnection());
}

// Ends the connection of `fd` with a reset, and leaves the descriptor to its owner.
void resetNow(int fd) {
  const sockaddr nowhere{.sa_family = AF_UNSPEC, .sa_data = {}};
  ASSERT_EQ(::connect(fd, &nowhere, sizeof(nowhere)), 0);
}

TEST_P(UltraSockTest, WhatThePeerSaidBeforeItsResetIsReadThoughASendHearsOfThatFirst) {
  if (GetParam().tls) return;  // the bytes are written past the socket
  for (const bool ends_first : {false, true}) {
    SCOPED_TRACE(ends_first);
    open();
    server.read(scope);
    turnFor(5);
    ASSERT_EQ(::send(client.sock.fd(), "answer", 6, 0), 6);
    if (ends_first) ::shutdown(client.sock.fd(), SHUT_WR);
    resetNow(client.sock.fd());
    // Both are there before the next turn, and in that the send comes first.
    server.write("the rest of an upload");
    ASSERT_TRUE(turnUntil([&] { return !server.reading; }));
    EXPECT_EQ(server.text, "answer");
    EXPECT_EQ(server.ended, ends_first) << "an end in good order came before the reset, or it did not";
    EXPECT_EQ(server.error.has_value(), !ends_first);
    EXPECT_EQ(server.sock.unsent(), 0u);
    // Whatever is written later goes nowhere, and nobody waits for it.
    server.write("more");
    scope.spawn(Side::drainNow(server, io.nowNs() + 5 * ns_per_s, io), io);
    ASSERT_TRUE(turnUntil([&] { return server.is_drained; }, 1000));
    for (Side* side : {&client, &server}) scope.spawn(Side::closeNow(*side, false, io), io);
    ASSERT_TRUE(turnUntil([&] { return client.is_closed && server.is_closed; }));
    if (ends_first) return;
    // The next round is another connection's.
    std::destroy_at(&client);
    std::destroy_at(&server);
    std::construct_at(&client, io, send_blocks, sock_room);
    std::construct_at(&server, io, send_blocks, sock_room);
  }
}

// Bytes that a socket leaves unread make its end a reset, which would take the alert away from a peer that is still
// sending.
TEST_P(UltraSockTest, AnAlertArrivesAtAPeerThatIsStillSending) {
  if (!GetParam().tls) return;
  open();
  server.read(scope);
  const std::string broken = std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'b');
  ASSERT_EQ(::send(client.sock.fd(), broken.data(), broken.size(), 0), static_cast<ssize_t>(broken.size()));
  ASSERT_TRUE(turnUntil([&] { return !server.reading; }));
  EXPECT_EQ(server.error->code, ErrorCode::tls_failed);
  const std::string much(100'000, 'm');
  ASSERT_EQ(::send(client.sock.fd(), much.data(), much.size(), 0), static_cast<ssize_t>(much.size()));
  // As a connection does that has failed: what it still had to say goes nowhere, but for the alert.
  server.write("goodbye");
  server.sock.abort(*server.error);
  scope.spawn(Side::closeNow(server, false, io), io);
  turnFor(20);
  EXPECT_FALSE(server.is_closed) << "the peer has not ended";
  client.read(scope);
  ASSERT_TRUE(turnUntil([&] { return !client.reading; }));
  ASSERT_TRUE(client.error.has_value());
  EXPECT_EQ(client.error->code, ErrorCode::tls_failed) << client.error->reason;
  EXPECT_TRUE(std::string_view(client.error->reason).ends_with("alert bad record mac")) << client.error->reason;
  scope.spawn(Side::closeNow(client, false, io), io);
  EXPECT_TRUE(turnUntil([&] { return client.is_closed && server.is_closed; }));
}

TEST_P(UltraSockTest, AnAlertWaitsForItsPeerWithinBounds) {
  if (!GetParam().tls) return;
  open();
  server.read(scope);
  const std::string broken = std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'b');
  ASSERT_EQ(::send(client.sock.fd(), broken.data(), broken.size(), 0), static_cast<ssize_t>(broken.size()));
  ASSERT_TRUE(turnUntil([&] { return !server.reading; }));
  const TimeNs begun_ns = backend->now();
  scope.spawn(Side::closeNow(server, false, io), io);
  // It floods, and never ends.
  const std::string much(64 * 1024, 'm');
  ASSERT_TRUE(turnUntil([&] {
    while (::send(client.sock.fd(), much.data(), much.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
    }
    return server.is_closed;
  }));
  EXPECT_GE(backend->now() - begun_ns, 900 * ns_per_ms);
}

TEST_P(UltraSockTest, AClientThatBeginsWithTextIsAnsweredInText) {
  if (!GetParam().tls) return;
  Recorder accept(io, OpKind::accept, listener);
  accept.submit();
  scope.spawn(Side::connectTo(client, answer, io.nowNs() + 5 * ns_per_s, io), io);
  ASSERT_TRUE(turnUntil([&] { return client.status && !accept.results.empty(); }));
  server.sock.adopt(accept.results[0]);
  io.cancel(accept.op);
  auto made = TlsContext::makeServer({certs().path("server.pem"), certs().path("server.key")});
  ASSERT_TRUE(made);
  scope.spawn(Side::startTlsNow(server, **made, {}, io.nowNs() + 5 * ns_per_s, io), io);
  client.write("DELETE / HTTP/1.1\r\n");
  client.read(scope);
  ASSERT_TRUE(turnUntil([&] { return server.status.has_value(); }));
  ASSERT_FALSE(server.status->has_value());
  EXPECT_EQ(server.status->error().code, ErrorCode::tls_failed);
  EXPECT_FALSE(server.sock.isTls());
  server.write("this is TLS");
  scope.spawn(Side::closeNow(server, true, io), io);
  ASSERT_TRUE(turnUntil([&] { return client.ended; }));
  EXPECT_EQ(client.text, "this is TLS");
  scope.spawn(Side::closeNow(client, false, io), io);
  EXPECT_TRUE(turnUntil([&] { return client.is_closed && server.is_closed && accept.ended; }));
}

TEST_P(UltraSockTest, OutputThatWasGivenUpBehindASendThatFailedCanBeTakenBack) {
  if (GetParam().tls) return;
  open();
  // Nobody reads, and so nobody learns of the reset.
  resetNow(client.sock.fd());
  server.write("what fails");
  ASSERT_TRUE(turnUntil([&] { return server.sock.unsent() == 0; }));
  const uint64_t position = server.sock.position();
  server.write("what is given up");
  ASSERT_TRUE(turnUntil([&] { return server.sock.unsent() == 0; }));
  ASSERT_GE(position, server.sock.offered()) << "none of it can have left";
  server.sock.takeBack(position);
  EXPECT_EQ(server.sock.unsent(), 0u);
}

TEST_P(UltraSockTest, AnEndWithoutCloseNotifyIsNoEndForTls) {
  open();
  server.read(scope);
  client.write("half");
  ASSERT_TRUE(turnUntil([&] { return server.text == "half"; }));
  ::shutdown(client.sock.fd(), SHUT_WR);
  ASSERT_TRUE(turnUntil([&] { return !server.reading; }));
  EXPECT_EQ(server.ended, !GetParam().tls);
  EXPECT_EQ(server.error.has_value(), GetParam().tls);
}

TEST_P(UltraSockTest, StopReadingEndsTheReaderAndOutputGoesOn) {
  open();
  server.read(scope);
  client.read(scope);
  turnFor(5);
  server.sock.stopReading();
  ASSERT_TRUE(turnUntil([&] { return !server.reading; }));
  EXPECT_TRUE(server.ended);
  server.write("goodbye");
  EXPECT_TRUE(turnUntil([&] { return client.text == "goodbye"; }));
  client.sock.stopReading();
  EXPECT_TRUE(turnUntil([&] { return !client.reading; }));
}

TEST_P(UltraSockTest, AConnectThatIsNotAnsweredEndsAtItsDeadline) {
  // Nobody accepts, and the queue is full.
  const int full = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in local{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  ASSERT_EQ(::bind(full, reinterpret_cast<sockaddr*>(&local), sizeof(local)), 0);
  ASSERT_EQ(::listen(full, 0), 0);
  socklen_t size = sizeof(local);
  ::getsockname(full, reinterpret_cast<sockaddr*>(&local), &size);
  std::vector<int> fillers;
  for (int i = 0; i < 4; ++i) {
    fillers.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    (void)::connect(fillers.back(), reinterpret_cast<sockaddr*>(&local), sizeof(local));
  }
  ResolveAnswer nobody;
  std::memcpy(&nobody.addresses[0], &local, sizeof(local));
  nobody.count = 1;
  const TimeNs start = io.nowNs();
  scope.spawn(Side::connectTo(client, nobody, start + 100 * ns_per_ms, io), io);
  ASSERT_TRUE(turnUntil([&] { return client.status.has_value(); }));
  ASSERT_FALSE(client.status->has_value());
  EXPECT_EQ(client.status->error().code, ErrorCode::connect_timeout);
  EXPECT_LT(io.nowNs() - start, 2 * ns_per_s);
  // The next address still has its share of the time.
  nobody.addresses[1] = address;
  nobody.count = 2;
  client.status.reset();
  scope.spawn(Side::connectTo(client, nobody, io.nowNs() + 400 * ns_per_ms, io), io);
  ASSERT_TRUE(turnUntil([&] { return client.status.has_value(); }));
  EXPECT_TRUE(client.status->has_value());
  for (int fd : fillers) ::close(fd);
  ::close(full);
}

TEST_P(UltraSockTest, AHandshakeThatIsNotAnsweredEndsAtItsDeadline) {
  if (!GetParam().tls) return;
  Recorder accept(io, OpKind::accept, listener);
  accept.submit();
  scope.spawn(Side::connectTo(client, answer, io.nowNs() + 5 * ns_per_s, io), io);
  ASSERT_TRUE(turnUntil([&] { return client.status && !accept.results.empty(); }));
  client.status.reset();
  auto made = TlsContext::makeClient({.verify = false});
  ASSERT_TRUE(made);
  scope.spawn(Side::startTlsNow(client, **made, "localhost", io.nowNs() + 100 * ns_per_ms, io), io);
  ASSERT_TRUE(turnUntil([&] { return client.status.has_value(); }));
  ASSERT_FALSE(client.status->has_value());
  EXPECT_EQ(client.status->error().code, ErrorCode::connect_timeout);
  ::close(accept.results[0]);
  io.cancel(accept.op);
  EXPECT_TRUE(turnUntil([&] { return accept.ended; }));
  scope.spawn(Side::closeNow(client, false, io), io);
  ASSERT_TRUE(turnUntil([&] { return client.is_closed; }));
}

}  // namespace
}  // namespace plait
