#include "plait/client/lines.h"

#include <cstdio>
#include <cstring>
#include <utility>

namespace plait {
namespace {

// Of the words of a backend that speaks something else so much tells what it is.
constexpr size_t most_excerpt = 60;

std::string excerptOf(std::string_view text, size_t whole_size, size_t most) {
  const std::string_view shown = text.substr(0, most);
  return '"' + escapedText(shown) + (shown.size() < whole_size ? "...\"" : "\"");
}

}  // namespace

std::string endpointStateText(EndpointState state, const Error& cause) {
  if (state == EndpointState::ejected) return std::string("left out for a while: ") + cause.reason;
  std::string text = std::string("cannot be used: ") + cause.reason;
  if (cause.code == ErrorCode::connect_failed && cause.detail != 0) {
    text += std::string(" (") + std::strerror(static_cast<int>(cause.detail)) + ")";
  }
  return text + "; it is tried again with growing pauses";
}

std::string endpointFaultText(const Error& error, std::string_view said, size_t said_size) {
  std::string text = faultText(error);
  if (said_size != 0) text += " (it answered " + excerptOf(said, said_size, most_excerpt) + ")";
  return text;
}

std::string goawayText(h2::H2Error code, std::string_view text, size_t text_size) {
  const uint32_t index = h2::errorIndex(code);
  std::string out = std::string("GOAWAY, ") + h2::errorName(index);
  if (index == h2::error_code_count - 1) {
    char number[16];
    std::snprintf(number, sizeof(number), " %#x", static_cast<uint32_t>(code));
    out += number;
  }
  if (text_size != 0) out += ": " + excerptOf(text, text_size, text.size());
  return out;
}

PoolLines::PoolLines(LogSink& sink, ConnectionPool& pool) : sink_(sink), pool_(pool) {
  pool.setObserver(this);
}

std::string PoolLines::nameOf(EndpointId endpoint) const {
  const Endpoint* found = pool_.find(endpoint);
  return found == nullptr ? "backend" : "backend " + found->options->name;
}

void PoolLines::onEndpointState(EndpointId endpoint, EndpointState state, const Error& cause) {
  if (state == EndpointState::trial || state == EndpointState::leaving) return;
  if (endpoint.index >= said_.size()) said_.resize(endpoint.index + 1, EndpointState::up);
  const EndpointState before = std::exchange(said_[endpoint.index], state);
  if (before == state) return;
  if (state == EndpointState::up) {
    const bool was_ejected = before == EndpointState::ejected;
    return sink_.say({LogLevel::info, nameOf(endpoint), was_ejected ? "used again" : "reached again"});
  }
  const bool is_ejected = state == EndpointState::ejected;
  sink_.say({is_ejected ? LogLevel::warning : LogLevel::error, nameOf(endpoint), endpointStateText(state, cause)});
}

void PoolLines::onEndpointFault(EndpointId endpoint, const Error& error, Bytes said, TimeNs now_ns) {
  uint32_t unsaid = 0;
  if (!fault_rates_[static_cast<size_t>(faultOf(error))].admit(now_ns, unsaid)) return;
  sink_.say(
      {LogLevel::warning, nameOf(endpoint), endpointFaultText(error, asText(said), said.size()) + unsaidText(unsaid)});
}

void PoolLines::onEndpointGoaway(EndpointId endpoint, h2::H2Error code, Bytes text, TimeNs now_ns) {
  uint32_t unsaid = 0;
  if (!goaway_rates_[h2::errorIndex(code)].admit(now_ns, unsaid)) return;
  sink_.say({code == h2::H2Error::no_error ? LogLevel::info : LogLevel::warning, nameOf(endpoint),
             goawayText(code, asText(text), text.size()) + unsaidText(unsaid)});
}

}  // namespace plait
