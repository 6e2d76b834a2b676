#include "plait/base/alloc_guard.h"
#include "plait/control/metrics.h"
#include "plait/io/sync.h"
#include "plait/proxy/worker_memory.h"
#include "sim/hostile.h"
#include "sim/world.h"

namespace plait::sim {

SimWorker::SimWorker(Network& network, Names& names, const WorkerOptions& options, uint32_t number)
    : sim(network.sim),
      actor_("worker " + std::to_string(number)),
      memory_(options.limits),
      access_ring_(options.limits.access_ring_bytes),
      kernel_(network, names, memory_.buffers, first_worker_host + number, actor_),
      core_(options, memory_, nullptr, kernel_, counters_, &access_ring_),
      // A client that takes nothing is found out a quarter too late; the rest is for workers and links that pause.
      farewell_limit_ns_((options.server_timeouts.stall_ms * 3 / 2 + 60'000) * ns_per_ms) {
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
  // Where plans are replaced any place may get an endpoint.
  snapshot_.backends.resize(sim.faults.exists(Fault::reloads) ? options.limits.endpoints
                                                              : options.plan->authorities.size());
  core_.drainOn(stop_op_);
  order_op_.owner = this;
  order_op_.on_complete = [](void* self, const Completion&) { static_cast<SimWorker*>(self)->carryOut(); };
  control();
  wake(sim.now());
}

void SimWorker::control() {
  if (core_.isDrained()) return;
  core_.fill(snapshot_);
  for (const FaultFamily& family : faultFamilies()) {
    for (size_t i = 1; i < plait::fault_count; ++i) {
      if (family.of(snapshot_)[i] == 0 || family.has(static_cast<plait::Fault>(i))) continue;
      sim.violate("metrics", "%s counts %s in %s, where it cannot occur", actor_.c_str(),
                  faultName(static_cast<plait::Fault>(i)), family.name);
    }
  }
  snapshot_.slabs.forEach([&](const char* name, const SlabUse& use) {
    if (use.peak > use.capacity) sim.violate("memory", "%s has used more of %s than there is", actor_.c_str(), name);
  });
  ConnectionPool& pool = *core_.pool();
  if (pool.promisedBlocks() > pool.windows().capacity()) {
    sim.violate("windows", "%s has promised %zu of %zu blocks by which windows may grow", actor_.c_str(),
                pool.promisedBlocks(), pool.windows().capacity());
  }
  if (core_.server().longestFarewell() > farewell_limit_ns_)
    sim.violate("farewell", "%s says its last words to a client that does not take them", actor_.c_str());
  lookAtLeaving();
  AllocGuard::enter(AllocGuard::Phase::serving);
  if (!spins_ && sim.oneIn(200) && !is_told_to_stop_) {
    spins_ = true;
    spin_scope_.spawn(spin(*this, core_.io()), core_.io());
  }
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
    if (!record.is_complete && record.cause.code == ErrorCode::none)
      sim.violate("access log", "%s logs a response that was cut short, and no cause", actor_.c_str());
  }
}

void SimWorker::onEndpointState(EndpointId endpoint, EndpointState state, const Error& cause) {
  static constexpr const char* names[] = {"up", "on trial", "down", "ejected", "leaving"};
  sim.say(actor_.c_str(), "has backend %u %s: %s", endpoint.index, names[static_cast<size_t>(state)], cause.reason);
  if ((state == EndpointState::down || state == EndpointState::ejected) && cause.isOwnShortage()) {
    sim.violate("blame", "%s blames backend %u for what it lacks itself: %s", actor_.c_str(), endpoint.index,
                cause.reason);
  }
  if (state == EndpointState::ejected && on_ejected) {
    const AllocGuard::Pause pause;
    on_ejected(endpoint.index);
  }
}

void SimWorker::onEndpointFault(EndpointId endpoint, const Error& error, Bytes, TimeNs) {
  if (error.code == ErrorCode::no_memory && std::string_view(error.reason).ends_with("the response's body")) {
    sim.violate("windows", "%s has no block for what it has given a window for", actor_.c_str());
  }
  sim.say(actor_.c_str(), "finds fault with backend %u: %s", endpoint.index, error.reason);
}

void SimWorker::onClientFault(const ClientInfo&, const Error& error, TimeNs) {
  sim.say(actor_.c_str(), "finds fault with a client: %s", error.reason);
}

void SimWorker::listen(const sockaddr_storage& address, TlsContext* tls, bool tls_by_first_byte) {
  sockaddr_storage bound = address;
  PLAIT_ASSERT(core_.server().listen(bound, tls, tls_by_first_byte));
  wake(sim.now());
}

void SimWorker::stop() {
  sim.say(actor_.c_str(), "is told to stop");
  is_told_to_stop_ = true;
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
      out_turns_ = 0;
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
  lookAtTurn();
  lookAfterCommit();
  if (core_.isDrained()) return carryOut();
  lookAtBuffers();
  lookAtLine();
  // A turn takes its time; one that found nothing to do ends in sleep.
  if (!kernel_.isAsleep()) return wake(sim.now() + sim.between(5, 60) * ns_per_us);
  if (kernel_.sleepsUntil() != never_ns) wake(kernel_.sleepsUntil());
}

Task<void> SimWorker::spin(SimWorker& worker, Io& io) {
  struct Again {
    Io& io;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) { io.ready(handle); }
    void await_resume() const {}
  };
  uint32_t turn = io.turnNumber();
  uint32_t in_turn = 0;
  // A task that is left in the worker's last turn would be taken for a leak.
  for (uint32_t i = 0; i < 3 * Io::rounds_per_turn && !worker.is_told_to_stop_; ++i) {
    co_await Again{io};
    in_turn = std::exchange(turn, io.turnNumber()) == io.turnNumber() ? in_turn + 1 : 0;
    if (in_turn <= Io::rounds_per_turn) continue;
    const AllocGuard::Pause pause;
    worker.sim.violate("every turn ends", "%s goes on for as long as anybody is ready", worker.actor_.c_str());
    break;
  }
  worker.spins_ = false;
}

