#include "plait/net/tls_arena.h"

#include <openssl/crypto.h>

#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "plait/base/slab.h"

#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#endif

namespace plait {
namespace {

constexpr size_t header_size = 16;
constexpr size_t min_class_size = 32;
// Classes grow by a quarter of each power of two, so that at most a fifth of a block is slack.
constexpr size_t steps_per_doubling = 4;
constexpr size_t doublings = std::bit_width(TlsArena::max_block / min_class_size) - 1;
constexpr size_t class_count = doublings * steps_per_doubling + 1;
constexpr size_t alignment = 16;

constexpr size_t classSize(size_t index) {
  const size_t base = min_class_size << (index / steps_per_doubling);
  const size_t size = base + base / steps_per_doubling * (index % steps_per_doubling);
  return (size + alignment - 1) / alignment * alignment;
}
static_assert(classSize(class_count - 1) == TlsArena::max_block);

// The smallest class for a block of `size` bytes; class_count where none is large enough.
constexpr size_t classOf(size_t size) {
  if (size <= min_class_size) return 0;
  if (size > TlsArena::max_block) return class_count;
  const size_t doubling = std::bit_width((size - 1) / min_class_size) - 1;
  const size_t base = min_class_size << doubling;
  const size_t step = base / steps_per_doubling;
  return doubling * steps_per_doubling + (size - base + step - 1) / step;
}
static_assert(classOf(32) == 0 && classOf(64) == steps_per_doubling && classOf(65) == steps_per_doubling + 1);
static_assert(classSize(classOf(16'800)) >= 16'800 && classSize(classOf(16'800)) <= 20'480);
static_assert(classOf(TlsArena::max_block) == class_count - 1);

struct Header {
  TlsArena::Core* owner;  // null: from malloc
  size_t extent;          // the class where there is an owner, else the bytes that follow
};
static_assert(sizeof(Header) == header_size);

struct Free {
  Free* next;
};

Header* headerOf(void* memory) {
  return reinterpret_cast<Header*>(static_cast<uint8_t*>(memory) - header_size);
}
Free* freeOf(Header* header) {
  return reinterpret_cast<Free*>(header + 1);
}

}  // namespace

// Lies at the front of its own reservation, so that a late free finds it after the TlsArena is gone.
struct TlsArena::Core {
  Reservation memory;
  uint8_t* bump;
  uint8_t* end;
  Free* free[class_count] = {};
  // Written by the owner alone, read by whoever scrapes metrics.
  std::atomic<size_t> live{0};
  std::atomic<size_t> peak{0};
  std::atomic<uint64_t> allocations{0};
  std::atomic<uint64_t> refusals{0};
  std::atomic<bool> is_bound{false};
  // The one field that other threads write; a line of its own.
  alignas(64) std::atomic<Free*> remote{nullptr};

  explicit Core(Reservation reserved) : memory(std::move(reserved)) {
    bump = memory.data() + (sizeof(Core) + 63) / 64 * 64;
    end = memory.data() + memory.size();
  }

  static void add(std::atomic<uint64_t>& counter, uint64_t count) {
    counter.store(counter.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }

  void* take(size_t size) {
    if (remote.load(std::memory_order_relaxed) != nullptr) [[unlikely]]
      collectRemote();
    const size_t wanted = size > max_block ? class_count : classOf(size + header_size);
    Header* header = wanted == class_count ? nullptr : takeBlock(wanted);
    if (header == nullptr) [[unlikely]] {
      add(refusals, 1);
      return nullptr;
    }
    header->owner = this;
    add(allocations, 1);
    add(live, classSize(header->extent));
    if (live.load(std::memory_order_relaxed) > peak.load(std::memory_order_relaxed)) {
      peak.store(live.load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
    return header + 1;
  }

  Header* takeBlock(size_t wanted) {
    if (Free* block = free[wanted]; block != nullptr) {
      free[wanted] = block->next;
      return headerOf(block);
    }
    if (static_cast<size_t>(end - bump) >= classSize(wanted)) {
      auto* header = reinterpret_cast<Header*>(bump);
      header->extent = wanted;
      bump += classSize(wanted);
      return header;
    }
    // All memory is cut up by now; a larger block than needed is better than a handshake that fails.
    for (size_t larger = wanted + 1; larger < class_count; ++larger) {
      if (Free* block = free[larger]; block != nullptr) {
        free[larger] = block->next;
        return headerOf(block);
      }
    }
    return nullptr;
  }

  void give(Header* header) {
    Free* block = freeOf(header);
    block->next = free[header->extent];
    free[header->extent] = block;
    live.store(live.load(std::memory_order_relaxed) - classSize(header->extent), std::memory_order_relaxed);
  }

  // From any thread but the owner.
  void giveRemote(Header* header) {
    Free* block = freeOf(header);
    block->next = remote.load(std::memory_order_relaxed);
    while (!remote.compare_exchange_weak(block->next, block, std::memory_order_release, std::memory_order_relaxed)) {
    }
  }

  // The whole list is taken at once, so the exchange cannot be misled by a block that came back meanwhile.
  void collectRemote() {
    Free* block = remote.exchange(nullptr, std::memory_order_acquire);
    while (block != nullptr) {
      Free* next = block->next;
      give(headerOf(block));
      block = next;
    }
  }
};

namespace {

// OpenSSL's hooks carry no context: this is the one global of the runtime (DESIGN §5).
thread_local constinit TlsArena::Core* bound = nullptr;

void* allocate(size_t size, const char*, int) {
  if (size == 0) return nullptr;
  if (bound != nullptr) return bound->take(size);
  if (size > SIZE_MAX - header_size) return nullptr;
  auto* header = static_cast<Header*>(std::malloc(size + header_size));
  if (header == nullptr) return nullptr;
  *header = {nullptr, size};
  return header + 1;
}

void release(void* memory, const char*, int) {
  if (memory == nullptr) return;
  Header* header = headerOf(memory);
  if (header->owner == nullptr) {
    std::free(header);
  } else if (header->owner == bound) {
    bound->give(header);
  } else {
    header->owner->giveRemote(header);
  }
}

void* reallocate(void* memory, size_t size, const char* file, int line) {
  if (memory == nullptr) return allocate(size, file, line);
  if (size == 0) {
    release(memory, file, line);
    return nullptr;
  }
  const Header* header = headerOf(memory);
  const size_t usable = header->owner == nullptr ? header->extent : classSize(header->extent) - header_size;
  // Growing within the class is free; shrinking keeps the block, since OpenSSL shrinks nothing that lives long.
  if (size <= usable) return memory;
  void* grown = allocate(size, file, line);
  if (grown == nullptr) return nullptr;
  std::memcpy(grown, memory, usable);
  release(memory, file, line);
  return grown;
}

}  // namespace

bool installTlsArena() {
  static const bool is_installed = CRYPTO_set_mem_functions(allocate, reallocate, release) == 1;
  return is_installed;
}

TlsArena::TlsArena(size_t size) {
  Reservation memory(size + sizeof(Core));
  void* place = memory.data();
  core_ = new (place) Core(std::move(memory));
#if __has_feature(address_sanitizer)
  // What only OpenSSL's blocks point to is not leaked.
  __lsan_register_root_region(core_->memory.data(), core_->memory.size());
#endif
}

TlsArena::~TlsArena() {
  if (bound == core_) bind(nullptr);
  PLAIT_ASSERT(!core_->is_bound.load());
  core_->collectRemote();
  if (core_->live.load() != 0) return;
#if __has_feature(address_sanitizer)
  __lsan_unregister_root_region(core_->memory.data(), core_->memory.size());
#endif
  // The core lies within the reservation that it owns: take that out before it is unmapped.
  const Reservation memory = std::move(core_->memory);
  core_->~Core();
}

void TlsArena::bind(TlsArena* arena) {
  if (bound != nullptr) {
    if (arena != nullptr && arena->core_ == bound) return;
    OPENSSL_thread_stop();
    bound->is_bound.store(false);
    bound = nullptr;
  }
  if (arena == nullptr) return;
  PLAIT_ASSERT(!arena->core_->is_bound.exchange(true));
  bound = arena->core_;
}

size_t TlsArena::liveBytes() const {
  return core_->live.load(std::memory_order_relaxed);
}
size_t TlsArena::peakBytes() const {
  return core_->peak.load(std::memory_order_relaxed);
}
uint64_t TlsArena::allocations() const {
  return core_->allocations.load(std::memory_order_relaxed);
}
uint64_t TlsArena::refusals() const {
  return core_->refusals.load(std::memory_order_relaxed);
}
size_t TlsArena::reservedBytes() const {
  return core_->memory.size();
}
void TlsArena::prefault() {
  core_->memory.prefault();
}

}  // namespace plait
