#include "plait/net/ultra_sock.h"

#include <algorithm>
#include <cerrno>

#include "plait/base/rare.h"

namespace plait {
namespace {

Error lost(int32_t result) {
  return connectionError(ErrorCode::connection_lost,
                         result == 0 ? "the peer closed the connection" : "the connection broke",
                         static_cast<uint32_t>(-result));
}

}  // namespace

Error connectFailure(int32_t result) {
  const auto detail = static_cast<uint32_t>(-result);
  switch (-result) {
    case EMFILE:
    case ENFILE:
      return backendError(ErrorCode::no_descriptor, "no file descriptor is left for a connection to a backend", detail);
    case ENOMEM:
    case ENOBUFS:
      return backendError(ErrorCode::no_memory, "the kernel has no memory left for a connection to a backend", detail);
    case EADDRNOTAVAIL:
    case EAGAIN:
      return backendError(ErrorCode::no_local_port, "no local address and port is free for a connection to a backend",
                          detail);
    default:
      return backendError(ErrorCode::connect_failed, "the connection was refused or the host cannot be reached",
                          detail);
  }
}

UltraSock::UltraSock(Io& io, BlockSlab& send_blocks, SockRoom& sock_room, Owner* owner)
    : io_(io),
      owner_(owner),
      sock_room_(sock_room),
      output_(send_blocks),
      input_(this,
             [](void* self, const Completion& completion) { static_cast<UltraSock*>(self)->onRecv(completion); }) {}

UltraSock::~UltraSock() {
  PLAIT_ASSERT(fd_ < 0 && isLetGo() && tls_ == nullptr);
}

bool UltraSock::onBuffer() {
  armRecv();
  return input_.isArmed();
}

Task<Status> UltraSock::connect(const ResolveAnswer& addresses, TimeNs deadline_ns, Io& io) {
  Error last = backendError(ErrorCode::connect_failed, "the name has no address");
  for (uint32_t i = 0; i < addresses.count; ++i) {
    // Each address gets its share of the time that is left, so that one that swallows packets leaves time for the next.
    const TimeNs left = deadline_ns - io.nowNs();
    if (left <= 0) co_return fail(backendError(ErrorCode::connect_timeout, "no connection within the connect timeout"));
    sockaddr_storage address = addresses.addresses[i];
    Op op;
    op.kind = OpKind::connect;
    op.address = &address;
    struct Limit {
      Io& io;
      Op& op;
      bool passed;
    } limit{io, op, false};
    Timer timer(&limit, [](void* self) {
      auto* passed = static_cast<Limit*>(self);
      passed->passed = true;
      passed->io.cancel(passed->op);
    });
    io.arm(timer, io.nowNs() + left / (addresses.count - i));
    const int32_t result = co_await OpAwaiter(op, io);
    timer.cancel();
    if (result >= 0) {
      input_.setToBackend();
      adopt(result);
      co_return Status();
    }
    const Error failure = limit.passed
                              ? backendError(ErrorCode::connect_timeout, "no connection within the connect timeout")
                              : connectFailure(result);
    // A machine without IPv6 has no local address for some of a name's addresses: what the others say counts.
    if (failure.code == ErrorCode::no_local_port && i != 0) continue;
    last = failure;
    if (failure.code == ErrorCode::no_descriptor || failure.code == ErrorCode::no_memory) break;
  }
  co_return fail(last);
}

void UltraSock::adopt(int fd) {
  PLAIT_ASSERT(fd_ < 0);
  fd_ = fd;
  input_.open(fd);
  armRecv();
}

Task<Status> UltraSock::startTls(TlsContext& context, std::string_view server_name, TimeNs deadline_ns, Io& io,
                                 AlpnOffer offer) {
  context.rotateTicketKeys(io.nowNs());
  tls_ = sock_room_.tls_pumps.create(
      context, output_, sock_room_.record_blocks, server_name, offer,
      [](void* self) { static_cast<UltraSock*>(self)->lookAgain(); }, this);
  PLAIT_ASSERT(tls_ != nullptr);  // there is one for every socket
  Deadline deadline(*this);
  deadline.arm(deadline_ns);
  // A record begins with its type, of which none is a printable character (RFC 8446 §5.1).
  const auto isText = [&] { return input_.current(io_).front() >= ' ' && input_.current(io_).front() < 0x7f; };
  const auto refuseText = [&] {
    endTls();
    output_.queue().spareOfBlock(0);
    return fail(connectionError(ErrorCode::tls_failed, "text was sent where TLS is spoken"));
  };
  bool is_first = context.isServer();
  if (const Bytes begun = input_.current(io_); !begun.empty()) {
    if (std::exchange(is_first, false) && isText()) co_return refuseText();
    tls_->feed(begun);
  }
  const auto abortion = [&] {
    // The peer's answer may have come and found no buffer to be read into.
    if (deadline.has_passed && tookNoBuffer())
      return connectionError(ErrorCode::no_memory, "no receive buffer became free for the TLS handshake");
    return deadline.has_passed ? connectionError(ErrorCode::connect_timeout, "the TLS handshake took too long")
                               : error_;
  };
  while (true) {
    auto step = tls_->session().handshake();
    if (!tls_->cipher().empty()) flushLater();
    if (!step) co_return fail(step.error());
    if (*step == TlsSession::Step::done) break;
    if (*step == TlsSession::Step::want_key) {
      doneReading();
      const Status loaded = co_await waitForKey(io);
      if (isAborted()) co_return fail(abortion());
      if (!loaded && loaded.error().code == ErrorCode::no_memory) co_return fail(loaded.error());
      if (!loaded) tls_->session().refuseKey();
      continue;
    }
    releaseCurrent();
    while (!nextBuffer()) {
      if (isAborted()) co_return fail(abortion());
      if (input_.end() <= 0) co_return fail(lost(input_.end()));
      co_await Wait(*this, WaitsFor::received);
    }
    if (std::exchange(is_first, false) && isText()) co_return refuseText();
    tls_->feed(input_.current(io_));
  }
  if (!tls_->session().hasUnread()) releaseCurrent();
  co_return Status();
}

// A coroutine of its own: nearly all handshakes find their key, and need no room for this.
Task<Status> UltraSock::waitForKey(Io& io) {
  TlsSession& session = tls_->session();
  net::KeyWait wait(*session.context().certificates(), session.site());
  const int32_t result = co_await OpAwaiter(wait.op, io);
  if (result == 0) co_return Status();
  co_return fail(connectionError(ErrorCode::tls_failed, "the site's private key could not be loaded"));
}

UltraSock::Deadline::Deadline(UltraSock& limited)
    : sock(limited), timer(this, [](void* self) {
        auto* deadline = static_cast<Deadline*>(self);
        deadline->has_passed = true;
        deadline->sock.abort(connectionError(ErrorCode::deadline_exceeded, "the deadline passed"));
      }) {}

UltraSock::FarewellWatch::FarewellWatch(UltraSock& watched, const Farewell& said)
    : sock(watched), farewell(said), timer(this, [](void* self) { static_cast<FarewellWatch*>(self)->look(); }) {
  look();
}

void UltraSock::FarewellWatch::look() {
  const TimeNs now_ns = sock.io_.nowNs();
  const int64_t stall_ns = farewell.stall_ms * ns_per_ms;
  if (!output.isMoving(sock, now_ns, stall_ns, farewell.bytes_per_second)) {
    PLAIT_RARE("last words are not taken");
    return sock.abort(connectionError(ErrorCode::stalled, "the peer does not take what is said to it at the end"));
  }
  sock.io_.arm(timer, now_ns + std::max<TimeNs>(stall_ns / 4, TimerWheel::tick_ns));
}

bool OutputWatch::isMoving(UltraSock& sock, TimeNs now_ns, int64_t stall_ns, uint32_t bytes_per_second) {
  if (sock.unsent() == 0) {
    moved_ns_ = 0;
    progress_.rest();
    return true;
  }
  // The kernel takes output in large steps, for which a slow reader may need minutes: only bytes that have arrived
  // count.
  const uint64_t taken = sock.bytesTaken();
  if (moved_ns_ == 0 || taken != taken_) moved_ns_ = std::max<TimeNs>(now_ns, 1);
  taken_ = taken;
  return !progress_.isTooSlow(now_ns, taken, stall_ns, bytes_per_second) && now_ns - moved_ns_ < stall_ns;
}

void UltraSock::doneReading() {
  if (!isTls()) return releaseCurrent();
  tls_->giveRecord();
  TlsSession& session = tls_->session();
  if (!session.hasUnread()) return releaseCurrent();
  // Records that nobody asks for yet, of pipelined requests for example, are no reason to keep a receive buffer either.
  if (!input_.moveCurrent(session.unread(), output_.queue(), sock_room_, io_)) return;
  PLAIT_RARE("records that nobody reads are kept elsewhere");
  session.moved(input_.current(io_));
}

Bytes UltraSock::keepLast(size_t count) {
  PLAIT_ASSERT(!isTls());
  if (count == 0) {
    releaseCurrent();
    return {};
  }
  input_.keepLast(count, io_);
  input_.moveCurrent(count, output_.queue(), sock_room_, io_);
  return input_.current(io_);
}

void UltraSock::stopReading() {
  input_.stop();
  wakeReader();
}

void UltraSock::onRecv(const Completion& completion) {
  switch (input_.take(completion, demand(), output_.queue(), sock_room_, io_)) {
    case SockInput::Taken::bytes:
      break;
    case SockInput::Taken::no_room:
      abort(connectionError(ErrorCode::no_memory, "no block is left for what was received"));
      break;
    case SockInput::Taken::no_buffer:
      if (isAborted()) break;
      found_no_buffer_ = true;
      io_.buffers().wait(*this, input_.isToBackend());
      break;
    case SockInput::Taken::end:
      // The kernel reports a reset once. Where a send was told of it, the bytes that have arrived are followed by an
      // end that looks like one in good order.
      if (input_.end() == 0 && output_.failure() == -ECONNRESET) input_.endWith(output_.failure());
      // If this socket was woken for a buffer, it did not need it: the next one may.
      io_.buffers().wakeWaiter();
      break;
  }
  if (waits_for_ == WaitsFor::let_go) {
    if (isLetGo()) wakeWaiter(WaitsFor::let_go);
    return;
  }
  wakeReader();
  if (!completion.more) {
    input_.noteDisarmed(completion);
    armRecv();
  }
  if (input_.end() <= 0 && owner_ != nullptr) owner_->onPeerClosed();
}

void UltraSock::wakeReader() {
  // A part of a TLS record is nothing to read yet: the receiver is woken only when its result is there.
  if (receiver_ != nullptr && tryRecv(receiver_->result_)) io_.ready(std::exchange(receiver_, nullptr)->handle_);
  wakeWaiter(WaitsFor::received);
}

bool UltraSock::tryEnd(std::optional<Result<Bytes>>& result) {
  if (input_.end() == SockInput::receiving) return false;
  input_.noteEndTold();
  if (input_.end() == 0) {
    result.emplace(Bytes());
  } else {
    result.emplace(fail(lost(input_.end())));
  }
  return true;
}

bool UltraSock::tryRecv(std::optional<Result<Bytes>>& result) {
  if (isAborted()) {
    result.emplace(fail(error_));
    return true;
  }
  if (input_.reading() == SockInput::Reading::stopped) {
    result.emplace(Bytes());
    return true;
  }
  if (isTls()) return tryRecvTls(result);
  releaseCurrent();
  if (!nextBuffer()) return tryEnd(result);
  result.emplace(input_.current(io_));
  return true;
}

bool UltraSock::tryRecvTls(std::optional<Result<Bytes>>& result) {
  while (true) {
    const TlsPump::Read read = tls_->read(result, io_);
    if (!tls_->cipher().empty()) flushLater();  // answers of TLS itself: key updates, alerts
    if (read == TlsPump::Read::needs_block) return false;
    if (read == TlsPump::Read::done) {
      if (tls_->session().atEnd()) input_.noteEndTold();
      return true;
    }
    releaseCurrent();
    if (!nextBuffer()) {
      // An idle connection holds no plaintext block either.
      tls_->giveRecord();
      // The end of TCP without close_notify is an aborted connection, not an ended one (RFC 8446 §6.1).
      if (input_.end() == 0) {
        result.emplace(fail(lost(0)));
        return true;
      }
      return tryEnd(result);
    }
    tls_->feed(input_.current(io_));
  }
}

void UltraSock::lookAgain() {
  wakeReader();
  if (unsent() != 0) flushLater();
}

void UltraSock::flush() {
  if (output_.isSending() || fd_ < 0 || (isAborted() && closing_ != Closing::alert)) return;
  if (output_.failure() != 0) dropOutput();
  if (isTls() && tls_->session().hasFailed()) {
    // Nothing can be encrypted any more, but the alert may still have to leave.
    output_.drop();
  } else if (isTls()) {
    if (const Status encrypted = tls_->encrypt(); !encrypted) return abort(encrypted.error());
  }
  if (output_end_ == OutputEnd::wanted && output_.empty()) {
    if (isTls()) tls_->session().closeNotify();
    output_end_ = OutputEnd::notified;
  }
  const size_t bytes = send(isTls() ? tls_->cipher() : output_.queue());
  if (bytes == 0) {
    if (output_end_ == OutputEnd::notified) {
      output_end_ = OutputEnd::shut;
      Op op;
      op.kind = OpKind::shutdown;
      op.fd = fd_;
      io_.submit(op);
    }
    if (!output_.empty()) {
      // There is no block to encrypt the output into, and nothing under way will free one. Nothing has drained.
      PLAIT_RARE("output waits for a block to encrypt it into");
      tls_->retryLater(io_);
      return;
    }
    wakeWaiter(WaitsFor::drained);
    return;
  }
  if (!isTls()) output_.noteOffered(bytes);
}

size_t UltraSock::send(const ByteQueue& wire) {
  return output_.send(
      wire, fd_, this,
      [](void* self, const Completion& completion) { static_cast<UltraSock*>(self)->onSent(completion); }, sock_room_,
      io_);
}

void UltraSock::onSent(const Completion& completion) {
  output_.endSend(sock_room_, io_);
  if (waits_for_ == WaitsFor::let_go) {
    if (isLetGo()) wakeWaiter(WaitsFor::let_go);
    return;
  }
  if (completion.result < 0) return onSendFailed(completion.result);
  if (isTls()) {
    tls_->cipher().consume(static_cast<size_t>(completion.result));
    tls_->note();
  } else {
    output_.noteTaken(completion.result);
  }
  output_.noteSent(completion.result);
  if (unsent() < low_water_ && owner_ != nullptr) owner_->onOutputDrained();
  flush();
}

// Only the output is lost. Bytes that the peer sent before it hung up are worth more than the failed send. They are in
// the kernel, which hands them out before it reports the end, even where a reset followed them: the reader finds both
// by itself.
void UltraSock::onSendFailed(int32_t result) {
  PLAIT_RARE("a send fails");
  output_.noteFailed(result);
  dropOutput();
  wakeWaiter(WaitsFor::drained);
  // After any other failure it is not certain that an end would come.
  const bool comes_to_its_end = result == -EPIPE || result == -ECONNRESET;
  if (comes_to_its_end && input_.end() == SockInput::receiving) return armRecv();
  // An end in good order that waits to be read stays one.
  if (input_.end() == 0 && input_.reading() != SockInput::Reading::end_told) return;
  if (input_.end() >= 0) input_.endWith(result);
  input_.cancel(io_);
  if (!input_.hasPending()) abort(lost(result));
  wakeReader();
  if (owner_ != nullptr) owner_->onPeerClosed();
}

void UltraSock::dropOutput() {
  output_.drop();
  if (isTls()) tls_->cipher().clear();
}

void UltraSock::endOutput() {
  if (output_end_ != OutputEnd::open) return;
  output_end_ = OutputEnd::wanted;
  flushLater();
}

void UltraSock::abort(const Error& error) {
  if (!isAborted()) error_ = error;
  wakeReader();
  wakeWaiter(WaitsFor::drained);
}

Task<void> UltraSock::drain(TimeNs deadline_ns, Io& io) {
  Deadline deadline(*this);
  deadline.arm(deadline_ns);
  while (unsent() != 0 && !isAborted() && io.nowNs() < deadline_ns) {
    flushLater();
    co_await Wait(*this, WaitsFor::drained);
  }
  if (unsent() != 0 && !isAborted()) abort(connectionError(ErrorCode::deadline_exceeded, "the deadline passed"));
}

Task<void> UltraSock::closeGracefully(Farewell farewell, Io& io) {
  if (!isAborted() && fd_ >= 0) {
    input_.discard(farewell.unread_limit);
    input_.cancel(io);
    input_.clear(sock_room_, io);
    endOutput();
    if (FarewellWatch watch(*this, farewell); true) {
      while (!isAborted() && output_end_ != OutputEnd::shut) {
        flushLater();
        co_await Wait(*this, WaitsFor::drained);
      }
    }
    Deadline deadline(*this);
    deadline.arm(io.nowNs() + farewell.linger_ms * ns_per_ms);
    while (!isAborted() && input_.end() == SockInput::receiving) co_await Wait(*this, WaitsFor::received);
  }
  co_await close(io);
}

// Says the alert, and FIN behind it. Bytes that are left unread would make close() a reset, which takes the alert away
// from a peer that is still sending: they are read, within bounds, until the peer ends.
Task<void> UltraSock::sayAlert(Io& io) {
  struct Limit {
    UltraSock& sock;
    bool has_passed = false;
  } limit{*this};
  Timer timer(&limit, [](void* self) {
    auto& passed = *static_cast<Limit*>(self);
    passed.has_passed = true;
    passed.sock.wakeWaiter(WaitsFor::drained);
    passed.sock.wakeWaiter(WaitsFor::received);
  });
  io.arm(timer, io.nowNs() + alert_linger_ns);
  closing_ = Closing::alert;
  owner_ = nullptr;
  input_.discard(alert_unread_limit);
  input_.cancel(io);
  input_.clear(sock_room_, io);
  endOutput();
  while (!limit.has_passed && output_end_ != OutputEnd::shut && output_.failure() == 0) {
    flushLater();
    co_await Wait(*this, WaitsFor::drained);
  }
  if (output_end_ == OutputEnd::shut) {
    // The peer's time begins when the alert has left, which after a stop of this process may be just now.
    limit.has_passed = false;
    io.arm(timer, io.nowNs() + alert_linger_ns);
  }
  while (!limit.has_passed && output_.failure() == 0 && input_.end() == SockInput::receiving) {
    co_await Wait(*this, WaitsFor::received);
  }
  flush_node.unlink();
}

Task<void> UltraSock::close(Io& io, LastFrame) {
  if (isTls()) tls_->cancelRetry();
  flush_node.unlink();
  abort(connectionError(ErrorCode::cancelled, "the socket is closed"));
  if (buffer_node.isLinked()) {
    buffer_node.unlink();
  } else {
    io_.buffers().wakeWaiter();
  }
  const bool owes_alert = isTls() && tls_->session().hasAlerted() && fd_ >= 0 && output_.failure() == 0 &&
                          output_end_ != OutputEnd::shut && closing_ != Closing::reset;
  if (owes_alert) co_await sayAlert(io);
  if (closing_ == Closing::notify && isTls() && input_.end() == SockInput::receiving && output_.failure() == 0 &&
      !output_.isSending() && unsent() == 0) {
    tls_->session().closeNotify();
    // A socket that has room takes it before it hears of the cancellation.
    send(tls_->cipher());
  }
  input_.cancel(io);
  output_.cancelSend(io);
  if (!isLetGo()) co_await Wait(*this, WaitsFor::let_go);
  input_.clear(sock_room_, io);
  output_.queue().clear();
  endTls();
  if (fd_ >= 0) {
    Op op;
    op.kind = OpKind::close;
    op.reset_on_close = closing_ == Closing::reset;
    op.fd = fd_;
    io.submit(op);
    fd_ = -1;
  }
}

}  // namespace plait
