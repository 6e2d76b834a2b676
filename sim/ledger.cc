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

// The requests of a client that is not like others.
void Ledger::planFor(Plan& plan, Taste taste, bool speaks_h2) {
  const auto makeGet = [&plan] {
    plan.method = "GET";
    plan.has_request_body = plan.request_trailers = plan.echoes_early = plan.is_grpc = plan.upgrades = false;
    plan.request_bytes = plan.tunnel_bytes = 0;
    std::erase_if(plan.request_fields, [](const auto& field) { return field.first == "content-type"; });
    std::erase_if(plan.changed_fields, [](const auto& field) { return field.first == "max-forwards"; });
  };
  switch (taste) {
    case Taste::any:
      return;
    case Taste::modest:
      makeGet();
      if (plan.status == 500) plan.status = 200;
      plan.response_bytes = std::min(plan.response_bytes, 600u);
      return;
    case Taste::holding: {
      makeGet();
      plan.status = 200;
      plan.tick_us = sim.between(tick_us.first, tick_us.second);
      // Pieces of a few bytes each.
      plan.response_bytes =
          10 * static_cast<uint32_t>(sim.between(held_ms.first, held_ms.second) * uint64_t{1000} / plan.tick_us);
      plan.upgrades = !speaks_h2 && (held_ms.first > 60'000 || sim.oneIn(2));
      plan.tunnel_bytes = plan.upgrades ? 10 : 0;
      return;
    }
    case Taste::hogging:
      makeGet();
      plan.method = "POST";
      plan.has_request_body = true;
      plan.request_bytes = sim.between(2, 2000);
      // How long it is to be nobody says, so it does not count as small.
      plan.request_length_known = false;
      plan.hold_ms = sim.between(5000, 15'000);
      return;
    case Taste::failures: {
      makeGet();
      constexpr uint16_t statuses[] = {500, 502, 503, 504};
      plan.status = statuses[sim.below(4)];
      // Not so many bytes that a client with a tiny window says as many WINDOW_UPDATEs as a flood.
      plan.response_bytes = std::min(sim.below(600), max_body);
      plan.breaks = sim.oneIn(3);
      return;
    }
    case Taste::blocking:
      makeGet();
      plan.method = "POST";
      plan.has_request_body = true;
      plan.status = 200;
      plan.is_stuck = sim.oneIn(2);
      plan.request_bytes = plan.is_stuck ? sim.between(80'000, 200'000) : sim.between(1, 2000);
      return;
    case Taste::bulk:
      makeGet();
      plan.is_bulk = true;
      plan.status = 200;
      if (sim.oneIn(2)) {
        plan.response_bytes = bulk_bytes;
      } else {
        plan.method = "PUT";
        plan.has_request_body = true;
        plan.request_bytes = bulk_bytes;
        plan.response_bytes = std::min(plan.response_bytes, 600u);
      }
  }
}

Plan& Ledger::draw(bool is_calm, Taste taste, bool speaks_h2) {
  Entry& entry = entries_.emplace_back();
  open_ += 1;
  entry.is_calm = is_calm;
  entry.issued_ns = sim.now();
  Plan& plan = entry.plan;
  plan.id = static_cast<uint32_t>(entries_.size()) - 1;
  if (sites != 0) plan.site = 1 + site_random_.below(sites);
  static constexpr const char* methods[] = {"GET", "GET",  "GET",    "POST",    "POST",
                                            "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"};
  plan.method = methods[sim.below(std::size(methods))];
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
  if (plan.echoes_early && sim.oneIn(2)) plan.hold_ms = sim.between(20, 500);
  // Values that are the same for many, values that differ each time, and now and then a long one.
  const bool are_heads_long = header_bytes >= Limits().header_bytes;
  const uint32_t longest = are_heads_long ? 3000 : header_bytes / 24;
  const uint32_t very_long = are_heads_long ? 9000 : header_bytes / 5;
  const uint32_t count = sim.below(max_fields + 1);
  for (uint32_t i = 0; i < count; ++i) {
    const std::string value = sim.oneIn(20)
                                  ? std::string(sim.between(200, longest), static_cast<char>('a' + sim.below(26)))
                              : sim.oneIn(2) ? "v" + std::to_string(sim.below(4))
                                             : std::to_string(sim.draw());
    plan.request_fields.emplace_back("x-q" + std::to_string(i), value);
    plan.response_fields.emplace_back("x-p" + std::to_string(i), "p" + value);
  }
  plan.upgrades = method == "GET" && sim.oneIn(12) && (has_calm_tunnels || !is_calm);
  if (plan.upgrades) plan.tunnel_bytes = bytes();
  plan.is_grpc = method == "POST" && sim.oneIn(4);
  if (plan.is_grpc) plan.request_fields.emplace_back("content-type", "application/grpc");
  if (method == "OPTIONS" && sim.oneIn(2)) plan.changed_fields.emplace_back("max-forwards", "3");
  if (sim.oneIn(12)) plan.changed_fields.emplace_back("x-forwarded-for", "6.6.6.6");
  if (sim.oneIn(12)) plan.changed_fields.emplace_back("forwarded", "for=6.6.6.6");
  if (sim.oneIn(12)) plan.changed_fields.emplace_back("via", "1.0 elsewhere");
  if (sim.oneIn(12)) plan.changed_fields.emplace_back("x_real_ip", "6.6.6.6");
  // A head that takes more than one frame, also where the compression of strings is good.
  if (!is_calm && sim.oneIn(30)) {
    for (const char* name : {"x-long1", "x-long2"}) plan.request_fields.emplace_back(name, std::string(very_long, '~'));
  }
  if (!is_calm && sim.oneIn(30)) {
    for (const char* name : {"x-long1", "x-long2"})
      plan.response_fields.emplace_back(name, std::string(very_long, '~'));
  }
  if (sim.oneIn(3)) plan.request_fields.emplace_back("cookie", "session=" + std::to_string(plan.id));
  if (sim.oneIn(4)) plan.request_fields.emplace_back("authorization", "Bearer t" + std::to_string(plan.id % 5));
  // A field that nobody has to take, in Huffman's code or as it is. Over HTTP/1.1 its connection ends with it.
  if (taste == Taste::any && sim.oneIn(40)) {
    plan.asks_too_much = sim.oneIn(2) && (speaks_h2 || !is_calm);
    plan.answers_too_much = !plan.asks_too_much;
    Fields& fields = plan.asks_too_much ? plan.request_fields : plan.response_fields;
    // More than 64 KiB in all, of HTTP/2, end its connection.
    size_t most = 60'000;
    for (const auto& [name, value] : fields) most -= std::min(most, value.size());
    const char letter = sim.oneIn(2) ? 'x' : '~';
    const size_t drawn = sim.between(header_bytes + 232, header_bytes + 7232);
    fields.emplace_back("x-huge", std::string(std::max<size_t>(std::min(drawn, most), header_bytes + 232), letter));
  }
  planFor(plan, taste, speaks_h2);
  if (!plan.hasResponseBody()) plan.response_bytes = 0;
  plan.response_trailers = plan.response_trailers && plan.hasResponseBody();
  entry.is_modest = taste == Taste::modest;
  entry.is_beside_stuck = taste == Taste::blocking && !plan.is_stuck;
  // A head that is very long may be too much for somebody.
  const bool is_long = valueOf(plan.request_fields, "x-long1") || valueOf(plan.response_fields, "x-long1");
  entry.must_succeed = demands_success && !plan.has_request_body && plan.isIdempotent() && !plan.upgrades &&
                       !plan.breaks && !is_long && !plan.isTooLarge() && (!only_modest_succeed || entry.is_modest);
  return plan;
}

Entry* Ledger::findByPath(std::string_view path, const char* actor) {
  uint32_t id = 0;
  if (const size_t at = path.find("/r/"); at != path.npos) {
    (void)std::from_chars(path.data() + at + 3, path.data() + path.size(), id);
    if (id < entries_.size() && entries_[id].plan.path() == path) return &entries_[id];
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

void Ledger::onAttempt(Entry& entry, const char* actor, Attempt attempt, TimeNs asked_ns) {
  if (entry.attempts.empty()) {
    entry.first_attempt_ns = sim.now();
    if (entry.is_modest && sim.now() - entry.issued_ns > modest_limit_ns) {
      sim.violate("shares", "request %u waited %lld ms behind those of clients that hold many", entry.plan.id,
                  static_cast<long long>((sim.now() - entry.issued_ns) / ns_per_ms));
    }
  }
  const auto hasMet = [&entry](uint32_t backend) {
    return std::ranges::any_of(entry.attempts, [backend](const Attempt& met) { return met.backend == backend; });
  };
  if (checks_tried && hasMet(attempt.backend) && !entry.plan.upgrades) {
    for (uint32_t other = 0; other < backends; ++other) {
      // A backend that has just come up was not there to be chosen.
      if (hasMet(other) || well_since(attempt.worker, other) > entry.first_attempt_ns - 2 * ns_per_s) continue;
      sim.violate("tried", "request %u came to %s a second time, and backend %u has not seen it", entry.plan.id, actor,
                  other);
    }
  }
  // A trial is given up soon and repeated elsewhere, and may come to its backend after that repetition.
  const auto mayBeTrial = [&] { return up_since(attempt.worker, attempt.backend) > entry.issued_ns; };
  if (checks_repetitions && entry.lost_ns != 0 && asked_ns <= entry.lost_ns && !mayBeTrial()) {
    sim.violate("repetition", "request %u came to %s on a connection from before its first one was lost", entry.plan.id,
                actor);
  }
  if (check_attempt) check_attempt(entry, actor, attempt);
  entry.attempts.push_back(attempt);
}

void Ledger::onLost(Entry& entry) {
  if (entry.outcome == Outcome::open && entry.lost_ns == 0) entry.lost_ns = sim.now();
}

void Ledger::onEjected(uint32_t worker, uint32_t backend) {
  // For all of ten seconds it has what it has seen; what was answered a moment ago it may not have heard of.
  std::vector<uint32_t> served;
  for (const Entry& entry : entries_) {
    const bool is_here =
        !entry.attempts.empty() && entry.attempts.back().worker == worker && entry.attempts.back().backend == backend;
    if (!is_here || entry.outcome != Outcome::complete || entry.plan.status >= 500) continue;
    if (entry.ended_ns > sim.now() - ns_per_s || entry.first_attempt_ns < sim.now() - 9 * ns_per_s) continue;
    if (std::ranges::find(served, entry.client) == served.end()) served.push_back(entry.client);
  }
  if (served.size() < 2) return;
  sim.violate("one client", "worker %u ejects backend %u, by which %zu clients are served well", worker, backend,
              served.size());
}

void Ledger::checkBudget(uint32_t worker, uint32_t burst) {
  uint64_t requests = 0;
  uint64_t tries = 0;
  for (const Entry& entry : entries_) {
    const auto count = static_cast<uint64_t>(
        std::ranges::count_if(entry.attempts, [worker](const Attempt& attempt) { return attempt.worker == worker; }));
    tries += count;
    requests += count != 0 ? 1 : 0;
  }
  // Where there is little to do, a second has its one repetition for nothing.
  const auto seconds = static_cast<uint64_t>(sim.now() / ns_per_s);
  const uint64_t allowed = requests * 3 / 2 + burst * 5 / 4 + 2 * (seconds + 2);
  sim.say("WORLD", "worker %u has asked %llu times for %llu requests", worker, static_cast<unsigned long long>(tries),
          static_cast<unsigned long long>(requests));
  if (tries <= allowed) return;
  sim.violate("budget", "worker %u asks backends that refuse everything %llu times for %llu requests", worker,
              static_cast<unsigned long long>(tries), static_cast<unsigned long long>(requests));
}

void Ledger::onExecuted(Entry& entry, const char* actor, std::string_view method, std::string_view authority,
                        const Fields& fields) {
  const Plan& plan = entry.plan;
  entry.executions += 1;
  if (plan.asks_too_much) sim.violate("too large", "request %u came to %s, though it is too large", plan.id, actor);
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
  const auto checkFrom = [&](const char* name, const std::string& expected) {
    const auto found = valueOf(fields, name);
    if (!found || !found->ends_with(expected))
      sim.violate("client's address", "request %u of %s came to %s with %s: %s", plan.id, entry.from.c_str(), actor,
                  name, found ? std::string(*found).c_str() : "(none)");
  };
  if (has_x_forwarded) checkFrom("x-forwarded-for", entry.from);
  if (has_forwarded && valueOf(fields, "forwarded").value_or("").find(entry.from) == std::string_view::npos)
    checkFrom("forwarded", entry.from);
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

// By then windows have grown as far as they go.
void Ledger::lookAtBulk(Entry& entry, uint64_t bytes, uint64_t least) {
  if (!entry.plan.is_bulk || bytes < bulk_bytes / 2) return;
  if (entry.half_ns == 0) entry.half_ns = sim.now();
  if (bytes != bulk_bytes) return;
  const auto rate = static_cast<uint64_t>(bulk_bytes / 2 * ns_per_s / std::max<TimeNs>(sim.now() - entry.half_ns, 1));
  sim.say("WORLD", "request %u moved %llu kB a second", entry.plan.id, static_cast<unsigned long long>(rate / 1000));
  if (rate >= least) return;
  sim.violate("long wire", "the %s of %u moves %llu kB a second, where %llu should",
              bulk_bytes == entry.plan.request_bytes ? "request" : "response", entry.plan.id,
              static_cast<unsigned long long>(rate / 1000), static_cast<unsigned long long>(least / 1000));
}

void Ledger::onRequestBody(Entry& entry, const char* actor, uint64_t offset, Bytes bytes) {
  const uint32_t most = std::max(entry.plan.request_bytes, entry.plan.tunnel_bytes);
  if (offset + bytes.size() > most || !isBody(entry.plan.id, Direction::request, offset, bytes)) {
    sim.violate("request body", "%s got wrong bytes of request %u at %llu", actor, entry.plan.id,
                static_cast<unsigned long long>(offset));
  }
  if (entry.plan.request_bytes == bulk_bytes) lookAtBulk(entry, offset + bytes.size(), least_up);
}

void Ledger::onRequestEnd(Entry& entry, const char* actor, uint64_t bytes, const Fields& trailers) {
  entry.completions += 1;
  if (entry.is_beside_stuck && sim.now() - entry.issued_ns > beside_stuck_ns) {
    sim.violate("stuck streams", "request %u took %lld ms to come to %s, behind uploads that are stuck", entry.plan.id,
                static_cast<long long>((sim.now() - entry.issued_ns) / ns_per_ms), actor);
  }
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
  if (is_given_up && !entry.is_untold && !(resets_may_wait && entry.plan.has_request_body) &&
      entry.ended_ns + abandoned_ns < sim.now()) {
    sim.violate("cancellation", "%s still works for request %u, whose client has given it up", actor, entry.plan.id);
  }
}

void Ledger::onHead(Entry& entry, const char* actor, Answer& answer) {
  const Plan& plan = entry.plan;
  const auto id = valueOf(answer.fields, "x-sim-id");
  answer.is_backends = id.has_value();
  if (!entry.has_head) entry.has_head = answer.is_backends || valueOf(answer.fields, sick_field);
  if (!id && valueOf(answer.fields, sick_field)) return;
  if (!id && route_answer) answer.route_text = route_answer(entry, answer);
  if (answer.route_text != nullptr) return;
  if (!id) {
    // The proxy's own words: only where something may have gone wrong.
    const bool known = answer.status == 502 || answer.status == 503 || answer.status == 504 ||
                       (answer.status == 408 && (plan.has_request_body || sim.faults.exists(Fault::worker_pause))) ||
                       (plan.asks_too_much && answer.status == 431) ||
                       (answer.status == 404 && may_lack_route && may_lack_route(entry)) ||
                       (answer.status == 403 && may_be_denied && may_be_denied(entry)) ||
                       (plan.is_grpc && answer.status == 200 && valueOf(answer.fields, "grpc-status"));
    if (!valueOf(answer.fields, "proxy-status") || !valueOf(answer.fields, "x-request-id")) {
      sim.violate("own answer", "request %u got %u without a cause or an id at %s", plan.id, answer.status, actor);
    }
    const bool is_due = plan.isTooLarge() && (answer.status == (plan.asks_too_much ? 431 : 502) || plan.is_grpc);
    const bool has_gone = may_lack_cluster && may_lack_cluster(entry);
    if (!known || (entry.is_calm && !is_due && !has_gone)) {
      sim.violate("answer", "request %u got %u of the proxy's own at %s", plan.id, answer.status, actor);
    }
    return;
  }
  if (plan.isTooLarge()) {
    sim.violate("too large", "request %u got the backend's response at %s, which is too large, or it was", plan.id,
                actor);
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
  if (answer.route_text != nullptr &&
      (answer.bytes > answer.route_text->size() || !answer.route_text->substr(answer.bytes).starts_with(asText(bytes))))
    sim.violate("route's answer", "%s got wrong bytes at %llu for request %u", actor,
                static_cast<unsigned long long>(answer.bytes), entry.plan.id);
  answer.bytes += bytes.size();
  if (entry.plan.response_bytes == bulk_bytes) lookAtBulk(entry, answer.bytes, least_down);
}

void Ledger::onComplete(Entry& entry, const char* actor, const Answer& answer) {
  const Plan& plan = entry.plan;
  if (answer.route_text != nullptr) {
    if (answer.bytes != (plan.isHead() ? 0 : answer.route_text->size()))
      sim.violate("route's answer", "%s took the one to %u for whole with %llu of %zu bytes", actor, plan.id,
                  static_cast<unsigned long long>(answer.bytes), answer.route_text->size());
    entry.is_answered_by_route = true;
    return onOutcome(entry, actor, Outcome::complete, "answered by its route");
  }
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
  const bool has_gone = outcome == Outcome::error && may_lack_cluster && may_lack_cluster(entry);
  if (entry.is_calm && !has_gone && !entry.is_answered_by_route &&
      outcome != (entry.plan.isTooLarge() ? Outcome::error : Outcome::complete)) {
    sim.violate("answer", "request %u failed at %s although nothing could go wrong: %s", entry.plan.id, actor, reason);
  }
  // A head that was forwarded need not have come: where closing would end the body a reset says that it is not whole,
  // and overtakes what is on its way.
  const bool may_have_head = entry.has_head || (entry.is_broken_off && outcome == Outcome::aborted);
  if (entry.must_succeed && !may_have_head && (outcome == Outcome::error || outcome == Outcome::aborted)) {
    sim.violate("outage", "request %u failed at %s although a backend is well: %s", entry.plan.id, actor, reason);
  }
  if (entry.is_modest && entry.attempts.empty() && sim.now() - entry.issued_ns > modest_limit_ns) {
    sim.violate("shares", "request %u waited %lld ms in vain", entry.plan.id,
                static_cast<long long>((sim.now() - entry.issued_ns) / ns_per_ms));
  }
  entry.outcome = outcome;
  open_ -= 1;
  counts_[static_cast<size_t>(outcome)] += 1;
}

}  // namespace plait::sim
