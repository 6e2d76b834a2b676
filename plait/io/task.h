// Lazy coroutines with one owner. A Task runs when it is awaited or given to a Scope, and its frame comes from the
// FrameSlab of the Io& among its arguments. Whatever waits is resumed through Io's ready list: the stack stays flat and
// the order of execution is a decision of Io, which a simulator needs. Calling and returning are not waiting: an
// awaited task begins at once, and its end goes straight on in its caller, while what both use is still in the caches.
//
// Where no frame is free a call of a coroutine makes a task that is empty. It is tested for that, or spawned in vain
// (Scope::spawn), or awaited: then its result is an error (no_memory), false, or the type's zero, and none of its code
// has run. A coroutine with LastFrame among its arguments takes one of the frames that are kept for what may not fail.
//
// Rules that keep the frames safe: parameters are integers, spans, what is moved in, or references to objects that
// outlive the task; no capturing coroutine lambdas; a Task that takes references to its caller's locals is awaited in
// the same expression.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "plait/io/io.h"

namespace plait {

template <class T>
class Task;

namespace detail {

// The result of a task that never ran.
template <class T>
T withoutFrame() {
  if constexpr (requires { typename T::error_type; }) {
    return fail(streamError(ErrorCode::no_memory, "no memory is left for another task"));
  } else {
    return T{};
  }
}

template <class... Args>
Io& findIo(Args&... args) {
  constexpr bool has_io = (std::is_base_of_v<Io, std::remove_cvref_t<Args>> || ...);
  static_assert(has_io, "a coroutine needs an Io& among its arguments: its frame comes from that Io's slab");
  Io* io = nullptr;
  (
      [&] {
        if constexpr (std::is_base_of_v<Io, std::remove_cvref_t<Args>>) io = &args;
      }(),
      ...);
  return *io;
}

// The part of a Scope that a task knows.
struct ScopeState {
  uint32_t running = 0;
  bool is_closed = false;  // nothing is spawned any more
  std::coroutine_handle<> joiner;

  void ended(Io& io) {
    running -= 1;
    if (running == 0 && joiner) io.ready(std::exchange(joiner, nullptr));
  }
};

struct PromiseBase {
  std::coroutine_handle<> continuation;
  ScopeState* scope = nullptr;  // of a spawned task, which frees its own frame at its end
  Io* io;

  template <class... Args>
  explicit PromiseBase(Args&... args) : io(&findIo(args...)) {}

  template <class... Args>
  static void* operator new(size_t size, Args&... args) noexcept {
    FrameSlab& frames = findIo(args...).frames();
    if constexpr ((std::is_same_v<LastFrame, std::remove_cvref_t<Args>> || ...)) {
      return frames.takeLast(size);
    } else {
      return frames.take(size);
    }
  }
  static void operator delete(void* frame, size_t) { FrameSlab::give(frame); }

  std::suspend_always initial_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { std::terminate(); }

  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> handle) noexcept {
      PromiseBase& promise = handle.promise();
      if (promise.scope != nullptr) {
        ScopeState& spawner = *promise.scope;
        Io& task_io = *promise.io;
        handle.destroy();
        spawner.ended(task_io);
        return std::noop_coroutine();
      }
      return promise.continuation ? promise.continuation : std::noop_coroutine();
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }
};

template <class T>
struct Promise : PromiseBase {
  template <class... Args>
  explicit Promise(Args&... args) : PromiseBase(args...) {}
  std::optional<T> value;
  Task<T> get_return_object();
  static Task<T> get_return_object_on_allocation_failure();
  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
};

template <>
struct Promise<void> : PromiseBase {
  template <class... Args>
  explicit Promise(Args&... args) : PromiseBase(args...) {}
  Task<void> get_return_object();
  static Task<void> get_return_object_on_allocation_failure();
  void return_void() {}
};

}  // namespace detail

template <class T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Task(Handle handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  // False where there was no frame for it.
  explicit operator bool() const { return handle_ != nullptr; }

  // Starts the task and waits for its end. The callee begins at once, by symmetric transfer.
  bool await_ready() const { return !handle_; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiter) {
    handle_.promise().continuation = waiter;
    return handle_;
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) {
      if (!handle_) [[unlikely]]
        return detail::withoutFrame<T>();
      return std::move(*handle_.promise().value);
    }
  }

  Handle detach() { return std::exchange(handle_, nullptr); }

 private:
  Handle handle_;
};

namespace detail {
template <class T>
Task<T> Promise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<Promise>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise>::from_promise(*this));
}
template <class T>
Task<T> Promise<T>::get_return_object_on_allocation_failure() {
  return Task<T>(nullptr);
}
inline Task<void> Promise<void>::get_return_object_on_allocation_failure() {
  return Task<void>(nullptr);
}
}  // namespace detail

}  // namespace plait
