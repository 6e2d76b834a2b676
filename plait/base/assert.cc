#include "plait/base/assert.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace plait {

void assertFailed(const char* file, int line, const char* condition) noexcept {
  char text[512];
  const int length = std::snprintf(text, sizeof(text), "plait: assertion failed at %s:%d: %s\n", file, line, condition);
  if (length > 0) [[maybe_unused]]
    const auto written = ::write(STDERR_FILENO, text, static_cast<size_t>(length));
  std::abort();
}

void endForWantOfMemory() noexcept {
  static constexpr char text[] = "plait: the system gives no more memory\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, sizeof(text) - 1);
  std::abort();
}

}  // namespace plait
