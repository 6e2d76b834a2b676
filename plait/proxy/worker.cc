#include "plait/proxy/worker.h"

#include <fmt/format.h>
#include <pthread.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "plait/base/alloc_guard.h"
#include "plait/net/tls_arena.h"
#include "plait/proxy/worker_core.h"
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

}  // namespace

std::string cannotDoIo(const Error& error) {
  return std::string(error.reason) + " (" + std::strerror(static_cast<int>(error.detail)) + ")";
}

std::string cannotListen(int error_number, const PortUse& use) {
  std::string text = std::string("cannot listen: ") + std::strerror(error_number);
  if (error_number == EADDRINUSE && !use.share) {
    text += "; if another plait of this user has it, share_port = true or --share-port listens beside it";
  }
  if (error_number == EACCES) text += "; this port needs root, or CAP_NET_BIND_SERVICE";
  if (error_number == EADDRNOTAVAIL) text += "; no interface of this machine has the address";
  return text;
}

std::string cannotListen(const Error& error, const PortUse& use) {
  return error.code == ErrorCode::listen_failed ? cannotListen(static_cast<int>(error.detail), use) : error.reason;
}

Worker::Worker(ResolveService& resolver, const WorkerOptions& options, uint32_t number)
    : resolver_(resolver), options_(options), number_(number) {
  if (options.has_access_log) access_ring_.emplace(options.limits.access_ring_bytes);
  if (options.plan) last_.backends.resize(options.limits.endpoints);
}

Worker::~Worker() {
  join();
}

WorkerStarted Worker::start(const std::vector<ListenOptions>& listeners) {
  std::promise<WorkerStarted> promise;
  std::future<WorkerStarted> started = promise.get_future();
  try {
    thread_ = std::thread([this, &listeners, promise = std::move(promise)]() mutable { run(listeners, promise); });
  } catch (const std::system_error& failed) {
    has_ended_ = true;
    is_over_ = true;
    return {.error = fmt::format("a worker's thread cannot be started: {}", failed.code().message()),
            .lacks_memory = true,
            .addresses = {}};
  }
  return started.get();
}

void Worker::stop() {
  mailbox_.post(stop_op_, 0);
}

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::run(const std::vector<ListenOptions>& listeners, std::promise<WorkerStarted>& started) {
  ::pthread_setname_np(::pthread_self(), fmt::format("plait-w{}", number_).c_str());
  WorkerStarted report;
  if (const uint64_t wanted = sumOf(memoryOf(options_)); !Reservation::isPossible(wanted)) {
    report.error = fmt::format(
        "the system does not give a worker the {} MiB that it reserves ({}): lower the numbers in [limits], see plait "
        "check --verbose, or raise what is allowed (ulimit -v)",
        wanted >> 20, std::strerror(errno));
    report.lacks_memory = true;
    has_ended_ = true;
    started.set_value(report);
    return;
  }
  LoopMemory memory(options_.limits);
  auto backend = makeBackend(options_.io, memory.buffers, mailbox_, &resolver_, &report.io, options_.descriptors);
  if (!backend) {
    report.error = cannotDoIo(backend.error());
    has_ended_ = true;
    started.set_value(report);
    return;
  }
  BoundArena arena(tlsArenaBytes(options_));
  WorkerCore core(options_, memory, arena.get(), **backend, counters_, accessRing());
  core_ = &core;
  if (core.pool() != nullptr) core.pool()->setObserver(&events_);
  if (core.store() != nullptr) core.store()->clusters().setObserver(&events_);
  core.server().setObserver(&events_);
  if (core.proxy() != nullptr) core.proxy()->setObserver(&events_);
  Io& io = core.io();
  PLAIT_ASSERT(core.reservedBytes() + (access_ring_ ? access_ring_->reservedBytes() : 0) <= sumOf(memoryOf(options_)));
  if (options_.prefault) {
    core.prefault();
    if (access_ring_) access_ring_->prefault();
  }
  // A caller that is told that the worker has started may stop it at once, so the wait for that begins first.
  core.drainOn(stop_op_, &drained_);
  snapshot_op_.owner = this;
  snapshot_op_.on_complete = [](void* self, const Completion&) {
    auto* worker = static_cast<Worker*>(self);
    // Armed again before the answer goes out, since the next question may follow at once.
    worker->core_->io().submit(worker->snapshot_op_);
    worker->answerSnapshot();
  };
  io.submit(snapshot_op_);
  order_op_.owner = this;
  order_op_.on_complete = [](void* self, const Completion&) {
    auto* worker = static_cast<Worker*>(self);
    worker->core_->io().submit(worker->order_op_);
    worker->carryOut(*worker->order_);
  };
  io.submit(order_op_);
  io.turn(0);
  store_.store(core.store(), std::memory_order_release);
  for (const ListenOptions& listener : listeners) {
    sockaddr_storage address = listener.address;
    const Status opened = core.server().listen(address, listener.tls, listener.tls_by_first_byte, listener.port,
                                               listener.proxies.get(), listener.redirects_https);
    if (!opened) {
      report.error = cannotListen(opened.error(), listener.port);
      // Listeners that were opened before are closed by the same path as at any other end.
      stop();
      break;
    }
    report.addresses.push_back(address);
  }
  // Whoever is told that the worker has started may give an order at once: it is carried out when the loop runs.
  {
    const std::lock_guard lock(order_mutex_);
    takes_orders_ = true;
  }
  started.set_value(report);
  AllocGuard::enter(AllocGuard::Phase::serving);
  io.run();
  AllocGuard::enter(AllocGuard::Phase::teardown);
  endOrders();
  store_.store(nullptr, std::memory_order_release);
  {
    const std::lock_guard lock(snapshot_mutex_);
    core.fill(last_);
    has_ended_ = true;
  }
  answerSnapshot();
  core_ = nullptr;
  is_over_.store(true, std::memory_order_relaxed);
}

