// The control thread: what may block or allocate, away from the workers. It serves the admin address, writes the access
// log and says what happens to backends, and to the log itself. The admin server is plait's own server on an Io of its
// own, with a handler that knows three paths:
//
//   /metrics  the figures in the text format of Prometheus
//   /healthz  200 as long as the process runs
//   /ready    200 while plait takes requests; 503 while it drains, or when no backend can be reached
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "plait/base/log.h"
#include "plait/config/config.h"
#include "plait/control/certificate_dates.h"
#include "plait/control/endpoint_names.h"
#include "plait/control/reload_figures.h"
#include "plait/proxy/worker.h"

namespace plait {

struct ControlOptions {
  LogSink* log = nullptr;  // must outlive the thread
  IoKind io = IoKind::automatic;
  uint32_t descriptors = 0;  // as WorkerOptions
  std::optional<sockaddr_storage> admin;
  PortUse admin_port;
  std::string access_log;  // a file, or "-"; empty: none
  LogFormat log_format = LogFormat::combined;
  // Must outlive the thread.
  EndpointNames* names = nullptr;
  const ReloadFigures* reloads = nullptr;
  const CertificateDates* certificate_dates = nullptr;
};

struct ControlStarted {
  enum class Part : uint8_t { none, memory, io, admin, access_log };
  Part failed = Part::none;  // with a sentence for the operator in `error`
  std::string error;
  sockaddr_storage admin{};  // as bound
};

class ControlThread {
 public:
  // The workers must have been started, and must outlive this object.
  ControlThread(const ControlOptions& options, std::vector<std::unique_ptr<Worker>>& workers)
      : options_(options), workers_(workers) {}
  ~ControlThread();

  // Starts the thread and waits until it listens or has failed.
  ControlStarted start();
  // From any thread: /ready answers 503 from now on.
  void setDraining() { is_draining_.store(true, std::memory_order_relaxed); }
  // From any thread: opens the access log anew, soon, and says whether it could be.
  void reopenLog() { reopen_log_.store(true, std::memory_order_relaxed); }
  // Once the workers have ended: what is still in their rings is written, and the thread ends.
  void stop();

 private:
  void run(std::promise<ControlStarted>& started);

  const ControlOptions options_;
  std::vector<std::unique_ptr<Worker>>& workers_;
  Mailbox mailbox_;
  Op stop_op_;
  std::atomic<bool> is_draining_{false};
  std::atomic<bool> reopen_log_{false};
  std::atomic<uint64_t> failed_reopenings_{0};
  std::thread thread_;
};

}  // namespace plait
