// Hints that memory will soon be used. With a thousand requests in flight what one of them needs has left the nearest
// caches when its turn comes; while something else is worked on it can come back.
#pragma once

#include <cstddef>
#include <cstdint>

namespace plait {

inline constexpr size_t cache_line_size = 64;

// Asks for the lines of `size` bytes at `start`, which are going to be written. Reading them is no error either, nor is
// an address where nothing is.
inline void prefetch(const void* start, size_t size) {
  // As numbers: the lines need not belong to one object, or to any.
  const auto first = reinterpret_cast<uintptr_t>(start);
  // Two at a time: the loop itself is three instructions.
  for (size_t offset = 0; offset < size; offset += 2 * cache_line_size) {
    __builtin_prefetch(reinterpret_cast<const void*>(first + offset), 1);
    __builtin_prefetch(reinterpret_cast<const void*>(first + offset + cache_line_size), 1);
  }
}

}  // namespace plait
