// The faults that may strike in a run. Each fault is a named probability; a seed draws which of them exist in its run
// and how often they strike (swarm testing: a run with few faults that strike often finds other bugs than one with
// all).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "plait/base/random.h"

namespace plait::sim {

enum class Fault : uint8_t {
  // The network, for each connection, write or read.
  connect_refused,
  connect_blackholed,
  listen_queue_full,
  reset,
  half_close,
  cut_at_byte,  // a backend's connection ends after a number of bytes that was drawn
  link_stall,
  tiny_packets,
  // The kernel as a worker sees it.
  short_send,
  short_recv,
  late_cancel,
  no_buffers,
  rearm,  // a stream op ends without need and has to be armed again
  no_descriptors,
  worker_pause,  // the worker does not run for a while: a clock that jumps
  resolve_slow,
  resolve_failure,
  // Backends.
  backend_restart,
  backend_hang,
  backend_stops_reading,
  goaway,
  refuse_stream,
  reset_stream,
  http_1_1_required,
  settings_change,
  early_response,
  close_after_response,
  broken_body,
  silent_response,  // the body stops for longer than anybody waits
  // TLS of either.
  handshake_failure,
  alpn_mismatch,
  wrong_certificate,
  no_close_notify,
  // Peers that break the rules, see hostile.h.
  hostile_client,
  hostile_backend,
  // Clients.
  client_cancel,
  client_vanish,
  client_body_breaks,
  client_settings_change,
  client_stops_sending,  // and stays
  client_stops_reading,
  // One backend is sick for a while and then well again, beside others that are well (origin.h). These, and those that
  // follow, exist or not, and never strike.
  backend_never_answers,  // it is there, reads, says SETTINGS, and owes every answer
  backend_is_stopped,     // as by SIGSTOP: its kernel takes connections and bytes, nobody reads them
  backend_says_nothing,   // connections are accepted, and that is all
  backend_swallows_syn,
  backend_breaks_requests,      // RST when a request has come, before its response's head
  backend_breaks_bodies,        // RST after the first byte of a response's body
  backend_refuses_all,          // REFUSED_STREAM to every request
  backend_says_goaway_at_once,  // which covers nothing
  backend_answers_5xx,
  backend_leaves_politely,  // GOAWAY after GOAWAY, and what runs runs on
  // Whole runs: every backend refuses everything; and what some of the clients are like.
  all_refuse,
  client_hogs,
  client_holds,
  client_leaves,
  client_asks_for_failures,
  backend_removed,
  embedder,       // beside the proxy, one that takes leases by itself
  uploads_stuck,  // backends take nothing of some uploads, and all of others
  long_wire,      // clients or backends are far away, and large bodies have to fill the way there
  client_crowds,  // one address holds as many connections, or requests, as it can get
  no_frames,      // now and then a worker has no coroutine frame left for a while
  reloads,        // routes, clusters and endpoints change while requests run (operator.h)
  count,
};

constexpr size_t fault_count = static_cast<size_t>(Fault::count);
constexpr Fault first_of_run = Fault::backend_never_answers;
constexpr Fault last_sickness = Fault::backend_leaves_politely;
const char* nameOf(Fault fault);

// A storm has about a third of all faults. In a graceful run everybody may be slow, refuse and leave, but in good
// order: every request must succeed all the same. A calm one has no faults. In an outage all but one thing is in order:
// a backend is sick, all refuse, clients take all that there is, or one asks for failures.
enum class Weather : uint8_t { storm, graceful, calm, outage };

class Faults {
 public:
  Faults(uint64_t seed, Weather weather);

  // Whether the fault strikes now. A fault that does not exist in this run draws nothing.
  bool strikes(Fault fault) {
    const uint32_t chance = chances_[static_cast<size_t>(fault)];
    return enabled_ && chance != 0 && random_.below(1 << 20) < chance;
  }
  // A trait of the run as a whole that is there whatever the seed has drawn.
  void add(Fault trait) { chances_[static_cast<size_t>(trait)] = 1 << 20; }
  bool exists(Fault fault) const { return chances_[static_cast<size_t>(fault)] != 0; }
  bool isCalm() const { return weather_ == Weather::calm; }
  // Nothing is lost that is not said to be.
  bool areGraceful() const { return weather_ == Weather::graceful || weather_ == Weather::calm; }
  bool isOutage() const { return weather_ == Weather::outage; }
  // The quiet phase: nothing strikes any more.
  void end() { enabled_ = false; }
  bool areOver() const { return !enabled_; }
  double chanceOf(Fault fault) const { return chances_[static_cast<size_t>(fault)] / double(1 << 20); }

 private:
  void drawForRun(uint64_t seed);

  std::array<uint32_t, fault_count> chances_{};  // in 2^-20
  Random random_;
  Weather weather_;
  bool enabled_ = true;
};

}  // namespace plait::sim
