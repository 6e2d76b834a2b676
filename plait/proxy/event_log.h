// What an operator must hear: that a backend cannot be reached and why, and that it is back; and which client or
// backend broke the protocol, floods, or stalls. Workers note it in a ring, the control thread says it on standard
// error: a change of a backend's state once however many workers have noticed, a fault of a peer as often as LogRate
// allows.
#pragma once

#include <array>
#include <atomic>
#include <span>
#include <string>
#include <vector>

#include "plait/client/pool.h"
#include "plait/server/server.h"

namespace plait {

struct LogEvent {
  enum class Kind : uint8_t { backend_down, backend_up, client_fault, backend_fault };
  Kind kind = Kind::backend_up;
  uint32_t backend_idx = 0;
  uint32_t unsaid = 0;  // faults of this kind since the last one that was said
  Error error;
  ClientInfo client;  // of a client's fault
};

// A flood of faults must not become a flood of lines: of each kind a few are said at once, then one in a while. What is
// not said is counted, and told with the next one.
class LogRate {
 public:
  static constexpr uint32_t burst = 5;
  static constexpr int64_t interval_ms = 2000;

  // True when this one is to be said; `unsaid` are those since the last one that was.
  bool admit(TimeNs now_ns, uint32_t& unsaid);

 private:
  uint32_t tokens_ = burst;
  uint32_t unsaid_ = 0;
  TimeNs refilled_ns_ = 0;
};

// One worker pushes, one other thread pops; neither waits. An event for which there is no room is lost: the next one of
// that backend tells its state as well, and the counters of faults are exact.
class EventRing final : public PoolObserver, public ServerObserver {
 public:
  void onBackendDown(uint32_t backend_idx, const Error& error) override {
    push({.kind = LogEvent::Kind::backend_down, .backend_idx = backend_idx, .error = error});
  }
  void onBackendUp(uint32_t backend_idx) override {
    push({.kind = LogEvent::Kind::backend_up, .backend_idx = backend_idx});
  }
  void onBackendFault(uint32_t backend_idx, const Error& error, TimeNs now_ns) override;
  void onClientFault(const ClientInfo& client, const Error& error, TimeNs now_ns) override;
  bool pop(LogEvent& event);

 private:
  static constexpr uint32_t capacity = 256;
  void push(const LogEvent& event);

  LogEvent events_[capacity];
  std::array<LogRate, fault_count> client_rates_;
  std::array<LogRate, fault_count> backend_rates_;
  std::atomic<uint32_t> pushed_{0};
  std::atomic<uint32_t> popped_{0};
};

// Turns the workers' events into sentences. For the control thread alone.
class EventLog {
 public:
  EventLog(std::vector<std::string> backends, size_t workers)
      : backends_(std::move(backends)), down_(backends_.size(), std::vector<bool>(workers)) {}

  // The sentence to be said, empty when other workers have caused it to be said already.
  std::string sentenceOf(const LogEvent& event, size_t worker);

 private:
  std::string faultSentence(const LogEvent& event) const;

  std::vector<std::string> backends_;
  std::vector<std::vector<bool>> down_;  // by backend and worker
};

}  // namespace plait
