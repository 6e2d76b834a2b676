#include "sim/ledger.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "sim/hostile.h"

namespace plait::sim {
namespace {

constexpr size_t pattern_size = 1 << 16;

// Twice the pattern, so that any piece of up to its size is contiguous.
const uint8_t* pattern() {
  static const std::vector<uint8_t> bytes = [] {
    std::vector<uint8_t> made(2 * pattern_size);
    Random random(0x0b0d1e5);
    for (size_t i = 0; i < pattern_size; ++i) made[i] = made[i + pattern_size] = static_cast<uint8_t>(random.next());
    return made;
  }();
  return bytes.data();
}

size_t startOf(uint32_t id, Direction direction) {
  return (id * 2654435761u ^ (direction == Direction::request ? 0x5bd1e995u : 0)) >> 8;
}

}  // namespace

void fillBody(uint32_t id, Direction direction, uint64_t offset, uint8_t* to, size_t size) {
  while (size != 0) {
    const size_t at = (startOf(id, direction) + offset) % pattern_size;
    const size_t part = std::min(size, pattern_size);
    std::memcpy(to, pattern() + at, part);
    to += part;
    offset += part;
    size -= part;
  }
}

bool isBody(uint32_t id, Direction direction, uint64_t offset, Bytes bytes) {
  while (!bytes.empty()) {
    const size_t at = (startOf(id, direction) + offset) % pattern_size;
    const size_t part = std::min(bytes.size(), pattern_size);
    if (std::memcmp(bytes.data(), pattern() + at, part) != 0) return false;
    bytes = bytes.subspan(part);
    offset += part;
  }
  return true;
}

std::optional<std::string_view> valueOf(const Fields& fields, std::string_view name) {
  for (const auto& [field, value] : fields) {
    if (field == name) return value;
  }
  return std::nullopt;
}

Plan& Ledger::draw(bool is_calm, bool may_have_body) {
  Entry& entry = entries_.emplace_back();
  open_ += 1;
  entry.is_calm = is_calm;
  entry.issued_ns = sim.now();
  Plan& plan = entry.plan;
  plan.id = static_cast<uint32_t>(entries_.size()) - 1;
  static constexpr const char* methods[] = {"GET", "GET",  "GET",    "POST",    "POST",
                                            "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"};
  plan.method = methods[sim.below(may_have_body ? std::size(methods) : 3)];
  // Mostly small, sometimes just around the sizes of blocks, frames and windows.
  const auto bytes = [&]() -> uint32_t {
    constexpr uint32_t edges[] = {0,      1,      4095,   4096,   4097,   16'383, 16'384,
                                  16'385, 32'767, 32'768, 32'769, 65'535, 65'536};
    switch (sim.below(6)) {
      case 0:
        return std::min(edges[sim.below(std::size(edges))], max_body);
      case 1:
        return sim.below(max_body + 1);
      default:
        return std::min(sim.below(600), max_body);
    }
  };
  const std::string_view method = plan.method;
  plan.has_request_body = method == "POST" || method == "PUT" || method == "PATCH";
  if (plan.has_request_body) {
    plan.request_bytes = std::min(bytes(), is_calm ? max_calm_upload : max_body);
    plan.request_length_known = sim.oneIn(2);
    plan.request_trailers = !plan.request_length_known && sim.oneIn(3);
  }
  plan.response_bytes = bytes();
  constexpr uint16_t statuses[] = {200, 200, 200, 200, 200, 404, 204, 304, 500, 302};
  plan.status = statuses[sim.below(std::size(statuses))];
  if (!plan.hasResponseBody()) plan.response_bytes = 0;
  plan.response_length_known = sim.oneIn(2);
  plan.response_trailers = plan.hasResponseBody() && !plan.response_length_known && sim.oneIn(3);
  plan.interims = sim.oneIn(8) ? sim.between(1, 3) : 0;
  plan.think_us = sim.oneIn(4) ? sim.below(200'000) : sim.below(500);
  plan.echoes_early = plan.has_request_body && sim.strikes(Fault::early_response);
  // What is the same for many, what differs each time, and now and then something long.
  const uint32_t count = sim.below(max_fields + 1);
  for (uint32_t i = 0; i < count; ++i) {
    const std::string value = sim.oneIn(20)
                                  ? std::string(sim.between(200, 3000), static_cast<char>('a' + sim.below(26)))
                              : sim.oneIn(2) ? "v" + std::to_string(sim.below(4))
                                             : std::to_string(sim.draw());
    plan.request_fields.emplace_back("x-q" + std::to_string(i), value);
    plan.response_fields.emplace_back("x-p" + std::to_string(i), "p" + value);
  }
  plan.upgrades = method == "GET" && sim.oneIn(12);
  if (plan.upgrades) plan.tunnel_bytes = bytes();
  plan.is_grpc = method == "POST" && sim.oneIn(4);
  if (plan.is_grpc) plan.request_fields.emplace_back("content-type", "application/grpc");
  if (method == "OPTIONS" && sim.oneIn(2)) plan.changed_fields.emplace_back("max-forwards", "3");
  if (sim.oneIn(12)) plan.changed_fields.emplace_back("x-forwarded-for", "6.6.6.6");
  if (sim.oneIn(12)) plan.changed_fields.emplace_back("forwarded", "for=6.6.6.6");
  if (sim.oneIn(12)) plan.changed_fields.emplace_back("via", "1.0 elsewhere");
  // A head that takes more than one frame, also where the compression of strings is good.
  if (!is_calm && sim.oneIn(30)) {
    for (const char* name : {"x-long1", "x-long2"}) plan.request_fields.emplace_back(name, std::string(9000, '~'));
  }
  if (!is_calm && sim.oneIn(30)) {
    for (const char* name : {"x-long1", "x-long2"}) plan.response_fields.emplace_back(name, std::string(9000, '~'));
  }
  if (sim.oneIn(3)) plan.request_fields.emplace_back("cookie", "session=" + std::to_string(plan.id));
  if (sim.oneIn(4)) plan.request_fields.emplace_back("authorization", "Bearer t" + std::to_string(plan.id % 5));
  return plan;
}

Entry* Ledger::findByPath(std::string_view path, const char* actor) {
  uint32_t id = 0;
  if (path.starts_with("/r/")) {
    const auto [end, error] = std::from_chars(path.data() + 3, path.data() + path.size(), id);
    if (error == std::errc() && end == path.data() + path.size() && id < entries_.size()) return &entries_[id];
  }
  if (path == hostile_path) return nullptr;
  sim.violate("request", "%s was asked for %.*s, which nobody asked for", actor, static_cast<int>(path.size()),
              path.data());
  return nullptr;
}

const Entry* Ledger::firstOpen() const {
  for (const Entry& entry : entries_) {
    if (entry.outcome == Outcome::open) return &entry;
  }
  return nullptr;
}

void Ledger::onExecuted(Entry& entry, const char* actor, std::string_view method, std::string_view authority,
                        const Fields& fields) {
  const Plan& plan = entry.plan;
  entry.executions += 1;
  const uint32_t allowed = plan.isIdempotent() && !entry.is_calm ? 2 : 1;
  if (entry.executions > allowed) {
    sim.violate("executed once", "request %u (%s) was executed %u times, now by %s", plan.id, plan.method,
                entry.executions, actor);
  }
  if (method != plan.method) {
    sim.violate("method", "request %u is a %s and came to %s as %.*s", plan.id, plan.method, actor,
                static_cast<int>(method.size()), method.data());
  }
  if (authority != plan.authority()) {
    sim.violate("authority", "request %u is for %s and came to %s for %.*s", plan.id, plan.authority().c_str(), actor,
                static_cast<int>(authority.size()), authority.data());
  }
  for (const auto& [name, value] : plan.request_fields) {
    const auto found = valueOf(fields, name);
    if (!found || *found != value) {
      sim.violate("fields", "request %u came to %s with %s: %s instead of %s", plan.id, actor, name.c_str(),
                  found ? std::string(*found).c_str() : "(none)", value.c_str());
    }
  }
  for (const auto& [name, value] : plan.changed_fields) {
    const auto found = valueOf(fields, name);
    // Nobody is trusted to say whom a request is from; hops are counted, and added to.
    const bool is_right = name == "max-forwards" ? found == "2"
                          : name == "via"        ? found && found->starts_with(value)
                                                 : !found || found->find("6.6.6.6") == found->npos;
    if (!is_right) {
      sim.violate("forwarded", "request %u came to %s with %s: %s", plan.id, actor, name.c_str(),
                  found ? std::string(*found).c_str() : "(none)");
    }
  }
  for (const auto& [name, value] : fields) {
    if (name == "x-hop" || name == "connection" || name == "keep-alive" || name == "proxy-connection") {
      // HTTP/1.1 may speak about its own connection.
      if (name == "connection" && (value == "keep-alive" || value == "close")) continue;
      if (name == "connection" && value == "upgrade" && plan.upgrades) continue;
      sim.violate("hop-by-hop", "request %u came to %s with %s: %s", plan.id, actor, name.c_str(), value.c_str());
    }
    if (name == "content-length") {
      if (plan.has_request_body ? value != std::to_string(plan.request_bytes) : value != "0") {
        sim.violate("content-length", "request %u came to %s with content-length %s instead of %u", plan.id, actor,
                    value.c_str(), plan.request_bytes);
      }
    }
  }
}

void Ledger::onRequestBody(Entry& entry, const char* actor, uint64_t offset, Bytes bytes) {
  const uint32_t most = std::max(entry.plan.request_bytes, entry.plan.tunnel_bytes);
  if (offset + bytes.size() > most || !isBody(entry.plan.id, Direction::request, offset, bytes)) {
    sim.violate("request body", "%s got wrong bytes of request %u at %llu", actor, entry.plan.id,
                static_cast<unsigned long long>(offset));
  }
}

void Ledger::onRequestEnd(Entry& entry, const char* actor, uint64_t bytes, const Fields& trailers) {
  entry.completions += 1;
  if (bytes != entry.plan.request_bytes) {
    sim.violate("request body", "%s got request %u as whole with %llu of %u bytes", actor, entry.plan.id,
                static_cast<unsigned long long>(bytes), entry.plan.request_bytes);
  }
  const auto sum = valueOf(trailers, "x-sum");
  const bool right = entry.plan.request_trailers ? sum && *sum == std::to_string(entry.plan.id) : !sum;
  if (!right) sim.violate("request trailers", "%s got request %u with wrong trailers", actor, entry.plan.id);
}

void Ledger::checkNotAbandoned(const Entry& entry, const char* actor) {
  const bool is_given_up = entry.outcome == Outcome::cancelled || entry.outcome == Outcome::aborted;
  if (is_given_up && !entry.is_untold && entry.ended_ns + abandoned_ns < sim.now()) {
    sim.violate("cancellation", "%s still works for request %u, whose client has given it up", actor, entry.plan.id);
  }
}

void Ledger::onHead(Entry& entry, const char* actor, Answer& answer) {
  const Plan& plan = entry.plan;
  const auto id = valueOf(answer.fields, "x-sim-id");
  answer.is_backends = id.has_value();
  if (!id) {
    // The proxy's own words: only where something may have gone wrong.
    const bool known = answer.status == 502 || answer.status == 503 || answer.status == 504 ||
                       (answer.status == 408 && (plan.has_request_body || sim.faults.exists(Fault::worker_pause))) ||
                       (plan.is_grpc && answer.status == 200 && valueOf(answer.fields, "grpc-status"));
    if (!known || entry.is_calm) {
      sim.violate("answer", "request %u got %u of the proxy's own at %s", plan.id, answer.status, actor);
    }
    return;
  }
  if (*id != std::to_string(plan.id)) {
    sim.violate("cross-talk", "request %u got the response of %s at %s", plan.id, std::string(*id).c_str(), actor);
  }
  if (answer.status != plan.status && !(answer.status == 101 && plan.upgrades)) {
    sim.violate("status", "request %u got %u instead of %u at %s", plan.id, answer.status, plan.status, actor);
  }
  for (const auto& [name, value] : plan.response_fields) {
    const auto found = valueOf(answer.fields, name);
    if (!found || *found != value) {
      sim.violate("fields", "the response to %u came to %s with %s: %s instead of %s", plan.id, actor, name.c_str(),
                  found ? std::string(*found).c_str() : "(none)", value.c_str());
    }
  }
  if (const auto length = valueOf(answer.fields, "content-length")) {
    const bool matters = plan.hasResponseBody();
    if (matters && *length != std::to_string(plan.response_bytes)) {
      sim.violate("content-length", "the response to %u came to %s with content-length %s instead of %u", plan.id,
                  actor, std::string(*length).c_str(), plan.response_bytes);
    }
  }
  for (const char* hop : {"x-hop", "keep-alive", "proxy-connection"}) {
    if (valueOf(answer.fields, hop)) sim.violate("hop-by-hop", "the response to %u came with %s", plan.id, hop);
  }
}

void Ledger::onResponseBody(Entry& entry, const char* actor, Answer& answer, Bytes bytes) {
  if (answer.is_backends) {
    const bool fits = answer.bytes + bytes.size() <= entry.plan.response_bytes;
    if (!fits || !isBody(entry.plan.id, Direction::response, answer.bytes, bytes)) {
      sim.violate("response body", "%s got wrong bytes of the response to %u at %llu", actor, entry.plan.id,
                  static_cast<unsigned long long>(answer.bytes));
    }
  }
  answer.bytes += bytes.size();
}

void Ledger::onComplete(Entry& entry, const char* actor, const Answer& answer) {
  const Plan& plan = entry.plan;
  if (!answer.is_backends) return onOutcome(entry, actor, Outcome::error, "answered by the proxy");
  if (answer.bytes != plan.response_bytes) {
    sim.violate("truncated", "%s took the response to %u for whole with %llu of %u bytes", actor, plan.id,
                static_cast<unsigned long long>(answer.bytes), plan.response_bytes);
  }
  const auto sum = valueOf(answer.trailers, "x-sum");
  if (plan.response_trailers && answer.status != 101 && (!sum || *sum != std::to_string(plan.id))) {
    sim.violate("response trailers", "%s got the response to %u without its trailers", actor, plan.id);
  }
  if (answer.interims > plan.interims * std::max(1u, entry.executions) ||
      (entry.is_calm && answer.interims != plan.interims)) {
    sim.violate("interim responses", "%s got %u interim responses to %u instead of %u", actor, answer.interims, plan.id,
                plan.interims);
  }
  if (entry.executions == 0) sim.violate("answer", "request %u was answered and never executed", plan.id);
  onOutcome(entry, actor, Outcome::complete, "complete");
}

void Ledger::onOutcome(Entry& entry, const char* actor, Outcome outcome, const char* reason) {
  sim.say(actor, "request %u ends: %s", entry.plan.id, reason);
  sim.trace.mix(uint64_t{entry.plan.id} << 8 | static_cast<uint64_t>(outcome));
  entry.ended_ns = sim.now();
  if (entry.outcome != Outcome::open) {
    sim.violate("one outcome", "request %u ends a second time at %s: %s", entry.plan.id, actor, reason);
    return;
  }
  if (entry.is_calm && outcome != Outcome::complete) {
    sim.violate("answer", "request %u failed at %s although nothing could go wrong: %s", entry.plan.id, actor, reason);
  }
  entry.outcome = outcome;
  open_ -= 1;
  counts_[static_cast<size_t>(outcome)] += 1;
}

}  // namespace plait::sim
