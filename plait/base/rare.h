// Names for branches that are rarely taken, so that a test can say whether it has reached every one of them
// (after FoundationDB's TEST macros). A branch that is taken costs one relaxed addition; one that is not, nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

namespace plait {

struct RareBranch {
  const char* file;
  const char* name;
  std::atomic<uint64_t> taken{0};
};

// Every branch of the process that has a name, taken or not; in no order. They live as long as the process.
std::span<RareBranch> rareBranches();

}  // namespace plait

// A statement in the branch; `name`, a string, says what happens there. Not in inline functions and templates, of which
// the linker keeps only one.
#define PLAIT_RARE(name)                                                                                           \
  do {                                                                                                             \
    [[gnu::section("plait_rare"), gnu::used]] static constinit ::plait::RareBranch rare_branch{__FILE__, name, 0}; \
    rare_branch.taken.fetch_add(1, ::std::memory_order_relaxed);                                                   \
  } while (false)
