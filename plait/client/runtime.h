// Runtime: all that an embedder's pool needs, the loop, its memory and name lookup, made in one call. It belongs to the
// thread that makes it. The proxy's workers make the same parts
// by themselves, to place them.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "plait/client/pool.h"
#include "plait/io/mailbox.h"
#include "plait/io/scope.h"
#include "plait/net/resolver.h"
#include "plait/runtime/loop_memory.h"

namespace plait {

struct RuntimeOptions {
  IoKind io = IoKind::automatic;
  // Reserved, not used: resident memory follows what is really in use.
  LoopLimits limits;
};

class Runtime {
 public:
  // Errors: invalid_argument where the limits do not go together (LoopLimits::mistake says which, and why), or where
  // io_uring was asked for and is not allowed here: then Error::detail is errno. no_memory where the system does not
  // give what the limits reserve.
  static Result<std::unique_ptr<Runtime>> make(const RuntimeOptions& options = {});
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  Io& io() { return *io_; }
  const LoopLimits& limits() const { return limits_; }

  // A pool of connections to these backends. To be closed (ConnectionPool::close) before it is destroyed, and destroyed
  // before the runtime.
  std::unique_ptr<ConnectionPool> makePool(std::vector<BackendOptions> backends, const PoolTimeouts& timeouts = {},
                                           const PoolLimits& limits = {});

  // Runs the loop on this thread until `task` has ended.
  void run(Task<void> task);
  struct StopAwaiter {
    Runtime& runtime;
    bool await_ready() const { return runtime.is_stopping_; }
    void await_suspend(std::coroutine_handle<> handle) { runtime.stop_waiter_ = handle; }
    void await_resume() const {}
  };
  // Waits until requestStop() has been called, before or from now on. One waiter at a time.
  StopAwaiter stopRequested() { return StopAwaiter{*this}; }
  // From any thread, at any time; not from a signal handler.
  void requestStop() {
    if (!is_stop_posted_.exchange(true)) mailbox_.post(stop_op_, 0);
  }

  // -- memory, for what else lives on this loop
  BlockSlab& sendBlocks() { return memory_.send_blocks; }
  BlockSlab& recordBlocks() { return memory_.record_blocks; }
  BlockSlab& streamBlocks() { return memory_.stream_blocks; }
  http::HeaderSlab& headers() { return memory_.headers; }

 private:
  explicit Runtime(const LoopLimits& limits);
  void onStopRequested();

  LoopLimits limits_;
  IoKind kind_ = IoKind::epoll;
  LoopMemory memory_;
  Mailbox mailbox_;
  // Destroyed before the mailbox, so that no answer comes to one that is gone.
  Resolver resolver_;
  Op stop_op_;
  std::atomic<bool> is_stop_posted_{false};
  bool is_stopping_ = false;
  std::coroutine_handle<> stop_waiter_;
  std::unique_ptr<IoBackend> backend_;
  std::unique_ptr<Io> io_;
};

}  // namespace plait
