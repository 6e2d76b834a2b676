// A bounded FIFO over memory reserved at start. Pushing into a full ring is a bug of the code that sized it.
#pragma once

#include <bit>
#include <type_traits>

#include "plait/base/slab.h"

namespace plait {

template <class T>
class Ring {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // Room for at least `capacity` items: rounded up to a power of two, so that an index is a mask.
  explicit Ring(size_t capacity) : memory_(std::bit_ceil(capacity) * sizeof(T)), mask_(std::bit_ceil(capacity) - 1) {}

  bool empty() const { return head_ == tail_; }
  size_t size() const { return tail_ - head_; }
  bool full() const { return size() == mask_ + 1; }
  void push(const T& item) {
    PLAIT_ASSERT(!full());
    items()[tail_++ & mask_] = item;
  }
  T pop() {
    PLAIT_ASSERT(!empty());
    const T item = items()[head_++ & mask_];
    // A ring that is mostly empty uses the same memory again, not all that was reserved.
    if (empty()) head_ = tail_ = 0;
    return item;
  }

 private:
  T* items() { return reinterpret_cast<T*>(memory_.data()); }
  Reservation memory_;
  size_t mask_;
  size_t head_ = 0;
  size_t tail_ = 0;
};

}  // namespace plait
