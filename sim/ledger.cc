#include "sim/ledger.h"

#include <algorithm>

namespace plait::sim {
namespace {

uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

bool isIdempotent(std::string_view method) {
  return method == "GET" || method == "PUT" || method == "DELETE";
}

}  // namespace

uint8_t byteOf(uint64_t id, Direction direction, uint64_t offset) {
  return static_cast<uint8_t>(mix(id * 2 + static_cast<uint64_t>(direction) + (offset >> 3) * 0x9e3779b97f4a7c15) >>
                              (offset & 7) * 8);
}

uint64_t sizeOf(uint64_t id, Direction direction) {
  const uint64_t draw = mix(id * 0x9e3779b97f4a7c15 + static_cast<uint64_t>(direction) + 17);
  switch (draw % 8) {
    case 0:
    case 1:
      return 0;
    case 2:
    case 3:
    case 4:
      return draw / 8 % 300;
    case 5:
    case 6:
      return draw / 8 % 20'000;
    default:
      return draw / 8 % 200'000;
  }
}

uint64_t Ledger::open(std::string method, bool is_quiet) {
  const uint64_t id = records_.size();
  RequestRecord record;
  record.body_size = method == "GET" || method == "DELETE" ? 0 : sizeOf(id, Direction::request);
  record.method = std::move(method);
  record.from_quiet = is_quiet;
  records_.push_back(std::move(record));
  open_ += 1;
  return id;
}

void Ledger::conclude(uint64_t id, RequestRecord::Outcome outcome, int status, const char* how) {
  RequestRecord& record = records_[id];
  trace_.note("request %llu %s: %s (%d)", static_cast<unsigned long long>(id), record.method.c_str(), how, status);
  if (record.outcome != RequestRecord::Outcome::open) {
    return trace_.violate("one outcome", "request %llu ends a second time: %s", static_cast<unsigned long long>(id),
                          how);
  }
  record.outcome = outcome;
  record.status = status;
  open_ -= 1;
  if (record.from_quiet && (outcome != RequestRecord::Outcome::complete || status != 200)) {
    trace_.violate("recovery", "request %llu fails although nothing does any more: %s, status %d",
                   static_cast<unsigned long long>(id), how, status);
  }
  if (outcome == RequestRecord::Outcome::complete && status == 200 && record.executions == 0) {
    trace_.violate("execution", "request %llu was answered and never executed", static_cast<unsigned long long>(id));
  }
}

void Ledger::execute(uint64_t id, std::string_view method, const char* where) {
  if (!isKnown(id)) return trace_.violate("execution", "%s got a request that nobody sent", where);
  RequestRecord& record = records_[id];
  record.executions += 1;
  trace_.note("%s executes request %llu", where, static_cast<unsigned long long>(id));
  if (method != record.method) {
    trace_.violate("execution", "request %llu arrived with another method", static_cast<unsigned long long>(id));
  }
  const uint32_t allowed = isIdempotent(record.method) ? 2 : 1;
  if (record.executions > allowed) {
    trace_.violate("execution", "request %llu (%s) was executed %u times", static_cast<unsigned long long>(id),
                   record.method.c_str(), record.executions);
  }
}

void Ledger::check(uint64_t id, Direction direction, uint64_t offset, std::string_view bytes, const char* where) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (static_cast<uint8_t>(bytes[i]) == byteOf(id, direction, offset + i)) continue;
    return trace_.violate("bodies", "%s: byte %llu of request %llu's %s body is another's", where,
                          static_cast<unsigned long long>(offset + i), static_cast<unsigned long long>(id),
                          direction == Direction::request ? "request" : "response");
  }
}

void Ledger::checkEnd(uint64_t id, Direction direction, uint64_t size, const char* where) {
  const uint64_t expected = direction == Direction::request ? records_[id].body_size : sizeOf(id, Direction::response);
  if (size == expected) return;
  trace_.violate("completeness", "%s: request %llu's %s body ends at %llu of %llu bytes as if complete", where,
                 static_cast<unsigned long long>(id), direction == Direction::request ? "request" : "response",
                 static_cast<unsigned long long>(size), static_cast<unsigned long long>(expected));
}

uint64_t Ledger::count(RequestRecord::Outcome outcome) const {
  return static_cast<uint64_t>(
      std::ranges::count_if(records_, [outcome](const RequestRecord& r) { return r.outcome == outcome; }));
}

int64_t Ledger::firstOpen() const {
  for (size_t i = 0; i < records_.size(); ++i) {
    if (records_[i].outcome == RequestRecord::Outcome::open) return static_cast<int64_t>(i);
  }
  return -1;
}

}  // namespace plait::sim
