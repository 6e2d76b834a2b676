// How the workers see the endpoints now, in words for `plait status` and `plait explain`.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "plait/proxy/worker.h"

namespace plait {

class EndpointStates {
 public:
  // Asks each worker, and waits for its answer. `endpoints`: the numbers that there may be.
  EndpointStates(const std::vector<std::unique_ptr<Worker>>& workers, size_t endpoints);

  // "up, 1 connection(s), 0 request(s)": the state by worker where they differ, with its cause, and sums.
  std::string of(uint32_t number) const;
  // "score 1000", or by worker where they differ. By it an endpoint is chosen: of two the lower is taken.
  std::string scoreOf(uint32_t number) const;

 private:
  std::vector<WorkerSnapshot> snapshots_;
};

}  // namespace plait
