// A backend for the tests of pool and cluster: it says what a test wants it to say. It lives in the pool's event loop
// and uses the pool's memory, or, where that matters, those of a World of its own (runBoth).
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "plait/client/pool.h"
#include "plait/io/mailbox.h"
#include "plait/io/sync.h"
#include "plait/limits.h"
#include "plait/net/resolver.h"

namespace plait {

// The parts that a worker would own, small.
struct World {
  explicit World(IoKind kind) {
    limits.exchanges = 512;
    limits.upstream_connections = 64;
    auto made = makeBackend(kind, buffers, mailbox, &resolver);
    PLAIT_ASSERT(made.has_value());
    backend = std::move(*made);
    io.emplace(*backend, buffers, IoConfig{.frames = FrameCounts::evenly(4096)});
  }
  // Turns the loop until `done`; false when that takes longer than `at_most_ms`.
  bool runUntil(const std::function<bool()>& done, int64_t at_most_ms = 10'000) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(at_most_ms);
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io->turn(io->nowNs() + 2 * ns_per_ms);
    }
    return true;
  }

  Limits limits;
  PoolTimeouts timeouts;
  Resolver resolver;
  BufferPool buffers{64, 16 * 1024};
  Mailbox mailbox;
  BlockSlab send_blocks{16 * 1024, 512};
  BlockSlab record_blocks{17 * 1024, 64};
  SockRoom sock_room{record_blocks, 64};
  BlockSlab stream_blocks{4096, 4096};
  http::HeaderSlab headers{2048, 64, 64};
  std::unique_ptr<IoBackend> backend;
  std::optional<Io> io;
};

// Turns two loops, as if they were two processes, until `done`; false when that takes longer than `at_most_ms`.
inline bool runBoth(World& one, World& other, const std::function<bool()>& done, int64_t at_most_ms = 10'000) {
  return one.runUntil(
      [&] {
        other.io->turn(other.io->nowNs() + ns_per_ms);
        return done();
      },
      at_most_ms);
}

class FakeBackend {
 public:
  struct Behaviour {
    enum class Speaks : uint8_t { h2, http1, nothing };
    Speaks speaks = Speaks::h2;
    uint32_t max_streams = 128;
    uint32_t refuse = 0;         // that many streams are refused at first
    uint32_t goaway_after = 0;   // after that many requests of a connection, GOAWAY that covers them
    uint32_t reset_with = 0;     // answers with RST_STREAM of this code
    uint32_t hang_up_after = 0;  // closes instead of answering that many requests
    uint32_t garbage_after = 0;  // says what is no frame instead of answering that many requests
    uint32_t status = 200;
    bool answers = true;             // else streams stay open until answerAll()
    bool holds_body = false;         // of an answer the head is sent, and the end by answerAll()
    bool hangs_up_on_reuse = false;  // closes a connection instead of answering a second request on it
    bool is_mute = false;            // HTTP/2 is read, and nothing said
    bool reads = true;               // else nothing is read after the first request
    bool echoes = true;              // else a tunnel is silent
    int64_t pause_ms = 0;            // between two reads of a tunnel
  };

