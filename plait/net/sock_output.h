// SockOutput: what a socket has been given to send, and how much of it has left.
//
//   queue() → (TLS: ciphertext) → one gathered send at a time → kernel
#pragma once

#include <algorithm>

#include "plait/base/byte_queue.h"
#include "plait/io/io.h"

namespace plait {

struct SockRoom;

// The part of a socket that it needs while a send is under way.
struct Sending {
  Op op;
  iovec vector;              // where there is only one,
  iovec* vectors = nullptr;  // else these, lent
};

class SockOutput {
 public:
  explicit SockOutput(BlockSlab& blocks) : queue_(blocks) {}
  SockOutput(const SockOutput&) = delete;
  SockOutput& operator=(const SockOutput&) = delete;
  ~SockOutput() { PLAIT_ASSERT(!isSending()); }

  ByteQueue& queue() { return queue_; }
  const ByteQueue& queue() const { return queue_; }
  bool empty() const { return queue_.empty(); }

  // Positions in the stream of plaintext: where the next byte appended to queue() will be, and below which one any may
  // have left this machine.
  uint64_t position() const { return consumed_ + queue_.size(); }
  uint64_t offered() const { return consumed_ + static_cast<uint64_t>(int64_t{offered_ahead_}); }
  // Takes back the output at or above offered().
  void dropUnoffered() { queue_.truncate(static_cast<size_t>(std::max(offered_ahead_, 0))); }
  // The same from `position` on, which is at or above offered(). After a send that failed it may have been given up
  // already.
  void takeBack(uint64_t position) {
    PLAIT_ASSERT(position >= offered());
    queue_.truncate(static_cast<size_t>(std::max(position, consumed_) - consumed_));
  }
  // The first `count` bytes are on their way, and the kernel may have any of them.
  void noteOffered(size_t count) { offered_ahead_ = static_cast<int32_t>(count); }
  // The first `count` bytes have become ciphertext, which counts as if they had left.
  void noteEncrypted(size_t count) {
    queue_.consume(count);
    consumed_ += count;
    offered_ahead_ = 0;
  }
  // The kernel has taken `count` bytes of what was offered.
  void noteTaken(int32_t count) {
    queue_.consume(static_cast<size_t>(count));
    consumed_ += static_cast<uint64_t>(count);
    offered_ahead_ -= count;
  }
  // Gives up what has not left: it counts as gone.
  void drop() {
    consumed_ += queue_.size();
    offered_ahead_ -= static_cast<int32_t>(queue_.size());
    queue_.clear();
  }

  // Begins to send the bytes in `wire`, as far as one send takes them, and returns how many these are. `on_complete`
  // calls endSend().
  size_t send(const ByteQueue& wire, int fd, void* owner, void (*on_complete)(void*, const Completion&), SockRoom& room,
              Io& io);
  void endSend(SockRoom& room, Io& io);
  bool isSending() const { return sending_ != nullptr; }
  void cancelSend(Io& io) {
    if (sending_ != nullptr) io.cancel(sending_->op);
  }

  // -errno of the first send that failed, after which no output leaves any more; else 0.
  int16_t failure() const { return failure_; }
  void noteFailed(int32_t result) {
    if (failure_ == 0) failure_ = static_cast<int16_t>(result);
  }

  // Bytes that the kernel has taken, of ciphertext where there is TLS.
  uint64_t bytesSent() const { return bytes_sent_; }
  void noteSent(int32_t count) { bytes_sent_ += static_cast<uint64_t>(count); }
  // Bytes of those that the peer's machine has acknowledged, asked from the kernel.
  uint64_t bytesTaken(int fd, Io& io);

 private:
  ByteQueue queue_;
  Sending* sending_ = nullptr;  // lent while a send is under way
  uint64_t consumed_ = 0;       // bytes that have left queue_
  uint64_t bytes_sent_ = 0;
  uint64_t taken_ = 0;         // of bytes_sent_, as far as was asked
  int32_t offered_ahead_ = 0;  // offered() less consumed_: below zero where output was given up
  int16_t failure_ = 0;
};

}  // namespace plait
