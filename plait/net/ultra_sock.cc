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

UltraSock::UltraSock(Io& io, BlockSlab& send_blocks, BlockSlab& record_blocks, Owner* owner)
    : io_(io),
      owner_(owner),
      record_blocks_(record_blocks),
      output_(send_blocks),
      cipher_(send_blocks),
      spilled_(send_blocks),
      deadline_timer_(this,
                      [](void* self) {
                        auto* sock = static_cast<UltraSock*>(self);
                        sock->deadline_passed_ = true;
                        sock->abort(connectionError(ErrorCode::deadline_exceeded, "the deadline passed"));
                      }),
      record_timer_(this, [](void* self) { static_cast<UltraSock*>(self)->wakeReader(); }) {
  recv_op_.kind = OpKind::recv;
  recv_op_.owner = this;
  recv_op_.on_complete = [](void* self, const Completion& completion) {
    static_cast<UltraSock*>(self)->onRecv(completion);
  };
  send_op_.kind = OpKind::send;
  send_op_.owner = this;
  send_op_.on_complete = [](void* self, const Completion& completion) {
    static_cast<UltraSock*>(self)->onSent(completion);
  };
  flush_node_.owner = this;
  flush_node_.flush = [](void* self) { static_cast<UltraSock*>(self)->flush(); };
  buffer_waiter_.owner = this;
  buffer_waiter_.on_buffer = [](void* self) {
    auto* sock = static_cast<UltraSock*>(self);
    sock->armRecv();
    return sock->recv_op_.armed;
  };
}

UltraSock::~UltraSock() {
  PLAIT_ASSERT(fd_ < 0 && !recv_op_.armed && !send_op_.armed);
  flush_node_.node.unlink();
  buffer_waiter_.node.unlink();
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
  fd_ = recv_op_.fd = send_op_.fd = fd;
  armRecv();
}

Task<Status> UltraSock::startTls(TlsContext& context, std::string_view server_name, TimeNs deadline_ns, Io& io,
                                 AlpnOffer offer) {
  context.rotateTicketKeys(io.nowNs());
  tls_.emplace(context, cipher_, server_name, offer);
  armDeadline(deadline_ns);
  if (const Bytes begun = currentBytes(); !begun.empty()) tls_->feed(begun);
  while (true) {
    auto step = tls_->handshake();
    if (!cipher_.empty()) flushLater();
    if (!step) co_return fail(step.error());
    if (*step == TlsSession::Step::done) break;
    releaseCurrent();
    while (!nextBuffer()) {
      if (error_) {
        if (deadline_passed_)
          co_return fail(connectionError(ErrorCode::connect_timeout, "the TLS handshake took too long"));
        co_return fail(*error_);
      }
      if (receive_end_ <= 0) co_return fail(lost(receive_end_));
      co_await ReceiveWait(*this);
    }
    tls_->feed(currentBytes());
  }
  deadline_timer_.cancel();
  if (!tls_->hasUnread()) releaseCurrent();
  co_return Status();
}

void UltraSock::armDeadline(TimeNs deadline_ns) {
  deadline_passed_ = false;
  io_.arm(deadline_timer_, deadline_ns);
}

uint32_t UltraSock::pendingLimit() const {
  const bool is_read = receiver_ != nullptr || reader_;
  if (careful_) return is_read ? 1 : 0;
  return is_read || !io_.buffers().isShort() ? max_pending_buffers : 0;
}

bool UltraSock::isFull() const {
  return pending_count_ >= pendingLimit() || !spilled_.empty();
}

void UltraSock::armRecv() {
  if (discards_ && (output_end_ != OutputEnd::shut || discards_left_ == 0)) return;
  if (recv_op_.armed || receive_end_ != 1 || fd_ < 0 || error_ || buffer_waiter_.node.isLinked()) return;
  if (isFull()) return;
  recv_op_.single = careful_ || io_.buffers().isShort();
  io_.submit(recv_op_);
}

