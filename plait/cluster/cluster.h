// Endpoints that can stand for each other, as one worker uses them: which one a request goes to, who waits where none
// has room, and which are left out for a while because of what they answer. Its state is the worker's own.
//
//   choose()   the better of two by (requests in flight + 1) × time to a head × penalty, among those that are up, have
//              room for this client, take what is asked, and were not tried by this request
//   line       one for all endpoints; woken by room at any of them, and by an endpoint that may be used again
//   outlier    one for each endpoint (outlier.h); what it decides is done by ConnectionPool::eject and a trial
#pragma once

#include <coroutine>
#include <span>

#include "plait/client/pool.h"
#include "plait/cluster/outlier.h"
#include "plait/plan/cluster_spec.h"

namespace plait {

// The endpoints that one request has met and failed at.
class Tried {
 public:
  static constexpr uint32_t most = 16;
  Tried() {}
  bool has(EndpointId id) const {
    for (uint32_t i = 0; i < count_; ++i) {
      if (places_[i].index == id.index && places_[i].generation == id.generation) return true;
    }
    return false;
  }
  void add(EndpointId id) {
    if (count_ != most && !has(id)) places_[count_++] = {id.index, id.generation};
  }
  uint32_t count() const { return count_; }
  void clear() { count_ = 0; }

 private:
  uint32_t count_ = 0;
  // Most requests try one endpoint and succeed: this memory is not touched then.
  struct Place {
    uint32_t index;
    uint32_t generation;
  };
  union {
    Place places_[most];
  };
};

inline constexpr Claim no_claim;

// The needs of a request, as far as the choice of an endpoint goes.
struct Wish {
  // Whose share of the endpoints' streams it takes. Must outlive the wish.
  const Claim* claim = &no_claim;
  bool is_tunnel = false;
  // Without a body and idempotent: the failure of a trial costs its client nothing but time.
  bool suits_trial = false;
  bool is_repeated = false;
  Tried tried;
};

struct Choice {
  EndpointId endpoint;  // none: no endpoint has room
  bool is_trial = false;
};

// Hears of what concerns all endpoints together.
class ClusterObserver {
 public:
  // A panic begins or ends: fewer than half of the endpoints are up, and those that were ejected are used all the same.
  virtual void onPanic(bool is_panic) = 0;

 protected:
  ~ClusterObserver() = default;
};

struct ClusterCounters {
  uint64_t waits = 0;  // requests that found no endpoint with room
  uint64_t ejections = 0;
  uint64_t panics = 0;
  uint64_t trial_requests = 0;
};

// What a cluster knows of one of its endpoints beside the pool. It lies in the worker's ClusterTable, at the endpoint's
// place.
struct ClusterMember {
  EndpointId id;
  uint32_t at = UINT32_MAX;  // its place among the cluster's members; UINT32_MAX: it has been in none yet
  bool is_wanted = false;    // by the plan that is being installed
  Outlier outlier;
  uint32_t ejections = 0;
  TimeNs ejected_ns = 0;
  bool was_up = true;        // when states were counted last
  uint32_t broken_seen = 0;  // of Endpoint::broken_connections, those that have been a strike
};

// The members of one cluster, in memory of the table's.
class ClusterMembers {
 public:
  ClusterMembers() = default;
  explicit ClusterMembers(std::span<ClusterMember* const> members) : members_(members) {}
  size_t size() const { return members_.size(); }
  ClusterMember& operator[](size_t index) const { return *members_[index]; }
  class Iterator {
   public:
    explicit Iterator(ClusterMember* const* place) : place_(place) {}
    ClusterMember& operator*() const { return **place_; }
    Iterator& operator++() {
      ++place_;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return place_ != other.place_; }

   private:
    ClusterMember* const* place_;
  };
  Iterator begin() const { return Iterator(members_.data()); }
  Iterator end() const { return Iterator(members_.data() + members_.size()); }

