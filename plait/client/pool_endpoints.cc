// The pool's endpoints: their states, their trials, and who holds how many of their streams.
#include "plait/base/alloc_guard.h"
#include "plait/base/rare.h"
#include "plait/client/pool.h"

namespace plait {
namespace {

// RFC 9113 §6.5.2 recommends no peer to allow fewer.
constexpr uint32_t streams_before_settings = 100;

}  // namespace

Result<EndpointId> ConnectionPool::add(std::shared_ptr<const BackendOptions> held) {
  const BackendOptions& options = *held;
  Endpoint* endpoint = endpoints_.add(std::move(held), [](void* self) {
    auto* due = static_cast<Endpoint*>(self);
    due->pool->startTrial(*due);
  });
  if (endpoint == nullptr) {
    return fail(backendError(ErrorCode::no_memory, "every place for an endpoint is taken (limits.endpoints)"));
  }
  endpoint->pool = this;
  endpoint->since_ns = io_.nowNs();
  endpoint->remembered_streams = streams_before_settings;
  recountCapacity(*endpoint, endpoint->h2);
  recountCapacity(*endpoint, endpoint->h1);
  if (options.starts_down) {
    endpoint->failures = 1;
    endpoint->not_before_ns = io_.nowNs() + timeoutsOf(options).backoff_min_ms * ns_per_ms;
    goDown(*endpoint, backendError(ErrorCode::resolve_failed, "the backend's name cannot be resolved"));
  }
  return endpoint->id;
}

Result<EndpointId> ConnectionPool::addFromAnyThread(BackendOptions options) {
  PLAIT_ASSERT(orders_ != nullptr);
  return orders_->add(std::make_shared<const BackendOptions>(std::move(options)));
}

Status ConnectionPool::removeFromAnyThread(EndpointId id) {
  PLAIT_ASSERT(orders_ != nullptr);
  return orders_->remove(id);
}

void ConnectionPool::takeOrders(Mailbox& mailbox) {
  orders_ = std::make_unique<EndpointOrders>(*this, io_, mailbox);
}

void ConnectionPool::update(EndpointId id, std::shared_ptr<const BackendOptions> options) {
  Endpoint* endpoint = endpoints_.find(id);
  if (endpoint == nullptr || endpoint->options == options) return;
  PLAIT_RARE("an endpoint has other settings");
  endpoint->options = std::move(options);
  recountCapacity(*endpoint, endpoint->h2);
  recountCapacity(*endpoint, endpoint->h1);
  tellRoomChanged();
}

bool ConnectionPool::remove(EndpointId id) {
  Endpoint* endpoint = endpoints_.find(id);
  if (endpoint == nullptr) return false;
  const Error gone = backendError(ErrorCode::invalid_argument, "the backend has been taken out of the configuration");
  stopCountingShares(*endpoint);
  endpoint->trial_timer.cancel();
  endpoint->borrowers += 1;  // until all that follows is done
  become(*endpoint, EndpointState::leaving, gone);
  failQueue(endpoint->h2.queue, gone);
  failQueue(endpoint->h1.queue, gone);
  failQueue(endpoint->own_queue, gone);
  while (RequestOp* op = endpoint->awaiting.front()) op->awaiting_node.unlink();
  Connection* next = nullptr;
  for (Connection* connection = all_.front(); connection != nullptr; connection = next) {
    next = all_.next(*connection);
    if (connection->endpoint_ != endpoint) continue;
    connection->retire(connectionError(ErrorCode::shutting_down, "its backend has gone"));
    // From here on the connection needs its endpoint no more.
    connection->endpoint_ = nullptr;
  }
  endBorrowing(*endpoint);
  return true;
}

void ConnectionPool::endBorrowing(Endpoint& endpoint) {
  endpoint.borrowers -= 1;
  if (endpoint.state != EndpointState::leaving || endpoint.borrowers != 0) return;
  // Where nobody else holds its names they are given back here: they were allocated when it was added.
  const AllocGuard::Pause pause;
  endpoints_.remove(endpoint);
}

void ConnectionPool::become(Endpoint& endpoint, EndpointState state, const Error& cause) {
  if (endpoint.state == state) return;
  endpoint.state = state;
  endpoint.cause = cause;
  endpoint.since_ns = io_.nowNs();
  // The process that answers now may be another one: how slow the last one was says nothing about it.
  if (state == EndpointState::up) endpoint.head_time = {};
  counters_.state_changes[static_cast<size_t>(state)] += 1;
  if (observer_ != nullptr && !closing_) observer_->onEndpointState(endpoint.id, state, cause);
  tellStatesChanged();
}

void ConnectionPool::tellStatesChanged() {
  for (RoomListener* listener = room_listeners_.front(); listener != nullptr;
       listener = room_listeners_.next(*listener)) {
    listener->onStatesChanged();
  }
}

void ConnectionPool::tellWaiting() {
  for (RoomListener* listener = waiting_listeners_.front(); listener != nullptr;
       listener = waiting_listeners_.next(*listener)) {
    listener->onRoomChanged();
  }
}

void ConnectionPool::goDown(Endpoint& endpoint, const Error& cause) {
  const bool was_trial = endpoint.state == EndpointState::trial;
  endpoint.wants_request = false;
  // An ejected endpoint that cannot be reached either stays ejected: it has yet to pass a trial request.
  become(endpoint, endpoint.left_by_answers ? EndpointState::ejected : EndpointState::down, cause);
  armTrial(endpoint, endpoint.not_before_ns);
  // Repetitions have waited for that trial.
  if (was_trial && endpoint.own_dialling == 0) failQueue(endpoint.own_queue, cause);
  tellStatesChanged();
}

void ConnectionPool::eject(EndpointId id, const Error& cause, int64_t for_ms) {
  Endpoint* endpoint = endpoints_.find(id);
  if (endpoint == nullptr || endpoint->state == EndpointState::down) return;
  endpoint->left_by_answers = true;
  endpoint->wants_request = false;
  become(*endpoint, EndpointState::ejected, cause);
  armTrial(*endpoint, io_.nowNs() + for_ms * ns_per_ms);
}

void ConnectionPool::endTrial(EndpointId id) {
  Endpoint* endpoint = endpoints_.find(id);
  if (endpoint == nullptr || endpoint->state != EndpointState::trial) return;
  endpoint->left_by_answers = endpoint->wants_request = false;
  if (std::exchange(endpoint->is_guess, false)) endpoint->has_spoken_http2 = false;
  become(*endpoint, EndpointState::up, {});
}

void ConnectionPool::rejectGuess(EndpointId id, const Error& cause) {
  Endpoint* endpoint = endpoints_.find(id);
  if (endpoint == nullptr || !std::exchange(endpoint->is_guess, false)) return;
  PLAIT_RARE("a backend that was taken for one of HTTP/1.1 does not answer");
  endpoint->left_by_answers = endpoint->speaks_http1 = false;
  backOff(*endpoint);
  goDown(*endpoint, cause);
}

void ConnectionPool::armTrial(Endpoint& endpoint, TimeNs due_ns) {
  if (!closing_) io_.arm(endpoint.trial_timer, due_ns);
}

// A trial is a connection on nobody's behalf first, and then, where the endpoint was ejected, one real request.
void ConnectionPool::startTrial(Endpoint& endpoint) {
  if (closing_ || (endpoint.state != EndpointState::down && endpoint.state != EndpointState::ejected)) return;
  VersionLane& lane = endpoint.laneFor(false);
  if (lane.dialling != 0 || !hasPlace(endpoint)) {
    PLAIT_RARE("a trial waits for a place");
    return armTrial(endpoint, io_.nowNs() + starved_dial_ms * ns_per_ms);
  }
  if (!startDial(endpoint, lane, DialFor::trial)) return armTrial(endpoint, io_.nowNs() + starved_dial_ms * ns_per_ms);
  PLAIT_RARE("an endpoint is tried");
  counters_.trials += 1;
  endpoint.trial_answered_ns = never_ns;
  become(endpoint, EndpointState::trial, endpoint.cause);
}

// -- shares

void ConnectionPool::countShare(Endpoint& endpoint, UpstreamStream& stream) {
  if (stream.client.connection == 0) return;
  if (endpoint.counts_shares) {
    stream.is_counted = true;
    return shares_.add(endpoint.id.index, stream.client, endpoint.addresses);
  }
  PLAIT_RARE("shares begin to count");
  endpoint.counts_shares = true;
  for (Connection* connection = all_.front(); connection != nullptr; connection = all_.next(*connection)) {
    if (connection->endpoint_ != &endpoint) continue;
    connection->forEachStream(
        [](void* context, UpstreamStream& counted) {
          auto* its = static_cast<Endpoint*>(context);
          if (counted.client.connection != 0 && !counted.is_counted) its->pool->countShare(*its, counted);
        },
        &endpoint);
  }
}

void ConnectionPool::uncountShare(Endpoint& endpoint, UpstreamStream& stream) {
  if (!std::exchange(stream.is_counted, false)) return;
  shares_.remove(endpoint.id.index, stream.client, endpoint.addresses);
  // With so few the counting is not worth its cost. One that fills and drains again and again goes on counting: to
  // begin anew costs as much as all that it saves.
  if (endpoint.h2.used * 4 < endpoint.h2.capacity && endpoint.h1.used * 4 < endpoint.h1.capacity)
    stopCountingShares(endpoint);
}

void ConnectionPool::stopCountingShares(Endpoint& endpoint) {
  if (!std::exchange(endpoint.counts_shares, false)) return;
  for (Connection* connection = all_.front(); connection != nullptr; connection = all_.next(*connection)) {
    if (connection->endpoint_ != &endpoint) continue;
    connection->forEachStream(
        [](void* context, UpstreamStream& counted) {
          auto* its = static_cast<Endpoint*>(context);
          if (std::exchange(counted.is_counted, false))
            its->pool->shares_.remove(its->id.index, counted.client, its->addresses);
        },
        &endpoint);
  }
}

}  // namespace plait