  explicit FakeBackend(World& world) : world_(world) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address_);
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    Op listen;
    listen.kind = OpKind::listen;
    listen.address = &address_;
    world.io->submit(listen);
    PLAIT_ASSERT(listen.result >= 0);
    accept_.kind = OpKind::accept;
    accept_.fd = listen.result;
    accept_.owner = this;
    accept_.on_complete = [](void* self, const Completion& completion) {
      auto* backend = static_cast<FakeBackend*>(self);
      if (completion.result >= 0) backend->onAccept(completion.result);
    };
    world.io->submit(accept_);
  }
  ~FakeBackend() {
    hangUp();
    stopListening();
    EXPECT_TRUE(world_.runUntil([&] { return scope_.running() == 0; }));
  }
  // New connections are refused from now on; those that there are stay.
  void stopListening() {
    if (accept_.fd < 0) return;
    world_.io->cancel(accept_);
    EXPECT_TRUE(world_.runUntil([&] { return !accept_.armed; }));
    Op close;
    close.kind = OpKind::close;
    close.fd = std::exchange(accept_.fd, -1);
    world_.io->submit(close);
  }

  uint16_t port() const { return ntohs(reinterpret_cast<const sockaddr_in&>(address_).sin_port); }
  BackendOptions options(BackendProtocol protocol = BackendProtocol::h2c) const {
    BackendOptions made;
    made.name = "fake";
    made.protocol = protocol;
    made.host = "127.0.0.1";
    made.port = port();
    return made;
  }
  // From now on the kernel keeps little for a backend that does not read.
  void keepLittle() {
    const int bytes = 32 << 10;
    PLAIT_ASSERT(::setsockopt(accept_.fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) == 0);
  }
  // Closes every connection from this side.
  void hangUp() {
    for (Peer& peer : peers_) peer.sock.abort(connectionError(ErrorCode::shutting_down, "the test hangs up"));
  }

  // Ends every answer that is owed.
  void answerAll() {
    for (Peer& peer : peers_) {
      for (const Peer::Owed& owed : std::exchange(peer.owed, {})) finish(peer, owed);
      peer.sock.flushLater();
    }
  }

  // In the order in which the connections came.
  std::vector<uint32_t> requestsByConnection() const {
    std::vector<uint32_t> counts;
    for (const Peer& peer : peers_) counts.push_back(peer.requests);
    return counts;
  }

  Behaviour behaviour;
  uint32_t connections = 0;  // ever
  uint32_t open = 0;         // now
  uint32_t requests = 0;
  uint32_t executed = 0;  // requests that were not refused
  uint32_t resets = 0;
  uint32_t goaways = 0;
  size_t tunnelled = 0;  // bytes

 private:
  struct Peer final : UltraSock::Owner {
    explicit Peer(FakeBackend& owner)
        : backend(owner),
          sock(*owner.world_.io, owner.world_.send_blocks, owner.world_.sock_room, this),
          session(h2::Role::server, sock.output(), owner.scratch(), owner.config_) {}
    void onOutputDrained() override {}
    FakeBackend& backend;
    UltraSock sock;
    h2::Session session;
    std::list<h2::Stream> streams;
    uint32_t requests = 0;
    bool is_tunnel = false;  // gives back what it gets
    struct Owed {
      h2::Stream* stream;  // null over HTTP/1.1
      bool is_begun;       // the head has been sent
    };
    std::vector<Owed> owed;
  };

  void onAccept(int fd) {
    connections += 1;
    open += 1;
    scope_.spawn(serve(*this, peers_.emplace_back(*this), fd, *world_.io), *world_.io);
  }

  static Task<void> serve(FakeBackend& backend, Peer& peer, int fd, Io& io) {
    peer.sock.adopt(fd);
    if (backend.behaviour.speaks == Behaviour::Speaks::h2) {
      peer.session.start();
      if (!backend.behaviour.is_mute) peer.sock.flushLater();
    }
    bool goes_on = true;
    while (goes_on) {
      auto bytes = co_await peer.sock.recv();
      if (!bytes || bytes->empty()) break;
      goes_on = backend.behaviour.speaks == Behaviour::Speaks::h2 ? backend.onH2(peer, *bytes)
                                                                  : backend.onHttp1(peer, *bytes);
      if (backend.behaviour.is_mute) continue;
      peer.sock.flushLater();
      if (peer.is_tunnel && backend.behaviour.pause_ms != 0)
        co_await sleepUntil(io.nowNs() + backend.behaviour.pause_ms * ns_per_ms, io);
      while (goes_on && !backend.behaviour.reads && peer.requests != 0 && !peer.sock.isAborted()) {
        co_await sleepUntil(io.nowNs() + 10 * ns_per_ms, io);
      }
    }
    co_await peer.sock.drain(io.nowNs() + ns_per_s, io);
    co_await peer.sock.close(io);
    for (h2::Stream& stream : peer.streams) peer.session.release(stream);
    backend.open -= 1;
    backend.peers_.remove_if([&](const Peer& other) { return &other == &peer; });
  }

  bool onHttp1(Peer& peer, Bytes bytes) {
    const std::string_view text = asText(bytes);
    if (peer.is_tunnel) {
      tunnelled += bytes.size();
      if (behaviour.echoes) PLAIT_ASSERT(peer.sock.output().append(bytes));
      return true;
    }
    const bool is_request = !text.starts_with("PRI ");
    if (behaviour.speaks == Behaviour::Speaks::nothing && !is_request) return true;
    if (!is_request) {
      say(peer, "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
      return false;
    }
    requests += 1;
    peer.requests += 1;
    if (!hasToAnswer(peer)) return false;
    executed += 1;
    peer.is_tunnel = text.find("websocket") != std::string_view::npos;
    if (peer.is_tunnel) {
      say(peer, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    } else {
      begin(peer, nullptr);
    }
    return true;
  }

  // False where the connection ends instead.
  bool hasToAnswer(const Peer& peer) {
    if (behaviour.hangs_up_on_reuse && peer.requests > 1) return false;
    if (behaviour.hang_up_after == 0) return true;
    behaviour.hang_up_after -= 1;
    executed += 1;
    return false;
  }

  void begin(Peer& peer, h2::Stream* stream) {
    if (behaviour.answers) sayHead(peer, stream, !behaviour.holds_body);
    if (behaviour.answers && !behaviour.holds_body) {
      end(peer, stream);
    } else {
      peer.owed.push_back({stream, behaviour.answers});
    }
  }
  void finish(Peer& peer, const Peer::Owed& owed) {
    if (!owed.is_begun) {
      sayHead(peer, owed.stream, true);
    } else if (owed.stream != nullptr) {
      PLAIT_ASSERT(peer.session.sendEnd(*owed.stream));
    }
    end(peer, owed.stream);
  }
  void sayHead(Peer& peer, h2::Stream* stream, bool is_whole) {
    const std::string status = std::to_string(behaviour.status);
    if (stream == nullptr) return say(peer, "HTTP/1.1 " + status + " \r\ncontent-length: 2\r\n\r\n");
    peer.session.beginHeaders();
    peer.session.addField(http::FieldName::pseudo_status, status);
    peer.session.endHeaders(*stream, is_whole);
  }
  void end(Peer& peer, h2::Stream* stream) {
    if (stream == nullptr) return say(peer, "ok");
    peer.session.release(*stream);
  }
  static void say(Peer& peer, std::string_view text) { PLAIT_ASSERT(peer.sock.output().append(asBytes(text))); }

  bool onH2(Peer& peer, Bytes bytes) {
    h2::Event event;
    while (true) {
      if (!peer.session.next(bytes, event, 0)) return false;
      switch (event.kind) {
        case h2::Event::Kind::none:
          return true;
        case h2::Event::Kind::request:
          if (!onRequest(peer, event)) return false;
          break;
        case h2::Event::Kind::stream_error:
          resets += 1;
          if (event.stream != nullptr) {
            std::erase_if(peer.owed, [&](const Peer::Owed& owed) { return owed.stream == event.stream; });
            peer.session.release(*event.stream);
          }
          break;
        case h2::Event::Kind::data:
          peer.session.credit(event.stream, event.data.size());
          break;
        case h2::Event::Kind::goaway:
          goaways += 1;
          break;
        default:
          break;
      }
    }
  }

  bool onRequest(Peer& peer, const h2::Event& event) {
    requests += 1;
    peer.requests += 1;
    if (behaviour.refuse != 0) {
      behaviour.refuse -= 1;
      peer.session.refuse(event.stream_id, h2::H2Error::refused_stream);
      return true;
    }
    h2::Stream& stream = peer.streams.emplace_back();
    peer.session.accept(stream);
    if (!hasToAnswer(peer)) return false;
    executed += 1;
    if (behaviour.garbage_after != 0) {
      behaviour.garbage_after -= 1;
      PLAIT_ASSERT(peer.sock.output().append(asBytes(std::string_view("no frame has this length"))));
      return true;
    }
    if (behaviour.reset_with != 0) {
      peer.session.sendReset(stream, static_cast<h2::H2Error>(behaviour.reset_with));
      peer.session.release(stream);
      return true;
    }
    begin(peer, &stream);
    if (behaviour.goaway_after != 0 && peer.requests == behaviour.goaway_after) {
      peer.session.refuseAbove(event.stream_id);
      peer.session.sendGoaway(event.stream_id, h2::H2Error::no_error);
    }
    return true;
  }

  // Made with what `behaviour` says when the first connection comes.
  h2::SessionScratch& scratch() {
    if (scratch_ == nullptr) {
      config_.max_concurrent_streams = behaviour.max_streams;
      scratch_ = std::make_unique<h2::SessionScratch>(64, world_.headers.ofClass(2));
    }
    return *scratch_;
  }

  World& world_;
  h2::SessionConfig config_;
  std::unique_ptr<h2::SessionScratch> scratch_;
  sockaddr_storage address_{};
  Op accept_;
  std::list<Peer> peers_;
  Scope scope_;
};

}  // namespace plait
