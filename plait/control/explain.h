// plait explain: what plait does with one request, by the functions by which it does it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plait/control/endpoint_states.h"
#include "plait/control/load.h"

namespace plait {

struct Question {
  std::string request;              // "GET https://shop.example/api/x", or a URL or a path alone
  std::vector<std::string> fields;  // "x-canary: yes"
  std::string client = "192.0.2.1";
};

// A question as one line that the admin socket takes, and back. Nothing where it has control characters.
std::optional<std::string> commandOf(const Question& question);
std::optional<Question> questionOf(std::string_view command);

// Whom the question is put to: a configuration that nobody runs, or a running process. References must outlive it.
struct Explained {
  const Config& config;  // routes and clusters are the plan's
  std::span<const ListenConfig> listeners;
  const Plan& plan;
  std::span<const route::RouteSpec> specs;
  const EndpointStates* states = nullptr;  // of a running process
};
// The answer, many lines, in `out`. A phrase for the operator where the question is none, else empty.
std::string explainRequest(const Explained& explained, const Question& question, std::string& out);

// Reads the configuration as a start does, and says the answer on standard output. Returns the exit code.
int explain(const Flags& flags, const std::string& file, const Question& question);

}  // namespace plait
