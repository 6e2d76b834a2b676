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

UltraSock::UltraSock(Io& io, BlockSlab& send_blocks, SockRoom& sock_room, Owner* owner)
    : io_(io), owner_(owner), sock_room_(sock_room), output_(send_blocks) {
  recv_op_.kind = OpKind::recv;
  recv_op_.owner = this;
  recv_op_.on_complete = [](void* self, const Completion& completion) {
    static_cast<UltraSock*>(self)->onRecv(completion);
  };
}

UltraSock::~UltraSock() {
  PLAIT_ASSERT(fd_ < 0 && isLetGo() && tls_ == nullptr && spilled_ == nullptr);
}

bool UltraSock::onBuffer() {
  armRecv();
  return recv_op_.armed;
}

Task<Status> UltraSock::connect(const ResolveAnswer& addresses, TimeNs deadline_ns, Io& io) {
  Error last = backendError(ErrorCode::connect_failed, "the name has no address");
  for (uint32_t i = 0; i < addresses.count; ++i) {
    // Each address gets its share of what is left, so that one that swallows packets leaves time for the next.
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
      adopt(result);
      co_return Status();
    }
    last = limit.passed
               ? backendError(ErrorCode::connect_timeout, "no connection within the connect timeout")
               : backendError(ErrorCode::connect_failed, "the connection was refused or the host cannot be reached",
                              static_cast<uint32_t>(-result));
  }
  co_return fail(last);
}

void UltraSock::adopt(int fd) {
  PLAIT_ASSERT(fd_ < 0);
  fd_ = recv_op_.fd = fd;
  armRecv();
}

Task<Status> UltraSock::startTls(TlsContext& context, std::string_view server_name, TimeNs deadline_ns, Io& io,
                                 AlpnOffer offer) {
  context.rotateTicketKeys(io.nowNs());
  tls_ = sock_room_.tls_parts.create(
      context, output_.blocks(), server_name, offer, [](void* self) { static_cast<UltraSock*>(self)->wakeReader(); },
      this);
  PLAIT_ASSERT(tls_ != nullptr);  // there is one for every socket
  tls_->cipher.leaveToOthers(output_.leftToOthers());
  Deadline deadline(*this);
  deadline.arm(deadline_ns);
  if (const Bytes begun = currentBytes(); !begun.empty()) tls_->session.feed(begun);
  while (true) {
    auto step = tls_->session.handshake();
    if (!tls_->cipher.empty()) flushLater();
    if (!step) co_return fail(step.error());
    if (*step == TlsSession::Step::done) break;
    releaseCurrent();
    while (!nextBuffer()) {
      if (isAborted()) {
        if (deadline.has_passed)
          co_return fail(connectionError(ErrorCode::connect_timeout, "the TLS handshake took too long"));
        co_return fail(error_);
      }
      if (receive_end_ <= 0) co_return fail(lost(receive_end_));
      co_await Wait(*this, WaitsFor::received);
    }
    tls_->session.feed(currentBytes());
  }
  if (!tls_->session.hasUnread()) releaseCurrent();
  co_return Status();
}

UltraSock::Deadline::Deadline(UltraSock& limited)
    : sock(limited), timer(this, [](void* self) {
        auto* deadline = static_cast<Deadline*>(self);
        deadline->has_passed = true;
        deadline->sock.abort(connectionError(ErrorCode::deadline_exceeded, "the deadline passed"));
      }) {}

void UltraSock::endTls() {
  if (tls_ == nullptr) return;
  if (tls_->record != nullptr) sock_room_.record_blocks.give(tls_->record);
  sock_room_.tls_parts.destroy(std::exchange(tls_, nullptr));
}

uint32_t UltraSock::pendingLimit() const {
  if (careful_) return isBeingRead() ? 1 : 0;
  return isBeingRead() || !io_.buffers().isShort() ? max_pending_buffers : 0;
}

bool UltraSock::isFull() const {
  return pending_count_ >= pendingLimit() || spilled_ != nullptr;
}

