// The sum of what a worker reserves, told before any of it is: what plait prints at start, and compares with what the
// machine allows. Every addend names its consumer; the bounds themselves are in limits.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plait/proxy/worker.h"

namespace plait {

struct MemoryItem {
  const char* name;
  uint64_t bytes;
};

// What one worker with these options reserves. The worker checks at start that it reserves no more.
std::vector<MemoryItem> memoryOf(const WorkerOptions& options);
uint64_t sumOf(const std::vector<MemoryItem>& items);

// Bytes for the TLS arena: a share for each connection that may speak TLS; 0 where none may.
uint64_t tlsArenaBytes(const WorkerOptions& options);

// The tightest memory limit of the control groups that the process is in, if there is one. `root` is where the groups
// are mounted, `self` names the process's own ones.
std::optional<uint64_t> memoryLimit(const std::string& root = "/sys/fs/cgroup",
                                    const std::string& self = "/proc/self/cgroup");

}  // namespace plait
