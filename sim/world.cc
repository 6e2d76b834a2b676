#include "sim/world.h"

#include <algorithm>

#include "sim/draw.h"

namespace plait::sim {
namespace {

// Longer than the longest timeout of the proxy with all repeats.
constexpr TimeNs quiet_limit_ns = 1200 * ns_per_s;

// Two listeners, which are there from the beginning to the end.
class FixedWays final : public Ways {
 public:
  Way choose(bool asks_tls_port) override { return {asks_tls_port ? secureProxyAddress() : proxyAddress(), false}; }
  void onCertificate(const char*, const Way&, const std::string&, TimeNs) override {}
};

}  // namespace

World::World(uint64_t seed, bool lasts_an_hour)
    : seed_(seed),
      lasts_an_hour_(lasts_an_hour),
      sim_(seed, lasts_an_hour ? Weather::graceful : weatherOf(seed)),
      network_(sim_),
      names_(sim_),
      ledger_(sim_) {
  seedTls(seed);
  network_.hashes_content = !tls_is_real;
  if (!lasts_an_hour) return;
  for (const Fault trait : {Fault::client_holds, Fault::client_leaves, Fault::backend_leaves_politely})
    sim_.faults.add(trait);
  if (seed % 2 == 0) sim_.faults.add(Fault::reloads);
  ledger_.held_ms = {3'300'000, 3'600'000};
  ledger_.tick_us = {5'000'000, 20'000'000};
}

World::~World() = default;

Client& World::addClient(ClientOptions options) {
  options.limits = options_.limits;
  const auto number = static_cast<uint32_t>(clients_.size());
  clients_.push_back(std::make_unique<Client>(network_, ledger_, tls_, number, *ways_, options));
  return *clients_.back();
}

void World::build() {
  const Draw drawn(seed_, sim_, network_, names_, ledger_, tls_, lasts_an_hour_);
  options_ = drawn.proxy;
  ledger_.has_x_forwarded = options_.forward.x_forwarded;
  ledger_.has_forwarded = options_.forward.forwarded;
  Listeners* listeners = nullptr;
  if (has(Fault::reloads)) {
    auto made = std::make_unique<Listeners>(network_, tls_, seed_, drawn.tls_by_first_byte);
    listeners = made.get();
    ways_ = std::move(made);
    operator_ = std::make_unique<Operator>(sim_, seed_, options_, *listeners, drawn.backends, drawn.response_head_ms,
                                           ledger_.max_body, lasts_an_hour_);
    ledger_.sites = operator_->sites();
  } else {
    ways_ = std::make_unique<FixedWays>();
  }
  tls_by_first_byte_ = drawn.tls_by_first_byte;
  for (OriginOptions options : drawn.origins) {
    options.limits = options_.limits;
    const auto number = static_cast<uint32_t>(origins_.size());
    origins_.push_back(std::make_unique<Origin>(network_, ledger_, tls_, number, options));
  }
  for (ClientOptions options : drawn.clients) {
    // Behind a request that is answered early the connection closes, whatever was pipelined.
    if (operator_ != nullptr && operator_->hasAnswers() && !options.speaks_h2) options.parallel = 1;
    addClient(options);
  }
  for (uint32_t i = 0; i < drawn.workers; ++i) {
    workers_.push_back(std::make_unique<SimWorker>(network_, names_, options_, i));
    if (listeners != nullptr) {
      listeners->openFirst(*workers_.back());
      continue;
    }
    workers_.back()->listen(proxyAddress(), nullptr, false);
    workers_.back()->listen(secureProxyAddress(), &tls_.server({"h2", "http/1.1"}), tls_by_first_byte_);
  }
  for (auto& origin : origins_) origin->start();
  for (auto& client : clients_) client->start();
  ledger_.backends = static_cast<uint32_t>(origins_.size());
  ledger_.up_since = [this](uint32_t worker, uint32_t backend) { return upSince(worker, backend); };
  ledger_.well_since = [this](uint32_t worker, uint32_t backend) {
    return std::max(upSince(worker, backend), origins_[backend]->disturbed());
  };
  // Other causes for plait to repeat a request, or to hide a try from backends, switch these checks off.
  ledger_.checks_repetitions = drawn.response_head_ms >= 60'000 && options_.pool_timeouts.ping_ms >= 15'000;
  ledger_.checks_tried = (sim_.faults.areGraceful() || sim_.faults.isOutage()) && !has(Fault::http_1_1_required) &&
                         !has(Fault::settings_change);
  ledger_.resets_may_wait = options_.limits.upload_pool_bytes < 1 << 20 && has(Fault::backend_hang);
  planSickness();
  planRemoval();
  planEmbedder();
  planStarvation();
  if (operator_ != nullptr) planReloads();
}

void World::planReloads() {
  operator_->start(workers_);
  // Held here the first plan would keep the numbers of all that it names.
  options_.plan = nullptr;
  ledger_.check_attempt = [this](const Entry& entry, const char* actor, Attempt attempt) {
    operator_->checkAttempt(entry, actor, attempt);
  };
  ledger_.may_lack_route = [this](const Entry& entry) { return operator_->mayLackRoute(entry); };
  ledger_.may_be_denied = [this](const Entry& entry) { return operator_->mayBeDenied(entry); };
  ledger_.route_answer = [this](const Entry& entry, const Ledger::Answer& answer) {
    return operator_->routeAnswer(entry, answer);
  };
  ledger_.may_lack_cluster = [this](const Entry& entry) { return operator_->mayLackCluster(entry); };
  // Other backends may be no choice for a request's path.
  ledger_.checks_tried = false;
}

void World::planSickness() {
  for (auto sickness = static_cast<size_t>(first_of_run); sickness <= static_cast<size_t>(last_sickness); ++sickness) {
    const auto kind = static_cast<Fault>(sickness);
    if (!has(kind)) continue;
    if (sim_.faults.areGraceful()) {
      for (auto& origin : origins_) origin->fallSick(kind);
    } else {
      origins_[sim_.below(static_cast<uint32_t>(origins_.size()))]->planSickness(kind);
    }
  }
  for (const Fault kind : {Fault::all_refuse, Fault::uploads_stuck}) {
    for (auto& origin : origins_) {
      if (has(kind)) origin->fallSick(kind);
    }
  }
  if (!has(Fault::client_asks_for_failures)) return;
  for (uint32_t i = 0; i < workers_.size(); ++i) {
    workers_[i]->on_ejected = [this, i](uint32_t backend) { ledger_.onEjected(i, backend); };
  }
}

// One of several backends is taken out of use by each worker, at about the same time.
void World::planRemoval() {
  if (!has(Fault::backend_removed) || origins_.size() < 2 || operator_ != nullptr) return;
  const TimeNs when_ns = sim_.between(100, 6000) * ns_per_ms;
  const size_t backend = sim_.below(static_cast<uint32_t>(origins_.size()));
  for (auto& worker : workers_) {
    sim_.after(when_ns + sim_.below(1000) * ns_per_us, [&worker, backend] { worker->replaceBackend(backend); });
  }
}

// Which waits at one backend, in the pool's own line.
void World::planEmbedder() {
  const bool is_storm = !sim_.faults.areGraceful() && !sim_.faults.isOutage();
  if (!is_storm || !has(Fault::embedder)) return;
  for (uint32_t i = sim_.between(2, 30); i != 0; --i) {
    const size_t backend = sim_.below(static_cast<uint32_t>(origins_.size()));
    auto& worker = workers_[sim_.below(static_cast<uint32_t>(workers_.size()))];
    const uint32_t keeps_ms = sim_.oneIn(3) ? 0 : sim_.below(2000);
    const bool requests = sim_.oneIn(2);
    sim_.after(sim_.below(6000) * ns_per_ms, [&worker, backend, keeps_ms, requests, this] {
      if (!sim_.faults.areOver()) worker->embed(backend, keeps_ms, requests);
    });
  }
}

void World::planStarvation() {
  if (!has(Fault::no_frames)) return;
  for (auto& worker : workers_) {
    for (uint32_t i = sim_.between(1, 6); i != 0; --i) {
      const size_t left = sim_.below(5);
      const TimeNs for_ns = sim_.between(1, 800) * ns_per_ms;
      sim_.after(sim_.below(8000) * ns_per_ms, [this, &worker, left, for_ns] {
        if (!sim_.faults.areOver()) worker->starve(left, for_ns);
      });
    }
  }
}

TimeNs World::upSince(uint32_t worker, uint32_t backend) {
  if (operator_ != nullptr) return operator_->upSince(worker, backend);
  ConnectionPool& pool = *workers_[worker]->core().pool();
  const Endpoint* endpoint = pool.find(workers_[worker]->endpoint(backend));
  if (endpoint == nullptr || endpoint->state != EndpointState::up) return never_ns;
  return endpoint->since_ns;
}

void World::comeToRest(TimeNs at_least_ns) {
  if (operator_ != nullptr) operator_->pause();
  const auto are_at_rest = [this] {
    return isOperatorIdle() && std::ranges::all_of(workers_, [](const auto& worker) { return worker->isAtRest(); });
  };
  sim_.runUntil(are_at_rest, sim_.now() + quiet_limit_ns);
  sim_.runUntil([] { return false; }, sim_.now() + at_least_ns);
  sim_.runUntil(are_at_rest, sim_.now() + quiet_limit_ns);
  for (auto& worker : workers_) worker->checkAtRest();
  if (operator_ != nullptr && !sim_.isViolated()) operator_->checkAtRest();
}

// The faults end, and everything that is under way must come to its end.
bool World::quiet() {
  sim_.faults.end();
  sim_.say("WORLD", "the faults are over; %zu requests are open", ledger_.open());
  for (uint32_t i = 0; has(Fault::all_refuse) && i < workers_.size(); ++i) {
    ledger_.checkBudget(i, options_.limits.unknown_retry_burst);
  }
  for (auto& origin : origins_) origin->recover();
  for (auto& client : clients_) client->stop();
  sim_.after(Ledger::abandoned_ns + 5 * ns_per_s, [this] {
    for (auto& origin : origins_) origin->checkAbandoned();
  });
  const bool all_ended = sim_.runUntil([this] { return ledger_.open() == 0; }, sim_.now() + quiet_limit_ns);
  if (!all_ended && !sim_.isViolated()) {
    const Entry* open = ledger_.firstOpen();
    sim_.violate("one outcome", "request %u (%s) has none %lld s after the faults", open->plan.id, open->plan.method,
                 static_cast<long long>(quiet_limit_ns / ns_per_s));
  }
  // Requests whose clients have gone may take a while to be given up; then what was paused or scheduled comes to rest.
  comeToRest(40 * ns_per_s);
  for (auto& client : clients_) client->checkAtRest();
  for (auto& client : clients_) client->leave();
  return !sim_.isViolated();
}

// One client, to its end.
bool World::probeWith(ClientOptions options, bool leaves) {
  options.asks_tls_port = options.uses_tls || (tls_by_first_byte_ && sim_.oneIn(2));
  Client& client = addClient(options);
  client.start();
  // A request may stand in line for as long as it is configured: a tunnel where those that take one are gone for good.
  const int64_t limit_ns = options_.pool_timeouts.queue_ms * ns_per_ms + 60 * ns_per_s;
  if (!sim_.runUntil([&] { return client.isDone(); }, sim_.now() + limit_ns)) {
    sim_.violate("recovery", "requests after the faults are not answered within a minute and the time in line");
    return false;
  }
  if (leaves) client.leave();
  return true;
}

// After the storm the proxy must serve as if nothing had been.
bool World::probe() {
  sim_.say("WORLD", "probes");
  if (operator_ != nullptr) {
    operator_->resume();
    if (!sim_.runUntil([this] { return operator_->isSettled(); }, sim_.now() + 60 * ns_per_s)) {
      sim_.violate("reload", "no generation was taken within a minute after the faults");
      return false;
    }
  }
  // Where connections are few, those that are done make room.
  const bool may_stay = options_.limits.client_connections >= 16;
  // A backend that speaks another version since its restart is found out by requests that may fail, at each worker.
  const bool has_changed = std::ranges::any_of(origins_, [](const auto& origin) { return origin->hasChanged(); });
  const auto served = [](SimWorker& worker) {
    const ServerCounters& counters = worker.core().server().counters();
    return counters.requests_h1 + counters.requests_h2;
  };
  std::vector<uint64_t> before;
  for (auto& worker : workers_) before.push_back(served(*worker));
  const auto all_know = [&] {
    for (size_t i = 0; i < workers_.size(); ++i) {
      if (served(*workers_[i]) < before[i] + 2 * origins_.size()) return false;
    }
    return true;
  };
  for (uint32_t i = 0; has_changed && i < 100 && !all_know(); ++i) {
    ClientOptions options;
    options.speaks_h2 = false;
    options.requests = 2 * static_cast<uint32_t>(origins_.size());
    options.parallel = 1;
    if (!probeWith(options, true)) return false;
  }
  for (uint32_t i = 0; i < 6; ++i) {
    ClientOptions options;
    options.is_calm = true;
    options.speaks_h2 = i % 2 == 0;
    options.uses_tls = i % 3 == 0;
    options.requests = 5;
    // Where blocks are few the head of one response may find none while another is sent.
    options.parallel = options.speaks_h2 && options_.limits.send_blocks >= 64 ? 2 : 1;
    // Nor does HTTP/1.1 tell a request from the end of an idle connection that it crosses.
    if (!may_stay && !options.speaks_h2) options.per_connection = 1;
    // Two idle connections are still there when the proxy is told to stop.
    if (!probeWith(options, i < 4 || !may_stay)) return false;
  }
  comeToRest(5 * ns_per_s);
  return !sim_.isViolated();
}

void World::drain() {
  if (has(Fault::embedder)) {
    // Something is left that only the end of the process can end.
    for (auto& origin : origins_) origin->fallSick(Fault::backend_is_stopped);
    workers_[0]->embed(0, 0, true);
    sim_.runUntil([] { return false; }, sim_.now() + ns_per_s);
  }
  if (operator_ != nullptr) operator_->hurry();
  for (auto& worker : workers_) worker->stop();
  const auto is_drained = [&] {
    return std::ranges::all_of(workers_, [](const auto& worker) { return worker->isDrained(); });
  };
  if (!sim_.runUntil(is_drained, sim_.now() + (options_.server_timeouts.drain_ms + 10'000) * ns_per_ms) &&
      !sim_.isViolated()) {
    sim_.violate("drain", "a worker does not end");
  }
  if (sim_.isViolated()) return;
  for (auto& worker : workers_) worker->checkDrained();
}

RunResult World::run() {
  build();
  // One that was ejected is tried again after some ten seconds.
  const bool is_long = sim_.faults.isOutage() && has(Fault::client_holds);
  const uint32_t storm_s = lasts_an_hour_ ? 3 * 3600 : is_long ? sim_.between(15, 30) : sim_.between(3, 20);
  const TimeNs storm_end_ns = sim_.now() + storm_s * ns_per_s;
  sim_.runUntil([this] { return std::ranges::all_of(clients_, [](const auto& client) { return client->isDone(); }); },
                storm_end_ns);
  if (!sim_.isViolated() && quiet() && probe()) drain();
  RunResult result;
  result.violation = sim_.violation();
  result.hash = sim_.trace.hash();
  result.requests = ledger_.size();
  result.completed = ledger_.count(Outcome::complete);
  result.events = sim_.events();
  result.simulated_ns = sim_.now() - ns_per_s;
  return result;
}

std::string World::describe() const {
  std::string text = std::to_string(workers_.size()) + " workers, " + std::to_string(origins_.size()) + " backends, " +
                     std::to_string(clients_.size()) + " clients; ";
  const Limits& limits = options_.limits;
  for (const auto& [name, value] :
       {std::pair("exchanges", limits.exchanges), std::pair("client_connections", limits.client_connections),
        std::pair("upstream_connections", limits.upstream_connections),
        std::pair("h2_connections", limits.h2_connections_per_backend),
        std::pair("h1_connections", limits.h1_connections_per_backend),
        std::pair("upstream_streams", limits.streams_per_upstream_connection),
        std::pair("client_streams", limits.streams_per_client), std::pair("send_blocks", limits.send_blocks),
        std::pair("receive_buffers", limits.receive_buffers), std::pair("header_bytes", limits.header_bytes)}) {
    text += std::string(name) + " " + std::to_string(value) + ", ";
  }
  if (sim_.faults.isCalm() && !has(Fault::uploads_stuck) && !has(Fault::long_wire)) return text + "no faults";
  text += "faults:";
  char part[64];
  for (size_t i = 0; i < fault_count; ++i) {
    const auto fault = static_cast<Fault>(i);
    if (!sim_.faults.exists(fault)) continue;
    std::snprintf(part, sizeof(part), " %s %.2g%%", nameOf(fault), sim_.faults.chanceOf(fault) * 100);
    text += part;
  }
  return text;
}

}  // namespace plait::sim
