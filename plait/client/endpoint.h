// One address of a backend as a worker knows it: its connections by version of HTTP, what was learnt about it, whether
// it may be used, and how it has done.
//
//             dial fails and none is left, no SETTINGS, no answer to PING          its time comes
//     up ─────────────────────────────────────────────────────────────▶ down ─────────────────────▶ trial
//      │  ▲                                                               ▲                           │ │
//      │  └───────────────────────── the trial succeeds ──────────────────┼───────────────────────────┘ │
//      │                                                                  └──── it fails ───────────────┤
//      └── what it answers (ConnectionPool::eject) ───▶ ejected ── its time comes ─▶ trial ── fails ────┘
//
//     leaving: from anywhere, for good, when no configuration names it any more
//
// ConnectionPool::become is the one function that changes the state.
#pragma once

#include <memory>

#include "plait/client/connection.h"
#include "plait/client/head_time.h"
#include "plait/client/pool_options.h"
#include "plait/client/request.h"

namespace plait {

// The connections of one version of HTTP to one endpoint, and the requests that wait for them inside the pool.
struct VersionLane {
  bool is_http1 = false;
  List<Connection, &Connection::node_> ready;
  uint32_t ready_count = 0;
  List<RequestOp, &RequestOp::queue_node> queue;
  uint32_t dialling = 0;       // connections that are being made or proven, those for one request alone not among them
  uint32_t used = 0;           // streams that run or are reserved on ready connections
  uint32_t ready_streams = 0;  // streams that those allow
  uint32_t capacity = 0;       // streams on all connections that may be made, as far as the peer's limit is known
  uint32_t nearly_full = 1;    // streams used from which on shares count: three quarters of the capacity
  uint32_t for_all = 0;        // streams of which everybody may have one: seven eighths
  // The connection that was picked last, in which turn of the loop, and how many more requests of it go there.
  struct Run {
    Connection* connection = nullptr;
    uint32_t turn = 0;
    uint32_t left = 0;  // not 0 exactly while the connection is ready
  } run;
};

// Retired connections of an endpoint with requests on them, from which on age and superfluity retire no more.
inline constexpr uint32_t many_retired = 32;

// The pause after a dial, or a trial, that lacked something of plait's own.
inline constexpr int64_t starved_dial_ms = 100;

struct Endpoint {
  using State = EndpointState;

  Endpoint(std::shared_ptr<const BackendOptions> backend, Timer::Fire on_trial_due)
      : options(std::move(backend)), trial_timer(this, on_trial_due) {
    h1.is_http1 = true;
    speaks_http1 = options->protocol == BackendProtocol::h1;
  }

  VersionLane& laneFor(bool needs_http_1_1) { return speaks_http1 || needs_http_1_1 ? h1 : h2; }
  VersionLane& laneOf(const Connection& connection) { return connection.isHttp1() ? h1 : h2; }
  uint32_t readyConnections() const { return h2.ready_count + h1.ready_count; }
  // A tunnel is possible: over HTTP/1.1, unless the endpoint was configured as h2c or has refused that version.
  bool takesTunnels() const { return options->protocol != BackendProtocol::h2c && !refuses_http1; }
  // The trial of an ejected endpoint is under way: its dial, or its request.
  bool isTrialRunning() const { return state == State::trial && left_by_answers && !wants_request; }
  // The time since which the endpoint owes a head and has sent no byte; never_ns where it owes none.
  TimeNs silentSince() {
    RequestOp* const oldest = awaiting.front();
    return oldest == nullptr ? never_ns : oldest->sent_ns > heard_ns ? oldest->sent_ns : heard_ns;
  }

  // Its identity, and settings that may change (ConnectionPool::update).
  std::shared_ptr<const BackendOptions> options;
  EndpointId id;
  ListNode node;  // in the pool's list of all
  State state = State::up;
  // The reason for a state other than up; and when the state, or the wait for a trial request, began.
  Error cause;
  TimeNs since_ns = 0;
  ConnectionPool* pool = nullptr;

  VersionLane h2;
  VersionLane h1;
  // Repetitions of unknown fate, each of which waits for a connection of its own; and the number of such connections,
  // from their dial to their first answer.
  List<RequestOp, &RequestOp::queue_node> own_queue;
  uint32_t own_connections = 0;
  uint32_t own_dialling = 0;  // of those, the ones that are being made or proven
  // Lookups and dials under way, which read `options`. The place of an endpoint that leaves is free when there are
  // none.
  uint32_t borrowers = 0;
  // Retired connections on which requests still run, tunnels not counted.
  uint32_t retired_running = 0;

  uint32_t failures = 0;  // dials that failed since the last success
  uint32_t remembered_streams = 0;
  TimeNs not_before_ns = 0;  // no dial before that
  Timer trial_timer;
  // Connections that ended while they owed answers, whatever the number of these.
  uint32_t broken_connections = 0;
  // HTTP/1.1 is its version: as configured, or found out by ALPN or a probe. Forgotten when it cannot be reached.
  bool speaks_http1 = false;
  // A probe of it has been answered in HTTP/2: silence is then no sign of HTTP/1.1 but of a server that hangs.
  bool has_spoken_http2 = false;
  // A trial has met silence although has_spoken_http2, and took it for HTTP/1.1: a real request has to bear that out.
  bool is_guess = false;
  // The first bytes of its last connection over HTTP/2 were something else.
  bool is_foreign = false;
  // It takes no HTTP/1.1, as ALPN or an answer in HTTP/2 has shown when a request needed that version. Forgotten
  // likewise.
  bool refuses_http1 = false;
  // Its last connection broke: the next one over HTTP/2 is used when SETTINGS have come.
  bool is_doubted = false;
  // It was ejected and can be reached again: it waits for one real request, which is to show whether it is well.
  bool wants_request = false;
  // It was ejected and has passed no trial since, whether or not it could be reached meanwhile.
  bool left_by_answers = false;
  // When a head with a status below 500 answered the trial request; never_ns before.
  TimeNs trial_answered_ns = never_ns;

  // -- how it does; `awaiting` and `head_time` only where it is compared with others
  bool is_compared = false;
  uint32_t in_flight = 0;                               // requests that are with it now, on retired connections too
  List<RequestOp, &RequestOp::awaiting_node> awaiting;  // in the order in which they were sent
  TimeNs heard_ns = 0;                                  // the last byte
  TimeNs answered_ns = 0;                               // the last head
  HeadTime head_time;

  std::array<uint64_t, h2::error_code_count> goaways{};  // by h2::errorIndex

  // -- shares (shares.h): counted while it is three quarters full
  bool counts_shares = false;
  uint32_t addresses = 0;
};

}  // namespace plait
