// SockInput: what has arrived at a socket and was not read yet.
//
//   kernel → lent ring buffers, in a chain → (buffers are short: copied into send blocks) → current()
//
// Receiving is armed once and completes many times. It stops after a few buffers that nobody reads, and at once where
// half of the worker's buffers are out (a receive in bulk may bring some more by then). That is back-pressure, and no
// number of slow readers can take the buffers of the others.
#pragma once

#include <utility>

#include "plait/base/byte_queue.h"
#include "plait/io/io.h"

namespace plait {

struct SockRoom;

class SockInput {
 public:
  // The event that somebody waits for on the receiving side.
  enum class Demand : uint8_t {
    nothing,
    end,    // of the connection, which after a failed send only receiving tells
    bytes,  // a reader waits
  };
  enum class Taken : uint8_t {
    bytes,
    no_room,    // bytes have arrived and cannot be kept: the stream has a gap
    no_buffer,  // for this socket: it has to wait in line
    end,        // or the receive was cancelled
  };

  // `on_complete` is told each completion of the receive, and hands it to take().
  SockInput(void* owner, void (*on_complete)(void*, const Completion&)) {
    op_.kind = OpKind::recv;
    op_.owner = owner;
    op_.on_complete = on_complete;
  }
  SockInput(const SockInput&) = delete;
  SockInput& operator=(const SockInput&) = delete;
  // After clear() only.
  ~SockInput() { PLAIT_ASSERT(!isArmed() && spilled_ == nullptr); }

  void open(int fd) { op_.fd = fd; }
  // From now on the reserve of receive buffers may be used (BufferPool).
  void setToBackend() { is_to_backend_ = true; }
  bool isToBackend() const { return is_to_backend_; }

  // The kernel has the receive.
  bool isArmed() const { return op_.armed; }
  // Receives as much as `demand` and the worker's buffers allow. `output` as for take().
  void arm(const ByteQueue& output, Demand demand, Io& io) {
    if (op_.armed || end_ != receiving || isFull(output, demand, io)) return;
    op_.single = is_careful_ || op_.from_reserve || io.buffers().isShort();
    op_.bulk = is_bulk_;
    io.submit(op_);
  }
  void cancel(Io& io) { io.cancel(op_); }
  // Takes what `completion` brings. Bytes that are spilled leave as many blocks to others as `output` does, whose slab
  // they lie in.
  Taken take(const Completion& completion, Demand demand, const ByteQueue& output, SockRoom& room, Io& io);
  // The receive has ended and may be armed again.
  void noteDisarmed(const Completion& completion) {
    // A reader that keeps up has taken everything by the next turn. Others are given no more than they ask for.
    if (pending_count_ > 1 && completion.buffer_id < 0) is_careful_ = true;
    if (pending_count_ > max_pending_buffers) endBulk();
  }

  // The bytes that the reader has; none where it has none.
  Bytes current(Io& io) const {
    if (spilled_lent_ != 0) return spilled_->front().first(spilled_lent_);
    if (current_ < 0) return {};
    const auto id = static_cast<uint32_t>(current_);
    return {io.buffers().data(id), io.buffers().chained(id).size};
  }
  // The bytes of current() lie in a receive buffer.
  bool holdsBuffer() const { return current_ >= 0; }
  // Of the current bytes the last `count` are left, as if no others had come; not 0.
  void keepLast(size_t count, Io& io);
  // The reader is done with the bytes of current(). True where more may be received because of that.
  bool release(SockRoom& room, Io& io) {
    if (current_ >= 0) {
      io.buffers().giveBack(static_cast<uint32_t>(current_));
      current_ = -1;
      return false;
    }
    return spilled_lent_ != 0 && releaseSpilled(room);
  }
  // The next bytes become the current ones, which must have been released. False where there are none.
  bool next(Io& io) {
    PLAIT_ASSERT(current_ < 0 && spilled_lent_ == 0);
    if (first_pending_ < 0) return spilled_ != nullptr && lendSpilled() != 0;
    current_ = first_pending_;
    first_pending_ = static_cast<int16_t>(io.buffers().chained(static_cast<uint32_t>(current_)).next);
    if (first_pending_ < 0) last_pending_ = -1;
    pending_count_ -= 1;
    return true;
  }
  bool hasPending() const { return first_pending_ >= 0 || spilled_ != nullptr; }
  // Keeps the last `count` of the current bytes elsewhere where buffers are short, so that no buffer is held for them.
  // False where it does not.
  bool moveCurrent(size_t count, const ByteQueue& output, SockRoom& room, Io& io);
  // Gives everything back.
  void clear(SockRoom& room, Io& io) {
    release(room, io);
    while (next(io)) release(room, io);
  }

