#include "plait/proxy/worker_core.h"

#include "plait/net/tls_arena.h"

namespace plait {
namespace {

template <class Pieces>
SlabUse useOf(const char* name, const Pieces& pieces) {
  return {name, pieces.used(), pieces.peak(), pieces.capacity()};
}

}  // namespace

size_t WorkerMemory::reservedBytes() const {
  return buffers.reservedBytes() + send_blocks.reservedBytes() + record_blocks.reservedBytes() +
         stream_blocks.reservedBytes() + headers.reservedBytes();
}

void WorkerMemory::prefault() {
  buffers.prefault();
  send_blocks.prefault();
  record_blocks.prefault();
  stream_blocks.prefault();
  for (size_t i = 0; i < std::size(http::HeaderSlab::class_sizes); ++i) headers.ofClass(i).prefault();
}

WorkerCore::WorkerCore(const WorkerOptions& options, WorkerMemory& memory, TlsArena* arena, IoBackend& backend,
                       ProxyCounters& counters, AccessRing* access_ring)
    : options_(options),
      memory_(memory),
      arena_(arena),
      counters_(counters),
      access_ring_(access_ring),
      io_(backend, memory.buffers,
          {.frame_count = options.limits.frames(), .coalesce_ns = options.limits.coalesce_us * ns_per_us}) {
  if (!options.backends.empty()) {
    pool_.emplace(io_, options.limits, options.pool_timeouts, options.backends,
                  UpstreamMemory{memory.stream_blocks, memory.headers}, memory.send_blocks, memory.record_blocks);
    proxy_.emplace(*pool_, options.forward, options.response_head_ms, counters, access_ring);
  }
  Handler& handler = proxy_ ? static_cast<Handler&>(*proxy_) : demo_;
  server_.emplace(io_, options.limits, options.server_timeouts, handler, memory.send_blocks, memory.record_blocks,
                  memory.stream_blocks, memory.headers);
}

size_t WorkerCore::reservedBytes() const {
  return memory_.reservedBytes() + const_cast<Io&>(io_).frames().reservedBytes() + Io::vectorBytes() +
         server_->reservedBytes() + (pool_ ? pool_->reservedBytes() : 0) +
         (arena_ != nullptr ? arena_->reservedBytes() : 0);
}

void WorkerCore::prefault() {
  memory_.prefault();
  io_.frames().prefault();
  io_.vectorArrays().prefault();
  server_->prefault();
  if (pool_) pool_->prefault();
  if (arena_ != nullptr) arena_->prefault();
}

void WorkerCore::drainOn(Op& stop) {
  scope_.spawn(drainAfter(stop, *this, io_), io_);
}

Task<void> WorkerCore::drainAfter(Op& stop, WorkerCore& core, Io& io) {
  co_await OpAwaiter(stop, io);
  co_await core.server_->drain(io);
  if (core.pool_) co_await core.pool_->close(io);
  co_await core.tries_.join();
  core.drained_ = true;
  io.stop();
}

// Makes a connection if there is none; requests do the same.
Task<void> WorkerCore::tryBackend(ConnectionPool& pool, uint32_t backend_idx, Io& io) {
  auto lease = co_await pool.getOrCreate(backend_idx, io);
  if (lease) pool.release(*lease, true, io);
}

void WorkerCore::tryBackends() {
  if (!pool_ || tries_.running() != 0) return;
  for (uint32_t i = 0; i < pool_->backendCount(); ++i) {
    if (!pool_->isUp(i) && pool_->retryAt(i) <= io_.nowNs()) tries_.spawn(tryBackend(*pool_, i, io_), io_);
  }
}

void WorkerCore::fill(WorkerSnapshot& out) const {
  const Server& server = *server_;
  const Limits& limits = options_.limits;
  out.server = server.counters();
  out.proxy = counters_;
  out.client_connections = server.connectionCount();
  size_t slab = 0;
  const auto add = [&](const SlabUse& use) { out.slabs[slab++] = use; };
  add({"client_connections", server.connectionCount(), server.connectionPeak(), limits.client_connections});
  add(useOf("exchanges_http1", server.h1_exchanges));
  add(useOf("exchanges_http2", server.h2_exchanges));
  add(useOf("send_blocks", memory_.send_blocks));
  add(useOf("record_blocks", memory_.record_blocks));
  add(useOf("stream_blocks", memory_.stream_blocks));
  add(useOf("header_blocks_small", memory_.headers.ofClass(0)));
  add(useOf("header_blocks_medium", memory_.headers.ofClass(1)));
  add(useOf("header_blocks_large", memory_.headers.ofClass(2)));
  add(useOf("frames", const_cast<Io&>(io_).frames()));
  if (pool_) {
    auto& pool = const_cast<ConnectionPool&>(*pool_);
    out.pool = pool.counters();
    out.upstream_streams = pool.h2Streams().used() + pool.h1Streams().used();
    add({"upstream_connections", pool.connectionCount(), pool.connectionPeak(), limits.upstream_connections});
    add({"upstream_streams", out.upstream_streams, pool.h2Streams().peak() + pool.h1Streams().peak(),
         limits.exchanges * size_t{2}});
    for (uint32_t i = 0; i < pool.backendCount(); ++i) out.backends[i] = {pool.readyConnections(i), !pool.isUp(i)};
  }
  if (access_ring_ != nullptr) {
    out.log_lines = access_ring_->lines();
    out.log_dropped = access_ring_->dropped();
  }
  if (arena_ != nullptr) {
    out.tls_live_bytes = arena_->liveBytes();
    out.tls_peak_bytes = arena_->peakBytes();
    out.tls_reserved_bytes = arena_->reservedBytes();
    out.tls_allocations = arena_->allocations();
    out.tls_refusals = arena_->refusals();
  }
}

}  // namespace plait
