// Io: what a worker thread has of the outside world. Everything that waits, looks at the clock or draws a random number
// takes an Io&; there is no other way to any of them.
//
// One turn of run():   poll → (deliver a completion → resume ready coroutines)* → resume who gave way in the
// turn before → fire timers → resume → flush sockets → (poll)
//
// What one completion sets off is done before the next is delivered: a request's memory is then still in the caches.
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
  uint32_t frame_count = 32768;   // coroutine frames of each small class
  uint32_t ready_count = 131072;  // coroutines that may be ready at once; a power of two
  TimeNs coalesce_ns = 0;         // how long a turn of a busy worker may wait for more than one completion
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
  // Which turn this is, for whoever has something to do once in each.
  uint32_t turnNumber() const { return turn_number_; }
  Random& random() { return random_; }
  uint64_t entropy() { return backend_.entropy(); }
  FrameSlab& frames() { return frames_; }
  // Arrays of `max_vectors` iovec, for sends under way: most sockets have none. Whoever gets none sends piece by piece.
  BlockSlab& vectorArrays() { return vector_arrays_; }
  static constexpr size_t max_vectors = 16;
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
    ready_[ready_tail_++ & (ready_capacity_ - 1)] = handle;
  }
  // Lets everything that is ready go first, and goes on in the same turn.
  struct YieldAwaiter {
    Io& io;
    bool await_ready() const { return io.ready_head_ == io.ready_tail_; }
    void await_suspend(std::coroutine_handle<> handle) { io.ready(handle); }
    void await_resume() const {}
  };
  YieldAwaiter yield() { return YieldAwaiter{*this}; }
  // Goes on in the next turn, behind all that has completed by then: for whoever has done its share.
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

  // Turns until stop() is called. A turn waits at most `until_ns`.
  void run();
  void turn(TimeNs until_ns = never_ns);
  void stop() { stopped_ = true; }

 private:
  static constexpr size_t vector_array_count = 1024;
  void runReady();

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
  std::unique_ptr<std::coroutine_handle<>[]> ready_;
  std::unique_ptr<Completion[]> completions_;
  uint32_t ready_capacity_;
  uint32_t ready_head_ = 0;
  uint32_t ready_tail_ = 0;
  uint32_t turn_number_ = 0;
  bool was_stopped_ = false;
  bool stopped_ = false;
};

}  // namespace plait
