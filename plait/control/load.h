// From a Config to what the workers start with: reads certificates and keys, looks names up, looks whether the log can
// be opened, and compares the memory with what there is. The only part of the configuration that looks at the outside
// world; it never opens a port.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plait/config/compile.h"
#include "plait/config/config.h"
#include "plait/control/certificate_dates.h"
#include "plait/control/cgroup.h"
#include "plait/net/resolver.h"
#include "plait/proxy/worker_memory.h"

namespace plait {

// The memory that there is: the control group's limit, if it has one, and the machine's, in bytes.
struct MemoryThere {
  std::optional<uint64_t> limit;
  uint64_t machine = 0;
};

// The TLS contexts of the process. One that is needed again, with files of the same content, is the same: endpoints and
// sessions go on with it. One that nothing names stays as long as its users (TlsContext::isUsed).
class TlsContexts {
 public:
  template <class Make>
  TlsContext* find(const std::string& key, Make make) {
    TlsContext*& known = by_key_[key];
    if (known == nullptr) known = make();
    return known;
  }
  TlsContext* keep(std::unique_ptr<TlsContext> context) {
    owned_.push_back(std::move(context));
    return owned_.back().get();
  }
  size_t count() const { return owned_.size(); }
  // Frees those that have no users and of which `is_named` says that nothing names them; `forget` is called with each
  // before.
  void sweep(const std::function<bool(const TlsContext&)>& is_named, const std::function<void(TlsContext&)>& forget);

 private:
  std::map<std::string, TlsContext*> by_key_;  // null: it could not be made
  std::vector<std::unique_ptr<TlsContext>> owned_;
};

struct LoadedConfig {
  WorkerOptions options;
  CompiledPlan compiled;
  // Those of the present generation, where there is one; else new ones.
  std::shared_ptr<PlanIdentities> identities;
  std::shared_ptr<TlsContexts> contexts;  // that the options point to; must outlive the workers
  const Plan* before = nullptr;           // the present generation
  std::optional<SipKey> key;              // of the process; drawn where there is none
  uint64_t plan_bytes = 0;                // that the first generation takes
  // The one of them that has the sites of Config::certificates; null where there are none.
  TlsContext* sites = nullptr;
  // Of listeners and sites, and those that are shown to backends; each file once.
  CertificateDates::Ends certificate_ends;
  // Faults that keep nobody from starting: names that cannot be resolved now, certificates that have expired or are
  // about to, and those of the Config.
  std::vector<ConfigError> warnings;
};

// So many keys are loaded at the start. Where there are more certificates, each key is loaded for the first client that
// needs it, and its mistakes show then, or to checkKeys().
inline constexpr size_t keys_loaded_at_start = 64;

// Every mistake that can be found, each with the place that it comes from. Settings in which parseConfig, applyFlags or
// completeConfig have found a mistake are passed over. Limits that nobody has set become smaller until all that is
// reserved fits into three quarters of what plait may have: of `memory`, else of the control group's limit, else of
// half of the machine's.
std::vector<ConfigError> loadConfig(const Config& config, Resolver& resolver, LoadedConfig& out,
                                    const MemoryThere& memory = {memoryLimit(), machineMemory()});

// The mistakes of keys that loadConfig has not read.
std::vector<ConfigError> checkKeys(const Config& config, const LoadedConfig& loaded);
// The same, of certificates alone that `before` does not have; null for all.
std::vector<ConfigError> checkNewKeys(const Config& config, const LoadedConfig& loaded, const TlsContext* before);

}  // namespace plait
