// One client's connection: which protocol it speaks, its deadlines, and whether it moves.
#include "plait/base/rare.h"
#include "plait/net/proxy_protocol.h"
#include "plait/server/own_answer.h"
#include "plait/server/server.h"

namespace plait {

static_assert(
    sizeof(ServerConnection) <= 952,
    "idle clients are many: with its slab's word this is an odd number of cache lines, and more would be two");

ServerConnection::ServerConnection(Server& server)
    : server_(server),
      sock_(server.io, server.send_blocks, server.sock_room, this),
      timer_(this, [](void* self) { static_cast<ServerConnection*>(self)->onTimer(); }) {
  sock_.leaveToOthers(server.loop_limits.blocksLeftByClients());
}

void ServerConnection::expectBy(TimeNs deadline_ns) {
  deadline_ns_ = deadline_ns;
  schedule();
}

void ServerConnection::schedule() {
  if (is_ending_) return;
  TimeNs due = deadline_ns_;
  // An idle connection is looked at when its time is over, a busy one every now and then.
  if (due == never_ns || scope_.running() != 0) {
    const TimeNs interval = std::max<TimeNs>(server_.timeouts.stall_ms * ns_per_ms / 4, TimerWheel::tick_ns);
    due = std::min(due, server_.io.nowNs() + interval);
  }
  if (!timer_.isArmed() || due < timer_.due()) server_.io.arm(timer_, due);
}

void ServerConnection::lookSoon() {
  if (is_ending_) return;
  const TimeNs due = server_.io.nowNs() + 50 * ns_per_ms;
  if (!timer_.isArmed() || due < timer_.due()) server_.io.arm(timer_, due);
}

// No coroutine: what it hands over lies in no frame of those that wait.
Task<void> ServerConnection::sayFarewell(Io& io, uint32_t unread_limit) {
  is_ending_ = !sock_.isAborted();
  timer_.cancel();
  deadline_ns_ = server_.io.nowNs();
  Task<void> farewell = sock_.closeGracefully({.stall_ms = server_.timeouts.stall_ms,
                                               .bytes_per_second = server_.limits.download_bytes_per_second,
                                               .linger_ms = linger_ms,
                                               .unread_limit = unread_limit},
                                              io);
  if (farewell) return farewell;
  return sock_.close(io);
}

void ServerConnection::setIdle() {
  if (is_leaving_ || is_idle_) return;
  is_idle_ = true;
  idle_since_ns_ = server_.io.nowNs();
  node.unlink();
  server_.idle_.pushBack(*this);
  if (server_.accept_paused_) server_.makeRoom();
}

void ServerConnection::setBusy() {
  if (!is_idle_) return;
  is_idle_ = false;
  node.unlink();
  server_.busy_.pushBack(*this);
}

void ServerConnection::evict() {
  PLAIT_RARE("an idle client has to go");
  setBusy();
  is_leaving_ = true;
  server_.leaving_ += 1;
  server_.counters_.connections_evicted += 1;
  server_.noteFault(
      client_, connectionError(ErrorCode::idle_timeout, "idle, and every connection is in use").as(Fault::evicted));
  if (is_ending_) return;
  if (H2Conversation* const h2 = this->h2()) {
    h2->endIdle();
  } else if (h1() != nullptr) {
    sock_.stopReading();
  } else {
    abort(connectionError(ErrorCode::idle_timeout, "idle, and every connection is in use"));
  }
}

void ServerConnection::onTimer() {
  if (sock_.isAborted()) return abort(connectionError(ErrorCode::connection_lost, "the connection broke"));
  const TimeNs now_ns = server_.io.nowNs();
  const TimeNs stall_ns = server_.timeouts.stall_ms * ns_per_ms;
  if (deadline_ns_ <= now_ns) {
    deadline_ns_ = never_ns;
    H1Conversation* const h1 = this->h1();
    if (H2Conversation* const h2 = this->h2()) {
      h2->onDeadline();
    } else if (h1 == nullptr || !h1->onDeadline()) {
      if (room_waiter_ != nullptr) {
        return abort(connectionError(ErrorCode::no_memory, "no place for a TLS handshake became free in time"));
      }
      PLAIT_RARE("a client says nothing");
      abort(connectionError(ErrorCode::idle_timeout, "the client was silent for too long"));
    }
  } else if (!output_.isMoving(sock_, now_ns, stall_ns, server_.limits.download_bytes_per_second)) {
    server_.counters_.stalled_connections += 1;
    PLAIT_RARE("a client does not read");
    abort(connectionError(ErrorCode::stalled, "the client does not read what is sent to it"));
  } else if (room_waiter_ != nullptr && now_ns - room_waiter_->sinceNs() >= stall_ns) {
    server_.counters_.stalled_connections += 1;
    abort(connectionError(ErrorCode::stalled, "no memory for request bodies became free in time").as(Fault::no_memory));
  } else {
    if (H2Conversation* const h2 = this->h2()) h2->resetStalled(now_ns);
    if (H1Conversation* const h1 = this->h1()) {
      h1->checkBody(now_ns);
      h1->watchEnd();
    }
    if (sock_.unsent() == 0) onOutputDrained();
    if (sock_.unsent() != 0) sock_.flushLater();
  }
  schedule();
}

void ServerConnection::abort(const Error& error) {
  if (!sock_.isAborted()) server_.noteFault(client_, error);
  sock_.abort(error);
  wakeForRoom();
  if (H1Conversation* const h1 = this->h1()) h1->onAborted(error);
}

void RoomWait::suspend(std::coroutine_handle<> handle) {
  PLAIT_ASSERT(connection_.room_waiter_ == nullptr);
  connection_.room_waiter_ = this;
  handle_ = handle;
  since_ns_ = connection_.server_.io.nowNs();
}

// A conversation waits for nothing but memory for uploads.
void ServerConnection::sortRoomWaiter() {
  server_.uploads.sort(*static_cast<UploadWait*>(room_waiter_), heldUpload());
}

size_t ServerConnection::heldUpload() {
  if (const H2Conversation* const h2 = this->h2()) return h2->heldUpload();
  const H1Conversation* const h1 = this->h1();
  return h1 == nullptr ? 0 : h1->heldUpload();
}

size_t ServerConnection::stuckUpload(TimeNs before_ns) {
  if (H2Conversation* const h2 = this->h2()) return h2->stuckUpload(before_ns);
  const H1Conversation* const h1 = this->h1();
  return h1 == nullptr ? 0 : h1->stuckUpload(before_ns);
}

void ServerConnection::endStuckUpload() {
  if (H2Conversation* const h2 = this->h2()) {
    h2->endStuckUpload();
  } else if (H1Conversation* const h1 = this->h1()) {
    h1->endStuckUpload();
  }
}

void ServerConnection::wakeForRoom() {
  if (room_waiter_ == nullptr) return;
  room_waiter_->node.unlink();
  server_.io.ready(std::exchange(room_waiter_, nullptr)->handle());
}

void ServerConnection::onOutputDrained() {
  if (H2Conversation* const h2 = this->h2()) {
    h2->onOutputDrained();
  } else if (H1Conversation* const h1 = this->h1()) {
    h1->onOutputDrained();
  }
}

void ServerConnection::onPeerClosed() {
  if (H1Conversation* const h1 = this->h1()) h1->onPeerClosed();
}

void ServerConnection::drain() {
  if (is_ending_) return;
  if (H2Conversation* const h2 = this->h2()) {
    h2->drain();
  } else if (H1Conversation* const h1 = this->h1()) {
    h1->drain();
    // An idle connection has no response to say "close" with.
    if (h1->isIdle()) expectBy(std::min(deadline_ns_, server_.io.nowNs() + drain_linger_ms * ns_per_ms));
  } else {
    // A client that has connected in advance and says nothing is not waited for.
    expectBy(std::min(deadline_ns_, server_.io.nowNs() + ns_per_s));
  }
}

// Whichever protocol the client meant to speak in the clear, this is text that a person will see.
void ServerConnection::answerText(const Error& why) {
  static constexpr std::string_view text = "This is a TLS port: use https:// instead of http://.";
  char id_text[http::RequestIds::size];
  const std::string_view id = server_.request_ids.next(id_text);
  http::RequestHead head;
  head.version = http::Version::http_1_1;
  const WrittenAnswer written({.status = 400, .text = text, .error = "http_request_error"}, head, id);
  if (!h1::writeResponseHead(sock_.output(), written.head(), {.close = true, .date = server_.date()}) ||
      !sock_.output().append(asBytes(written.body())))
    return;
  server_.counters_.requests_h1 += 1;
  server_.handler.onRejected({client_, head, 400, server_.io.nowNs(), why, id, written.body().size()});
}

ServerConnection::ProxyHeaderIs ServerConnection::takeProxyHeader(BufferedInput& opening) {
  const auto header = net::readProxyHeader(opening.bytes());
  if (!header) {
    server_.noteFault(client_, header.error());
    return ProxyHeaderIs::refused;
  }
  if (!*header) return ProxyHeaderIs::partial;
  // A connection of the balancer's own, or of a client without an address of IP, stays nobody's.
  if ((*header)->has_addresses && !server_.become(*this, Server::clientAt((*header)->source)))
    return ProxyHeaderIs::refused;
  // Whatever came behind the header came with its last bytes.
  opening.start(sock_.keepLast(opening.bytes().size() - (*header)->size));
  return ProxyHeaderIs::taken;
}

void ServerConnection::noteNoProxyHeader(const Result<bool>& end, const BufferedInput& opening) {
  if (end) {
    // Health checks connect, say nothing, and go.
    if (opening.empty()) return;
    return server_.noteFault(
        client_,
        connectionError(ErrorCode::protocol_error, "it ended within its PROXY header").as(Fault::proxy_header));
  }
  if (end.error().code == ErrorCode::no_memory) return server_.noteFault(client_, end.error());
  if (end.error().code != ErrorCode::idle_timeout || is_leaving_ || server_.isDraining()) return;
  server_.noteFault(
      client_,
      connectionError(ErrorCode::idle_timeout, "the PROXY header did not come in time").as(Fault::header_timeout));
}

Task<bool> ServerConnection::readProxyHeader(BufferedInput& opening, TimeNs by_ns, Io& io) {
  while (true) {
    expectBy(server_.isDraining() ? std::min(by_ns, io.nowNs() + ns_per_s) : by_ns);
    const auto more = co_await opening.more();
    expectBy(never_ns);
    if (!more || !*more) {
      noteNoProxyHeader(more, opening);
      co_return false;
    }
    const ProxyHeaderIs header = takeProxyHeader(opening);
    if (header != ProxyHeaderIs::partial) co_return header == ProxyHeaderIs::taken;
  }
}

Task<bool> ServerConnection::greet(const AcceptedClient& accepted, BufferedInput& opening, Io& io) {
  const ListenerTls& tls = accepted.tls;
  TimeNs hello_by_ns = io.nowNs() + server_.timeouts.client_header_ms * ns_per_ms;
  const auto helloBy = [&] {
    return server_.isDraining() ? std::min(hello_by_ns, io.nowNs() + ns_per_s) : hello_by_ns;
  };
  bool speaks_h2 = false;
  std::optional<Result<Bytes>> first;
  if (accepted.has_proxy_header) {
    if (!co_await readProxyHeader(opening, hello_by_ns, io)) {
      co_await sock_.close(io);
      co_return false;
    }
    if (!opening.empty()) first = std::exchange(opening.bytes(), {});
  }
  client_.is_tls = tls.context != nullptr;
  Handshake handshake(*this);
  if (tls.context != nullptr) {
    // Before anything is read: a client that waits holds no receive buffer.
    expectBy(helloBy());
    co_await handshake;
    expectBy(never_ns);
    if (sock_.isAborted()) {
      co_await sock_.close(io);
      co_return false;
    }
    hello_by_ns = io.nowNs() + server_.timeouts.client_header_ms * ns_per_ms;
  }
  if (tls.context != nullptr && tls.by_first_byte) {
    if (!first) {
      expectBy(helloBy());
      first = co_await sock_.recv();
      expectBy(never_ns);
    }
    // A handshake record begins with 22 (RFC 8446 §5.1), a control character with which no HTTP request does.
    client_.is_tls = *first && !(*first)->empty() && (**first)[0] == 22;
  }
  if (client_.is_tls) {
    first.reset();
    if (const Status secured = co_await sock_.startTls(*tls.context, {}, hello_by_ns, io); !secured) {
      Error error = secured.error();
      // Also where there is no coroutine frame for the handshake.
      error.reach = Reach::connection;
      server_.noteFault(client_, error.code == ErrorCode::connect_timeout ? error.as(Fault::handshake_timeout) : error);
      if (!sock_.isTls() && error.code != ErrorCode::no_memory) answerText(error);
      co_await sayFarewell(io, refused_unread_limit);
      co_return false;
    }
    speaks_h2 = sock_.alpn() == "h2";
  }
  handshake.end();
  if (!first) {
    expectBy(helloBy());
    first = co_await sock_.recv();
    expectBy(never_ns);
  }
  if (!*first || (*first)->empty()) {
    co_await sock_.close(io);
    co_return false;
  }
  // "PRI" is no method of HTTP/1.1: a client that starts with it speaks HTTP/2 with prior knowledge (RFC 9113 §3.3).
  // Less than that can be the start of either.
  opening.start(**first);
  while (!speaks_h2) {
    const std::string_view start = asText(opening.bytes()).substr(0, h2::client_preface.size());
    const bool may_be = h2::client_preface.starts_with(start);
    speaks_h2 = may_be && start.size() >= 3;
    if (speaks_h2 || !may_be) break;
    expectBy(helloBy());
    const auto more = co_await opening.more();
    expectBy(never_ns);
    if (!more || !*more) {
      co_await sock_.close(io);
      co_return false;
    }
  }
  if (speaks_h2) {
    protocol_.emplace<H2Conversation>(*this);
  } else {
    protocol_.emplace<H1Conversation>(*this);
  }
  co_return true;
}

Task<void> ServerConnection::converse(BufferedInput&& opening, Io& io) {
  if (auto* const h2 = std::get_if<H2Conversation>(&protocol_)) return h2->run(std::move(opening), io);
  return std::get_if<H1Conversation>(&protocol_)->run(std::move(opening), io);
}

}  // namespace plait
