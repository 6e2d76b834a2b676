// A server in this thread, its clients over loopback sockets, and a handler that does as the path says. For tests only.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <string>

#include "plait/h2/wire_test.h"
#include "plait/io/mailbox.h"
#include "plait/limits.h"
#include "plait/runtime/loop_memory.h"
#include "plait/server/server.h"

namespace plait::server_test {

using namespace h2::wire;
using h2::FrameType;
using h2::H2Error;
using h2::SettingId;
namespace flags = h2::flags;

// A request body that is read only while `is_open`.
struct Sink final : http::BodyConsumer {
  size_t onBody(Bytes bytes, bool last) override {
    if (!is_open) return 0;
    total += bytes.size();
    if (last) ended = true;
    return bytes.size();
  }
  bool onBodyEnd(const http::FieldList*) override {
    ended = true;
    return true;
  }
  void onBodyAborted(const Error& error) override { aborted = error.code; }
  void open(http::Pipe& pipe) {
    is_open = true;
    pipe.pump();
  }
  size_t total = 0;
  bool is_open = true;
  bool ended = false;
  ErrorCode aborted = ErrorCode::none;
};

//   /hello       a short text                     /empty    204
//   /big?N       N bytes                          /hold     "held", once `released` is set
//   /upload      reads its body, then "stored"    /closed   the same, but reads only once `released` is set
//   /open        a head at once; the body when it is pushed into `pushed`
//   /broken      a head, and a body that makes no sense before that has left; ?chunked one that only stops behind
//   "some",
//                ?length the same where "some" is all that was promised
struct TestHandler final : Handler {
  TestHandler(BlockSlab& blocks, http::HeaderSlab& headers) : stream_blocks(blocks), header_slab(headers) {}

  Task<void> handle(Exchange& exchange, Io& io) override {
    const std::string path(exchange.request().path);
    running += 1;
    if (path == "/hold") {
      while (!released && !exchange.cancelToken().isCancelled()) co_await sleepUntil(io.nowNs() + 10 * ns_per_ms, io);
      if (!exchange.cancelToken().isCancelled()) exchange.respond(200, "text/plain", "held");
    } else if (path == "/empty") {
      exchange.respond(204, "text/plain", "");
    } else if (path.starts_with("/big?")) {
      co_await big(exchange, std::stoul(path.substr(5)), io);
    } else if (path == "/open") {
      http::Pipe pipe(stream_blocks, header_slab);
      pushed = &pipe;
      alignas(8) uint8_t memory[64];
      http::ResponseHead head;
      head.status = 200;
      head.fields = http::FieldList(memory);
      exchange.sendHead(head, false);
      (void)co_await exchange.relay(pipe);
      pushed = nullptr;
    } else if (path.starts_with("/broken")) {
      http::Pipe pipe(stream_blocks, header_slab);
      alignas(8) uint8_t memory[64];
      http::ResponseHead head;
      head.status = 200;
      head.fields = http::FieldList(memory);
      if (path == "/broken?length") head.content_length = 4;
      if (path != "/broken") EXPECT_TRUE(pipe.push(asBytes("some"), false));
      exchange.sendHead(head, false);
      if (path == "/broken") {
        pipe.abort(connectionError(ErrorCode::protocol_error, "a chunk without a size"));
      } else {
        scope.spawn(stop(pipe, io), io);
      }
      (void)co_await exchange.relay(pipe);
    } else if (path == "/upload" || path == "/closed") {
      Sink sink;
      sink.is_open = path == "/upload" || released;
      http::Pipe& body = *exchange.requestBody();
      body.attach(sink);
      while (!sink.ended && sink.aborted == ErrorCode::none) {
        co_await sleepUntil(io.nowNs() + 10 * ns_per_ms, io);
        if (released && !sink.is_open) sink.open(body);
      }
      body.detach();
      stored += sink.total;
      last_abort = sink.aborted;
      if (sink.ended) exchange.respond(200, "text/plain", "stored");
    } else {
      exchange.respond(200, "text/plain", "hello");
    }
    if (http::Pipe* body = exchange.requestBody())
      body->cancel(streamError(ErrorCode::cancelled, "the answer is complete"));
    running -= 1;
    exchange.end();
  }

  static Task<void> stop(http::Pipe& pipe, Io&) {
    pipe.abort(streamError(ErrorCode::stream_reset, "the backend reset the stream"));
    co_return;
  }

  Task<void> big(Exchange& exchange, size_t size, Io&) {
    http::Pipe pipe(stream_blocks, header_slab);
    const std::string bytes(size, 'b');
    EXPECT_TRUE(pipe.push(asBytes(bytes), true));
    alignas(8) uint8_t memory[64];
    http::ResponseHead head;
    head.status = 200;
    head.content_length = http::unknown_length;
    head.fields = http::FieldList(memory);
    exchange.sendHead(head, false);
    relay_failed = !co_await exchange.relay(pipe);
  }

