// How long a route is looked for, and how long a table takes to be built, by the number of routes. Requests are drawn
// among all routes, so that the caches hold what they would hold under load.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "plait/base/random.h"
#include "plait/route/route_proof.h"

namespace plait::bench {
namespace {

using route::Match;
using route::PathKind;
using route::RouteScratch;
using route::RouteSpec;
using route::RouteTable;

constexpr SipKey key{0x0123456789abcdef, 0xfedcba9876543210};

enum Shape : int64_t { many_paths, many_hosts, few_of_each, expressions };

Match matchOf(Shape shape, int64_t number) {
  Match match;
  const std::string text = std::to_string(number);
  switch (shape) {
    case many_paths:
      match.hosts = {"shop.example"};
      match.path = "/api/v1/team-" + std::to_string(number % 317) + "/service-" + text;
      break;
    case many_hosts:
      match.hosts = {"site-" + text + ".shop.example"};
      match.path = "/";
      break;
    case few_of_each:
      match.hosts = {number % 10 == 0 ? "*.tenant-" + std::to_string(number / 10) + ".example"
                                      : "www.tenant-" + std::to_string(number / 10) + ".example"};
      match.path = number % 10 < 2 ? "/" : "/app/" + text;
      break;
    case expressions:
      match.path_kind = PathKind::expression;
      match.path = "/svc-" + text + "/[a-z]+/[0-9]{1,8}";
      break;
  }
  return match;
}

std::vector<RouteSpec> specsOf(Shape shape, int64_t count) {
  std::vector<RouteSpec> specs;
  for (int64_t i = 0; i < count; ++i) specs.push_back({"route-" + std::to_string(i), matchOf(shape, i), {}, 0});
  return specs;
}

// A request for a route: an element below its prefix, as requests have.
struct Request {
  std::string host;
  std::string path;
};

Request requestFor(const RouteSpec& spec) {
  const Match& match = spec.match;
  std::string host = match.hosts.empty() ? "any.example" : match.hosts[0];
  if (host.starts_with("*")) host = "img" + host.substr(1);
  if (match.path_kind == PathKind::expression) return {host, match.path.substr(0, match.path.find('[')) + "items/1234"};
  return {host, match.path == "/" ? "/items/1234" : match.path + "/items/1234"};
}

std::shared_ptr<const RouteTable> tableOf(const std::vector<RouteSpec>& specs) {
  RouteTable::Built built = RouteTable::build(specs, key);
  if (built.table) return built.table;
  std::fprintf(stderr, "%s\n", built.mistakes[0].text.c_str());
  std::exit(1);
}

void lookup(benchmark::State& state) {
  const auto shape = static_cast<Shape>(state.range(0));
  const std::vector<RouteSpec> specs = specsOf(shape, state.range(1));
  const auto table = tableOf(specs);
  RouteScratch scratch(*table);
  Random random(1);
  std::vector<Request> requests;
  for (int i = 0; i < 4096; ++i)
    requests.push_back(requestFor(specs[random.below(static_cast<uint32_t>(specs.size()))]));
  size_t next = 0;
  for (auto _ : state) {
    const Request& request = requests[next++ & 4095];
    const route::Choice choice = table->lookup({request.host, request.path, "", "GET", nullptr}, scratch);
    if (choice.verdict != route::Verdict::found) std::exit(1);
    benchmark::DoNotOptimize(choice);
  }
  state.counters["bytes/route"] = static_cast<double>(table->bytes()) / static_cast<double>(specs.size());
}
BENCHMARK(lookup)
    ->ArgNames({"shape", "routes"})
    ->ArgsProduct({{many_paths, many_hosts, few_of_each}, {1, 1000, 100'000}});
BENCHMARK(lookup)->ArgNames({"shape", "routes"})->ArgsProduct({{expressions}, {1, 100, 4096}});

void hostilePath(benchmark::State& state) {
  const auto table = tableOf(specsOf(many_paths, 1000));
  RouteScratch scratch(*table);
  const std::string paths[] = {"/api/v1/a%2fb", "/api/%2e%2e/a%2fb;x//y", "/%2f%2e%5c%61//../;"};
  std::string longest = "/%2f%2e%61";
  while (longest.size() < 8000) longest += ";/..//a";
  const std::string& path = state.range(0) < 3 ? paths[state.range(0)] : longest;
  for (auto _ : state) benchmark::DoNotOptimize(table->lookup({"shop.example", path, "", "GET", nullptr}, scratch));
}
BENCHMARK(hostilePath)->DenseRange(0, 3);

void build(benchmark::State& state) {
  const std::vector<RouteSpec> specs = specsOf(static_cast<Shape>(state.range(0)), state.range(1));
  for (auto _ : state) benchmark::DoNotOptimize(tableOf(specs));
}
BENCHMARK(build)
    ->ArgNames({"shape", "routes"})
    ->ArgsProduct({{many_paths, many_hosts, few_of_each}, {100'000}})
    ->Args({expressions, 1000})
    ->Args({expressions, 4096})
    ->Unit(benchmark::kMillisecond);

void prove(benchmark::State& state) {
  const std::vector<RouteSpec> specs = specsOf(static_cast<Shape>(state.range(0)), state.range(1));
  const auto table = tableOf(specs);
  for (auto _ : state) benchmark::DoNotOptimize(route::proveRoutes(*table, specs));
}
BENCHMARK(prove)
    ->ArgNames({"shape", "routes"})
    ->ArgsProduct({{many_paths, few_of_each}, {100'000}})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace plait::bench

BENCHMARK_MAIN();
