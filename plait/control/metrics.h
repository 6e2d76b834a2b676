// The workers' figures (proxy/figures.h) as Prometheus reads them.
#pragma once

#include <span>
#include <string>

#include "plait/control/certificate_dates.h"
#include "plait/proxy/figures.h"

namespace plait {

// By Fault.
using FaultCounts = std::array<uint64_t, fault_count>;

// A family of metrics that counts faults, one sample for each that can occur there.
struct FaultFamily {
  const char* name;
  const char* help;
  uint32_t possible;  // a bit for each
  const FaultCounts& (*of)(const WorkerSnapshot&);
  bool has(Fault fault) const { return (possible >> static_cast<uint32_t>(fault) & 1) != 0; }
};
std::span<const FaultFamily> faultFamilies();

// True where the backend is up for some worker.
bool isBackendUp(std::span<const WorkerSnapshot> workers, size_t backend);

// Figures of the process as a whole.
struct ProcessFigures {
  uint64_t serving_allocations = 0;
  uint64_t log_failed_lines = 0;
  uint64_t log_failed_reopenings = 0;
  uint64_t generation = 0;  // of the plan
  uint64_t reloads = 0;
  uint64_t failed_reloads = 0;
  int64_t last_success_s = 0;  // since 1970; 0: never
  int64_t last_failure_s = 0;
  uint64_t tls_contexts = 0;
  bool is_draining = false;
  std::span<const CertificateEnd> certificates;
};

// So many certificates have a metric of their own; of the others the first to end has one.
inline constexpr size_t most_certificate_metrics = 1000;

// The text format of Prometheus. `backends` are the names by index.
std::string formatMetrics(std::span<const WorkerSnapshot> workers, const ProcessFigures& process,
                          std::span<const std::string> backends);

}  // namespace plait
