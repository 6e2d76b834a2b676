// What happened in a run: a hash over everything, the last events for whoever reads a failure, and all of them with
// --trace. And the first violated oracle, which ends the run.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <deque>
#include <string>

#include "plait/base/time.h"

namespace plait::sim {

class Trace {
 public:
  explicit Trace(bool prints) : prints_(prints) {}

  void setNow(TimeNs now_ns) { now_ns_ = now_ns; }

  // One event, as a line of the dialogue.
  __attribute__((format(printf, 2, 3))) void note(const char* format, ...) {
    char line[256];
    const int prefix = std::snprintf(line, sizeof(line), "%12.6f  ", static_cast<double>(now_ns_) / ns_per_s);
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(line + prefix, sizeof(line) - static_cast<size_t>(prefix), format, arguments);
    va_end(arguments);
    for (const char* c = line; *c != '\0'; ++c) hash_ = (hash_ ^ static_cast<uint8_t>(*c)) * 0x100000001b3;
    events_ += 1;
    if (prints_) std::printf("%s\n", line);
    last_.emplace_back(line);
    if (last_.size() > kept) last_.pop_front();
  }

  // The first one counts; the run ends with it.
  __attribute__((format(printf, 3, 4))) void violate(const char* oracle, const char* format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    note("VIOLATION of %s: %s", oracle, text);
    if (violation_.empty()) violation_ = std::string(oracle) + ": " + text;
  }

  bool isViolated() const { return !violation_.empty(); }
  const std::string& violation() const { return violation_; }
  uint64_t hash() const { return hash_; }
  uint64_t events() const { return events_; }
  const std::deque<std::string>& last() const { return last_; }

 private:
  static constexpr size_t kept = 60;
  bool prints_;
  TimeNs now_ns_ = 0;
  uint64_t hash_ = 0xcbf29ce484222325;
  uint64_t events_ = 0;
  std::string violation_;
  std::deque<std::string> last_;
};

}  // namespace plait::sim
