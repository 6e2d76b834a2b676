#include "plait/base/alloc_guard.h"
#include "plait/proxy/worker_memory.h"
#include "sim/world.h"

namespace plait::sim {

SimWorker::SimWorker(Network& network, Names& names, const WorkerOptions& options, uint32_t number)
    : sim(network.sim),
      actor_("worker " + std::to_string(number)),
      memory_(options.limits),
      access_ring_(options.limits.access_ring_bytes),
      kernel_(network, names, memory_.buffers, 0x0a010001 + number, actor_),
      core_(options, memory_, nullptr, kernel_, counters_, &access_ring_) {
  kernel_.wake = [this] { wake(sim.now() + sim.below(20'000) + kernel_.gathers()); };
  if (core_.pool() != nullptr) replay_bytes_ = core_.pool()->replayBudget().available;
  core_.pool()->setObserver(this);
  core_.server().setObserver(this);
  const uint64_t reserved = core_.reservedBytes() + access_ring_.reservedBytes();
  if (const uint64_t said = sumOf(memoryOf(options)); reserved > said) {
    sim.violate("memory", "%s reserves %llu bytes and %llu were announced", actor_.c_str(),
                static_cast<unsigned long long>(reserved), static_cast<unsigned long long>(said));
  }
  // Which costs more than all the rest of a run.
  if (sim.oneIn(100)) core_.prefault();
  snapshot_.backends.resize(options.backends.size());
  core_.drainOn(stop_op_);
  control();
  wake(sim.now());
}

void SimWorker::control() {
  if (core_.isDrained()) return;
  core_.fill(snapshot_);
  for (const SlabUse& slab : snapshot_.slabs) {
    if (slab.peak > slab.capacity)
      sim.violate("memory", "%s has used more of %s than there is", actor_.c_str(), slab.name);
  }
  AllocGuard::enter(AllocGuard::Phase::serving);
  core_.tryBackends();
  AllocGuard::enter(AllocGuard::Phase::init);
  drainLog();
  wake(sim.now());
  sim.after(ns_per_s, [this] { control(); });
}

void SimWorker::drainLog() {
  for (AccessRecord record; access_ring_.front(record); access_ring_.popped()) {
    logged_ += 1;
    if (record.ended_ns < record.started_ns)
      sim.violate("access log", "%s logs a request that ends before it begins", actor_.c_str());
  }
}

void SimWorker::onBackendDown(uint32_t backend_idx, const Error& error) {
  sim.say(actor_.c_str(), "cannot reach backend %u: %s", backend_idx, error.reason);
}

void SimWorker::onBackendUp(uint32_t backend_idx) {
  sim.say(actor_.c_str(), "reaches backend %u again", backend_idx);
}

void SimWorker::onBackendFault(uint32_t backend_idx, const Error& error, TimeNs) {
  sim.say(actor_.c_str(), "finds fault with backend %u: %s", backend_idx, error.reason);
}

void SimWorker::onClientFault(const ClientInfo&, const Error& error, TimeNs) {
  sim.say(actor_.c_str(), "finds fault with a client: %s", error.reason);
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
  lookAtBuffers();
  // A turn takes its time; one that found nothing to do ends in sleep.
  if (!kernel_.isAsleep()) return wake(sim.now() + sim.between(5, 60) * ns_per_us);
  if (kernel_.sleepsUntil() != never_ns) wake(kernel_.sleepsUntil());
}

// Whoever does not read must not keep from the others what their bytes arrive in. A worker that does not run gives
// nothing back either, so turns are counted as well as time.
void SimWorker::lookAtBuffers() {
  const bool are_out = memory_.buffers.lent() == memory_.buffers.count();
  if (!are_out || out_turns_ == 0) {
    out_since_ns_ = sim.now();
    out_turns_ = are_out ? 1 : 0;
    return;
  }
  out_turns_ += 1;
  if (out_turns_ > 3 && sim.now() - out_since_ns_ > 2 * ns_per_s) {
    sim.violate("receive buffers", "%s has had none of %u left for 2 s", actor_.c_str(), memory_.buffers.count());
  }
}

bool SimWorker::isAtRest() {
  const Server& server = core_.server();
  ConnectionPool& pool = *core_.pool();
  const size_t requests =
      server.h2_exchanges.used() + server.h1_exchanges.used() + pool.h2Streams().used() + pool.h1Streams().used();
  // The last words to a client that does not read them wait until that counts as a stall.
  return requests + memory_.send_blocks.used() == 0;
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
  expectNone("bytes of its clients' windows", static_cast<size_t>(core.server().lostCredit()));
  expectNone("send blocks", memory_.send_blocks.used());
  expectNone("arrays of sends", core.io().vectorArrays().used());
  if (core.pool() == nullptr) return;
  expectNone("upstream streams of HTTP/2", core.pool()->h2Streams().used());
  expectNone("upstream streams of HTTP/1.1", core.pool()->h1Streams().used());
  expectNone("bytes for replay", replay_bytes_ - core.pool()->replayBudget().available);
}

void SimWorker::checkDrained() {
  checkAtRest();
  drainLog();
  const ServerCounters& served = core_.server().counters();
  if (logged_ + access_ring_.dropped() != served.requests_h1 + served.requests_h2) {
    sim.violate("access log", "%s has logged %llu of %llu requests", actor_.c_str(),
                static_cast<unsigned long long>(logged_ + access_ring_.dropped()),
                static_cast<unsigned long long>(served.requests_h1 + served.requests_h2));
  }
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
