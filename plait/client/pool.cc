#include "plait/client/pool.h"

#include <algorithm>
#include <cerrno>

#include "plait/base/rare.h"
#include "plait/http/field_rules.h"

namespace plait {
namespace {

// The number of requests of one turn that go to the same connection before the least loaded is looked for again: they
// leave in one send, and are mostly answered in one.
constexpr uint32_t longest_run = 32;

}  // namespace

ConnectionPool::ConnectionPool(Io& io, const LoopLimits& loop_limits, const PoolLimits& limits,
                               const PoolTimeouts& timeouts, std::vector<BackendOptions> backends,
                               const UpstreamMemory& memory, BlockSlab& send_blocks, BlockSlab& record_blocks)
    : io_(io),
      loop_limits_(loop_limits),
      limits_(limits),
      timeouts_(timeouts),
      memory_(memory),
      send_blocks_(send_blocks),
      sock_room_(record_blocks, loop_limits.upstream_connections),
      socks_(loop_limits.upstream_connections),
      h2_connections_(loop_limits.upstream_connections),
      h1_connections_(loop_limits.upstream_connections),
      h2_streams_(loop_limits.exchanges),
      h1_streams_(loop_limits.exchanges),
      scratch_(std::make_unique<h2::SessionScratch>(loop_limits.upstream_connections, memory.headers.ofClass(2))),
      h2_config_(H2Connection::sessionConfig(loop_limits, limits)),
      endpoints_(limits.endpoints),
      shares_(loop_limits.exchanges, io.entropy()),
      replay_budget_{limits.replay_bytes},
      windows_(loop_limits.burstBlocks(), loop_limits.streamBlockPayload(), loop_limits.upstream_stream_window),
      retry_budget_(makeRetryBudget()) {
  static_assert(LoopLimits::block_header == ByteQueue::block_header);
  PLAIT_ASSERT(!loop_limits_.defect() && !limits_.mistake());
  scratch_->lender = &io_.buffers();
  for (BackendOptions& options : backends) {
    options.number = static_cast<uint32_t>(first_ids_.size());
    const auto id = add(options);
    PLAIT_ASSERT(id.has_value());  // the configuration names no more than there are places
    first_ids_.push_back(*id);
  }
}

ConnectionPool::~ConnectionPool() {
  PLAIT_ASSERT(all_.empty());
  while (Endpoint* endpoint = endpoints_.all().front()) endpoints_.remove(*endpoint);
}

size_t ConnectionPool::connectionBytes(const LoopLimits& loop_limits, const PoolLimits& limits) {
  return Slab<UltraSock>::bytesFor(loop_limits.upstream_connections) +
         SockRoom::bytesFor(loop_limits.upstream_connections) +
         Slab<H2Connection>::bytesFor(loop_limits.upstream_connections) +
         Slab<H1Connection>::bytesFor(loop_limits.upstream_connections) +
         h2::SessionScratch::lentBytesFor(loop_limits.upstream_connections) + sizeof(h2::SessionScratch) +
         EndpointTable::bytesFor(limits.endpoints);
}

size_t ConnectionPool::streamBytes(const LoopLimits& loop_limits) {
  return Slab<H2UpstreamStream>::bytesFor(loop_limits.exchanges) +
         Slab<H1UpstreamStream>::bytesFor(loop_limits.exchanges) + ShareTable::bytesFor(loop_limits.exchanges);
}

size_t ConnectionPool::reservedBytes() const {
  return socks_.reservedBytes() + sock_room_.reservedBytes() + h2_connections_.reservedBytes() +
         h1_connections_.reservedBytes() + h2_streams_.reservedBytes() + h1_streams_.reservedBytes() +
         scratch_->lentBytes() + endpoints_.reservedBytes() + shares_.reservedBytes();
}

size_t ConnectionPool::promisedBlocks() {
  size_t blocks = 0;
  for (Connection* one = all_.front(); one != nullptr; one = all_.next(*one)) blocks += one->promisedBlocks();
  return blocks;
}

void ConnectionPool::prefault() {
  scratch_->prefault();
  socks_.prefault();
  sock_room_.prefault();
  h2_connections_.prefault();
  h1_connections_.prefault();
  h2_streams_.prefault();
  h1_streams_.prefault();
  endpoints_.prefault();
  shares_.prefault();
}

// -- leases

// Requests of one turn follow each other onto the same connection.
inline Connection* ConnectionPool::pick(VersionLane& lane) {
  const VersionLane::Run& run = lane.run;
  if (run.left != 0 && run.turn == io_.turnNumber() && run.connection->hasRoom() && !run.connection->isCrowded())
      [[likely]]
    return run.connection;
  return pickAnew(lane);
}

// The least loaded; among equals the one that has been ready longest, so that the choice can be replayed.
Connection* ConnectionPool::pickAnew(VersionLane& lane) {
  VersionLane::Run& run = lane.run;
  Connection* best = nullptr;
  Connection* spare = nullptr;
  uint32_t least = UINT32_MAX;
  for (Connection* connection = lane.ready.front(); connection != nullptr && least != 0;
       connection = lane.ready.next(*connection)) {
    const uint32_t load = connection->load();
    if (load >= least || load >= connection->limit()) continue;
    if (connection->is_passed_over_) [[unlikely]] {
      if (spare == nullptr) spare = connection;
      continue;
    }
    best = connection;
    least = load;
  }
  if (best == nullptr && spare != nullptr) {
    PLAIT_RARE("a connection that was passed over is needed again");
    best = spare;
  }
  run.connection = best;
  run.turn = io_.turnNumber();
  run.left = best == nullptr ? 0 : longest_run;
  return best;
}

inline bool ConnectionPool::mayTake(const Endpoint& endpoint, const VersionLane& lane, const Claim& claim) const {
  if (lane.used < lane.for_all || claim.client.connection == 0) [[likely]]
    return true;
  const uint32_t left = lane.capacity > lane.used ? lane.capacity - lane.used : 0;
  return shares_.mayTake(endpoint.id.index, claim, endpoint.addresses, lane.capacity, left);
}

bool ConnectionPool::hasRoom(Endpoint& endpoint, bool needs_http_1_1, const Claim& claim) {
  VersionLane& lane = endpoint.laneFor(needs_http_1_1);
  if (closing_ || !lane.queue.empty() || !mayTake(endpoint, lane, claim)) return false;
  // Where fewer are used than there are, some connection has one free. It is looked for by the request that takes it.
  return lane.used < lane.ready_streams || pick(lane) != nullptr;
}

bool ConnectionPool::isRoomFor(Endpoint& endpoint, bool needs_http_1_1, const Claim& claim) {
  VersionLane& lane = endpoint.laneFor(needs_http_1_1);
  if (closing_ || !lane.queue.empty() || !mayTake(endpoint, lane, claim)) return false;
  for (Connection* connection = lane.ready.front(); connection != nullptr; connection = lane.ready.next(*connection)) {
    if (connection->hasRoom()) return true;
  }
  return false;
}

Connection* ConnectionPool::reserveNow(Endpoint& endpoint, VersionLane& lane, const Claim& claim) {
  // First come, first served: while others queue even a free stream is not for a newcomer.
  if (closing_ || !lane.queue.empty() || !mayTake(endpoint, lane, claim)) return nullptr;
  Connection* connection = pick(lane);
  if (connection == nullptr) return nullptr;
  lane.run.left -= 1;
  connection->reserve();
  // Another connection is opened before the last stream is gone.
  if (connection->isCrowded()) [[unlikely]]
    dialIfNeeded(endpoint, lane);
  return connection;
}

Result<Lease> ConnectionPool::leaseNow(EndpointId id, bool needs_http_1_1, const Claim& claim) {
  Endpoint* endpoint = endpoints_.find(id);
  if (endpoint == nullptr) [[unlikely]]
    return fail(goneError());
  Connection* connection = reserveNow(*endpoint, endpoint->laneFor(needs_http_1_1), claim);
  if (connection == nullptr) return fail(backendError(ErrorCode::pool_exhausted, "no stream is free"));
  return Lease(*this, *connection, id);
}

void ConnectionPool::acquire(RequestOp& op) {
  Endpoint* endpoint = endpoints_.find(op.endpoint);
  if (endpoint == nullptr) return op.on_leased(op, fail(goneError()));
  Connection* connection =
      op.needs_own ? nullptr : reserveNow(*endpoint, endpoint->laneFor(op.needs_http_1_1), op.options->claim);
  if (connection == nullptr) return waitInLine(*endpoint, op);
  op.on_leased(op, connection);
}

Error ConnectionPool::goneError() {
  PLAIT_RARE("a lease is asked of an endpoint that has gone");
  return backendError(ErrorCode::invalid_argument, "the backend has been taken out of the configuration");
}

// No connection is there or on its way, and none will be made for a while.
bool ConnectionPool::isLeftAlone(const Endpoint& endpoint, const VersionLane& lane) const {
  return lane.ready.empty() && lane.dialling == 0 && endpoint.not_before_ns > io_.nowNs();
}

Error ConnectionPool::leftAlone(const Endpoint& endpoint) {
  Error error = endpoint.cause;
  if (error.code == ErrorCode::none) error.code = ErrorCode::connect_failed;
  if (!error.isOwnShortage()) error.reason = "the backend did not answer a moment ago and is left alone";
  error.reach = Reach::backend;
  return error;
}

void ConnectionPool::waitInLine(Endpoint& endpoint, RequestOp& op) {
  if (closing_) return op.on_leased(op, fail(connectionError(ErrorCode::shutting_down, "the pool is closing")));
  VersionLane& lane = endpoint.laneFor(op.needs_http_1_1);
  // A repetition waits for the trial that is due: its request may be what showed that the endpoint is down.
  const bool waits_for_trial = op.needs_own && endpoint.state == EndpointState::down && endpoint.since_ns >= op.sent_ns;
  if ((endpoint.state == EndpointState::down || isLeftAlone(endpoint, lane)) && !waits_for_trial) {
    PLAIT_RARE("a backend is left alone for a while");
    return op.on_leased(op, fail(leftAlone(endpoint)));
  }
  if (op.options != nullptr && op.options->attempts != nullptr && !op.needs_own && !op.needs_http_1_1) {
    // Its owner has a line for all endpoints, in which shares count: here it would be before everybody.
    PLAIT_RARE("a request that is repeated goes back to the line");
    return op.on_leased(op, fail(streamError(ErrorCode::pool_exhausted, "no stream is free for the repetition")));
  }
  counters_.queue_waits += 1;
  if (op.needs_own) {
    if (waits_for_trial) PLAIT_RARE("a repetition waits for a trial");
    endpoint.own_queue.pushBack(op);
    return serveOwn(endpoint);
  }
  lane.queue.pushBack(op);
  dialIfNeeded(endpoint, lane);
}

void ConnectionPool::serve(Endpoint& endpoint, VersionLane& lane) {
  while (!lane.queue.empty()) {
    Connection* connection = pick(lane);
    if (connection == nullptr) return dialIfNeeded(endpoint, lane);
    lane.run.left -= 1;
    RequestOp* op = lane.queue.popFront();
    connection->reserve();
    op->on_leased(*op, connection);
  }
}

// A place is free, or can be made so: each endpoint may have requests that wait for one, and takes its turn.
void ConnectionPool::serveWaiting() {
  auto& all = endpoints_.all();
  for (size_t i = endpoints_.used(); i > 0; --i) {
    Endpoint* endpoint = all.popFront();
    if (endpoint == nullptr) break;
    all.pushBack(*endpoint);
    if (!endpoint->own_queue.empty()) serveOwn(*endpoint);
    for (VersionLane* lane : {&endpoint->h2, &endpoint->h1}) {
      if (!lane->queue.empty()) serve(*endpoint, *lane);
    }
  }
  tellRoomChanged();
}

void ConnectionPool::failQueue(List<RequestOp, &RequestOp::queue_node>& queue, const Error& error) {
  List<RequestOp, &RequestOp::queue_node> waiting;
  waiting.spliceBack(queue);
  while (RequestOp* op = waiting.popFront()) op->on_leased(*op, fail(error));
}

void ConnectionPool::release(Lease& lease, bool success, Io&) {
  const Error refused = connectionError(ErrorCode::cancelled, "released as not reusable");
  const ConnectionHandle answered_by = std::exchange(lease.answered_by_, {});
  if (Connection* connection = std::exchange(lease.connection_, nullptr)) {
    // Never used: its reservation goes back.
    connection->unreserve();
    if (success) return onRoom(*connection);
    return connection->retire(refused);
  }
  if (success) return;
  // The request has used the stream up, and by now its connection may be gone.
  if (Connection* connection = find(answered_by)) connection->retire(refused);
}

Connection* ConnectionPool::find(const ConnectionHandle& handle) const {
  if (handle.connection == nullptr) return nullptr;
  if (handle.is_http1) {
    return h1_connections_.find({static_cast<H1Connection*>(handle.connection), handle.generation});
  }
  return h2_connections_.find({static_cast<H2Connection*>(handle.connection), handle.generation});
}

ConnectionHandle ConnectionPool::handleOf(Connection& connection) const {
  const bool is_http1 = connection.isHttp1();
  const uint32_t generation = is_http1 ? h1_connections_.generation(static_cast<H1Connection*>(&connection))
                                       : h2_connections_.generation(static_cast<H2Connection*>(&connection));
  return {&connection, generation, is_http1};
}

// -- for connections

void ConnectionPool::noteFault(EndpointId endpoint, const Error& error, Bytes said) {
  const Fault fault = faultOf(error);
  if (fault == Fault::none) return;
  (error.reachesConnection() ? counters_.connection_faults : counters_.stream_faults)[static_cast<size_t>(fault)] += 1;
  if (observer_ != nullptr) observer_->onEndpointFault(endpoint, error, said, io_.nowNs());
}

void ConnectionPool::setObserver(PoolObserver* observer) {
  observer_ = observer;
  if (observer == nullptr) return;
  // An observer is told of endpoints that are down from the start as well.
  for (Endpoint* endpoint = endpoints_.all().front(); endpoint != nullptr;
       endpoint = endpoints_.all().next(*endpoint)) {
    if (endpoint->state == EndpointState::down)
      observer->onEndpointState(endpoint->id, endpoint->state, endpoint->cause);
  }
}

void ConnectionPool::noteGoaway(EndpointId id, h2::H2Error code, Bytes text) {
  if (Endpoint* endpoint = endpoints_.find(id)) endpoint->goaways[h2::errorIndex(code)] += 1;
  const bool is_graceful = code == h2::H2Error::no_error && text.empty();
  if (!is_graceful && observer_ != nullptr) observer_->onEndpointGoaway(id, code, text, io_.nowNs());
}

void ConnectionPool::onRetired(Connection& connection) {
  Endpoint* endpoint = connection.endpoint_;
  if (endpoint == nullptr) return;
  // One that is not proven is its dial's, which runConnection() ends.
  if (connection.is_own_ && !connection.is_proving_) {
    connection.is_own_ = false;
    endpoint->own_connections -= 1;
    serveOwn(*endpoint);
  }
  if (!connection.node_.isLinked()) return;  // it never was ready
  VersionLane& lane = endpoint->laneOf(connection);
  connection.node_.unlink();
  connection.lane_ = nullptr;
  lane.ready_count -= 1;
  lane.used -= connection.load();
  if (lane.run.connection == &connection) lane.run = {};
  recountCapacity(*endpoint, lane);
  tellRoomChanged();
  // Without a connection the endpoint has a right to a place that it had not before, for either version.
  for (VersionLane* each : {&endpoint->h2, &endpoint->h1}) {
    if (!each->queue.empty()) dialIfNeeded(*endpoint, *each);
  }
}

void ConnectionPool::onRoom(Connection& connection) {
  if (Endpoint* endpoint = connection.endpoint_) {
    VersionLane& lane = endpoint->laneOf(connection);
    if (!lane.queue.empty()) serve(*endpoint, lane);
  }
  // Others may wait for its place, if only the places are left that are kept (hasPlace).
  if (socks_.available() <= socks_.capacity() / 4 && connection.load() == 0) return serveWaiting();
  tellRoomChanged();
}

void ConnectionPool::onUnanswered(Connection& connection, TimeNs since_ns, const Error& error) {
  noteFault(connection.endpointId(), error);
  Endpoint* endpoint = connection.endpoint_;
  // The end of a connection that was to be proven is a dial that failed, and counted there.
  if (endpoint != nullptr && endpoint->heard_ns <= since_ns && !connection.is_proving_) {
    PLAIT_RARE("an endpoint has fallen silent");
    Error cause = error;
    cause.reach = Reach::backend;
    endpoint->not_before_ns = io_.nowNs() + timeoutsOf(*endpoint->options).backoff_min_ms * ns_per_ms;
    if (endpoint->state == EndpointState::up || endpoint->state == EndpointState::trial) goDown(*endpoint, cause);
  }
  connection.breakOff(error);
}

bool ConnectionPool::isSuperfluous(const Connection& connection) const {
  if (connection.endpoint_ == nullptr) return false;
  VersionLane& lane = connection.endpoint_->laneOf(connection);
  // Connections of HTTP/1.1 carry one request each and go when they are idle.
  if (lane.is_http1 || lane.ready_count < 2) return false;
  uint64_t load = 0;
  uint64_t limit = 0;
  for (Connection* other = lane.ready.front(); other != nullptr; other = lane.ready.next(*other)) {
    if (other->is_passed_over_) continue;
    // The connection that carries least goes first.
    if (other->load() < connection.load()) return false;
    load += other->load();
    if (other != &connection) limit += other->limit();
  }
  return load * 4 < limit;
}

void ConnectionPool::retireOrPassOver(Connection& connection, const Error& reason) {
  if (connection.endpoint_ != nullptr && connection.load() != 0) {
    if (connection.endpoint_->retired_running >= many_retired) {
      PLAIT_RARE("a connection is passed over, since many are retired");
      return connection.passOver();
    }
    // It would go on holding its place, and there is none for its successor.
    if (!hasPlace(*connection.endpoint_)) {
      PLAIT_RARE("a connection is passed over, since there is no place for another");
      return connection.passOver();
    }
  }
  connection.retire(reason);
}

// Counts streams on the ready connections, and on those that may still be made, each with the remembered limit.
void ConnectionPool::recountCapacity(Endpoint& endpoint, VersionLane& lane) {
  uint32_t ready = 0;
  for (Connection* connection = lane.ready.front(); connection != nullptr; connection = lane.ready.next(*connection))
    ready += connection->limit();
  const uint32_t each =
      lane.is_http1 ? 1 : std::min(endpoint.remembered_streams, limits_.streams_per_upstream_connection);
  const uint32_t most = std::min(connectionLimit(endpoint, lane), loop_limits_.upstream_connections);
  lane.ready_streams = ready;
  lane.capacity = ready + (most > lane.ready_count ? most - lane.ready_count : 0) * each;
  lane.nearly_full = std::max(1u, (lane.capacity * 3 + 3) / 4);
  lane.for_all = lane.capacity * 7 / 8;
}

// -- retries

Verdict ConnectionPool::mayRepeat(Attempts& attempts, const Error& error, const http::RequestHead& head,
                                  const http::Pipe* body) {
  if (closing_ || attempts.retries >= mostRetries(attempts)) return Verdict::final;
  if (body != nullptr && !body->canReplay()) return Verdict::final;
  const Verdict verdict = verdictOn(error, head.method);
  switch (verdict) {
    case Verdict::final:
      return verdict;
    case Verdict::over_http_1_1:
      break;
    case Verdict::unprocessed:
      if (!budgetOf(attempts).takeUnprocessed(io_.nowNs())) return Verdict::final;
      PLAIT_RARE("a request that was not processed is repeated");
      // A backend that ends says GOAWAY on all its connections at once: they must not use up the tries one by one.
      if (error.code == ErrorCode::goaway_unprocessed && attempts.retries != 0) attempts.travels_alone = true;
      attempts.last = RetryClass::unprocessed;
      counters_.retries_unprocessed += 1;
      break;
    case Verdict::late:
      // A head is not waited for again at the endpoint where it was late.
      if (!attempts.elsewhere) return Verdict::final;
      [[fallthrough]];
    case Verdict::unknown:
      if (attempts.has_used_unknown || !attempts.may_repeat_unknown || !budgetOf(attempts).takeUnknown())
        return Verdict::final;
      PLAIT_RARE("a request of unknown fate is repeated");
      attempts.has_used_unknown = true;
      if (verdict == Verdict::unknown) attempts.travels_alone = true;
      attempts.last = RetryClass::unknown;
      counters_.retries_unknown += 1;
      break;
  }
  attempts.retries += 1;
  return verdict;
}

void ConnectionPool::noteTrialRepeated(Attempts& attempts) {
  attempts.has_used_unknown = true;
  attempts.last = RetryClass::unknown;
  attempts.retries += 1;
  counters_.retries_unknown += 1;
}

void ConnectionPool::answered(RequestOp& op, UpstreamStream& stream) {
  op.awaiting_node.unlink();
  static_cast<Lease::RequestAwaiter*>(op.owner)->complete(&stream);
}

namespace {

// The end of a connection, as a request meets it whose response has not begun.
Error beforeTheHead(Error error) {
  if (error.code != ErrorCode::connection_lost && error.code != ErrorCode::connection_stale) return error;
  if (error.detail == 0) error.reason = "the backend closed before the response's head";
  if (error.detail == ECONNRESET) error.reason = "the backend reset the connection before the response's head";
  return error;
}

}  // namespace

void ConnectionPool::failed(RequestOp& op, const Error& ended) {
  auto& awaiter = *static_cast<Lease::RequestAwaiter*>(op.owner);
  op.awaiting_node.unlink();
  const Error error = beforeTheHead(ended);
  const Result<UpstreamStream*> result = fail(error);
  const RequestOptions& options = *op.options;
  if (options.cancel != nullptr && options.cancel->isCancelled()) return awaiter.complete(result);
  if (options.head_timeout_ms == 0 && options.deadline_ns <= io_.nowNs()) return awaiter.complete(result);
  const bool is_other_version = error.code == ErrorCode::http_1_1_required;
  if (is_other_version) {
    Endpoint* endpoint = endpoints_.find(op.endpoint);
    if (op.needs_http_1_1 || endpoint == nullptr || !endpoint->takesTunnels()) return awaiter.complete(result);
  } else if (op.attempts->elsewhere || (op.attempts->elsewhere_again && isInDoubt(verdictOn(error, op.head->method)))) {
    return awaiter.complete(result);
  }
  const Verdict verdict = mayRepeat(*op.attempts, error, *op.head, options.body);
  if (verdict == Verdict::final) return awaiter.complete(result);
  if (is_other_version) {
    PLAIT_RARE("a request is repeated over HTTP/1.1");
    op.needs_http_1_1 = true;
  }
  if (options.body != nullptr) options.body->rewind();
  awaiter.tryAgain();
}

void ConnectionPool::startTry(RequestOp& op) {
  op.on_leased = [](RequestOp& leased, Result<Connection*> connection) {
    auto& awaiter = *static_cast<Lease::RequestAwaiter*>(leased.owner);
    ConnectionPool& pool = *awaiter.lease_.pool_;
    if (!connection) return awaiter.complete(fail(connection.error()));
    pool.budgetOf(*leased.attempts).onTry(pool.io_.nowNs());
    leased.attempts->begun_ns = pool.io_.nowNs();
    leased.connection = pool.handleOf(**connection);
    leased.deadline_ns = leased.options->deadlineFrom(pool.io_.nowNs());
    (*connection)->request(leased);
  };
  acquire(op);
}

void ConnectionPool::waitAgain(RequestOp& op) {
  PLAIT_RARE("the limit of streams was lowered behind a lease");
  static_cast<Lease::RequestAwaiter*>(op.owner)->tryAgain();
}

Task<void> ConnectionPool::close(Io& io, LastFrame) {
  closing_ = true;
  if (orders_ != nullptr) orders_->close();
  const Error closing = connectionError(ErrorCode::shutting_down, "the pool is closing");
  for (Endpoint* endpoint = endpoints_.all().front(); endpoint != nullptr;
       endpoint = endpoints_.all().next(*endpoint)) {
    endpoint->trial_timer.cancel();
    failQueue(endpoint->h2.queue, closing);
    failQueue(endpoint->h1.queue, closing);
    failQueue(endpoint->own_queue, closing);
  }
  Connection* next = nullptr;
  for (Connection* connection = all_.front(); connection != nullptr; connection = next) {
    next = all_.next(*connection);
    connection->retire(closing);
    connection->drainBy(io.nowNs() + timeouts_.drain_ms * ns_per_ms);
  }
  co_await scope_.join();
  while (orders_ != nullptr && orders_->isAwaited()) co_await io.nextTurn();
}

ConnectionPool::Places ConnectionPool::places() const {
  Places places;
  const auto& all = endpoints_.all();
  for (const Endpoint* endpoint = all.front(); endpoint != nullptr; endpoint = all.next(*endpoint)) {
    places.ready += endpoint->readyConnections();
    places.dialling += endpoint->h2.dialling + endpoint->h1.dialling + endpoint->own_connections;
  }
  places.tunnels = tunnels_;
  const uint32_t others = places.ready + places.dialling + places.tunnels;
  const auto used = static_cast<uint32_t>(socks_.used());
  places.retired = used > others ? used - others : 0;
  return places;
}

}  // namespace plait
