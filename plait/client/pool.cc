#include "plait/client/pool.h"

#include <algorithm>
#include <charconv>

#include "plait/base/rare.h"
#include "plait/http/field_rules.h"

namespace plait {

namespace {

// Connections that may be dialled at once for requests that each need one of their own.
constexpr uint32_t max_parallel_dials = 32;

// So many requests of one turn go to the same connection before the least loaded is looked for again: what comes in
// together leaves in one send, and is mostly answered in one.
constexpr uint32_t longest_run = 32;

}  // namespace

ConnectionPool::ConnectionPool(Io& io, const Limits& limits, const PoolTimeouts& timeouts,
                               std::vector<BackendOptions> backends, const UpstreamMemory& memory,
                               BlockSlab& send_blocks, BlockSlab& record_blocks)
    : io_(io),
      limits_(limits),
      timeouts_(timeouts),
      memory_(memory),
      send_blocks_(send_blocks),
      sock_room_(record_blocks, limits.upstream_connections),
      socks_(limits.upstream_connections),
      h2_connections_(limits.upstream_connections),
      h1_connections_(limits.upstream_connections),
      h2_streams_(limits.exchanges),
      h1_streams_(limits.exchanges),
      scratch_(std::make_unique<h2::SessionScratch>(limits.upstream_connections, H2Connection::sessionConfig(limits),
                                                    memory.headers.ofClass(2))),
      replay_budget_{limits.replay_bytes},
      unknown_tokens_x100_(uint64_t{limits.unknown_retry_burst} * 100) {
  scratch_->lender = &io_.buffers();
  for (BackendOptions& options : backends) {
    auto backend = std::make_unique<Backend>();
    backend->options = std::move(options);
    backend->idx = static_cast<uint32_t>(backends_.size());
    backend->h1.is_http1 = true;
    backend->speaks_http1 = backend->options.protocol == BackendProtocol::h1;
    backend->remembered_streams = limits.streams_before_settings;
    backends_.push_back(std::move(backend));
  }
}

ConnectionPool::~ConnectionPool() {
  PLAIT_ASSERT(all_.empty());
}

size_t ConnectionPool::connectionBytes(const Limits& limits) {
  return Slab<UltraSock>::bytesFor(limits.upstream_connections) + SockRoom::bytesFor(limits.upstream_connections) +
         Slab<H2Connection>::bytesFor(limits.upstream_connections) +
         Slab<H1Connection>::bytesFor(limits.upstream_connections) +
         h2::SessionScratch::lentBytesFor(limits.upstream_connections);
}

size_t ConnectionPool::streamBytes(const Limits& limits) {
  return Slab<H2UpstreamStream>::bytesFor(limits.exchanges) + Slab<H1UpstreamStream>::bytesFor(limits.exchanges);
}

size_t ConnectionPool::reservedBytes() const {
  return socks_.reservedBytes() + sock_room_.reservedBytes() + h2_connections_.reservedBytes() +
         h1_connections_.reservedBytes() + h2_streams_.reservedBytes() + h1_streams_.reservedBytes() +
         scratch_->lentBytes();
}

void ConnectionPool::prefault() {
  scratch_->prefault();
  socks_.prefault();
  sock_room_.prefault();
  h2_connections_.prefault();
  h1_connections_.prefault();
  h2_streams_.prefault();
  h1_streams_.prefault();
}

// The least loaded; among equals the one that has been ready longest, so that the choice can be replayed.
Connection* ConnectionPool::pick(Lane& lane) {
  if (lane.run_left != 0 && lane.picked_in_turn == io_.turnNumber() && lane.picked->hasRoom() &&
      !lane.picked->isCrowded()) {
    lane.run_left -= 1;
    return lane.picked;
  }
  Connection* best = nullptr;
  for (Connection* connection = lane.ready.front(); connection != nullptr; connection = lane.ready.next(*connection)) {
    if (!connection->hasRoom()) continue;
    if (best == nullptr || connection->load() < best->load()) best = connection;
    if (best->load() == 0) break;
  }
  lane.picked = best;
  lane.picked_in_turn = io_.turnNumber();
  lane.run_left = best == nullptr ? 0 : longest_run - 1;
  return best;
}

Connection* ConnectionPool::reserveNow(Backend& backend, Lane& lane) {
  // Whoever came first is served first: with a queue, even a free stream is not for a newcomer.
  Connection* connection = closing_ || !lane.queue.empty() ? nullptr : pick(lane);
  if (connection == nullptr) return nullptr;
  connection->reserve();
  // Another connection is opened before the last stream is gone.
  if (connection->isCrowded()) dialIfNeeded(backend, lane);
  return connection;
}

void ConnectionPool::acquire(RequestOp& op) {
  Backend& backend = *backends_[op.backend_idx];
  Connection* connection = reserveNow(backend, laneOf(backend, op.needs_http_1_1));
  if (connection == nullptr) return waitInLine(op);
  op.on_leased(op, connection);
}

void ConnectionPool::waitInLine(RequestOp& op) {
  Backend& backend = *backends_[op.backend_idx];
  Lane& lane = laneOf(backend, op.needs_http_1_1);
  if (closing_) return op.on_leased(op, fail(connectionError(ErrorCode::shutting_down, "the pool is closing")));
  if (lane.ready.empty() && lane.dialling == 0 && backend.not_before_ns > io_.nowNs()) {
    PLAIT_RARE("a backend is left alone for a while");
    return op.on_leased(
        op, fail(backendError(ErrorCode::connect_failed, "the backend did not answer a moment ago and is left alone")));
  }
  counters_.queue_waits += 1;
  lane.queue.pushBack(op);
  dialIfNeeded(backend, lane);
}

bool ConnectionPool::needsDial(Backend& backend, Lane& lane) {
  if (closing_ || backend.not_before_ns > io_.nowNs()) return false;
  const uint32_t limit = lane.is_http1 ? limits_.h1_connections_per_backend : limits_.h2_connections_per_backend;
  if (lane.ready_count + lane.dialling >= limit) return false;
  // One connection of HTTP/2 will carry whoever waits; of HTTP/1.1 each needs one.
  if (!lane.is_http1) return lane.dialling == 0;
  if (lane.dialling >= max_parallel_dials) return false;
  uint32_t waiting = 0;
  for (RequestOp* op = lane.queue.front(); op != nullptr && waiting <= lane.dialling; op = lane.queue.next(*op))
    waiting += 1;
  return waiting > lane.dialling;
}

void ConnectionPool::dialIfNeeded(Backend& backend, Lane& lane) {
  while (needsDial(backend, lane)) {
    if (socks_.available() == 0) return makeRoom(lane);
    // The dial begins later in this turn: what it needs is taken now, or another dial might find nothing left.
    UltraSock* sock = socks_.create(io_, send_blocks_, sock_room_);
    PLAIT_ASSERT(sock != nullptr);
    lane.dialling += 1;
    scope_.spawn(dial(backend, lane, *sock, io_), io_);
  }
}

// Another backend's connection that nobody uses goes, so that this one can have one; serveWaiting() follows when its
// place is free.
void ConnectionPool::makeRoom(const Lane& lane) {
  Connection* idle = nullptr;
  for (Connection* connection = all_.front(); connection != nullptr; connection = all_.next(*connection)) {
    if (connection->load() != 0 || &laneOf(*connection) == &lane) continue;
    if (!connection->isReady()) return;  // a place is about to be free
    if (idle == nullptr) idle = connection;
  }
  if (idle != nullptr)
    idle->retire(connectionError(ErrorCode::idle_timeout, "its place is needed for another backend"));
}

// A connection's place is free, or can be made so: each backend may have requests that wait for one.
void ConnectionPool::serveWaiting() {
  for (size_t i = 0; i < backends_.size(); ++i) {
    Backend& backend = *backends_[next_served_++ % backends_.size()];
    for (Lane* lane : {&backend.h2, &backend.h1}) {
      if (!lane->queue.empty()) serve(backend, *lane);
    }
  }
}

void ConnectionPool::serve(Backend& backend, Lane& lane) {
  while (!lane.queue.empty()) {
    Connection* connection = pick(lane);
    if (connection == nullptr) return dialIfNeeded(backend, lane);
    RequestOp* op = lane.queue.popFront();
    connection->reserve();
    op->on_leased(*op, connection);
  }
}

void ConnectionPool::failQueue(Lane& lane, const Error& error) {
  List<RequestOp, &RequestOp::queue_node> waiting;
  waiting.spliceBack(lane.queue);
  while (RequestOp* op = waiting.popFront()) op->on_leased(*op, fail(error));
}

// Looks the backend up, connects, and does the TLS handshake.
Task<Status> ConnectionPool::open(Backend& backend, UltraSock& sock, AlpnOffer offer, Io& io) {
  const TimeNs deadline_ns = io.nowNs() + timeouts_.connect_ms * ns_per_ms;
  ResolveAnswer answer;
  Op resolve;
  resolve.kind = OpKind::resolve;
  Lookup lookup{backend.options.host, backend.options.port, &answer};
  resolve.lookup = &lookup;
  if (co_await OpAwaiter(resolve, io) != 0) {
    co_return fail(backendError(ErrorCode::resolve_failed, "the backend's name cannot be resolved"));
  }
  Status status = co_await sock.connect(answer, deadline_ns, io);
  if (!status || backend.options.protocol != BackendProtocol::https) co_return status;
  const std::string& name = backend.options.server_name.empty() ? backend.options.host : backend.options.server_name;
  status = co_await sock.startTls(*backend.options.tls, name, deadline_ns, io, offer);
  if (!status) {
    Error error = status.error();
    error.reach = Reach::backend;
    co_return fail(error);
  }
  co_return Status();
}

// Says the preface of HTTP/2 and looks at the answer: SETTINGS start with a zero byte, since no frame of them is longer
// than 2^16 bytes. An HTTP/1.1 server answers in text, closes, or stays silent; then the error is http_1_1_required.
Task<Status> ConnectionPool::probe(Backend& backend, UltraSock& sock, Opened& opened, Io& io) {
  opened.connection = h2_connections_.create(*this, backend.idx, sock);
  Timer timer(&sock, [](void* self) {
    static_cast<UltraSock*>(self)->abort(
        backendError(ErrorCode::http_1_1_required, "no answer to the preface of HTTP/2"));
  });
  io.arm(timer, io.nowNs() + timeouts_.probe_ms * ns_per_ms);
  auto first = co_await sock.recv();
  timer.cancel();
  if (first && !first->empty() && first->front() == 0) {
    opened.first = *first;
    co_return Status();
  }
  sock.setOwner(nullptr);
  destroy(*std::exchange(opened.connection, nullptr));
  co_return fail(backendError(ErrorCode::http_1_1_required, "the backend does not answer in HTTP/2"));
}

void ConnectionPool::learnHttp1(Backend& backend) {
  PLAIT_RARE("a backend turns out to speak HTTP/1.1");
  backend.speaks_http1 = true;
  backend.h1.queue.spliceBack(backend.h2.queue);
}

bool ConnectionPool::doubtHttp1(uint32_t backend_idx) {
  Backend& backend = *backends_[backend_idx];
  if (backend.options.protocol != BackendProtocol::probe) return false;
  if (!backend.speaks_http1) return true;
  backend.speaks_http1 = false;
  PLAIT_RARE("HTTP/1.1 was a wrong guess");
  List<RequestOp, &RequestOp::queue_node> stay;
  while (RequestOp* op = backend.h1.queue.popFront()) (op->needs_http_1_1 ? stay : backend.h2.queue).pushBack(*op);
  backend.h1.queue.spliceBack(stay);
  if (!backend.h2.queue.empty()) serve(backend, backend.h2);
  return true;
}

// A backend that speaks HTTP/2 alone is not down: tunnels are asked for as requests without one (RFC 9110 §7.8).
void ConnectionPool::learnHttp2Only(Backend& backend, const Error& error) {
  PLAIT_RARE("a backend turns out to speak HTTP/2 alone");
  backend.refuses_http1 = true;
  List<RequestOp, &RequestOp::queue_node> others;
  while (RequestOp* op = backend.h1.queue.popFront()) {
    const bool is_tunnel = op->head != nullptr && !op->head->protocol.empty();
    if (is_tunnel) op->needs_http_1_1 = false;
    (is_tunnel ? backend.h2.queue : others).pushBack(*op);
  }
  while (RequestOp* op = others.popFront()) op->on_leased(*op, fail(error));
  if (!backend.h2.queue.empty()) serve(backend, backend.h2);
}

bool ConnectionPool::waivesTunnel(RequestOp& op) {
  Backend& backend = *backends_[op.backend_idx];
  if (backend.options.protocol != BackendProtocol::probe || op.head->protocol.empty()) return false;
  op.needs_http_1_1 = false;
  PLAIT_RARE("a tunnel is answered in HTTP/2");
  learnHttp2Only(backend, backendError(ErrorCode::http_1_1_required, "the backend speaks HTTP/2 alone"));
  return true;
}

void ConnectionPool::onDialFailed(Backend& backend, Lane& lane, const Error& error) {
  counters_.connect_failures += 1;
  // Twice as long after each failure, with jitter, so that many proxies do not knock all at once.
  const int64_t base_ms =
      std::min(timeouts_.backoff_max_ms, timeouts_.backoff_min_ms << std::min(backend.failures, 10u));
  backend.failures += 1;
  if (backend.failures == 1 && observer_ != nullptr && !closing_) observer_->onBackendDown(backend.idx, error);
  backend.not_before_ns = io_.nowNs() + (base_ms / 2 + io_.random().below(static_cast<uint32_t>(base_ms))) * ns_per_ms;
  // Whatever comes up at that address next may speak another version.
  if (readyConnections(backend.idx) == 0) {
    backend.speaks_http1 = backend.options.protocol == BackendProtocol::h1;
    backend.refuses_http1 = false;
  }
  // With other connections ready or on their way the queue waits for those.
  if (lane.ready.empty() && lane.dialling == 0) failQueue(lane, error);
}

Task<void> ConnectionPool::dial(Backend& backend, Lane& lane, UltraSock& socket, Io& io) {
  UltraSock* const sock = &socket;
  Opened opened;
  Status status = co_await open(backend, *sock, lane.is_http1 ? AlpnOffer::http_1_1 : AlpnOffer::all, io);
  if (status && backend.options.protocol == BackendProtocol::probe && !lane.is_http1) {
    status = co_await probe(backend, *sock, opened, io);
  }
  lane.dialling -= 1;
  if (status && closing_) status = fail(connectionError(ErrorCode::shutting_down, "the pool is closing"));
  if (!status && status.error().code == ErrorCode::http_1_1_required) {
    // Before the requests move over, this socket gives its place to the one that HTTP/1.1 needs.
    co_await sock->close(io);
    socks_.destroy(sock);
    learnHttp1(backend);
    serve(backend, backend.h1);
    serveWaiting();
    co_return;
  }
  if (!status && lane.is_http1 && !backend.speaks_http1 && status.error().code == ErrorCode::tls_failed &&
      status.error().detail == 0) {
    learnHttp2Only(backend, status.error());
  } else if (!status) {
    onDialFailed(backend, lane, status.error());
  } else {
    counters_.connects += 1;
    if (backend.failures != 0 && observer_ != nullptr) observer_->onBackendUp(backend.idx);
    backend.failures = 0;
    backend.not_before_ns = 0;
    if (opened.connection == nullptr) {
      const bool is_h2 = backend.options.protocol == BackendProtocol::https ? sock->alpn() == "h2" : !lane.is_http1;
      if (!is_h2 && !lane.is_http1) learnHttp1(backend);
      opened.connection = is_h2 ? static_cast<Connection*>(h2_connections_.create(*this, backend.idx, *sock))
                                : h1_connections_.create(*this, backend.idx, *sock);
      PLAIT_ASSERT(opened.connection != nullptr);
    }
    Connection& connection = *opened.connection;
    Lane& own = laneOf(connection);
    all_.pushBack(connection);
    own.ready.pushBack(connection);
    own.ready_count += 1;
    serve(backend, own);
    co_await connection.run(opened.first, io);
  }
  sock->setOwner(nullptr);
  co_await sock->close(io);
  // A response that is still being read holds no part of the connection: its stream has ended.
  if (opened.connection != nullptr) {
    co_await opened.connection->released();
    PLAIT_ASSERT(opened.connection->load() == 0);
    destroy(*opened.connection);
  }
  socks_.destroy(sock);
  serveWaiting();
}

void ConnectionPool::destroy(Connection& connection) {
  connection.all_node_.unlink();
  if (connection.isHttp1()) {
    h1_connections_.destroy(static_cast<H1Connection*>(&connection));
  } else {
    h2_connections_.destroy(static_cast<H2Connection*>(&connection));
  }
}

void ConnectionPool::noteFault(uint32_t backend_idx, const Error& error) {
  const Fault fault = faultOf(error);
  if (fault == Fault::none) return;
  (error.reachesConnection() ? counters_.connection_faults : counters_.stream_faults)[static_cast<size_t>(fault)] += 1;
  if (observer_ != nullptr) observer_->onBackendFault(backend_idx, error, io_.nowNs());
}

void ConnectionPool::onRetired(Connection& connection) {
  if (!connection.node_.isLinked()) return;  // it never was ready
  Lane& lane = laneOf(connection);
  connection.node_.unlink();
  lane.ready_count -= 1;
  if (lane.picked == &connection) lane.run_left = 0;
  if (lane.queue.empty()) return;
  Backend& backend = *backends_[connection.backendIdx()];
  dialIfNeeded(backend, lane);
  // Those who waited for this connection are not left to wait for one that will not be made for a while.
  if (lane.ready.empty() && lane.dialling == 0 && backend.not_before_ns > io_.nowNs()) {
    PLAIT_RARE("requests wait for a connection that will not be made");
    failQueue(lane, backendError(ErrorCode::connect_failed, "the backend's last connection ended"));
  }
}

void ConnectionPool::onRoom(Connection& connection) {
  Lane& lane = laneOf(connection);
  if (!lane.queue.empty()) serve(*backends_[connection.backendIdx()], lane);
  if (socks_.available() == 0 && connection.load() == 0) serveWaiting();
}

bool ConnectionPool::isSuperfluous(const Connection& connection) const {
  const Backend& backend = *backends_[connection.backendIdx()];
  const Lane& lane = connection.isHttp1() ? backend.h1 : backend.h2;
  // Connections of HTTP/1.1 carry one request each and go when they are idle.
  if (lane.is_http1 || lane.ready_count < 2) return false;
  uint64_t load = 0;
  uint64_t limit = 0;
  auto& ready = const_cast<Lane&>(lane).ready;
  for (Connection* other = ready.front(); other != nullptr; other = ready.next(*other)) {
    // The one that carries least goes first.
    if (other->load() < connection.load()) return false;
    load += other->load();
    if (other != &connection) limit += other->limit();
  }
  return load * 4 < limit;
}

void ConnectionPool::release(Lease& lease, bool success, Io&) {
  const Error refused = connectionError(ErrorCode::cancelled, "released as not reusable");
  const uint64_t answered_by = std::exchange(lease.answered_by_, 0);
  if (Connection* connection = std::exchange(lease.connection_, nullptr)) {
    // Never used: its reservation goes back.
    connection->unreserve();
    if (success) return onRoom(*connection);
    return connection->retire(refused);
  }
  if (success) return;
  // The request has used the stream up, and by now its connection may be gone.
  for (Connection* connection = all_.front(); connection != nullptr; connection = all_.next(*connection)) {
    if (connection->serial() == answered_by) return connection->retire(refused);
  }
}

bool ConnectionPool::takeUnknownToken() {
  if (unknown_tokens_x100_ < 100) {
    PLAIT_RARE("too many requests are repeated");
    return false;
  }
  unknown_tokens_x100_ -= 100;
  return true;
}

bool ConnectionPool::mayRetry(RequestOp& op, const Error& error) {
  if (closing_ || op.attempts >= limits_.unprocessed_retries + 1) return false;
  if (op.options->cancel != nullptr && op.options->cancel->isCancelled()) return false;
  if (op.options->deadline_ns <= io_.nowNs()) return false;
  if (op.options->body != nullptr && !op.options->body->canReplay()) return false;
  switch (error.code) {
    case ErrorCode::http_1_1_required:
      if (op.needs_http_1_1 || !takesTunnels(op.backend_idx)) return false;
      PLAIT_RARE("a request is repeated over HTTP/1.1");
      return op.needs_http_1_1 = true;
    case ErrorCode::refused_stream:
    case ErrorCode::goaway_unprocessed:
    case ErrorCode::never_sent:
      PLAIT_RARE("a request that was not processed is repeated");
      if (op.options->retry_class != nullptr) *op.options->retry_class = RetryClass::unprocessed;
      counters_.retries_unprocessed += 1;
      return true;
    case ErrorCode::connection_lost:
    case ErrorCode::protocol_error:
    case ErrorCode::stalled:
      if (error.reach != Reach::connection || op.unknown_retried || !http::isIdempotent(op.head->method)) return false;
      if (!takeUnknownToken()) return false;
      PLAIT_RARE("a request of unknown fate is repeated");
      op.unknown_retried = true;
      if (op.options->unknown_retried != nullptr) *op.options->unknown_retried = true;
      if (op.options->retry_class != nullptr) *op.options->retry_class = RetryClass::unknown;
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
    leased.connection_serial = (*connection)->serial();
    (*connection)->request(leased);
  };
  acquire(op);
}

void ConnectionPool::finished(RequestOp& op, Result<UpstreamStream*> result) {
  auto& awaiter = *static_cast<Lease::RequestAwaiter*>(op.owner);
  if (!result && mayRetry(op, result.error())) {
    if (op.options->retries != nullptr) *op.options->retries += 1;
    if (op.options->body != nullptr) op.options->body->rewind();
    // Where one connection was lost the others to that backend may be as well, and we have not heard yet. One that we
    // have ended for what the backend said on it tells nothing about the others.
    const Error& error = result.error();
    const bool is_lost =
        op.unknown_retried && error.reach == Reach::connection && error.code != ErrorCode::protocol_error;
    return awaiter.tryAgain(is_lost ? timeouts_.backoff_min_ms : 0);
  }
  awaiter.complete(result);
}

void ConnectionPool::waitAgain(RequestOp& op) {
  PLAIT_RARE("the limit of streams was lowered behind a lease");
  op.attempts -= 1;
  static_cast<Lease::RequestAwaiter*>(op.owner)->tryAgain(0);
}

Task<void> ConnectionPool::close(Io& io) {
  closing_ = true;
  for (auto& backend : backends_) {
    for (Lane* lane : {&backend->h2, &backend->h1}) {
      failQueue(*lane, connectionError(ErrorCode::shutting_down, "the pool is closing"));
      while (Connection* connection = lane->ready.front()) {
        connection->retire(connectionError(ErrorCode::shutting_down, "the pool is closing"));
      }
    }
  }
  co_await scope_.join();
}

// -- awaiters

bool ConnectionPool::LeaseAwaiter::await_ready() {
  PLAIT_ASSERT(backend_idx_ < pool_.backendCount());
  Backend& backend = *pool_.backends_[backend_idx_];
  Connection* connection = pool_.reserveNow(backend, pool_.laneOf(backend, false));
  if (connection != nullptr) result_ = connection;
  return connection != nullptr;
}

bool ConnectionPool::LeaseAwaiter::await_suspend(std::coroutine_handle<> handle) {
  Waiting& waiting = waiting_.emplace(*this);
  pool_.waitInLine(waiting.op);
  if (waiting.op.done) return false;
  waiting.op.waiter = handle;
  io_.arm(waiting.timer, io_.nowNs() + pool_.timeouts_.queue_ms * ns_per_ms);
  if (cancel_ != nullptr) cancel_->link(waiting.cancel_node);
  return true;
}

ConnectionPool::LeaseAwaiter::Waiting::Waiting(LeaseAwaiter& awaiter)
    : timer(this, [](void* self) {
        static_cast<Waiting*>(self)->giveUp(backendError(ErrorCode::pool_exhausted, "no stream became free in time"));
      }) {
  op.backend_idx = awaiter.backend_idx_;
  op.owner = &awaiter;
  op.on_leased = [](RequestOp& leased, Result<Connection*> connection) {
    auto* owner = static_cast<LeaseAwaiter*>(leased.owner);
    owner->result_ = connection;
    leased.done = true;
    owner->waiting_->timer.cancel();
    owner->waiting_->cancel_node.node.unlink();
    if (leased.waiter) owner->io_.ready(leased.waiter);
  };
  cancel_node.owner = this;
  cancel_node.on_cancel = [](void* self, const Error& error) {
    auto* cancelled = static_cast<Waiting*>(self);
    if (!cancelled->op.done) cancelled->giveUp(error);
  };
}

void ConnectionPool::LeaseAwaiter::Waiting::giveUp(const Error& error) {
  PLAIT_RARE("a request waits in vain for a stream");
  op.queue_node.unlink();
  op.on_leased(op, fail(error));
}

Result<Lease> ConnectionPool::LeaseAwaiter::await_resume() {
  if (!result_) return fail(result_.error());
  return Lease(pool_, **result_);
}

Lease::RequestAwaiter Lease::request(const http::RequestHead& head, const RequestOptions& options, Io& io) {
  return RequestAwaiter(*this, head, options, io);
}

Lease::RequestAwaiter::RequestAwaiter(Lease& lease, const http::RequestHead& head, const RequestOptions& options,
                                      Io& io)
    : lease_(lease), io_(io), timer_(this, [](void* self) { static_cast<RequestAwaiter*>(self)->onTimer(); }) {
  op_.head = &head;
  op_.options = &options;
  op_.unknown_retried = options.unknown_retried != nullptr && *options.unknown_retried;
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

Lease::PlainRequestAwaiter Lease::request(std::string_view method, std::string_view path, std::string_view host,
                                          http::Pipe* body, Io& io) {
  return PlainRequestAwaiter(*this, method, path, host, body, io);
}

Lease::PlainRequestAwaiter::PlainRequestAwaiter(Lease& lease, std::string_view method, std::string_view path,
                                                std::string_view host, http::Pipe* body, Io& io)
    : options_{.body = body}, awaiter_(lease, head_, options_, io) {
  const bool is_tls = lease.pool_->backend(lease.backend_idx_).protocol == BackendProtocol::https;
  head_.method = method;
  head_.scheme = is_tls ? "https" : "http";
  head_.authority = host;
  head_.path = path;
  head_.fields = http::FieldList(memory_);
  head_.end_stream = body == nullptr;
  if (body == nullptr || !body->isEnded() || body->trailers() != nullptr) return;
  head_.content_length = body->totalBytes();
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof(digits), head_.content_length).ptr;
  PLAIT_ASSERT(head_.fields.add("content-length", {digits, end}, http::FieldName::content_length));
}

bool Lease::RequestAwaiter::await_suspend(std::coroutine_handle<> handle) {
  ConnectionPool& pool = *lease_.pool_;
  pool.counters_.requests += 1;
  pool.unknown_tokens_x100_ = std::min<uint64_t>(pool.unknown_tokens_x100_ + pool.limits_.unknown_retry_percent,
                                                 uint64_t{pool.limits_.unknown_retry_burst} * 100);
  Connection* connection = std::exchange(lease_.connection_, nullptr);
  PLAIT_ASSERT(connection != nullptr);
  // What was tried at other backends counts as well.
  op_.connection_serial = connection->serial();
  op_.attempts = 1 + (op_.options->retries == nullptr ? 0u : *op_.options->retries);
  connection->request(op_);
  if (op_.done) return false;
  if (op_.options->cancel != nullptr) op_.options->cancel->link(cancel_node_);
  if (op_.done) return false;
  op_.waiter = handle;
  return true;
}

void Lease::RequestAwaiter::tryAgain(int64_t pause_ms) {
  if (pause_ms != 0) return io_.arm(timer_, io_.nowNs() + pause_ms * ns_per_ms);
  lease_.pool_->startTry(op_);
  if (op_.queue_node.isLinked()) io_.arm(timer_, io_.nowNs() + lease_.pool_->timeouts_.queue_ms * ns_per_ms);
}

void Lease::RequestAwaiter::onTimer() {
  if (op_.done || op_.stream != nullptr) return;
  if (!op_.queue_node.isLinked()) return tryAgain(0);
  op_.queue_node.unlink();
  PLAIT_RARE("a repeated request waits in vain");
  complete(fail(backendError(ErrorCode::pool_exhausted, "no stream became free in time")));
}

void Lease::RequestAwaiter::complete(Result<UpstreamStream*> result) {
  PLAIT_ASSERT(!op_.done);
  op_.done = true;
  op_.result = result;
  // What went wrong elsewhere says nothing about it.
  lease_.answered_by_ = result || result.error().reach == Reach::connection ? op_.connection_serial : 0;
  timer_.cancel();
  cancel_node_.node.unlink();
  if (op_.waiter) io_.ready(op_.waiter);
}

Result<Response> Lease::RequestAwaiter::await_resume() {
  if (!op_.result) return fail(op_.result.error());
  return Response(**op_.result);
}

}  // namespace plait
