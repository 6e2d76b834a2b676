// A set of routes, drawn from the input's first bytes, and requests from the rest: the table says what the rules say,
// and a set that has two routes for one request is refused. Paths are the input's own bytes.
#include "fuzz/target.h"
#include "plait/route/naive_test.h"
#include "plait/route/route_table.h"

using namespace plait;
using namespace plait::fuzz;
using namespace plait::route;

namespace {

std::string pick(Input& input, std::initializer_list<const char*> choices) {
  return choices.begin()[input.byte() % choices.size()];
}

Match match(Input& input) {
  Match made;
  const uint8_t shape = input.byte();
  for (int i = shape & 3; i > 1; --i) made.hosts.push_back(pick(input, {"a.x", "*.x", "*.a.x", "x", "B.y"}));
  for (int i = shape >> 2 & 3; i != 0; --i)
    made.path += (made.path == "/" ? "" : "/") + pick(input, {"a", "b", "admin", "é", "x y"});
  if ((shape & 0x10) != 0) made.path_kind = PathKind::exact;
  if ((shape & 0x20) != 0) made.path += made.path == "/" ? "" : "/";
  if ((shape & 0x40) != 0) made.methods.push_back(pick(input, {"GET", "POST", "PURGE"}));
  if ((shape & 0x80) != 0) {
    const uint8_t more = input.byte();
    if ((more & 1) != 0) made.fields.push_back({"x-a", pick(input, {"1", "1, 2"})});
    if ((more & 2) != 0) made.query.push_back({"q", pick(input, {"1", "a b"})});
    made.priority = more >> 2 & 3;
    if ((more & 0x70) == 0x70) {
      made.path_kind = PathKind::expression;
      made.path = pick(input, {"/a/[a-z]+", "/[^/]*", "/(a|b)/.*"});
    }
  }
  return made;
}

// A table of its own would be built for each input; building one with expressions takes milliseconds.
struct Known {
  std::string choices;
  std::vector<RouteSpec> specs;
  RouteTable::Built built;
  std::unique_ptr<RouteScratch> scratch;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const std::string choices = input.string(input.byte() % 64);
  static Known known;
  static bool is_first = true;
  if (is_first || known.choices != choices) {
    is_first = false;
    RouteTable::Built before = std::move(known.built);
    known = {};
    known.choices = choices;
    Input rest(reinterpret_cast<const uint8_t*>(choices.data()), choices.size());
    while (!rest.empty()) known.specs.push_back({"r", match(rest), {}, 0});
    known.built = RouteTable::build(known.specs, {1, 2}, before.table.get());
    require((known.built.table == nullptr) == !known.built.mistakes.empty());
    if (known.built.table) known.scratch = std::make_unique<RouteScratch>(*known.built.table);
  }

  naive::Request request;
  request.host = pick(input, {"a.x", "x", "b.a.x", "C.X:80", "b.y", ""});
  request.method = pick(input, {"GET", "POST", "PURGE", "HEAD"});
  for (int i = input.byte() % 3; i != 0; --i) request.fields.push_back({"x-a", pick(input, {"1", "2"})});
  const std::string target(asText(input.rest()));
  const size_t mark = target.find('?');
  request.path = target.substr(0, mark);
  if (mark != std::string::npos) request.query = target.substr(mark + 1);

  const std::vector<uint8_t> path = exact(asBytes(request.path));
  if (hasOneReading(asText(path))) require(naive::readings(request.path) == std::set{request.path});
  std::string reading;
  if (readingOfRoute(asText(path), false, reading).empty()) require(naive::readings(request.path) == std::set{reading});
  if (!known.built.table) return 0;

  uint64_t memory[64];
  http::FieldList fields({reinterpret_cast<uint8_t*>(memory), sizeof(memory)});
  for (const Condition& field : request.fields) require(fields.add(field.name, field.value));
  const Choice choice =
      known.built.table->lookup({request.host, asText(path), request.query, request.method, &fields}, *known.scratch);
  if (choice.verdict == Verdict::refused && choice.reason == std::string_view(textOf(PathFault::too_many_readings))) {
    require(naive::readings(request.path).size() > PathReadings::max_count || request.path.size() > 500);
    return 0;
  }
  const naive::Answer answer = naive::lookup(known.specs, request);
  require(answer.kind != naive::Answer::Kind::tie);
  require(static_cast<int>(answer.kind) == static_cast<int>(choice.verdict));
  if (choice.verdict == Verdict::found) require(choice.route == answer.route);
  return 0;
}
