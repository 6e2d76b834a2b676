#include "sim/simulation.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "plait/base/alloc_guard.h"

namespace plait::sim {

void Trace::mix(const void* bytes, size_t size) {
  const auto* at = static_cast<const uint8_t*>(bytes);
  for (; size >= 8; at += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    mix(word);
  }
  uint64_t rest = size;
  for (size_t i = 0; i < size; ++i) rest = rest << 8 | at[i];
  mix(rest);
}

void Trace::line(TimeNs now_ns, const char* actor, const char* format, va_list arguments) {
  char text[512];
  const int head = std::snprintf(text, sizeof(text), "%11.6f  %-22s ", double(now_ns) / 1e9, actor);
  std::vsnprintf(text + head, sizeof(text) - static_cast<size_t>(head), format, arguments);
  if (prints_) std::puts(text);
  if (kept_ == 0) return;
  lines_.emplace_back(text);
  if (lines_.size() > kept_) lines_.pop_front();
}

Weather weatherOf(uint64_t seed) {
  switch (Random(seed ^ 0xca1f).below(6)) {
    case 0:
      return Weather::calm;
    case 1:
      return Weather::graceful;
    default:
      return Random(seed ^ 0x0a7e).below(3) == 0 ? Weather::outage : Weather::storm;
  }
}

Simulation::Simulation(uint64_t seed, Weather weather)
    : faults(seed * 0x2545f4914f6cdd1d + 1, weather), random_(seed), now_ns_(ns_per_s) {
  queue_.reserve(1024);
}

void Simulation::at(TimeNs when_ns, std::function<void()> action) {
  queue_.push_back({std::max(when_ns, now_ns_), static_cast<uint32_t>(random_.next()), numbered_++, std::move(action)});
  std::push_heap(queue_.begin(), queue_.end());
}

bool Simulation::step() {
  if (queue_.empty() || isViolated()) return false;
  std::pop_heap(queue_.begin(), queue_.end());
  Event event = std::move(queue_.back());
  queue_.pop_back();
  now_ns_ = event.when_ns;
  events_ += 1;
  trace.mix(static_cast<uint64_t>(now_ns_) ^ event.number << 40);
  event.action();
  return !isViolated();
}

bool Simulation::runUntil(const std::function<bool()>& done, TimeNs limit_ns) {
  while (!done()) {
    if (isViolated() || queue_.empty() || queue_.front().when_ns > limit_ns) return false;
    if (!step()) return false;
  }
  return true;
}

void Simulation::say(const char* actor, const char* format, ...) {
  const AllocGuard::Pause pause;  // a worker may be the one who says it
  if (!trace.isWanted()) return;
  va_list arguments;
  va_start(arguments, format);
  trace.line(now_ns_, actor, format, arguments);
  va_end(arguments);
}

void Simulation::violate(const char* oracle, const char* format, ...) {
  const AllocGuard::Pause pause;  // a worker may be the one who says it
  if (isViolated()) return;
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  violation_ = std::string(oracle) + ": " + text;
  say("ORACLE", "%s", violation_.c_str());
}

}  // namespace plait::sim
