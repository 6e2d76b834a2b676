// From a Config to what the workers start with: reads certificates and keys, looks names up, looks whether the log can
// be opened, and compares the memory with what there is. The only part of the configuration that looks at the outside
// world; it never opens a port.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "plait/config/config.h"
#include "plait/control/cgroup.h"
#include "plait/net/resolver.h"
#include "plait/proxy/worker_memory.h"

namespace plait {

// The memory that there is: the control group's limit, if it has one, and the machine's, in bytes.
struct MemoryThere {
  std::optional<uint64_t> limit;
  uint64_t machine = 0;
};

struct LoadedConfig {
  WorkerOptions options;
  // TLS contexts that the options point to; they must outlive the workers.
  std::vector<std::unique_ptr<TlsContext>> contexts;
  // Faults that keep nobody from starting: names that cannot be resolved now, certificates that have expired, and those
  // of the Config.
  std::vector<ConfigError> warnings;
};

// Every mistake that can be found, each with the place that it comes from. Settings in which parseConfig, applyFlags or
// completeConfig have found a mistake are passed over. Limits that nobody has set become smaller until all that is
// reserved fits into three quarters of what plait may have: of `memory`, else of the control group's limit, else of
// half of the machine's.
std::vector<ConfigError> loadConfig(const Config& config, Resolver& resolver, LoadedConfig& out,
                                    const MemoryThere& memory = {memoryLimit(), machineMemory()});

}  // namespace plait
