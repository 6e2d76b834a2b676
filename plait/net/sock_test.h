// Sockets over the loopback, plain and with TLS, on both backends. For tests only.
#pragma once

#include "plait/io/io_test.h"
#include "plait/net/tls_test_certs.h"
#include "plait/net/ultra_sock.h"

namespace plait::sock_test {

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
  static Task<void> closeNow(Side& side, bool gracefully, Io& task_io, uint32_t unread_limit = UINT32_MAX,
                             int64_t stall_ms = 60'000) {
    if (gracefully) {
      co_await side.sock.closeGracefully({.stall_ms = stall_ms, .linger_ms = 500, .unread_limit = unread_limit},
                                         task_io);
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
        io(*backend, buffers, {.frames = FrameCounts::evenly(256)}) {}
  ~Loop() {
    EXPECT_EQ(io.frames().used(), 0u);
    EXPECT_EQ(io.vectorArrays().used(), 0u);
    EXPECT_EQ(buffers.lent(), 0u);
    EXPECT_EQ(send_blocks.used(), 0u);
    EXPECT_EQ(record_blocks.used(), 0u);
    EXPECT_EQ(sock_room.tls_pumps.used(), 0u);
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

inline std::string kindName(const testing::TestParamInfo<Kind>& info) {
  return std::string(info.param.io == IoKind::uring ? "uring" : "epoll") + (info.param.tls ? "Tls" : "Plain");
}

inline auto allKinds() {
  return testing::Values(Kind{IoKind::uring, false}, Kind{IoKind::uring, true}, Kind{IoKind::epoll, false},
                         Kind{IoKind::epoll, true});
}
inline auto tlsKinds() {
  return testing::Values(Kind{IoKind::uring, true}, Kind{IoKind::epoll, true});
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

}  // namespace plait::sock_test
