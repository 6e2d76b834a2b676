#include "plait/client/pool.h"

#include <algorithm>

#include "plait/http/field_rules.h"

namespace plait {

void Connection::retire(const Error& reason) {
  if (state_ == State::dead) return;
  state_ = State::dead;
  retired_because_ = reason;
  pool_.onRetired(*this);
  onRetired();
}

void Connection::streamEnded() {
  PLAIT_ASSERT(active_ != 0);
  active_ -= 1;
  pool_.onRoom(*this);
}

ConnectionPool::ConnectionPool(Io& io, const Limits& limits, const PoolTimeouts& timeouts, std::vector<BackendOptions> backends,
                               const UpstreamMemory& memory, BlockSlab& send_blocks, BlockSlab& record_blocks)
    : io_(io),
      limits_(limits),
      timeouts_(timeouts),
      memory_(memory),
      send_blocks_(send_blocks),
      record_blocks_(record_blocks),
      h2_connections_(limits.upstream_connections),
      h2_streams_(limits.exchanges),
      scratch_(std::make_unique<h2::SessionScratch>()),
      replay_budget_{limits.replay_bytes},
      unknown_tokens_x100_(uint64_t{limits.unknown_retry_burst} * 100) {
  for (BackendOptions& options : backends) {
    auto backend = std::make_unique<Backend>();
    backend->options = std::move(options);
    backend->idx = static_cast<uint32_t>(backends_.size());
    backends_.push_back(std::move(backend));
  }
}

ConnectionPool::~ConnectionPool() { PLAIT_ASSERT(all_.empty()); }

// The least loaded; among equals the one that has been ready longest, so that the choice can be replayed.
Connection* ConnectionPool::pick(Backend& backend) {
  Connection* best = nullptr;
  for (Connection* connection = backend.ready.front(); connection != nullptr; connection = backend.ready.next(*connection)) {
    if (connection->hasRoom() && (best == nullptr || connection->load() < best->load())) best = connection;
  }
  return best;
}

void ConnectionPool::acquire(RequestOp& op) {
  Backend& backend = *backends_[op.backend_idx];
  if (closing_) return op.on_leased(op, fail(connectionError(ErrorCode::shutting_down, "the pool is closing")));
  // Whoever came first is served first: with a queue, even a free stream is not for a newcomer.
  Connection* connection = backend.queue.empty() ? pick(backend) : nullptr;
  if (connection != nullptr) {
    connection->reserve();
    // Another connection is opened before the last stream is gone, while this one still has a quarter of its room.
    if (connection->load() * 4 >= connection->limit() * 3) dialIfNeeded(backend);
    return op.on_leased(op, connection);
  }
  if (backend.ready.empty() && !backend.dialling && backend.not_before_ns > io_.nowNs()) {
    return op.on_leased(op, fail(backendError(ErrorCode::connect_failed, "the backend did not answer a moment ago and is left alone")));
  }
  backend.queue.pushBack(op);
  dialIfNeeded(backend);
}

void ConnectionPool::dialIfNeeded(Backend& backend) {
  if (backend.dialling || closing_ || backend.ready_count >= limits_.h2_connections_per_backend) return;
  if (backend.not_before_ns > io_.nowNs() || h2_connections_.available() == 0) return;
  backend.dialling = true;
  scope_.spawn(dial(backend, io_), io_);
}

void ConnectionPool::serve(Backend& backend) {
  while (!backend.queue.empty()) {
    Connection* connection = pick(backend);
    if (connection == nullptr) return dialIfNeeded(backend);
    RequestOp* op = backend.queue.popFront();
    connection->reserve();
    op->on_leased(*op, connection);
  }
}

void ConnectionPool::failQueue(Backend& backend, const Error& error) {
  List<RequestOp, &RequestOp::queue_node> waiting;
  waiting.spliceBack(backend.queue);
  while (RequestOp* op = waiting.popFront()) op->on_leased(*op, fail(error));
}

Task<Status> ConnectionPool::open(Backend& backend, H2Connection& connection, Io& io) {
  const TimeNs deadline_ns = io.nowNs() + timeouts_.connect_ms * ns_per_ms;
  ResolveAnswer answer;
  Op resolve;
  resolve.kind = OpKind::resolve;
  resolve.host = backend.options.host;
  resolve.port = backend.options.port;
  resolve.answer = &answer;
  if (co_await OpAwaiter(resolve, io) != 0) {
    co_return fail(backendError(ErrorCode::resolve_failed, "the backend's name cannot be resolved"));
  }
  Status status = co_await connection.sock().connect(answer, deadline_ns, io);
  if (!status || backend.options.protocol != BackendProtocol::https) co_return status;
  const std::string& name = backend.options.server_name.empty() ? backend.options.host : backend.options.server_name;
  status = co_await connection.sock().startTls(*backend.options.tls, name, deadline_ns, io);
  if (!status) {
    Error error = status.error();
    error.reach = Reach::backend;
    co_return fail(error);
  }
  if (connection.sock().alpn() != "h2") {
    co_return fail(backendError(ErrorCode::tls_failed, "the backend does not offer h2 by ALPN"));
  }
  co_return Status();
}

Task<void> ConnectionPool::dial(Backend& backend, Io& io) {
  H2Connection* connection = h2_connections_.create(*this, backend.idx, io, send_blocks_, record_blocks_);
  PLAIT_ASSERT(connection != nullptr);
  all_.pushBack(*connection);
  const Status status = co_await open(backend, *connection, io);
  backend.dialling = false;
  if (!status || closing_) {
    counters_.connect_failures += 1;
    // Twice as long after each failure, with jitter, so that many proxies do not knock all at once.
    const int64_t base_ms = std::min(timeouts_.backoff_max_ms, timeouts_.backoff_min_ms << std::min(backend.failures, 10u));
    backend.failures += 1;
    backend.not_before_ns = io.nowNs() + (base_ms / 2 + io.random().below(static_cast<uint32_t>(base_ms))) * ns_per_ms;
    // With other connections still ready the queue waits for those.
    if (backend.ready.empty()) failQueue(backend, status ? connectionError(ErrorCode::shutting_down, "the pool is closing") : status.error());
  } else {
    counters_.connects += 1;
    backend.failures = 0;
    backend.not_before_ns = 0;
    backend.ready.pushBack(*connection);
    backend.ready_count += 1;
    // A request that waits to be repeated is sent from inside serve().
    connection->start();
    serve(backend);
    co_await connection->run(io);
  }
  co_await connection->sock().close(io);
  // A response that is still being read holds no part of the connection: its stream has ended with an error.
  connection->all_node.unlink();
  PLAIT_ASSERT(connection->load() == 0);
  h2_connections_.destroy(connection);
}

void ConnectionPool::onRetired(Connection& connection) {
  Backend& backend = *backends_[connection.backendIdx()];
  connection.node_.unlink();
  backend.ready_count -= 1;
  if (!backend.queue.empty()) dialIfNeeded(backend);
}

void ConnectionPool::onRoom(Connection& connection) {
  Backend& backend = *backends_[connection.backendIdx()];
  if (!backend.queue.empty()) serve(backend);
}

void ConnectionPool::release(Lease& lease, bool success, Io&) {
  // The stream was used up by the request, or never used: then its reservation goes back.
  Connection* connection = std::exchange(lease.connection_, nullptr);
  if (connection == nullptr) return;
  connection->unreserve();
  if (!success) {
    connection->retire(connectionError(ErrorCode::cancelled, "released as not reusable"));
  } else {
    onRoom(*connection);
  }
}

bool ConnectionPool::takeUnknownToken() {
  if (unknown_tokens_x100_ < 100) return false;
  unknown_tokens_x100_ -= 100;
  return true;
}

bool ConnectionPool::mayRetry(RequestOp& op, const Error& error) {
  if (closing_ || op.attempts >= limits_.unprocessed_retries + 1) return false;
  if (op.options.cancel != nullptr && op.options.cancel->isCancelled()) return false;
  if (op.options.deadline_ns <= io_.nowNs()) return false;
  if (op.options.body != nullptr && !op.options.body->canReplay()) return false;
  switch (error.code) {
    case ErrorCode::refused_stream:
    case ErrorCode::goaway_unprocessed:
    case ErrorCode::never_sent:
      if (op.options.retry_class != nullptr) *op.options.retry_class = RetryClass::unprocessed;
      counters_.retries_unprocessed += 1;
      return true;
    case ErrorCode::connection_lost:
    case ErrorCode::protocol_error:
    case ErrorCode::stalled:
      if (error.reach != Reach::connection || op.unknown_retried || !http::isIdempotent(op.head->method)) return false;
      if (!takeUnknownToken()) return false;
      op.unknown_retried = true;
      if (op.options.retry_class != nullptr) *op.options.retry_class = RetryClass::unknown;
      counters_.retries_unknown += 1;
      return true;
    default:
      return false;
  }
}

void ConnectionPool::startTry(RequestOp& op) {
  op.attempts += 1;
  op.on_leased = [](RequestOp& leased, Result<Connection*> connection) {
    auto& awaiter = *static_cast<Lease::RequestAwaiter*>(leased.owner);
    if (!connection) return awaiter.complete(fail(connection.error()));
    (*connection)->request(leased);
  };
  acquire(op);
}

void ConnectionPool::finished(RequestOp& op, Result<UpstreamStream*> result) {
  auto& awaiter = *static_cast<Lease::RequestAwaiter*>(op.owner);
  if (!result && mayRetry(op, result.error())) {
    if (op.options.retries != nullptr) *op.options.retries += 1;
    if (op.options.body != nullptr) op.options.body->rewind();
    return startTry(op);
  }
  awaiter.complete(result);
}

Task<void> ConnectionPool::close(Io& io) {
  closing_ = true;
  for (auto& backend : backends_) {
    failQueue(*backend, connectionError(ErrorCode::shutting_down, "the pool is closing"));
    while (Connection* connection = backend->ready.front()) {
      connection->retire(connectionError(ErrorCode::shutting_down, "the pool is closing"));
    }
  }
  co_await scope_.join();
}

// -- awaiters

ConnectionPool::LeaseAwaiter::LeaseAwaiter(ConnectionPool& pool, uint32_t backend_idx, CancelToken* cancel, Io& io)
    : pool_(pool), cancel_(cancel), io_(io), timer_(this, [](void* self) {
        auto* awaiter = static_cast<LeaseAwaiter*>(self);
        awaiter->op_.queue_node.unlink();
        awaiter->op_.on_leased(awaiter->op_, fail(backendError(ErrorCode::pool_exhausted, "no stream became free in time")));
      }) {
  PLAIT_ASSERT(backend_idx < pool.backendCount());
  op_.backend_idx = backend_idx;
  op_.owner = this;
  op_.on_leased = [](RequestOp& op, Result<Connection*> connection) {
    auto* awaiter = static_cast<LeaseAwaiter*>(op.owner);
    awaiter->result_ = connection;
    op.done = true;
    awaiter->timer_.cancel();
    awaiter->cancel_node_.node.unlink();
    if (op.waiter) awaiter->io_.ready(op.waiter);
  };
  cancel_node_.owner = this;
  cancel_node_.on_cancel = [](void* self, const Error& error) {
    auto* awaiter = static_cast<LeaseAwaiter*>(self);
    if (awaiter->op_.done) return;
    awaiter->op_.queue_node.unlink();
    awaiter->op_.on_leased(awaiter->op_, fail(error));
  };
}

bool ConnectionPool::LeaseAwaiter::await_ready() {
  pool_.acquire(op_);
  return op_.done;
}

void ConnectionPool::LeaseAwaiter::await_suspend(std::coroutine_handle<> handle) {
  op_.waiter = handle;
  io_.arm(timer_, io_.nowNs() + pool_.timeouts_.queue_ms * ns_per_ms);
  if (cancel_ != nullptr) cancel_->link(cancel_node_);
}

Result<Lease> ConnectionPool::LeaseAwaiter::await_resume() {
  if (!result_) return fail(result_.error());
  return Lease(pool_, **result_);
}

Lease::RequestAwaiter Lease::request(const http::RequestHead& head, const RequestOptions& options, Io& io) {
  return RequestAwaiter(*this, head, options, io);
}

Lease::RequestAwaiter::RequestAwaiter(Lease& lease, const http::RequestHead& head, const RequestOptions& options, Io& io)
    : lease_(lease), io_(io) {
  op_.head = &head;
  op_.options = options;
  op_.backend_idx = lease.backend_idx_;
  op_.owner = this;
  cancel_node_.owner = this;
  cancel_node_.on_cancel = [](void* self, const Error& error) {
    auto* awaiter = static_cast<RequestAwaiter*>(self);
    RequestOp& op = awaiter->op_;
    if (op.done) return;
    op.queue_node.unlink();
    if (UpstreamStream* stream = std::exchange(op.stream, nullptr)) stream->abandon(error);
    awaiter->complete(fail(error));
  };
}

bool Lease::RequestAwaiter::await_suspend(std::coroutine_handle<> handle) {
  ConnectionPool& pool = *lease_.pool_;
  pool.counters_.requests += 1;
  pool.unknown_tokens_x100_ = std::min<uint64_t>(pool.unknown_tokens_x100_ + pool.limits_.unknown_retry_percent,
                                                 uint64_t{pool.limits_.unknown_retry_burst} * 100);
  Connection* connection = std::exchange(lease_.connection_, nullptr);
  PLAIT_ASSERT(connection != nullptr);
  op_.attempts = 1;
  connection->request(op_);
  if (op_.done) return false;
  if (op_.options.cancel != nullptr) op_.options.cancel->link(cancel_node_);
  if (op_.done) return false;
  op_.waiter = handle;
  return true;
}

void Lease::RequestAwaiter::complete(Result<UpstreamStream*> result) {
  PLAIT_ASSERT(!op_.done);
  op_.done = true;
  op_.result = result;
  cancel_node_.node.unlink();
  if (op_.waiter) io_.ready(op_.waiter);
}

Result<Response> Lease::RequestAwaiter::await_resume() {
  if (!op_.result) return fail(op_.result.error());
  return Response(**op_.result);
}

}  // namespace plait
