// Memory for the fields of one message, in three sizes: most heads fit the first, the last holds the largest head that
// the limits admit. A block grows by moving to the next size; the views of the old one are then void.
#pragma once

#include <span>
#include <utility>

#include "plait/base/slab.h"
#include "plait/http/field_list.h"

namespace plait::http {

// A worker's supply of header memory.
class HeaderSlab {
 public:
  static constexpr size_t class_sizes[3] = {2 * 1024, 8 * 1024, 64 * 1024};
  static constexpr size_t largest = class_sizes[2];

  HeaderSlab(size_t small, size_t medium, size_t large)
      : slabs_{BlockSlab(class_sizes[0], small), BlockSlab(class_sizes[1], medium), BlockSlab(class_sizes[2], large)} {}

  // The smallest free block of at least `size` bytes; empty when there is none.
  MutableBytes take(size_t size) {
    for (size_t i = 0; i < std::size(class_sizes); ++i) {
      if (class_sizes[i] < size) continue;
      if (void* block = slabs_[i].take()) return {static_cast<uint8_t*>(block), class_sizes[i]};
    }
    return {};
  }
  void give(MutableBytes block) {
    for (BlockSlab& slab : slabs_) {
      if (slab.contains(block.data())) return slab.give(block.data());
    }
    PLAIT_UNREACHABLE();
  }

  BlockSlab& ofClass(size_t index) { return slabs_[index]; }
  std::span<BlockSlab> classes() { return slabs_; }
  size_t reservedBytes() const {
    return slabs_[0].reservedBytes() + slabs_[1].reservedBytes() + slabs_[2].reservedBytes();
  }

 private:
  BlockSlab slabs_[3];
};

// One block out of a HeaderSlab, given back on destruction.
class HeaderBlock {
 public:
  explicit HeaderBlock(HeaderSlab& slab) : slab_(&slab) {}
  HeaderBlock(const HeaderBlock&) = delete;
  HeaderBlock& operator=(const HeaderBlock&) = delete;
  ~HeaderBlock() { reset(); }

  // Takes a block of at least `size` bytes, giving back the one held before; false when the slab has none.
  bool reserve(size_t size) {
    reset();
    memory_ = slab_->take(size);
    return !memory_.empty();
  }
  void reset() {
    if (!memory_.empty()) slab_->give(std::exchange(memory_, MutableBytes()));
  }
  void swap(HeaderBlock& other) { std::swap(memory_, other.memory_); }
  bool isHeld() const { return !memory_.empty(); }
  MutableBytes memory() const { return memory_; }

 private:
  HeaderSlab* slab_;
  MutableBytes memory_;
};

}  // namespace plait::http
