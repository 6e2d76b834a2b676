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
  for (size_t i = 0; i < fault_count; ++i) {
    const bool exists = random_.below(3) == 0;
    const uint32_t level = levels[random_.below(3)];
    const bool fits = weather == Weather::storm || (weather == Weather::graceful && isGraceful(static_cast<Fault>(i)));
    if (exists && fits) chances_[i] = level;
  }
}

}  // namespace plait::sim
