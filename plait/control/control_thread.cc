#include "plait/control/control_thread.h"

#include <fmt/format.h>
#include <pthread.h>

#include <chrono>
#include <cstring>

#include "plait/control/admin.h"
#include "plait/control/event_log.h"
#include "plait/proxy/worker_memory.h"

namespace plait {
namespace {

// How often the rings are emptied: a worker that logs 100,000 requests a second fills a tenth of its ring meanwhile.
constexpr int64_t log_interval_ms = 20;
// Without an access log there are only the backends' events, which are for people.
constexpr int64_t event_interval_ms = 200;

// The nanoseconds to add to the monotonic clock for the time since 1970. Computed each time, since the wall clock is
// corrected.
int64_t wallOffsetNs(Io& io) {
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(wall).count() - io.nowNs();
}

int64_t wallS(Io& io) {
  return (io.nowNs() + wallOffsetNs(io)) / ns_per_s;
}

struct LogPump {
  AccessLog* log;  // null: none is kept
  EventLog events;
  LogSink& sink;
  std::vector<std::unique_ptr<Worker>>& workers;
  std::atomic<bool>& reopen;
  std::atomic<uint64_t>& failed_reopenings;
  EndpointNames& names;
  const CertificateDates& certificate_dates;
  EndReminder reminder;
  std::shared_ptr<const EndpointNames::Names> known = nullptr;
  uint64_t told_lines = 0;  // that could not be written, and were told
  bool is_failing = false;
  LogRate failure_rate{};
  bool is_done = false;

  void say(LogLevel level, std::string text) const { sink.say({level, "access log " + log->path(), std::move(text)}); }

  // A file that cannot be opened anew is no reason to lose what the old one still takes.
  void openAnew() {
    const std::string wrong = log->open();
    if (wrong.empty()) return say(LogLevel::info, "opened anew");
    failed_reopenings.fetch_add(1, std::memory_order_relaxed);
    say(LogLevel::error, wrong + "; lines go on into the file that was open");
  }

  void tellFailures(TimeNs now_ns) {
    uint32_t unsaid = 0;
    if (log->failedLines() != told_lines && failure_rate.admit(now_ns, unsaid)) {
      say(LogLevel::error, fmt::format("cannot be written: {}; {} line(s) are lost",
                                       std::strerror(log->failedBecause()), log->failedLines() - told_lines));
      told_lines = log->failedLines();
    }
    if (is_failing && !log->isFailing()) say(LogLevel::info, "written again");
    is_failing = log->isFailing();
  }

  void remind(int64_t now_s) {
    if (!reminder.isDue(now_s)) return;
    for (std::string& one : reminder.remind(*certificate_dates.get(), now_s))
      sink.say({LogLevel::warning, "certificate", std::move(one)});
  }

  void drain(Io& io) {
    remind(wallS(io));
    const std::shared_ptr<const EndpointNames::Names> now = names.get();
    if (now != known) {
      known = now;
      events.setBackends(*known);
      if (log != nullptr) log->setBackends(*known);
    }
    for (size_t i = 0; i < workers.size(); ++i) {
      for (LogEvent event; workers[i]->events().pop(event);) {
        const LogLine line = events.lineOf(event, i);
        if (!line.text.empty()) sink.say(line);
      }
    }
    if (log == nullptr) return;
    if (reopen.exchange(false, std::memory_order_relaxed)) openAnew();
    const int64_t offset_ns = wallOffsetNs(io);
    for (const auto& worker : workers) {
      if (AccessRing* ring = worker->accessRing()) log->drain(*ring, offset_ns);
    }
    tellFailures(io.nowNs());
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
  try {
    thread_ = std::thread([this, promise = std::move(promise)]() mutable { run(promise); });
  } catch (const std::system_error& failed) {
    ControlStarted report;
    report.failed = ControlStarted::Part::memory;
    report.error = fmt::format("the control thread cannot be started: {}", failed.code().message());
    return report;
  }
  ControlStarted report = started.get();
  if (report.failed != ControlStarted::Part::none) thread_.join();
  return report;
}

void ControlThread::stop() {
  mailbox_.post(stop_op_, 0);
  thread_.join();
}

void ControlThread::run(std::promise<ControlStarted>& started) {
  ::pthread_setname_np(::pthread_self(), "plait-control");
  ControlStarted report;
  std::optional<AccessLog> log;
  if (!options_.access_log.empty()) {
    log.emplace(options_.access_log, options_.log_format);
    report.error = log->open();
    if (!report.error.empty()) {
      report.failed = ControlStarted::Part::access_log;
      started.set_value(report);
      return;
    }
  }
  const Limits limits = adminLimits();
  LoopMemory memory(limits);
  auto backend = makeBackend(options_.io, memory.buffers, mailbox_, nullptr, nullptr, options_.descriptors);
  if (!backend) {
    report.failed = ControlStarted::Part::io;
    report.error =
        std::string(backend.error().reason) + " (" + std::strerror(static_cast<int>(backend.error().detail)) + ")";
    started.set_value(report);
    return;
  }
  Io io(**backend, memory.buffers, ioConfigFor(limits));
  AdminHandler handler(workers_, *options_.names, *options_.reloads, *options_.certificate_dates, mailbox_,
                       is_draining_, log ? &*log : nullptr, failed_reopenings_, memory.stream_blocks, memory.headers);
  // A scraper that keeps its connection open does not hold up the end.
  const ServerTimeouts timeouts{.drain_ms = 100};
  Server server(io, limits, limits, timeouts, handler, memory.send_blocks, memory.record_blocks, memory.stream_blocks,
                memory.headers);
  LogPump pump{.log = log ? &*log : nullptr,
               .events = EventLog(*options_.names->get(), workers_.size()),
               .sink = *options_.log,
               .workers = workers_,
               .reopen = reopen_log_,
               .failed_reopenings = failed_reopenings_,
               .names = *options_.names,
               .certificate_dates = *options_.certificate_dates,
               .reminder = EndReminder(wallS(io))};
  Scope pumps;
  pumps.spawn(pumpLog(pump, io), io);
  Scope scope;
  scope.spawn(endOnStop(stop_op_, server, pump, pumps, io), io);
  io.turn(0);
  if (options_.admin) {
    report.admin = *options_.admin;
    if (const Status opened = server.listen(report.admin, nullptr, false, options_.admin_port); !opened) {
      report.failed = ControlStarted::Part::admin;
      report.error = cannotListen(opened.error(), options_.admin_port);
      mailbox_.post(stop_op_, 0);
    }
  }
  started.set_value(report);
  io.run();
}

}  // namespace plait
