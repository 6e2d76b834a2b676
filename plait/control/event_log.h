// The control thread's half of the events (proxy/event_ring.h): they become lines on standard error. A change of a
// backend's state is said once, however many workers have noticed it, and a peer's faults as often as LogRate allows.
#pragma once

#include <string>
#include <vector>

#include "plait/proxy/event_ring.h"

namespace plait {

// Turns the workers' events into lines. For the control thread alone.
class EventLog {
 public:
  EventLog(std::vector<std::string> backends, size_t workers)
      : backends_(std::move(backends)),
        out_(backends_.size(), std::vector<Out>(workers, Out::no)),
        panics_(workers, false) {}

  // The names of endpoints by their numbers, from now on.
  void setBackends(const std::vector<std::string>& backends);

  // The line to be said; one without text when other workers have caused it to be said already.
  LogLine lineOf(const LogEvent& event, size_t worker);

 private:
  // How a worker leaves a backend out. A trial changes nothing about that until it succeeds.
  enum class Out : uint8_t { no, down, ejected };
  std::string backendOf(const LogEvent& event) const;
  LogLine faultLine(const LogEvent& event) const;
  LogLine stateLine(const LogEvent& event, size_t worker);
  LogLine panicLine(const LogEvent& event, size_t worker);
  LogLine goawayLine(const LogEvent& event) const;
  LogLine requestLine(const LogEvent& event) const;

  std::vector<std::string> backends_;
  std::vector<std::vector<Out>> out_;  // by backend and worker
  std::vector<bool> panics_;           // by worker
};

}  // namespace plait
