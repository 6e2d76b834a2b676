#include "plait/proxy/event_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace plait {

void EventRing::push(const BackendEvent& event) {
  const uint32_t at = pushed_.load(std::memory_order_relaxed);
  if (at - popped_.load(std::memory_order_acquire) == capacity) return;
  events_[at % capacity] = event;
  pushed_.store(at + 1, std::memory_order_release);
}

bool EventRing::pop(BackendEvent& event) {
  const uint32_t at = popped_.load(std::memory_order_relaxed);
  if (at == pushed_.load(std::memory_order_acquire)) return false;
  event = events_[at % capacity];
  popped_.store(at + 1, std::memory_order_release);
  return true;
}

std::string EventLog::sentenceOf(const BackendEvent& event, size_t worker) {
  std::vector<bool>& down = down_[event.backend_idx];
  const bool was_down = std::ranges::find(down, true) != down.end();
  down[worker] = !event.is_up;
  const bool is_down = std::ranges::find(down, true) != down.end();
  if (was_down == is_down) return {};
  const std::string& name = backends_[event.backend_idx];
  if (event.is_up) return fmt::format("backend {} is reached again", name);
  std::string why = event.error.reason;
  if (event.error.code == ErrorCode::connect_failed && event.error.detail != 0) {
    why += fmt::format(" ({})", std::strerror(static_cast<int>(event.error.detail)));
  }
  return fmt::format("backend {} cannot be used: {}; it is tried again with growing pauses", name, why);
}

}  // namespace plait
