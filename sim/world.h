// One run: the whole proxy with its workers, the clients before it and the backends behind it, in one thread, from one
// seed.
//
//   clients ─┐                    ┌─ backend (h2)
//   clients ─┼─▶ worker, worker ──┼─ backend (h1)      storm → quiet → probes → drain → everything is back
//   clients ─┘                    └─ backend (both)
#pragma once

#include <memory>
#include <optional>

#include "plait/io/frame_hog_test.h"
#include "plait/proxy/access_ring.h"
#include "plait/proxy/worker_core.h"
#include "sim/client.h"
#include "sim/kernel.h"
#include "sim/operator.h"
#include "sim/origin.h"

namespace plait::sim {

// One worker of the proxy and its kernel.
class SimWorker final : public PoolObserver, public ServerObserver {
 public:
  SimWorker(Network& network, Names& names, const WorkerOptions& options, uint32_t number);

  void listen(const sockaddr_storage& address, TlsContext* tls, bool tls_by_first_byte);
  // Asks the worker to drain, as SIGTERM does.
  void stop();
  bool isDrained() const { return core_.isDrained(); }
  // No request is under way, whether or not its client still waits for it.
  bool isAtRest();
  // Oracles: nothing is left of any request; and of anything, once the worker is drained.
  void checkAtRest();
  void checkDrained();
  WorkerCore& core() { return core_; }
  // The endpoint with that number; none where it has been taken out.
  EndpointId endpoint(size_t number) { return core_.store()->clusters().endpoint(static_cast<uint32_t>(number)); }
  // Takes the backend out of use and adds another endpoint, of which nobody knows, in its place.
  void replaceBackend(size_t n);
  // An embedder beside the proxy takes a lease, keeps it for so long, and may use it for a request of its own.
  void embed(size_t backend, int64_t keeps_ms, bool requests);
  // For so long it has no coroutine frames but `left`.
  void starve(size_t left, TimeNs for_ns);
  // Hears of backends that are ejected, by their number among all.
  std::function<void(uint32_t backend)> on_ejected;
  const ProxyCounters& counters() const { return counters_; }

  // -- generations of the plan
  // Is called in a turn of the worker's; at once where it has ended.
  void order(std::function<void()> call);
  // See PlanStore. A worker that has ended takes nothing.
  Status prepare(const plait::Plan& next);
  void undo();
  void commit(const plait::Plan& next, route::RouteScratch* scratch);
  // Takes all places for endpoints that are free but `left`, and gives them back.
  void crowd(size_t left);
  void uncrowd();
  bool isTold() const { return is_told_to_stop_; }
  // Oracle: it has that generation, and the endpoints that it names.
  void checkPlan(const plait::Plan& plan);
  void forEachEndpoint(const std::function<void(Endpoint&)>& use) const;

 private:
  void carryOut();
  template <class Call>
  auto serving(Call call);
  void wake(TimeNs when_ns);
  void turn();
  // The calls that the control thread makes to a worker every now and then.
  void control();
  void drainLog();
  void lookAtBuffers();
  void onEndpointState(EndpointId endpoint, EndpointState state, const Error& cause) override;
  void onEndpointFault(EndpointId endpoint, const Error& error, Bytes, TimeNs) override;
  void lookAtTurn();
  void lookAtLine();
  void lookAtLeaving();
  void checkEndpoints();
  bool areEndpointsAtRest();
  List<Endpoint, &Endpoint::node>& endpoints() const;
  void lookAfterCommit();
  static Task<void> useLease(SimWorker& worker, EndpointId id, int64_t keeps_ms, bool requests, Io& io);
  // As an embedder might who has kept an id for too long.
  static Task<void> askInVain(SimWorker& worker, EndpointId id, Io& io);
  // A mistake as it could be anywhere: a task that is ready again and again.
  static Task<void> spin(SimWorker& worker, Io& io);
  void onClientFault(const ClientInfo& client, const Error& error, TimeNs) override;

  Simulation& sim;
  std::string actor_;
  LoopMemory memory_;
  ProxyCounters counters_;
  AccessRing access_ring_;
  uint64_t logged_ = 0;
  WorkerSnapshot snapshot_;
  Kernel kernel_;
  WorkerCore core_;
  Op stop_op_;
  Op order_op_;
  std::vector<std::function<void()>> orders_;
  bool is_ordered_ = false;
  std::vector<EndpointId> crowd_;
  // Of an endpoint that the last commit has not changed, while nothing runs there and nobody waits.
  struct Untouched {
    EndpointId id;
    uint32_t ready = 0;
  };
  std::vector<Untouched> untouched_;
  TimeNs wakes_at_ns_ = never_ns;
  TimeNs paused_until_ns_ = 0;
  uint64_t wake_number_ = 0;
  TimeNs out_since_ns_ = 0;  // all receive buffers that clients may take are lent since then,
  uint32_t out_turns_ = 0;   // and have been for so many turns
  // A request has been waiting that joined the line then, although there is room for it,
  TimeNs owed_joined_ns_ = never_ns;
  TimeNs owed_from_ns_ = 0;  // since then,
  uint32_t owed_turns_ = 0;  // and for so many turns
  // Turns in a row after which a request waited inside the pool and nothing was dialled.
  uint32_t undialled_turns_ = 0;
  size_t replay_bytes_ = 0;
  TimeNs farewell_limit_ns_;
  Scope spin_scope_;
  std::optional<io_test::FrameHog> frame_hog_;
  bool spins_ = false;
  bool is_told_to_stop_ = false;
};

struct RunResult {
  std::string violation;  // empty: none
  uint64_t hash = 0;
  uint64_t requests = 0;
  uint64_t completed = 0;
  uint64_t events = 0;
  TimeNs simulated_ns = 0;
};

class World {
 public:
  // `lasts_an_hour`: instead of what the seed would draw, a graceful run of an hour with 24 streams of events and 24
  // tunnels that last as long, under the age of connections, GOAWAY, bursts of other requests, and clients that leave.
  explicit World(uint64_t seed, bool lasts_an_hour = false);
  ~World();

  RunResult run();
  Trace& trace() { return sim_.trace; }
  // The choices that the seed has drawn, in a few lines.
  std::string describe() const;

 private:
  void build();
  void planSickness();
  void planRemoval();
  void planEmbedder();
  void planStarvation();
  void planReloads();
  bool isOperatorIdle() const { return operator_ == nullptr || operator_->isIdle(); }
  TimeNs upSince(uint32_t worker, uint32_t backend);
  bool has(Fault fault) const { return sim_.faults.exists(fault); }
  bool quiet();
  // Waits until nothing is under way, and for so long more, and checks that everything is back.
  void comeToRest(TimeNs at_least_ns);
  bool probe();
  bool probeWith(ClientOptions options, bool leaves);
  Client& addClient(ClientOptions options);
  void drain();

  const uint64_t seed_;
  const bool lasts_an_hour_;
  Simulation sim_;
  Network network_;
  Names names_;
  Ledger ledger_;
  Tls tls_;
  WorkerOptions options_;
  bool tls_by_first_byte_ = false;
  std::unique_ptr<Ways> ways_;
  // Its plans are the workers'.
  std::unique_ptr<Operator> operator_;
  std::vector<std::unique_ptr<Origin>> origins_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::unique_ptr<SimWorker>> workers_;
};

}  // namespace plait::sim
