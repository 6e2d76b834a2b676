// Lines about backends: their texts, and an observer that gives them to a sink. The proxy's workers say theirs by
// another way (control/event_log.h), which allocates nothing on their threads; the texts are the same.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "plait/base/log.h"
#include "plait/client/pool.h"

namespace plait {

// Why a backend is not used; `state` is down or ejected.
std::string endpointStateText(EndpointState state, const Error& cause);
// A fault, and of the words of a backend that does not speak HTTP/2 the beginning: `said`, of so many bytes in all.
std::string endpointFaultText(const Error& error, std::string_view said, size_t said_size);
// Likewise the beginning of the text that came with a GOAWAY.
std::string goawayText(h2::H2Error code, std::string_view text, size_t text_size);

// For a program that has the pool without the proxy: what happens to backends becomes lines, at once and on the loop's
// thread. Must live until the pool is closed; so must the sink.
class PoolLines final : public PoolObserver {
 public:
  // Tells the sink from now on.
  PoolLines(LogSink& sink, ConnectionPool& pool);
  void onEndpointState(EndpointId endpoint, EndpointState state, const Error& cause) override;
  void onEndpointFault(EndpointId endpoint, const Error& error, Bytes said, TimeNs now_ns) override;
  void onEndpointGoaway(EndpointId endpoint, h2::H2Error code, Bytes text, TimeNs now_ns) override;

 private:
  std::string nameOf(EndpointId endpoint) const;

  LogSink& sink_;
  ConnectionPool& pool_;
  // By index: the state that was said last. A trial changes nothing about it until it succeeds.
  std::vector<EndpointState> said_;
  std::array<LogRate, fault_count> fault_rates_;
  std::array<LogRate, h2::error_code_count> goaway_rates_;
};

}  // namespace plait
