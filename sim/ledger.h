// The book of all requests of a run, which clients and backends share: what each request is (its plan, drawn once by
// its client), how often it was executed, and how it ended. Most oracles are entries that do not fit.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/base/bytes.h"
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
  uint32_t interims = 0;      // 103s before the response
  uint32_t think_us = 0;      // what the backend needs for it
  bool echoes_early = false;  // the backend answers before it has the request's body
  bool is_grpc = false;       // what the proxy itself answers is in gRPC's terms
  bool upgrades = false;      // a backend of HTTP/1.1 may make a tunnel of it
  uint32_t tunnel_bytes = 0;  // then go to the backend, and the response's body comes back
  Fields request_fields;
  Fields changed_fields;  // sent as well, and not forwarded as they are
  Fields response_fields;

  bool isHead() const { return method == std::string_view("HEAD"); }
  bool isIdempotent() const { return method != std::string_view("POST") && method != std::string_view("PATCH"); }
  bool hasResponseBody() const { return !isHead() && status != 204 && status != 304; }
  std::string path() const { return "/r/" + std::to_string(id); }
  std::string authority() const { return "site-" + std::to_string(id % 7) + ".test"; }
};

struct Entry {
  Plan plan;
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

  // How requests are drawn in this run.
  uint32_t max_body = 60'000;
  uint32_t max_fields = 6;
  // Of requests that must succeed: what is longer cannot be repeated when a backend refuses it.
  uint32_t max_calm_upload = UINT32_MAX;

  // A new request. `method` null: one is drawn.
  Plan& draw(bool is_calm, bool may_have_body = true);
  Entry* find(uint32_t id) { return id < entries_.size() ? &entries_[id] : nullptr; }
  // The entry that a path names; null for what a hostile client may well ask for, and a violation else.
  Entry* findByPath(std::string_view path, const char* actor);
  size_t size() const { return entries_.size(); }
  size_t open() const { return open_; }
  size_t count(Outcome outcome) const { return counts_[static_cast<size_t>(outcome)]; }
  const Entry* firstOpen() const;

  // -- a backend's
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
  };
  // The final head: whose it is and whether it is right.
  void onHead(Entry& entry, const char* actor, Answer& answer);
  void onResponseBody(Entry& entry, const char* actor, Answer& answer, Bytes bytes);
  // The response's end was seen: it must be whole.
  void onComplete(Entry& entry, const char* actor, const Answer& answer);
  void onOutcome(Entry& entry, const char* actor, Outcome outcome, const char* reason);

  Simulation& sim;

 private:
  std::deque<Entry> entries_;
  size_t open_ = 0;
  size_t counts_[5] = {};
};

std::optional<std::string_view> valueOf(const Fields& fields, std::string_view name);

}  // namespace plait::sim