  BlockSlab& stream_blocks;
  http::HeaderSlab& header_slab;
  Scope scope;
  http::Pipe* pushed = nullptr;
  bool released = false;
  bool relay_failed = false;
  int running = 0;
  size_t stored = 0;
  ErrorCode last_abort = ErrorCode::none;
};

inline Limits smallLimits() {
  Limits limits;
  limits.exchanges = 64;
  limits.client_connections = 16;
  limits.upstream_connections = 16;
  limits.send_blocks = 512;
  limits.record_blocks = 16;
  limits.upload_pool_bytes = 4 << 20;
  limits.burst_pool_bytes = 8 << 20;
  limits.receive_buffers = 64;
  return limits;
}

struct World {
  explicit World(IoKind kind, const Limits& with = smallLimits(), const ServerTimeouts& timeouts = {})
      : limits(with),
        memory(withHeads(limits, 16)),
        backend(std::move(*makeBackend(kind, buffers, mailbox, nullptr))),
        io(*backend, buffers, {.frames = FrameCounts::evenly(512)}),
        handler(stream_blocks, headers),
        server(io, limits, limits, timeouts, handler, send_blocks, record_blocks, stream_blocks, headers) {
    reinterpret_cast<sockaddr_in&>(address) = {
        .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    EXPECT_TRUE(server.listen(address, nullptr));
  }
  ~World() {
    handler.released = true;
    if (!drained) drain();
    EXPECT_TRUE(turnUntil([&] { return drained; })) << "the server does not drain";
    EXPECT_EQ(handler.running, 0);
    EXPECT_EQ(server.h2_exchanges.used(), 0u);
    EXPECT_EQ(server.h1_exchanges.used(), 0u);
    EXPECT_EQ(server.uploads.blocks.used(), 0u);
    EXPECT_EQ(stream_blocks.used(), 0u);
    EXPECT_EQ(send_blocks.used(), 0u);
    EXPECT_EQ(buffers.lent(), 0u);
    EXPECT_EQ(io.frames().used(), 0u);
  }
  static Task<void> drainTask(World& world, Io& io) {
    co_await world.server.drain(io);
    world.drained = true;
  }
  void drain() {
    if (!draining) scope.spawn(drainTask(*this, io), io);
    draining = true;
  }
  bool turnUntil(const std::function<bool()>& done, int64_t bound_ms = 10'000) {
    const TimeNs end_ns = io.nowNs() + bound_ms * ns_per_ms;
    while (!done()) {
      if (io.nowNs() >= end_ns) return false;
      io.turn(io.nowNs() + 5 * ns_per_ms);
    }
    return true;
  }
  // Lets the loop run for a while: to show that something does not happen.
  void turnFor(int64_t ms) {
    (void)turnUntil([] { return false; }, ms);
  }

  // The same, with so many blocks for large heads.
  static Limits withHeads(Limits limits, uint32_t count) {
    limits.medium_header_blocks = limits.large_header_blocks = count;
    return limits;
  }

  Limits limits;
  LoopMemory memory;
  BufferPool& buffers = memory.buffers;
  BlockSlab& send_blocks = memory.send_blocks;
  BlockSlab& record_blocks = memory.record_blocks;
  BlockSlab& stream_blocks = memory.stream_blocks;
  http::HeaderSlab& headers = memory.headers;
  Mailbox mailbox;
  std::unique_ptr<IoBackend> backend;
  Io io;
  TestHandler handler;
  Server server;
  Scope scope;
  sockaddr_storage address{};
  bool draining = false;
  bool drained = false;
};

// One TCP connection. The bytes that it receives are collected whenever the test looks.
struct RawClient {
  explicit RawClient(World& served, int receive_buffer = 0)
      : world(served), fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer != 0) ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&world.address), sizeof(sockaddr_in)), 0);
  }
  ~RawClient() { close(); }
  void close() {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  // Sends all of it, while the server runs.
  void send(const Wire& bytes) { send(asText(Bytes(bytes))); }
  void send(std::string_view bytes) {
    EXPECT_TRUE(world.turnUntil([&] {
      const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
      return bytes.empty() || (sent < 0 && errno != EAGAIN);
    })) << "the server does not read";
  }
  void collect() {
    char buffer[65536];
    for (ssize_t got = 1; got > 0;) {
      got = ::recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
      if (got > 0) received.append(buffer, static_cast<size_t>(got));
      if (got == 0 || (got < 0 && errno != EAGAIN)) is_closed = true;
    }
  }
  bool sees(const std::function<bool()>& what, int64_t bound_ms = 10'000) {
    return world.turnUntil(
        [&] {
          collect();
          return what();
        },
        bound_ms);
  }
  bool seesText(std::string_view text) {
    return sees([&] { return received.find(text) != std::string::npos; });
  }

  World& world;
  int fd;
  std::string received;
  bool is_closed = false;
};

