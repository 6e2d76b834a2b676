#include "plait/control/endpoint_states.h"

#include <fmt/format.h>

#include <map>

namespace plait {
namespace {

const char* nameOf(EndpointState state) {
  switch (state) {
    case EndpointState::up:
      return "up";
    case EndpointState::trial:
      return "trial";
    case EndpointState::down:
      return "down";
    case EndpointState::ejected:
      return "ejected";
    case EndpointState::leaving:
      return "leaving";
  }
  return "";
}

}  // namespace

EndpointStates::EndpointStates(const std::vector<std::unique_ptr<Worker>>& workers, size_t endpoints)
    : snapshots_(workers.size()) {
  for (size_t i = 0; i < workers.size(); ++i) {
    snapshots_[i].backends.resize(endpoints);
    workers[i]->snapshot(snapshots_[i]);
  }
}

std::string EndpointStates::of(uint32_t number) const {
  uint64_t connections = 0;
  uint64_t requests = 0;
  std::map<EndpointState, size_t> states;
  std::string cause;
  for (const WorkerSnapshot& worker : snapshots_) {
    const WorkerSnapshot::Backend& backend = worker.backends[number];
    connections += backend.ready_connections;
    requests += backend.requests;
    states[backend.state] += 1;
    if (backend.state != EndpointState::up && backend.cause.code != ErrorCode::none) cause = backend.cause.reason;
  }
  std::string state;
  for (const auto& [one, count] : states) {
    if (!state.empty()) state += ", ";
    state += states.size() == 1 ? nameOf(one) : fmt::format("{} for {} worker(s)", nameOf(one), count);
  }
  return fmt::format("{}{}, {} connection(s), {} request(s)", state, cause.empty() ? "" : fmt::format(" ({})", cause),
                     connections, requests);
}

std::string EndpointStates::scoreOf(uint32_t number) const {
  std::vector<int64_t> scores;
  for (const WorkerSnapshot& worker : snapshots_) scores.push_back(worker.backends[number].score);
  const bool are_same = std::ranges::all_of(scores, [&](int64_t one) { return one == scores[0]; });
  return are_same ? fmt::format("score {}", scores[0]) : fmt::format("scores {} by worker", fmt::join(scores, ", "));
}

}  // namespace plait
