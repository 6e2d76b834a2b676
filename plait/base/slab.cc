#include "plait/base/slab.h"

#include <sys/mman.h>

namespace plait {
namespace {

constexpr size_t page_size = 4096;

}  // namespace

Reservation::Reservation(size_t size) : size_((size + page_size - 1) / page_size * page_size) {
  if (size_ == 0) return;
  void* memory = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  PLAIT_ASSERT(memory != MAP_FAILED);
  data_ = static_cast<uint8_t*>(memory);
}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Reservation::~Reservation() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void Reservation::prefault() {
  for (size_t offset = 0; offset < size_; offset += page_size) {
    auto* byte = const_cast<volatile uint8_t*>(data_ + offset);
    *byte = *byte;
  }
}

BlockSlab::BlockSlab(size_t block_size, size_t count)
    : memory_(((block_size + 15) / 16 * 16) * count), block_size_((block_size + 15) / 16 * 16), count_(count) {
  PLAIT_ASSERT(block_size_ >= sizeof(Free));
}

BlockSlab::~BlockSlab() = default;

void* BlockSlab::take() {
  void* block = nullptr;
  if (free_ != nullptr) {
    block = free_;
    free_ = free_->next;
  } else if (bumped_ < count_) {
    block = memory_.data() + bumped_ * block_size_;
    bumped_ += 1;
  } else {
    return nullptr;
  }
  used_ += 1;
  if (used_ > peak_) peak_ = used_;
  return block;
}

void BlockSlab::give(void* block) {
  PLAIT_ASSERT(contains(block));
  PLAIT_ASSERT(used_ > 0);
  auto* freed = static_cast<Free*>(block);
  freed->next = free_;
  free_ = freed;
  used_ -= 1;
}

}  // namespace plait
