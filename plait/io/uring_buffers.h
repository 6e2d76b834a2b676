// Receive buffers that the kernel has: an io_uring ring of provided buffers. It fills them in the order in which they
// were provided, and names the first that a recv filled.
#pragma once

#include <liburing.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "plait/io/buffer_pool.h"

namespace plait {

class ProvidedBuffers {
 public:
  // Rings with different `group` numbers share one pool. At most `count` buffers are with the kernel at a time.
  ProvidedBuffers(BufferPool& buffers, uint16_t group, uint32_t count)
      // More places than buffers: where one lies must not be written over before its completion has been seen.
      : buffers_(buffers),
        position_of_(new uint16_t[buffers.count()]),
        places_(std::min(count * 2, most_places)),
        group_(group) {}
  ProvidedBuffers(const ProvidedBuffers&) = delete;
  ProvidedBuffers& operator=(const ProvidedBuffers&) = delete;
  // Only when the io_uring is gone.
  ~ProvidedBuffers() {
    if (ring_ != nullptr) ::munmap(ring_, size());
  }

  // 0 or -errno.
  int registerAt(io_uring& uring) {
    void* memory = ::mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return -ENOMEM;
    ring_ = static_cast<io_uring_buf_ring*>(memory);
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<uint64_t>(ring_);
    registration.ring_entries = places_;
    registration.bgid = group_;
    if (const int result = io_uring_register_buf_ring(&uring, &registration, 0); result < 0) return result;
    io_uring_buf_ring_init(ring_);
    return 0;
  }

  uint16_t group() const { return group_; }
  uint32_t provided() const { return provided_; }

  // Gives the kernel buffers until it has `wanted`, or none is free, the pool's reserve not counted but `from_reserve`.
  void provide(uint32_t wanted, bool from_reserve = false) {
    int added = 0;
    while (provided_ < wanted) {
      const int32_t id = buffers_.takeFree(from_reserve);
      if (id < 0) break;
      position_of_[id] = static_cast<uint16_t>(ring_->tail + added);
      io_uring_buf_ring_add(ring_, buffers_.data(static_cast<uint32_t>(id)), buffers_.bufferSize(),
                            static_cast<uint16_t>(id), static_cast<int>(places_ - 1), added++);
      provided_ += 1;
    }
    if (added != 0) io_uring_buf_ring_advance(ring_, added);
  }

  // Which buffer lies `index` places behind the one that a completion names.
  uint16_t behind(uint32_t first_id, uint32_t index) const {
    return ring_->bufs[(position_of_[first_id] + index) & (places_ - 1)].bid;
  }
  // So many came back from the kernel.
  void noteTaken(uint32_t count) {
    PLAIT_ASSERT(count <= provided_);
    provided_ -= count;
  }

 private:
  static constexpr uint32_t most_places = 32768;
  size_t size() const { return places_ * sizeof(io_uring_buf); }

  BufferPool& buffers_;
  io_uring_buf_ring* ring_ = nullptr;
  std::unique_ptr<uint16_t[]> position_of_;  // by id
  uint32_t places_;
  uint32_t provided_ = 0;
  uint16_t group_;
};

}  // namespace plait
