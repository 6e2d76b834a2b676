// Memory for OpenSSL, which allocates by itself: a few small blocks for each record, some 1,450 for a handshake. Each
// worker binds an arena of its own, so that such an allocation is the pop of a free list and never meets malloc.
//
//   block = [ header 16 B: owner, sizes | what OpenSSL gets ]
//
// One Reservation a worker, cut by a bump pointer into size classes, four to each doubling; freed blocks go to a LIFO
// list of their class. Once everything is cut up, free neighbours are joined and cut anew, so that sizes that somebody
// asked for once do not stay. A block that another thread frees goes to the owner's remote list, without a lock, and is
// taken back by the owner's next allocation. Threads without an arena, and all of start-up, use malloc.
#pragma once

#include <cstddef>
#include <cstdint>

namespace plait {

// Makes OpenSSL allocate here. Call it before anything else of OpenSSL; later calls change nothing. False when OpenSSL
// had allocated already and stays with malloc.
bool installTlsArena();

class TlsArena {
 public:
  // A block larger than this is refused. A peer's certificate chain, of which OpenSSL takes 100 KiB, fits in.
  static constexpr size_t max_block = 256 * 1024;

  // Reserves `size` bytes of address space, pages when first used.
  explicit TlsArena(size_t size);
  TlsArena(const TlsArena&) = delete;
  TlsArena& operator=(const TlsArena&) = delete;
  // On the thread it is bound to, or when it is bound to none. OpenSSL keeps some blocks until the process ends, so
  // memory that still holds live ones stays mapped; contexts and sessions may therefore outlive the arena.
  ~TlsArena();

  // From here on OpenSSL's allocations of the calling thread come from `arena`; null means malloc. An arena is bound to
  // one thread at a time. Unbinding gives back what OpenSSL kept for this thread.
  static void bind(TlsArena* arena);

  // Counters, readable from any thread. Bytes are whole blocks; what other threads freed counts as live until the owner
  // took it back.
  size_t liveBytes() const;
  size_t peakBytes() const;
  uint64_t allocations() const;
  uint64_t refusals() const;  // allocations for which there was no memory: the handshake fails, nothing else
  // Of the arena that the calling thread is bound to; 0 where there is none.
  static uint64_t refusalsHere();
  size_t reservedBytes() const;
  // Touches every page, before the arena is bound.
  void prefault();

  struct Core;

 private:
  Core* core_;
};

}  // namespace plait
