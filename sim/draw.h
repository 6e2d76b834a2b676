// What a seed draws before its run begins: the proxy's options and limits, the backends, the clients, and how network
// and ledger are. Nothing runs yet.
#pragma once

#include <vector>

#include "plait/proxy/worker_core.h"
#include "sim/client.h"
#include "sim/kernel.h"
#include "sim/origin.h"

namespace plait::sim {

// Where the proxy listens: for plain text, and for TLS or, by the first byte, both.
inline constexpr uint32_t proxy_host = 0x0a0100ff;
inline sockaddr_storage proxyAddress() {
  return addressOf(proxy_host, 8080);
}
inline sockaddr_storage secureProxyAddress() {
  return addressOf(proxy_host, 8443);
}

class Draw {
 public:
  // Draws it all. `lasts_an_hour` as in World. What is drawn refers to `tls`.
  Draw(uint64_t seed, Simulation& simulation, Network& network, Names& names, Ledger& ledger, Tls& tls,
       bool lasts_an_hour);

  WorkerOptions proxy;  // its options
  int64_t response_head_ms = 60'000;
  uint32_t workers = 1;
  bool tls_by_first_byte = false;
  std::vector<OriginOptions> origins;
  std::vector<ClientOptions> clients;
  std::vector<BackendOptions> backends;  // by their number

 private:
  WorkerOptions drawOptions();
  void drawLimits(Limits& limits);
  void drawOutage(WorkerOptions& options);
  void drawLongWire(WorkerOptions& options);
  H2PeerOptions drawH2();
  void addOrigins(WorkerOptions& options);
  ClientOptions drawClient();
  void addClients();
  void addFar();
  void addHogs();
  void addCrowd();
  void addAskers();
  void addRefused();
  void addHolders();
  void addHourOfClients();
  void addBlockers();
  void addClient(ClientOptions options);
  bool has(Fault fault) const { return sim_.faults.exists(fault); }

  bool has_shortage_ = false;  // there is so little of something that it runs out

  Random random_;
  const bool lasts_an_hour_;
  Simulation& sim_;
  Network& network_;
  Names& names_;
  Ledger& ledger_;
  Tls& tls_;
  bool is_crowded_ = false;
  bool all_secure_ = false;  // every client
  bool are_many_held_ = false;
  uint32_t streams_of_endpoint_ = 0;  // where clients hog them
};

}  // namespace plait::sim