void UltraSock::armRecv() {
  if (discards_ && (output_end_ != OutputEnd::shut || discards_left_ == 0)) return;
  if (recv_op_.armed || receive_end_ != 1 || fd_ < 0 || isAborted() || buffer_node.isLinked()) return;
  if (isFull()) return;
  recv_op_.single = careful_ || io_.buffers().isShort();
  recv_op_.bulk = is_bulk_;
  io_.submit(recv_op_);
}

void UltraSock::doneReading() {
  if (!isTls()) return releaseCurrent();
  if (tls_->record != nullptr) sock_room_.record_blocks.give(std::exchange(tls_->record, nullptr));
  if (!tls_->session.hasUnread()) return releaseCurrent();
  // Records that nobody asks for yet, as those of pipelined requests, are as little a reason to keep a receive buffer.
  if (current_ < 0 || first_pending_ >= 0 || spilled_ != nullptr || !io_.buffers().isShort()) return;
  if (!appendSpilled(currentBytes().last(tls_->session.unread()))) return;
  PLAIT_RARE("records that nobody reads are kept elsewhere");
  releaseCurrent();
  lendSpilled();
  tls_->session.moved(currentBytes());
}

void UltraSock::stopReading() {
  reading_stopped_ = true;
  wakeReader();
}

void UltraSock::onRecv(const Completion& completion) {
  if (completion.buffer_id >= 0) {
    const auto id = static_cast<uint32_t>(completion.buffer_id);
    if (discards_) {
      io_.buffers().giveBack(id);
      discards_left_ -= std::min(discards_left_, static_cast<uint32_t>(completion.result));
      if (discards_left_ == 0) {
        PLAIT_RARE("a flood is not read to its end");
        if (completion.more) io_.cancel(recv_op_);
      }
    } else if (!spill(id, static_cast<size_t>(completion.result))) {
      io_.buffers().chained(id) = {static_cast<uint32_t>(completion.result), -1};
      if (last_pending_ < 0) {
        first_pending_ = static_cast<int16_t>(id);
      } else {
        io_.buffers().chained(static_cast<uint32_t>(last_pending_)).next = completion.buffer_id;
      }
      last_pending_ = static_cast<int16_t>(id);
      pending_count_ += 1;
    }
    noteFilled(static_cast<uint32_t>(completion.result) == io_.buffers().bufferSize());
    // A reader that does not keep up stops the kernel here, and its peer by TCP's own window.
    if (completion.more && (isFull() || is_bulk_ != recv_op_.bulk)) io_.cancel(recv_op_);
  } else if (completion.result == -ENOBUFS) {
    PLAIT_RARE("no receive buffer is left");
    // Those for bulk are few, and others may have them for long: whoever found none takes what everybody takes, and
    // waits only where there is nothing of that either.
    const bool was_bulk = recv_op_.bulk;
    endBulk();
    if (!isAborted() && !was_bulk) io_.buffers().wait(*this);
  } else {
    if (completion.result != -ECANCELED && completion.result != -EINTR)
      receive_end_ = static_cast<int16_t>(completion.result);
    // Should this socket have been woken for a buffer, it did not need it.
    io_.buffers().wakeWaiter();
  }
  if (waits_for_ == WaitsFor::let_go) {
    if (isLetGo()) wakeWaiter(WaitsFor::let_go);
    return;
  }
  wakeReader();
  if (!completion.more) {
    // Whoever reads has taken everything by the turn after; the others are given no more than they ask for.
    if (pending_count_ > 1 && completion.buffer_id < 0) careful_ = true;
    if (pending_count_ > max_pending_buffers) endBulk();
    armRecv();
  }
  if (receive_end_ <= 0 && owner_ != nullptr) owner_->onPeerClosed();
}

// Where buffer after buffer comes filled, many at once are received with less work. Between two of them there may be
// one that is not.
void UltraSock::noteFilled(bool is_filled) {
  if (!is_filled) careful_ = false;
  bulk_score_ = static_cast<uint8_t>(std::clamp(bulk_score_ + (is_filled ? 1 : -2), 0, most_bulk_score));
  if (bulk_score_ == 0) is_bulk_ = false;
  if (bulk_score_ == most_bulk_score) is_bulk_ = true;
}

