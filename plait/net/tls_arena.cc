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
static_assert(class_count <= 64, "a word has a bit for each class");
// Blocks are whole units.
constexpr size_t unit = 16;

constexpr size_t classSize(size_t index) {
  const size_t base = min_class_size << (index / steps_per_doubling);
  const size_t size = base + base / steps_per_doubling * (index % steps_per_doubling);
  return (size + unit - 1) / unit * unit;
}
static_assert(classSize(class_count - 1) == TlsArena::max_block);

// A block's place among the classes as if these had no gaps: four to each doubling, the first at min_class_size.
constexpr size_t stepOf(size_t size) {
  static_assert(steps_per_doubling == 4);
  const auto doubling = static_cast<size_t>(std::bit_width(size)) - 1;
  return doubling * steps_per_doubling + (size >> (doubling - 2)) % steps_per_doubling;
}

// The smallest class for a block of `size` bytes; class_count where none is large enough. Of classes that rounding has
// made equal it is the last, into which their blocks come back (classWithin).
constexpr size_t classOf(size_t size) {
  if (size > TlsArena::max_block) return class_count;
  const size_t whole = (size + unit - 1) / unit * unit;
  return whole <= min_class_size ? 0 : stepOf(whole - 1) + 1 - stepOf(min_class_size);
}
static_assert(classOf(32) == 0 && classOf(64) == steps_per_doubling && classOf(65) == steps_per_doubling + 1);
static_assert(classSize(classOf(16'800)) >= 16'800 && classSize(classOf(16'800)) <= 20'480);
static_assert(classOf(TlsArena::max_block) == class_count - 1);

// The largest class that a block of `size` bytes, which are whole units, can serve.
constexpr size_t classWithin(size_t size) {
  return size >= TlsArena::max_block ? class_count - 1 : stepOf(size) - stepOf(min_class_size);
}
static_assert(classWithin(32) == 0 && classWithin(80) == classOf(80) && classWithin(1 << 30) == class_count - 1);
static_assert([] {
  for (size_t size = min_class_size; size <= 16 * 1024; size += unit) {
    const size_t smallest = classOf(size);
    const size_t largest = classWithin(size);
    if (classSize(smallest) < size || classSize(largest) > size) return false;
    if (smallest != 0 && classSize(smallest - 1) >= size && classSize(smallest - 1) != classSize(smallest))
      return false;
    // A block that is freed is found by the next that asks for as much.
    if (classWithin(classSize(smallest)) != smallest) return false;
  }
  return true;
}());

struct Header {
  TlsArena::Core* owner;  // null: from malloc
  uint32_t units : 31;    // of the block, this header included
  uint32_t is_free : 1;   // and in one of Core::joined; always 0 where malloc gave the block
  uint32_t units_before;  // of the block in front of it; 0 for the first

  size_t size() const { return size_t{units} * unit; }
  uint8_t* end() { return reinterpret_cast<uint8_t*>(this) + size(); }
  Header* next() { return reinterpret_cast<Header*>(end()); }
  Header* previous() {
    return reinterpret_cast<Header*>(reinterpret_cast<uint8_t*>(this) - size_t{units_before} * unit);
  }
};
static_assert(sizeof(Header) == header_size);
constexpr size_t max_units = (size_t{1} << 31) - 1;

struct Free {
  Free* next;
  Free* previous;  // in Core::joined alone
};
static_assert(header_size + sizeof(Free) <= min_class_size);

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
  uint32_t units_before_bump = 0;  // of the last block in front of it
  Free* free[class_count] = {};    // as they were freed, by the class that they serve
  Free* joined[class_count] = {};  // joined with their free neighbours, likewise; none of them lies in front of bump
  uint64_t joined_classes = 0;     // a bit for each of these lists that is not empty
  // Written by the owner alone; other threads read them for the metrics.
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
    add(live, header->size());
    if (live.load(std::memory_order_relaxed) > peak.load(std::memory_order_relaxed)) {
      peak.store(live.load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
    return header + 1;
  }

  Header* takeBlock(size_t wanted) {
    if (Free* block = free[wanted]; block != nullptr) [[likely]] {
      free[wanted] = block->next;
      return headerOf(block);
    }
    if (Header* header = cut(wanted); header != nullptr) return header;
    // All memory has been cut up, and what is free may be of other sizes than are wanted now. Each block that is joined
    // here was freed since the last time, so this costs no more than freeing it did.
    joinAll();
    return cut(wanted);
  }

  // A block out of a larger one that is free, or out of memory that was never used.
  Header* cut(size_t wanted) {
    const size_t size = classSize(wanted);
    if (const uint64_t classes = joined_classes >> wanted << wanted; classes != 0) {
      Header* header = headerOf(joined[std::countr_zero(classes)]);
      unlink(header);
      const size_t rest = header->size() - size;
      if (rest < min_class_size) return header;
      header->units = static_cast<uint32_t>(size / unit);
      Header* behind = header->next();
      behind->units = static_cast<uint32_t>(rest / unit);
      behind->units_before = header->units;
      behind->next()->units_before = behind->units;
      link(behind);
      return header;
    }
    if (static_cast<size_t>(end - bump) < size) return nullptr;
    auto* header = reinterpret_cast<Header*>(bump);
    header->units = static_cast<uint32_t>(size / unit);
    header->is_free = 0;
    header->units_before = units_before_bump;
    units_before_bump = header->units;
    bump += size;
    return header;
  }

  void joinAll() {
    for (Free*& list : free) {
      while (list != nullptr) {
        Header* header = headerOf(list);
        list = list->next;
        join(header);
      }
    }
  }

  void join(Header* header) {
    if (header->end() != bump && header->next()->is_free != 0) {
      Header* next = header->next();
      unlink(next);
      header->units += next->units;
    }
    if (header->units_before != 0 && header->previous()->is_free != 0) {
      Header* previous = header->previous();
      unlink(previous);
      previous->units += header->units;
      header = previous;
    }
    if (header->end() == bump) {
      bump = reinterpret_cast<uint8_t*>(header);
      units_before_bump = header->units_before;
      return;
    }
    header->next()->units_before = header->units;
    link(header);
  }

  void link(Header* header) {
    header->is_free = 1;
    const size_t index = classWithin(header->size());
    Free* block = freeOf(header);
    *block = {joined[index], nullptr};
    if (block->next != nullptr) block->next->previous = block;
    joined[index] = block;
    joined_classes |= uint64_t{1} << index;
  }

  void unlink(Header* header) {
    header->is_free = 0;
    const Free* block = freeOf(header);
    if (block->next != nullptr) block->next->previous = block->previous;
    if (block->previous != nullptr) {
      block->previous->next = block->next;
      return;
    }
    const size_t index = classWithin(header->size());
    joined[index] = block->next;
    if (block->next == nullptr) joined_classes &= ~(uint64_t{1} << index);
  }

  void give(Header* header) {
    const size_t index = classWithin(header->size());
    Free* block = freeOf(header);
    block->next = free[index];
    free[index] = block;
    live.store(live.load(std::memory_order_relaxed) - header->size(), std::memory_order_relaxed);
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

// OpenSSL's hooks carry no context: this is the one global of the runtime (DESIGN §5). They are called some twelve
// times for each request, mostly to free nothing, so finding it must be no call.
[[gnu::tls_model("initial-exec")]] thread_local constinit TlsArena::Core* bound = nullptr;

void* allocate(size_t size, const char*, int) {
  if (size == 0) return nullptr;
  if (bound != nullptr) return bound->take(size);
  const size_t units = size / unit + (size % unit != 0) + header_size / unit;
  if (units > max_units) return nullptr;
  auto* header = static_cast<Header*>(std::malloc(units * unit));
  if (header == nullptr) return nullptr;
  *header = {.owner = nullptr, .units = static_cast<uint32_t>(units), .is_free = 0, .units_before = 0};
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
  const size_t usable = headerOf(memory)->size() - header_size;
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
  // Memory that only OpenSSL's blocks point to is not leaked.
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
uint64_t TlsArena::refusalsHere() {
  return bound == nullptr ? 0 : bound->refusals.load(std::memory_order_relaxed);
}
size_t TlsArena::reservedBytes() const {
  return core_->memory.size();
}
void TlsArena::prefault() {
  core_->memory.prefault();
}

}  // namespace plait