  // Receives on without a reader, as if all that comes were read in time.
  void trustPeer() { is_careful_ = false; }

  // The fate of bytes that arrive.
  enum class Reading : uint8_t {
    open,       // they wait for the reader
    stopped,    // the same, but the reader is told of an end
    end_told,   // the reader has been told of the end: nothing arrives any more
    discarded,  // they are dropped
  };
  Reading reading() const { return reading_; }
  void stop() {
    if (reading_ == Reading::open) reading_ = Reading::stopped;
  }
  void noteEndTold() {
    if (reading_ == Reading::open) reading_ = Reading::end_told;
  }
  // From now on bytes that arrive are dropped, `limit` of them at most.
  void discard(uint32_t limit) {
    reading_ = Reading::discarded;
    discards_left_ = limit;
  }
  bool isDiscarding() const { return reading_ == Reading::discarded; }
  // So many have been dropped that no more are received.
  bool isFlooded() const { return discards_left_ == 0; }

  // The end of the stream: 0, or -errno of what broke it; `receiving` before.
  static constexpr int16_t receiving = 1;
  int16_t end() const { return end_; }
  void endWith(int32_t result) { end_ = static_cast<int16_t>(result); }

 private:
  static constexpr uint32_t max_pending_buffers = 4;
  static constexpr int most_bulk_score = 8;

  // Of a block that was taken for bytes that are kept elsewhere, they leave most.
  static constexpr size_t little_spilled = 1024;

  bool isFull(const ByteQueue& output, Demand demand, Io& io) const {
    // A few bytes kept elsewhere may be the alert with which TLS ends, and the end of the connection comes behind it.
    // Other bytes that come in its place have to find room there.
    if (spilled_ != nullptr &&
        (spilled_->size() > little_spilled || output.blocks().available() <= output.leftToOthers()))
      return true;
    if (is_careful_) return pending_count_ >= (demand != Demand::nothing ? 1u : 0u);
    return pending_count_ >= (demand == Demand::bytes || !io.buffers().isShort() ? max_pending_buffers : 0u);
  }
  void append(uint32_t buffer_id, uint32_t size, Io& io);
  Taken keep(uint32_t buffer_id, uint32_t size, Demand demand, const ByteQueue& output, SockRoom& room, Io& io);
  void drop(const Completion& completion, Io& io);
  bool appendSpilled(Bytes bytes, const ByteQueue& output, SockRoom& room);
  uint32_t lendSpilled();
  bool releaseSpilled(SockRoom& room);
  void noteFilled(bool is_filled);
  void endBulk() {
    is_bulk_ = false;
    bulk_score_ = 0;
  }

  Op op_;
  // Bytes that arrived while nobody read and receive buffers were short: a slow reader must not keep those from others.
  // They come after the pending buffers. Null while there are none.
  ByteQueue* spilled_ = nullptr;
  uint32_t spilled_lent_ = 0;  // bytes of spilled_ that the reader has, in place of a buffer
  uint32_t discards_left_ = UINT32_MAX;
  // Numbers of buffers, which are below 32,768; -1 for none.
  int16_t current_ = -1;        // whose bytes the reader has
  int16_t first_pending_ = -1;  // those that arrived and were not read yet
  int16_t last_pending_ = -1;
  uint16_t pending_count_ = 0;
  int16_t end_ = receiving;
  uint8_t bulk_score_ = 0;
  bool is_bulk_ = false;
  // True after a pause in reading and before the first read: the kernel may hold megabytes, and one receive would fill
  // buffer after buffer with them. So one buffer is asked for at a time, until one comes back partly filled.
  bool is_careful_ = true;
  bool is_to_backend_ = false;
  Reading reading_ = Reading::open;
};

}  // namespace plait