inline const Wire get_hello = Wire{0x82, 0x86, 0x01, 0x01, 'a'};

inline Wire requestBlock(std::string_view method, std::string_view path) {
  return field(":method", method) + Wire{0x86} + field(":path", path) + field(":authority", "a");
}
inline Wire get(uint32_t id, std::string_view path) {
  return frame(FrameType::headers, flags::end_headers | flags::end_stream, id, requestBlock("GET", path));
}
inline Wire post(uint32_t id, std::string_view path, const Wire& more = {}) {
  return frame(FrameType::headers, flags::end_headers, id, requestBlock("POST", path) + more);
}
inline Wire data(uint32_t id, size_t size, bool end = false) {
  return frame(FrameType::data, end ? flags::end_stream : uint8_t{0}, id, Wire(size, 'u'));
}

// A client that speaks frames and keeps the windows that the server gives it.
struct H2Client : RawClient {
  explicit H2Client(World& served, const Wire& own_settings = frame(FrameType::settings, 0, 0), int receive_buffer = 0)
      : RawClient(served, receive_buffer) {
    send(text(h2::client_preface) + own_settings);
  }
  // All frames so far.
  std::vector<Sent>& frames() {
    collect();
    while (received.size() >= h2::frame_header_size) {
      const h2::FrameHeader header = h2::FrameHeader::parse(reinterpret_cast<const uint8_t*>(received.data()));
      const size_t size = h2::frame_header_size + header.length;
      if (received.size() < size) break;
      seen.push_back(
          {header, Wire(received.begin() + h2::frame_header_size, received.begin() + static_cast<ptrdiff_t>(size))});
      received.erase(0, size);
      const Sent& one = seen.back();
      if (header.type == FrameType::window_update) windows[header.stream_id] += loadBe32(one.payload.data());
      if (header.type == FrameType::ping && (header.flags & flags::ack) == 0 && answers_pings) {
        (void)::send(fd, frame(FrameType::ping, flags::ack, 0, one.payload).data(), 17, MSG_NOSIGNAL);
      }
    }
    return seen;
  }
  const Sent* find(FrameType type, uint32_t id) {
    for (const Sent& one : frames()) {
      if (one.header.type == type && one.header.stream_id == id) return &one;
    }
    return nullptr;
  }
  size_t count(FrameType type) {
    size_t found = 0;
    for (const Sent& one : frames()) found += one.header.type == type;
    return found;
  }
  std::string body(uint32_t id) {
    std::string bytes;
    for (const Sent& one : frames()) {
      if (one.header.type == FrameType::data && one.header.stream_id == id) bytes += asText(Bytes(one.payload));
    }
    return bytes;
  }
  bool hasEnded(uint32_t id) {
    for (const Sent& one : frames()) {
      if (one.header.stream_id == id && (one.header.flags & flags::end_stream) != 0 &&
          (one.header.type == FrameType::data || one.header.type == FrameType::headers)) {
        return true;
      }
    }
    return false;
  }
  bool seesEnd(uint32_t id) {
    return world.turnUntil([&] { return hasEnded(id); });
  }
  bool seesReset(uint32_t id, H2Error code) {
    return world.turnUntil([&] {
      const Sent* reset = find(FrameType::rst_stream, id);
      return reset != nullptr && loadBe32(reset->payload.data()) == static_cast<uint32_t>(code);
    });
  }
  // Sends `size` bytes on an open stream within the windows that the server gives.
  void upload(uint32_t id, size_t size, bool end) {
    EXPECT_TRUE(tryUpload(id, size, end)) << "the server gives no window";
  }
  bool tryUpload(uint32_t id, size_t size, bool end, int64_t bound_ms = 10'000) {
    if (!windows.contains(id)) windows[id] += 65'535;
    size_t left = size;
    return world.turnUntil(
        [&] {
          frames();
          while (left != 0) {
            const int64_t count = std::min<int64_t>({static_cast<int64_t>(left), 16'384, windows[0], windows[id]});
            if (count <= 0) return false;
            left -= static_cast<size_t>(count);
            windows[0] -= count;
            windows[id] -= count;
            send(data(id, static_cast<size_t>(count), end && left == 0));
          }
          return true;
        },
        bound_ms);
  }

  std::vector<Sent> seen;
  std::map<uint32_t, int64_t> windows{{0, 65'535}};
  bool answers_pings = true;
};

struct ServerTest : testing::TestWithParam<IoKind> {};

inline std::string backendName(const testing::TestParamInfo<IoKind>& info) {
  return info.param == IoKind::uring ? "uring" : "epoll";
}

}  // namespace plait::server_test
