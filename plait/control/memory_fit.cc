#include "plait/control/memory_fit.h"

#include <algorithm>
#include <bit>

#include "plait/proxy/worker_memory.h"

namespace plait {
namespace {

// A limit that is lowered with the others, and the least that it becomes.
struct Scaled {
  const char* key;
  uint32_t Limits::* bound;
  uint32_t least;
  bool is_power_of_two = false;
};

constexpr Scaled scaled[] = {
    {"exchanges", &Limits::exchanges, 16},
    {"client_connections", &Limits::client_connections, 16},
    {"upstream_connections", &Limits::upstream_connections, 8},
    {"upload_pool_bytes", &Limits::upload_pool_bytes, 1 << 20},
    {"burst_pool_bytes", &Limits::burst_pool_bytes, 64 << 10},
    {"send_blocks", &Limits::send_blocks, 64},
    {"record_blocks", &Limits::record_blocks, 16},
    {"receive_buffers", &Limits::receive_buffers, 64, true},
    {"medium_header_blocks", &Limits::medium_header_blocks, 64},
    {"large_header_blocks", &Limits::large_header_blocks, 16},
    {"replay_bytes", &Limits::replay_bytes, 64 << 10},
    {"access_ring_bytes", &Limits::access_ring_bytes, 64 << 10, true},
    {"tls_handshakes", &Limits::tls_handshakes, 16},
    {"plan_bytes", &Limits::plan_bytes, 1 << 20},
};

constexpr uint32_t whole = 1024;

// A part of `whole` of everything that may become smaller.
Limits shrunk(const Limits& limits, const IsSaid& is_said, uint32_t part) {
  Limits made = limits;
  for (const Scaled& one : scaled) {
    if (is_said(one.key)) continue;
    const auto scaled_down = static_cast<uint32_t>(uint64_t{limits.*one.bound} * part / whole);
    uint32_t value = std::max(scaled_down, std::min(one.least, limits.*one.bound));
    if (one.is_power_of_two) value = std::bit_floor(value);
    made.*one.bound = value;
  }
  followSaid(made, is_said);
  return made;
}

// The descriptors that a process with these limits may come to use, those that wait to be accepted among them.
uint32_t descriptorsFor(const Limits& limits, uint32_t workers) {
  const uint64_t sockets = uint64_t{workers} * (limits.client_connections + limits.upstream_connections);
  return static_cast<uint32_t>(std::min<uint64_t>(descriptorLimit(), 4 * sockets + 1024));
}

}  // namespace

uint64_t reservedInAll(const WorkerOptions& options, uint32_t workers) {
  return workers * sumOf(memoryOf(options)) + sumOf(memoryOfControl(options)) +
         (options.plan != nullptr ? options.limits.plan_bytes : 0);
}

std::optional<uint64_t> fitMemory(WorkerOptions& options, const IsSaid& is_said, uint32_t workers, uint64_t bytes,
                                  uint32_t plan_bytes) {
  const Limits wanted = options.limits;
  const uint32_t descriptors = options.descriptors;
  const auto reserved = [&](uint32_t part) {
    options.limits = shrunk(wanted, is_said, part);
    if (!is_said("plan_bytes")) options.limits.plan_bytes = std::max(options.limits.plan_bytes, plan_bytes);
    options.descriptors = part == whole ? descriptors : descriptorsFor(options.limits, workers);
    return reservedInAll(options, workers);
  };
  if (reserved(whole) <= bytes) return std::nullopt;
  // The largest part that fits.
  uint32_t fits = 0;
  for (uint32_t step = whole / 2; step != 0; step /= 2) {
    if (reserved(fits + step) <= bytes) fits += step;
  }
  const uint64_t least = reserved(fits);
  if (least <= bytes) return std::nullopt;
  return least;
}

}  // namespace plait
