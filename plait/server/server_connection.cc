// One client's connection: which protocol it speaks, its deadlines, and whether it moves.
#include <arpa/inet.h>
#include <netinet/in.h>

#include "plait/base/rare.h"
#include "plait/server/server.h"

namespace plait {

ServerConnection::ServerConnection(Server& server)
    : server_(server),
      sock_(server.io, server.send_blocks, server.sock_room, this),
      timer_(this, [](void* self) { static_cast<ServerConnection*>(self)->onTimer(); }) {
  sock_.leaveToOthers(server.limits.blocksLeftByClients());
}

void ServerConnection::expectBy(TimeNs deadline_ns) {
  deadline_ns_ = deadline_ns;
  schedule();
}

void ServerConnection::schedule() {
  TimeNs due = deadline_ns_;
  // An idle connection is looked at when its time is over, a busy one every now and then.
  if (due == never_ns || scope_.running() != 0) {
    const TimeNs interval = std::max<TimeNs>(server_.timeouts.stall_ms * ns_per_ms / 4, TimerWheel::tick_ns);
    due = std::min(due, server_.io.nowNs() + interval);
  }
  if (!timer_.isArmed() || due < timer_.due()) server_.io.arm(timer_, due);
}

void ServerConnection::lookSoon() {
  const TimeNs due = server_.io.nowNs() + 50 * ns_per_ms;
  if (!timer_.isArmed() || due < timer_.due()) server_.io.arm(timer_, due);
}

bool ServerConnection::isOutputMoving(TimeNs now_ns) {
  const bool has_unsent = sock_.unsent() != 0;
  // The kernel takes output in large steps, which a slow reader may need minutes for: what counts is what has arrived.
  const uint64_t taken = has_unsent ? sock_.bytesTaken() : sock_.bytesSent();
  // Output that the last look did not see has not waited since then.
  if (!has_unsent || !had_unsent_ || taken != taken_seen_) moved_ns_ = now_ns;
  had_unsent_ = has_unsent;
  taken_seen_ = taken;
  const int64_t stall_ns = server_.timeouts.stall_ms * ns_per_ms;
  if (!has_unsent) output_progress_.rest();
  if (has_unsent && output_progress_.isTooSlow(now_ns, taken, stall_ns, server_.limits.download_bytes_per_second))
    return false;
  return now_ns - moved_ns_ < stall_ns;
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
  if (H2Server* const h2 = this->h2()) {
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
    H1Server* const h1 = this->h1();
    if (H2Server* const h2 = this->h2()) {
      h2->onDeadline();
    } else if (h1 == nullptr || !h1->onDeadline()) {
      PLAIT_RARE("a client says nothing");
      abort(connectionError(ErrorCode::idle_timeout, "the client was silent for too long"));
    }
  } else if (!isOutputMoving(now_ns)) {
    server_.counters_.stalled_connections += 1;
    PLAIT_RARE("a client does not read");
    abort(connectionError(ErrorCode::stalled, "the client does not read what is sent to it"));
  } else if (room_waiter_ != nullptr && now_ns - room_waiter_->since_ns_ >= stall_ns) {
    server_.counters_.stalled_connections += 1;
    abort(connectionError(ErrorCode::stalled, "no memory for request bodies became free in time").as(Fault::no_memory));
  } else {
    if (H2Server* const h2 = this->h2()) h2->resetStalled(now_ns);
    if (H1Server* const h1 = this->h1()) h1->checkBody(now_ns);
    if (sock_.unsent() == 0) onOutputDrained();
    if (sock_.unsent() != 0) sock_.flushLater();
  }
  schedule();
}

void ServerConnection::abort(const Error& error) {
  if (!sock_.isAborted()) server_.noteFault(client_, error);
  sock_.abort(error);
  wakeForRoom();
  if (H1Server* const h1 = this->h1()) h1->onAborted(error);
}

bool ServerConnection::RoomAwaiter::await_ready() const {
  return !connection_.server_.uploadsAreShort() || connection_.sock_.isAborted();
}

void ServerConnection::RoomAwaiter::await_suspend(std::coroutine_handle<> handle) {
  PLAIT_ASSERT(connection_.room_waiter_ == nullptr);
  PLAIT_RARE("an upload waits for memory");
  handle_ = handle;
  connection_.room_waiter_ = this;
  since_ns_ = connection_.server_.io.nowNs();
  connection_.server_.counters_.upload_pauses += 1;
  connection_.server_.upload_waiters_.pushBack(*this);
}

void ServerConnection::RoomAwaiter::await_resume() {
  // There may be room for the next one too.
  connection_.server_.noteUploadRoom();
}

void ServerConnection::wakeForRoom() {
  if (room_waiter_ == nullptr) return;
  room_waiter_->node.unlink();
  server_.io.ready(std::exchange(room_waiter_, nullptr)->handle_);
}

void ServerConnection::onOutputDrained() {
  if (H2Server* const h2 = this->h2()) {
    h2->onOutputDrained();
  } else if (H1Server* const h1 = this->h1()) {
    h1->onOutputDrained();
  }
}

void ServerConnection::onPeerClosed() {
  if (H1Server* const h1 = this->h1()) h1->onPeerClosed();
}

void ServerConnection::drain() {
  if (H2Server* const h2 = this->h2()) {
    h2->drain();
  } else if (H1Server* const h1 = this->h1()) {
    h1->drain();
    // An idle connection has no response to say "close" with.
    if (h1->isIdle()) sock_.stopReading();
  } else {
    // A client that has connected in advance and says nothing is not waited for.
    expectBy(std::min(deadline_ns_, server_.io.nowNs() + ns_per_s));
  }
}

Task<bool> ServerConnection::greet(int fd, TlsContext* tls, bool tls_by_first_byte, BufferedInput& opening, Io& io) {
  sock_.adopt(fd);
  sockaddr_storage address{};
  if (sock_.peerAddress(address)) {
    const void* binary = address.ss_family == AF_INET6
                             ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr)
                             : &reinterpret_cast<const sockaddr_in&>(address).sin_addr;
    if (::inet_ntop(address.ss_family, binary, client_.address_text, sizeof(client_.address_text)) != nullptr) {
      client_.address_size = static_cast<uint8_t>(std::strlen(client_.address_text));
    }
  }
  const TimeNs hello_by_ns = io.nowNs() + server_.timeouts.client_header_ms * ns_per_ms;
  const auto helloBy = [&] {
    return server_.isDraining() ? std::min(hello_by_ns, io.nowNs() + ns_per_s) : hello_by_ns;
  };
  bool speaks_h2 = false;
  std::optional<Result<Bytes>> first;
  client_.is_tls = tls != nullptr;
  if (tls != nullptr && tls_by_first_byte) {
    expectBy(helloBy());
    first = co_await sock_.recv();
    expectBy(never_ns);
    // A handshake record begins with 22 (RFC 8446 §5.1), a control character with which no HTTP request does.
    client_.is_tls = *first && !(*first)->empty() && (**first)[0] == 22;
  }
  if (client_.is_tls) {
    first.reset();
    if (const Status secured = co_await sock_.startTls(*tls, {}, hello_by_ns, io); !secured) {
      const Error& error = secured.error();
      server_.noteFault(client_, error.code == ErrorCode::connect_timeout ? error.as(Fault::handshake_timeout) : error);
      co_await sock_.drain(io.nowNs() + 100 * ns_per_ms, io);
      co_await sock_.close(io);
      co_return false;
    }
    speaks_h2 = sock_.alpn() == "h2";
  }
  if (!first) {
    expectBy(helloBy());
    first = co_await sock_.recv();
    expectBy(never_ns);
  }
  if (!*first || (*first)->empty()) {
    co_await sock_.close(io);
    co_return false;
  }
  // "PRI" is no method of HTTP/1.1: whoever starts with it speaks HTTP/2 with prior knowledge (RFC 9113 §3.3). Less
  // than that can be the start of either.
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
    protocol_.emplace<H2Server>(*this);
  } else {
    protocol_.emplace<H1Server>(*this);
  }
  co_return true;
}

Task<void> ServerConnection::converse(BufferedInput&& opening, Io& io) {
  if (auto* const h2 = std::get_if<H2Server>(&protocol_)) return h2->run(std::move(opening), io);
  return std::get_if<H1Server>(&protocol_)->run(std::move(opening), io);
}

}  // namespace plait