// A request for which there is room anywhere is woken in the turn in which that comes about, or with the next look.
void SimWorker::lookAtLine() {
  // A socket that is closed before its successor is dialled takes a turn or two.
  undialled_turns_ = core_.pool()->owesDial() ? undialled_turns_ + 1 : 0;
  if (undialled_turns_ > 8)
    sim.violate("waiting", "%s lets a request wait for a connection that nobody makes", actor_.c_str());
  const TimeNs joined_ns = core_.store()->clusters().owedSince();
  if (joined_ns != owed_joined_ns_ || joined_ns == never_ns) {
    owed_joined_ns_ = joined_ns;
    owed_from_ns_ = sim.now();
    owed_turns_ = 0;
    return;
  }
  owed_turns_ += 1;
  if (owed_turns_ > 4 && sim.now() - owed_from_ns_ > 600 * ns_per_ms) {
    sim.violate("waiting", "%s lets a request wait although a backend that it has not tried has room for it",
                actor_.c_str());
  }
}

void SimWorker::replaceBackend(size_t n) {
  ConnectionPool& pool = *core_.pool();
  const EndpointId id = endpoint(n);
  if (core_.isDrained() || pool.find(id) == nullptr) return;
  sim.say(actor_.c_str(), "knows backend %zu no more", n);
  BackendOptions next = *pool.find(id)->options;
  next.name += "-next";
  pool.remove(id);
  if (pool.find(id) != nullptr || pool.remove(id))
    sim.violate("stale id", "%s finds a backend that has gone", actor_.c_str());
  PLAIT_ASSERT(pool.add(next).has_value());
  AllocGuard::enter(AllocGuard::Phase::serving);
  spin_scope_.spawn(askInVain(*this, id, core_.io()), core_.io());
  AllocGuard::enter(AllocGuard::Phase::init);
  wake(sim.now());
}

Task<void> SimWorker::askInVain(SimWorker& worker, EndpointId id, Io& io) {
  auto lease = co_await worker.core_.pool()->getOrCreate(id, io);
  if (!lease && lease.error().reach == Reach::backend) co_return;
  const AllocGuard::Pause pause;
  worker.sim.violate("stale id", "%s leases a stream of a backend that has gone", worker.actor_.c_str());
  if (lease) worker.core_.pool()->release(*lease, true, io);
}

void SimWorker::starve(size_t left, TimeNs for_ns) {
  if (core_.isDrained() || frame_hog_) return;
  sim.say(actor_.c_str(), "has no coroutine frames but %zu for %lld ms", left,
          static_cast<long long>(for_ns / ns_per_ms));
  frame_hog_.emplace(core_.io(), left);
  sim.after(for_ns, [this] {
    sim.say(actor_.c_str(), "has coroutine frames again");
    frame_hog_.reset();
  });
}

void SimWorker::embed(size_t backend, int64_t keeps_ms, bool requests) {
  if (core_.isDrained()) return;
  AllocGuard::enter(AllocGuard::Phase::serving);
  spin_scope_.spawn(useLease(*this, endpoint(backend), keeps_ms, requests, core_.io()), core_.io());
  AllocGuard::enter(AllocGuard::Phase::init);
  wake(sim.now());
}

