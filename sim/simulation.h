// The state that everybody in a run shares: the virtual clock with its queue of events, the one source of randomness,
// the faults, the trace, and the first oracle that was violated. One seed decides all of it.
#pragma once

#include <cstdarg>
#include <deque>
#include <functional>
#include <queue>
#include <string>
#include <vector>

#include "plait/base/time.h"
#include "sim/faults.h"

namespace plait::sim {

// A run's record: always a hash, and the last lines in words when somebody wants to read them.
class Trace {
 public:
  // Lines are kept from now on: all are printed as they come, or the last ones are kept for later.
  void keep(size_t last_lines) { kept_ = last_lines; }
  void print() { prints_ = true; }
  bool isWanted() const { return prints_ || kept_ != 0; }

  // Enters numbers that tell this run from another one.
  void mix(uint64_t value) { hash_ = (hash_ ^ value) * 0x9e3779b97f4a7c15 ^ hash_ >> 29; }
  void mix(const void* bytes, size_t size);
  uint64_t hash() const { return hash_; }
  void line(TimeNs now_ns, const char* actor, const char* format, va_list arguments);
  const std::deque<std::string>& lines() const { return lines_; }

 private:
  uint64_t hash_ = 0x51a17;
  size_t kept_ = 0;
  bool prints_ = false;
  std::deque<std::string> lines_;
};

// The weather that a seed draws.
Weather weatherOf(uint64_t seed);

class Simulation {
 public:
  Simulation(uint64_t seed, Weather weather);
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  TimeNs now() const { return now_ns_; }
  // Runs `action` at that time; among events of one time the seed chooses the order. Objects that it captures must live
  // as long as the run.
  void at(TimeNs when_ns, std::function<void()> action);
  void after(TimeNs delay_ns, std::function<void()> action) { at(now_ns_ + delay_ns, std::move(action)); }
  // Runs the next event. False when there is none, or an oracle was violated.
  bool step();
  // Runs until `done`, an oracle's violation, or that time; true when `done`.
  bool runUntil(const std::function<bool()>& done, TimeNs limit_ns);

  uint32_t below(uint32_t bound) { return random_.below(bound); }
  // In [low, high].
  uint32_t between(uint32_t low, uint32_t high) { return low + random_.below(high - low + 1); }
  bool oneIn(uint32_t n) { return random_.below(n) == 0; }
  uint64_t draw() { return random_.next(); }
  bool strikes(Fault fault) { return faults.strikes(fault); }

  // A line of the dialogue. Costs nothing where nobody reads it; what tells runs apart is mixed in by trace.mix().
  void say(const char* actor, const char* format, ...) __attribute__((format(printf, 3, 4)));
  // The first violation ends the run.
  void violate(const char* oracle, const char* format, ...) __attribute__((format(printf, 3, 4)));
  bool isViolated() const { return !violation_.empty(); }
  const std::string& violation() const { return violation_; }
  uint64_t events() const { return events_; }

  Faults faults;
  Trace trace;

 private:
  struct Event {
    TimeNs when_ns;
    uint32_t order;
    uint64_t number;
    std::function<void()> action;
    bool operator<(const Event& other) const {
      if (when_ns != other.when_ns) return when_ns > other.when_ns;
      if (order != other.order) return order > other.order;
      return number > other.number;
    }
  };

  Random random_;
  TimeNs now_ns_;
  uint64_t events_ = 0;
  uint64_t numbered_ = 0;
  std::vector<Event> queue_;  // a heap
  std::string violation_;
};

}  // namespace plait::sim
