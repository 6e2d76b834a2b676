// The worker's receive buffers (512 x 16 KiB to start with). A buffer is lent when bytes arrive and counted until its
// last user gives it back, so an idle connection holds none. Returned ids are picked up by the backend on its next
// poll(): io_uring puts them back into the kernel's rings, the others hand them out again. Bytes that are sent on as
// they came stay in them until they have left (ByteLender).
//
// Some are kept for connections to backends, which many clients share: however many clients hold buffers, what those
// wait for can be received.
#pragma once

#include <memory>

#include "plait/base/byte_queue.h"
#include "plait/base/list.h"
#include "plait/base/slab.h"

namespace plait {

class BufferPool final : public ByteLender {
 public:
  // `count` must be a power of two of at most 32768. `kept` of them, less than all, are for ops that may use the
  // reserve (Op::from_reserve).
  BufferPool(uint32_t count, uint32_t buffer_size, uint32_t kept = 0)
      : count_(count),
        buffer_size_(buffer_size),
        kept_(kept),
        memory_(size_t{count} * buffer_size),
        references_(new uint8_t[count]()),
        returned_(new uint16_t[count]),
        chain_(new Chained[count]()) {
    PLAIT_ASSERT(count != 0 && count <= 32768 && (count & (count - 1)) == 0 && kept < count);
    for (uint32_t id = 0; id < count; ++id) returned_[id] = static_cast<uint16_t>(count - 1 - id);
    returned_count_ = count;
  }

  uint32_t count() const { return count_; }
  uint32_t kept() const { return kept_; }
  uint32_t bufferSize() const { return buffer_size_; }
  uint8_t* data(uint32_t id) const { return memory_.data() + size_t{id} * buffer_size_; }
  uint32_t lent() const { return lent_; }
  uint32_t peak() const { return peak_; }  // the most that were ever lent
  size_t reservedBytes() const { return memory_.size(); }
  void prefault() { memory_.prefault(); }

  // A receiver that keeps the buffer past the delivery adds a reference; each reference is given back once.
  void reference(uint32_t id) {
    PLAIT_ASSERT(references_[id] != 0 && references_[id] != UINT8_MAX);
    references_[id] += 1;
  }
  void giveBack(uint32_t id) {
    PLAIT_ASSERT(references_[id] != 0);
    if (--references_[id] != 0) return;
    lent_ -= 1;
    returned_[returned_count_++] = static_cast<uint16_t>(id);
    if (!first_waiters_.empty() || !waiters_.empty()) [[unlikely]]
      wakeWaiter();
  }

  // A quarter of the buffers' number of pieces: a peer that is slow to take them must not keep all others from
  // receiving.
  bool lend(const uint8_t* start) override {
    if (start < memory_.data() || start >= memory_.data() + memory_.size() || pieces_lent_ == count_ / 4) return false;
    reference(idOf(start));
    pieces_lent_ += 1;
    return true;
  }
  void takeBack(const uint8_t* start) override {
    pieces_lent_ -= 1;
    giveBack(idOf(start));
  }

  // Half of the buffers are out: a socket whose bytes are not read at once takes none in advance.
  bool isShort() const { return lent_ >= count_ / 2; }

  // A receiver that was told -ENOBUFS waits here instead of asking again and again; onBuffer() is called once, first
  // come first served among those who may use the reserve and then among the others, when there is one for it, and
  // returns whether it is wanted. A waiter that later finds that it needs none calls wakeWaiter() for the next one.
  class Waiter {
   public:
    virtual bool onBuffer() = 0;
    ListNode buffer_node;

   protected:
    ~Waiter() { buffer_node.unlink(); }
  };
  void wait(Waiter& waiter, bool may_use_reserve = false) {
    if (!waiter.buffer_node.isLinked()) (may_use_reserve ? first_waiters_ : waiters_).pushBack(waiter);
    // Meanwhile some may have come back. Those that a backend keeps ready are of no use to a receiver that was told
    // that there are none.
    if (returned_count_ > (may_use_reserve ? 0 : missing())) wakeWaiter();
  }
  [[gnu::noinline]] void wakeWaiter() {
    while (Waiter* waiter = first_waiters_.popFront()) {
      if (waiter->onBuffer()) return;
    }
    // The first that come back fill the reserve again.
    if (returned_count_ <= missing()) return;
    while (Waiter* waiter = waiters_.popFront()) {
      if (waiter->onBuffer()) return;
    }
  }

  // For backends: the id of a free buffer, or -1 where there is none, but for the reserve unless it may be used.
  int32_t takeFree(bool from_reserve = false) {
    return returned_count_ <= (from_reserve ? 0 : missing()) ? -1 : returned_[--returned_count_];
  }
  // For backends: so many of the kept buffers have been taken and set aside, where nobody else finds them.
  void setAside(uint32_t kept) { set_aside_ = kept; }
  // For backends: a taken buffer was not needed after all.
  void untake(uint32_t id) { returned_[returned_count_++] = static_cast<uint16_t>(id); }
  // For backends: the buffer now holds bytes and goes to a receiver.
  void markLent(uint32_t id) {
    PLAIT_ASSERT(references_[id] == 0);
    references_[id] = 1;
    lent_ += 1;
    if (lent_ > peak_) peak_ = lent_;
  }

  // Receivers queue their buffers through these: `size` bytes arrived in buffer `id`, `next` is the one behind it.
  struct Chained {
    uint32_t size;
    int32_t next;
  };
  Chained& chained(uint32_t id) { return chain_[id]; }

 private:
  // So many of the free ones are kept.
  uint32_t missing() const { return kept_ - set_aside_; }
  uint32_t idOf(const uint8_t* inside) const {
    return static_cast<uint32_t>(static_cast<size_t>(inside - memory_.data()) / buffer_size_);
  }

  uint32_t count_;
  uint32_t buffer_size_;
  uint32_t kept_;
  uint32_t set_aside_ = 0;
  Reservation memory_;
  std::unique_ptr<uint8_t[]> references_;
  std::unique_ptr<uint16_t[]> returned_;
  std::unique_ptr<Chained[]> chain_;
  uint32_t returned_count_ = 0;
  uint32_t lent_ = 0;
  uint32_t peak_ = 0;
  uint32_t pieces_lent_ = 0;
  List<Waiter, &Waiter::buffer_node> first_waiters_;  // may use the reserve
  List<Waiter, &Waiter::buffer_node> waiters_;
};

}  // namespace plait
