// Events for the operator: a backend is left out and why, or is used again; a client or a backend broke the protocol,
// floods, or stalls. A worker notes them in a ring, and the control thread says them (control/event_log.h).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>

#include "plait/base/log.h"
#include "plait/client/lines.h"
#include "plait/client/pool.h"
#include "plait/cluster/cluster.h"
#include "plait/proxy/handler.h"
#include "plait/server/server_options.h"

namespace plait {

struct LogEvent {
  enum class Kind : uint8_t { endpoint_state, panic, client_fault, endpoint_fault, endpoint_goaway, request_failed };
  static constexpr size_t most_text = 160;
  Kind kind = Kind::endpoint_state;
  EndpointState state = EndpointState::up;
  bool is_panic = false;
  uint16_t status = 0;  // of a request that failed: of the answer
  EndpointId endpoint;
  uint32_t unsaid = 0;  // faults of this kind since the last one that was said
  Error error;
  int64_t after_ns = 0;  // of a request that failed
  ClientInfo client;     // of a client's fault
  // Of a backend's GOAWAY: its code, and the beginning of its text. Of a request that failed the text is its id, and of
  // a backend that does not speak HTTP/2 the beginning of what it said.
  h2::H2Error code = h2::H2Error::no_error;
  uint16_t text_size = 0;  // of the whole text, at most 65,535
  char text[most_text] = {};
  std::string_view begunText() const { return {text, std::min<size_t>(text_size, most_text)}; }
};

// One worker pushes, one other thread pops; neither waits. An event for which there is no room is lost: the next one of
// that backend tells its state as well, and the counters of faults are exact.
class EventRing final : public PoolObserver, public ClusterObserver, public ServerObserver, public RequestObserver {
 public:
  void onEndpointState(EndpointId endpoint, EndpointState state, const Error& cause) override {
    push({.kind = LogEvent::Kind::endpoint_state, .state = state, .endpoint = endpoint, .error = cause});
  }
  void onEndpointFault(EndpointId endpoint, const Error& error, Bytes said, TimeNs now_ns) override;
  void onEndpointGoaway(EndpointId endpoint, h2::H2Error code, Bytes text, TimeNs now_ns) override;
  void onPanic(bool is_panic) override { push({.kind = LogEvent::Kind::panic, .is_panic = is_panic}); }
  void onClientFault(const ClientInfo& client, const Error& error, TimeNs now_ns) override;
  void onRequestFailed(EndpointId endpoint, uint16_t status, const Error& cause, int64_t after_ns,
                       std::string_view request_id, TimeNs now_ns) override;
  bool pop(LogEvent& event);

 private:
  static constexpr uint32_t capacity = 256;
  void push(const LogEvent& event);

  LogEvent events_[capacity];
  std::array<LogRate, fault_count> client_rates_;
  std::array<LogRate, fault_count> backend_rates_;
  std::array<LogRate, h2::error_code_count> goaway_rates_;
  std::array<LogRate, error_code_count> request_rates_;
  std::atomic<uint32_t> pushed_{0};
  std::atomic<uint32_t> popped_{0};
};

}  // namespace plait
