#include "plait/control/event_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace plait {

void EventLog::setBackends(const std::vector<std::string>& backends) {
  const size_t workers = panics_.size();
  out_.resize(std::max(out_.size(), backends.size()), std::vector<Out>(workers, Out::no));
  for (size_t i = 0; i < backends.size(); ++i) {
    // Another endpoint has the number.
    if (i >= backends_.size() || backends_[i] != backends[i]) out_[i].assign(workers, Out::no);
  }
  backends_ = backends;
}

std::string EventLog::backendOf(const LogEvent& event) const {
  if (event.endpoint.number >= backends_.size()) return "backends";
  return "backend " + backends_[event.endpoint.number];
}

LogLine EventLog::faultLine(const LogEvent& event) const {
  const std::string unsaid = unsaidText(event.unsaid);
  if (event.kind == LogEvent::Kind::client_fault) {
    return {LogLevel::warning, fmt::format("client {}", event.client.address()), faultText(event.error) + unsaid};
  }
  return {LogLevel::warning, backendOf(event),
          endpointFaultText(event.error, event.begunText(), event.text_size) + unsaid};
}

LogLine EventLog::goawayLine(const LogEvent& event) const {
  return {event.code == h2::H2Error::no_error ? LogLevel::info : LogLevel::warning, backendOf(event),
          goawayText(event.code, event.begunText(), event.text_size) + unsaidText(event.unsaid)};
}

LogLine EventLog::requestLine(const LogEvent& event) const {
  std::string text = event.status == 0 ? std::string("a request ended without a whole response")
                                       : fmt::format("a request was answered with {}", event.status);
  text += fmt::format(", {}: {}, after {} ms", errorCodeName(event.error.code), event.error.reason,
                      event.after_ns / ns_per_ms);
  if (event.text_size != 0) text += fmt::format(" (request {})", std::string_view(event.text, event.text_size));
  return {LogLevel::error, backendOf(event), text + unsaidText(event.unsaid)};
}

LogLine EventLog::lineOf(const LogEvent& event, size_t worker) {
  switch (event.kind) {
    case LogEvent::Kind::endpoint_state:
      return stateLine(event, worker);
    case LogEvent::Kind::panic:
      return panicLine(event, worker);
    case LogEvent::Kind::client_fault:
    case LogEvent::Kind::endpoint_fault:
      return faultLine(event);
    case LogEvent::Kind::endpoint_goaway:
      return goawayLine(event);
    case LogEvent::Kind::request_failed:
      return requestLine(event);
  }
  return {};
}

LogLine EventLog::stateLine(const LogEvent& event, size_t worker) {
  if (event.state == EndpointState::trial || event.state == EndpointState::leaving) return {};
  if (event.endpoint.number >= out_.size()) return {};
  std::vector<Out>& out = out_[event.endpoint.number];
  const auto isOut = [&] { return std::ranges::any_of(out, [](Out one) { return one != Out::no; }); };
  const bool was_out = isOut();
  const bool is_ejected = event.state == EndpointState::ejected;
  const Out before = std::exchange(out[worker], event.state == EndpointState::up ? Out::no
                                                : is_ejected                     ? Out::ejected
                                                                                 : Out::down);
  if (!isOut()) {
    if (!was_out) return {};
    return {LogLevel::info, backendOf(event), before == Out::ejected ? "used again" : "reached again"};
  }
  // Other workers have said it; that one changes its reason is said as well.
  if (out[worker] == Out::no || (was_out && before == out[worker])) return {};
  if (was_out && std::ranges::count(out, out[worker]) > 1) return {};
  return {is_ejected ? LogLevel::warning : LogLevel::error, backendOf(event),
          endpointStateText(event.state, event.error)};
}

LogLine EventLog::panicLine(const LogEvent& event, size_t worker) {
  const auto isPanic = [&] { return std::ranges::find(panics_, true) != panics_.end(); };
  const bool was_panic = isPanic();
  panics_[worker] = event.is_panic;
  if (was_panic == isPanic()) return {};
  if (!event.is_panic)
    return {LogLevel::info, "backends", "those that are left out for their answers are not used any more"};
  return {LogLevel::error, "backends",
          "fewer than half are up: those that were left out for their answers are used again"};
}

}  // namespace plait
