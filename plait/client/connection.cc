#include "plait/client/connection.h"

#include <algorithm>

#include "plait/base/rare.h"
#include "plait/client/pool.h"

namespace plait {

Connection::Connection(ConnectionPool& pool, uint32_t backend_idx, UltraSock& sock)
    : pool_(pool), sock_(sock), backend_idx_(backend_idx), serial_(pool.nextSerial()), timer_(this, [](void* self) {
        static_cast<Connection*>(self)->onTimer();
      }) {
  Io& io = pool.io();
  idle_since_ns_ = io.nowNs();
  // A tenth more or less, so that connections that were opened together do not end together.
  const int64_t age_ms = pool.timeouts().max_age_ms;
  const auto jitter_ms =
      static_cast<int64_t>(io.random().below(static_cast<uint32_t>(std::min<int64_t>(age_ms / 5 + 1, 1 << 30))));
  expires_ns_ = io.nowNs() + (age_ms - age_ms / 10 + jitter_ms) * ns_per_ms;
  sock.setOwner(this);
  armTimer(
      std::min(expires_ns_, io.nowNs() + std::min(pool.timeouts().idle_ms, pool.timeouts().shrink_ms) * ns_per_ms));
}

void Connection::unreserve() {
  PLAIT_ASSERT(reserved_ != 0);
  reserved_ -= 1;
  if (reserved_ == 0 && released_waiter_) pool_.io().ready(std::exchange(released_waiter_, nullptr));
}

void Connection::retire(const Error& reason) {
  if (state_ == State::dead) return;
  state_ = State::dead;
  retired_because_ = reason;
  pool_.onRetired(*this);
  if (active_ == 0) return endIdle();
  drained_by_ns_ = pool_.io().nowNs() + pool_.timeouts().drain_ms * ns_per_ms;
  armTimer(drained_by_ns_);
}

void Connection::abort(const Error& error) {
  sock_.abort(error);
  onBrokenOff();
}

void Connection::endIdle() {
  if (has_run_) return;
  // Nothing is cut off by this end, and the backend hears that it is meant.
  if (!sock_.isAborted()) sock_.notifyOnClose();
  abort(retired_because_);
}

void Connection::breakOff(const Error& error) {
  retire(error);
  abort(error);
}

void Connection::streamEnded() {
  PLAIT_ASSERT(active_ != 0);
  active_ -= 1;
  if (active_ == 0) {
    idle_since_ns_ = pool_.io().nowNs();
    if (!isReady()) return endIdle();
    armTimer(idle_since_ns_ + pool_.timeouts().idle_ms * ns_per_ms);
  }
  pool_.onRoom(*this);
}

void Connection::armTimer(TimeNs due_ns) {
  if (due_ns != never_ns && (!timer_.isArmed() || due_ns < timer_.due())) pool_.io().arm(timer_, due_ns);
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
  if (isReady() && expires_ns_ <= now_ns)
    retire(connectionError(ErrorCode::idle_timeout, "the connection has reached its age"));
  if (isReady() && load() == 0) {
    const TimeNs idle_until_ns = idle_since_ns_ + pool_.timeouts().idle_ms * ns_per_ms;
    if (idle_until_ns <= now_ns)
      return retire(connectionError(ErrorCode::idle_timeout, "the connection was idle for too long"));
    armTimer(idle_until_ns);
  }
  if (isReady() && pool_.isSuperfluous(*this)) {
    PLAIT_RARE("a connection is superfluous");
    retire(connectionError(ErrorCode::idle_timeout, "fewer connections carry what there is"));
  }
  if (sock_.isAborted()) return;
  if (isReady()) armTimer(std::min(expires_ns_, now_ns + pool_.timeouts().shrink_ms * ns_per_ms));
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
