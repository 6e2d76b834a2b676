#include "plait/proxy/worker_memory.h"

#include <algorithm>

#include "plait/proxy/plan_store.h"

namespace plait {
namespace {

constexpr uint64_t page_size = 4096;

uint64_t pages(uint64_t bytes) {
  return (bytes + page_size - 1) / page_size * page_size;
}

}  // namespace

uint64_t tlsArenaBytes(const WorkerOptions& options) {
  const Limits& limits = options.limits;
  const bool has_clients =
      std::ranges::any_of(options.listeners, [](const ListenOptions& listener) { return listener.tls != nullptr; });
  return limits.tlsBytes(has_clients ? limits.client_connections : 0,
                         options.has_tls_backends ? limits.upstream_connections : 0);
}

std::vector<MemoryItem> memoryOf(const WorkerOptions& options) {
  const Limits& limits = options.limits;
  const bool has_backends = options.plan != nullptr;
  const uint64_t tls = tlsArenaBytes(options);
  std::vector<MemoryItem> items = memoryOfLoop(limits, options.io, options.descriptors);
  items.insert(items.end(),
               {
                   {"blocks of uploads", BlockSlab::bytesFor(limits.stream_block_size, limits.uploadBlocks())},
                   {"clients' connections", Server::connectionBytes(limits, limits)},
                   {"exchanges", Server::exchangeBytes(limits)},
                   {"upstream connections", has_backends ? ConnectionPool::connectionBytes(limits, limits) : 0},
                   {"upstream streams", has_backends ? ConnectionPool::streamBytes(limits) : 0},
                   {"clusters and routes", has_backends ? PlanStore::bytesFor(limits) : 0},
                   {"TLS arena", tls == 0 ? 0 : pages(tls) + page_size},  // a page for its own bookkeeping
                   {"access log ring", options.has_access_log ? pages(limits.access_ring_bytes) : 0},
               });
  return items;
}

Limits adminLimits() {
  Limits limits;
  limits.exchanges = 64;
  limits.client_connections = 64;
  limits.upstream_connections = 0;
  limits.upload_pool_bytes = 1 << 20;
  limits.burst_pool_bytes = 8 << 20;
  limits.send_blocks = 256;
  limits.record_blocks = 16;
  limits.receive_buffers = 64;
  limits.medium_header_blocks = 64;
  limits.large_header_blocks = 16;
  limits.coalesce_us = 0;
  return limits;
}

std::vector<MemoryItem> memoryOfControl(const WorkerOptions& options) {
  WorkerOptions control;
  control.io = options.io;
  control.descriptors = options.descriptors;
  control.limits = adminLimits();
  return memoryOf(control);
}

}  // namespace plait
