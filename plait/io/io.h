// Io: what a worker thread has of the outside world. Everything that waits, looks at the clock or draws a random number
// takes an Io&; there is no other way to any of them.
//
// One turn of run():   poll → (deliver a completion → resume ready coroutines)* → resume who gave way in the
// turn before → fire timers → resume → flush sockets → (poll)
//
// All that one completion sets off is done before the next is delivered: a request's memory is then still in the
// caches.
//
// A turn ends. Coroutines that are ready after `rounds_per_turn` rounds go on in the next one, which waits for nothing,
// so that no mistake that keeps one of them ready can hide timers, completions and messages from the others.
#pragma once

#include <coroutine>
#include <memory>

#include "plait/base/list.h"
#include "plait/base/random.h"
#include "plait/io/backend.h"
#include "plait/io/coalescer.h"
#include "plait/io/frame_slab.h"
#include "plait/io/timer.h"

namespace plait {

struct IoConfig {
  FrameCounts frames = FrameCounts::evenly(32768);
  TimeNs coalesce_ns = 0;  // how long a turn of a busy worker may wait for more than one completion
};

class Io {
 public:
  // Work to be done once at the end of this turn, when everything the turn produced is known: sending.
  class Flusher {
   public:
    virtual void flush() = 0;
    ListNode flush_node;

   protected:
    ~Flusher() { flush_node.unlink(); }
  };

  // `backend` and `buffers` must outlive the Io and belong to the calling thread.
  Io(IoBackend& backend, BufferPool& buffers, const IoConfig& config = {});
  Io(const Io&) = delete;
  Io& operator=(const Io&) = delete;
  ~Io();

  // The monotonic time at the start of this turn. Coarse on purpose: one clock read a turn.
  TimeNs nowNs() const { return now_ns_; }
  // Seconds since 1970 by the wall clock; each call asks it.
  int64_t epochSeconds() { return backend_.epochSeconds(); }
  // Which turn this is, for code that has something to do once in each.
  uint32_t turnNumber() const { return turn_number_; }
  Random& random() { return random_; }
  uint64_t entropy() { return backend_.entropy(); }
  FrameSlab& frames() { return frames_; }
  const FrameSlab& frames() const { return frames_; }
  // Arrays of `max_vectors` iovec, for sends under way: most sockets have none. A socket that gets none sends piece by
  // piece.
  BlockSlab& vectorArrays() { return vector_arrays_; }
  const BlockSlab& vectorArrays() const { return vector_arrays_; }
  static constexpr size_t max_vectors = 16;
  // The bytes that the list of ready coroutines reserves, of an Io with these frames.
  static size_t readyBytesFor(const FrameCounts& frames);
  size_t reservedBytes() const { return frames_.reservedBytes() + vector_arrays_.reservedBytes() + ready_.size(); }
  void prefault() {
    frames_.prefault();
    vector_arrays_.prefault();
    ready_.prefault();
  }
  static size_t vectorBytes() { return BlockSlab::bytesFor(max_vectors * sizeof(iovec), vector_array_count); }
  BufferPool& buffers() { return buffers_; }

  void submit(Op& op) { backend_.submit(op); }
  // An op whose last completion is already on its way ends with that one.
  void cancel(Op& op) {
    if (!op.reaped) backend_.cancel(op);
  }

  // Resumes `handle` later in this turn. The order of calls is the order of resumption.
  void ready(std::coroutine_handle<> handle) {
    PLAIT_ASSERT(ready_tail_ - ready_head_ < ready_capacity_);
    readyAt(ready_tail_++) = handle.address();
  }
  // Lets everything that is ready go first, and goes on in the same turn.
  struct YieldAwaiter {
    Io& io;
    bool await_ready() const { return io.ready_head_ == io.ready_tail_; }
    void await_suspend(std::coroutine_handle<> handle) { io.ready(handle); }
    void await_resume() const {}
  };
  YieldAwaiter yield() { return YieldAwaiter{*this}; }
  // Goes on in the next turn, behind all that has completed by then: for a coroutine that has done its share.
  struct TurnAwaiter {
    Io& io;
    ListNode node;
    std::coroutine_handle<> handle;
    explicit TurnAwaiter(Io& used) : io(used) {}
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> suspended) {
      handle = suspended;
      io.next_turn_.pushBack(*this);
    }
    void await_resume() const {}
  };
  TurnAwaiter nextTurn() { return TurnAwaiter(*this); }
  // A response's head was sent, `took_ns` behind its request: requests that take long may wait for each other.
  void noteAnswered(TimeNs took_ns) { coalescer_.noteAnswered(took_ns); }
  void arm(Timer& timer, TimeNs due) { timers_.arm(timer, due); }
  // Calls flush() at the end of this turn; a second call in the same turn changes nothing.
  void flushLater(Flusher& flusher) {
    if (!flusher.flush_node.isLinked()) flush_.pushBack(flusher);
  }
  // The same before those that have asked: what it makes ready runs at once, so that its output leaves in their sends.
  void flushFirst(Flusher& flusher) {
    if (!flusher.flush_node.isLinked()) flush_.pushFront(flusher);
  }

  // A round is everything that was ready when it began. Many times more than all that a turn's completions set off.
  static constexpr uint32_t rounds_per_turn = 4096;
  // The last turn had so many.
  uint32_t roundsOfTurn() const { return rounds_per_turn - rounds_left_; }

  // Turns until stop() is called. A turn waits at most `until_ns`.
  void run();
  void turn(TimeNs until_ns = never_ns);
  void stop() { stopped_ = true; }

 private:
  static constexpr size_t vector_array_count = 1024;
  void runReady();
  void*& readyAt(uint32_t place) { return reinterpret_cast<void**>(ready_.data())[place & (ready_capacity_ - 1)]; }

  IoBackend& backend_;
  BufferPool& buffers_;
  FrameSlab frames_;
  BlockSlab vector_arrays_;
  TimeNs now_ns_;
  Random random_;
  TimerWheel timers_;
  Coalescer coalescer_;
  List<Flusher, &Flusher::flush_node> flush_;
  List<TurnAwaiter, &TurnAwaiter::node> next_turn_;
  // Coroutines that are ready. There is a place for every frame: one that waits waits for one thing.
  uint32_t ready_capacity_;  // a power of two
  Reservation ready_;
  std::unique_ptr<Completion[]> completions_;
  uint32_t ready_head_ = 0;
  uint32_t ready_tail_ = 0;
  uint32_t turn_number_ = 0;
  uint32_t rounds_left_ = rounds_per_turn;
  bool was_stopped_ = false;
  bool stopped_ = false;
};

}  // namespace plait
