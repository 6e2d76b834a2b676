// What a route asks of a request, as it was configured, and a request as routes see it.
//
// Among all routes that match a request the most specific one gets it. The order is the Gateway API's:
//   1. the host: exact, then the longest wildcard, then none;
//   2. the path: exact, then an expression (the longer text first), then the longest prefix;
//   3. a method, before none;
//   4. more conditions on fields; 5. more conditions on the query; 6. the higher priority.
// A route with a more specific host that does not match in another respect takes no part, so a request falls through to
// routes with a wildcard and to those without a host.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plait/http/message.h"

namespace plait::route {

enum class PathKind : uint8_t { prefix, exact, expression };

// One field, or one parameter of the query, that has exactly this value.
struct Condition {
  bool operator==(const Condition&) const = default;
  std::string name;
  std::string value;
};

struct Match {
  static constexpr size_t max_conditions = 16;  // of each kind

  // Names or addresses without a port, in any case. "*.shop.example" stands for one or more labels in front, and not
  // for shop.example. Empty: any host, and none.
  std::vector<std::string> hosts;
  // A prefix matches by whole elements: "/api" and "/api/" match /api, /api/ and /api/x, and not /apix. "/" matches
  // all. An exact path has to be the same to the last slash. Both are written as in a URL, and have one reading: no
  // "//", no dot segments, no ";" and no encoded byte that may stand there unencoded. See regex_set.h for expressions.
  PathKind path_kind = PathKind::prefix;
  std::string path = "/";
  // Case matters (RFC 9110 §9.1). Empty: any.
  std::vector<std::string> methods;
  // Names in lower case. Several lines of one field count as one, joined by ", " (RFC 9110 §5.3), cookies by "; ".
  std::vector<Condition> fields;
  // Compared after decoding: "%41" is "A" and "+" is a space. Of several parameters with one name the first counts.
  // Case matters, in names too.
  std::vector<Condition> query;
  // Decides between routes that are equal otherwise; the higher wins.
  int32_t priority = 0;
  // A path that an expression matches, for the proof that the route can be reached (route_proof.h).
  std::string example;
};

// Where a route is written, for messages. No file: it is not named. No line: there is no place.
struct Place {
  std::string_view file;  // outlives the messages
  uint32_t line = 0;
  uint32_t column = 0;
};

struct RouteSpec {
  std::string name;
  Match match;
  Place place;
  uint32_t policy = 0;  // the caller's: comes back with each request that the route gets
  // The part of the path that a prefix has matched is replaced: paths that climb out of it are refused.
  bool replaces_prefix = false;
};

// A mistake in a set of routes: a sentence with the names and places of all routes that it is about.
struct Mistake {
  std::string text;
  uint32_t route = 0;  // the one that `place` shows, as its index among the specs
  Place place;
};

// A request as far as routes look at it. The views are the caller's.
struct RequestView {
  std::string_view host;   // an authority as it came: in any case, with or without a port
  std::string_view path;   // raw, up to the query; "*" or empty where the request has none
  std::string_view query;  // raw, behind the "?"
  std::string_view method;
  const http::FieldList* fields = nullptr;  // null: no fields

  static RequestView of(const http::RequestHead& head) {
    const size_t mark = head.path.find('?');
    return {head.authority, head.path.substr(0, mark),
            mark == std::string_view::npos ? std::string_view() : head.path.substr(mark + 1), head.method,
            &head.fields};
  }
};

}  // namespace plait::route
