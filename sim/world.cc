#include "sim/world.h"

#include <algorithm>

namespace plait::sim {
namespace {

constexpr uint32_t proxy_host = 0x0a0100ff;
constexpr uint16_t proxy_port = 8080;
constexpr uint16_t secure_port = 8443;
// Longer than the longest timeout of the proxy with all repeats.
constexpr TimeNs quiet_limit_ns = 1200 * ns_per_s;

}  // namespace

World::World(uint64_t seed)
    : sim_(seed),
      network_(sim_),
      names_(sim_),
      ledger_(sim_),
      proxy_(addressOf(proxy_host, proxy_port)),
      secure_proxy_(addressOf(proxy_host, secure_port)) {
  seedTls(seed);
  network_.hashes_content = !tls_is_real;
}

World::~World() = default;

WorkerOptions World::drawOptions() {
  WorkerOptions options;
  Limits& limits = options.limits;
  limits.exchanges = 256;
  limits.client_connections = 64;
  limits.upstream_connections = 128;
  limits.h1_connections_per_backend = 32;
  limits.burst_pool_bytes = 1 << 20;
  limits.upload_pool_bytes = 4 << 20;
  limits.send_blocks = 1024;
  limits.record_blocks = 64;
  limits.receive_buffers = 128;
  limits.medium_header_blocks = 128;
  limits.large_header_blocks = 64;
  limits.replay_bytes = 1 << 20;
  limits.access_ring_bytes = 64 << 10;
  options.has_access_log = true;
  const bool calm = sim_.faults.areGraceful();
  if (!calm && sim_.oneIn(3)) {
    // So little of something that it runs out.
    switch (sim_.below(10)) {
      case 0:
        limits.exchanges = sim_.between(4, 8);
        break;
      case 1:
        limits.client_connections = sim_.between(1, 4);
        break;
      case 2:
        limits.upstream_connections = sim_.between(2, 4);
        break;
      case 3:
        limits.upload_pool_bytes = sim_.between(24, 48) * limits.stream_block_size;
        ledger_.max_body = 400'000;
        break;
      case 4:
        limits.send_blocks = 64;
        limits.send_queue_bytes = 64 << 10;
        break;
      case 5:
        // Two readers that stop, or four, could keep all of them.
        limits.receive_buffers = sim_.oneIn(2) ? 2 : 4;
        ledger_.max_body = 400'000;
        break;
      case 6:
        limits.medium_header_blocks = limits.large_header_blocks = 6;
        break;
      case 7:
        limits.replay_bytes = 1000;
        break;
      case 8:
        limits.record_blocks = sim_.between(1, 2);
        break;
      default:
        limits.unknown_retry_burst = 1;
    }
  }
  if (sim_.oneIn(4)) limits.h2_connections_per_backend = sim_.between(1, 3);
  if (sim_.oneIn(4)) limits.h1_connections_per_backend = sim_.between(1, 3);
  if (sim_.oneIn(4)) limits.streams_per_upstream_connection = sim_.between(1, 10);
  if (sim_.oneIn(4)) limits.streams_per_client = sim_.between(1, 10);
  if (sim_.oneIn(6)) limits.receive_buffer_size = 2048;
  // So that turns end at any frame.
  if (sim_.oneIn(4)) limits.work_per_turn = sim_.between(1, 200);
  options.pool_timeouts.queue_ms = 60'000;
  // However often a request is refused, it is to succeed in the end.
  if (calm) limits.unprocessed_retries = 100;
  if (!calm && sim_.oneIn(3)) {
    options.response_head_ms = sim_.between(3000, 10'000);
    options.pool_timeouts.queue_ms = sim_.between(5000, 20'000);
    options.pool_timeouts.stream_idle_ms = sim_.between(300, 2000);
    options.pool_timeouts.idle_ms = sim_.between(50, 5000);
    options.pool_timeouts.max_age_ms = sim_.between(100, 20'000);
    options.pool_timeouts.ping_ms = sim_.between(50, 2000);
    options.pool_timeouts.ping_answer_ms = sim_.between(500, 5000);
    options.server_timeouts.client_idle_ms = sim_.between(5000, 10'000);
    options.server_timeouts.stall_ms = sim_.between(2000, 20'000);
  }
  options.forward.forwarded = sim_.oneIn(2);
  options.forward.x_forwarded = !sim_.oneIn(4);
  options.forward.via = !sim_.oneIn(4);
  return options;
}

H2PeerOptions World::drawH2() {
  H2PeerOptions options;
  constexpr uint32_t windows[] = {1, 10, 100, 1000, 16'384, 65'535, 65'535, 65'535, 1 << 20};
  options.stream_window = windows[sim_.below(std::size(windows))];
  // Few round trips for a body, also over the slowest link.
  if (ledger_.max_body > 100'000) options.stream_window = std::max(options.stream_window, 65'535u);
  ledger_.max_body = std::min(ledger_.max_body, options.stream_window * 10);
  options.connection_window = sim_.oneIn(2) ? 65'535 : 1 << 20;
  constexpr uint32_t tables[] = {0, 64, 200, 4096, 4096, 4096, 65'536};
  options.header_table_size = tables[sim_.below(std::size(tables))];
  options.max_frame_size = sim_.oneIn(3) ? 16'384u << sim_.below(5) : 16'384;
  options.consumes_late = sim_.oneIn(4);
  options.may_be_calmed = options_.limits.large_header_blocks < 16;
  constexpr uint32_t streams[] = {1, 2, 5, 100, 100, 1000};
  options.max_concurrent_streams = streams[sim_.below(std::size(streams))];
  return options;
}

void World::addOrigins(WorkerOptions& options) {
  const uint32_t count = sim_.between(1, 4);
  for (uint32_t i = 0; i < count; ++i) {
    OriginOptions origin;
    origin.host = 0x0a020001 + i;
    origin.port = 9000;
    origin.h2 = drawH2();
    const bool may_refuse = sim_.faults.areGraceful() && !sim_.faults.isCalm();
    if (may_refuse || origin.h2.max_concurrent_streams < 100)
      ledger_.max_calm_upload = options.limits.replay_bytes_per_request;
    origin.reaction_ns = sim_.between(5, 400) * ns_per_us;
    if (sim_.oneIn(6)) {
      origin.read_pause_ns = sim_.between(1, 10) * ns_per_ms;
      origin.read_size = sim_.between(500, 20'000);
    }
    BackendOptions backend;
    backend.name = "backend-" + std::to_string(i);
    backend.host = backend.name + ".example.test";
    backend.port = origin.port;
    switch (sim_.below(tls_is_real ? 16 : 8)) {
      case 0:
      case 1:
      case 2:
        backend.protocol = BackendProtocol::h2c;
        break;
      case 3:
        backend.protocol = BackendProtocol::h1;
        origin.speaks_h2 = false;
        origin.speaks_h1 = true;
        break;
      case 4:
        backend.protocol = BackendProtocol::probe;
        origin.speaks_h1 = sim_.oneIn(2);
        origin.may_change_protocol = origin.h2.may_meet_http1 = true;
        break;
      case 5:
        backend.protocol = BackendProtocol::probe;
        origin.speaks_h2 = false;
        origin.speaks_h1 = true;
        origin.may_change_protocol = origin.h2.may_meet_http1 = true;
        break;
      default:
        backend.protocol = BackendProtocol::https;
        backend.tls = &tls_.client({"h2", "http/1.1"});
        origin.uses_tls = true;
        origin.speaks_h1 = sim_.oneIn(3);
        origin.speaks_h2 = !origin.speaks_h1 || sim_.oneIn(2);
    }
    // A name with two addresses, of which the first leads nowhere.
    if (!sim_.faults.areGraceful() && sim_.oneIn(5)) names_.add(backend.host, 0x0a0300fe);
    names_.add(backend.host, origin.host);
    options.backends.push_back(backend);
    options.forward.authorities.push_back({"", backend.host + ":9000"});
    origins_.push_back(std::make_unique<Origin>(network_, ledger_, tls_, i, origin));
  }
}

ClientOptions World::drawClient() {
  ClientOptions options;
  options.is_calm = sim_.faults.areGraceful();
  options.speaks_h2 = !sim_.oneIn(3);
  options.uses_tls = tls_is_real ? !sim_.oneIn(4) : sim_.oneIn(3);
  options.requests = sim_.between(1, 24);
  options.parallel = options.speaks_h2 ? sim_.between(1, 20) : (sim_.oneIn(4) ? 3 : 1);
  // Behind a request that is answered early the connection closes, whatever was pipelined.
  if (options.is_calm && !options.speaks_h2 && sim_.faults.exists(Fault::early_response)) options.parallel = 1;
  options.gap_ns = sim_.oneIn(2) ? 0 : sim_.between(1, 400) * ns_per_ms;
  options.start_ns = sim_.below(1000) * ns_per_ms;
  options.reaction_ns = sim_.between(5, 400) * ns_per_us;
  if (sim_.oneIn(5)) {
    options.read_pause_ns = sim_.between(1, 10) * ns_per_ms;
    options.read_size = sim_.between(500, 20'000);
  }
  options.h2 = drawH2();
  if (sim_.oneIn(3)) options.per_connection = sim_.between(1, 6);
  return options;
}

void World::addClients() {
  const uint32_t count = sim_.between(1, 7);
  for (uint32_t i = 0; i < count; ++i) addClient(drawClient());
}

Client& World::addClient(const ClientOptions& options) {
  const bool is_secure = options.uses_tls || (tls_by_first_byte_ && sim_.oneIn(2));
  const auto number = static_cast<uint32_t>(clients_.size());
  clients_.push_back(
      std::make_unique<Client>(network_, ledger_, tls_, number, is_secure ? secure_proxy_ : proxy_, options));
  return *clients_.back();
}

void World::build() {
  network_.max_latency_us = sim_.oneIn(3) ? 40'000 : sim_.between(20, 2000);
  network_.min_capacity = 4096u << sim_.below(6);
  network_.max_packet = sim_.oneIn(3) ? 1400 : 64 << 10;
  options_ = drawOptions();
  // Now and then bodies for which windows have to grow.
  if (sim_.oneIn(10)) ledger_.max_body = 400'000;
  tls_by_first_byte_ = sim_.oneIn(3);
  addOrigins(options_);
  // Where there is little memory for uploads, little is kept for repeating.
  if (options_.limits.upload_pool_bytes < 1 << 20) ledger_.max_calm_upload = 1000;
  addClients();
  const uint32_t count = sim_.between(1, 3);
  for (uint32_t i = 0; i < count; ++i) {
    workers_.push_back(std::make_unique<SimWorker>(network_, names_, options_, i));
    workers_.back()->listen(proxy_, nullptr, false);
    workers_.back()->listen(secure_proxy_, &tls_.server({"h2", "http/1.1"}), tls_by_first_byte_);
  }
  for (auto& origin : origins_) origin->start();
  for (auto& client : clients_) client->start();
}

void World::comeToRest(TimeNs at_least_ns) {
  const auto are_at_rest = [this] {
    return std::ranges::all_of(workers_, [](const auto& worker) { return worker->isAtRest(); });
  };
  sim_.runUntil(are_at_rest, sim_.now() + quiet_limit_ns);
  sim_.runUntil([] { return false; }, sim_.now() + at_least_ns);
  sim_.runUntil(are_at_rest, sim_.now() + quiet_limit_ns);
  for (auto& worker : workers_) worker->checkAtRest();
}

// The faults end, and everything that is under way must come to its end.
bool World::quiet() {
  sim_.faults.end();
  sim_.say("WORLD", "the faults are over; %zu requests are open", ledger_.open());
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
bool World::probeWith(const ClientOptions& options, bool leaves) {
  Client& client = addClient(options);
  client.start();
  if (!sim_.runUntil([&] { return client.isDone(); }, sim_.now() + 60 * ns_per_s)) {
    sim_.violate("recovery", "requests after the faults are not answered within a minute");
    return false;
  }
  if (leaves) client.leave();
  return true;
}

// After the storm the proxy must serve as if nothing had been.
bool World::probe() {
  sim_.say("WORLD", "probes");
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
    options.parallel = options.speaks_h2 ? 2 : 1;
    // Nor does HTTP/1.1 tell a request from the end of an idle connection that it crosses.
    if (!may_stay && !options.speaks_h2) options.per_connection = 1;
    // Two idle connections are still there when the proxy is told to stop.
    if (!probeWith(options, i < 4 || !may_stay)) return false;
  }
  comeToRest(5 * ns_per_s);
  return !sim_.isViolated();
}

void World::drain() {
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
  const TimeNs storm_end_ns = sim_.now() + sim_.between(3, 20) * ns_per_s;
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
  if (sim_.faults.isCalm()) return text + "no faults";
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
