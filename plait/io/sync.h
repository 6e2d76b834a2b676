// Mutex and Condition between coroutines of one worker. The request path needs neither (ARCHITECTURE.md says why); they
// exist for embedders and for start-up. Waiters queue in order and live in their own frames.
#pragma once

#include <coroutine>

#include "plait/base/list.h"
#include "plait/io/io.h"

namespace plait {

class IoMutex {
 public:
  struct LockAwaiter {
    IoMutex& mutex;
    std::coroutine_handle<> handle;
    ListNode node;
    explicit LockAwaiter(IoMutex& locked) : mutex(locked) {}
    bool await_ready() {
      if (mutex.locked_) return false;
      return mutex.locked_ = true;
    }
    void await_suspend(std::coroutine_handle<> waiter) {
      handle = waiter;
      mutex.waiters_.pushBack(*this);
    }
    void await_resume() {}
  };
  // Holds the mutex when it returns. Waiters are served first come, first served; waiting cannot be cancelled.
  LockAwaiter lock() { return LockAwaiter(*this); }
  // Passes the mutex to the longest waiter.
  void unlock(Io& io) {
    PLAIT_ASSERT(locked_);
    if (LockAwaiter* next = waiters_.popFront()) {
      io.ready(next->handle);
    } else {
      locked_ = false;
    }
  }

 private:
  bool locked_ = false;
  List<LockAwaiter, &LockAwaiter::node> waiters_;
};

class IoCondition {
 public:
  struct WaitAwaiter {
    IoCondition& condition;
    std::coroutine_handle<> handle;
    ListNode node;
    explicit WaitAwaiter(IoCondition& awaited) : condition(awaited) {}
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<> waiter) {
      handle = waiter;
      condition.waiters_.pushBack(*this);
    }
    void await_resume() {}
  };
  // Returns after a notify that came later than the call. There are no spurious wake-ups, but what was waited for may
  // have been taken by an earlier waiter: loop over the predicate.
  WaitAwaiter wait() { return WaitAwaiter(*this); }
  void notifyOne(Io& io) {
    if (WaitAwaiter* waiter = waiters_.popFront()) io.ready(waiter->handle);
  }
  void notifyAll(Io& io) {
    while (WaitAwaiter* waiter = waiters_.popFront()) io.ready(waiter->handle);
  }

 private:
  List<WaitAwaiter, &WaitAwaiter::node> waiters_;
};

// Waits until a point in time.
class SleepAwaiter {
 public:
  SleepAwaiter(Io& io, TimeNs until_ns)
      : io_(io), until_ns_(until_ns), timer_(this, [](void* self) {
          auto* sleeper = static_cast<SleepAwaiter*>(self);
          sleeper->io_.ready(sleeper->handle_);
        }) {}
  bool await_ready() const { return io_.nowNs() >= until_ns_; }
  void await_suspend(std::coroutine_handle<> handle) {
    handle_ = handle;
    io_.arm(timer_, until_ns_);
  }
  void await_resume() {}

 private:
  Io& io_;
  TimeNs until_ns_;
  Timer timer_;
  std::coroutine_handle<> handle_;
};
inline SleepAwaiter sleepUntil(TimeNs until_ns, Io& io) {
  return SleepAwaiter(io, until_ns);
}

}  // namespace plait
