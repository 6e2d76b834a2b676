// Messages as they come one behind the other on one connection: what browsers, API clients and gRPC send, and what they
// get. Most fields repeat from one message to the next, some always differ.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace plait::bench {

using Message = std::vector<std::pair<std::string, std::string>>;

struct HeaderSet {
  const char* name;
  std::vector<Message> messages;
};

// `count` messages of each kind. The same every time.
std::vector<HeaderSet> headerSets(size_t count);

}  // namespace plait::bench
