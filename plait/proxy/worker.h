// One worker: a thread with its own Io, listeners, pool and memory. Workers share nothing on the request path.
#pragma once

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "plait/client/pool.h"
#include "plait/io/mailbox.h"
#include "plait/limits.h"
#include "plait/plan/forward_options.h"
#include "plait/plan/plan.h"
#include "plait/proxy/access_ring.h"
#include "plait/proxy/event_ring.h"
#include "plait/proxy/figures.h"
#include "plait/server/server.h"

namespace plait {

struct ListenOptions {
  sockaddr_storage address;
  TlsContext* tls = nullptr;  // must outlive the workers
  bool tls_by_first_byte = false;
  PortUse port;
  std::shared_ptr<const TrustedProxies> proxies;  // as for Listener; must outlive the workers
  bool redirects_https = false;                   // as for Listener
};

// Why a port cannot be had, in a sentence for the operator.
std::string cannotListen(int error_number, const PortUse& use);
std::string cannotListen(const Error& error, const PortUse& use);
// Likewise where the way of doing I/O that was asked for cannot be had (makeBackend).
std::string cannotDoIo(const Error& error);

struct WorkerOptions {
  IoKind io = IoKind::automatic;
  Limits limits;
  uint32_t descriptors = 0;     // that the process may have; 0: as many as it is allowed
  bool prefault = false;        // touches all reserved memory before serving
  bool has_access_log = false;  // somebody drains accessRing()
  PoolTimeouts pool_timeouts;
  ServerTimeouts server_timeouts;
  ForwardOptions forward;            // of plans that do not say
  std::shared_ptr<const Plan> plan;  // the first; null: the demo origin answers
  bool has_tls_backends = false;     // some backend may speak TLS
  std::vector<ListenOptions> listeners;
};

// The report of a worker that was started: the bound addresses, or a sentence for the operator.
struct WorkerStarted {
  std::string error;
  bool lacks_memory = false;  // and that is the error
  IoKind io = IoKind::epoll;
  std::vector<sockaddr_storage> addresses;
};

class PlanStore;
class WorkerCore;

class Worker {
 public:
  // Both must outlive the worker. `number` is its place among the workers.
  Worker(ResolveService& resolver, const WorkerOptions& options, uint32_t number);
  ~Worker();

  // Starts the thread and waits until it listens or has failed. `listeners` are those of the options, with the ports
  // that an earlier worker got from the kernel.
  WorkerStarted start(const std::vector<ListenOptions>& listeners);
  // From any thread, once: the worker drains and its thread ends.
  void stop();
  void join();
  // From any thread: the requests that were under way when the worker began to drain; nothing before.
  std::optional<uint64_t> drained() const {
    const int64_t count = drained_.load(std::memory_order_relaxed);
    return count < 0 ? std::nullopt : std::optional<uint64_t>(count);
  }
  // From any thread: nothing is left to be done, and join() returns soon.
  bool hasEnded() const { return is_over_.load(std::memory_order_relaxed); }

  // Copies the worker's figures into `out`, on the worker's thread, or its last ones once it has ended; then posts
  // `reply` to `reply_to`. From one thread, and not before the reply to the last request. `out.backends` must have the
  // right size.
  void requestSnapshot(WorkerSnapshot& out, Mailbox& reply_to, Op& reply);
  // -- a new generation of the plan, from one thread, which waits until the worker's has done it
  // See PlanStore. An error: a place is missing, or the worker has ended, and nothing has changed.
  Status prepare(const Plan& next);
  void undo();
  // After prepare(). `scratch` is of its routes. Both must live until the next commit() has returned.
  void commit(const Plan& next, route::RouteScratch* scratch);
  // Listeners that are there from now on, at the address that becomes the bound one; one that fails is told in a
  // sentence. And those that are not any more.
  std::string openListener(ListenOptions& listener);
  // Of several at the address the one that was opened first, or with `is_newest` last.
  void closeListener(const sockaddr_storage& address, bool is_newest = false);
  // Another TLS context for the clients that it accepts from now on.
  void setListenerTls(const sockaddr_storage& address, TlsContext* tls);
  void setListenerProxies(const sockaddr_storage& address, const TrustedProxies* proxies);
  void setListenerRedirect(const sockaddr_storage& address, bool redirects_https);
  // Its figures; nothing is written once it has ended. `out.backends` has the size that is wanted.
  void snapshot(WorkerSnapshot& out);
  // From any thread, until the worker is joined: the requests that hold the policy.
  uint32_t holders(const RoutePolicy& policy) const;

  // The last figures, after join().
  const WorkerSnapshot& last() const { return last_; }
  // Null where there is no access log. The worker pushes, one other thread pops.
  AccessRing* accessRing() { return access_ring_ ? &*access_ring_ : nullptr; }
  // Likewise: what happens to backends.
  EventRing& events() { return events_; }

 private:
  void run(const std::vector<ListenOptions>& listeners, std::promise<WorkerStarted>& started);
  void answerSnapshot();
  struct Order;
  void give(Order& order);
  void carryOut(Order& order);
  void endOrders();

  ResolveService& resolver_;
  const WorkerOptions& options_;
  const uint32_t number_;
  std::atomic<int64_t> drained_{-1};
  std::atomic<bool> is_over_{false};
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

  // Met when a plan is installed, never on the request path.
  std::mutex order_mutex_;
  std::condition_variable order_done_;
  Op order_op_;
  Order* order_ = nullptr;
  bool takes_orders_ = false;
  std::atomic<const PlanStore*> store_{nullptr};
};

}  // namespace plait
