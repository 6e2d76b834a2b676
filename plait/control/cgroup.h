// What the control groups of the process allow it, read from their files once, at start.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace plait {

// Where the groups are mounted, and the file that names the process's own ones.
struct CgroupFiles {
  std::string root = "/sys/fs/cgroup";
  std::string self = "/proc/self/cgroup";
};

// The tightest limit of memory, in bytes, of the groups and those above them; nothing where there is none.
std::optional<uint64_t> memoryLimit(const CgroupFiles& files = {});
// The tightest quota of processor time likewise, in whole cores, one at least.
std::optional<uint32_t> coreLimit(const CgroupFiles& files = {});

// The cores that the process may use: by its affinity and by the quota.
uint32_t usableCores();
// The memory of the machine in bytes.
uint64_t machineMemory();

}  // namespace plait
