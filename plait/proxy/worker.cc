#include "plait/proxy/worker.h"

#include <cstring>

#include "plait/base/alloc_guard.h"
#include "plait/net/tls_arena.h"
#include "plait/proxy/demo.h"
#include "plait/proxy/handler.h"
#include "plait/proxy/worker_memory.h"

namespace plait {
namespace {

// Binds the arena to the worker's thread as long as anything of TLS can live there.
class BoundArena {
 public:
  explicit BoundArena(size_t size) {
    if (size == 0) return;
    arena_.emplace(size);
    TlsArena::bind(&*arena_);
  }
  ~BoundArena() {
    if (arena_) TlsArena::bind(nullptr);
  }
  BoundArena(const BoundArena&) = delete;
  BoundArena& operator=(const BoundArena&) = delete;
  TlsArena* get() { return arena_ ? &*arena_ : nullptr; }

 private:
  std::optional<TlsArena> arena_;
};

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

  size_t reservedBytes() const {
    return buffers.reservedBytes() + send_blocks.reservedBytes() + record_blocks.reservedBytes() +
           stream_blocks.reservedBytes() + headers.reservedBytes();
  }
  void prefault() {
    buffers.prefault();
    send_blocks.prefault();
    record_blocks.prefault();
    stream_blocks.prefault();
    for (size_t i = 0; i < std::size(http::HeaderSlab::class_sizes); ++i) headers.ofClass(i).prefault();
  }
};

// Makes a connection if there is none; requests do the same.
Task<void> tryBackend(ConnectionPool& pool, uint32_t backend_idx, Io& io) {
  auto lease = co_await pool.getOrCreate(backend_idx, io);
  if (lease) pool.release(*lease, true, io);
}

Task<void> drainOnStop(Op& stop, Server& server, ConnectionPool* pool, Scope& tries, Io& io) {
  co_await OpAwaiter(stop, io);
  co_await server.drain(io);
  if (pool != nullptr) co_await pool->close(io);
  co_await tries.join();
  io.stop();
}

template <class Pieces>
SlabUse useOf(const char* name, const Pieces& pieces) {
  return {name, pieces.used(), pieces.peak(), pieces.capacity()};
}

}  // namespace

// Everything one worker owns, in the order in which it must be built.
struct Worker::Parts {
  Parts(const WorkerOptions& options, WorkerMemory& worker_memory, TlsArena* tls_arena, IoBackend& backend,
        ProxyCounters& counters, AccessRing* access_ring)
      : memory(worker_memory), arena(tls_arena), io(backend, memory.buffers, {.frame_count = options.limits.frames()}) {
    if (!options.backends.empty()) {
      pool.emplace(io, options.limits, options.pool_timeouts, options.backends,
                   UpstreamMemory{memory.stream_blocks, memory.headers}, memory.send_blocks, memory.record_blocks);
      proxy.emplace(*pool, memory.headers, options.forward, options.response_head_ms, counters, access_ring);
    }
    Handler& handler = proxy ? static_cast<Handler&>(*proxy) : demo;
    server.emplace(io, options.limits, options.server_timeouts, handler, memory.send_blocks, memory.record_blocks,
                   memory.stream_blocks, memory.headers);
  }

  size_t reservedBytes() {
    return memory.reservedBytes() + io.frames().reservedBytes() + server->reservedBytes() +
           (pool ? pool->reservedBytes() : 0) + (arena != nullptr ? arena->reservedBytes() : 0);
  }
  void prefault() {
    memory.prefault();
    io.frames().prefault();
    server->prefault();
    if (pool) pool->prefault();
    if (arena != nullptr) arena->prefault();
  }

  void tryBackends() {
    if (!pool || tries.running() != 0) return;
    for (uint32_t i = 0; i < pool->backendCount(); ++i) {
      if (!pool->isUp(i) && pool->retryAt(i) <= io.nowNs()) tries.spawn(tryBackend(*pool, i, io), io);
    }
  }

  WorkerMemory& memory;
  TlsArena* arena;
  Io io;
  std::optional<ConnectionPool> pool;
  std::optional<ProxyHandler> proxy;
  DemoHandler demo;
  std::optional<Server> server;
  Scope tries;
};

Worker::Worker(ResolveService& resolver, const WorkerOptions& options) : resolver_(resolver), options_(options) {
  if (options.has_access_log) access_ring_.emplace(options.limits.access_ring_bytes);
  last_.backends.resize(options.backends.size());
}

Worker::~Worker() {
  join();
}

WorkerStarted Worker::start(const std::vector<ListenOptions>& listeners) {
  std::promise<WorkerStarted> promise;
  std::future<WorkerStarted> started = promise.get_future();
  thread_ = std::thread([this, &listeners, promise = std::move(promise)]() mutable { run(listeners, promise); });
  return started.get();
}

