#include "sim/world.h"

#include <netinet/in.h>

#include <algorithm>

#include "plait/base/alloc_guard.h"
#include "plait/proxy/worker_core.h"
#include "sim/h1_peer.h"
#include "sim/h2_backend.h"
#include "sim/h2_peer.h"
#include "sim/sim_backend.h"

namespace plait::sim {
namespace {

constexpr TimeNs longest_storm_ns = 60 * ns_per_s;
// A request may wait for a silent backend's head twice, or for a stalled client.
constexpr TimeNs longest_quiet_ns = 400 * ns_per_s;
constexpr TimeNs longest_drain_ns = 60 * ns_per_s;

Limits smallLimits() {
  Limits limits;
  limits.exchanges = 256;
  limits.client_connections = 48;
  limits.upstream_connections = 64;
  limits.h2_connections_per_backend = 3;
  limits.h1_connections_per_backend = 16;
  limits.upload_pool_bytes = 1 << 20;
  limits.burst_pool_bytes = 1 << 20;
  limits.send_blocks = 512;
  limits.record_blocks = 8;
  limits.receive_buffers = 64;
  limits.medium_header_blocks = 64;
  limits.large_header_blocks = 32;
  limits.replay_bytes = 256 << 10;
  return limits;
}

// A worker on the simulated backend.
class SimWorker {
 public:
  SimWorker(Scene& scene, const WorkerOptions& options)
      : scene_(scene),
        memory_(options.limits),
        backend_(scene.network, memory_.buffers, [this] { schedule(0); }),
        core_(options, memory_, nullptr, backend_, counters_, nullptr) {
    core_.drainOn(stop_);
    sockaddr_storage address{};
    reinterpret_cast<sockaddr_in&>(address).sin_family = AF_INET;
    PLAIT_ASSERT(core_.server().listen(address, nullptr) == 0);
    schedule(0);
  }

  void stop() { backend_.post(stop_); }
  bool hasEnded() const { return core_.isDrained(); }
  const PoolCounters& poolCounters() const { return const_cast<WorkerCore&>(core_).pool()->counters(); }

  // What must be back when the worker has ended.
  void checkEmpty() {
    const auto empty = [this](const char* what, size_t used) {
      if (used != 0) scene_.trace().violate("memory", "%zu of %s are still in use at the end", used, what);
    };
    empty("the send blocks", memory_.send_blocks.used());
    empty("the record blocks", memory_.record_blocks.used());
    empty("the stream blocks", memory_.stream_blocks.used());
    empty("the upload blocks", core_.server().upload_blocks.used());
    for (size_t i = 0; i < std::size(http::HeaderSlab::class_sizes); ++i) {
      empty("the header blocks", memory_.headers.ofClass(i).used());
    }
    empty("the receive buffers", memory_.buffers.lent());
    empty("the client connections", core_.server().connectionCount());
    empty("the HTTP/1.1 exchanges", core_.server().h1_exchanges.used());
    empty("the HTTP/2 exchanges", core_.server().h2_exchanges.used());
    empty("the upstream connections", core_.pool()->connectionCount());
    empty("the HTTP/2 upstream streams", core_.pool()->h2Streams().used());
    empty("the HTTP/1.1 upstream streams", core_.pool()->h1Streams().used());
    empty("the coroutine frames", core_.io().frames().used());
    empty("the arrays of sends", core_.io().vectorArrays().used());
    empty("the descriptors", backend_.openDescriptors());
    empty("the armed operations", backend_.armedOps());
  }

 private:
  // One event at a time stands for the worker's next turn.
  void schedule(TimeNs time_ns) {
    const TimeNs at_ns = std::max(time_ns, scene_.network.now());
    if (scheduled_ns_ <= at_ns) return;
    scheduled_ns_ = at_ns;
    scene_.network.at(at_ns, [this, at_ns] {
      if (scheduled_ns_ != at_ns) return;
      scheduled_ns_ = never_ns;
      turn();
    });
  }

