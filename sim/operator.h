// The operator of a run: publishes one generation of the plan after the other to all workers, as a process does
// (control/reload.cc), at moments and with changes of its own stream of randomness.
//
//   sweep → next setting → plan → prepare at each worker → held back → commit at each worker, or undo → checks
//
// Clusters, routes and endpoints come, go and come back; routes move between clusters; weights, timeouts and limits
// change. Where nothing may go wrong every route leads to a backend, and no limit is met.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "plait/plan/identities.h"
#include "plait/proxy/worker_core.h"
#include "sim/ledger.h"
#include "sim/listeners.h"

namespace plait::sim {

class SimWorker;

class Operator {
 public:
  // The endpoints' limit among `options` is drawn here, and the first plan is set. `backends` are by their number.
  // `max_body`: no body is longer, so that clients with the least windows can take it. `has_time`: there are minutes
  // between two reloads, and places for all that is held meanwhile.
  Operator(Simulation& simulation, uint64_t seed, WorkerOptions& options, Listeners& listeners,
           std::vector<BackendOptions> backends, int64_t response_head_ms, uint32_t max_body, bool has_time);

  // Requests are for one of so many paths, each of which has a route.
  uint32_t sites() const { return static_cast<uint32_t>(first_.routes.size()); }
  // The workers have the first plan. Must be called once.
  void start(std::vector<std::unique_ptr<SimWorker>>& workers);
  // No reload begins any more; one that is under way goes on until isIdle().
  void pause() { is_paused_ = true; }
  bool isIdle() const { return is_paused_ && !isBusy(); }
  void resume();
  // Since the faults ended a generation has been committed by which every request can succeed.
  bool isSettled() const { return is_settled_; }
  // The process ends, and the operator goes on.
  void hurry();

  // The time since which the worker has an endpoint for that backend up; never_ns: it has none.
  TimeNs upSince(uint32_t worker, uint32_t backend) const;

  // Oracle: some generation that the worker had, from when the request was made until now, leads it to that backend.
  void checkAttempt(const Entry& entry, const char* actor, Attempt attempt);
  // What plait may answer by itself: there was no route, the route is not open to all, or a cluster that the request
  // may have been sent to has gone.
  bool mayLackRoute(const Entry& entry) const;
  bool mayBeDenied(const Entry& entry) const;
  bool mayLackCluster(const Entry& entry) const;
  // Some routes answer by themselves: an upload may then be answered before it has come.
  bool hasAnswers() const { return has_answers_; }
  const std::string* routeAnswer(const Entry& entry, const Ledger::Answer& answer) const;
  // Oracle, when idle and nothing is under way: all counts are 0, and every number that the plan does not name is free.
  void checkAtRest();

 private:
  struct ClusterSetting {
    std::vector<uint32_t> backends;
    uint32_t connections = 0;  // of each of its endpoints
    bool has_timeouts = false;
    int64_t connect_ms = 3000;
    int64_t queue_ms = 0;
    int64_t response_head_ms = 0;
    uint32_t most_requests = 0;
    std::optional<uint32_t> most_waiting;
  };
  struct Side {
    uint32_t cluster = 0;
    uint32_t weight = 1;
  };
  struct RouteSetting {
    bool exists = true;
    std::vector<Side> sides;
    SplitKey key = SplitKey::none;
    int64_t response_head_ms = 0;
    int64_t idle_ms = 0;
    int64_t total_ms = 0;
    std::optional<uint32_t> most_retries;
    bool repeats_unknown = true;
    uint32_t most_requests = 0;
    bool denies = false;
    bool changes_fields = false;
    RoutePolicy::Action action = RoutePolicy::Action::forward;
    uint16_t status = 0;   // of an answer of its own,
    uint32_t variant = 0;  // and which it is
  };
  // All that is configured. Clusters are by their number among all that there may be.
  struct Setting {
    std::vector<std::optional<ClusterSetting>> clusters;
    std::vector<RouteSetting> routes;
    bool has_routes = true;
    uint32_t only_cluster = 0;  // without routes
    PoolTimeouts pool_timeouts;
    ServerTimeouts server_timeouts;
    Listeners::Setting listeners;
  };
  struct Generation {
    uint64_t number = 0;
    Setting setting;
    std::vector<TimeNs> since_ns;  // by worker; never_ns: it does not have it
  };

