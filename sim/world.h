// One run: the whole proxy with its workers, the clients before it and the backends behind it, in one thread, from one
// seed.
//
//   clients ─┐                    ┌─ backend (h2)
//   clients ─┼─▶ worker, worker ──┼─ backend (h1)      storm → quiet → probes → drain → everything is back
//   clients ─┘                    └─ backend (both)
#pragma once

#include <memory>

#include "plait/proxy/access_log.h"
#include "plait/proxy/worker_core.h"
#include "sim/client.h"
#include "sim/kernel.h"
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
  const ProxyCounters& counters() const { return counters_; }

 private:
  void wake(TimeNs when_ns);
  void turn();
  // What the control thread asks of a worker every now and then.
  void control();
  void drainLog();
  void lookAtBuffers();
  void onBackendDown(uint32_t backend_idx, const Error& error) override;
  void onBackendUp(uint32_t backend_idx) override;
  void onBackendFault(uint32_t backend_idx, const Error& error, TimeNs) override;
  void onClientFault(const ClientInfo& client, const Error& error, TimeNs) override;

  Simulation& sim;
  std::string actor_;
  WorkerMemory memory_;
  ProxyCounters counters_;
  AccessRing access_ring_;
  uint64_t logged_ = 0;
  WorkerSnapshot snapshot_;
  Kernel kernel_;
  WorkerCore core_;
  Op stop_op_;
  TimeNs wakes_at_ns_ = never_ns;
  TimeNs paused_until_ns_ = 0;
  uint64_t wake_number_ = 0;
  TimeNs out_since_ns_ = 0;  // all receive buffers are lent since then,
  uint32_t out_turns_ = 0;   // and have been for so many turns
  size_t replay_bytes_ = 0;
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
  explicit World(uint64_t seed);
  ~World();

  RunResult run();
  Trace& trace() { return sim_.trace; }
  // What the seed has drawn, in a few lines.
  std::string describe() const;

 private:
  void build();
  WorkerOptions drawOptions();
  void addOrigins(WorkerOptions& options);
  void addClients();
  ClientOptions drawClient();
  H2PeerOptions drawH2();
  bool quiet();
  // Waits until nothing is under way, and for so long more, and checks that everything is back.
  void comeToRest(TimeNs at_least_ns);
  bool probe();
  bool probeWith(const ClientOptions& options, bool leaves);
  Client& addClient(const ClientOptions& options);
  void drain();

  Simulation sim_;
  Network network_;
  Names names_;
  Ledger ledger_;
  Tls tls_;
  WorkerOptions options_;
  sockaddr_storage proxy_;
  sockaddr_storage secure_proxy_;
  bool tls_by_first_byte_ = false;
  std::vector<std::unique_ptr<Origin>> origins_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::unique_ptr<SimWorker>> workers_;
};

}  // namespace plait::sim
