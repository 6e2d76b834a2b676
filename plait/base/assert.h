// Assertions for programmer errors. They stay on in release: a proxy that has lost track of its own state must stop
// before it mixes two clients' bytes. Operating errors (peers, kernel, configuration) are values, see base/error.h.
#pragma once

namespace plait {

// Prints file:line and the condition on standard error and aborts. Async-signal-safe and free of allocation.
[[noreturn]] void assertFailed(const char* file, int line, const char* condition) noexcept;

// Says on standard error that the system gives no more memory, and aborts.
[[noreturn]] void endForWantOfMemory() noexcept;

}  // namespace plait

#define PLAIT_ASSERT(condition)                              \
  do {                                                       \
    if (!(condition)) [[unlikely]]                           \
      ::plait::assertFailed(__FILE__, __LINE__, #condition); \
  } while (false)

#define PLAIT_UNREACHABLE() ::plait::assertFailed(__FILE__, __LINE__, "unreachable")
