#include "plait/base/alloc_guard.h"
#include "sim/world.h"

namespace plait::sim {

SimWorker::SimWorker(Network& network, Names& names, const WorkerOptions& options, uint32_t number)
    : sim(network.sim),
      actor_("worker " + std::to_string(number)),
      memory_(options.limits),
      kernel_(network, names, memory_.buffers, 0x0a010001 + number, actor_),
      core_(options, memory_, nullptr, kernel_, counters_, nullptr) {
  kernel_.wake = [this] { wake(sim.now() + sim.below(20'000)); };
  if (core_.pool() != nullptr) replay_bytes_ = core_.pool()->replayBudget().available;
  core_.drainOn(stop_op_);
  wake(sim.now());
}

void SimWorker::listen(const sockaddr_storage& address, TlsContext* tls, bool tls_by_first_byte) {
  sockaddr_storage bound = address;
  PLAIT_ASSERT(core_.server().listen(bound, tls, tls_by_first_byte) == 0);
  wake(sim.now());
}

void SimWorker::stop() {
  sim.say(actor_.c_str(), "is told to stop");
  kernel_.post(stop_op_, 0);
}

void SimWorker::wake(TimeNs when_ns) {
  when_ns = std::max(when_ns, paused_until_ns_);
  if (when_ns >= wakes_at_ns_) return;
  wakes_at_ns_ = when_ns;
  if (when_ns == never_ns) return;
  sim.at(when_ns, [this, number = ++wake_number_] {
    if (number != wake_number_ || core_.isDrained()) return;
    if (sim.strikes(Fault::worker_pause)) {
      const TimeNs pause_ns = sim.between(1, sim.oneIn(5) ? 20'000 : 300) * ns_per_ms;
      sim.say(actor_.c_str(), "does not run for %lld ms", static_cast<long long>(pause_ns / ns_per_ms));
      wakes_at_ns_ = never_ns;
      paused_until_ns_ = sim.now() + pause_ns;
      return wake(paused_until_ns_);
    }
    turn();
  });
}

void SimWorker::turn() {
  wakes_at_ns_ = never_ns;
  const uint64_t allocations = AllocGuard::servingAllocations();
  AllocGuard::enter(AllocGuard::Phase::serving);
  core_.io().turn(never_ns);
  AllocGuard::enter(AllocGuard::Phase::init);
  if (AllocGuard::servingAllocations() != allocations) {
    sim.violate("memory", "%s allocated while it serves", actor_.c_str());
  }
  if (core_.isDrained()) return;
  // A turn takes its time; one that found nothing to do ends in sleep.
  if (!kernel_.isAsleep()) return wake(sim.now() + sim.between(5, 60) * ns_per_us);
  if (kernel_.sleepsUntil() != never_ns) wake(kernel_.sleepsUntil());
}

bool SimWorker::isAtRest() {
  const Server& server = core_.server();
  ConnectionPool& pool = *core_.pool();
  return server.h2_exchanges.used() + server.h1_exchanges.used() + pool.h2Streams().used() + pool.h1Streams().used() ==
         0;
}

void SimWorker::checkAtRest() {
  WorkerCore& core = core_;
  const auto expectNone = [&](const char* what, size_t used) {
    if (used != 0) sim.violate("everything is back", "%s holds %zu %s at rest", actor_.c_str(), used, what);
  };
  expectNone("exchanges of HTTP/2", core.server().h2_exchanges.used());
  expectNone("exchanges of HTTP/1.1", core.server().h1_exchanges.used());
  expectNone("blocks of uploads", core.server().upload_blocks.used());
  expectNone("blocks of responses", memory_.stream_blocks.used());
  expectNone("receive buffers", memory_.buffers.lent());
  expectNone("send blocks", memory_.send_blocks.used());
  expectNone("arrays of sends", core.io().vectorArrays().used());
  if (core.pool() == nullptr) return;
  expectNone("upstream streams of HTTP/2", core.pool()->h2Streams().used());
  expectNone("upstream streams of HTTP/1.1", core.pool()->h1Streams().used());
  expectNone("bytes for replay", replay_bytes_ - core.pool()->replayBudget().available);
}

void SimWorker::checkDrained() {
  checkAtRest();
  const auto expectNone = [&](const char* what, size_t used) {
    if (used != 0) sim.violate("everything is back", "%s holds %zu %s at its end", actor_.c_str(), used, what);
  };
  expectNone("client connections", core_.server().connectionCount());
  expectNone("coroutine frames", core_.io().frames().used());
  expectNone("record blocks", memory_.record_blocks.used());
  for (size_t i = 0; i < std::size(http::HeaderSlab::class_sizes); ++i) {
    expectNone("header blocks", memory_.headers.ofClass(i).used());
  }
  if (core_.pool() != nullptr) expectNone("upstream connections", core_.pool()->connectionCount());
  if (kernel_.openDescriptors() != 0) {
    sim.violate("everything is back", "%s leaves open: %s", actor_.c_str(), kernel_.describe().c_str());
  }
}

}  // namespace plait::sim
