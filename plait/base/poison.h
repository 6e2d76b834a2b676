// Tells AddressSanitizer about memory that slabs hand out: a block that is free must not be read or written. Without it
// these functions are nothing.
#pragma once

#include <cstddef>

#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif

namespace plait {

inline void poison([[maybe_unused]] const void* memory, [[maybe_unused]] size_t size) {
#if __has_feature(address_sanitizer)
  __asan_poison_memory_region(memory, size);
#endif
}

inline void unpoison([[maybe_unused]] const void* memory, [[maybe_unused]] size_t size) {
#if __has_feature(address_sanitizer)
  __asan_unpoison_memory_region(memory, size);
#endif
}

}  // namespace plait
