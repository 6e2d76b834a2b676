#include "plait/proxy/event_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace plait {

bool LogRate::admit(TimeNs now_ns, uint32_t& unsaid) {
  const int64_t passed = (now_ns - refilled_ns_) / (interval_ms * ns_per_ms);
  if (passed > 0) {
    tokens_ = static_cast<uint32_t>(std::min<int64_t>(burst, tokens_ + passed));
    refilled_ns_ += passed * interval_ms * ns_per_ms;
  }
  if (tokens_ == 0) {
    unsaid_ += 1;
    return false;
  }
  tokens_ -= 1;
  unsaid = std::exchange(unsaid_, 0);
  return true;
}

void EventRing::onBackendFault(uint32_t backend_idx, const Error& error, TimeNs now_ns) {
  LogEvent event{.kind = LogEvent::Kind::backend_fault, .backend_idx = backend_idx, .error = error};
  if (backend_rates_[static_cast<size_t>(faultOf(error))].admit(now_ns, event.unsaid)) push(event);
}

void EventRing::onClientFault(const ClientInfo& client, const Error& error, TimeNs now_ns) {
  LogEvent event{.kind = LogEvent::Kind::client_fault, .error = error, .client = client};
  if (client_rates_[static_cast<size_t>(faultOf(error))].admit(now_ns, event.unsaid)) push(event);
}

void EventRing::push(const LogEvent& event) {
  const uint32_t at = pushed_.load(std::memory_order_relaxed);
  if (at - popped_.load(std::memory_order_acquire) == capacity) return;
  events_[at % capacity] = event;
  pushed_.store(at + 1, std::memory_order_release);
}

bool EventRing::pop(LogEvent& event) {
  const uint32_t at = popped_.load(std::memory_order_relaxed);
  if (at == pushed_.load(std::memory_order_acquire)) return false;
  event = events_[at % capacity];
  popped_.store(at + 1, std::memory_order_release);
  return true;
}

std::string EventLog::faultSentence(const LogEvent& event) const {
  std::string who = event.kind == LogEvent::Kind::client_fault
                        ? fmt::format("client {}", event.client.address())
                        : fmt::format("backend {}", backends_[event.backend_idx]);
  std::string line =
      fmt::format("{}: {} ended, {}: {}", who, event.error.reachesConnection() ? "connection" : "request",
                  faultName(faultOf(event.error)), event.error.reason);
  if (event.unsaid != 0) line += fmt::format(" ({} more like it since the last line)", event.unsaid);
  return line;
}

std::string EventLog::sentenceOf(const LogEvent& event, size_t worker) {
  if (event.kind == LogEvent::Kind::client_fault || event.kind == LogEvent::Kind::backend_fault)
    return faultSentence(event);
  const bool is_up = event.kind == LogEvent::Kind::backend_up;
  std::vector<bool>& down = down_[event.backend_idx];
  const bool was_down = std::ranges::find(down, true) != down.end();
  down[worker] = !is_up;
  const bool is_down = std::ranges::find(down, true) != down.end();
  if (was_down == is_down) return {};
  const std::string& name = backends_[event.backend_idx];
  if (is_up) return fmt::format("backend {} is reached again", name);
  std::string why = event.error.reason;
  if (event.error.code == ErrorCode::connect_failed && event.error.detail != 0) {
    why += fmt::format(" ({})", std::strerror(static_cast<int>(event.error.detail)));
  }
  return fmt::format("backend {} cannot be used: {}; it is tried again with growing pauses", name, why);
}

}  // namespace plait
