// How another thread completes an Op of this worker: DNS answers, signals, configuration. Posting locks; the worker
// looks only after its eventfd has woken it, so the request path never meets the lock.
#pragma once

#include <mutex>

#include "plait/io/op.h"

namespace plait {

class Mailbox {
 public:
  Mailbox();
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // From any thread: `op` completes on the worker with `result`. An op may be posted once per arming.
  void post(Op& op, int32_t result);

  // For backends: the descriptor that becomes readable after a post.
  int wakeFd() const { return wake_fd_; }
  // For backends: takes the oldest posted op, or null; clears the wake-up when the box is found empty.
  Op* take();

 private:
  std::mutex mutex_;
  Op* first_ = nullptr;
  Op* last_ = nullptr;
  int wake_fd_ = -1;
};

}  // namespace plait