Task<void> SimWorker::useLease(SimWorker& worker, EndpointId id, int64_t keeps_ms, bool requests, Io& io) {
  ConnectionPool& pool = *worker.core_.pool();
  auto lease = co_await pool.getOrCreate(id, io);
  if (!lease) co_return;
  if (keeps_ms != 0) co_await sleepUntil(io.nowNs() + keeps_ms * ns_per_ms, io);
  bool is_well = true;
  if (requests) {
    auto response = co_await lease->request("GET", hostile_path, "embedder.example.test", nullptr, io);
    is_well = response || !response.error().reachesConnection();
  }
  pool.release(*lease, is_well, io);
}

// An endpoint that leaves keeps its place for as long as a lookup or a dial may take, whatever runs on its connections.
void SimWorker::lookAtLeaving() {
  if (!sim.faults.areGraceful()) return;
  forEachEndpoint([this](const Endpoint& endpoint) {
    if (endpoint.state != EndpointState::leaving || sim.now() - endpoint.since_ns < 15 * ns_per_s) return;
    sim.violate("places", "%s does not get the place of backend %u back, which has left", actor_.c_str(),
                endpoint.id.index);
  });
}

// Nobody has so much to do in one turn.
void SimWorker::lookAtTurn() {
  if (spins_ || core_.io().roundsOfTurn() < Io::rounds_per_turn) return;
  sim.violate("every turn ends", "%s has a task that is always ready", actor_.c_str());
}

// A client that does not read must not keep the receive buffers from the others. A worker that does not run gives
// nothing back either, so turns are counted as well as time.
void SimWorker::lookAtBuffers() {
  if (core_.server().buffersOfWaiting() != 0) {
    sim.violate("receive buffers", "%s lends some to who waits for something else", actor_.c_str());
  }
  const bool are_out = memory_.buffers.lent() >= memory_.buffers.count() - memory_.buffers.kept();
  if (!are_out || out_turns_ == 0) {
    out_since_ns_ = sim.now();
    out_turns_ = are_out ? 1 : 0;
    return;
  }
  out_turns_ += 1;
  if (out_turns_ > 3 && sim.now() - out_since_ns_ > 2 * ns_per_s) {
    sim.violate("receive buffers", "%s has had none of %u left for clients for 2 s", actor_.c_str(),
                memory_.buffers.count());
  }
}

bool SimWorker::isAtRest() {
  const Server& server = core_.server();
  ConnectionPool& pool = *core_.pool();
  const size_t requests =
      server.h2_exchanges.used() + server.h1_exchanges.used() + pool.h2Streams().used() + pool.h1Streams().used();
  // The last words to a client that does not read them wait until that counts as a stall.
  return requests + memory_.send_blocks.used() == 0 && areEndpointsAtRest();
}

List<Endpoint, &Endpoint::node>& SimWorker::endpoints() const {
  auto& core = const_cast<WorkerCore&>(core_);
  return const_cast<EndpointTable&>(core.pool()->endpoints()).all();
}

void SimWorker::forEachEndpoint(const std::function<void(Endpoint&)>& use) const {
  auto& all = endpoints();
  for (Endpoint* endpoint = all.front(); endpoint != nullptr; endpoint = all.next(*endpoint)) use(*endpoint);
}

// -- generations of the plan

void SimWorker::order(std::function<void()> call) {
  if (core_.isDrained()) return call();
  orders_.push_back(std::move(call));
  if (is_ordered_) return;
  is_ordered_ = true;
  if (!order_op_.armed) core_.io().submit(order_op_);
  kernel_.post(order_op_, 0);
}

void SimWorker::carryOut() {
  const AllocGuard::Pause pause;
  is_ordered_ = false;
  while (!orders_.empty()) {
    const auto call = std::move(orders_.front());
    orders_.erase(orders_.begin());
    call();
  }
}

// Nothing is allocated or freed by what a worker does with a plan.
template <class Call>
auto SimWorker::serving(Call call) {
  const uint64_t allocations = AllocGuard::servingAllocations();
  const uint64_t frees = AllocGuard::servingFrees();
  AllocGuard::enter(AllocGuard::Phase::serving);
  auto result = call();
  AllocGuard::enter(AllocGuard::Phase::init);
  if (AllocGuard::servingAllocations() != allocations || AllocGuard::servingFrees() != frees)
    sim.violate("memory", "%s allocates or frees for a generation", actor_.c_str());
  return result;
}

