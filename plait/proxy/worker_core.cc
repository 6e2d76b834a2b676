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
      endpoint_counters_(options.plan ? options.limits.endpoints : 0),
      access_ring_(access_ring),
      io_(backend, memory.buffers, ioConfigFor(options.limits)) {
  if (options.plan) {
    pool_.emplace(io_, options.limits, options.limits, options.pool_timeouts, std::vector<BackendOptions>(),
                  UpstreamMemory{memory.stream_blocks, memory.headers}, memory.send_blocks, memory.record_blocks);
    store_.emplace(*pool_, options.forward, io_);
    proxy_.emplace(*store_, counters, endpoint_counters_, access_ring, memory.stream_blocks);
    // Another endpoint had the number before.
    store_->clusters().onAdded(
        [](void* self, uint32_t number) { static_cast<WorkerCore*>(self)->endpoint_counters_[number] = {}; }, this);
    if (options.plan->routes) scratch_.emplace(*options.plan->routes);
    const Status prepared = store_->prepare(*options.plan);
    PLAIT_ASSERT(prepared.has_value());  // the configuration names no more than there are places
  }
  Handler& handler = proxy_ ? static_cast<Handler&>(*proxy_) : demo_;
  server_.emplace(io_, options.limits, options.limits, options.server_timeouts, handler, memory.send_blocks,
                  memory.record_blocks, memory.stream_blocks, memory.headers);
  if (store_) store_->commit(*options.plan, scratch_ ? &*scratch_ : nullptr, server_->timeouts);
}

size_t WorkerCore::reservedBytes() const {
  return memory_.reservedBytes() + io_.reservedBytes() + server_->reservedBytes() +
         (pool_ ? pool_->reservedBytes() + store_->reservedBytes() : 0) +
         (arena_ != nullptr ? arena_->reservedBytes() : 0);
}

void WorkerCore::prefault() {
  memory_.prefault();
  io_.prefault();
  server_->prefault();
  if (pool_) pool_->prefault();
  if (store_) store_->prefault();
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
    const ClusterTable& clusters = store_->clusters();
    out.cluster = clusters.counters();
    out.is_panic = clusters.isPanic();
    out.waiting = clusters.waiting();
    for (uint32_t i = 0; i < out.backends.size() && i < endpoint_counters_.size(); ++i) {
      if (const Endpoint* endpoint = pool.find(clusters.endpoint(i)))
        out.backends[i] = {
            endpoint->readyConnections(), endpoint->in_flight, 0, endpoint->state, endpoint->cause, endpoint->goaways,
            endpoint_counters_[i]};
    }
    clusters.forEachScore([&](uint32_t number, int64_t score) {
      if (number < out.backends.size()) out.backends[number].score = score;
    });
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
