// Proof that a worker allocates nothing once it serves. Each thread is in a phase; a call to malloc or its kin on a
// thread in phase `serving` is counted, and aborts the process with a backtrace where PLAIT_ALLOC_GUARD=abort is set
// (tests, simulation). The count is a metric in release and must read 0.
//
// The malloc family is interposed in alloc_guard_malloc.cc: directly with glibc, through the sanitizer's hooks under
// ASan, not at all under TSan and with other C libraries, where isActive() is false and the count stays 0.
#pragma once

#include <cstdint>

namespace plait {

class AllocGuard {
 public:
  enum class Phase : uint8_t { init, serving, teardown };
  enum class Mode : uint8_t { count, abort };

  // The calling thread's phase; threads begin in `init`. The first `serving` of the process reads PLAIT_ALLOC_GUARD and
  // warms up what the backtrace needs.
  static void enter(Phase phase);
  static Phase phase();

  // Overrides the environment. For all threads.
  static void setMode(Mode mode);
  static Mode mode();

  // True when the malloc family is being watched in this process.
  static bool isActive();

  // Calls on serving threads since the start of the process: malloc, calloc, realloc, aligned allocation; and free (of
  // a pointer that is not null). From any thread.
  static uint64_t servingAllocations();
  static uint64_t servingFrees();

  // Lets the calling thread allocate for a while: for what is known to be rare and is counted elsewhere.
  class Pause {
   public:
    Pause() : phase_(AllocGuard::phase()) { AllocGuard::enter(Phase::init); }
    ~Pause() { AllocGuard::enter(phase_); }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    Phase phase_;
  };

  // For alloc_guard_malloc.cc.
  static void noteAllocation() noexcept;
  static void noteFree() noexcept;
  static void markActive() noexcept;
};

}  // namespace plait
