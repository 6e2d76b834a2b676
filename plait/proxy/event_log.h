// What an operator must hear about backends: that one cannot be reached and why, and that it is back. Workers note it
// in a ring, the control thread says it on standard error, once however many workers have noticed.
#pragma once

#include <atomic>
#include <span>
#include <string>
#include <vector>

#include "plait/client/pool.h"

namespace plait {

struct BackendEvent {
  uint32_t backend_idx = 0;
  bool is_up = false;
  Error error;  // why it is down
};

// One worker pushes, one other thread pops; neither waits. An event for which there is no room is lost: the next one of
// that backend tells its state as well.
class EventRing final : public PoolObserver {
 public:
  void onBackendDown(uint32_t backend_idx, const Error& error) override { push({backend_idx, false, error}); }
  void onBackendUp(uint32_t backend_idx) override { push({backend_idx, true, {}}); }
  bool pop(BackendEvent& event);

 private:
  static constexpr uint32_t capacity = 256;
  void push(const BackendEvent& event);

  BackendEvent events_[capacity];
  std::atomic<uint32_t> pushed_{0};
  std::atomic<uint32_t> popped_{0};
};

// Turns the workers' events into sentences. For the control thread alone.
class EventLog {
 public:
  EventLog(std::vector<std::string> backends, size_t workers)
      : backends_(std::move(backends)), down_(backends_.size(), std::vector<bool>(workers)) {}

  // The sentence to be said, empty when other workers have caused it to be said already.
  std::string sentenceOf(const BackendEvent& event, size_t worker);

 private:
  std::vector<std::string> backends_;
  std::vector<std::vector<bool>> down_;  // by backend and worker
};

}  // namespace plait