// One thing that the worker is to do in its own thread.
struct Worker::Order {
  enum class Kind : uint8_t {
    prepare,
    undo,
    commit,
    open_listener,
    close_listener,
    set_listener_tls,
    set_listener_proxies,
    set_listener_redirect,
    snapshot
  };
  Kind kind;
  const Plan* plan = nullptr;
  route::RouteScratch* scratch = nullptr;
  ListenOptions* listener = nullptr;
  const sockaddr_storage* address = nullptr;
  bool is_newest = false;
  TlsContext* tls = nullptr;
  const TrustedProxies* proxies = nullptr;
  bool redirects_https = false;
  WorkerSnapshot* snapshot = nullptr;
  Status result{};
  bool is_done = false;
};

// Waits until the order has been carried out, or the worker has ended.
void Worker::give(Order& order) {
  std::unique_lock lock(order_mutex_);
  if (!takes_orders_) {
    order.result = fail(backendError(ErrorCode::shutting_down, "the worker has ended"));
    return;
  }
  order_ = &order;
  mailbox_.post(order_op_, 0);
  order_done_.wait(lock, [&] { return order.is_done || !takes_orders_; });
  order_ = nullptr;
  if (!order.is_done) order.result = fail(backendError(ErrorCode::shutting_down, "the worker has ended"));
}

void Worker::carryOut(Order& order) {
  WorkerCore& core = *core_;
  switch (order.kind) {
    case Order::Kind::prepare:
      order.result = core.store()->prepare(*order.plan);
      break;
    case Order::Kind::undo:
      core.store()->undo();
      break;
    case Order::Kind::commit:
      core.store()->commit(*order.plan, order.scratch, core.server().timeouts);
      break;
    case Order::Kind::open_listener:
      order.result =
          core.server().listen(order.listener->address, order.listener->tls, order.listener->tls_by_first_byte,
                               order.listener->port, order.listener->proxies.get(), order.listener->redirects_https);
      break;
    case Order::Kind::close_listener:
      core.server().closeListener(*order.address, order.is_newest);
      break;
    case Order::Kind::set_listener_tls:
      core.server().setListenerTls(*order.address, order.tls);
      break;
    case Order::Kind::set_listener_proxies:
      core.server().setListenerProxies(*order.address, order.proxies);
      break;
    case Order::Kind::set_listener_redirect:
      core.server().setListenerRedirect(*order.address, order.redirects_https);
      break;
    case Order::Kind::snapshot:
      core.fill(*order.snapshot);
      break;
  }
  const std::lock_guard lock(order_mutex_);
  order.is_done = true;
  order_done_.notify_one();
}

void Worker::endOrders() {
  const std::lock_guard lock(order_mutex_);
  takes_orders_ = false;
  order_done_.notify_one();
}

Status Worker::prepare(const Plan& next) {
  Order order{.kind = Order::Kind::prepare, .plan = &next};
  give(order);
  return order.result;
}

void Worker::undo() {
  Order order{.kind = Order::Kind::undo};
  give(order);
}

void Worker::commit(const Plan& next, route::RouteScratch* scratch) {
  Order order{.kind = Order::Kind::commit, .plan = &next, .scratch = scratch};
  give(order);
}

std::string Worker::openListener(ListenOptions& listener) {
  Order order{.kind = Order::Kind::open_listener, .listener = &listener};
  give(order);
  return order.result ? std::string() : cannotListen(order.result.error(), listener.port);
}

void Worker::closeListener(const sockaddr_storage& address, bool is_newest) {
  Order order{.kind = Order::Kind::close_listener, .address = &address, .is_newest = is_newest};
  give(order);
}

void Worker::setListenerTls(const sockaddr_storage& address, TlsContext* tls) {
  Order order{.kind = Order::Kind::set_listener_tls, .address = &address, .tls = tls};
  give(order);
}

void Worker::setListenerProxies(const sockaddr_storage& address, const TrustedProxies* proxies) {
  Order order{.kind = Order::Kind::set_listener_proxies, .address = &address, .proxies = proxies};
  give(order);
}

void Worker::setListenerRedirect(const sockaddr_storage& address, bool redirects_https) {
  Order order{.kind = Order::Kind::set_listener_redirect, .address = &address, .redirects_https = redirects_https};
  give(order);
}

void Worker::snapshot(WorkerSnapshot& out) {
  Order order{.kind = Order::Kind::snapshot, .snapshot = &out};
  give(order);
}

uint32_t Worker::holders(const RoutePolicy& policy) const {
  const PlanStore* store = store_.load(std::memory_order_acquire);
  return store == nullptr ? 0 : store->holders(policy);
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
  core_->fill(*std::exchange(wanted_, nullptr));
  reply_to_->post(*reply_, 0);
}

}  // namespace plait
