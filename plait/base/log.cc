#include "plait/base/log.h"

#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string_view>
#include <utility>

#include "plait/base/time.h"

namespace plait {
namespace {

const char* nameOf(LogLevel level) {
  switch (level) {
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "";
}

}  // namespace

std::string timestamp(int64_t unix_ns) {
  const int64_t unix_ms = unix_ns / ns_per_ms;
  const auto unix_s = static_cast<time_t>(unix_ms / 1000);
  tm parts{};
  ::gmtime_r(&unix_s, &parts);
  char text[40];
  const size_t size = ::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
  const int fraction = std::snprintf(text + size, sizeof(text) - size, ".%03dZ", static_cast<int>(unix_ms % 1000));
  return {text, size + static_cast<size_t>(fraction)};
}

std::string formatLine(const LogLine& line, int64_t unix_ns) {
  return timestamp(unix_ns) + " " + nameOf(line.level) + " " + line.subject + ": " + line.text + "\n";
}

bool LogRate::admit(TimeNs now_ns, uint32_t& unsaid) {
  if (!tokens_.take(now_ns)) {
    unsaid_ += 1;
    return false;
  }
  unsaid = std::exchange(unsaid_, 0);
  return true;
}

std::string unsaidText(uint32_t unsaid) {
  return unsaid == 0 ? std::string() : " (" + std::to_string(unsaid) + " more like it since the last line)";
}

std::string escapedText(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      char hex[8];
      std::snprintf(hex, sizeof(hex), "\\x%02x", byte);
      out += hex;
    }
  }
  return out;
}

std::string faultText(const Error& error) {
  return std::string(error.reachesConnection() ? "connection" : "request") + " ended, " + faultName(faultOf(error)) +
         ": " + error.reason;
}

void StderrLog::say(const LogLine& line) {
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  const std::string text = formatLine(line, std::chrono::duration_cast<std::chrono::nanoseconds>(wall).count());
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    // There is nowhere to say that nothing can be said.
    if (written <= 0) return;
    rest.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace plait