 private:
  std::span<ClusterMember* const> members_;
};

class Cluster final : public RoomListener, Io::Flusher {
 public:
  // The pool and the Io must outlive the cluster, which hears of the pool's rooms from now on. `all` are the places of
  // all endpoints' members, by the endpoint's index. It has no members yet.
  Cluster(ConnectionPool& pool, std::span<ClusterMember> all, Io& io);
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;
  ~Cluster();

  // Its endpoints and settings from now on. Members that it had before keep what it knows of them. `spec` and the
  // memory of `members` are good until the next call.
  void configure(const ClusterSpec& spec, ClusterMembers members);
  // No plan names it any more: who waits is told so, and it may be destroyed when isUnused().
  void leave();
  bool hasLeft() const { return spec_ == nullptr; }
  bool isUnused() const { return users_ == 0; }
  // Null once it has left.
  const ClusterSpec* spec() const { return spec_; }

  // A place in the line, from the first wait until the request has its endpoint or is destroyed.
  class Spot {
   public:
    Spot(Cluster& cluster, const Wish& wish) : cluster_(cluster), wish_(wish) { cluster.users_ += 1; }
    Spot(const Spot&) = delete;
    Spot& operator=(const Spot&) = delete;
    ~Spot() {
      leave();
      cluster_.users_ -= 1;
    }
    bool isWaiting() const { return node_.isLinked(); }
    // Ends the wait: the request has its endpoint.
    void leave() {
      if (isWaiting()) leaveLine();
    }

   private:
    friend class Cluster;
    void leaveLine();
    Cluster& cluster_;
    const Wish& wish_;
    ListNode node_;
    std::coroutine_handle<> handle_;  // null unless a coroutine waits
    TimeNs joined_ns_ = 0;
    bool is_woken_ = false;
  };

  // An endpoint with room for the request. The answer is good for the turn of the loop in which it is given.
  // `is_waiting`: the request stands in line, and so goes before newcomers. Begins dials aside where an endpoint could
  // be better and has no connection.
  Choice choose(const Wish& wish, bool is_waiting) {
    // The only endpoint is up, and nobody waits: there is nothing to choose.
    if (waiting_ == 0 && !states_changed_ && !only_.isNone()) [[likely]]
      return {only_};
    return chooseWithCare(wish, is_waiting);
  }

  class WaitAwaiter {
   public:
    WaitAwaiter(Cluster& cluster, Spot& spot, TimeNs until_ns, CancelToken* cancel, Io& io);
    ~WaitAwaiter() { cancel_node_.node.unlink(); }
    bool await_ready() const { return false; }
    bool await_suspend(std::coroutine_handle<> handle);
    Status await_resume();

   private:
    static void onTimer(void* self);
    Cluster& cluster_;
    Spot& spot_;
    TimeNs until_ns_;
    CancelToken* cancel_;
    Io& io_;
    Status status_;
    CancelNode cancel_node_;
    Timer timer_;
  };
  // Waits in line until an endpoint may have room. Errors: pool_exhausted at `until_ns`, with what is short as its
  // reason, or the error of an endpoint where none can be reached; the token's.
  WaitAwaiter wait(Spot& spot, TimeNs until_ns, CancelToken* cancel, Io& io) {
    return WaitAwaiter(*this, spot, until_ns, cancel, io);
  }

  // Whether the request, which waits or is about to, waits for a connection that is made or can be made for it, and not
  // for one that others have to let go.
  bool isRoomToCome(const Spot& spot);
  // True where an endpoint other than `but` can be used, takes the request, and was not tried by it.
  bool hasOther(const Wish& wish, EndpointId but) { return !is_alone_ && hasOtherUsable(wish, but, wish.tried); }
  // The same, tried or not.
  bool hasOtherAtAll(const Wish& wish, EndpointId but) { return !is_alone_ && hasOtherUsable(wish, but, {}); }
  // The end of a request at an endpoint. `is_trial` as in its Choice.
  void onOutcome(const Choice& choice, Seen seen, bool is_overloaded, const ClientKey& client);
  // How long a trial request may take to its head.
  int64_t trialHeadMs() const;
  // Why no endpoint has room or can be used, as said of the first that there is a reason for.
  Error whyNone(const Wish& wish);
  // Every endpoint is down for what no waiting would change: its certificate, that no TLS can be agreed on with it, or
  // that it speaks another protocol.
  bool isHopeless();

