// One worker: a thread with its own Io, listeners, pool and memory. Workers share nothing on the request path.
#pragma once

#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "plait/client/pool.h"
#include "plait/io/mailbox.h"
#include "plait/proxy/access_log.h"
#include "plait/proxy/event_log.h"
#include "plait/proxy/forward.h"
#include "plait/proxy/metrics.h"
#include "plait/server/server.h"

namespace plait {

struct ListenOptions {
  sockaddr_storage address;
  TlsContext* tls = nullptr;  // must outlive the workers
  bool tls_by_first_byte = false;
};

struct WorkerOptions {
  IoKind io = IoKind::automatic;
  Limits limits;
  bool prefault = false;        // touches all reserved memory before serving
  bool has_access_log = false;  // somebody drains accessRing()
  PoolTimeouts pool_timeouts;
  ServerTimeouts server_timeouts;
  ForwardOptions forward;
  int64_t response_head_ms = 60'000;
  std::vector<BackendOptions> backends;  // empty: the demo origin answers
  std::vector<ListenOptions> listeners;
};

// What a started worker reports: the bound addresses, or a sentence for the operator.
struct WorkerStarted {
  std::string error;
  IoKind io = IoKind::epoll;
  std::vector<sockaddr_storage> addresses;
};

class WorkerCore;

class Worker {
 public:
  // Both must outlive the worker.
  Worker(ResolveService& resolver, const WorkerOptions& options);
  ~Worker();

  // Starts the thread and waits until it listens or has failed. `listeners` are those of the options, with the ports
  // that an earlier worker got from the kernel.
  WorkerStarted start(const std::vector<ListenOptions>& listeners);
  // From any thread, once: the worker drains and its thread ends.
  void stop();
  void join();

  // Tries the backends that could not be reached, so that a proxy without traffic finds out when they are back; then
  // copies the worker's figures into `out`, on the worker's thread, or its last ones once it has ended; then posts
  // `reply` to `reply_to`. From one thread, and not before the reply to the last request. `out.backends` must have the
  // right size.
  void requestSnapshot(WorkerSnapshot& out, Mailbox& reply_to, Op& reply);
  // The last figures, after join().
  const WorkerSnapshot& last() const { return last_; }
  // Null where there is no access log. The worker pushes, one other thread pops.
  AccessRing* accessRing() { return access_ring_ ? &*access_ring_ : nullptr; }
  // Likewise: what happens to backends.
  EventRing& events() { return events_; }

 private:
  void run(const std::vector<ListenOptions>& listeners, std::promise<WorkerStarted>& started);
  void answerSnapshot();

  ResolveService& resolver_;
  const WorkerOptions& options_;
  Mailbox mailbox_;
  Op stop_op_;
  std::optional<AccessRing> access_ring_;
  EventRing events_;
  ProxyCounters counters_;
  std::thread thread_;
  WorkerCore* core_ = nullptr;  // while the thread runs, for that thread alone

  // Met when figures are asked for, never on the request path.
  std::mutex snapshot_mutex_;
  Op snapshot_op_;
  WorkerSnapshot* wanted_ = nullptr;
  Mailbox* reply_to_ = nullptr;
  Op* reply_ = nullptr;
  WorkerSnapshot last_;
  bool has_ended_ = false;
};

}  // namespace plait
