#include "plait/proxy/worker_core.h"

#include "plait/net/tls_arena.h"

namespace plait {
namespace {

template <class Pieces>
SlabUse useOf(const Pieces& pieces) {
  return {pieces.used(), pieces.peak(), pieces.capacity()};
}

}  // namespace

WorkerCore::WorkerCore(const WorkerOptions& options, LoopMemory& memory, TlsArena* arena, IoBackend& backend,
                       ProxyCounters& counters, AccessRing* access_ring)
    : options_(options),
      memory_(memory),
      arena_(arena),
      counters_(counters),
      endpoint_counters_(options.backends.size()),
      access_ring_(access_ring),
      io_(backend, memory.buffers, ioConfigFor(options.limits)) {
  if (!options.backends.empty()) {
    pool_.emplace(io_, options.limits, options.pool_timeouts, options.backends,
                  UpstreamMemory{memory.stream_blocks, memory.headers}, memory.send_blocks, memory.record_blocks);
    std::vector<EndpointId> endpoints;
    for (size_t i = 0; i < options.backends.size(); ++i) endpoints.push_back(pool_->endpoint(i));
    cluster_.emplace(*pool_, std::move(endpoints), OutlierOptions{}, io_);
    proxy_.emplace(*cluster_, options.forward, options.response_head_ms, counters, endpoint_counters_, access_ring);
  }
  Handler& handler = proxy_ ? static_cast<Handler&>(*proxy_) : demo_;
  server_.emplace(io_, options.limits, options.server_timeouts, handler, memory.send_blocks, memory.record_blocks,
                  memory.stream_blocks, memory.headers);
}

size_t WorkerCore::reservedBytes() const {
  return memory_.reservedBytes() + io_.reservedBytes() + server_->reservedBytes() +
         (pool_ ? pool_->reservedBytes() : 0) + (arena_ != nullptr ? arena_->reservedBytes() : 0);
}

void WorkerCore::prefault() {
  memory_.prefault();
  io_.prefault();
  server_->prefault();
  if (pool_) pool_->prefault();
  if (arena_ != nullptr) arena_->prefault();
}

void WorkerCore::drainOn(Op& stop, std::atomic<int64_t>* begun_with) {
  scope_.spawn(drainAfter(stop, *this, begun_with, io_), io_);
}

Task<void> WorkerCore::drainAfter(Op& stop, WorkerCore& core, std::atomic<int64_t>* begun_with, Io& io) {
  co_await OpAwaiter(stop, io);
  if (begun_with != nullptr)
    begun_with->store(static_cast<int64_t>(core.server_->requestCount()), std::memory_order_relaxed);
  co_await core.server_->drain(io);
  if (core.pool_) co_await core.pool_->close(io);
  core.drained_ = true;
  io.stop();
}

void WorkerCore::fill(WorkerSnapshot& out) const {
  const Server& server = *server_;
  const Limits& limits = options_.limits;
  out.server = server.counters();
  out.proxy = counters_;
  out.client_connections = server.connectionCount();
  SlabTable& slabs = out.slabs;
  slabs[ShownSlab::client_connections] = {server.connectionCount(), server.connectionPeak(), limits.client_connections};
  slabs[ShownSlab::exchanges_http1] = useOf(server.h1_exchanges);
  slabs[ShownSlab::exchanges_http2] = useOf(server.h2_exchanges);
  slabs[ShownSlab::send_blocks] = useOf(memory_.send_blocks);
  slabs[ShownSlab::record_blocks] = useOf(memory_.record_blocks);
  slabs[ShownSlab::stream_blocks] = useOf(memory_.stream_blocks);
  slabs[ShownSlab::upload_blocks] = useOf(server.uploads.blocks);
  slabs[ShownSlab::receive_buffers] = {memory_.buffers.lent(), memory_.buffers.peak(), memory_.buffers.count()};
  slabs[ShownSlab::header_blocks_small] = useOf(memory_.headers.ofClass(0));
  slabs[ShownSlab::header_blocks_medium] = useOf(memory_.headers.ofClass(1));
  slabs[ShownSlab::header_blocks_large] = useOf(memory_.headers.ofClass(2));
  slabs[ShownSlab::frames] = useOf(io_.frames());
  slabs[ShownSlab::send_arrays] = useOf(io_.vectorArrays());
  out.frame_refusals = io_.frames().refusals();
  if (pool_) {
    const ConnectionPool& pool = *pool_;
    out.pool = pool.counters();
    out.upstream_streams = pool.h2Streams().used() + pool.h1Streams().used();
    slabs[ShownSlab::upstream_connections] = {pool.connectionCount(), pool.connectionPeak(),
                                              limits.upstream_connections};
    slabs[ShownSlab::upstream_streams] = {out.upstream_streams, pool.h2Streams().peak() + pool.h1Streams().peak(),
                                          limits.exchanges * size_t{2}};
    slabs[ShownSlab::endpoints] = {pool.endpoints().used(), pool.endpoints().peak(), limits.endpoints};
    out.places = pool.places();
    out.cluster = cluster_->counters();
    out.is_panic = cluster_->isPanic();
    out.waiting = cluster_->waiting();
    for (size_t i = 0; i < out.backends.size(); ++i) {
      if (const Endpoint* endpoint = pool.find(pool.endpoint(i)))
        out.backends[i] = {endpoint->readyConnections(), endpoint->in_flight, endpoint->state, endpoint->goaways,
                           endpoint_counters_[i]};
    }
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
