// An intrusive doubly linked list. A node belongs to at most one list; inserting it twice, or destroying it while it is
// linked, is an assertion. Nothing allocates; every operation is constant-time.
//
//   struct Stream { ListNode blocked_node; ... };
//   List<Stream, &Stream::blocked_node> blocked;
#pragma once

#include <cstddef>
#include <cstdint>

#include "plait/base/assert.h"

namespace plait {

class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { PLAIT_ASSERT(!isLinked()); }

  bool isLinked() const { return next_ != nullptr; }

  // Takes the node out of whichever list holds it; a node that is not linked stays as it is.
  void unlink() {
    if (next_ == nullptr) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = previous_ = nullptr;
  }

 private:
  template <class T, ListNode T::* Member>
  friend class List;
  ListNode* next_ = nullptr;
  ListNode* previous_ = nullptr;
};

template <class T, ListNode T::* Member>
class List {
 public:
  List() { head_.next_ = head_.previous_ = &head_; }
  List(const List&) = delete;
  List& operator=(const List&) = delete;
  ~List() {
    PLAIT_ASSERT(empty());
    head_.next_ = head_.previous_ = nullptr;
  }

  bool empty() const { return head_.next_ == &head_; }
  T* front() { return empty() ? nullptr : owner(head_.next_); }
  const T* front() const { return const_cast<List*>(this)->front(); }
  T* back() { return empty() ? nullptr : owner(head_.previous_); }

  void pushBack(T& item) { insertBefore(head_, item.*Member); }
  void pushFront(T& item) { insertBefore(*head_.next_, item.*Member); }
  // Inserts `item` just before `position`, which must be in this list.
  void insert(T& position, T& item) { insertBefore(position.*Member, item.*Member); }

  T* popFront() {
    T* item = front();
    if (item != nullptr) (item->*Member).unlink();
    return item;
  }

  // The item behind `item`, or null at the end. `item` must be in this list.
  T* next(T& item) {
    ListNode* node = (item.*Member).next_;
    return node == &head_ ? nullptr : owner(node);
  }

  const T* next(const T& item) const { return const_cast<List*>(this)->next(const_cast<T&>(item)); }

  // Moves every node of `other` behind ours.
  void spliceBack(List& other) {
    if (other.empty()) return;
    ListNode* first = other.head_.next_;
    ListNode* last = other.head_.previous_;
    first->previous_ = head_.previous_;
    head_.previous_->next_ = first;
    last->next_ = &head_;
    head_.previous_ = last;
    other.head_.next_ = other.head_.previous_ = &other.head_;
  }

 private:
  static void insertBefore(ListNode& position, ListNode& node) {
    PLAIT_ASSERT(!node.isLinked());
    node.next_ = &position;
    node.previous_ = position.previous_;
    position.previous_->next_ = &node;
    position.previous_ = &node;
  }
  static T* owner(ListNode* node) {
    const auto offset =
        reinterpret_cast<size_t>(&(reinterpret_cast<T*>(alignof(T) * 4096)->*Member)) - alignof(T) * 4096;
    return reinterpret_cast<T*>(reinterpret_cast<uint8_t*>(node) - offset);
  }

  ListNode head_;
};

}  // namespace plait
