// The book of all requests of a run, which clients and backends share: what each request is (its plan, drawn once by
// its client), how often it was executed, and how it ended. Most oracles are entries that do not fit.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/base/bytes.h"
#include "plait/limits.h"
#include "sim/simulation.h"

namespace plait::sim {

using Fields = std::vector<std::pair<std::string, std::string>>;

enum class Outcome : uint8_t {
  open,
  complete,   // a whole response of a backend
  error,      // a whole response of the proxy's own
  aborted,    // visibly broken off, or never answered on a connection that ended
  cancelled,  // the client wanted it no more
};

struct Plan {
  uint32_t id = 0;
  const char* method = "GET";
  uint32_t request_bytes = 0;
  bool has_request_body = false;
  bool request_length_known = true;
  bool request_trailers = false;
  uint16_t status = 200;
  uint32_t response_bytes = 0;
  bool response_length_known = true;
  bool response_trailers = false;
  uint32_t interims = 0;          // 103s before the response
  uint32_t think_us = 0;          // what the backend needs for it
  bool echoes_early = false;      // the backend answers before it has the request's body
  bool is_grpc = false;           // what the proxy itself answers is in gRPC's terms
  bool upgrades = false;          // a backend of HTTP/1.1 may make a tunnel of it
  uint32_t tunnel_bytes = 0;      // then go to the backend, and the response's body comes back
  uint32_t tick_us = 0;           // so long passes between two pieces of the response, of a few bytes each
  uint32_t hold_ms = 0;           // so long the client keeps its upload open
  bool breaks = false;            // a backend breaks off its answer: that is what was asked for
  bool asks_too_much = false;     // the request's head is too large for the proxy
  bool answers_too_much = false;  // the response's is
  bool is_bulk = false;           // its body has to fill the way that it takes
  uint32_t site = 0;              // the part of all paths that it belongs to; 0: there are no such parts
  bool is_stuck = false;          // backends take nothing of its body for a while (Fault::uploads_stuck)
  Fields request_fields;
  Fields changed_fields;  // sent as well, and not forwarded as they are
  Fields response_fields;

  bool isTooLarge() const { return asks_too_much || answers_too_much; }
  bool isHead() const { return method == std::string_view("HEAD"); }
  bool isIdempotent() const { return method != std::string_view("POST") && method != std::string_view("PATCH"); }
  bool hasResponseBody() const { return !isHead() && status != 204 && status != 304; }
  std::string path() const {
    return (site == 0 ? std::string() : "/s" + std::to_string(site)) + "/r/" + std::to_string(id);
  }
  std::string authority() const { return "site-" + std::to_string(id % 7) + ".test"; }
};

// The kind of requests that a client sends.
enum class Taste : uint8_t {
  any,
  modest,    // small GETs
  holding,   // streams of events, and tunnels in which something is said now and then
  hogging,   // uploads that stay open
  failures,  // 500, 502, 503, 504, and answers that break off
  blocking,  // uploads that get stuck, and small ones beside them
  bulk,      // large bodies, in either direction
};

// A request as a backend has met it.
struct Attempt {
  uint32_t worker = 0;
  uint32_t backend = 0;
};

struct Entry {
  Plan plan;
  uint32_t client = 0;
  std::string from;  // the address of its client, as a backend should hear of it
  bool is_answered_by_route = false;
  bool is_modest = false;        // of a client that holds nothing else
  bool is_beside_stuck = false;  // a small upload, on the connection of some that are stuck
  bool must_succeed = false;     // somewhere, as long as no head was forwarded
  bool has_head = false;
  std::vector<Attempt> attempts;  // in the order in which they came
  TimeNs first_attempt_ns = 0;
  TimeNs half_ns = 0;          // half of its large body has come
  bool is_broken_off = false;  // a backend broke off its response behind the head
  TimeNs lost_ns = 0;          // a backend broke the connection on which it owed the answer; 0: none did
  Outcome outcome = Outcome::open;
  uint32_t executions = 0;
  uint32_t completions = 0;  // whole requests that backends have got
  uint16_t status = 0;
  bool is_calm = false;  // nothing may go wrong with it
  TimeNs issued_ns = 0;
  TimeNs ended_ns = 0;
  bool is_untold = false;  // its end may not be noticed: more had been sent behind it
};

enum class Direction : uint8_t { request, response };

// A body's bytes are a function of the request's id, so that whatever is mixed up is seen at once.
void fillBody(uint32_t id, Direction direction, uint64_t offset, uint8_t* to, size_t size);
bool isBody(uint32_t id, Direction direction, uint64_t offset, Bytes bytes);

class Ledger {
 public:
  explicit Ledger(Simulation& simulation) : sim(simulation) {}

  // So long after a client has gone its backend must have heard of it; workers that pause may take this.
  static constexpr TimeNs abandoned_ns = 25 * ns_per_s;
  // So long a small upload may take until it has come to a backend whole, whatever is stuck beside it.
  static constexpr TimeNs beside_stuck_ns = 4 * ns_per_s;

