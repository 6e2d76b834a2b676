#include <sys/eventfd.h>
#include <unistd.h>

#include "plait/base/assert.h"
#include "plait/io/mailbox.h"

namespace plait {

Mailbox::Mailbox() : wake_fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  PLAIT_ASSERT(wake_fd_ >= 0);
}

Mailbox::~Mailbox() {
  ::close(wake_fd_);
}

void Mailbox::post(Op& op, int32_t result) {
  const std::lock_guard lock(mutex_);
  op.result = result;
  op.next = nullptr;
  (last_ == nullptr ? first_ : last_->next) = &op;
  last_ = &op;
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_fd_, &one, sizeof(one));
}

Op* Mailbox::take() {
  const std::lock_guard lock(mutex_);
  Op* op = first_;
  if (op == nullptr) {
    uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(wake_fd_, &count, sizeof(count));
    return nullptr;
  }
  first_ = op->next;
  if (first_ == nullptr) last_ = nullptr;
  op->next = nullptr;
  return op;
}

}  // namespace plait
