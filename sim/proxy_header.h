// What a balancer says in front of a client's connection, by the PROXY protocol: every form of it that plait takes.
#pragma once

#include <string>

#include "sim/simulation.h"

namespace plait::sim {

struct ProxyWords {
  std::string bytes;
  std::string client;  // the address that a backend hears of
};

// For a client at that address (IPv4, host byte order). A header may name nobody: the client is then the balancer.
ProxyWords proxyWords(Simulation& sim, uint32_t host, uint16_t port, uint32_t balancer);
std::string textOfHost(uint32_t host);

}  // namespace plait::sim
