// The oracle's books: every request that a client sends, how often it was executed, and how it ended. Bodies and sizes
// are functions of the request's id, so a byte that belongs to another request is seen where it arrives.
#pragma once

#include <string>
#include <vector>

#include "sim/trace.h"

namespace plait::sim {

enum class Direction : uint8_t { request, response };

uint8_t byteOf(uint64_t id, Direction direction, uint64_t offset);
// The body that a request or its response has; 0 is common, 200 KiB the most.
uint64_t sizeOf(uint64_t id, Direction direction);

struct RequestRecord {
  enum class Outcome : uint8_t { open, complete, failed, cancelled };
  std::string method;
  uint64_t body_size = 0;
  uint32_t executions = 0;
  Outcome outcome = Outcome::open;
  int status = 0;
  bool from_quiet = false;  // sent when all faults were off: must succeed
};

class Ledger {
 public:
  explicit Ledger(Trace& trace) : trace_(trace) {}

  // A client's side.
  uint64_t open(std::string method, bool is_quiet);
  const RequestRecord& record(uint64_t id) const { return records_[id]; }
  void conclude(uint64_t id, RequestRecord::Outcome outcome, int status, const char* how);
  // A backend's side: the request's head has arrived and was not refused.
  void execute(uint64_t id, std::string_view method, const char* where);
  // Both: bytes of a body, in order from `offset`.
  void check(uint64_t id, Direction direction, uint64_t offset, std::string_view bytes, const char* where);
  // The end of a message that claims to be complete.
  void checkEnd(uint64_t id, Direction direction, uint64_t size, const char* where);

  bool isKnown(uint64_t id) const { return id < records_.size(); }
  uint64_t size() const { return records_.size(); }
  uint64_t openCount() const { return open_; }
  uint64_t count(RequestRecord::Outcome outcome) const;
  // The first request without an outcome, for the report.
  int64_t firstOpen() const;

 private:
  Trace& trace_;
  std::vector<RequestRecord> records_;
  uint64_t open_ = 0;
};

}  // namespace plait::sim
