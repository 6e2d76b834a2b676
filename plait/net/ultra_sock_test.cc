// The socket over the loopback, plain and with TLS, on both backends: what its user and its peer notice.
#include "plait/net/ultra_sock.h"

#include "plait/io/io_test.h"
#include "plait/net/tls_test_certs.h"

namespace plait {
namespace {

using io_test::Recorder;

struct Kind {
  IoKind io;
  bool tls;
};

struct SockOwner final : UltraSock::Owner {
  void onOutputDrained() override { drained += 1; }
  void onPeerClosed() override { closed += 1; }
  int drained = 0;
  int closed = 0;
};

// One end: a socket, who owns it, and a reader whose pace the test decides.
struct Side {
  Side(Io& used, BlockSlab& send_blocks, SockRoom& sock_room) : io(used), sock(used, send_blocks, sock_room, &owner) {}
  static Task<void> readAll(Side& side, Io&) {
    while (!side.stop_reading) {
      auto bytes = co_await side.sock.recv();
      if (!bytes) {
        side.error = bytes.error();
        break;
      }
      if (bytes->empty()) {
        side.ended = true;
        break;
      }
      side.text += asText(*bytes);
      side.reads += 1;
    }
    side.reading = false;
  }
  static Task<void> drainNow(Side& side, TimeNs deadline_ns, Io& task_io) {
    co_await side.sock.drain(deadline_ns, task_io);
    side.is_drained = true;
  }
  static Task<void> closeNow(Side& side, bool gracefully, Io& task_io, uint32_t unread_limit = UINT32_MAX) {
    if (gracefully) {
      co_await side.sock.closeGracefully(never_ns, 500, task_io, unread_limit);
    } else {
      co_await side.sock.close(task_io);
    }
    side.is_closed = true;
  }
  static Task<void> connectTo(Side& side, const ResolveAnswer& answer, TimeNs deadline_ns, Io& task_io) {
    side.status = co_await side.sock.connect(answer, deadline_ns, task_io);
  }
  static Task<void> startTlsNow(Side& side, TlsContext& context, std::string_view name, TimeNs deadline_ns,
                                Io& task_io) {
    side.status = co_await side.sock.startTls(context, name, deadline_ns, task_io);
  }
  void read(Scope& scope) {
    reading = true;
    scope.spawn(readAll(*this, io), io);
  }
  void write(std::string_view bytes) {
    EXPECT_TRUE(sock.output().append(asBytes(bytes)));
    sock.flushLater();
  }
  Io& io;
  SockOwner owner;
  UltraSock sock;
  std::optional<Status> status;
  std::optional<Error> error;
  std::string text;
  int reads = 0;
  bool reading = false;
  bool stop_reading = false;
  bool ended = false;
  bool is_drained = false;
  bool is_closed = false;
};

struct Loop {
  explicit Loop(IoKind kind, uint32_t buffer_count = 64)
      : buffers(buffer_count, 16 * 1024),
        backend(std::move(*makeBackend(kind, buffers, mailbox, nullptr))),
        io(*backend, buffers, {.frame_count = 256, .ready_count = 1024}) {}
  ~Loop() {
    EXPECT_EQ(io.frames().used(), 0u);
    EXPECT_EQ(io.vectorArrays().used(), 0u);
    EXPECT_EQ(buffers.lent(), 0u);
    EXPECT_EQ(send_blocks.used(), 0u);
    EXPECT_EQ(record_blocks.used(), 0u);
    EXPECT_EQ(sock_room.tls_parts.used(), 0u);
    EXPECT_EQ(sock_room.spilled.used(), 0u);
  }
  bool turnUntil(const std::function<bool()>& done, int64_t bound_ms = 10'000) {
    const TimeNs end_ns = backend->now() + bound_ms * ns_per_ms;
    while (!done()) {
      if (backend->now() >= end_ns) return false;
      io.turn(io.nowNs() + 5 * ns_per_ms);
    }
    return true;
  }
  void turnFor(int64_t ms) {
    (void)turnUntil([] { return false; }, ms);
  }
  BufferPool buffers;
  BlockSlab send_blocks{16 * 1024, 1200};
  BlockSlab record_blocks{17 * 1024, 8};
  SockRoom sock_room{record_blocks, 64};
  Mailbox mailbox;
  std::unique_ptr<IoBackend> backend;
  Io io;
  Scope scope;
};

struct SockTest : testing::TestWithParam<Kind>, Loop {
  explicit SockTest(uint32_t buffer_count = 64)
      : Loop(GetParam().io, buffer_count), client(io, send_blocks, sock_room), server(io, send_blocks, sock_room) {
    reinterpret_cast<sockaddr_in&>(address) = {
        .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    Op listen;
    listen.kind = OpKind::listen;
    listen.address = &address;
    io.submit(listen);
    listener = listen.result;
    answer.addresses[0] = address;
    answer.count = 1;
  }
  void open() {
    Recorder accept(io, OpKind::accept, listener);
    accept.submit();
    scope.spawn(Side::connectTo(client, answer, io.nowNs() + 5 * ns_per_s, io), io);
    ASSERT_TRUE(turnUntil([&] { return client.status && !accept.results.empty(); }));
    ASSERT_TRUE(client.status->has_value());
    server.sock.adopt(accept.results[0]);
    io.cancel(accept.op);
    ASSERT_TRUE(turnUntil([&] { return accept.ended; }));
    if (!GetParam().tls) return;
    client.status.reset();
    auto made_server = TlsContext::makeServer({certs().path("server.pem"), certs().path("server.key")});
    auto made_client = TlsContext::makeClient({.ca_file = certs().path("ca.pem")});
    ASSERT_TRUE(made_server && made_client);
    server_tls = std::move(*made_server);
    client_tls = std::move(*made_client);
    scope.spawn(Side::startTlsNow(client, *client_tls, "localhost", io.nowNs() + 5 * ns_per_s, io), io);
    scope.spawn(Side::startTlsNow(server, *server_tls, {}, io.nowNs() + 5 * ns_per_s, io), io);
    ASSERT_TRUE(turnUntil([&] { return client.status && server.status; }));
    ASSERT_TRUE(client.status->has_value()) << client.status->error().reason;
    ASSERT_TRUE(server.status->has_value()) << server.status->error().reason;
    EXPECT_EQ(client.sock.alpn(), "h2");
    // TLS 1.3 sends session tickets behind the handshake; they are no output of this test.
    turnFor(5);
  }
  void TearDown() override {
    for (Side* side : {&client, &server}) {
      if (!side->is_closed) scope.spawn(Side::closeNow(*side, false, io), io);
    }
    EXPECT_TRUE(turnUntil([&] { return scope.running() == 0; }));
    ::close(listener);
  }
  static TestCerts& certs() {
    static TestCerts made;
    return made;
  }

  std::unique_ptr<TlsContext> server_tls;
  std::unique_ptr<TlsContext> client_tls;
  sockaddr_storage address{};
  ResolveAnswer answer;
  int listener = -1;
  Side client;
  Side server;
};

std::string kindName(const testing::TestParamInfo<Kind>& info) {
  return std::string(info.param.io == IoKind::uring ? "uring" : "epoll") + (info.param.tls ? "Tls" : "Plain");
}
INSTANTIATE_TEST_SUITE_P(Backends, SockTest,
                         testing::Values(Kind{IoKind::uring, false}, Kind{IoKind::uring, true},
                                         Kind{IoKind::epoll, false}, Kind{IoKind::epoll, true}),
                         kindName);

TEST_P(SockTest, WhatOneTurnWritesArrivesOnceAndInOrder) {
  open();
  server.read(scope);
  std::string sent;
  for (int i = 0; i < 200; ++i) {
    const std::string part(static_cast<size_t>(1 + i * 13), static_cast<char>('a' + i % 26));
    client.write(part);
    sent += part;
  }
  ASSERT_TRUE(turnUntil([&] { return server.text.size() >= sent.size(); }));
  turnFor(10);
  EXPECT_EQ(server.text, sent);
  EXPECT_EQ(client.sock.unsent(), 0u);
  EXPECT_GE(client.owner.drained, 1);
}

TEST_P(SockTest, WithoutAnArrayForManyBlocksTheyLeaveOneByOne) {
  open();
  std::vector<void*> taken;
  while (void* array = io.vectorArrays().take()) taken.push_back(array);
  server.read(scope);
  std::string sent;
  for (int i = 0; i < 20; ++i) sent += std::string(10'000, static_cast<char>('a' + i));
  client.write(sent);
  EXPECT_TRUE(turnUntil([&] { return server.text.size() >= sent.size(); }));
  EXPECT_EQ(server.text, sent);
  for (void* array : taken) io.vectorArrays().give(array);
}

TEST_P(SockTest, FlushingTwiceInOneTurnSendsNothingTwice) {
  open();
  server.read(scope);
  // The first drain makes its task ready while flushing; what the task writes is flushed in the same turn.
  struct Writer {
    static Task<void> run(Side& side, Io& io) {
      side.write("first ");
      for (int i = 0; i < 20; ++i) {
        co_await side.sock.drain(io.nowNs() + ns_per_s, io);
        side.write("again ");
        side.sock.flushLater();
      }
    }
  };
  scope.spawn(Writer::run(client, io), io);
  std::string expected = "first ";
  for (int i = 0; i < 20; ++i) expected += "again ";
  ASSERT_TRUE(turnUntil([&] { return server.text.size() >= expected.size(); }));
  turnFor(10);
  EXPECT_EQ(server.text, expected);
}

TEST_P(SockTest, AReaderThatDoesNotReadStopsItsPeerAfterAFewBuffers) {
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

TEST_P(SockTest, GracefulCloseDeliversEverythingThenTheEnd) {
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

TEST_P(SockTest, GracefulCloseWaitsForAPeerThatReadsLate) {
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

TEST_P(SockTest, AGracefulCloseThatIsFloodedReadsNoMoreThanItWas) {
  open();
  const std::string flood(8 << 20, 'f');
  client.write(flood);
  server.write("last words");
  client.read(scope);
  scope.spawn(Side::closeNow(server, true, io, 64 << 10), io);
  ASSERT_TRUE(turnUntil([&] { return server.is_closed; }));
  // What was left unread makes the end a reset, which the rest of the flood runs into.
  EXPECT_TRUE(turnUntil([&] { return client.sock.isAborted(); }));
  EXPECT_EQ(client.text, "last words");
  client.sock.abort(connectionError(ErrorCode::cancelled, "done"));
  EXPECT_TRUE(turnUntil([&] { return !client.reading; }));
}

TEST_P(SockTest, ClosingEndsWhoeverWaits) {
  open();
  server.read(scope);
  turnFor(5);
  scope.spawn(Side::closeNow(server, false, io), io);
  ASSERT_TRUE(turnUntil([&] { return server.is_closed && !server.reading; }));
  EXPECT_TRUE(server.error.has_value());
}

TEST_P(SockTest, AnAbortReachesReaderAndDrainerWithItsReason) {
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

TEST_P(SockTest, DrainingEndsWhenAllHasLeftOrAtTheDeadline) {
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

TEST_P(SockTest, APeerThatVanishesIsALostConnection) {
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

TEST_P(SockTest, AnEndWithoutCloseNotifyIsNoEndForTls) {
  open();
  server.read(scope);
  client.write("half");
  ASSERT_TRUE(turnUntil([&] { return server.text == "half"; }));
  ::shutdown(client.sock.fd(), SHUT_WR);
  ASSERT_TRUE(turnUntil([&] { return !server.reading; }));
  EXPECT_EQ(server.ended, !GetParam().tls);
  EXPECT_EQ(server.error.has_value(), GetParam().tls);
}

TEST_P(SockTest, StopReadingEndsTheReaderAndOutputGoesOn) {
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

TEST_P(SockTest, AnIdleConnectionHoldsNoBufferAndNoBlock) {
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

TEST_P(SockTest, AConnectThatIsNotAnsweredEndsAtItsDeadline) {
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

TEST_P(SockTest, AHandshakeThatIsNotAnsweredEndsAtItsDeadline) {
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

// Eight receive buffers for everybody.
struct ScarceTest : SockTest {
  ScarceTest() : SockTest(8) {}
  // Somebody else has `count` of them. (With io_uring the kernel holds them, so that they are taken by receiving.)
  void take(uint32_t count) {
    while (buffers.lent() < count) {
      int both[2];
      ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
      fds.push_back(both[0]);
      fds.push_back(both[1]);
      hogs.push_back(std::make_unique<Recorder>(io, OpKind::recv, both[0]));
      hogs.back()->keeps = true;
      hogs.back()->submit();
      ASSERT_EQ(::send(both[1], "x", 1, 0), 1);
      ASSERT_TRUE(turnUntil([&] { return hogs.back()->text == "x"; }));
    }
    ASSERT_EQ(buffers.lent(), count);
  }
  void giveBack() {
    for (auto& hog : hogs) hog->giveBack();
  }
  void TearDown() override {
    for (auto& hog : hogs) {
      io.cancel(hog->op);
      EXPECT_TRUE(turnUntil([&] { return hog->ended; }));
    }
    for (int fd : fds) {
      Op close;
      close.kind = OpKind::close;
      close.fd = fd;
      io.submit(close);
    }
    SockTest::TearDown();
  }
  std::vector<int> fds;
  std::vector<std::unique_ptr<Recorder>> hogs;
};
INSTANTIATE_TEST_SUITE_P(Backends, ScarceTest,
                         testing::Values(Kind{IoKind::uring, false}, Kind{IoKind::uring, true},
                                         Kind{IoKind::epoll, false}, Kind{IoKind::epoll, true}),
                         kindName);

TEST_P(ScarceTest, SlowReadersDoNotTakeTheBuffersOfTheOthers) {
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
TEST_P(ScarceTest, ReadersThatStopDoNotKeepTheBuffersFromTheOthers) {
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
TEST_P(ScarceTest, WhoIsDoneReadingForNowHoldsNoReceiveBuffer) {
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

TEST_P(ScarceTest, AReaderForWhoseRecordThereIsNoBlockWaitsForOne) {
  if (!GetParam().tls) return;
  open();
  std::vector<void*> blocks;
  while (void* block = record_blocks.take()) blocks.push_back(block);
  server.read(scope);
  client.write("late");
  turnFor(30);
  EXPECT_EQ(server.text, "");
  EXPECT_TRUE(server.reading);
  for (void* block : blocks) record_blocks.give(block);
  EXPECT_TRUE(turnUntil([&] { return server.text == "late"; }));
  server.sock.stopReading();
  EXPECT_TRUE(turnUntil([&] { return !server.reading; }));
}

TEST_P(ScarceTest, WhenAllBuffersAreOutTheSocketWaitsWithoutTurningTheLoop) {
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
