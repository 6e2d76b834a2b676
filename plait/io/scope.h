// Structured concurrency: a Scope owns the tasks spawned into it and outlives them. Closing refuses new ones; join()
// waits for the last. A Scope that is destroyed with tasks running is a bug and stops the process.
#pragma once

#include "plait/io/task.h"

namespace plait {

class Scope {
 public:
  Scope() = default;
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope() { PLAIT_ASSERT(running_ == 0); }

  // Starts `task` later in this turn; its frame is freed when it ends.
  void spawn(Task<void> task, Io& io) {
    running_ += 1;
    io.ready(run(*this, std::move(task), io).detach());
  }
  uint32_t running() const { return running_; }

  struct JoinAwaiter {
    Scope& scope;
    explicit JoinAwaiter(Scope& joined) : scope(joined) {}
    bool await_ready() const { return scope.running_ == 0; }
    void await_suspend(std::coroutine_handle<> handle) {
      PLAIT_ASSERT(!scope.joiner_);
      scope.joiner_ = handle;
    }
    void await_resume() {}
  };
  // Waits until every spawned task has ended. One joiner at a time.
  JoinAwaiter join() { return JoinAwaiter(*this); }

 private:
  // A coroutine that frees its own frame at the end: the only one of its kind, so that spawn needs no bookkeeping list.
  struct Detached {
    struct promise_type : detail::PromiseBase {
      template <class... Args>
      explicit promise_type(Args&... args) : PromiseBase(args...) {}
      Detached get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
      std::suspend_never final_suspend() noexcept { return {}; }
      void return_void() {}
    };
    std::coroutine_handle<promise_type> handle;
    std::coroutine_handle<> detach() { return handle; }
  };
  static Detached run(Scope& scope, Task<void> task, Io& io) {
    co_await std::move(task);
    scope.running_ -= 1;
    if (scope.running_ == 0 && scope.joiner_) io.ready(std::exchange(scope.joiner_, nullptr));
  }

  uint32_t running_ = 0;
  std::coroutine_handle<> joiner_;
};

}  // namespace plait