  void turn() {
    AllocGuard::enter(AllocGuard::Phase::serving);
    core_.io().turn();
    AllocGuard::enter(AllocGuard::Phase::init);
    if (backend_.wakeTime() != never_ns) schedule(backend_.wakeTime());
  }

  Scene& scene_;
  WorkerMemory memory_;
  SimBackend backend_;
  ProxyCounters counters_;
  WorkerCore core_;
  Op stop_;
  TimeNs scheduled_ns_ = never_ns;
};

class World {
 public:
  explicit World(const RunOptions& options)
      : network_(options.seed, options.prints), ledger_(network_.trace()), scene_{network_, ledger_} {
    makeBackends();
    makeWorkers();
    makeClients();
  }

  RunResult run() {
    for (auto& backend : backends_) backend->goUp();
    restartBackends();
    for (auto& client : h2_clients_) client->start(1 + scene_.below(25));
    for (auto& client : h1_clients_) client->start(1 + scene_.below(12));
    // Some of the faults go on until the last request has been sent, but not for ever.
    runUntil([this] { return areClientsDone(); }, longest_storm_ns, false);
    calmDown();
    if (network_.trace().isViolated()) return report();
    runUntil([this] { return areClientsDone(); }, longest_quiet_ns, true);
    // What lets backends rest must have passed before all must go well.
    const TimeNs rested_ns = network_.now() + 5 * ns_per_s;
    runUntil([this, rested_ns] { return network_.now() >= rested_ns; }, 10 * ns_per_s, false);
    // On connections of their own, since one that was idle may be closing just now.
    for (auto& client : h2_clients_) client->disconnect();
    for (auto& client : h1_clients_) client->disconnect();
    for (auto& client : h2_clients_) client->start(2);
    for (auto& client : h1_clients_) client->start(2);
    runUntil([this] { return areClientsDone(); }, longest_quiet_ns, true);
    if (!network_.trace().isViolated()) drain();
    return report();
  }

 private:
  void makeBackends() {
    const uint32_t count = 1 + scene_.below(3);
    for (uint32_t i = 0; i < count; ++i) {
      const std::string name = "backend-" + std::to_string(i);
      const auto port = static_cast<uint16_t>(first_backend_port + i);
      BackendOptions options{.name = name, .host = name, .port = port};
      switch (scene_.below(5)) {
        case 0:
          options.protocol = BackendProtocol::h1;
          backends_.push_back(std::make_unique<H1Backend>(scene_, port, name));
          break;
        case 1:
          options.protocol = BackendProtocol::probe;
          backends_.push_back(std::make_unique<H1Backend>(scene_, port, name));
          break;
        case 2:
          options.protocol = BackendProtocol::probe;
          backends_.push_back(std::make_unique<H2Backend>(scene_, port, name));
          break;
        default:
          options.protocol = BackendProtocol::h2c;
          backends_.push_back(std::make_unique<H2Backend>(scene_, port, name));
      }
      worker_options_.backends.push_back(options);
      worker_options_.forward.authorities.push_back({.fixed = {}, .own = name});
    }
  }

  void makeWorkers() {
    worker_options_.limits = smallLimits();
    worker_options_.server_timeouts.stall_ms = 20'000;
    worker_options_.server_timeouts.drain_ms = 20'000;
    worker_options_.pool_timeouts.drain_ms = 20'000;
    worker_options_.pool_timeouts.stream_idle_ms = 30'000;
    worker_options_.response_head_ms = 30'000;
    const uint32_t count = 1 + scene_.below(2);
    for (uint32_t i = 0; i < count; ++i) workers_.push_back(std::make_unique<SimWorker>(scene_, worker_options_));
  }

  void makeClients() {
    const uint32_t h2 = scene_.below(5);
    const uint32_t h1 = scene_.below(4) + (h2 == 0 ? 1 : 0);
    for (uint32_t i = 0; i < h2; ++i) {
      h2_clients_.push_back(std::make_unique<H2Client>(scene_, "client-" + std::to_string(i)));
    }
    for (uint32_t i = 0; i < h1; ++i) {
      h1_clients_.push_back(std::make_unique<H1Client>(scene_, "old-client-" + std::to_string(i)));
    }
  }