Status SimWorker::prepare(const plait::Plan& next) {
  if (core_.isDrained()) return fail(backendError(ErrorCode::shutting_down, "the worker has ended"));
  sim.say(actor_.c_str(), "prepares generation %llu", static_cast<unsigned long long>(next.generation));
  const plait::Plan& before = core_.store()->current();
  const Status prepared = serving([&] { return core_.store()->prepare(next); });
  if (!prepared) checkPlan(before);
  return prepared;
}

void SimWorker::undo() {
  if (core_.isDrained()) return;
  serving([&] {
    core_.store()->undo();
    return 0;
  });
  checkPlan(core_.store()->current());
}

void SimWorker::commit(const plait::Plan& next, route::RouteScratch* scratch) {
  if (core_.isDrained()) return;
  sim.say(actor_.c_str(), "takes generation %llu", static_cast<unsigned long long>(next.generation));
  struct Known {
    std::string cluster;
    std::string host;
    EndpointId id;
    uint32_t ready;
    uint32_t dialling;
    bool is_idle;
  };
  const auto nowOf = [this](const plait::Plan& plan) {
    std::vector<Known> known;
    for (const auto& cluster : plan.clusters) {
      if (cluster == nullptr) continue;
      for (const EndpointSpec& spec : cluster->endpoints) {
        const EndpointId id = core_.store()->clusters().endpoint(spec.options->number);
        const Endpoint* endpoint = core_.pool()->find(id);
        if (endpoint == nullptr) continue;
        const uint32_t dialling = endpoint->h2.dialling + endpoint->h1.dialling + endpoint->own_dialling;
        known.push_back({cluster->identity->name, spec.options->host, id, endpoint->readyConnections(), dialling,
                         endpoint->in_flight == 0 && dialling == 0});
      }
    }
    return known;
  };
  const std::vector<Known> before = nowOf(core_.store()->current());
  serving([&] {
    core_.store()->commit(next, scratch, core_.server().timeouts);
    return 0;
  });
  const std::vector<Known> after = nowOf(next);
  untouched_.clear();
  const bool nobody_waits = core_.store()->clusters().waiting() == 0;
  for (const Known& was : before) {
    for (const Known& is : after) {
      if (was.cluster != is.cluster || was.host != is.host) continue;
      if (is.id != was.id || is.ready != was.ready || is.dialling != was.dialling)
        sim.violate("connections stay", "%s has %u connections of %s, which did not change, and had %u", actor_.c_str(),
                    is.ready, is.host.c_str(), was.ready);
      // With a second connection one of them may be superfluous.
      if (is.is_idle && is.ready == 1 && nobody_waits && sim.faults.isCalm()) untouched_.push_back({is.id, is.ready});
    }
  }
  checkPlan(next);
}

// Nor does what follows from a commit in its turn.
void SimWorker::lookAfterCommit() {
  for (const Untouched& one : untouched_) {
    const Endpoint* endpoint = core_.pool()->find(one.id);
    if (endpoint == nullptr || endpoint->in_flight != 0 || core_.isDrained() || is_told_to_stop_) continue;
    if (endpoint->readyConnections() != one.ready || endpoint->h2.dialling + endpoint->h1.dialling != 0)
      sim.violate("connections stay", "%s dials or closes at backend %u because of a generation", actor_.c_str(),
                  one.id.index);
  }
  untouched_.clear();
}

void SimWorker::checkPlan(const plait::Plan& plan) {
  if (core_.store()->current().generation != plan.generation)
    sim.violate("all or none", "%s has generation %llu instead of %llu", actor_.c_str(),
                static_cast<unsigned long long>(core_.store()->current().generation),
                static_cast<unsigned long long>(plan.generation));
  size_t named = 0;
  for (const auto& cluster : plan.clusters) {
    if (cluster == nullptr) continue;
    for (const EndpointSpec& spec : cluster->endpoints) {
      named += 1;
      const Endpoint* endpoint = core_.pool()->find(core_.store()->clusters().endpoint(spec.options->number));
      if (endpoint == nullptr || endpoint->options != spec.options)
        sim.violate("all or none", "%s does not have %s as its plan names it", actor_.c_str(),
                    spec.options->name.c_str());
    }
  }
  size_t there = 0;
  forEachEndpoint([&](const Endpoint& endpoint) { there += endpoint.state == EndpointState::leaving ? 0 : 1; });
  if (there != named + crowd_.size())
    sim.violate("all or none", "%s has %zu endpoints, and its plan names %zu", actor_.c_str(), there, named);
}

