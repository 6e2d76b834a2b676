#include "plait/base/slab.h"

#include <sys/mman.h>

namespace plait {
namespace {

constexpr size_t page_size = 4096;

void* map(size_t size) {
  return ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

}  // namespace

bool Reservation::isPossible(size_t size) {
  if (size == 0) return true;
  void* memory = map(size);
  if (memory == MAP_FAILED) return false;
  ::munmap(memory, size);
  return true;
}

Reservation::Reservation(size_t size) : size_((size + page_size - 1) / page_size * page_size) {
  if (size_ == 0) return;
  void* memory = map(size_);
  while (memory == MAP_FAILED) {
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) endForWantOfMemory();
    handler();
    memory = map(size_);
  }
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

#if __has_feature(address_sanitizer)
__attribute__((no_sanitize("address")))
#endif
void Reservation::prefault() {
  for (size_t offset = 0; offset < size_; offset += page_size) {
    auto* byte = const_cast<volatile uint8_t*>(data_ + offset);
    *byte = *byte;
  }
}

// Most of a large block is rarely touched: its first lines always are. Strides that are a power of two would put the
// first lines of all blocks into the same few sets of the caches; an odd number of lines spreads them over all sets.
// Small blocks lie close to each other.
size_t BlockSlab::strideOf(size_t block_size) {
  const size_t lines = (block_size + cache_line_size - 1) / cache_line_size;
  return block_size < 4 * cache_line_size ? block_size : (lines | 1) * cache_line_size;
}

BlockSlab::BlockSlab(size_t block_size, size_t count, size_t kept_bytes)
    : memory_(strideOf((block_size + 15) / 16 * 16) * count),
      free_(sizeof(void*) * count),
      block_size_((block_size + 15) / 16 * 16),
      stride_(strideOf(block_size_)),
      hot_bytes_(hotBytes(block_size_)),
      kept_bytes_(kept_bytes),
      count_(count) {}

size_t BlockSlab::bytesFor(size_t block_size, size_t count) {
  const auto pages = [](size_t bytes) { return (bytes + page_size - 1) / page_size * page_size; };
  return pages(strideOf((block_size + 15) / 16 * 16) * count) + pages(sizeof(void*) * count);
}

BlockSlab::~BlockSlab() {
  // The addresses may be mapped anew.
  if (memory_.data() != nullptr) unpoison(memory_.data(), bumped_ * stride_);
}

}  // namespace plait
