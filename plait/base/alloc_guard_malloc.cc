// The malloc family, watched. With glibc the functions themselves are defined here and forward to glibc's own names for
// them, so that the C and C++ libraries and every other library in the process are seen too. ASan has defined them
// already and offers hooks. TSan is left alone: its runtime allocates on our threads for its own purposes.
#include <cerrno>
#include <cstddef>
#include <cstdlib>

#include "plait/base/alloc_guard.h"

#if __has_feature(address_sanitizer)

#include <sanitizer/allocator_interface.h>

namespace {

[[gnu::constructor]] void installHooks() {
  const int slot = __sanitizer_install_malloc_and_free_hooks(
      [](const volatile void*, size_t) { plait::AllocGuard::noteAllocation(); },
      [](const volatile void* memory) {
        if (memory != nullptr) plait::AllocGuard::noteFree();
      });
  if (slot != 0) plait::AllocGuard::markActive();
}

}  // namespace

#elif defined(__GLIBC__) && !__has_feature(thread_sanitizer) && !__has_feature(memory_sanitizer)

extern "C" {

void* __libc_malloc(size_t size) noexcept;
void* __libc_calloc(size_t count, size_t size) noexcept;
void* __libc_realloc(void* memory, size_t size) noexcept;
void* __libc_memalign(size_t alignment, size_t size) noexcept;
void* __libc_valloc(size_t size) noexcept;
void* __libc_pvalloc(size_t size) noexcept;
void __libc_free(void* memory) noexcept;

void* malloc(size_t size) noexcept {
  plait::AllocGuard::noteAllocation();
  return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) noexcept {
  plait::AllocGuard::noteAllocation();
  return __libc_calloc(count, size);
}

void* realloc(void* memory, size_t size) noexcept {
  plait::AllocGuard::noteAllocation();
  return __libc_realloc(memory, size);
}

void* memalign(size_t alignment, size_t size) noexcept {
  plait::AllocGuard::noteAllocation();
  return __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) noexcept {
  plait::AllocGuard::noteAllocation();
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** result, size_t alignment, size_t size) noexcept {
  plait::AllocGuard::noteAllocation();
  if (alignment % sizeof(void*) != 0 || alignment == 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
  const int saved = errno;  // POSIX: errno stays as it was
  void* memory = __libc_memalign(alignment, size);
  errno = saved;
  if (memory == nullptr) return ENOMEM;
  *result = memory;
  return 0;
}

void* valloc(size_t size) noexcept {
  plait::AllocGuard::noteAllocation();
  return __libc_valloc(size);
}

void* pvalloc(size_t size) noexcept {
  plait::AllocGuard::noteAllocation();
  return __libc_pvalloc(size);
}

void free(void* memory) noexcept {
  if (memory == nullptr) return;
  plait::AllocGuard::noteFree();
  __libc_free(memory);
}

}  // extern "C"

namespace {

[[gnu::constructor]] void markInterposed() {
  plait::AllocGuard::markActive();
}

}  // namespace

#endif
