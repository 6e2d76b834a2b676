// Cooperative cancellation: code that wants to be told links a CancelNode; cancel() tells all of them once, in order.
// A node that is still linked may not be destroyed before it is unlinked; linking to a cancelled token tells at once.
#pragma once

#include "plait/base/error.h"
#include "plait/base/list.h"

namespace plait {

struct CancelNode {
  ListNode node;
  void (*on_cancel)(void* owner, const Error& error) = nullptr;
  void* owner = nullptr;
};

class CancelToken {
 public:
  bool isCancelled() const { return cancelled_; }
  const Error& error() const { return error_; }

  void link(CancelNode& node) {
    if (cancelled_) {
      node.on_cancel(node.owner, error_);
    } else {
      nodes_.pushBack(node);
    }
  }

  void cancel(const Error& error) {
    if (cancelled_) return;
    cancelled_ = true;
    error_ = error;
    while (CancelNode* node = nodes_.popFront()) node->on_cancel(node->owner, error);
  }

 private:
  List<CancelNode, &CancelNode::node> nodes_;
  Error error_;
  bool cancelled_ = false;
};

}  // namespace plait
