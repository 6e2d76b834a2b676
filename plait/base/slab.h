// Memory that is reserved once and handed out in pieces of one size.
//
// A Reservation is an anonymous mapping: address space now, pages when first touched. Slabs take from it with a bump
// pointer and give back to a LIFO free list, so resident memory follows the real peak and warm pieces are used first.
// The free list lies beside the pieces, not in them: taking one does not wait for memory that has left the caches.
// None of this is thread-safe: a slab belongs to one worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "plait/base/assert.h"
#include "plait/base/poison.h"
#include "plait/base/prefetch.h"

namespace plait {

// An anonymous private mapping, unmapped on destruction. `size` is rounded up to whole pages. Where the system refuses
// it, std::get_new_handler() is called, as for `new`: a program says there what is to be done, and without one it ends.
class Reservation {
 public:
  // The system would reserve so much now. For those that reserve much and want to hear of it beforehand.
  static bool isPossible(size_t size);

  Reservation() = default;
  explicit Reservation(size_t size);
  Reservation(Reservation&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation();

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  // Touches every page, so that a shortage of memory shows at start and not at 3 a.m.
  void prefault();

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// Fixed-size pieces of raw memory. `take` returns null when all are out: running dry is an ordinary result.
class BlockSlab {
 public:
  // The first `kept_bytes` of a block may be looked at while it is free.
  BlockSlab(size_t block_size, size_t count, size_t kept_bytes = 0);
  BlockSlab(BlockSlab&&) = default;
  ~BlockSlab();

  void* take() {
    void* block = nullptr;
    if (free_count_ != 0) [[likely]] {
      block = freeList()[--free_count_];
      unpoison(block, block_size_);
      // The next to be taken is on its way into the cache while this one is filled.
      if (free_count_ != 0) prefetch(freeList()[free_count_ - 1], hot_bytes_);
    } else if (bumped_ < count_) {
      block = memory_.data() + bumped_ * stride_;
      bumped_ += 1;
    } else {
      return nullptr;
    }
    used_ += 1;
    if (used_ > peak_) peak_ = used_;
    return block;
  }
  void give(void* block) {
    PLAIT_ASSERT(contains(block));
    PLAIT_ASSERT(used_ > 0);
    freeList()[free_count_++] = block;
    poison(static_cast<uint8_t*>(block) + kept_bytes_, block_size_ - kept_bytes_);
    used_ -= 1;
  }

  // Blocks are numbered in the order in which they were first taken; bumped() ever were.
  size_t indexOf(const void* block) const {
    return static_cast<size_t>(static_cast<const uint8_t*>(block) - memory_.data()) / stride_;
  }
  void* at(size_t index) const { return memory_.data() + index * stride_; }
  size_t bumped() const { return bumped_; }

  size_t blockSize() const { return block_size_; }
  size_t capacity() const { return count_; }
  size_t used() const { return used_; }
  size_t available() const { return count_ - used_; }
  // Less than three quarters are free.
  bool isScarce() const { return available() < count_ - count_ / 4; }
  size_t peak() const { return peak_; }
  size_t reservedBytes() const { return memory_.size() + free_.size(); }
  // The bytes that a slab of that many blocks reserves.
  static size_t bytesFor(size_t block_size, size_t count);
  void prefault() {
    memory_.prefault();
    free_.prefault();
  }
  bool contains(const void* p) const { return p >= memory_.data() && p < memory_.data() + memory_.size(); }

 private:
  static size_t strideOf(size_t block_size);
  void** freeList() const { return reinterpret_cast<void**>(free_.data()); }
  // How much of a block is used in most cases, and at once. Large ones are filled later, by the code that streams
  // through them.
  static constexpr size_t hotBytes(size_t block_size) {
    return block_size < 1024 ? block_size : block_size <= 2048 ? 384 : 128;
  }

  Reservation memory_;
  Reservation free_;
  size_t block_size_ = 0;
  size_t stride_ = 0;  // from one block to the next
  size_t hot_bytes_ = 0;
  size_t kept_bytes_ = 0;
  size_t count_ = 0;
  size_t bumped_ = 0;
  size_t free_count_ = 0;
  size_t used_ = 0;
  size_t peak_ = 0;
};

// An object that may be gone when it is asked for (Slab::find): its place, and the generation that it had.
template <class T>
struct Handle {
  T* place = nullptr;
  uint32_t generation = 0;
};

// Objects of one type. `create` returns null when the slab is full. The generation of a place changes with each tenant,
// so that a stale handle is noticed.
template <class T>
class Slab {
 public:
  explicit Slab(size_t count) : blocks_(sizeof(Cell), count, generation_bytes) {}
  ~Slab() = default;

  template <class... Args>
  T* create(Args&&... args) {
    auto* cell = static_cast<Cell*>(blocks_.take());
    if (cell == nullptr) return nullptr;
    cell->generation += 1;
    return new (cell->storage) T(std::forward<Args>(args)...);
  }
  void destroy(T* object) {
    Cell* cell = cellOf(object);
    object->~T();
    cell->generation += 1;
    blocks_.give(cell);
  }

  // Odd while the object lives; changes when it is destroyed. Valid to ask for any object ever created here.
  uint32_t generation(const T* object) const { return cellOf(const_cast<T*>(object))->generation; }
  Handle<T> handleOf(T* object) const { return {object, generation(object)}; }
  // Null where the object has been destroyed since.
  T* find(const Handle<T>& handle) const {
    return handle.place != nullptr && generation(handle.place) == handle.generation ? handle.place : nullptr;
  }
  // Places are numbered from 0 in the order in which they were first used.
  uint32_t indexOf(const T* object) const {
    return static_cast<uint32_t>(blocks_.indexOf(cellOf(const_cast<T*>(object))));
  }
  // The object with that number and generation; null where there is none.
  T* at(uint32_t index, uint32_t wanted_generation) const {
    if (index >= blocks_.bumped()) return nullptr;
    auto* cell = static_cast<Cell*>(blocks_.at(index));
    return cell->generation == wanted_generation ? reinterpret_cast<T*>(cell->storage) : nullptr;
  }

  size_t capacity() const { return blocks_.capacity(); }
  size_t used() const { return blocks_.used(); }
  size_t available() const { return blocks_.available(); }
  size_t peak() const { return blocks_.peak(); }
  size_t reservedBytes() const { return blocks_.reservedBytes(); }
  void prefault() { blocks_.prefault(); }
  // The bytes that a slab of `count` objects reserves.
  static size_t bytesFor(size_t count) { return BlockSlab::bytesFor(sizeof(Cell), count); }

 private:
  static constexpr size_t generation_bytes = 8;  // whole words can be poisoned
  struct Cell {
    uint32_t generation;  // outlives the object
    alignas(T) uint8_t storage[sizeof(T)];
  };
  static Cell* cellOf(T* object) {
    return reinterpret_cast<Cell*>(reinterpret_cast<uint8_t*>(object) - offsetof(Cell, storage));
  }
  BlockSlab blocks_;
};

}  // namespace plait