void SimWorker::crowd(size_t left) {
  if (core_.isDrained()) return;
  sim.say(actor_.c_str(), "has no places for endpoints but %zu", left);
  BackendOptions options;
  options.name = options.host = "crowd.example.test";
  options.number = static_cast<uint32_t>(core_.store()->clusters().endpointCapacity()) - 1;
  const auto held = std::make_shared<const BackendOptions>(options);
  while (const auto id = core_.pool()->add(held)) crowd_.push_back(*id);
  for (; left != 0 && !crowd_.empty(); --left) {
    core_.pool()->remove(crowd_.back());
    crowd_.pop_back();
  }
}

void SimWorker::uncrowd() {
  for (const EndpointId id : std::exchange(crowd_, {})) core_.pool()->remove(id);
}

bool SimWorker::areEndpointsAtRest() {
  auto& all = endpoints();
  for (Endpoint* endpoint = all.front(); endpoint != nullptr; endpoint = all.next(*endpoint)) {
    const bool has_queue = !endpoint->h2.queue.empty() || !endpoint->h1.queue.empty() || !endpoint->own_queue.empty();
    if (endpoint->borrowers + endpoint->h2.dialling + endpoint->h1.dialling + endpoint->own_connections != 0 ||
        endpoint->in_flight != 0 || has_queue)
      return false;
  }
  return core_.store()->clusters().isAtRest();
}

// The counts of an endpoint are 0 when nothing is under way.
void SimWorker::checkEndpoints() {
  auto& all = endpoints();
  for (Endpoint* endpoint = all.front(); endpoint != nullptr; endpoint = all.next(*endpoint)) {
    const auto expectNone = [&](const char* what, size_t count) {
      if (count == 0) return;
      sim.violate("places", "%s counts %zu %s of backend %u at rest", actor_.c_str(), count, what, endpoint->id.index);
    };
    expectNone("connections of their own", endpoint->own_connections);
    expectNone("dials of their own", endpoint->own_dialling);
    expectNone("dials over HTTP/2", endpoint->h2.dialling);
    expectNone("dials over HTTP/1.1", endpoint->h1.dialling);
    expectNone("borrowers", endpoint->borrowers);
    expectNone("retired connections that run", endpoint->retired_running);
    expectNone("addresses", endpoint->addresses);
    expectNone("streams that run", endpoint->in_flight);
    expectNone("requests that wait", (endpoint->h2.queue.empty() ? 0 : 1) + (endpoint->h1.queue.empty() ? 0 : 1) +
                                         (endpoint->own_queue.empty() ? 0 : 1));
    expectNone("requests without a head", endpoint->awaiting.empty() ? 0 : 1);
  }
  if (core_.pool()->places().tunnels != 0) sim.violate("places", "%s counts tunnels at rest", actor_.c_str());
  if (!core_.store()->clusters().isAtRest()) sim.violate("places", "%s has requests in line at rest", actor_.c_str());
}

void SimWorker::checkAtRest() {
  WorkerCore& core = core_;
  const auto expectNone = [&](const char* what, size_t used) {
    if (used != 0) sim.violate("everything is back", "%s holds %zu %s at rest", actor_.c_str(), used, what);
  };
  expectNone("exchanges of HTTP/2", core.server().h2_exchanges.used());
  expectNone("exchanges of HTTP/1.1", core.server().h1_exchanges.used());
  expectNone("blocks of uploads", core.server().uploads.blocks.used());
  expectNone("blocks of responses", memory_.stream_blocks.used());
  expectNone("receive buffers", memory_.buffers.lent());
  expectNone("bytes of its clients' windows", static_cast<size_t>(core.server().lostCredit()));
  expectNone("send blocks", memory_.send_blocks.used());
  expectNone("arrays of sends", core.io().vectorArrays().used());
  if (core.pool() == nullptr) return;
  expectNone("upstream streams of HTTP/2", core.pool()->h2Streams().used());
  expectNone("blocks of windows that have grown", core.pool()->windows().used());
  expectNone("upstream streams of HTTP/1.1", core.pool()->h1Streams().used());
  expectNone("bytes for replay", replay_bytes_ - core.pool()->replayBudget().available);
  checkEndpoints();
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
  // Every place of an endpoint can be given back by now.
  while (Endpoint* endpoint = endpoints().front()) {
    if (!core_.pool()->remove(endpoint->id) || endpoints().front() == endpoint) {
      sim.violate("places", "%s does not get the place of backend %u back", actor_.c_str(), endpoint->id.index);
      break;
    }
  }
  if (kernel_.openDescriptors() != 0) {
    sim.violate("everything is back", "%s leaves open: %s", actor_.c_str(), kernel_.describe().c_str());
  }
}

}  // namespace plait::sim
