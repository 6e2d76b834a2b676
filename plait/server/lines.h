// Lines about clients, for a program that has the server without the proxy: a sink is told at once, on the loop's
// thread.
#pragma once

#include <array>
#include <string>

#include "plait/base/log.h"
#include "plait/server/server.h"

namespace plait {

// Must live until the server has drained; so must the sink.
class ServerLines final : public ServerObserver {
 public:
  // Tells the sink from now on.
  ServerLines(LogSink& sink, Server& server) : sink_(sink) { server.setObserver(this); }
  void onClientFault(const ClientInfo& client, const Error& error, TimeNs now_ns) override {
    uint32_t unsaid = 0;
    if (!rates_[static_cast<size_t>(faultOf(error))].admit(now_ns, unsaid)) return;
    sink_.say({LogLevel::warning, "client " + std::string(client.address()), faultText(error) + unsaidText(unsaid)});
  }

 private:
  LogSink& sink_;
  std::array<LogRate, fault_count> rates_;
};

}  // namespace plait
