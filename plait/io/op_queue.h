// OpQueue: operations in a line of a backend's own, which needs no memory for it: Op::next is the backend's.
#pragma once

#include <utility>

#include "plait/io/op.h"

namespace plait {

class OpQueue {
 public:
  bool empty() const { return head_ == nullptr; }
  void push(Op& op) {
    op.next = nullptr;
    (head_ == nullptr ? head_ : tail_->next) = &op;
    tail_ = &op;
  }
  // Null where there is none.
  Op* pop() {
    Op* op = head_;
    if (op != nullptr) head_ = std::exchange(op->next, nullptr);
    return op;
  }
  // False where it is not in this line.
  bool remove(Op& op) {
    Op* before = nullptr;
    for (Op* found = head_; found != nullptr; before = std::exchange(found, found->next)) {
      if (found != &op) continue;
      (before == nullptr ? head_ : before->next) = op.next;
      if (tail_ == &op) tail_ = before;
      op.next = nullptr;
      return true;
    }
    return false;
  }

 private:
  Op* head_ = nullptr;
  Op* tail_ = nullptr;
};

}  // namespace plait