void UltraSock::endBulk() {
  is_bulk_ = false;
  bulk_score_ = 0;
}

void UltraSock::wakeReader() {
  // A part of a TLS record is nothing to read yet: the receiver is woken only with its result in hand.
  if (receiver_ != nullptr && tryRecv(receiver_->result_)) io_.ready(std::exchange(receiver_, nullptr)->handle_);
  wakeWaiter(WaitsFor::received);
}

bool UltraSock::spill(uint32_t buffer_id, size_t size) {
  if (spilled_ == nullptr && (isBeingRead() || !io_.buffers().isShort())) return false;
  if (!appendSpilled({io_.buffers().data(buffer_id), size})) {
    // Behind what is spilled nothing can be kept but here: the stream would have a gap.
    if (spilled_ == nullptr) return false;
    abort(connectionError(ErrorCode::no_memory, "no block is left for what was received"));
  }
  PLAIT_RARE("what arrives is kept elsewhere");
  io_.buffers().giveBack(buffer_id);
  return true;
}

bool UltraSock::appendSpilled(Bytes bytes) {
  if (spilled_ == nullptr) {
    spilled_ = sock_room_.spilled.create(output_.blocks());
    PLAIT_ASSERT(spilled_ != nullptr);  // there is one for every socket
    spilled_->leaveToOthers(output_.leftToOthers());
  }
  if (spilled_->append(bytes)) return true;
  if (spilled_->empty()) sock_room_.spilled.destroy(std::exchange(spilled_, nullptr));
  return false;
}

// Gives the reader the next of what is spilled, and returns how much that is.
uint32_t UltraSock::lendSpilled() {
  spilled_lent_ = spilled_ == nullptr ? 0 : static_cast<uint32_t>(spilled_->front().size());
  return spilled_lent_;
}

Bytes UltraSock::currentBytes() const {
  if (spilled_lent_ != 0) return spilled_->front().first(spilled_lent_);
  if (current_ < 0) return {};
  const auto id = static_cast<uint32_t>(current_);
  return {io_.buffers().data(id), io_.buffers().chained(id).size};
}

void UltraSock::releaseCurrent() {
  if (spilled_lent_ != 0) {
    spilled_->consume(std::exchange(spilled_lent_, 0));
    if (spilled_->empty()) {
      sock_room_.spilled.destroy(std::exchange(spilled_, nullptr));
      armRecv();
    }
  }
  if (current_ < 0) return;
  io_.buffers().giveBack(static_cast<uint32_t>(current_));
  current_ = -1;
}

bool UltraSock::nextBuffer() {
  PLAIT_ASSERT(current_ < 0 && spilled_lent_ == 0);
  if (first_pending_ < 0) {
    return lendSpilled() != 0;
  }
  current_ = first_pending_;
  first_pending_ = static_cast<int16_t>(io_.buffers().chained(static_cast<uint32_t>(current_)).next);
  if (first_pending_ < 0) last_pending_ = -1;
  pending_count_ -= 1;
  armRecv();
  return true;
}

bool UltraSock::tryEnd(std::optional<Result<Bytes>>& result) {
  if (receive_end_ == 1) return false;
  if (receive_end_ == 0) {
    result.emplace(Bytes());
  } else {
    result.emplace(fail(lost(receive_end_)));
  }
  return true;
}

bool UltraSock::tryRecv(std::optional<Result<Bytes>>& result) {
  if (isAborted()) {
    result.emplace(fail(error_));
    return true;
  }
  if (reading_stopped_) {
    result.emplace(Bytes());
    return true;
  }
  if (isTls()) return tryRecvTls(result);
  releaseCurrent();
  if (!nextBuffer()) return tryEnd(result);
  result.emplace(currentBytes());
  return true;
}