void UltraSock::doneReading() {
  if (record_ != nullptr) record_blocks_.give(std::exchange(record_, nullptr));
  if (!tls_ || !tls_->hasUnread()) return releaseCurrent();
  // Records that nobody asks for yet, as those of pipelined requests, are as little a reason to keep a receive buffer.
  if (current_ < 0 || first_pending_ >= 0 || !spilled_.empty() || !io_.buffers().isShort()) return;
  if (!spilled_.append(currentBytes().last(tls_->unread()))) return;
  PLAIT_RARE("records that nobody reads are kept elsewhere");
  releaseCurrent();
  spilled_lent_ = spilled_.front().size();
  tls_->moved(currentBytes());
}

void UltraSock::stopReading() {
  reading_stopped_ = true;
  wakeReader();
}

void UltraSock::onRecv(const Completion& completion) {
  if (completion.buffer_id >= 0) {
    const auto id = static_cast<uint32_t>(completion.buffer_id);
    bytes_received_ += static_cast<uint64_t>(completion.result);
    if (discards_) {
      io_.buffers().giveBack(id);
      discards_left_ -= std::min(discards_left_, static_cast<size_t>(completion.result));
      if (discards_left_ == 0) {
        PLAIT_RARE("a flood is not read to its end");
        if (completion.more) io_.cancel(recv_op_);
      }
    } else if (!spill(id, static_cast<size_t>(completion.result))) {
      io_.buffers().chained(id) = {static_cast<uint32_t>(completion.result), -1};
      (last_pending_ < 0 ? first_pending_ : io_.buffers().chained(static_cast<uint32_t>(last_pending_)).next) =
          completion.buffer_id;
      last_pending_ = completion.buffer_id;
      pending_count_ += 1;
    }
    // A reader that does not keep up stops the kernel here, and its peer by TCP's own window.
    if (completion.more && isFull()) io_.cancel(recv_op_);
    if (static_cast<uint32_t>(completion.result) < io_.buffers().bufferSize()) careful_ = false;
  } else if (completion.result == -ENOBUFS) {
    PLAIT_RARE("no receive buffer is left");
    if (!error_) io_.buffers().wait(buffer_waiter_);
  } else {
    if (completion.result != -ECANCELED && completion.result != -EINTR) receive_end_ = completion.result;
    // Should this socket have been woken for a buffer, it did not need it.
    io_.buffers().wakeWaiter();
  }
  if (closer_) {
    if (!recv_op_.armed && !send_op_.armed) io_.ready(std::exchange(closer_, nullptr));
    return;
  }
  wakeReader();
  if (!completion.more) {
    // Whoever reads has taken everything by the turn after; the others are given no more than they ask for.
    if (pending_count_ > 1 && completion.buffer_id < 0) careful_ = true;
    armRecv();
  }
  if (receive_end_ <= 0 && owner_ != nullptr) owner_->onPeerClosed();
}

void UltraSock::wakeReader() {
  // A part of a TLS record is nothing to read yet: the receiver is woken only with its result in hand.
  if (receiver_ != nullptr && tryRecv(receiver_->result_)) io_.ready(std::exchange(receiver_, nullptr)->handle_);
  if (reader_) io_.ready(std::exchange(reader_, nullptr));
}

void UltraSock::wakeDrainer() {
  if (drainer_) io_.ready(std::exchange(drainer_, nullptr));
}

bool UltraSock::spill(uint32_t buffer_id, size_t size) {
  const bool is_read = receiver_ != nullptr || reader_;
  if (spilled_.empty() && (is_read || !io_.buffers().isShort())) return false;
  if (!spilled_.append({io_.buffers().data(buffer_id), size})) {
    // Behind what is spilled nothing can be kept but here: the stream would have a gap.
    if (!spilled_.empty()) abort(connectionError(ErrorCode::no_memory, "no block is left for what was received"));
    if (spilled_.empty()) return false;
  }
  PLAIT_RARE("what arrives is kept elsewhere");
  io_.buffers().giveBack(buffer_id);
  return true;
}

