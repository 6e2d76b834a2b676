// What a worker is without its thread: its Io over any backend, its memory, pool, handler and server, and the steps of
// its life. The worker's thread runs it over the kernel, the simulation over a network of its own: the same code.
#pragma once

#include <optional>

#include "plait/client/pool.h"
#include "plait/proxy/demo.h"
#include "plait/proxy/handler.h"
#include "plait/proxy/worker.h"

namespace plait {

class TlsArena;

// The worker's blocks. The receive buffers among them are what an IoBackend is made with, so they come first.
struct WorkerMemory {
  explicit WorkerMemory(const Limits& limits)
      : buffers(limits.receive_buffers, limits.receive_buffer_size),
        send_blocks(limits.send_block_size, limits.send_blocks),
        record_blocks(limits.recordBlockSize(), limits.record_blocks),
        stream_blocks(limits.stream_block_size, limits.streamBlocks()),
        headers(limits.smallHeaderBlocks(), limits.medium_header_blocks, limits.large_header_blocks) {}

  BufferPool buffers;
  BlockSlab send_blocks;
  BlockSlab record_blocks;
  BlockSlab stream_blocks;
  http::HeaderSlab headers;

  size_t reservedBytes() const;
  void prefault();
};

class WorkerCore {
 public:
  // References must outlive the core; `arena` and `access_ring` may be null. Everything is reserved here.
  WorkerCore(const WorkerOptions& options, WorkerMemory& memory, TlsArena* arena, IoBackend& backend,
             ProxyCounters& counters, AccessRing* access_ring);
  WorkerCore(const WorkerCore&) = delete;
  WorkerCore& operator=(const WorkerCore&) = delete;

  size_t reservedBytes() const;
  void prefault();

  // From now on the completion of `stop`, a message, drains the worker: its clients are asked to go, then its backends'
  // connections end, then Io::run() returns.
  void drainOn(Op& stop);
  bool isDrained() const { return drained_; }
  // Tries the backends that could not be reached and may be dialled again, so that a proxy without traffic finds out
  // when they are back.
  void tryBackends();
  // The figures of this moment. `out.backends` must have the right size.
  void fill(WorkerSnapshot& out) const;

  Io& io() { return io_; }
  Server& server() { return *server_; }
  ConnectionPool* pool() { return pool_ ? &*pool_ : nullptr; }
  WorkerMemory& memory() { return memory_; }

 private:
  static Task<void> tryBackend(ConnectionPool& pool, uint32_t backend_idx, Io& io);
  static Task<void> drainAfter(Op& stop, WorkerCore& core, Io& io);

  // In the order in which they must be built.
  const WorkerOptions& options_;
  WorkerMemory& memory_;
  TlsArena* arena_;
  ProxyCounters& counters_;
  AccessRing* access_ring_;
  Io io_;
  std::optional<ConnectionPool> pool_;
  std::optional<ProxyHandler> proxy_;
  DemoHandler demo_;
  std::optional<Server> server_;
  Scope tries_;
  Scope scope_;
  bool drained_ = false;
};

}  // namespace plait
