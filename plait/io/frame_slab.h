// Coroutine frames come from here, in size classes, never from malloc. The slab is found through the Io& among the
// coroutine's arguments; a coroutine without one does not compile (io/task.h).
#pragma once

#include <array>
#include <optional>

#include "plait/base/slab.h"

namespace plait {

class FrameSlab {
 public:
  static constexpr std::array<uint32_t, 7> class_sizes = {208, 256, 512, 1024, 2048, 4096, 8192};

  // `count` frames of every class. The classes are address space until used.
  explicit FrameSlab(uint32_t count) {
    for (size_t i = 0; i < class_sizes.size(); ++i) slabs_[i].emplace(class_sizes[i], countOf(i, count));
  }
  // What a slab of `count` frames reserves.
  static size_t bytesFor(uint32_t count) {
    size_t total = 0;
    for (size_t i = 0; i < class_sizes.size(); ++i) total += BlockSlab::bytesFor(class_sizes[i], countOf(i, count));
    return total;
  }
  void prefault() {
    for (auto& slab : slabs_) slab->prefault();
  }

  // Never null: the number of coroutines is bounded by the slabs of connections and exchanges, for which this one is
  // dimensioned, so running out is a bug and stops the process.
  void* take(size_t size) {
    // The size of a coroutine's frame is a constant, and so is its class.
    PLAIT_ASSERT(size + header_size <= class_sizes.back());
    size_t index = 0;
    while (index + 1 < class_sizes.size() && size + header_size > class_sizes[index]) index += 1;
    return takeFrom(index);
  }
  static void give(void* frame) {
    auto* block = static_cast<uint8_t*>(frame) - header_size;
    (*reinterpret_cast<BlockSlab**>(block))->give(block);
  }

  size_t capacity() const {
    size_t total = 0;
    for (const auto& slab : slabs_) total += slab->capacity();
    return total;
  }
  // The sum of the classes' peaks, which need not have been reached at one moment.
  size_t peak() const {
    size_t total = 0;
    for (const auto& slab : slabs_) total += slab->peak();
    return total;
  }
  size_t used() const {
    size_t total = 0;
    for (const auto& slab : slabs_) total += slab->used();
    return total;
  }
  size_t reservedBytes() const {
    size_t total = 0;
    for (const auto& slab : slabs_) total += slab->reservedBytes();
    return total;
  }

 private:
  // Few coroutines are large: the upper classes are for connections' and start-up's, not for requests'.
  static size_t countOf(size_t index, uint32_t count) { return class_sizes[index] <= 2048 ? count : count / 8 + 16; }

  // From that class, or, where it is used up, from a larger one.
  void* takeFrom(size_t index) {
    for (; index < class_sizes.size(); ++index) {
      BlockSlab& slab = *slabs_[index];
      void* block = slab.take();
      if (block == nullptr) [[unlikely]]
        continue;
      *static_cast<BlockSlab**>(block) = &slab;
      return static_cast<uint8_t*>(block) + header_size;
    }
    PLAIT_UNREACHABLE();
  }

  static constexpr size_t header_size = 16;
  std::array<std::optional<BlockSlab>, class_sizes.size()> slabs_;
};

}  // namespace plait