Bytes UltraSock::currentBytes() const {
  if (spilled_lent_ != 0) return spilled_.front().first(spilled_lent_);
  if (current_ < 0) return {};
  const auto id = static_cast<uint32_t>(current_);
  return {io_.buffers().data(id), io_.buffers().chained(id).size};
}

void UltraSock::releaseCurrent() {
  if (spilled_lent_ != 0) {
    spilled_.consume(std::exchange(spilled_lent_, 0));
    if (spilled_.empty()) armRecv();
  }
  if (current_ < 0) return;
  io_.buffers().giveBack(static_cast<uint32_t>(current_));
  current_ = -1;
}

bool UltraSock::nextBuffer() {
  PLAIT_ASSERT(current_ < 0 && spilled_lent_ == 0);
  if (first_pending_ < 0) {
    spilled_lent_ = spilled_.front().size();
    return spilled_lent_ != 0;
  }
  current_ = first_pending_;
  first_pending_ = io_.buffers().chained(static_cast<uint32_t>(current_)).next;
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
  if (error_) {
    result.emplace(fail(*error_));
    return true;
  }
  if (reading_stopped_) {
    result.emplace(Bytes());
    return true;
  }
  if (tls_) return tryRecvTls(result);
  releaseCurrent();
  if (!nextBuffer()) return tryEnd(result);
  result.emplace(currentBytes());
  return true;
}

bool UltraSock::tryRecvTls(std::optional<Result<Bytes>>& result) {
  while (true) {
    if (tls_->atEnd()) {
      result.emplace(Bytes());
      return true;
    }
    if (record_ == nullptr) record_ = static_cast<uint8_t*>(record_blocks_.take());
    if (record_ == nullptr) {
      PLAIT_RARE("a reader waits for a block for a record");
      io_.arm(record_timer_, io_.nowNs() + TimerWheel::tick_ns);
      return false;
    }
    auto size = tls_->read({record_, record_blocks_.blockSize()});
    if (!cipher_.empty()) flushLater();  // answers of TLS itself: key updates, alerts
    if (!size) {
      result.emplace(fail(size.error()));
      return true;
    }
    if (*size != 0) {
      result.emplace(Bytes(record_, *size));
      return true;
    }
    if (tls_->atEnd()) continue;
    releaseCurrent();
    if (!nextBuffer()) {
      // An idle connection holds no plaintext block either.
      record_blocks_.give(std::exchange(record_, nullptr));
      // The end of TCP without close_notify is an aborted connection, not an ended one (RFC 8446 §6.1).
      if (receive_end_ == 0) {
        result.emplace(fail(lost(0)));
        return true;
      }
      return tryEnd(result);
    }
    tls_->feed(currentBytes());
  }
}

bool UltraSock::encrypt() {
  while (!output_.empty() && cipher_.size() < max_cipher_bytes) {
    auto taken = tls_->write(output_.front());
    if (!taken) {
      abort(taken.error());
      return false;
    }
    if (*taken == 0) break;
    output_.consume(*taken);
    consumed_ += *taken;
    offered_ = consumed_;
  }
  return true;
}

void UltraSock::flush() {
  if (send_op_.armed || error_ || fd_ < 0) return;
  if (tls_ && !encrypt()) return;
  if (output_end_ == OutputEnd::wanted && output_.empty()) {
    if (tls_) tls_->closeNotify();
    output_end_ = OutputEnd::notified;
  }
  ByteQueue& wire = tls_ ? cipher_ : output_;
  const size_t count = gather(wire);
  if (count == 0) {
    if (output_end_ == OutputEnd::notified) {
      output_end_ = OutputEnd::shut;
      Op op;
      op.kind = OpKind::shutdown;
      op.fd = fd_;
      io_.submit(op);
    }
    if (!output_.empty() && owner_ != nullptr) owner_->onStarved();
    wakeDrainer();
    return;
  }
  if (!tls_) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; ++i) bytes += send_op_.vectors[i].iov_len;
    offered_ = consumed_ + bytes;
  }
  send_op_.vector_count = static_cast<uint32_t>(count);
  io_.submit(send_op_);
}

