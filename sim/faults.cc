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

Faults::Faults(uint64_t seed, bool calm) : random_(seed), calm_(calm) {
  // Rare, now and then, often.
  constexpr uint32_t levels[] = {(1 << 20) / 500, (1 << 20) / 60, (1 << 20) / 10};
  for (uint32_t& chance : chances_) {
    const bool exists = random_.below(3) == 0;
    const uint32_t level = levels[random_.below(3)];
    if (exists && !calm) chance = level;
  }
}

}  // namespace plait::sim
