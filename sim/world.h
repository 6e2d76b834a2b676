// One run: clients, workers with the real proxy code, backends, and a network between them, all drawn from a seed.
//
//   faults on, requests come ──▶ quiet: all faults off, everything must finish ──▶ new requests must all succeed
//   ──▶ the workers drain ──▶ all memory, descriptors, timers and tasks must be back
#pragma once

#include <memory>
#include <string>

#include "sim/network.h"

namespace plait::sim {

struct RunOptions {
  uint64_t seed = 1;
  bool prints = false;  // every event
};

struct RunResult {
  std::string violation;  // empty: none
  uint64_t hash = 0;
  uint64_t events = 0;
  uint64_t requests = 0;
  uint64_t complete = 0;
  uint64_t cancelled = 0;
  uint64_t retries_unprocessed = 0;
  uint64_t retries_unknown = 0;
  double virtual_s = 0;
  std::deque<std::string> last;  // the last events
};

RunResult runSeed(const RunOptions& options);

}  // namespace plait::sim
