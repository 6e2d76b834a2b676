// Blocks of seven sizes out of one reservation. It is cut into chunks of the largest size; a chunk holds blocks of one
// class as long as any of them is in use, and then is free for every class again.
//
//   8 KiB chunk │ 128 │ 128 │ … 64 of them        │ 512 │ 512 │ … 16        │ 8192 │
//
// A chunk in use holds at least one block. So there are never more chunks than blocks, and take() cannot fail for
// owners that hold fewer blocks than the slab was made for, whatever their sizes were before: memory that grows with
// its contents needs no reserve for each class.
#pragma once

#include <bit>

#include "plait/base/slab.h"

namespace plait {

class ClassedSlab {
 public:
  static constexpr size_t largest = 8192;
  static constexpr size_t smallest = 128;
  static constexpr size_t class_count = 7;

  // `count` blocks may be held at once, each as large as it likes.
  explicit ClassedSlab(size_t count);
  ~ClassedSlab();

  // The size of the smallest class that holds `size` bytes, at most `largest`.
  static constexpr size_t roundUp(size_t size) { return size <= smallest ? smallest : std::bit_ceil(size); }

  // A block of `size` bytes, which is one of the classes' sizes; null when every chunk is in use.
  uint8_t* take(size_t size);
  void give(uint8_t* block);

  // Blocks in use, and the most that ever were.
  size_t used() const { return used_; }
  size_t peak() const { return peak_; }
  size_t capacity() const { return count_; }
  size_t reservedBytes() const { return memory_.size() + chunks_.size(); }
  // The bytes that a slab for `count` blocks reserves.
  static size_t bytesFor(size_t count);
  void prefault() {
    memory_.prefault();
    chunks_.prefault();
  }

 private:
  static constexpr uint32_t none = UINT32_MAX;
  struct Chunk {
    uint64_t free;  // a bit for each block that is not in use
    uint32_t next;  // in the list of its class's chunks with a free block, or of free chunks
    uint32_t previous;
    uint32_t class_index;
  };
  Chunk& chunk(uint32_t index) const { return reinterpret_cast<Chunk*>(chunks_.data())[index]; }
  static uint64_t allFree(size_t class_index) {
    const size_t blocks = largest / (smallest << class_index);
    return ~uint64_t{0} >> (64 - blocks);
  }
  void link(uint32_t index);
  void unlink(uint32_t index);

  Reservation memory_;
  Reservation chunks_;
  size_t count_;
  uint32_t bumped_ = 0;  // chunks that were ever in use
  uint32_t free_chunks_ = none;
  uint32_t partial_[class_count] = {none, none, none, none, none, none, none};
  size_t used_ = 0;
  size_t peak_ = 0;
};

static_assert(ClassedSlab::smallest << (ClassedSlab::class_count - 1) == ClassedSlab::largest);
static_assert(ClassedSlab::largest / ClassedSlab::smallest <= 64, "a chunk's blocks have a bit each in a word");

}  // namespace plait