  void restartBackends() {
    for (auto& backend : backends_) {
      if (!scene_.happens(Fault::backend_restart)) continue;
      TimeNs time_ns = network_.now();
      for (uint32_t i = 1 + scene_.below(3); i != 0; --i) {
        time_ns += scene_.below(500) * ns_per_ms;
        network_.at(time_ns, [this, &backend] {
          if (!network_.faults().isQuiet()) backend->goDown();
        });
        time_ns += scene_.below(1500) * ns_per_ms;
        network_.at(time_ns, [&backend] { backend->goUp(); });
      }
    }
  }

  void calmDown() {
    network_.trace().note("quiet");
    network_.quieten();
    for (auto& backend : backends_) backend->calmDown();
    for (auto& client : h2_clients_) client->calmDown();
    for (auto& client : h1_clients_) client->calmDown();
  }

  bool areClientsDone() const {
    return std::ranges::all_of(h2_clients_, [](const auto& client) { return client->isDone(); }) &&
           std::ranges::all_of(h1_clients_, [](const auto& client) { return client->isDone(); });
  }

  template <class Done>
  void runUntil(Done done, TimeNs limit_ns, bool must_finish) {
    const TimeNs end_ns = network_.now() + limit_ns;
    while (!done() && !network_.trace().isViolated() && network_.nextTime() != never_ns) {
      if (network_.nextTime() > end_ns) break;
      network_.runNext();
    }
    if (!must_finish || done() || network_.trace().isViolated()) return;
    network_.trace().violate("progress", "request %lld and %llu more have no outcome after %lld s of quiet",
                             static_cast<long long>(ledger_.firstOpen()),
                             static_cast<unsigned long long>(ledger_.openCount()),
                             static_cast<long long>(limit_ns / ns_per_s));
  }

  void drain() {
    network_.trace().note("drain");
    for (auto& worker : workers_) worker->stop();
    const auto ended = [this] {
      return std::ranges::all_of(workers_, [](const auto& worker) { return worker->hasEnded(); });
    };
    const TimeNs end_ns = network_.now() + longest_drain_ns;
    while (!ended() && !network_.trace().isViolated() && network_.nextTime() <= end_ns) network_.runNext();
    if (network_.trace().isViolated()) return;
    if (!ended()) return network_.trace().violate("drain", "a worker does not end");
    for (auto& worker : workers_) worker->checkEmpty();
  }

  RunResult report() {
    RunResult result;
    result.violation = network_.trace().violation();
    result.hash = network_.trace().hash();
    result.events = network_.trace().events();
    result.requests = ledger_.size();
    result.complete = ledger_.count(RequestRecord::Outcome::complete);
    result.cancelled = ledger_.count(RequestRecord::Outcome::cancelled);
    for (auto& worker : workers_) {
      result.retries_unprocessed += worker->poolCounters().retries_unprocessed;
      result.retries_unknown += worker->poolCounters().retries_unknown;
    }
    result.virtual_s = static_cast<double>(network_.now()) / ns_per_s;
    result.last = network_.trace().last();
    return result;
  }

  Network network_;
  Ledger ledger_;
  Scene scene_;
  WorkerOptions worker_options_;
  std::vector<std::unique_ptr<Backend>> backends_;
  std::vector<std::unique_ptr<SimWorker>> workers_;
  std::vector<std::unique_ptr<H2Client>> h2_clients_;
  std::vector<std::unique_ptr<H1Client>> h1_clients_;
};

}  // namespace

RunResult runSeed(const RunOptions& options) {
  auto world = std::make_unique<World>(options);
  RunResult result = world->run();
  // What a failed run leaves behind would only hide its reason.
  if (!result.violation.empty()) static_cast<void>(world.release());
  return result;
}

}  // namespace plait::sim
