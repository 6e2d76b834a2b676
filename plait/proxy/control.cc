#include "plait/proxy/control.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>

#include "plait/proxy/admin.h"

namespace plait {
namespace {

// How often the rings are emptied: a worker that logs 100,000 requests a second fills a tenth of its ring meanwhile.
constexpr int64_t log_interval_ms = 20;
// Without an access log there are only the backends' events, which are for people.
constexpr int64_t event_interval_ms = 200;

// Few and small: scrapers, not clients.
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
  limits.large_header_blocks = 64;
  return limits;
}

// What is added to the monotonic clock to get nanoseconds since 1970. Asked each time, since the wall clock is
// corrected.
int64_t wallOffsetNs(Io& io) {
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(wall).count() - io.nowNs();
}

struct LogPump {
  AccessLog* log;  // null: none is kept
  EventLog events;
  std::vector<std::unique_ptr<Worker>>& workers;
  std::atomic<bool>& reopen;
  bool is_done = false;

  void drain(Io& io) {
    for (size_t i = 0; i < workers.size(); ++i) {
      for (LogEvent event; workers[i]->events().pop(event);) {
        const std::string sentence = events.sentenceOf(event, i);
        if (!sentence.empty()) fmt::print(stderr, "plait: {}\n", sentence);
      }
    }
    if (log == nullptr) return;
    // A file that cannot be opened anew is no reason to lose what the old one still takes.
    if (reopen.exchange(false, std::memory_order_relaxed)) (void)log->open();
    const int64_t offset_ns = wallOffsetNs(io);
    for (const auto& worker : workers) {
      if (AccessRing* ring = worker->accessRing()) log->drain(*ring, offset_ns);
    }
  }
};

Task<void> pumpLog(LogPump& pump, Io& io) {
  while (!pump.is_done) {
    pump.drain(io);
    const int64_t pause_ms = pump.log == nullptr ? event_interval_ms : log_interval_ms;
    co_await sleepUntil(io.nowNs() + pause_ms * ns_per_ms, io);
  }
  pump.drain(io);
}

Task<void> endOnStop(Op& stop, Server& server, LogPump& pump, Scope& pumps, Io& io) {
  co_await OpAwaiter(stop, io);
  pump.is_done = true;
  co_await pumps.join();
  co_await server.drain(io);
  io.stop();
}

}  // namespace

ControlThread::~ControlThread() {
  if (thread_.joinable()) stop();
}

ControlStarted ControlThread::start() {
  std::promise<ControlStarted> promise;
  std::future<ControlStarted> started = promise.get_future();
  thread_ = std::thread([this, promise = std::move(promise)]() mutable { run(promise); });
  ControlStarted report = started.get();
  if (report.failed != ControlStarted::Part::none) thread_.join();
  return report;
}

void ControlThread::stop() {
  mailbox_.post(stop_op_, 0);
  thread_.join();
}

void ControlThread::run(std::promise<ControlStarted>& started) {
  ControlStarted report;
  std::optional<AccessLog> log;
  if (!options_.access_log.empty()) {
    log.emplace(options_.access_log, options_.log_format, options_.backends);
    report.error = log->open();
    if (!report.error.empty()) {
      report.failed = ControlStarted::Part::access_log;
      started.set_value(report);
      return;
    }
  }
  const Limits limits = adminLimits();
  BufferPool buffers(limits.receive_buffers, limits.receive_buffer_size);
  BlockSlab send_blocks(limits.send_block_size, limits.send_blocks);
  BlockSlab record_blocks(limits.recordBlockSize(), limits.record_blocks);
  BlockSlab stream_blocks(limits.stream_block_size, limits.streamBlocks());
  http::HeaderSlab headers(limits.smallHeaderBlocks(), limits.medium_header_blocks, limits.large_header_blocks);
  auto backend = makeBackend(options_.io, buffers, mailbox_, nullptr);
  if (!backend) {
    report.failed = ControlStarted::Part::io;
    report.error =
        std::string(backend.error().reason) + " (" + std::strerror(static_cast<int>(backend.error().detail)) + ")";
    started.set_value(report);
    return;
  }
  Io io(**backend, buffers, {.frame_count = limits.frames(), .ready_count = 4096});
  AdminHandler handler(workers_, options_.backends, mailbox_, is_draining_, log ? &*log : nullptr, stream_blocks,
                       headers);
  // A scraper that keeps its connection open does not hold up the end.
  const ServerTimeouts timeouts{.drain_ms = 100};
  Server server(io, limits, timeouts, handler, send_blocks, record_blocks, stream_blocks, headers);
  LogPump pump{log ? &*log : nullptr, EventLog(options_.backends, workers_.size()), workers_, reopen_log_};
  Scope pumps;
  pumps.spawn(pumpLog(pump, io), io);
  Scope scope;
  scope.spawn(endOnStop(stop_op_, server, pump, pumps, io), io);
  io.turn(0);
  if (options_.admin) {
    report.admin = *options_.admin;
    if (const int result = server.listen(report.admin, nullptr); result < 0) {
      report.failed = ControlStarted::Part::admin;
      report.error = std::string("cannot listen: ") + std::strerror(-result);
      mailbox_.post(stop_op_, 0);
    }
  }
  started.set_value(report);
  io.run();
}

}  // namespace plait
