// From a Config to what the workers start with: reads certificates and keys, looks names up, and compares the memory
// with what there is. The only part of the configuration that looks at the outside world; it never opens a port.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "plait/net/resolver.h"
#include "plait/proxy/config.h"
#include "plait/proxy/worker_memory.h"

namespace plait {

struct LoadedConfig {
  WorkerOptions options;
  // What the options point to; must outlive the workers.
  std::vector<std::unique_ptr<TlsContext>> contexts;
};

// Every mistake that can be found, each with the place that it comes from. What parseConfig, applyFlags or
// completeConfig have found fault with is passed over. The workers together may not reserve more than `memory_limit`.
std::vector<ConfigError> loadConfig(const Config& config, Resolver& resolver, LoadedConfig& out,
                                    std::optional<uint64_t> memory_limit = memoryLimit());

}  // namespace plait
