#include "sim/faults.h"

#include <iterator>

namespace plait::sim {

const char* nameOf(Fault fault) {
  static constexpr const char* names[] = {
      "connect_refused",
      "connect_blackholed",
      "listen_queue_full",
      "reset",
      "half_close",
      "cut_at_byte",
      "link_stall",
      "tiny_packets",
      "short_send",
      "short_recv",
      "late_cancel",
      "no_buffers",
      "rearm",
      "no_descriptors",
      "worker_pause",
      "resolve_slow",
      "resolve_failure",
      "backend_restart",
      "backend_hang",
      "backend_stops_reading",
      "goaway",
      "refuse_stream",
      "reset_stream",
      "http_1_1_required",
      "settings_change",
      "early_response",
      "close_after_response",
      "broken_body",
      "silent_response",
      "handshake_failure",
      "alpn_mismatch",
      "wrong_certificate",
      "no_close_notify",
      "hostile_client",
      "hostile_backend",
      "client_cancel",
      "client_vanish",
      "client_body_breaks",
      "client_settings_change",
      "client_stops_sending",
      "client_stops_reading",
      "backend_never_answers",
      "backend_is_stopped",
      "backend_says_nothing",
      "backend_swallows_syn",
      "backend_breaks_requests",
      "backend_breaks_bodies",
      "backend_refuses_all",
      "backend_says_goaway_at_once",
      "backend_answers_5xx",
      "backend_leaves_politely",
      "all_refuse",
      "client_hogs",
      "client_holds",
      "client_leaves",
      "client_asks_for_failures",
      "backend_removed",
      "embedder",
      "uploads_stuck",
      "long_wire",
      "client_crowds",
      "no_frames",
      "reloads",
  };
  static_assert(std::size(names) == fault_count);
  return names[static_cast<size_t>(fault)];
}

namespace {

bool isGraceful(Fault fault) {
  switch (fault) {
    case Fault::tiny_packets:
    case Fault::short_send:
    case Fault::short_recv:
    case Fault::late_cancel:
    case Fault::rearm:
    case Fault::goaway:
    case Fault::refuse_stream:
    case Fault::http_1_1_required:
    case Fault::settings_change:
    case Fault::early_response:
    case Fault::close_after_response:
    case Fault::client_settings_change:
      return true;
    default:
      return false;
  }
}

}  // namespace

Faults::Faults(uint64_t seed, Weather weather) : random_(seed), weather_(weather) {
  // Rare, now and then, often.
  constexpr uint32_t levels[] = {(1 << 20) / 500, (1 << 20) / 60, (1 << 20) / 10};
  for (size_t i = 0; i < static_cast<size_t>(first_of_run); ++i) {
    const bool exists = random_.below(3) == 0;
    const uint32_t level = levels[random_.below(3)];
    const bool fits = weather == Weather::storm || (weather == Weather::graceful && isGraceful(static_cast<Fault>(i)));
    if (exists && fits) chances_[i] = level;
  }
  drawForRun(seed);
}

// The traits of a run as a whole, from a source of randomness of their own: so a run without any of them is the same as
// before there were such traits.
void Faults::drawForRun(uint64_t seed) {
  Random random(seed ^ 0x51c4);
  const auto has = [this](Fault fault) { add(fault); };
  const auto sickness = [&random] {
    const auto first = static_cast<uint32_t>(first_of_run);
    return static_cast<Fault>(first + random.below(static_cast<uint32_t>(last_sickness) - first + 1));
  };
  const auto oneIn = [&random](uint32_t n) { return random.below(n) == 0; };
  const bool has_reloads = Random(seed ^ 0x4e10ad).below(4) == 0;
  switch (weather_) {
    case Weather::calm:
      if (oneIn(4)) return has(Fault::uploads_stuck);
      if (Random(seed ^ 0x10e6).below(3) == 0) return has(Fault::long_wire);
      if (has_reloads) has(Fault::reloads);
      return;
    case Weather::outage:
      if (Random(seed ^ 0xc401d).below(8) == 0) return has(Fault::client_crowds);
      switch (random.below(8)) {
        case 0:
          return has(Fault::all_refuse);
        case 1:
          return has(Fault::client_hogs);
        case 2:
          return has(Fault::client_asks_for_failures);
        default:
          if (oneIn(3)) has(Fault::client_holds);
          return has(sickness());
      }
    case Weather::graceful:
      if (oneIn(2)) has(Fault::client_holds);
      if (oneIn(3)) has(Fault::client_leaves);
      if (oneIn(3)) has(Fault::backend_leaves_politely);
      if (oneIn(3)) has(Fault::backend_removed);
      if (has_reloads) has(Fault::reloads);
      return;
    case Weather::storm:
      if (oneIn(4)) has(sickness());
      if (oneIn(4)) has(Fault::client_holds);
      if (oneIn(6)) has(Fault::client_leaves);
      if (oneIn(4)) has(Fault::backend_removed);
      if (oneIn(4)) has(Fault::embedder);
      if (Random(seed ^ 0xf4a3e).below(8) == 0) has(Fault::no_frames);
      if (has_reloads) has(Fault::reloads);
  }
}

}  // namespace plait::sim
