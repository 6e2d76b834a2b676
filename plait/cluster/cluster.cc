#include "plait/cluster/cluster.h"

#include <algorithm>

#include "plait/base/rare.h"

namespace plait {
namespace {

// Shorter times to a head are taken for equal: requests in flight decide.
constexpr int64_t least_head_ns = ns_per_ms;

constexpr int64_t least_silence_ns = 250 * ns_per_ms;
constexpr int64_t measure_every_ns = 128 * ns_per_ms;
constexpr int64_t look_every_ns = 250 * ns_per_ms;
// A trial that has waited so long for a request that could be repeated takes any. A trial's response that has run so
// long after a good head is good.
constexpr int64_t trial_patience_ns = ns_per_s;
// An ejection within `forgiven_ns` of the one before lasts twice as long, up to 32 times.
constexpr uint32_t most_doublings = 5;
constexpr int64_t forgiven_ns = 300 * ns_per_s;
// The most endpoints with room that are gathered before two of them are drawn.
constexpr size_t most_candidates = 64;

}  // namespace

Cluster::Cluster(ConnectionPool& pool, std::span<ClusterMember> all, Io& io)
    : pool_(pool), io_(io), all_(all), look_timer_(this, onLook), budget_(pool.makeRetryBudget()) {
  pool.addRoomListener(*this);
}

Cluster::~Cluster() {
  PLAIT_ASSERT(line_.empty() && users_ == 0);
  look_timer_.cancel();
  pool_.removeRoomListener(*this);
}

void Cluster::configure(const ClusterSpec& spec, ClusterMembers members) {
  spec_ = &spec;
  members_ = members;
  is_alone_ = members.size() == 1;
  uint32_t at = 0;
  for (Member& member : members_) {
    member.at = at++;
    // Figures of one that is alone are compared with nobody's, and not kept.
    if (Endpoint* endpoint = pool_.find(member.id)) endpoint->is_compared = !is_alone_;
  }
  onStatesChanged();
}

void Cluster::leave() {
  PLAIT_RARE("a cluster leaves");
  spec_ = nullptr;
  members_ = {};
  is_alone_ = false;
  only_ = {};
  onStatesChanged();
}

Cluster::Member* Cluster::find(EndpointId id) {
  if (id.index >= all_.size()) return nullptr;
  Member& member = all_[id.index];
  return member.id == id && member.at < members_.size() && &members_[member.at] == &member ? &member : nullptr;
}

void Cluster::recount() {
  states_changed_ = false;
  uint32_t known = 0;
  up_ = ejected_ = trials_wanted_ = trials_running_ = tunnels_up_ = 0;
  takes_tunnels_ = false;
  for (Member& member : members_) {
    const Endpoint* endpoint = pool_.find(member.id);
    if (endpoint == nullptr) continue;
    known += 1;
    const bool is_up = endpoint->state == EndpointState::up;
    // An endpoint that has come back carries no penalty for what it did before.
    if (is_up && !member.was_up) member.outlier.reset();
    member.was_up = is_up;
    if (is_up) {
      up_ += 1;
      tunnels_up_ += endpoint->takesTunnels() ? 1 : 0;
    }
    if (endpoint->left_by_answers) ejected_ += 1;
    if (endpoint->wants_request) trials_wanted_ += 1;
    if (endpoint->isTrialRunning()) trials_running_ += 1;
    takes_tunnels_ = takes_tunnels_ || endpoint->takesTunnels();
  }
  only_ = is_alone_ && up_ == 1 ? members_[0].id : EndpointId();
  const bool is_panic = up_ * 2 < known && ejected_ != 0;
  if (is_panic == is_panic_) return;
  is_panic_ = is_panic;
  if (is_panic) {
    PLAIT_RARE("ejected endpoints are used all the same");
    counters_.panics += 1;
  }
  if (observer_ != nullptr) observer_->onPanic(is_panic);
}

bool Cluster::isUsable(const Endpoint& endpoint, const Wish& wish) const {
  if (endpoint.state == EndpointState::up) return true;
  // Ejected endpoints are better than too few: fewer than half of all, or none that takes a tunnel.
  const bool are_few = is_panic_ || (wish.is_tunnel && tunnels_up_ == 0 && endpoint.takesTunnels());
  return are_few && endpoint.left_by_answers;
}

bool Cluster::takes(const Endpoint& endpoint, const Wish& wish) const {
  // Where none takes a tunnel, the request is one without (RFC 9110 §7.8).
  return !wish.is_tunnel || !takes_tunnels_ || endpoint.takesTunnels();
}

bool Cluster::needsHttp1(const Endpoint& endpoint, const Wish& wish) const {
  return wish.is_tunnel && endpoint.takesTunnels();
}

bool Cluster::hasRoom(Endpoint& endpoint, const Wish& wish) {
  return pool_.hasRoom(endpoint, needsHttp1(endpoint, wish), *wish.claim);
}

// The endpoint has owed a head for long, and has sent no byte meanwhile.
bool Cluster::isSilent(Endpoint& endpoint) const {
  const TimeNs since_ns = endpoint.silentSince();
  return since_ns != never_ns && io_.nowNs() - since_ns > std::max(least_silence_ns, 10 * siblings_ns_);
}

int64_t Cluster::score(size_t n) const {
  const Endpoint* endpoint = pool_.find(members_[n].id);
  if (endpoint == nullptr) return 0;
  // Nothing changes by a look.
  HeadTime head_time = endpoint->head_time;
  return scoreOf(members_[n], *endpoint, head_time);
}

int64_t Cluster::scoreOf(const Member& member, const Endpoint& endpoint, HeadTime& head_time) const {
  const TimeNs now_ns = io_.nowNs();
  int64_t head_ns = std::max(least_head_ns, head_time.average(now_ns, siblings_ns_));
  if (const RequestOp* oldest = endpoint.awaiting.front()) head_ns = std::max(head_ns, now_ns - oldest->sent_ns);
  return (endpoint.in_flight + 1) * (head_ns / 1000) * member.outlier.penalty(now_ns);
}

// Takes the median of up to 15 endpoints, which is enough to tell a slow one from its siblings.
void Cluster::measureSiblings() {
  if (io_.nowNs() - measured_ns_ < measure_every_ns && measured_ns_ != 0) return;
  measured_ns_ = io_.nowNs();
  std::array<int64_t, 15> times;
  size_t count = 0;
  const size_t start = io_.random().below(static_cast<uint32_t>(members_.size()));
  for (size_t i = 0; i < members_.size() && count < times.size(); ++i) {
    Endpoint* endpoint = pool_.find(members_[(start + i) % members_.size()].id);
    if (endpoint == nullptr || endpoint->state != EndpointState::up || !endpoint->head_time.isMeasured()) continue;
    times[count++] = endpoint->head_time.average(io_.nowNs(), siblings_ns_);
  }
  if (count == 0) return;
  const auto middle = times.begin() + static_cast<ptrdiff_t>((count - 1) / 2);
  std::nth_element(times.begin(), middle, times.begin() + static_cast<ptrdiff_t>(count));
  siblings_ns_ = *middle;
}

Choice Cluster::chooseWithCare(const Wish& wish, bool is_waiting) {
  if (states_changed_) recount();
  // First come, first served: room for those who wait, woken or about to be, is not a newcomer's.
  if (!is_waiting && waiting_ != 0 && (woken_ != 0 || is_look_due_)) return {};
  if (is_alone_ && trials_wanted_ == 0) return canServeAlone(wish, waiting_ != 0) ? Choice{members_[0].id} : Choice{};
  if (trials_wanted_ != 0) {
    if (const Choice trial = chooseTrial(wish); !trial.endpoint.isNone()) return trial;
  }
  if (trials_running_ != 0) endTrialsThatRun();
  if (members_.size() == 0) return {};
  measureSiblings();
  Choice choice = chooseAmong(wish, false);
  if (choice.endpoint.isNone()) choice = chooseAmong(wish, true);
  return choice;
}

// One real request shows whether an ejected endpoint is well again.
Choice Cluster::chooseTrial(const Wish& wish) {
  if (wish.is_repeated) return {};
  for (const Member& member : members_) {
    Endpoint* endpoint = pool_.find(member.id);
    if (endpoint == nullptr || !endpoint->wants_request || endpoint->state != EndpointState::trial) continue;
    if (!takes(*endpoint, wish)) continue;
    if (!wish.suits_trial && io_.nowNs() - endpoint->since_ns < trial_patience_ns) continue;
    if (!hasRoom(*endpoint, wish)) {
      (void)pool_.dialAside(*endpoint, needsHttp1(*endpoint, wish), false);
      continue;
    }
    PLAIT_RARE("a request is a trial");
    endpoint->wants_request = false;
    endpoint->trial_answered_ns = never_ns;
    trials_wanted_ -= 1;
    trials_running_ += 1;
    counters_.trial_requests += 1;
    return {endpoint->id, true};
  }
  return {};
}

// A response that has begun well and runs for a while, as of a stream of events, is good enough.
void Cluster::endTrialsThatRun() {
  for (Member& member : members_) {
    const Endpoint* endpoint = pool_.find(member.id);
    if (endpoint == nullptr || !endpoint->isTrialRunning() || endpoint->trial_answered_ns == never_ns) continue;
    if (io_.nowNs() - endpoint->trial_answered_ns < trial_patience_ns) continue;
    PLAIT_RARE("a trial is over before its response is");
    member.outlier.reset();
    pool_.endTrial(member.id);
  }
}

// `with_silent`: silent endpoints are taken as well, and where no other can be used those that the request has tried.
Choice Cluster::chooseAmong(const Wish& wish, bool with_silent) {
  const auto count = static_cast<uint32_t>(members_.size());
  const bool may_repeat = with_silent && wish.tried.count() != 0 && !hasOther(wish, {});
  const uint32_t start = count == 1 ? 0 : io_.random().below(count);
  std::array<uint32_t, most_candidates> candidates;
  uint32_t found = 0;
  Endpoint* unconnected = nullptr;
  for (uint32_t i = 0; i < count && found < most_candidates; ++i) {
    const uint32_t at = start + i < count ? start + i : start + i - count;
    Endpoint* endpoint = pool_.find(members_[at].id);
    if (endpoint == nullptr || !isUsable(*endpoint, wish) || !takes(*endpoint, wish)) continue;
    if (wish.tried.has(endpoint->id) && !may_repeat) continue;
    if (!with_silent && isSilent(*endpoint)) continue;
    if (hasRoom(*endpoint, wish)) {
      candidates[found++] = at;
      // Of very many endpoints eight from a random start on are choice enough.
      if (count > most_candidates && found >= 8) break;
    } else if (unconnected == nullptr) {
      const VersionLane& lane = endpoint->laneFor(needsHttp1(*endpoint, wish));
      if (lane.dialling == 0 && (lane.ready_count == 0 || lane.is_http1)) unconnected = endpoint;
    }
  }
  if (found == 0) return {};
  uint32_t best = candidates[0];
  if (found > 1) {
    const uint32_t first = io_.random().below(found);
    const uint32_t second = (first + 1 + (found == 2 ? 0 : io_.random().below(found - 1))) % found;
    Endpoint* one = pool_.find(members_[candidates[first]].id);
    Endpoint* other = pool_.find(members_[candidates[second]].id);
    best = scoreOf(members_[candidates[second]], *other, other->head_time) <
                   scoreOf(members_[candidates[first]], *one, one->head_time)
               ? candidates[second]
               : candidates[first];
  }
  // An endpoint without a connection is dialled aside, and the request takes a free one: the other may be better next
  // time.
  if (unconnected != nullptr) {
    const Endpoint* chosen = pool_.find(members_[best].id);
    if (unconnected->readyConnections() == 0 || unconnected->in_flight < chosen->in_flight)
      (void)pool_.dialAside(*unconnected, needsHttp1(*unconnected, wish), false);
  }
  return {members_[best].id};
}

bool Cluster::hasOtherUsable(const Wish& wish, EndpointId but, const Tried& tried) {
  if (states_changed_) recount();
  for (const Member& member : members_) {
    if (member.id == but || tried.has(member.id)) continue;
    const Endpoint* endpoint = pool_.find(member.id);
    if (endpoint != nullptr && isUsable(*endpoint, wish) && takes(*endpoint, wish)) return true;
  }
  return false;
}

// -- outcomes

void Cluster::onOutcome(const Choice& choice, Seen seen, bool is_overloaded, const ClientKey& client) {
  if (is_alone_) return;  // never ejected
  Member* member = find(choice.endpoint);
  Endpoint* endpoint = pool_.find(choice.endpoint);
  if (member == nullptr || endpoint == nullptr) return;
  const TimeNs now_ns = io_.nowNs();
  if (choice.is_trial && endpoint->state == EndpointState::trial) {
    if (seen == Seen::neutral || seen == Seen::refused) {
      // The client left, or was wrong itself: that shows nothing.
      endpoint->wants_request = true;
      states_changed_ = true;
      return;
    }
    if (seen == Seen::good) {
      member->outlier.reset();
      return pool_.endTrial(choice.endpoint);
    }
    if (endpoint->is_guess) return pool_.rejectGuess(choice.endpoint, endpoint->cause);
    if (!ejectIfAllowed(*member, endpoint->cause)) pool_.endTrial(choice.endpoint);
    return;
  }
  Siblings500 siblings;
  if (seen == Seen::server_error) {
    for (const Member& other : members_) {
      if (other.id != choice.endpoint) siblings.add(other.outlier, now_ns);
    }
  }
  if (is_overloaded) member->outlier.noteOverload(now_ns);
  // One connection that breaks is one strike, however many requests it carried.
  uint32_t strikes = 1;
  if (seen == Seen::broken)
    strikes = endpoint->broken_connections - std::exchange(member->broken_seen, endpoint->broken_connections);
  const bool has_to_go =
      member->outlier.note(seen, client, now_ns, spec_->outliers.failures, siblings.percent(), strikes);
  if (!has_to_go || endpoint->state != EndpointState::up) return;
  const char* reason = seen == Seen::broken         ? "its connections break"
                       : seen == Seen::late         ? "it does not answer in time"
                       : seen == Seen::server_error ? "it answers with 500, and its siblings do not"
                                                    : "it answers with 502, 503 or 504";
  (void)ejectIfAllowed(*member, backendError(ErrorCode::ejected, reason));
}

bool Cluster::ejectIfAllowed(Member& member, const Error& cause) {
  if (states_changed_) recount();
  const Endpoint* endpoint = pool_.find(member.id);
  const uint32_t ejected = ejected_ + (endpoint->left_by_answers ? 0 : 1);
  if (ejected * 100 > members_.size() * spec_->outliers.max_percent) {
    PLAIT_RARE("too many are ejected already");
    return false;
  }
  const TimeNs now_ns = io_.nowNs();
  if (now_ns - member.ejected_ns > forgiven_ns) member.ejections = 0;
  const int64_t base_ms = spec_->outliers.eject_ms << std::min(member.ejections, most_doublings);
  // A fifth more or less, so that many workers do not try at once.
  const int64_t for_ms = base_ms - base_ms / 5 + io_.random().below(static_cast<uint32_t>(base_ms * 2 / 5 + 1));
  member.ejections += 1;
  member.ejected_ns = now_ns;
  member.outlier.reset();
  counters_.ejections += 1;
  PLAIT_RARE("an endpoint is ejected");
  pool_.eject(member.id, cause, for_ms);
  return true;
}

int64_t Cluster::trialHeadMs() const {
  return std::max<int64_t>(1000, 10 * siblings_ns_ / ns_per_ms);
}

Error Cluster::whyNone(const Wish& wish) {
  if (hasLeft()) return backendError(ErrorCode::shutting_down, "the cluster has been taken out of the configuration");
  for (const Member& member : members_) {
    Endpoint* endpoint = pool_.find(member.id);
    if (endpoint == nullptr) continue;
    const bool has_failed = endpoint->readyConnections() == 0 && endpoint->cause.code != ErrorCode::none;
    if (endpoint->state == EndpointState::up && !has_failed) {
      return backendError(ErrorCode::pool_exhausted, pool_.whatIsShort(*endpoint, needsHttp1(*endpoint, wish)));
    }
    if (endpoint->cause.code != ErrorCode::none) return endpoint->cause;
  }
  return backendError(ErrorCode::connect_failed, "there is no backend");
}

bool Cluster::isHopeless() {
  if (states_changed_) recount();
  if (up_ != 0) return false;
  if (members_.size() == 0) return true;
  for (const Member& member : members_) {
    const Endpoint* endpoint = pool_.find(member.id);
    if (endpoint == nullptr) continue;
    const bool is_lasting = endpoint->cause.code == ErrorCode::tls_failed ||
                            (endpoint->cause.code == ErrorCode::protocol_error && endpoint->is_foreign);
    if (endpoint->readyConnections() != 0 || !is_lasting ||
        (endpoint->state != EndpointState::down && endpoint->state != EndpointState::trial))
      return false;
  }
  return true;
}

// -- the line

void Cluster::Spot::leaveLine() {
  node_.unlink();
  cluster_.waiting_ -= 1;
  if (wish_.is_tunnel) cluster_.tunnels_waiting_ -= 1;
  if (std::exchange(is_woken_, false)) cluster_.woken_ -= 1;
  if (cluster_.waiting_ == 0) {
    cluster_.pool_.endWaiting(cluster_);
    cluster_.look_timer_.cancel();
  } else {
    // There may be room for the next one too.
    cluster_.onRoomChanged();
  }
}

Cluster::WaitAwaiter::WaitAwaiter(Cluster& cluster, Spot& spot, TimeNs until_ns, CancelToken* cancel, Io& io)
    : cluster_(cluster), spot_(spot), until_ns_(until_ns), cancel_(cancel), io_(io), timer_(this, onTimer) {}

bool Cluster::WaitAwaiter::await_suspend(std::coroutine_handle<> handle) {
  if (cancel_ != nullptr && cancel_->isCancelled()) {
    status_ = fail(cancel_->error());
    return false;
  }
  if (io_.nowNs() >= until_ns_ || cluster_.isHopeless()) {
    status_ = fail(cluster_.whyNone(spot_.wish_));
    return false;
  }
  if (!spot_.node_.isLinked()) {
    PLAIT_RARE("a request waits for room at any endpoint");
    cluster_.line_.pushBack(spot_);
    spot_.joined_ns_ = io_.nowNs();
    cluster_.counters_.waits += 1;
    if (spot_.wish_.is_tunnel) cluster_.tunnels_waiting_ += 1;
    if (cluster_.waiting_++ == 0) {
      cluster_.line_since_ns_ = io_.nowNs();
      cluster_.pool_.beginWaiting(cluster_);
      io_.arm(cluster_.look_timer_, io_.nowNs() + look_every_ns);
    }
  } else if (std::exchange(spot_.is_woken_, false)) {
    cluster_.woken_ -= 1;
  }
  spot_.handle_ = handle;
  io_.arm(timer_, until_ns_);
  if (cancel_ != nullptr) {
    cancel_node_.owner = this;
    cancel_node_.on_cancel = [](void* self, const Error& error) {
      auto* waiting = static_cast<WaitAwaiter*>(self);
      if (!waiting->spot_.handle_) return;
      waiting->status_ = fail(error);
      waiting->io_.ready(std::exchange(waiting->spot_.handle_, nullptr));
    };
    cancel_->link(cancel_node_);
  }
  cluster_.onRoomChanged();
  return true;
}

void Cluster::WaitAwaiter::onTimer(void* self) {
  auto* waiting = static_cast<WaitAwaiter*>(self);
  if (!waiting->spot_.handle_) return;
  PLAIT_RARE("a request waits in vain for room at any endpoint");
  waiting->status_ = fail(waiting->cluster_.whyNone(waiting->spot_.wish_));
  waiting->io_.ready(std::exchange(waiting->spot_.handle_, nullptr));
}

Status Cluster::WaitAwaiter::await_resume() {
  return status_;
}

void Cluster::onStatesChanged() {
  states_changed_ = true;
  onRoomChanged();
}

void Cluster::onRoomChanged() {
  if (waiting_ == 0) return;
  is_look_due_ = true;
  io_.flushFirst(*this);
}

void Cluster::onLook(void* self) {
  auto* cluster = static_cast<Cluster*>(self);
  if (cluster->waiting_ == 0) return;
  cluster->io_.arm(cluster->look_timer_, cluster->io_.nowNs() + look_every_ns);
  cluster->io_.flushFirst(*cluster);
}

void Cluster::flush() {
  if (waiting_ != 0) look();
}

// The only endpoint can be used and, where that is asked, has room.
bool Cluster::canServeAlone(const Wish& wish, bool asks_for_room) {
  Endpoint* endpoint = pool_.find(members_[0].id);
  return endpoint != nullptr && isUsable(*endpoint, wish) && (!asks_for_room || hasRoom(*endpoint, wish));
}

bool Cluster::isRoomToCome(const Spot& spot) {
  uint32_t to_come = 0;
  for (const Member& member : members_) {
    Endpoint* endpoint = pool_.find(member.id);
    if (endpoint == nullptr || !isUsable(*endpoint, spot.wish_) || !takes(*endpoint, spot.wish_)) continue;
    const VersionLane& lane = endpoint->laneFor(needsHttp1(*endpoint, spot.wish_));
    if (lane.capacity > lane.used) to_come += lane.capacity - lane.used;
  }
  return waiting_ - (spot.isWaiting() ? 1 : 0) < to_come;
}

bool Cluster::couldServe(const Wish& wish) {
  if (is_alone_ && trials_wanted_ == 0) return canServeAlone(wish, true);
  const bool may_repeat = wish.tried.count() != 0 && !hasOther(wish, {});
  for (const Member& member : members_) {
    Endpoint* endpoint = pool_.find(member.id);
    if (endpoint == nullptr || (wish.tried.has(member.id) && !may_repeat)) continue;
    const bool is_trial = endpoint->wants_request && !wish.is_repeated && takes(*endpoint, wish) &&
                          (wish.suits_trial || io_.nowNs() - endpoint->since_ns >= trial_patience_ns);
    if ((is_trial || (isUsable(*endpoint, wish) && takes(*endpoint, wish))) && hasRoom(*endpoint, wish)) return true;
  }
  return false;
}

TimeNs Cluster::owedSince() {
  for (Spot* spot = line_.front(); spot != nullptr; spot = line_.next(*spot)) {
    if (spot->is_woken_ || !spot->handle_) continue;
    for (const Member& member : members_) {
      Endpoint* endpoint = pool_.find(member.id);
      if (endpoint == nullptr || endpoint->state != EndpointState::up || spot->wish_.tried.has(member.id)) continue;
      if (spot->wish_.is_tunnel && takes_tunnels_ && !endpoint->takesTunnels()) continue;
      if (pool_.isRoomFor(*endpoint, needsHttp1(*endpoint, spot->wish_), *spot->wish_.claim)) return spot->joined_ns_;
    }
  }
  return never_ns;
}

// Wakes as many requests as there is room for, first come, first served. A request for which no endpoint has room is
// passed by: of a client above its share, or for a tunnel. Then dials for those that still wait.
void Cluster::look() {
  is_look_due_ = false;
  if (states_changed_) recount();
  const bool is_hopeless = isHopeless();
  uint64_t free = 0;
  for (const Member& member : members_) {
    Endpoint* endpoint = pool_.find(member.id);
    if (endpoint == nullptr) continue;
    // A connection over HTTP/2 may carry more than its peer allows by now, which takes nothing from the others.
    VersionLane& h2 = endpoint->h2;
    for (Connection* connection = h2.ready.front(); connection != nullptr; connection = h2.ready.next(*connection)) {
      if (connection->hasRoom()) free += connection->limit() - connection->load();
    }
    const VersionLane& h1 = endpoint->h1;
    if (h1.ready_streams > h1.used) free += h1.ready_streams - h1.used;
  }
  free -= std::min<uint64_t>(free, woken_);
  const Wish* first = nullptr;
  const Wish* tunnel = nullptr;
  for (Spot* spot = line_.front(); spot != nullptr; spot = line_.next(*spot)) {
    if (spot->is_woken_ || !spot->handle_) continue;
    if (is_hopeless || (free != 0 && couldServe(spot->wish_))) {
      if (!is_hopeless) free -= 1;
      spot->is_woken_ = true;
      woken_ += 1;
      io_.ready(std::exchange(spot->handle_, nullptr));
      continue;
    }
    if (first == nullptr) first = &spot->wish_;
    if (tunnel == nullptr && spot->wish_.is_tunnel) tunnel = &spot->wish_;
    // A line may be long, and none of it is in the caches.
    if (free == 0 && (tunnel != nullptr || tunnels_waiting_ == 0)) break;
  }
  if (first != nullptr) dialFor(static_cast<uint32_t>(waiting_) - woken_, *first);
  if (tunnel != nullptr && tunnel != first) dialFor(1, *tunnel);
}

// Dials until the connections that are being made are enough for the requests that wait. Over HTTP/2 one connection
// serves many. It is dialled at two endpoints at first, and at one more with every look, since an endpoint that
// swallows packets must not be the only one that is waited for.
void Cluster::dialFor(uint32_t unserved, const Wish& wish) {
  const auto count = static_cast<uint32_t>(members_.size());
  const bool may_repeat = wish.tried.count() != 0 && !hasOther(wish, {});
  const auto places = static_cast<uint32_t>(2 + (io_.nowNs() - line_since_ns_) / look_every_ns);
  const uint32_t start = count == 1 ? 0 : io_.random().below(count);
  uint32_t under_way = 0;
  uint32_t endpoints = 0;
  bool goes_on = true;
  // Round after round, one dial for each: HTTP/1.1 needs as many as there are requests.
  for (uint32_t round = 0; goes_on && round < 32; ++round) {
    goes_on = false;
    for (uint32_t i = 0; i < count; ++i) {
      if (under_way >= unserved && endpoints >= std::min(places, count)) return;
      Endpoint* endpoint = pool_.find(members_[(start + i) % count].id);
      if (endpoint == nullptr || !isUsable(*endpoint, wish) || !takes(*endpoint, wish)) continue;
      if (wish.tried.has(endpoint->id) && !may_repeat) continue;
      const VersionLane& lane = endpoint->laneFor(needsHttp1(*endpoint, wish));
      if (round == 0 && lane.dialling != 0) {
        endpoints += 1;
        under_way += lane.is_http1 ? lane.dialling : unserved;
        goes_on = goes_on || lane.is_http1;
        continue;
      }
      if (round != 0 && !lane.is_http1) continue;
      // After the first round only requests for which no dial is under way are a reason for another.
      if (under_way >= unserved && (round != 0 || lane.ready_count != 0 || endpoints >= places)) continue;
      // An idle connection may be what a request that was woken is about to take: its place is not for another.
      if (!pool_.dialAside(*endpoint, needsHttp1(*endpoint, wish), endpoints == 0 && woken_ == 0)) continue;
      endpoints += round == 0 ? 1 : 0;
      under_way += lane.is_http1 ? 1 : unserved;
      goes_on = goes_on || lane.is_http1;
    }
  }
}

}  // namespace plait