bool UltraSock::tryRecvTls(std::optional<Result<Bytes>>& result) {
  while (true) {
    if (tls_->session.atEnd()) {
      result.emplace(Bytes());
      return true;
    }
    BlockSlab& record_blocks = sock_room_.record_blocks;
    uint8_t*& record = tls_->record;
    if (record == nullptr) record = static_cast<uint8_t*>(record_blocks.take());
    if (record == nullptr) {
      PLAIT_RARE("a reader waits for a block for a record");
      io_.arm(tls_->record_timer, io_.nowNs() + TimerWheel::tick_ns);
      return false;
    }
    auto size = tls_->session.read({record, record_blocks.blockSize()});
    if (!tls_->cipher.empty()) flushLater();  // answers of TLS itself: key updates, alerts
    if (!size) {
      result.emplace(fail(size.error()));
      return true;
    }
    if (*size != 0) {
      result.emplace(Bytes(record, *size));
      return true;
    }
    if (tls_->session.atEnd()) continue;
    releaseCurrent();
    if (!nextBuffer()) {
      // An idle connection holds no plaintext block either.
      record_blocks.give(std::exchange(record, nullptr));
      // The end of TCP without close_notify is an aborted connection, not an ended one (RFC 8446 §6.1).
      if (receive_end_ == 0) {
        result.emplace(fail(lost(0)));
        return true;
      }
      return tryEnd(result);
    }
    tls_->session.feed(currentBytes());
  }
}

bool UltraSock::encrypt() {
  while (!output_.empty() && tls_->cipher.size() < max_cipher_bytes) {
    auto taken = tls_->session.write(output_.front());
    if (!taken) {
      abort(taken.error());
      return false;
    }
    if (*taken == 0) break;
    output_.consume(*taken);
    consumed_ += *taken;
    offered_ahead_ = 0;
  }
  return true;
}

void UltraSock::flush() {
  if (sending_ != nullptr || isAborted() || fd_ < 0) return;
  if (isTls() && !encrypt()) return;
  if (output_end_ == OutputEnd::wanted && output_.empty()) {
    if (isTls()) tls_->session.closeNotify();
    output_end_ = OutputEnd::notified;
  }
  const size_t bytes = send(isTls() ? tls_->cipher : output_);
  if (bytes == 0) {
    if (output_end_ == OutputEnd::notified) {
      output_end_ = OutputEnd::shut;
      Op op;
      op.kind = OpKind::shutdown;
      op.fd = fd_;
      io_.submit(op);
    }
    if (!output_.empty() && owner_ != nullptr) owner_->onStarved();
    wakeWaiter(WaitsFor::drained);
    return;
  }
  if (!isTls()) offered_ahead_ = static_cast<int32_t>(bytes);
}

static_assert(Io::max_vectors <= UINT8_MAX, "Op::vector_count has a byte");

// Begins to send what is in `wire`, as far as one send takes it, and returns how much that is.
size_t UltraSock::send(const ByteQueue& wire) {
  if (wire.empty()) return 0;
  Sending& sending = *(sending_ = sock_room_.sendings.create());  // there is one for every socket
  Op& op = sending.op;
  op.kind = OpKind::send;
  op.fd = fd_;
  op.owner = this;
  op.on_complete = [](void* self, const Completion& completion) { static_cast<UltraSock*>(self)->onSent(completion); };
  op.vectors = &sending.vector;
  size_t count = wire.gather({&sending.vector, 1});
  size_t bytes = sending.vector.iov_len;
  if (bytes != wire.size()) sending.vectors = static_cast<iovec*>(io_.vectorArrays().take());
  if (sending.vectors != nullptr) {
    op.vectors = sending.vectors;
    count = wire.gather({sending.vectors, Io::max_vectors});
    bytes = 0;
    for (size_t i = 0; i < count; ++i) bytes += sending.vectors[i].iov_len;
  }
  op.vector_count = static_cast<uint8_t>(count);
  io_.submit(op);
  return bytes;
}