size_t UltraSock::gather(const ByteQueue& wire) {
  send_op_.vectors = &vector_;
  const size_t count = wire.gather({&vector_, 1});
  if (count == 0 || vector_.iov_len == wire.size()) return count;
  vectors_ = static_cast<iovec*>(io_.vectorArrays().take());
  if (vectors_ == nullptr) return count;
  send_op_.vectors = vectors_;
  return wire.gather({vectors_, Io::max_vectors});
}

void UltraSock::giveVectors() {
  if (vectors_ != nullptr) io_.vectorArrays().give(std::exchange(vectors_, nullptr));
}

void UltraSock::onSent(const Completion& completion) {
  giveVectors();
  if (closer_) {
    if (!recv_op_.armed && !send_op_.armed) io_.ready(std::exchange(closer_, nullptr));
    return;
  }
  if (completion.result < 0) {
    // What the peer said before it closed may still be waiting to be read, and is worth more than our failed send:
    // the reader finds the end by itself. Only the output is lost.
    PLAIT_RARE("a send fails");
    consumed_ += output_.size();
    output_.clear();
    cipher_.clear();
    if (first_pending_ < 0 && spilled_.empty()) abort(lost(completion.result));
    wakeDrainer();
    return;
  }
  (tls_ ? cipher_ : output_).consume(static_cast<size_t>(completion.result));
  if (!tls_) consumed_ += static_cast<uint64_t>(completion.result);
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
  if (!error_) error_ = error;
  wakeReader();
  wakeDrainer();
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
  armDeadline(deadline_ns);
  while (unsent() != 0 && !error_ && io.nowNs() < deadline_ns) {
    flushLater();
    co_await DrainWait(*this);
  }
  if (unsent() != 0 && !error_) abort(connectionError(ErrorCode::deadline_exceeded, "the deadline passed"));
  deadline_timer_.cancel();
}

Task<void> UltraSock::closeGracefully(TimeNs drained_by_ns, int64_t linger_ms, Io& io, size_t unread_limit) {
  if (!error_ && fd_ >= 0) {
    discards_ = true;
    discards_left_ = unread_limit;
    io.cancel(recv_op_);
    releaseCurrent();
    while (nextBuffer()) releaseCurrent();
    endOutput();
    if (drained_by_ns != never_ns) armDeadline(drained_by_ns);
    while (!error_ && output_end_ != OutputEnd::shut) {
      flushLater();
      co_await DrainWait(*this);
    }
    armDeadline(io.nowNs() + linger_ms * ns_per_ms);
    while (!error_ && receive_end_ == 1) co_await ReceiveWait(*this);
    deadline_timer_.cancel();
  }
  co_await close(io);
}

Task<void> UltraSock::close(Io& io) {
  deadline_timer_.cancel();
  record_timer_.cancel();
  flush_node_.node.unlink();
  abort(connectionError(ErrorCode::cancelled, "the socket is closed"));
  if (buffer_waiter_.node.isLinked()) {
    buffer_waiter_.node.unlink();
  } else {
    io_.buffers().wakeWaiter();
  }
  if (notifies_on_close_ && tls_ && receive_end_ == 1 && !send_op_.armed && unsent() == 0) {
    tls_->closeNotify();
    send_op_.vector_count = static_cast<uint32_t>(gather(cipher_));
    // A socket that has room takes it before it hears of the cancellation.
    if (send_op_.vector_count != 0) io.submit(send_op_);
  }
  io.cancel(recv_op_);
  io.cancel(send_op_);
  if (recv_op_.armed || send_op_.armed) {
    struct Wait {
      UltraSock& sock;
      explicit Wait(UltraSock& waited) : sock(waited) {}
      bool await_ready() const { return false; }
      void await_suspend(std::coroutine_handle<> handle) { sock.closer_ = handle; }
      void await_resume() const {}
    };
    co_await Wait(*this);
  }
  releaseCurrent();
  while (nextBuffer()) releaseCurrent();
  if (record_ != nullptr) record_blocks_.give(std::exchange(record_, nullptr));
  output_.clear();
  cipher_.clear();
  tls_.reset();
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
