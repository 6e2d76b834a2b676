#include "plait/proxy/failover.h"

#include "plait/base/rare.h"
#include "plait/http/field_rules.h"

namespace plait {
namespace {

// The meaning of an outcome for the endpoint's health. Cancellations and one client's own doing mean nothing.
Seen seenOf(const ProxyRequest& request, const Result<Outcome>& outcome, bool answered_others) {
  if (outcome) {
    switch (outcome->status) {
      case 500:
        return Seen::server_error;
      case 502:
      case 503:
      case 504:
        return Seen::bad_gateway;
      default:
        return Seen::good;
    }
  }
  const Error& error = outcome.error();
  if (request.isCancelled() || error.isOwnShortage()) return Seen::neutral;
  switch (error.code) {
    case ErrorCode::connection_lost:
    case ErrorCode::stalled:
    case ErrorCode::protocol_error:
      return error.reach == Reach::connection ? Seen::broken : Seen::neutral;
    case ErrorCode::stream_reset:
    case ErrorCode::malformed_message:
    case ErrorCode::ejected:
      return Seen::bad_gateway;
    case ErrorCode::refused_stream:
    case ErrorCode::goaway_unprocessed:
      return Seen::refused;
    case ErrorCode::deadline_exceeded:
      return request.exchange.isHeadSent() || answered_others ? Seen::neutral : Seen::late;
    default:
      return Seen::neutral;
  }
}

// Whether the request may go on to another try; counts it. An endpoint that could not be reached, and one on trial,
// have rules of their own; the others are the pool's.
bool mayGoOn(ProxyRequest& request, const Error& error, ConnectionPool& pool) {
  if (request.exchange.isHeadSent() || request.isCancelled() || !request.canReplay()) return false;
  Attempts& attempts = request.attempts;
  // The endpoint could not be reached: nothing of the request has gone there. One that answers wrongly and is the only
  // one would do so again.
  if (error.reach == Reach::backend) {
    if (error.code == ErrorCode::protocol_error && !attempts.elsewhere) return false;
    // A connection of its own is dialled for this request alone, and not without end.
    return !request.needs_own || attempts.retries++ < pool.mostRetries(attempts);
  }
  // A response that is too large would be so again, also from another endpoint.
  if (error.code == ErrorCode::message_too_large) return false;
  const Verdict allowed = verdictOn(error, request.head.method);
  if (request.choice.is_trial && allowed != Verdict::unprocessed && http::isIdempotent(request.head.method) &&
      !attempts.has_used_unknown) {
    PLAIT_RARE("a trial request is repeated");
    pool.noteTrialRepeated(attempts);
    if (allowed == Verdict::unknown) attempts.travels_alone = true;
    return true;
  }
  return pool.mayRepeat(attempts, error, request.head, request.body()) != Verdict::final;
}

}  // namespace

// Of the route, else of the cluster.
int64_t Failover::headMs() const {
  if (request_.policy && request_.policy->response_head_ms != 0) return request_.policy->response_head_ms;
  return cluster_.hasLeft() ? 0 : cluster_.spec()->response_head_ms;
}

bool Failover::choose() {
  if (std::exchange(must_wait_, false)) return false;
  const Choice choice = cluster_.choose(request_.wish, spot_.isWaiting());
  const EndpointId id = choice.endpoint;
  if (id.isNone()) return false;
  request_.choice = choice;
  spot_.leave();
  waits_.leave();
  request_.attempts.begun_ns = begun_ns_ = io_.nowNs();
  const int64_t head_ms = headMs();
  request_.options.head_timeout_ms = choice.is_trial ? std::min(head_ms, cluster_.trialHeadMs()) : head_ms;
  // The pool does not repeat a trial, nor anything that another endpoint could take.
  request_.attempts.elsewhere = choice.is_trial || cluster_.hasOther(request_.wish, id);
  request_.attempts.elsewhere_again = request_.wish.tried.count() != 0 && cluster_.hasOtherAtAll(request_.wish, id);
  request_.needs_http_1_1 = request_.wish.is_tunnel && cluster_.pool().find(id)->takesTunnels();
  request_.needs_own = request_.attempts.travels_alone;
  if (!chooseAuthority(request_, store_.current().authorities[id.number])) {
    outcome_ = fail(streamError(ErrorCode::no_memory, "no memory is left for the request's fields"));
    end();
    return false;
  }
  return true;
}

void Failover::judge(const Result<Outcome>& outcome) {
  ConnectionPool& pool = cluster_.pool();
  const EndpointId id = request_.choice.endpoint;
  // The only endpoint is not asked for room before it is tried: that it has none was no try.
  const bool is_full = !outcome && outcome.error().code == ErrorCode::pool_exhausted;
  if (is_full && !request_.attempts.travels_alone && !request_.exchange.isHeadSent()) {
    must_wait_ = true;
    return;
  }
  outcome_ = outcome;
  const Endpoint* endpoint = pool.find(id);
  const bool answered_others = endpoint != nullptr && endpoint->answered_ns > begun_ns_;
  cluster_.onOutcome(request_.choice, seenOf(request_, outcome, answered_others), outcome && outcome->is_overloaded,
                     request_.options.claim.client);
  if (outcome) return end();
  request_.cause_after_ns = io_.nowNs() - request_.attempts.begun_ns;
  bool has_other = cluster_.hasOther(request_.wish, id);
  if (!has_other && request_.attempts.elsewhere_again && isInDoubt(verdictOn(outcome.error(), request_.head.method))) {
    PLAIT_RARE("a request goes back to an endpoint that has refused it");
    request_.wish.tried.clear();
    has_other = cluster_.hasOther(request_.wish, id);
  }
  // A repetition that travels alone has waited at the endpoint itself.
  if (is_full && !has_other) return end();
  request_.attempts.elsewhere = has_other;
  if (!mayGoOn(request_, outcome.error(), pool) || request_.wish.tried.count() == Tried::most) return end();
  PLAIT_RARE("a request goes on to another try");
  // An endpoint that cannot be reached does not lengthen the wait for one that can.
  if (outcome.error().reach != Reach::backend) give_up_ns_ = never_ns;
  request_.wish.tried.add(id);
  request_.wish.is_repeated = true;
  if (request_.body() != nullptr) request_.body()->rewind();
  // The last endpoint that was left could not be reached: the request waits before it asks there again.
  must_wait_ = !has_other && outcome.error().reach == Reach::backend;
}

Cluster::WaitAwaiter Failover::room() {
  if (give_up_ns_ == never_ns && !cluster_.hasLeft()) give_up_ns_ = io_.nowNs() + cluster_.spec()->queue_ms * ns_per_ms;
  if (!cluster_.hasLeft() && cluster_.spec()->most_waiting && !waits_.isEntered() && !cluster_.isRoomToCome(spot_) &&
      !waits_.enter(cluster_.spec()->identity->waiting, *cluster_.spec()->most_waiting)) {
    PLAIT_RARE("a cluster lets no more requests wait");
    is_line_full_ = true;
    give_up_ns_ = io_.nowNs();
  }
  return cluster_.wait(spot_, give_up_ns_, request_.options.cancel, io_);
}

void Failover::waited(const Status& room) {
  if (room) return;
  // An error of an endpoint says more than that no other endpoint was to be had.
  if (outcome_.error().code == ErrorCode::none) {
    const bool is_refused = is_line_full_ && room.error().code == ErrorCode::pool_exhausted;
    outcome_ = fail(is_refused ? backendError(ErrorCode::pool_exhausted,
                                              "no backend has room, and as many requests wait as the cluster's "
                                              "limits.queue allows")
                               : room.error());
    request_.cause_after_ns = io_.nowNs() - request_.exchange.startedNs();
  }
  end();
}

}  // namespace plait