void UltraSock::endSend() {
  if (sending_->vectors != nullptr) io_.vectorArrays().give(sending_->vectors);
  sock_room_.sendings.destroy(std::exchange(sending_, nullptr));
}

void UltraSock::onSent(const Completion& completion) {
  endSend();
  if (waits_for_ == WaitsFor::let_go) {
    if (isLetGo()) wakeWaiter(WaitsFor::let_go);
    return;
  }
  if (completion.result < 0) {
    // What the peer said before it closed may still be waiting to be read, and is worth more than our failed send:
    // the reader finds the end by itself. Only the output is lost.
    PLAIT_RARE("a send fails");
    consumed_ += output_.size();
    offered_ahead_ -= static_cast<int32_t>(output_.size());
    output_.clear();
    if (isTls()) tls_->cipher.clear();
    if (first_pending_ < 0 && spilled_ == nullptr) abort(lost(completion.result));
    wakeWaiter(WaitsFor::drained);
    return;
  }
  (isTls() ? tls_->cipher : output_).consume(static_cast<size_t>(completion.result));
  if (!isTls()) {
    consumed_ += static_cast<uint64_t>(completion.result);
    offered_ahead_ -= completion.result;
  }
  bytes_sent_ += static_cast<uint64_t>(completion.result);
  if (unsent() < low_water_ && owner_ != nullptr) owner_->onOutputDrained();
  flush();
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

bool UltraSock::peerAddress(sockaddr_storage& address) {
  Op op;
  op.kind = OpKind::peer;
  op.fd = fd_;
  op.address = &address;
  io_.submit(op);
  return op.result == 0;
}

uint64_t UltraSock::bytesTaken() {
  Op op;
  op.kind = OpKind::untaken;
  op.fd = fd_;
  io_.submit(op);
  const auto untaken = static_cast<uint64_t>(std::max(op.result, 0));
  // What a send has put there without having completed is not among the bytes sent.
  taken_ = std::max(taken_, bytes_sent_ - std::min(bytes_sent_, untaken));
  return taken_;
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

Task<void> UltraSock::closeGracefully(TimeNs drained_by_ns, int64_t linger_ms, Io& io, uint32_t unread_limit) {
  if (!isAborted() && fd_ >= 0) {
    discards_ = true;
    discards_left_ = unread_limit;
    io.cancel(recv_op_);
    releaseCurrent();
    while (nextBuffer()) releaseCurrent();
    endOutput();
    Deadline deadline(*this);
    deadline.arm(drained_by_ns);
    while (!isAborted() && output_end_ != OutputEnd::shut) {
      flushLater();
      co_await Wait(*this, WaitsFor::drained);
    }
    deadline.arm(io.nowNs() + linger_ms * ns_per_ms);
    while (!isAborted() && receive_end_ == 1) co_await Wait(*this, WaitsFor::received);
  }
  co_await close(io);
}

Task<void> UltraSock::close(Io& io) {
  if (isTls()) tls_->record_timer.cancel();
  flush_node.unlink();
  abort(connectionError(ErrorCode::cancelled, "the socket is closed"));
  if (buffer_node.isLinked()) {
    buffer_node.unlink();
  } else {
    io_.buffers().wakeWaiter();
  }
  if (notifies_on_close_ && isTls() && receive_end_ == 1 && sending_ == nullptr && unsent() == 0) {
    tls_->session.closeNotify();
    // A socket that has room takes it before it hears of the cancellation.
    send(tls_->cipher);
  }
  io.cancel(recv_op_);
  if (sending_ != nullptr) io.cancel(sending_->op);
  if (!isLetGo()) co_await Wait(*this, WaitsFor::let_go);
  releaseCurrent();
  while (nextBuffer()) releaseCurrent();
  output_.clear();
  endTls();
  if (fd_ >= 0) {
    Op op;
    op.kind = OpKind::close;
    op.reset_on_close = resets_on_close_;
    op.fd = fd_;
    io.submit(op);
    fd_ = -1;
  }
}

}  // namespace plait