  bool isBusy() const { return next_ != nullptr || is_changing_listeners_; }
  bool isGentle() const { return sim.faults.areGraceful() || sim.faults.areOver(); }
  uint32_t below(uint32_t bound) { return random_.below(bound); }
  uint32_t between(uint32_t low, uint32_t high) { return low + random_.below(high - low + 1); }
  bool oneIn(uint32_t n) { return random_.below(n) == 0; }
  // Mostly none, or short; now and then so long that others overtake it.
  TimeNs delay();

  // -- what is configured
  void change(Setting& setting);
  void changeCluster(Setting& setting);
  void changeRoute(RouteSetting& route, const Setting& setting);
  void drawSides(RouteSetting& route, const Setting& setting);
  void drawRoute(RouteSetting& route);
  void drawCluster(ClusterSetting& cluster);
  void place(Setting& setting, uint32_t backend);
  void mend(Setting& setting);
  std::shared_ptr<plait::Plan> planOf(const Setting& setting);
  std::shared_ptr<const RoutePolicy> policyOf(const Setting& setting, size_t site);

  // -- one reload
  void later();
  void beginAfter(TimeNs delay_ns);
  void begin();
  void give(uint32_t worker, std::function<void()> order);
  void onPrepared(uint32_t worker, const Status& prepared);
  void decide();
  void commitAll();
  void onCommitted(uint32_t worker);
  void changeListeners();
  void finish();
  void undoAll();
  void onUndone();
  void end();
  void checkAll();

  void sweep();
  void noteFreed(const char* when);
  void know(const plait::Plan& plan);

  // -- which generations a request may have met
  using Clusters = std::vector<uint32_t>;
  static Clusters clustersOf(const Setting& setting, uint32_t site);
  bool wasPresent(size_t generation, uint32_t worker, TimeNs from_ns) const;
  template <class Is>
  bool anyPresent(TimeNs from_ns, Is is) const;

  Simulation& sim;
  Listeners& listeners_;
  Random random_;
  const std::vector<BackendOptions> backends_;
  const PoolTimeouts pool_timeouts_;
  const ServerTimeouts server_timeouts_;
  const int64_t response_head_ms_;
  uint32_t cluster_count_ = 1;
  uint32_t most_gap_ms_ = 1000;
  uint32_t endpoint_places_ = 0;
  uint32_t policy_places_ = 0;
  std::optional<PlanIdentities> identities_;
  std::vector<std::unique_ptr<SimWorker>>* workers_ = nullptr;

  Setting first_;
  std::deque<Generation> generations_;  // those that some worker has committed
  uint64_t numbered_ = 1;
  using Scratches = std::vector<std::unique_ptr<route::RouteScratch>>;
  std::shared_ptr<plait::Plan> present_;
  Scratches scratches_;

  // Of the reload that is under way.
  std::shared_ptr<plait::Plan> next_;
  Setting next_setting_;
  Scratches next_scratches_;
  std::vector<bool> is_prepared_;
  uint32_t awaited_ = 0;
  bool has_failed_ = false;
  uint32_t crowded_ = UINT32_MAX;  // the worker that has no places for endpoints meanwhile, but for so many
  uint32_t places_left_ = 0;
  bool is_settling_ = false;
  bool is_changing_listeners_ = false;
  bool has_answers_ = false;
  uint32_t texts_ = 1;  // so many of those that a route may have by itself

  bool is_paused_ = false;
  bool is_settled_ = false;
  uint64_t scheduled_ = 0;
  // Objects that plans have named, by whose end it is seen who has freed them.
  std::vector<std::weak_ptr<const BackendOptions>> options_;
  std::vector<std::weak_ptr<const ClusterIdentity>> clusters_;
  std::vector<std::weak_ptr<const RoutePolicy>> policies_;
};

}  // namespace plait::sim
