#include "plait/client/connection.h"

#include <algorithm>

#include "plait/base/rare.h"
#include "plait/client/pool.h"

namespace plait {

Connection::Connection(ConnectionPool& pool, Endpoint& endpoint, UltraSock& sock, bool is_http1)
    : pool_(pool),
      sock_(sock),
      endpoint_(&endpoint),
      endpoint_id_(endpoint.id),
      is_http1_(is_http1),
      timer_(this, [](void* self) { static_cast<Connection*>(self)->onTimer(); }),
      options_(endpoint.options),
      timeouts_(&pool.timeoutsOf(*options_)) {
  Io& io = pool.io();
  idle_since_ns_ = io.nowNs();
  idle_ms_ = timeouts().idle_ms;
  // A tenth more or less, so that connections that were opened together do not end together.
  const int64_t age_ms = timeouts().max_age_ms;
  const auto jitter_ms =
      static_cast<int64_t>(io.random().below(static_cast<uint32_t>(std::min<int64_t>(age_ms / 5 + 1, 1 << 30))));
  expires_ns_ = io.nowNs() + (age_ms - age_ms / 10 + jitter_ms) * ns_per_ms;
  sock.setOwner(this);
  armTimer(std::min(expires_ns_, io.nowNs() + std::min(timeouts().idle_ms, timeouts().shrink_ms) * ns_per_ms));
}

bool Connection::isStalled() const {
  return pool_.io().nowNs() - stalled_since_ns_ > 10 * ns_per_ms;
}

void Connection::reserve() {
  reserved_ += 1;
  if (lane_ != nullptr) lane_->used += 1;
}

void Connection::unreserve() {
  PLAIT_ASSERT(reserved_ != 0);
  reserved_ -= 1;
  if (lane_ != nullptr) lane_->used -= 1;
  if (reserved_ == 0 && released_waiter_) pool_.io().ready(std::exchange(released_waiter_, nullptr));
}

void Connection::setLimit(uint32_t streams) {
  limit_ = streams;
  if (lane_ != nullptr) pool_.recountCapacity(*endpoint_, *lane_);
}

bool Connection::isBreak(const Error& reason) {
  if (reason.isOwnShortage()) return false;
  return reason.code == ErrorCode::connection_lost || reason.code == ErrorCode::connection_stale ||
         reason.code == ErrorCode::stalled || reason.code == ErrorCode::protocol_error;
}

void Connection::retire(const Error& reason) {
  if (state_ == State::dead) return;
  state_ = State::dead;
  retired_because_ = reason;
  if (active_ != 0 && endpoint_ != nullptr && !isTunnel()) {
    counts_as_retired_ = true;
    endpoint_->retired_running += 1;
  }
  pool_.onRetired(*this);
  if (active_ == 0) endIdle();
}

void Connection::passOver() {
  if (!isReady()) return;
  is_passed_over_ = true;
  if (load() == 0) retire(connectionError(ErrorCode::idle_timeout, "fewer connections carry what there is"));
}

void Connection::drainBy(TimeNs deadline_ns) {
  drained_by_ns_ = std::min(drained_by_ns_, deadline_ns);
  armTimer(drained_by_ns_);
}

void Connection::abort(const Error& error) {
  sock_.abort(error);
  onBrokenOff();
}

void Connection::endIdle() {
  if (std::exchange(counts_as_retired_, false) && endpoint_ != nullptr) endpoint_->retired_running -= 1;
  if (has_run_ || (!sock_.isAborted() && sayEnd())) return;
  // This end cuts nothing off, and close_notify tells the backend that it is meant.
  if (!sock_.isAborted()) sock_.notifyOnClose();
  abort(retired_because_);
}

void Connection::breakOff(const Error& error) {
  retire(error);
  abort(error);
}

void Connection::streamStarted(RequestOp& op, UpstreamStream& stream) {
  active_ += 1;
  has_had_request_ = true;
  op.sent_ns = pool_.io().nowNs();
  if (endpoint_ == nullptr) return;
  bool is_nearly_full = false;
  if (lane_ != nullptr) {
    lane_->used += 1;
    is_nearly_full = lane_->used >= lane_->nearly_full;
  }
  endpoint_->in_flight += 1;
  if (endpoint_->is_compared) endpoint_->awaiting.pushBack(op);
  // Below three quarters nobody asks who holds how many.
  if (endpoint_->counts_shares || is_nearly_full) [[unlikely]]
    pool_.countShare(*endpoint_, stream);
}

void Connection::streamEnded(UpstreamStream& stream) {
  PLAIT_ASSERT(active_ != 0);
  active_ -= 1;
  if (endpoint_ != nullptr) {
    endpoint_->in_flight -= 1;
    if (lane_ != nullptr) lane_->used -= 1;
    if (stream.is_counted) [[unlikely]]
      pool_.uncountShare(*endpoint_, stream);
  }
  if (active_ == 0) {
    idle_since_ns_ = pool_.io().nowNs();
    if (!isReady()) return endIdle();
    if (is_own_ && reserved_ == 0) {
      // Refused, or given up by its client: as nothing else is known of the connection, nobody else gets it.
      PLAIT_RARE("a connection for a repetition has brought no answer");
      return retire(
          connectionError(ErrorCode::idle_timeout, "the repetition that the connection was made for is over"));
    }
    if (is_passed_over_ && reserved_ == 0) {
      PLAIT_RARE("a connection that was passed over is empty");
      return retire(connectionError(ErrorCode::idle_timeout, "fewer connections carry what there is"));
    }
    armTimer(idle_since_ns_ + idle_ms_ * ns_per_ms);
  }
  pool_.onRoom(*this);
}

void Connection::noteBroken(const Error& error) {
  if (endpoint_ != nullptr && !error.isOwnShortage()) endpoint_->broken_connections += 1;
}

void Connection::noteHeard() {
  if (endpoint_ != nullptr) endpoint_->heard_ns = pool_.io().nowNs();
}

void Connection::noteAnswered(const RequestOp& op, uint16_t status) {
  has_answered_any_ = true;
  if (endpoint_ != nullptr) {
    const TimeNs now_ns = pool_.io().nowNs();
    endpoint_->answered_ns = now_ns;
    endpoint_->failures = 0;
    if (endpoint_->state == EndpointState::trial && status < 500) endpoint_->trial_answered_ns = now_ns;
    if (endpoint_->is_compared) endpoint_->head_time.add(now_ns, now_ns - op.sent_ns);
  }
  if (is_own_) pool_.onOwnAnswered(*this);
}

void Connection::noteProven() {
  // One that has been retired meanwhile ends unproven.
  if (!is_proving_ || !isReady()) return;
  is_proving_ = false;
  pool_.onProven(*this);
}

void Connection::rearmTimer(TimeNs due_ns) {
  pool_.io().arm(timer_, due_ns);
}

void Connection::lookSoon() {
  is_starved_ = true;
  armTimer(pool_.io().nowNs() + 50 * ns_per_ms);
}

void Connection::onTimer() {
  const TimeNs now_ns = pool_.io().nowNs();
  if (drained_by_ns_ <= now_ns) {
    PLAIT_RARE("a dead connection does not come to its end");
    return abort(connectionError(ErrorCode::shutting_down, "the drain deadline has passed"));
  }
  if (isReady() && is_admitted_ && expires_ns_ <= now_ns)
    pool_.retireOrPassOver(*this, connectionError(ErrorCode::idle_timeout, "the connection has reached its age"));
  const bool is_left_over = is_own_ && !is_proving_;
  if (isReady() && (is_admitted_ || is_left_over) && load() == 0) {
    const TimeNs idle_until_ns = idle_since_ns_ + idle_ms_ * ns_per_ms;
    if (idle_until_ns <= now_ns)
      return retire(connectionError(ErrorCode::idle_timeout, "the connection was idle for too long"));
    armTimer(idle_until_ns);
  }
  if (isReady() && is_admitted_ && !is_passed_over_ && pool_.isSuperfluous(*this)) {
    PLAIT_RARE("a connection is superfluous");
    passOver();
  }
  if (sock_.isAborted()) return;
  if (isReady()) {
    armTimer(std::min(expires_ns_ > now_ns ? expires_ns_ : never_ns, now_ns + timeouts().shrink_ms * ns_per_ms));
  }
  armTimer(drained_by_ns_);
  if (std::exchange(is_starved_, false)) {
    if (sock_.unsent() != 0) {
      sock_.flushLater();
    } else {
      onOutputDrained();
    }
  }
  armTimer(checkStreams(now_ns));
}

Error Connection::errorFor(const Error& error, uint64_t start_position) const {
  if (sock_.offered() > start_position) return error;
  return connectionError(ErrorCode::never_sent, "the connection ended before the request left (RFC 9113 §8.7)",
                         error.detail);
}

}  // namespace plait
