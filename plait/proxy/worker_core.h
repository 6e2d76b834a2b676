// WorkerCore: a worker without its thread. It has its Io over any backend, its memory, pool, handler and server, and
// the steps of its life. The worker's thread runs it over the kernel, the simulation over a network of its own: the
// same code.
#pragma once

#include <atomic>
#include <optional>

#include "plait/client/pool.h"
#include "plait/proxy/demo.h"
#include "plait/proxy/handler.h"
#include "plait/proxy/worker.h"
#include "plait/runtime/loop_memory.h"

namespace plait {

class TlsArena;

class WorkerCore {
 public:
  // References must outlive the core; `arena` and `access_ring` may be null. Everything is reserved here.
  WorkerCore(const WorkerOptions& options, LoopMemory& memory, TlsArena* arena, IoBackend& backend,
             ProxyCounters& counters, AccessRing* access_ring);
  WorkerCore(const WorkerCore&) = delete;
  WorkerCore& operator=(const WorkerCore&) = delete;

  size_t reservedBytes() const;
  void prefault();

  // From now on the completion of `stop`, a message, drains the worker: its clients are asked to go, then its backends'
  // connections end, then Io::run() returns. `begun_with`, which may be null, is told how many requests were under way.
  void drainOn(Op& stop, std::atomic<int64_t>* begun_with = nullptr);
  bool isDrained() const { return drained_; }
  // The figures of this moment. `out.backends` must have the right size.
  void fill(WorkerSnapshot& out) const;

  Io& io() { return io_; }
  Server& server() { return *server_; }
  ConnectionPool* pool() { return pool_ ? &*pool_ : nullptr; }
  PlanStore* store() { return store_ ? &*store_ : nullptr; }
  ProxyHandler* proxy() { return proxy_ ? &*proxy_ : nullptr; }
  LoopMemory& memory() { return memory_; }

 private:
  static Task<void> drainAfter(Op& stop, WorkerCore& core, std::atomic<int64_t>* begun_with, Io& io);

  // In the order in which they must be built.
  const WorkerOptions& options_;
  LoopMemory& memory_;
  TlsArena* arena_;
  ProxyCounters& counters_;
  std::vector<EndpointCounters> endpoint_counters_;
  AccessRing* access_ring_;
  Io io_;
  std::optional<ConnectionPool> pool_;
  std::optional<PlanStore> store_;
  std::optional<route::RouteScratch> scratch_;
  std::optional<ProxyHandler> proxy_;
  DemoHandler demo_;
  std::optional<Server> server_;
  Scope scope_;
  bool drained_ = false;
};

}  // namespace plait
