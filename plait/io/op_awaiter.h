// Awaits one Op that completes once: connect, resolve, message. The op must outlive the wait, which ends only with the
// op's completion; cancelling is Io::cancel(op), after which the wait ends with -ECANCELED or with what came first.
#pragma once

#include "plait/io/io.h"

namespace plait {

class OpAwaiter {
 public:
  OpAwaiter(Op& op, Io& io) : op_(op), io_(io) {}
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> handle) {
    handle_ = handle;
    op_.owner = this;
    op_.on_complete = [](void* owner, const Completion& completion) {
      auto* self = static_cast<OpAwaiter*>(owner);
      self->result_ = completion.result;
      self->io_.ready(self->handle_);
    };
    io_.submit(op_);
  }
  int32_t await_resume() const { return result_; }

 private:
  Op& op_;
  Io& io_;
  int32_t result_ = 0;
  std::coroutine_handle<> handle_;
};

}  // namespace plait
