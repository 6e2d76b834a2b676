// Structured concurrency: a Scope owns the tasks spawned into it and outlives them. close() refuses new ones; join()
// waits for the last. A Scope that is destroyed with tasks running is a bug and stops the process.
#pragma once

#include "plait/io/task.h"

namespace plait {

class Scope {
 public:
  Scope() = default;
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope() { PLAIT_ASSERT(state_.running == 0); }

  // Starts `task` later in this turn; its frame is freed when it ends. False where the task is empty, or after close():
  // then it never starts, and its frame is freed at once.
  bool spawn(Task<void> task, Io& io) {
    if (state_.is_closed || !task) return false;
    state_.running += 1;
    const Task<void>::Handle handle = task.detach();
    handle.promise().scope = &state_;
    io.ready(handle);
    return true;
  }
  // From now on nothing is spawned any more; what runs goes on.
  void close() { state_.is_closed = true; }
  uint32_t running() const { return state_.running; }

  struct JoinAwaiter {
    Scope& scope;
    explicit JoinAwaiter(Scope& joined) : scope(joined) {}
    bool await_ready() const { return scope.state_.running == 0; }
    void await_suspend(std::coroutine_handle<> handle) {
      PLAIT_ASSERT(!scope.state_.joiner);
      scope.state_.joiner = handle;
    }
    void await_resume() {}
  };
  // Waits until every spawned task has ended. One joiner at a time.
  JoinAwaiter join() { return JoinAwaiter(*this); }

 private:
  detail::ScopeState state_;
};

}  // namespace plait
