// For each route a request that reaches it, or the route that stands in front of it: what `plait check` shows.
#pragma once

#include <string>
#include <vector>

#include "plait/route/route_table.h"

namespace plait::route {

// A request that was made for a route.
struct ExampleRequest {
  std::string host;  // empty: none
  std::string path;
  std::string query;
  std::string method;
  std::vector<Condition> fields;

  // As `plait explain` takes it: GET https://shop.example/api?a=b -H 'x-canary: yes'
  std::string text() const;
};

struct RouteProof {
  enum class State : uint8_t {
    reached,     // `example` reaches it, as a lookup has shown
    shadowed,    // every request that it matches goes to other routes; `by` gets `example`
    not_proven,  // an expression without an example, or whose example goes elsewhere
  };
  State state = State::not_proven;
  ExampleRequest example;    // not of an expression without one
  uint32_t by = UINT32_MAX;  // shadowed or not proven: which route gets the example; UINT32_MAX: none does
  const char* reason = "";   // not proven: why, a phrase
};

// One for each spec. `table` was built from these specs.
std::vector<RouteProof> proveRoutes(const RouteTable& table, std::span<const RouteSpec> specs);

}  // namespace plait::route
