// How the pool comes to connections: dials, connections for one repetition alone, and which version of HTTP is spoken.
#include <algorithm>

#include "plait/base/rare.h"
#include "plait/client/dialer.h"
#include "plait/client/pool.h"

namespace plait {
namespace {

// Connections that may be dialled at once for requests that each need one of their own.
constexpr uint32_t max_parallel_dials = 32;

// Connections for one repetition each, beyond an endpoint's limit.
constexpr uint32_t max_own_connections = 8;

}  // namespace

uint32_t ConnectionPool::connectionLimit(const Endpoint& endpoint, const VersionLane& lane) const {
  if (endpoint.options->connections != 0) return endpoint.options->connections;
  return lane.is_http1 ? limits_.h1_connections_per_backend : limits_.h2_connections_per_backend;
}

bool ConnectionPool::mayHaveAnother(const Endpoint& endpoint, const VersionLane& lane) const {
  return !closing_ && endpoint.state != EndpointState::leaving && endpoint.not_before_ns <= io_.nowNs() &&
         lane.ready_count + lane.dialling < connectionLimit(endpoint, lane);
}

// A quarter of the places is kept for endpoints that have no connection, and of those for the first one of each. One
// that has retired many which still run is none of these.
bool ConnectionPool::hasPlace(const Endpoint& endpoint) const {
  const bool has_any = endpoint.readyConnections() + endpoint.h2.dialling + endpoint.h1.dialling != 0 ||
                       endpoint.retired_running >= many_retired;
  const size_t kept = has_any ? socks_.capacity() / 4 : 0;
  return socks_.available() > kept;
}

const char* ConnectionPool::whatIsShort(Endpoint& endpoint, bool needs_http_1_1) const {
  const VersionLane& lane = endpoint.laneFor(needs_http_1_1);
  if (lane.used < lane.ready_streams) return "the streams that no backend has in use are for clients that hold fewer";
  if (mayHaveAnother(endpoint, lane)) {
    return hasPlace(endpoint) ? "no connection to a backend was made in time"
                              : "no backend has room: limits.upstream_connections is used up";
  }
  if (endpoint.options->connections != 0) return "no backend has room: its cluster's limits.connections are used up";
  if (lane.is_http1) return "no backend has room: limits.h1_connections_per_backend is used up";
  const uint32_t allowed = limits_.h2_connections_per_backend * limits_.streams_per_upstream_connection;
  return lane.ready_streams < allowed
             ? "no backend has room: limits.h2_connections_per_backend is used up, with fewer streams on each than "
               "limits.streams_per_upstream_connection, as the backend wants it"
             : "no backend has room: limits.h2_connections_per_backend times limits.streams_per_upstream_connection "
               "is used up";
}

bool ConnectionPool::needsDial(Endpoint& endpoint, VersionLane& lane) {
  if (!mayHaveAnother(endpoint, lane) || endpoint.state == EndpointState::down) return false;
  // One connection of HTTP/2 will carry all that wait; of HTTP/1.1 each needs one.
  if (!lane.is_http1) return lane.dialling == 0;
  if (lane.dialling >= max_parallel_dials) return false;
  uint32_t waiting = 0;
  for (RequestOp* op = lane.queue.front(); op != nullptr && waiting <= lane.dialling; op = lane.queue.next(*op))
    waiting += 1;
  return waiting > lane.dialling;
}

void ConnectionPool::dialIfNeeded(Endpoint& endpoint, VersionLane& lane) {
  while (needsDial(endpoint, lane)) {
    if (!hasPlace(endpoint)) return freeAPlace(endpoint, lane);
    if (!startDial(endpoint, lane, DialFor::lane)) return;
  }
  // Requests are not left to wait for a connection that will not be made for a while.
  if (!lane.queue.empty() && isLeftAlone(endpoint, lane)) {
    PLAIT_RARE("requests wait for a connection that will not be made");
    failQueue(lane.queue, leftAlone(endpoint));
  }
}

bool ConnectionPool::owesDial() {
  auto& all = endpoints_.all();
  for (Endpoint* endpoint = all.front(); endpoint != nullptr && !closing_; endpoint = all.next(*endpoint)) {
    // Repetitions wait for the trial's end (waitInLine).
    if (endpoint->state == EndpointState::down || endpoint->state == EndpointState::trial) continue;
    if (!endpoint->own_queue.empty() && endpoint->own_dialling == 0 &&
        endpoint->own_connections < max_own_connections && socks_.available() != 0)
      return true;
    for (VersionLane* lane : {&endpoint->h2, &endpoint->h1}) {
      const bool waits_for_none = lane->ready.empty() && lane->dialling == 0;
      if (!lane->queue.empty() && waits_for_none && needsDial(*endpoint, *lane) && hasPlace(*endpoint)) return true;
    }
  }
  return false;
}

bool ConnectionPool::dialAside(Endpoint& endpoint, bool needs_http_1_1, bool may_displace) {
  VersionLane& lane = endpoint.laneFor(needs_http_1_1);
  if (!lane.is_http1 && lane.dialling != 0) return true;
  if (!mayHaveAnother(endpoint, lane) || lane.dialling >= max_parallel_dials) return false;
  if (!hasPlace(endpoint)) {
    if (may_displace) freeAPlace(endpoint, lane);
    return false;
  }
  return startDial(endpoint, lane, DialFor::lane);
}

bool ConnectionPool::startDial(Endpoint& endpoint, VersionLane& lane, DialFor purpose) {
  // The dial begins later in this turn. Its socket is taken now, since another dial might find none left.
  UltraSock* sock = socks_.create(io_, send_blocks_, sock_room_);
  PLAIT_ASSERT(sock != nullptr);
  if (!scope_.spawn(dial(endpoint, lane, *sock, purpose, io_), io_)) {
    socks_.destroy(sock);
    const Error error = connectionError(ErrorCode::no_memory, "no memory is left for another connection");
    noteShortage(error);
    const bool waits_for_others =
        purpose == DialFor::own ? endpoint.own_dialling != 0 : !lane.ready.empty() || lane.dialling != 0;
    if (!waits_for_others) failQueue(purpose == DialFor::own ? endpoint.own_queue : lane.queue, error);
    return false;
  }
  endpoint.borrowers += 1;
  if (purpose == DialFor::own) {
    endpoint.own_connections += 1;
    endpoint.own_dialling += 1;
  } else {
    lane.dialling += 1;
  }
  return true;
}

// Another lane's connection that nobody uses goes, so that this one can have one; serveWaiting() follows when its
// place is free.
void ConnectionPool::freeAPlace(const Endpoint& endpoint, const VersionLane& lane) {
  Connection* idle = nullptr;
  for (Connection* connection = all_.front(); connection != nullptr; connection = all_.next(*connection)) {
    if (connection->load() != 0 || connection->is_own_ || connection->is_proving_) continue;
    if (connection->endpoint_ == &endpoint && connection->isHttp1() == lane.is_http1) continue;
    if (!connection->isReady()) return;  // a place is about to be free
    if (idle == nullptr) idle = connection;
  }
  if (idle != nullptr)
    idle->retire(connectionError(ErrorCode::idle_timeout, "its place is needed for another backend"));
}

Task<void> ConnectionPool::dial(Endpoint& endpoint, VersionLane& lane, UltraSock& sock, DialFor purpose, Io& io) {
  const TimeNs begun_ns = io.nowNs();
  // As they are now: the endpoint's may be replaced meanwhile.
  const std::shared_ptr<const BackendOptions> options = endpoint.options;
  Connection* connection = nullptr;
  Bytes first;  // what a probe has read already
  Status status = co_await openSocket(*options, lane.is_http1 ? AlpnOffer::http_1_1 : AlpnOffer::all,
                                      timeoutsOf(*endpoint.options).connect_ms, sock, io);
  if (status && endpoint.options->protocol == BackendProtocol::probe && !lane.is_http1) {
    // This queues the preface, which an HTTP/1.1 server takes for a request that it does not know.
    connection = h2_connections_.create(*this, endpoint, sock);
    auto answer = co_await awaitSettings(sock, timeoutsOf(*endpoint.options).probe_ms, io);
    if (answer) {
      first = *answer;
      endpoint.has_spoken_http2 = true;
      endpoint.is_guess = false;
    } else {
      sock.setOwner(nullptr);
      destroy(*std::exchange(connection, nullptr));
      status = fail(answer.error());
    }
  }
  if (purpose != DialFor::own) lane.dialling -= 1;
  if (status && closing_) status = fail(connectionError(ErrorCode::shutting_down, "the pool is closing"));
  if (status && endpoint.state == EndpointState::leaving) {
    status = fail(backendError(ErrorCode::invalid_argument, "the backend has gone"));
  }
  if (status) {
    if (connection == nullptr) {
      const bool is_h2 = endpoint.options->protocol == BackendProtocol::https ? sock.alpn() == "h2" : !lane.is_http1;
      if (!is_h2 && !lane.is_http1) learnHttp1(endpoint);
      connection = is_h2 ? static_cast<Connection*>(h2_connections_.create(*this, endpoint, sock))
                         : h1_connections_.create(*this, endpoint, sock);
      PLAIT_ASSERT(connection != nullptr);
    }
    if (Task<void> life = lifeOf(*connection, sock, first, io)) {
      connection->made_ns_ = begun_ns;
      connection->is_own_ = purpose == DialFor::own;
      establish(endpoint, *connection, purpose);
      scope_.spawn(std::move(life), io);
      co_return endBorrowing(endpoint);
    }
    sock.setOwner(nullptr);
    destroy(*std::exchange(connection, nullptr));
    status = fail(connectionError(ErrorCode::no_memory, "no memory is left for another connection"));
  }
  Error error = status.error();
  // Nothing has been sent, and another endpoint may have a connection.
  if (error.isOwnShortage()) error.reach = Reach::backend;
  if (error.code == ErrorCode::http_1_1_required && error.detail == probe_silence && endpoint.has_spoken_http2) {
    PLAIT_RARE("a backend that has spoken HTTP/2 does not answer a probe");
    if (purpose == DialFor::trial) {
      endpoint.is_guess = true;
    } else {
      error = backendError(ErrorCode::stalled, "the backend sent no SETTINGS (RFC 9113 §3.4)");
    }
  }
  if (purpose == DialFor::own) {
    endpoint.own_dialling -= 1;
    endpoint.own_connections -= 1;
  }
  Task<void> life = connection == nullptr ? Task<void>(nullptr) : lifeOf(*connection, sock, first, io);
  if (connection != nullptr && !life) {
    sock.setOwner(nullptr);
    destroy(*std::exchange(connection, nullptr));
  }
  if (connection != nullptr) {
    // Its SETTINGS have been exchanged while it became superfluous: it ends like any other, with GOAWAY.
    PLAIT_RARE("a probe succeeds when its backend has gone or the pool closes");
    all_.pushBack(*connection);
    connection->onEstablished();
    connection->retire(error);
    connection->endpoint_ = nullptr;
    scope_.spawn(std::move(life), io);
    co_return endBorrowing(endpoint);
  }
  const bool is_leaving = endpoint.state == EndpointState::leaving;
  if (error.code == ErrorCode::http_1_1_required && !is_leaving) {
    // Before the requests move over, this socket gives its place to the one that HTTP/1.1 needs.
    co_await sock.close(io);
    socks_.destroy(&sock);
    if (endpoint.state != EndpointState::leaving) {
      learnHttp1(endpoint);
      serve(endpoint, endpoint.h1);
      if (purpose == DialFor::own) serveOwn(endpoint);
      if (endpoint.state == EndpointState::trial && !endpoint.wants_request && endpoint.h1.dialling == 0) {
        if (!hasPlace(endpoint) || !startDial(endpoint, endpoint.h1, DialFor::trial)) goDown(endpoint, endpoint.cause);
      }
      // The chooser dials anew, for the version that is known now.
      tellRoomChanged();
    }
    serveWaiting();
    co_return endBorrowing(endpoint);
  }
  if (!is_leaving) {
    if (lane.is_http1 && !endpoint.speaks_http1 && error.code == ErrorCode::tls_failed && error.detail == 0) {
      learnHttp2Only(endpoint, error);
    } else {
      onDialFailed(endpoint, lane, error);
    }
    if (purpose == DialFor::own) failOwn(endpoint, lane, begun_ns, error);
  }
  co_await sock.close(io);
  socks_.destroy(&sock);
  endBorrowing(endpoint);
  serveWaiting();
}

Task<void> ConnectionPool::lifeOf(Connection& connection, UltraSock& sock, Bytes first, Io& io) {
  Task<void> running = connection.run(first, io);
  if (!running) return running;
  return runConnection(connection, sock, std::move(running), io);
}

// Runs a connection from its first byte to its last. The endpoint may go meanwhile: the connection then needs it no
// more.
Task<void> ConnectionPool::runConnection(Connection& connection, UltraSock& sock, Task<void> running, Io& io) {
  co_await std::move(running);
  Endpoint* endpoint = connection.endpoint_;
  const Error& ended = connection.retiredBecause();
  if (endpoint != nullptr && Connection::isBreak(ended)) {
    endpoint->is_doubted = true;
    // Connections that break before anybody has used them are not made one after the other without a pause.
    if (!connection.has_had_request_ && !connection.is_proving_) backOff(*endpoint);
  }
  if (std::exchange(connection.is_proving_, false) && endpoint != nullptr) {
    PLAIT_RARE("a connection is not proven");
    VersionLane& lane = endpoint->laneOf(connection);
    Error error = ended;
    error.reach = Reach::backend;
    if (std::exchange(connection.is_own_, false)) {
      endpoint->own_connections -= 1;
      endpoint->own_dialling -= 1;
      onDialFailed(*endpoint, lane, error);
      failOwn(*endpoint, lane, connection.made_ns_, error);
    } else {
      lane.dialling -= 1;
      onDialFailed(*endpoint, lane, error);
    }
  }
  sock.setOwner(nullptr);
  co_await sock.close(io);
  // A response that is still being read holds no part of the connection: its stream has ended.
  co_await connection.released();
  PLAIT_ASSERT(connection.load() == 0);
  destroy(connection);
  socks_.destroy(&sock);
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

// The socket is ready for its version of HTTP. Where the connection before broke, SETTINGS have to come first; an
// endpoint that is tried has to answer a PING as well. Not every backend that can be used answers PINGs.
void ConnectionPool::establish(Endpoint& endpoint, Connection& connection, DialFor purpose) {
  all_.pushBack(connection);
  connection.onEstablished();
  const bool is_trial = purpose == DialFor::trial;
  if (connection.isHttp1() || (!is_trial && !endpoint.is_doubted)) return onReached(endpoint, connection);
  connection.is_proving_ = true;
  if (!connection.is_own_) endpoint.laneOf(connection).dialling += 1;
  connection.prove(is_trial);
}

void ConnectionPool::onProven(Connection& connection) {
  Endpoint& endpoint = *connection.endpoint_;  // had the endpoint gone, the connection would have been retired
  if (!connection.is_own_) endpoint.laneOf(connection).dialling -= 1;
  onReached(endpoint, connection);
}

void ConnectionPool::onReached(Endpoint& endpoint, Connection& connection) {
  counters_.connects += 1;
  if (!std::exchange(endpoint.is_doubted, false)) endpoint.failures = 0;
  endpoint.not_before_ns = 0;
  if (endpoint.state == EndpointState::up) endpoint.cause = {};
  if (connection.is_own_) {
    endpoint.own_dialling -= 1;
    giveOwn(endpoint, connection);
  } else {
    admit(endpoint, connection);
  }
  if (endpoint.state != EndpointState::trial && endpoint.state != EndpointState::down) return;
  // Where others can be used, one request is risked to see whether the guess is right.
  if (endpoint.is_guess && endpoint.is_compared) endpoint.left_by_answers = true;
  if (!endpoint.left_by_answers) {
    become(endpoint, EndpointState::up, {});
    return serveOwn(endpoint);
  }
  PLAIT_RARE("an ejected endpoint waits for a trial request");
  become(endpoint, EndpointState::trial, endpoint.cause);
  endpoint.wants_request = true;
  endpoint.since_ns = io_.nowNs();
  tellStatesChanged();
}

void ConnectionPool::admit(Endpoint& endpoint, Connection& connection) {
  PLAIT_ASSERT(connection.isReady());
  VersionLane& lane = endpoint.laneOf(connection);
  lane.ready.pushBack(connection);
  lane.ready_count += 1;
  connection.lane_ = &lane;
  lane.used += connection.load();
  connection.is_admitted_ = true;
  recountCapacity(endpoint, lane);
  serve(endpoint, lane);
  tellRoomChanged();
}

void ConnectionPool::backOff(Endpoint& endpoint) {
  // Twice as long after each failure, with jitter, so that many proxies do not knock all at once.
  const int64_t base_ms = std::min(timeoutsOf(*endpoint.options).backoff_max_ms,
                                   timeoutsOf(*endpoint.options).backoff_min_ms << std::min(endpoint.failures, 10u));
  endpoint.failures += 1;
  endpoint.not_before_ns = io_.nowNs() + (base_ms / 2 + io_.random().below(static_cast<uint32_t>(base_ms))) * ns_per_ms;
}

void ConnectionPool::noteShortage(const Error& error) {
  counters_.connect_failures += 1;
  PoolCounters::Shortages& shortages = counters_.shortages;
  (error.code == ErrorCode::no_descriptor   ? shortages.descriptors
   : error.code == ErrorCode::no_local_port ? shortages.local_ports
                                            : shortages.memory) += 1;
}

// The endpoint stays what it was: nobody has found out anything about it. The next dial waits for a moment.
void ConnectionPool::onDialStarved(Endpoint& endpoint, VersionLane& lane, const Error& error) {
  PLAIT_RARE("a dial fails for want of something of plait's own");
  noteShortage(error);
  endpoint.not_before_ns = std::max(endpoint.not_before_ns, io_.nowNs() + starved_dial_ms * ns_per_ms);
  if (endpoint.state == EndpointState::up) endpoint.cause = error;
  if (endpoint.state == EndpointState::trial) {
    goDown(endpoint, endpoint.cause);
  } else {
    tellRoomChanged();
  }
  if (lane.ready.empty() && lane.dialling == 0) failQueue(lane.queue, error);
}

void ConnectionPool::onDialFailed(Endpoint& endpoint, VersionLane& lane, const Error& error) {
  if (error.isOwnShortage()) return onDialStarved(endpoint, lane, error);
  counters_.connect_failures += 1;
  backOff(endpoint);
  if (endpoint.state == EndpointState::up) endpoint.cause = error;
  if (endpoint.readyConnections() == 0) {
    // The server that comes up next at that address may speak another version.
    endpoint.speaks_http1 = endpoint.options->protocol == BackendProtocol::h1;
    endpoint.refuses_http1 = false;
    goDown(endpoint, error);
  } else if (endpoint.state == EndpointState::trial) {
    goDown(endpoint, error);
  } else {
    tellRoomChanged();
  }
  // With other connections ready or on their way the queue waits for those.
  if (lane.ready.empty() && lane.dialling == 0) failQueue(lane.queue, error);
}

// -- connections of their own

void ConnectionPool::serveOwn(Endpoint& endpoint) {
  if (endpoint.state == EndpointState::down) return;  // until its trial has succeeded
  VersionLane& lane = endpoint.laneFor(false);
  uint32_t waiting = 0;
  for (RequestOp* op = endpoint.own_queue.front(); op != nullptr && waiting <= max_own_connections;
       op = endpoint.own_queue.next(*op))
    waiting += 1;
  while (!closing_ && endpoint.own_dialling < waiting && endpoint.own_connections < max_own_connections) {
    if (socks_.available() == 0) return freeAPlace(endpoint, lane);
    if (!startDial(endpoint, endpoint.laneFor(endpoint.own_queue.front()->needs_http_1_1), DialFor::own)) return;
  }
}

void ConnectionPool::giveOwn(Endpoint& endpoint, Connection& connection) {
  for (RequestOp* op = endpoint.own_queue.front(); op != nullptr; op = endpoint.own_queue.next(*op)) {
    // One that was dialled before the failure may have been lost by the same cause.
    if (op->failed_ns > connection.made_ns_ || (op->needs_http_1_1 && !connection.isHttp1())) continue;
    op->queue_node.unlink();
    connection.reserve();
    op->on_leased(*op, &connection);
    return serveOwn(endpoint);
  }
  PLAIT_RARE("a connection for a repetition finds none");
  onOwnAnswered(connection);
}

// A dial that fails takes a repetition with it. Else two dials, each with the other under way, would be repeated
// without an end and without a pause.
void ConnectionPool::failOwn(Endpoint& endpoint, const VersionLane& lane, TimeNs begun_ns, const Error& error) {
  if (endpoint.own_dialling == 0) return failQueue(endpoint.own_queue, error);
  for (RequestOp* op = endpoint.own_queue.front(); op != nullptr; op = endpoint.own_queue.next(*op)) {
    if (op->failed_ns > begun_ns || (op->needs_http_1_1 && !lane.is_http1)) continue;
    PLAIT_RARE("a dial for repetitions fails while another is under way");
    op->queue_node.unlink();
    return op->on_leased(*op, fail(error));
  }
}

void ConnectionPool::onOwnAnswered(Connection& connection) {
  connection.is_own_ = false;
  Endpoint* endpoint = connection.endpoint_;
  if (endpoint == nullptr) return;
  endpoint->own_connections -= 1;
  if (connection.isReady()) {
    const VersionLane& lane = endpoint->laneOf(connection);
    if (lane.ready_count < connectionLimit(*endpoint, lane)) {
      admit(*endpoint, connection);
    } else {
      connection.retire(connectionError(ErrorCode::idle_timeout, "there are connections enough"));
    }
  }
  serveOwn(*endpoint);
}

// -- which version of HTTP

void ConnectionPool::learnHttp1(Endpoint& endpoint) {
  PLAIT_RARE("a backend turns out to speak HTTP/1.1");
  endpoint.speaks_http1 = true;
  endpoint.h1.queue.spliceBack(endpoint.h2.queue);
}

bool ConnectionPool::doubtHttp1(Endpoint* endpoint, bool speaks_http2) {
  if (endpoint == nullptr || endpoint->options->protocol != BackendProtocol::probe) return false;
  if (!endpoint->speaks_http1) {
    // The connection was made for a tunnel, which this endpoint does not take.
    if (speaks_http2) {
      learnHttp2Only(*endpoint, backendError(ErrorCode::http_1_1_required, "the backend speaks HTTP/2 alone"));
    }
    return true;
  }
  endpoint->speaks_http1 = false;
  PLAIT_RARE("HTTP/1.1 was a wrong guess");
  List<RequestOp, &RequestOp::queue_node> stay;
  while (RequestOp* op = endpoint->h1.queue.popFront()) (op->needs_http_1_1 ? stay : endpoint->h2.queue).pushBack(*op);
  endpoint->h1.queue.spliceBack(stay);
  if (!endpoint->h2.queue.empty()) serve(*endpoint, endpoint->h2);
  return true;
}

// A backend that speaks HTTP/2 alone is not down: tunnels are asked for as requests without one (RFC 9110 §7.8).
void ConnectionPool::learnHttp2Only(Endpoint& endpoint, const Error& error) {
  PLAIT_RARE("a backend turns out to speak HTTP/2 alone");
  endpoint.refuses_http1 = true;
  List<RequestOp, &RequestOp::queue_node> others;
  while (RequestOp* op = endpoint.h1.queue.popFront()) {
    const bool is_tunnel = op->head != nullptr && !op->head->protocol.empty();
    if (is_tunnel) op->needs_http_1_1 = false;
    (is_tunnel ? endpoint.h2.queue : others).pushBack(*op);
  }
  while (RequestOp* op = others.popFront()) op->on_leased(*op, fail(error));
  if (!endpoint.h2.queue.empty()) serve(endpoint, endpoint.h2);
  tellStatesChanged();
}

bool ConnectionPool::waivesTunnel(RequestOp& op) {
  Endpoint* endpoint = endpoints_.find(op.endpoint);
  if (endpoint == nullptr || endpoint->options->protocol != BackendProtocol::probe || op.head->protocol.empty())
    return false;
  op.needs_http_1_1 = false;
  PLAIT_RARE("a tunnel is answered in HTTP/2");
  learnHttp2Only(*endpoint, backendError(ErrorCode::http_1_1_required, "the backend speaks HTTP/2 alone"));
  return true;
}

bool ConnectionPool::openTunnel() {
  if (tunnels_ >= std::max<size_t>(1, socks_.capacity() / 2)) return false;
  tunnels_ += 1;
  return true;
}

}  // namespace plait
