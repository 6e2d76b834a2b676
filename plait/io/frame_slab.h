// Coroutine frames come from here, in size classes, never from malloc. The slab is found through the Io& among the
// coroutine's arguments; a coroutine without one does not compile (io/task.h).
#pragma once

#include <array>
#include <optional>

#include "plait/base/slab.h"

namespace plait {

// An argument of coroutines that may not fail for want of a frame: each socket is closed by one.
struct LastFrame {};

// The frames of an Io, by size.
struct FrameCounts {
  // Odd numbers of cache lines but for the smallest: a slab would leave the rest unused (BlockSlab).
  static constexpr std::array<uint32_t, 8> class_sizes = {208, 320, 576, 832, 1088, 2112, 4160, 8256};
  std::array<uint32_t, class_sizes.size()> by_class{};
  uint32_t last = 0;  // for coroutines with LastFrame

  // `count` of every size, fewer of the largest.
  static constexpr FrameCounts evenly(uint32_t count) {
    const uint32_t few = count / 8 + 16;
    return {.by_class = {count, count, count, count, count, count, few, few}, .last = count};
  }
};

class FrameSlab {
 public:
  static constexpr auto class_sizes = FrameCounts::class_sizes;
  static constexpr uint32_t last_size = 256;
  static constexpr size_t header_size = 16;  // of each frame's block: whose it is

  // Address space until used.
  explicit FrameSlab(const FrameCounts& counts) {
    for (size_t i = 0; i < class_sizes.size(); ++i) slabs_[i].emplace(class_sizes[i], counts.by_class[i]);
    last_.emplace(last_size, counts.last);
  }
  // The bytes that such a slab reserves.
  static size_t bytesFor(const FrameCounts& counts) {
    size_t total = BlockSlab::bytesFor(last_size, counts.last);
    for (size_t i = 0; i < class_sizes.size(); ++i) total += BlockSlab::bytesFor(class_sizes[i], counts.by_class[i]);
    return total;
  }
  void prefault() {
    for (auto& slab : slabs_) slab->prefault();
    last_->prefault();
  }

  // Null where no frame is free that is large enough. The number of coroutines is bounded by the slabs of connections
  // and exchanges, for which this one is dimensioned.
  void* take(size_t size) {
    // The size of a coroutine's frame is a constant, and so is its class.
    PLAIT_ASSERT(size + header_size <= class_sizes.back());
    size_t index = 0;
    while (index + 1 < class_sizes.size() && size + header_size > class_sizes[index]) index += 1;
    return takeFrom(index);
  }
  // Never null: there are no more such coroutines than frames for them.
  void* takeLast(size_t size) {
    PLAIT_ASSERT(size + header_size <= last_size);
    void* block = last_->take();
    PLAIT_ASSERT(block != nullptr);
    return begin(block, *last_);
  }
  static void give(void* frame) {
    auto* block = static_cast<uint8_t*>(frame) - header_size;
    (*reinterpret_cast<BlockSlab**>(block))->give(block);
  }

  size_t capacity() const {
    size_t total = last_->capacity();
    for (const auto& slab : slabs_) total += slab->capacity();
    return total;
  }
  // The sum of the classes' peaks, which need not have been reached at one moment.
  size_t peak() const {
    size_t total = last_->peak();
    for (const auto& slab : slabs_) total += slab->peak();
    return total;
  }
  size_t used() const {
    size_t total = last_->used();
    for (const auto& slab : slabs_) total += slab->used();
    return total;
  }
  // Coroutines that there was no frame for.
  uint64_t refusals() const { return refusals_; }
  size_t reservedBytes() const {
    size_t total = last_->reservedBytes();
    for (const auto& slab : slabs_) total += slab->reservedBytes();
    return total;
  }

 private:
  // From that class, or, where it is used up, from a larger one.
  void* takeFrom(size_t index) {
    for (; index < class_sizes.size(); ++index) {
      BlockSlab& slab = *slabs_[index];
      void* block = slab.take();
      if (block == nullptr) [[unlikely]]
        continue;
      return begin(block, slab);
    }
    return refuse();
  }
  void* refuse();  // null
  static void* begin(void* block, BlockSlab& slab) {
    *static_cast<BlockSlab**>(block) = &slab;
    return static_cast<uint8_t*>(block) + header_size;
  }

  std::array<std::optional<BlockSlab>, class_sizes.size()> slabs_;
  std::optional<BlockSlab> last_;
  uint64_t refusals_ = 0;
};

}  // namespace plait
