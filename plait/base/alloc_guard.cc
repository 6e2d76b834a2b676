#include "plait/base/alloc_guard.h"

#include <execinfo.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace plait {
namespace {

// initial-exec: the general model may allocate a thread's block on first use, inside malloc.
[[gnu::tls_model("initial-exec")]] thread_local constinit AllocGuard::Phase current_phase = AllocGuard::Phase::init;

constinit std::atomic<AllocGuard::Mode> current_mode{AllocGuard::Mode::count};
constinit std::atomic<bool> is_active{false};
constinit std::atomic<bool> is_mode_set{false};
constinit std::atomic<bool> is_prepared{false};
constinit std::atomic<uint64_t> allocations{0};
constinit std::atomic<uint64_t> frees{0};

constexpr int max_frames = 48;

void prepare() {
  if (is_prepared.exchange(true)) return;
  const char* wanted = std::getenv("PLAIT_ALLOC_GUARD");
  if (wanted != nullptr && std::strcmp(wanted, "abort") == 0 && !is_mode_set.load()) {
    current_mode.store(AllocGuard::Mode::abort);
  }
  // The first backtrace loads libgcc, which allocates.
  void* frames[max_frames];
  ::backtrace(frames, max_frames);
}

void note(std::atomic<uint64_t>& counter, const char* what) noexcept {
  counter.fetch_add(1, std::memory_order_relaxed);
  if (current_mode.load(std::memory_order_relaxed) != AllocGuard::Mode::abort) return;
  current_phase = AllocGuard::Phase::teardown;  // what follows may allocate
  [[maybe_unused]] auto written = ::write(STDERR_FILENO, what, std::strlen(what));
  void* frames[max_frames];
  ::backtrace_symbols_fd(frames, ::backtrace(frames, max_frames), STDERR_FILENO);
  std::abort();
}

}  // namespace

void AllocGuard::enter(Phase phase) {
  if (phase == Phase::serving) prepare();
  current_phase = phase;
}

AllocGuard::Phase AllocGuard::phase() {
  return current_phase;
}

void AllocGuard::setMode(Mode mode) {
  is_mode_set.store(true);
  current_mode.store(mode);
}

AllocGuard::Mode AllocGuard::mode() {
  return current_mode.load();
}

bool AllocGuard::isActive() {
  return is_active.load(std::memory_order_relaxed);
}

uint64_t AllocGuard::servingAllocations() {
  return allocations.load(std::memory_order_relaxed);
}
uint64_t AllocGuard::servingFrees() {
  return frees.load(std::memory_order_relaxed);
}

void AllocGuard::noteAllocation() noexcept {
  if (current_phase == Phase::serving) [[unlikely]]
    note(allocations, "plait: memory was allocated while serving\n");
}

void AllocGuard::noteFree() noexcept {
  if (current_phase == Phase::serving) [[unlikely]]
    note(frees, "plait: memory was freed while serving\n");
}

void AllocGuard::markActive() noexcept {
  is_active.store(true, std::memory_order_relaxed);
}

}  // namespace plait
