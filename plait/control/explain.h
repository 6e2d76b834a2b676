// plait explain: what a running plait does with one request, by the functions by which it does it.
#pragma once

#include <string>
#include <vector>

#include "plait/control/load.h"

namespace plait {

struct Question {
  std::string request;              // "GET https://shop.example/api/x", or a URL or a path alone
  std::vector<std::string> fields;  // "x-canary: yes"
  std::string client = "192.0.2.1";
};

// The answer, many lines, in `out`. A phrase for the operator where the question is none, else empty.
std::string explainRequest(const Config& config, const LoadedConfig& loaded, const Question& question,
                           std::string& out);

// Reads the configuration as a start does, and says the answer on standard output. Returns the exit code.
int explain(const Flags& flags, const std::string& file, const Question& question);

}  // namespace plait
