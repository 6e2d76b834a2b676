// One worker: a thread with its own Io, listeners, pool and memory. Workers share nothing on the request path.
#pragma once

#include <future>
#include <string>
#include <thread>
#include <vector>

#include "plait/client/pool.h"
#include "plait/io/mailbox.h"
#include "plait/proxy/forward.h"
#include "plait/server/server.h"

namespace plait {

struct ListenOptions {
  sockaddr_storage address;
  TlsContext* tls = nullptr;  // must outlive the workers
};

struct WorkerOptions {
  IoKind io = IoKind::automatic;
  Limits limits;
  bool prefault = false;  // touches all reserved memory before serving
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
  size_t reserved_bytes = 0;
};

class Worker {
 public:
  explicit Worker(ResolveService& resolver) : resolver_(resolver) {}
  ~Worker();

  // Starts the thread and waits until it listens or has failed.
  WorkerStarted start(const WorkerOptions& options);
  // From any thread, once: the worker drains and its thread ends.
  void stop();
  void join();

 private:
  void run(const WorkerOptions& options, std::promise<WorkerStarted>& started);

  ResolveService& resolver_;
  Mailbox mailbox_;
  Op stop_op_;
  std::thread thread_;
};

}  // namespace plait
