#include "sim/draw.h"

#include <algorithm>
#include <bit>

#include "plait/config/config.h"
#include "plait/plan/identities.h"

namespace plait::sim {

Draw::Draw(uint64_t seed, Simulation& simulation, Network& network, Names& names, Ledger& ledger, Tls& tls,
           bool lasts_an_hour)
    : random_(seed ^ 0x11317),
      lasts_an_hour_(lasts_an_hour),
      sim_(simulation),
      network_(network),
      names_(names),
      ledger_(ledger),
      tls_(tls) {
  network_.max_latency_us = sim_.oneIn(3) ? 40'000 : sim_.between(20, 2000);
  network_.min_capacity = 4096u << sim_.below(6);
  // Links over which nothing waits behind what is stuck.
  if (has(Fault::uploads_stuck)) network_.min_capacity = 256 << 10;
  network_.max_packet = sim_.oneIn(3) ? 1400 : 64 << 10;
  proxy = drawOptions();
  // Now and then bodies for which windows have to grow.
  if (sim_.oneIn(10)) ledger_.max_body = 400'000;
  tls_by_first_byte = sim_.oneIn(3);
  addOrigins(proxy);
  std::vector<BackendAuthority> authorities;
  for (const BackendOptions& backend : backends) authorities.push_back({"", backend.host + ":9000"});
  proxy.plan = planOf(backends, std::move(authorities), proxy.pool_timeouts, proxy.server_timeouts, response_head_ms);
  // Half of so few places are soon held by requests for tunnels, whether or not any comes about: the next one is a 503.
  if (proxy.limits.upstream_connections <= 8) ledger_.has_calm_tunnels = false;
  // Where there is little memory for uploads, little is kept for repeating.
  if (proxy.limits.upload_pool_bytes < 1 << 20) ledger_.max_calm_upload = 1000;
  addClients();
  const bool is_one = has(Fault::client_hogs) || has(Fault::client_crowds) || has(Fault::client_asks_for_failures);
  workers = is_one ? 1 : sim_.between(1, 3);
}

WorkerOptions Draw::drawOptions() {
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
  const bool is_storm = !calm && !sim_.faults.isOutage();
  if (is_storm && sim_.oneIn(3)) {
    // So little of something that it runs out.
    has_shortage_ = true;
    switch (sim_.below(12)) {
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
        limits.tls_handshakes = limits.record_blocks;
        all_secure_ = true;
        break;
      case 9:
        // Clients with TLS that do not read hold most of them while others leave.
        limits.send_blocks = sim_.between(8, 16);
        limits.send_queue_bytes = 64 << 10;
        all_secure_ = is_crowded_ = true;
        ledger_.max_body = 200'000;
        break;
      case 10:
        // Uploads that wait for memory could hold the buffers in which the others' bytes arrive.
        limits.upload_pool_bytes = sim_.between(24, 48) * limits.stream_block_size;
        limits.receive_buffers = sim_.oneIn(2) ? 2 : 4;
        ledger_.max_body = 400'000;
        is_crowded_ = true;
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
  options.pool_timeouts.drain_ms = 5000;
  // Tunnels in which nothing is said end within the quiet phase.
  options.pool_timeouts.tunnel_idle_ms = 600'000;
  // However often a request is refused, it is to succeed in the end.
  if (calm) limits.unprocessed_retries = 100;
  if (is_storm && sim_.oneIn(3)) {
    response_head_ms = sim_.between(3000, 10'000);
    options.pool_timeouts.queue_ms = sim_.between(5000, 20'000);
    // Over a narrow link the window of another stream may stand before a stream's next byte, and a whole record of TLS.
    options.pool_timeouts.stream_idle_ms = sim_.between(600, 2000) * std::max(1u, (64u << 10) / network_.min_capacity);
    options.pool_timeouts.idle_ms = sim_.between(50, 5000);
    options.pool_timeouts.max_age_ms = sim_.between(100, 20'000);
    options.pool_timeouts.ping_ms = sim_.between(50, 2000);
    options.pool_timeouts.ping_answer_ms = sim_.between(500, 5000);
    options.server_timeouts.client_idle_ms = sim_.between(5000, 10'000);
    options.server_timeouts.stall_ms = sim_.between(2000, 20'000);
    if (sim_.oneIn(3)) options.server_timeouts.half_close_ms = 10'000;
  }
  options.forward.forwarded = sim_.oneIn(2);
  options.forward.x_forwarded = !sim_.oneIn(4);
  options.forward.via = !sim_.oneIn(4);
  if (sim_.faults.isOutage()) drawOutage(options);
  // Of which half are for tunnels.
  if (is_storm && has(Fault::client_holds) && sim_.oneIn(2)) limits.upstream_connections = sim_.between(2, 8);
  if (is_storm && has(Fault::client_holds) && sim_.oneIn(2)) {
    // Connections become superfluous soon, and are needed again.
    options.pool_timeouts.shrink_ms = sim_.between(50, 500);
    limits.streams_per_upstream_connection = sim_.between(1, 4);
    limits.h2_connections_per_backend = sim_.between(2, 4);
  }
  if (calm && has(Fault::client_holds)) {
    // Connections come and go faster than what runs on them, and nobody waits for it for long.
    options.pool_timeouts.max_age_ms = sim_.between(500, 6000);
    options.pool_timeouts.shrink_ms = sim_.between(300, 2000);
    options.pool_timeouts.idle_ms = sim_.between(1000, 5000);
    options.pool_timeouts.drain_ms = sim_.between(1000, 3000);
    are_many_held_ = !lasts_an_hour_ && sim_.oneIn(3);
    if (are_many_held_) limits.streams_per_upstream_connection = sim_.between(1, 2);
    if (are_many_held_) limits.streams_per_client = 128;
    if (are_many_held_) limits.upstream_connections = 256;
    if (are_many_held_) limits.h2_connections_per_backend = limits.h1_connections_per_backend = 32;
  }
  if (lasts_an_hour_) {
    options.pool_timeouts.max_age_ms = sim_.between(30, 600) * 1000;
    options.pool_timeouts.shrink_ms = sim_.between(5, 60) * 1000;
    options.pool_timeouts.idle_ms = sim_.between(5, 60) * 1000;
    limits.streams_per_upstream_connection = sim_.between(4, 16);
    limits.h2_connections_per_backend = 8;
    limits.h1_connections_per_backend = 64;
    limits.upstream_connections = 256;
  }
  if (has(Fault::long_wire)) drawLongWire(options);
  if (has(Fault::uploads_stuck)) {
    // All that there is enough for but the windows of one connection.
    limits.upload_pool_bytes = 16 << 20;
    limits.streams_per_client = 128;
    limits.h1_connections_per_backend = limits.streams_per_upstream_connection = 100;
    limits.h2_connections_per_backend = 8;
    limits.upstream_connections = 512;
  }
  // Each connection to a backend has a send block that clients leave.
  if (!has_shortage_) limits.send_blocks = std::max(limits.send_blocks, limits.upstream_connections * 8);
  if (random_.below(5) == 0) drawLimits(limits);
  ledger_.header_bytes = limits.header_bytes;
  return options;
}

// Any limits that a configuration may have. From a source of randomness of their own: so a run without them is the same
// as before there were any. In a run in which requests must succeed there is enough of what they use up.
void Draw::drawLimits(Limits& limits) {
  // Of these traits limits are a part, and of a shortage.
  for (const Fault trait : {Fault::client_hogs, Fault::client_crowds, Fault::uploads_stuck, Fault::long_wire}) {
    if (has(trait)) return;
  }
  if (has_shortage_ || lasts_an_hour_) return;
  const bool is_storm = !sim_.faults.areGraceful() && !sim_.faults.isOutage();
  // Every order of magnitude is as likely as any other.
  const auto draw = [this](uint32_t least, uint32_t most) {
    const uint32_t low = std::min(most, least << random_.below(static_cast<uint32_t>(std::bit_width(most / least))));
    return low + random_.below(std::min(most - low, low) + 1);
  };
  const auto powerOfTwo = [this](uint32_t least, uint32_t doublings) { return least << random_.below(doublings + 1); };
  limits.exchanges = draw(is_storm ? 8 : 192, 1024);
  limits.client_connections = draw(is_storm ? 4 : 64, 256);
  if (!has(Fault::client_holds)) {
    limits.upstream_connections = draw(is_storm ? 4 : 64, 256);
    limits.h2_connections_per_backend = draw(1, 16);
    limits.h1_connections_per_backend = draw(1, 64);
    limits.streams_per_upstream_connection = draw(1, 200);
  }
  limits.streams_per_client = draw(1, 200);
  limits.upstream_connection_window = draw(65'535, 16 << 20);
  limits.upstream_stream_window = draw(4096, 128 << 10);
  limits.client_connection_window = draw(65'535, 16 << 20);
  limits.client_stream_window = draw(4096, 256 << 10);
  limits.upload_pool_bytes = draw(is_storm ? 1 << 20 : 4 << 20, 16 << 20);
  limits.burst_pool_bytes = random_.below(8) == 0 ? 0 : draw(64 << 10, 4 << 20);
  limits.send_blocks = draw(64, 2048);
  limits.record_blocks = draw(16, 256);
  limits.send_queue_bytes = draw(64 << 10, 512 << 10);
  limits.receive_buffers = powerOfTwo(16, 5);
  limits.header_bytes = draw(6 << 10, 36 << 10);
  limits.header_fields = draw(32, 110);  // fewer than what hostile peers say
  limits.target_bytes = draw(256, 32 << 10);
  limits.medium_header_blocks = draw(is_storm ? 16 : 128, 512);
  limits.large_header_blocks = draw(is_storm ? 16 : 64, 256);
  limits.coalesce_us = random_.below(3) == 0 ? 0 : draw(1, 10'000);
  limits.access_ring_bytes = powerOfTwo(64 << 10, 4);
  limits.replay_bytes_per_request = random_.below(4) == 0 ? 0 : draw(1, 64 << 10);
  limits.replay_bytes = draw(is_storm ? 1000 : 1 << 20, 8 << 20);
  // The others follow, as in a configuration.
  followSaid(limits, [](std::string_view) { return false; });
  PLAIT_ASSERT(!limits.mistake());
}

// Clients or backends are so far away that windows have to grow for what is to come fast.
void Draw::drawLongWire(WorkerOptions& options) {
  const bool are_clients_far = sim_.oneIn(2);
  const TimeNs round_trip_ns = sim_.between(5, 100) * ns_per_ms;
  // What is under way where the wire is full.
  const uint32_t product = sim_.between(96, 384) << 10;
  const uint64_t rate = product * ns_per_s / static_cast<uint64_t>(round_trip_ns);
  network_.max_latency_us = 200;
  network_.min_capacity = 256 << 10;
  network_.max_packet = 8 << 10;
  network_.long_wire = {
      .is_far =
          [are_clients_far](const sockaddr_storage& to) { return are_clients_far == (keyOf(to) >> 16 == proxy_host); },
      .latency_ns = round_trip_ns / 2,
      .bytes_per_second = rate,
      .capacity = size_t{product} * 8,
  };
  Limits& limits = options.limits;
  limits.receive_buffer_size = 16 << 10;
  limits.work_per_turn = Limits().work_per_turn;
  limits.burst_pool_bytes = (1 << 20) << sim_.below(4);
  limits.upload_pool_bytes = (4 << 20) << sim_.below(3);
  // An eighth of the pool, in blocks with their headers.
  const auto eighthOf = [&limits](size_t bytes) {
    return bytes / limits.stream_block_size / 8 * limits.streamBlockPayload();
  };
  const auto least = [&](uint64_t window) {
    return std::min(rate, window * ns_per_s / static_cast<uint64_t>(round_trip_ns)) * 3 / 4;
  };
  ledger_.bulk_bytes = 16 * product;
  ledger_.least_down =
      least(are_clients_far ? UINT32_MAX : limits.upstream_stream_window + eighthOf(limits.burst_pool_bytes));
  ledger_.least_up = least(are_clients_far ? eighthOf(limits.upload_pool_bytes) : UINT32_MAX);
}

void Draw::drawOutage(WorkerOptions& options) {
  Limits& limits = options.limits;
  ledger_.demands_success = !has(Fault::all_refuse) && !has(Fault::client_asks_for_failures);
  if (has(Fault::backend_never_answers) || has(Fault::backend_is_stopped) || has(Fault::backend_says_nothing)) {
    response_head_ms = sim_.between(3000, 8000);
    // No request waits so long behind the uploads of others on its way to a backend that is well.
    network_.min_capacity = std::max(network_.min_capacity, 64u << 10);
    if (sim_.oneIn(2)) {
      options.pool_timeouts.ping_ms = sim_.between(300, 2000);
      options.pool_timeouts.ping_answer_ms = sim_.between(500, 2000);
    }
  }
  if (has(Fault::client_holds)) {
    // The streams that clients hold leave room for everybody.
    limits.h1_connections_per_backend = limits.streams_per_upstream_connection = 100;
    limits.h2_connections_per_backend = 8;
    limits.upstream_connections = 512;
  }
  if (has(Fault::all_refuse)) limits.unknown_retry_burst = sim_.between(1, 10);
  if (has(Fault::client_crowds)) {
    // As many as it takes to keep two of them. All else is enough.
    (sim_.oneIn(2) ? limits.client_connections : limits.exchanges) = 128;
    limits.streams_per_client = 128;
    limits.medium_header_blocks = 512;
    limits.h1_connections_per_backend = 250;
    limits.streams_per_upstream_connection = 100;
    limits.h2_connections_per_backend = 8;
    limits.upstream_connections = 512;
    limits.exchanges = std::max(limits.exchanges, 128u);
    limits.accepts_one_by_one = sim_.oneIn(2);
    ledger_.only_modest_succeed = true;
    // In the kernel's line a client stands behind those who came before it.
    if (!limits.accepts_one_by_one || limits.client_connections != 128) ledger_.modest_limit_ns = 3 * ns_per_s;
  }
  if (!has(Fault::client_hogs)) return;
  // As many streams at an endpoint as it takes to keep some of them.
  limits.streams_per_client = 128;
  limits.h2_connections_per_backend = sim_.between(1, 4);
  limits.h1_connections_per_backend = sim_.between(16, 32);
  streams_of_endpoint_ = sim_.between(16, 60);
  // Which is known before a backend says anything: what came before that could have taken all streams.
  limits.streams_per_upstream_connection =
      (streams_of_endpoint_ + limits.h2_connections_per_backend - 1) / limits.h2_connections_per_backend;
  ledger_.modest_limit_ns = 3 * ns_per_s;
}

H2PeerOptions Draw::drawH2() {
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
  options.may_be_calmed = proxy.limits.large_header_blocks < 16;
  constexpr uint32_t streams[] = {1, 2, 5, 100, 100, 1000};
  options.max_concurrent_streams = streams[sim_.below(std::size(streams))];
  return options;
}

void Draw::addOrigins(WorkerOptions& options) {
  const bool is_outage = sim_.faults.isOutage();
  const bool are_sick = is_outage && streams_of_endpoint_ == 0 && !has(Fault::all_refuse) && !has(Fault::client_crowds);
  const uint32_t count = are_sick         ? sim_.between(2, 4)
                         : lasts_an_hour_ ? 3
                         : are_many_held_ ? 1
                         : is_outage && !has(Fault::client_asks_for_failures)
                             ? sim_.between(1, 2)
                             : sim_.between(has(Fault::reloads) ? 3 : 1, 4);
  for (uint32_t i = 0; i < count; ++i) {
    OriginOptions origin;
    origin.host = 0x0a020001 + i;
    origin.port = 9000;
    origin.h2 = drawH2();
    const bool may_refuse = sim_.faults.areGraceful() && !sim_.faults.isCalm();
    // Several may be under way at once, and share what is kept of them.
    if (may_refuse || origin.h2.max_concurrent_streams < 100)
      ledger_.max_calm_upload = std::min(options.limits.replay_bytes_per_request, options.limits.replay_bytes / 4);
    origin.reaction_ns = sim_.between(5, 400) * ns_per_us;
    if (sim_.oneIn(6)) {
      origin.read_pause_ns = sim_.between(1, 10) * ns_per_ms;
      origin.read_size = sim_.between(500, 20'000);
      // Nor is a backend that is well so slow to read them.
      if (ledger_.demands_success) origin.read_size = 20'000;
    }
    BackendOptions backend;
    backend.name = "backend-" + std::to_string(i);
    backend.host = backend.name + ".example.test";
    backend.port = origin.port;
    const bool are_many = has(Fault::client_holds) || has(Fault::client_crowds);
    if ((is_outage && are_many) || has(Fault::uploads_stuck)) origin.h2.max_concurrent_streams = 100;
    if (has(Fault::uploads_stuck)) origin.h2.stream_window = 65'535;
    if (has(Fault::uploads_stuck)) origin.read_pause_ns = 0;
    if (has(Fault::long_wire)) {
      origin.read_pause_ns = 0;
      origin.reaction_ns = sim_.between(5, 50) * ns_per_us;
      origin.h2.stream_window = origin.h2.connection_window = 8 << 20;
      origin.h2.consumes_late = false;
    }
    if (streams_of_endpoint_ != 0) origin.h2.max_concurrent_streams = 1000;
    const bool is_probed = has(Fault::client_holds) && !sim_.faults.areGraceful() && sim_.oneIn(2);
    if (is_probed) ledger_.has_calm_tunnels = false;
    // One takes tunnels, and one speaks HTTP/2.
    const bool is_settled = has(Fault::all_refuse) || (lasts_an_hour_ && i < 2);
    switch (is_settled ? 3 * (lasts_an_hour_ ? i : 0) : is_probed ? 4 : sim_.below(tls_is_real ? 16 : 8)) {
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
        origin.speaks_h1 = !is_probed && sim_.oneIn(2);
        origin.may_change_protocol = !has(Fault::reloads);
        origin.h2.may_meet_http1 = true;
        break;
      case 5:
        backend.protocol = BackendProtocol::probe;
        origin.speaks_h2 = false;
        origin.speaks_h1 = true;
        origin.may_change_protocol = !has(Fault::reloads);
        origin.h2.may_meet_http1 = true;
        break;
      default:
        backend.protocol = BackendProtocol::https;
        backend.tls = &tls_.client({"h2", "http/1.1"});
        origin.uses_tls = true;
        origin.speaks_h1 = sim_.oneIn(3);
        origin.speaks_h2 = !origin.speaks_h1 || sim_.oneIn(2);
    }
    // A name with two addresses, of which the first leads nowhere.
    if (!sim_.faults.areGraceful() && !is_outage && sim_.oneIn(5)) names_.add(backend.host, 0x0a0300fe);
    names_.add(backend.host, origin.host);
    options.has_tls_backends = options.has_tls_backends || backend.tls != nullptr;
    backends.push_back(backend);
    origins.push_back(origin);
  }
}

ClientOptions Draw::drawClient() {
  ClientOptions options;
  options.is_calm = sim_.faults.areGraceful();
  options.speaks_h2 = !sim_.oneIn(3);
  options.uses_tls = all_secure_ || (tls_is_real ? !sim_.oneIn(4) : sim_.oneIn(3));
  options.stops_reading = all_secure_ && sim_.oneIn(2);
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
  if (sim_.faults.isOutage()) {
    options.is_careful = true;
    if (!options.speaks_h2) options.parallel = 1;
    // For as long as somebody is sick now and then.
    options.requests = sim_.between(20, 100);
    options.gap_ns = sim_.between(1, 300) * ns_per_ms;
  }
  return options;
}

// Clients that hold open as many uploads as they can, and some that want little.
void Draw::addHogs() {
  const uint32_t hogs = sim_.between(1, 4);
  for (uint32_t i = 0; i < hogs; ++i) {
    ClientOptions hog = drawClient();
    hog.speaks_h2 = true;
    hog.taste = Taste::hogging;
    hog.parallel = sim_.between(10, 50);
    hog.requests = hog.parallel * 3;
    hog.gap_ns = 0;
    hog.start_ns = sim_.below(1500) * ns_per_ms;
    hog.per_connection = UINT32_MAX;
    addClient(hog);
  }
  for (uint32_t i = sim_.between(1, 3); i != 0; --i) {
    ClientOptions options = drawClient();
    options.taste = Taste::modest;
    options.parallel = 1;
    options.requests = 30;
    options.gap_ns = sim_.between(100, 800) * ns_per_ms;
    addClient(options);
  }
}

// Clients at one address that hold all connections, or all requests, that they can get, and two that want little and
// come again and again.
void Draw::addCrowd() {
  constexpr uint32_t host = 0x0a00ffff;
  const bool holds_connections = proxy.limits.client_connections == 128;
  for (uint32_t i = holds_connections ? sim_.between(120, 150) : sim_.between(5, 8); i != 0; --i) {
    ClientOptions options = drawClient();
    options.host = host;
    options.taste = Taste::holding;
    options.parallel = holds_connections ? 1 : options.speaks_h2 ? 30 : 1;
    options.requests = holds_connections ? sim_.between(1, 2) : 2 * options.parallel;
    options.gap_ns = holds_connections ? sim_.between(1, 6) * ns_per_s : sim_.between(1, 20) * ns_per_ms;
    options.start_ns = sim_.below(2000) * ns_per_ms;
    options.per_connection = UINT32_MAX;
    options.h2.stream_window = 65'535;
    addClient(options);
  }
  for (uint32_t i = 0; i < 2; ++i) {
    ClientOptions options = drawClient();
    options.taste = Taste::modest;
    options.uses_tls = false;
    options.parallel = 1;
    options.has_one = true;
    options.requests = 30;
    options.per_connection = sim_.between(1, 3);
    options.gap_ns = sim_.between(100, 500) * ns_per_ms;
    addClient(options);
  }
}

// One client that asks for what fails, among others that are served well.
void Draw::addAskers() {
  ClientOptions bad = drawClient();
  bad.taste = Taste::failures;
  bad.requests = sim_.between(40, 120);
  bad.gap_ns = sim_.between(1, 100) * ns_per_ms;
  addClient(bad);
  for (uint32_t i = sim_.between(3, 5); i != 0; --i) {
    ClientOptions options = drawClient();
    options.taste = Taste::modest;
    options.parallel = 1;
    options.requests = 60;
    options.gap_ns = sim_.between(100, 600) * ns_per_ms;
    addClient(options);
  }
}

// So many requests that the burst is soon spent.
void Draw::addRefused() {
  for (uint32_t i = sim_.between(2, 4); i != 0; --i) {
    ClientOptions options = drawClient();
    options.speaks_h2 = true;
    options.parallel = sim_.between(4, 10);
    options.requests = sim_.between(100, 250);
    options.gap_ns = sim_.between(1, 20) * ns_per_ms;
    addClient(options);
  }
}

// Clients that listen to streams of events, or have tunnels in which something is said now and then.
void Draw::addHolders() {
  const bool is_outage = sim_.faults.isOutage();
  for (uint32_t i = are_many_held_ ? 4 : is_outage ? 3 : sim_.between(1, 2); i != 0; --i) {
    ClientOptions options = drawClient();
    options.taste = Taste::holding;
    options.parallel = are_many_held_ ? 16 : options.speaks_h2 ? sim_.between(1, 5) : 1;
    options.speaks_h2 = options.speaks_h2 || are_many_held_;
    options.requests = are_many_held_ ? 16 : sim_.between(2, 6);
    options.gap_ns = sim_.between(1, 200) * ns_per_ms;
    if (sim_.faults.isOutage()) {
      options.parallel = 12;
      options.requests = 60;
      options.gap_ns = sim_.between(100, 800) * ns_per_ms;
    }
    if (!sim_.faults.areGraceful() && sim_.oneIn(2)) options.speaks_h2 = false;
    if (!options.speaks_h2) options.parallel = 1;
    options.per_connection = UINT32_MAX;
    // A client that takes a few bytes a second, when there are more, is taken for dead sooner or later.
    options.h2.stream_window = 65'535;
    addClient(options);
  }
}

// A client whose uploads get stuck, and who sends small ones on the same connection.
void Draw::addBlockers() {
  ClientOptions options = drawClient();
  options.is_calm = true;
  options.speaks_h2 = true;
  options.taste = Taste::blocking;
  options.parallel = sim_.between(10, 30);
  options.requests = options.parallel * 2;
  options.per_connection = UINT32_MAX;
  options.gap_ns = sim_.between(1, 200) * ns_per_ms;
  options.h2.stream_window = 65'535;
  options.read_pause_ns = 0;
  addClient(options);
}

// What lasts an hour, and requests beside it.
void Draw::addHourOfClients() {
  for (uint32_t i = 0; i < 27; ++i) {
    ClientOptions options = drawClient();
    options.taste = Taste::holding;
    options.speaks_h2 = i < 3;
    options.parallel = options.requests = options.speaks_h2 ? 8 : 1;
    options.per_connection = UINT32_MAX;
    options.h2.stream_window = 65'535;
    addClient(options);
  }
  for (uint32_t i = 0; i < 6; ++i) {
    ClientOptions options = drawClient();
    options.leaves = i < 2;
    options.is_calm = !options.leaves;
    options.requests = 1500;
    options.gap_ns = 4 * ns_per_s;
    addClient(options);
  }
}

// One client, which has one body under way at a time: so it has the wire and the pools for itself.
void Draw::addFar() {
  ClientOptions options = drawClient();
  options.taste = Taste::bulk;
  options.requests = sim_.between(2, 4);
  options.parallel = 1;
  options.has_one = true;
  options.gap_ns = 0;
  options.reaction_ns = sim_.between(5, 50) * ns_per_us;
  options.read_pause_ns = 0;
  options.read_size = 64 << 10;
  options.h2.stream_window = options.h2.connection_window = 8 << 20;
  options.h2.consumes_late = false;
  addClient(options);
}

void Draw::addClients() {
  if (lasts_an_hour_) return addHourOfClients();
  if (has(Fault::client_hogs)) return addHogs();
  if (has(Fault::client_crowds)) return addCrowd();
  if (has(Fault::client_asks_for_failures)) return addAskers();
  if (has(Fault::all_refuse)) return addRefused();
  if (has(Fault::long_wire)) return addFar();
  if (has(Fault::client_holds)) addHolders();
  if (has(Fault::uploads_stuck)) addBlockers();
  for (uint32_t i = has(Fault::client_leaves) ? sim_.between(1, 2) : 0; i != 0; --i) {
    ClientOptions options = drawClient();
    options.is_calm = false;
    options.leaves = true;
    addClient(options);
  }
  // The client that holds is also the one that meets an endpoint on trial.
  if (has(Fault::client_holds) && sim_.faults.isOutage() && sim_.oneIn(2)) return;
  const uint32_t count = is_crowded_ ? sim_.between(8, 20) : sim_.between(1, 7);
  for (uint32_t i = 0; i < count; ++i) addClient(drawClient());
}

void Draw::addClient(ClientOptions options) {
  options.asks_tls_port = options.uses_tls || (tls_by_first_byte && sim_.oneIn(2));
  clients.push_back(options);
}

}  // namespace plait::sim
