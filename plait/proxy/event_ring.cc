#include "plait/proxy/event_ring.h"

#include <cstring>

namespace plait {
namespace {

void keepText(LogEvent& event, Bytes text) {
  event.text_size = static_cast<uint16_t>(std::min<size_t>(text.size(), UINT16_MAX));
  const Bytes begun = text.first(std::min(text.size(), LogEvent::most_text));
  if (!begun.empty()) std::memcpy(event.text, begun.data(), begun.size());
}

}  // namespace

void EventRing::onEndpointFault(EndpointId endpoint, const Error& error, Bytes said, TimeNs now_ns) {
  LogEvent event{.kind = LogEvent::Kind::endpoint_fault, .endpoint = endpoint, .error = error};
  keepText(event, said);
  if (backend_rates_[static_cast<size_t>(faultOf(error))].admit(now_ns, event.unsaid)) push(event);
}

void EventRing::onEndpointGoaway(EndpointId endpoint, h2::H2Error code, Bytes text, TimeNs now_ns) {
  LogEvent event{.kind = LogEvent::Kind::endpoint_goaway, .endpoint = endpoint, .code = code};
  keepText(event, text);
  if (goaway_rates_[h2::errorIndex(code)].admit(now_ns, event.unsaid)) push(event);
}

void EventRing::onClientFault(const ClientInfo& client, const Error& error, TimeNs now_ns) {
  LogEvent event{.kind = LogEvent::Kind::client_fault, .error = error, .client = client};
  if (client_rates_[static_cast<size_t>(faultOf(error))].admit(now_ns, event.unsaid)) push(event);
}

void EventRing::onRequestFailed(EndpointId endpoint, uint16_t status, const Error& cause, int64_t after_ns,
                                std::string_view request_id, TimeNs now_ns) {
  LogEvent event{.kind = LogEvent::Kind::request_failed,
                 .status = status,
                 .endpoint = endpoint,
                 .error = cause,
                 .after_ns = after_ns};
  if (!request_rates_[static_cast<size_t>(cause.code)].admit(now_ns, event.unsaid)) return;
  const std::string_view id = request_id.substr(0, LogEvent::most_text);
  if (!id.empty()) std::memcpy(event.text, id.data(), id.size());
  event.text_size = static_cast<uint16_t>(id.size());
  push(event);
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

}  // namespace plait