  // How requests are drawn in this run.
  uint32_t max_body = 60'000;
  uint32_t max_fields = 6;
  uint32_t header_bytes = Limits().header_bytes;
  // How long a response lasts that is held, and the time between two pieces of it; at least and at most. Where such
  // responses last minutes, every one over HTTP/1.1 is a tunnel.
  std::pair<uint32_t, uint32_t> held_ms = {3000, 20'000};
  std::pair<uint32_t, uint32_t> tick_us = {100'000, 400'000};
  // Of requests that must succeed: what is longer cannot be repeated when a backend refuses it.
  uint32_t max_calm_upload = UINT32_MAX;
  // Several backends may take a tunnel for HTTP/1.1 that they do not speak, and reset it: which nobody could know.
  bool has_calm_tunnels = true;
  // Where hung requests keep the little memory for uploads, a reset behind an upload is not read for long.
  bool resets_may_wait = false;
  // Paths belong to one of so many sites, each with a route of its own; 0: there are no routes.
  uint32_t sites = 0;
  // With routes: whether it was right to send the request to that backend, and which answers of plait's own are.
  std::function<void(const Entry& entry, const char* actor, Attempt attempt)> check_attempt;
  std::function<bool(const Entry& entry)> may_lack_route;
  std::function<bool(const Entry& entry)> may_be_denied;
  std::function<bool(const Entry& entry)> may_lack_cluster;
  // Whether backends hear by which fields for whom a request is.
  bool has_x_forwarded = false;
  bool has_forwarded = false;
  // Requests that can be repeated must succeed: somebody well is there.
  bool demands_success = false;
  // Of them those of modest clients alone.
  bool only_modest_succeed = false;
  // Large bodies, and how fast the second half of one has to come, in bytes a second.
  uint32_t bulk_bytes = 0;
  uint64_t least_down = 0;
  uint64_t least_up = 0;
  // So long a modest request may take until it has come to a backend.
  TimeNs modest_limit_ns = never_ns;
  // Nothing but the loss of its connection makes plait repeat a request whose fate is unknown.
  bool checks_repetitions = false;
  // Every try of a request is seen by a backend.
  bool checks_tried = false;
  // Since when the worker has the backend up; never_ns: it has not.
  std::function<TimeNs(uint32_t worker, uint32_t backend)> up_since;
  // And since when without having lost a connection to it.
  std::function<TimeNs(uint32_t worker, uint32_t backend)> well_since;
  uint32_t backends = 0;

  // A new request. `method` null: one is drawn.
  Plan& draw(bool is_calm, Taste taste = Taste::any, bool speaks_h2 = true);
  Entry* find(uint32_t id) { return id < entries_.size() ? &entries_[id] : nullptr; }
  // The entry that a path names; null for what a hostile client may well ask for, and a violation else.
  Entry* findByPath(std::string_view path, const char* actor);
  size_t size() const { return entries_.size(); }
  size_t open() const { return open_; }
  size_t count(Outcome outcome) const { return counts_[static_cast<size_t>(outcome)]; }
  const Entry* firstOpen() const;

  // -- a backend's
  // The request has come to it, on a connection that was asked for then.
  void onAttempt(Entry& entry, const char* actor, Attempt attempt, TimeNs asked_ns);
  // It has broken the connection on which it owed the answer.
  void onLost(Entry& entry);
  // It starts to work on the request. Checks what was sent.
  void onExecuted(Entry& entry, const char* actor, std::string_view method, std::string_view authority,
                  const Fields& fields);
  void onRequestBody(Entry& entry, const char* actor, uint64_t offset, Bytes bytes);
  // The request's end was seen: it must be whole.
  void onRequestEnd(Entry& entry, const char* actor, uint64_t bytes, const Fields& trailers);

  // It is still at it.
  void checkNotAbandoned(const Entry& entry, const char* actor);

  // -- a client's
  struct Answer {
    uint16_t status = 0;
    Fields fields;
    uint64_t bytes = 0;
    uint32_t interims = 0;
    Fields trailers;
    bool is_backends = false;
    const std::string* route_text = nullptr;  // the body, where a route answers by itself
  };
  // With routes: the body of the route's own answer that this is the head of; null: it is none.
  std::function<const std::string*(const Entry& entry, const Answer& answer)> route_answer;
  // The final head: whose it is and whether it is right.
  void onHead(Entry& entry, const char* actor, Answer& answer);
  void onResponseBody(Entry& entry, const char* actor, Answer& answer, Bytes bytes);
  // The response's end was seen: it must be whole.
  void onComplete(Entry& entry, const char* actor, const Answer& answer);
  void onOutcome(Entry& entry, const char* actor, Outcome outcome, const char* reason);

  // -- what a worker decides
  // It has ejected the backend. Where everybody else was served well there, one client has made it do so.
  void onEjected(uint32_t worker, uint32_t backend);
  // Oracle: a cluster that refuses everything was not asked too often, from the beginning until now.
  void checkBudget(uint32_t worker, uint32_t burst);

  Simulation& sim;

 private:
  void planFor(Plan& plan, Taste taste, bool speaks_h2);
  // So many bytes of a large body have come.
  void lookAtBulk(Entry& entry, uint64_t bytes, uint64_t least);
  std::deque<Entry> entries_;
  size_t open_ = 0;
  size_t counts_[5] = {};
  Random site_random_{0x517e5};
};

// The field by which an answer is known that a sick backend gives to everybody.
inline constexpr const char* sick_field = "x-sim-sick";

std::optional<std::string_view> valueOf(const Fields& fields, std::string_view name);

}  // namespace plait::sim
