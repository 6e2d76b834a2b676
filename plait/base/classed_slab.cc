#include "plait/base/classed_slab.h"

namespace plait {

ClassedSlab::ClassedSlab(size_t count) : memory_(count * largest), chunks_(count * sizeof(Chunk)), count_(count) {}

ClassedSlab::~ClassedSlab() {
  // The addresses may be mapped anew.
  if (memory_.data() != nullptr) unpoison(memory_.data(), bumped_ * largest);
}

size_t ClassedSlab::bytesFor(size_t count) {
  constexpr size_t page_size = 4096;
  return count * largest + (count * sizeof(Chunk) + page_size - 1) / page_size * page_size;
}

void ClassedSlab::link(uint32_t index) {
  Chunk& linked = chunk(index);
  uint32_t& head = partial_[linked.class_index];
  linked.previous = none;
  linked.next = head;
  if (head != none) chunk(head).previous = index;
  head = index;
}

void ClassedSlab::unlink(uint32_t index) {
  const Chunk& linked = chunk(index);
  if (linked.previous == none) {
    partial_[linked.class_index] = linked.next;
  } else {
    chunk(linked.previous).next = linked.next;
  }
  if (linked.next != none) chunk(linked.next).previous = linked.previous;
}

uint8_t* ClassedSlab::take(size_t size) {
  PLAIT_ASSERT(std::has_single_bit(size) && size >= smallest && size <= largest);
  const auto class_index = static_cast<uint32_t>(std::countr_zero(size / smallest));
  uint32_t index = partial_[class_index];
  if (index == none) {
    if (free_chunks_ != none) {
      index = free_chunks_;
      free_chunks_ = chunk(index).next;
    } else if (bumped_ < count_) {
      index = bumped_++;
    } else {
      return nullptr;
    }
    chunk(index).free = allFree(class_index);
    chunk(index).class_index = class_index;
    link(index);
  }
  Chunk& taken = chunk(index);
  const int block = std::countr_zero(taken.free);
  taken.free &= taken.free - 1;
  if (taken.free == 0) unlink(index);
  used_ += 1;
  if (used_ > peak_) peak_ = used_;
  uint8_t* const memory = memory_.data() + index * largest + static_cast<size_t>(block) * size;
  unpoison(memory, size);
  return memory;
}

void ClassedSlab::give(uint8_t* block) {
  PLAIT_ASSERT(block >= memory_.data());
  PLAIT_ASSERT(block < memory_.data() + memory_.size());
  const auto offset = static_cast<size_t>(block - memory_.data());
  const auto index = static_cast<uint32_t>(offset / largest);
  Chunk& given = chunk(index);
  const size_t size = smallest << given.class_index;
  PLAIT_ASSERT(offset % size == 0);
  const uint64_t bit = uint64_t{1} << (offset % largest / size);
  PLAIT_ASSERT((given.free & bit) == 0);
  if (given.free == 0) link(index);
  given.free |= bit;
  poison(block, size);
  used_ -= 1;
  if (given.free != allFree(given.class_index)) return;
  unlink(index);
  given.next = free_chunks_;
  free_chunks_ = index;
}

}  // namespace plait
