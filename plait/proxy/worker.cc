#include "plait/proxy/worker.h"

#include <cstring>

#include "plait/base/alloc_guard.h"
#include "plait/proxy/demo.h"
#include "plait/proxy/handler.h"

namespace plait {
namespace {

// Everything one worker owns, in the order in which it must be built.
struct WorkerMemory {
  explicit WorkerMemory(const Limits& limits)
      : buffers(limits.receive_buffers, limits.receive_buffer_size),
        send_blocks(limits.send_block_size, limits.send_blocks),
        record_blocks(limits.send_block_size + 1024, limits.record_blocks),
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
};

Task<void> drainOnStop(Op& stop, Server& server, ConnectionPool* pool, Io& io) {
  co_await OpAwaiter(stop, io);
  co_await server.drain(io);
  if (pool != nullptr) co_await pool->close(io);
  io.stop();
}

}  // namespace

Worker::~Worker() { join(); }

WorkerStarted Worker::start(const WorkerOptions& options) {
  std::promise<WorkerStarted> promise;
  std::future<WorkerStarted> started = promise.get_future();
  thread_ = std::thread([this, &options, promise = std::move(promise)]() mutable { run(options, promise); });
  return started.get();
}

void Worker::stop() { mailbox_.post(stop_op_, 0); }

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::run(const WorkerOptions& options, std::promise<WorkerStarted>& started) {
  WorkerStarted report;
  WorkerMemory memory(options.limits);
  auto backend = makeBackend(options.io, memory.buffers, mailbox_, &resolver_, &report.io);
  if (!backend) {
    report.error = std::string(backend.error().reason) + " (" + std::strerror(static_cast<int>(backend.error().detail)) + ")";
    started.set_value(report);
    return;
  }
  Io io(**backend, memory.buffers, {.frame_count = options.limits.frames()});
  std::optional<ConnectionPool> pool;
  std::optional<ProxyHandler> proxy;
  DemoHandler demo;
  if (!options.backends.empty()) {
    pool.emplace(io, options.limits, options.pool_timeouts, options.backends, UpstreamMemory{memory.stream_blocks, memory.headers},
                 memory.send_blocks, memory.record_blocks);
    proxy.emplace(*pool, memory.headers, options.forward, options.response_head_ms);
  }
  Handler& handler = proxy ? static_cast<Handler&>(*proxy) : demo;
  Server server(io, options.limits, options.server_timeouts, handler, memory.send_blocks, memory.record_blocks,
                memory.stream_blocks, memory.headers);
  report.reserved_bytes = memory.reservedBytes() + io.frames().reservedBytes() + server.reservedBytes();
  // Whoever is told that the worker has started may stop it at once, so the wait for that begins first.
  Scope scope;
  scope.spawn(drainOnStop(stop_op_, server, pool ? &*pool : nullptr, io), io);
  io.turn(0);
  for (const ListenOptions& listener : options.listeners) {
    sockaddr_storage address = listener.address;
    if (const int result = server.listen(address, listener.tls); result < 0) {
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
}

}  // namespace plait