  size_t size() const { return members_.size(); }
  // There is one endpoint: it is compared with nobody, never ejected, and not asked for room first.
  bool isAlone() const { return is_alone_; }
  EndpointId endpoint(size_t n) const { return members_[n].id; }
  // By which the choice compares that one, as things are now: of two the lower is taken. 0 for one that has gone.
  int64_t score(size_t n) const;
  const ClusterCounters& counters() const { return counters_; }
  // Of repetitions of all its requests.
  RetryBudget& budget() { return budget_; }
  ConnectionPool& pool() { return pool_; }
  // Fewer than half of the endpoints are up, and those that were ejected are used all the same.
  bool isPanic() const { return is_panic_; }
  size_t waiting() const { return waiting_; }
  // For those who check the line: when the first request joined it that has not been woken although an endpoint that is
  // up, takes it, and has not been tried has room for it; never_ns for none. Costs a look at all.
  TimeNs owedSince();
  // Nobody waits, and nobody has been woken.
  bool isAtRest() const { return line_.empty() && waiting_ == 0 && woken_ == 0; }
  // Null for none; must outlive the cluster.
  void setObserver(ClusterObserver* observer) { observer_ = observer; }

  void onRoomChanged() override;
  void onStatesChanged() override;

 private:
  using Member = ClusterMember;

  Member* find(EndpointId id);
  void recount();
  Choice chooseWithCare(const Wish& wish, bool is_waiting);
  bool hasOtherUsable(const Wish& wish, EndpointId but, const Tried& tried);
  bool isUsable(const Endpoint& endpoint, const Wish& wish) const;
  bool takes(const Endpoint& endpoint, const Wish& wish) const;
  bool needsHttp1(const Endpoint& endpoint, const Wish& wish) const;
  bool hasRoom(Endpoint& endpoint, const Wish& wish);
  bool canServeAlone(const Wish& wish, bool asks_for_room);
  bool isSilent(Endpoint& endpoint) const;
  int64_t scoreOf(const Member& member, const Endpoint& endpoint, HeadTime& head_time) const;
  Choice chooseTrial(const Wish& wish);
  void endTrialsThatRun();
  Choice chooseAmong(const Wish& wish, bool with_silent);
  bool couldServe(const Wish& wish);
  void measureSiblings();
  // False where as many are ejected as may be.
  bool ejectIfAllowed(Member& member, const Error& cause);
  void flush() override;
  void look();
  void dialFor(uint32_t unserved, const Wish& wish);
  static void onLook(void* self);

  ConnectionPool& pool_;
  Io& io_;
  const ClusterSpec* spec_ = nullptr;
  std::span<ClusterMember> all_;
  ClusterMembers members_;
  bool is_alone_ = false;
  uint32_t users_ = 0;  // requests that may ask it
  EndpointId only_;     // the endpoint, where there is one, and it is up
  List<Spot, &Spot::node_> line_;
  size_t waiting_ = 0;
  uint32_t tunnels_waiting_ = 0;
  uint32_t woken_ = 0;
  bool is_look_due_ = false;  // there may be room for somebody who waits
  uint32_t up_ = 0;
  uint32_t ejected_ = 0;
  uint32_t trials_wanted_ = 0;
  uint32_t trials_running_ = 0;
  uint32_t tunnels_up_ = 0;     // endpoints that are up and take tunnels
  bool takes_tunnels_ = false;  // some endpoint does
  bool is_panic_ = false;
  bool states_changed_ = true;
  int64_t siblings_ns_ = 0;  // the median of their times to a head
  TimeNs measured_ns_ = 0;
  TimeNs line_since_ns_ = 0;
  Timer look_timer_;
  ClusterCounters counters_;
  RetryBudget budget_;
  ClusterObserver* observer_ = nullptr;
};

}  // namespace plait
