// Lines for the operator: a time, a level, a subject, and what there is to say about it. All of them have one form, and
// all go to a sink: standard error, unless an embedder takes them elsewhere.
//
//   2026-03-04T05:06:07.089Z warning backend h2c://api-1:9001: cannot be used: connection refused
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "plait/base/error.h"
#include "plait/base/token_bucket.h"

namespace plait {

enum class LogLevel : uint8_t { info, warning, error };

struct LogLine {
  LogLevel level = LogLevel::info;
  std::string subject;  // "plait", "access log a.log", "backend h2c://api-1:9001", "client 192.0.2.7"
  std::string text;     // one line; empty: there is nothing to say
};

// "2026-03-04T05:06:07.089Z".
std::string timestamp(int64_t unix_ns);
// With its line break.
std::string formatLine(const LogLine& line, int64_t unix_ns);

class LogSink {
 public:
  // From any thread but a worker's; it may block.
  virtual void say(const LogLine& line) = 0;

 protected:
  ~LogSink() = default;
};

class StderrLog final : public LogSink {
 public:
  // Each line is one write, so that lines of two threads do not mix.
  void say(const LogLine& line) override;
};

// A flood of faults must not become a flood of lines: of each kind a few are said at once, then one in a while. Those
// that are not said are counted, and told with the next one.
class LogRate {
 public:
  static constexpr uint32_t burst = 5;
  static constexpr int64_t interval_ms = 2000;

  // True when this one is to be said; `unsaid` are those since the last one that was.
  bool admit(TimeNs now_ns, uint32_t& unsaid);

 private:
  TokenBucket tokens_{burst, 1, 0, interval_ms* ns_per_ms};
  uint32_t unsaid_ = 0;
};

// -- parts of a line's text

// " (3 more like it since the last line)"; empty for none.
std::string unsaidText(uint32_t unsaid);
// A peer's words, as they can be shown on a terminal and cannot be taken for another line.
std::string escapedText(std::string_view text);
// "connection ended, frame_flood: too many frames that carry nothing".
std::string faultText(const Error& error);

}  // namespace plait