void Worker::stop() {
  mailbox_.post(stop_op_, 0);
}

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::run(const std::vector<ListenOptions>& listeners, std::promise<WorkerStarted>& started) {
  WorkerStarted report;
  WorkerMemory memory(options_.limits);
  auto backend = makeBackend(options_.io, memory.buffers, mailbox_, &resolver_, &report.io);
  if (!backend) {
    report.error =
        std::string(backend.error().reason) + " (" + std::strerror(static_cast<int>(backend.error().detail)) + ")";
    has_ended_ = true;
    started.set_value(report);
    return;
  }
  BoundArena arena(tlsArenaBytes(options_));
  Parts parts(options_, memory, arena.get(), **backend, counters_, accessRing());
  parts_ = &parts;
  if (parts.pool) parts.pool->setObserver(&events_);
  Io& io = parts.io;
  PLAIT_ASSERT(parts.reservedBytes() + (access_ring_ ? access_ring_->reservedBytes() : 0) <= sumOf(memoryOf(options_)));
  if (options_.prefault) {
    parts.prefault();
    if (access_ring_) access_ring_->prefault();
  }
  // Whoever is told that the worker has started may stop it at once, so the wait for that begins first.
  Scope scope;
  scope.spawn(drainOnStop(stop_op_, *parts.server, parts.pool ? &*parts.pool : nullptr, parts.tries, io), io);
  snapshot_op_.owner = this;
  snapshot_op_.on_complete = [](void* self, const Completion&) {
    auto* worker = static_cast<Worker*>(self);
    // Armed again before the answer goes out, since the next question may follow at once.
    worker->parts_->io.submit(worker->snapshot_op_);
    worker->parts_->tryBackends();
    worker->answerSnapshot();
  };
  io.submit(snapshot_op_);
  io.turn(0);
  for (const ListenOptions& listener : listeners) {
    sockaddr_storage address = listener.address;
    if (const int result = parts.server->listen(address, listener.tls, listener.tls_by_first_byte); result < 0) {
      report.error = std::string("cannot listen: ") + std::strerror(-result);
      // What was opened before is closed by the same path as at any other end.
      stop();
      break;
    }
    report.addresses.push_back(address);
  }
  started.set_value(report);
  AllocGuard::enter(AllocGuard::Phase::serving);
  io.run();
  AllocGuard::enter(AllocGuard::Phase::teardown);
  {
    const std::lock_guard lock(snapshot_mutex_);
    fill(last_);
    has_ended_ = true;
  }
  answerSnapshot();
  parts_ = nullptr;
}

void Worker::requestSnapshot(WorkerSnapshot& out, Mailbox& reply_to, Op& reply) {
  const std::lock_guard lock(snapshot_mutex_);
  if (has_ended_) {
    out = last_;
    reply_to.post(reply, 0);
    return;
  }
  PLAIT_ASSERT(wanted_ == nullptr);
  wanted_ = &out;
  reply_to_ = &reply_to;
  reply_ = &reply;
  mailbox_.post(snapshot_op_, 0);
}

void Worker::answerSnapshot() {
  const std::lock_guard lock(snapshot_mutex_);
  if (wanted_ == nullptr) return;
  fill(*std::exchange(wanted_, nullptr));
  reply_to_->post(*reply_, 0);
}

void Worker::fill(WorkerSnapshot& out) {
  Parts& parts = *parts_;
  const Server& server = *parts.server;
  WorkerMemory& memory = parts.memory;
  const Limits& limits = options_.limits;
  out.server = server.counters();
  out.proxy = counters_;
  out.client_connections = server.connectionCount();
  size_t slab = 0;
  const auto add = [&](const SlabUse& use) { out.slabs[slab++] = use; };
  add({"client_connections", server.connectionCount(), server.connectionPeak(), limits.client_connections});
  add(useOf("exchanges_http1", server.h1_exchanges));
  add(useOf("exchanges_http2", server.h2_exchanges));
  add(useOf("send_blocks", memory.send_blocks));
  add(useOf("record_blocks", memory.record_blocks));
  add(useOf("stream_blocks", memory.stream_blocks));
  add(useOf("header_blocks_small", memory.headers.ofClass(0)));
  add(useOf("header_blocks_medium", memory.headers.ofClass(1)));
  add(useOf("header_blocks_large", memory.headers.ofClass(2)));
  add(useOf("frames", parts.io.frames()));
  if (parts.pool) {
    ConnectionPool& pool = *parts.pool;
    out.pool = pool.counters();
    out.upstream_streams = pool.h2Streams().used() + pool.h1Streams().used();
    add({"upstream_connections", pool.connectionCount(), pool.connectionPeak(), limits.upstream_connections});
    add({"upstream_streams", out.upstream_streams, pool.h2Streams().peak() + pool.h1Streams().peak(),
         limits.exchanges * size_t{2}});
    for (uint32_t i = 0; i < pool.backendCount(); ++i) out.backends[i] = {pool.readyConnections(i), !pool.isUp(i)};
  }
  if (access_ring_) {
    out.log_lines = access_ring_->lines();
    out.log_dropped = access_ring_->dropped();
  }
  if (parts.arena != nullptr) {
    out.tls_live_bytes = parts.arena->liveBytes();
    out.tls_peak_bytes = parts.arena->peakBytes();
    out.tls_reserved_bytes = parts.arena->reservedBytes();
    out.tls_allocations = parts.arena->allocations();
    out.tls_refusals = parts.arena->refusals();
  }
}

}  // namespace plait
