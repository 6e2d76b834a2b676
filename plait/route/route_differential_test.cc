// Random tables and requests: what the table says is what the rules say.
#include <gtest/gtest.h>

#include "plait/base/random.h"
#include "plait/route/route_proof.h"
#include "plait/route/route_test.h"

namespace plait::route {
namespace {

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}

  RouteSpec route(size_t number, bool is_distinct) {
    Match match;
    for (uint32_t i = below(3); i != 0; --i)
      match.hosts.push_back(of({"a.x", "b.x", "x", "*.x", "*.a.x", "*.b.a.x", "y", "B.X"}));
    const uint32_t kind = below(8);
    if (kind == 0) {
      match.path_kind = PathKind::expression;
      match.path = of({"/a/[a-z]+", "/a/b.*", "/[ab]/b", "/.*", "(/a)+", "/a|/b", "/b(/[^/]+){1,3}"});
    } else {
      match.path_kind = kind < 4 ? PathKind::exact : PathKind::prefix;
      match.path = "";
      for (uint32_t i = below(4); i != 0; --i) match.path += '/' + element();
      if (match.path.empty() || below(6) == 0) match.path += '/';
    }
    for (uint32_t i = below(3); i != 0; --i) match.methods.push_back(of({"GET", "POST", "PURGE"}));
    if (below(3) == 0) match.fields.push_back({"x-a", of({"1", "2"})});
    if (below(5) == 0) match.fields.push_back({"accept", of({"1", "1, 2"})});
    if (below(4) == 0) match.query.push_back({"q", of({"1", "a b", ""})});
    if (below(6) == 0) match.query.push_back({"p", of({"1", "2"})});
    match.priority = is_distinct ? static_cast<int32_t>(number) : static_cast<int32_t>(below(3));
    return named(std::to_string(number), match);
  }

  naive::Request request() {
    naive::Request request;
    request.host = of({"a.x", "b.x", "x", "c.x", "c.a.x", "b.a.x", "d.b.a.x", "y", "z", "", "A.x:80", "c.X."});
    for (uint32_t i = below(5); i != 0; --i) request.path += '/' + (below(8) == 0 ? hostile() : element());
    if (request.path.empty() || below(6) == 0) request.path += '/';
    request.query = of({"", "", "q=1", "q=a+b&p=1", "p=2&q=a%20b", "p=1&p=2", "q", "%71=1", "q=1#"});
    request.method = of({"GET", "POST", "PURGE", "HEAD", "OPTIONS", "other"});
    if (below(50) == 0) {
      request.path = "*";
      request.method = "OPTIONS";
    }
    for (uint32_t i = below(4); i != 0; --i) request.fields.push_back({of({"x-a", "accept", "x-b"}), of({"1", "2"})});
    return request;
  }

  uint32_t below(uint32_t bound) { return random_.below(bound); }

 private:
  std::string of(std::initializer_list<const char*> choices) {
    return choices.begin()[below(static_cast<uint32_t>(choices.size()))];
  }
  std::string element() { return of({"a", "b", "ab", "a-b", "c", "é"}); }
  std::string hostile() {
    return of({"", ".", "..", "%2e%2e", "a%2fb", "a;x", "..;", "%61", "a%5cb", "%C3%A9", "a%2e", "%2561", "%3f"});
  }
  Random random_;
};

TEST(RouteDifferential, ATableSaysWhatTheRulesSay) {
  int built = 0;
  int counts[4] = {};
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    Draw draw(seed);
    std::vector<RouteSpec> specs;
    const size_t size = draw.below(30);
    for (size_t i = 0; i < size; ++i) specs.push_back(draw.route(i, seed % 4 != 0));
    TestTable table(specs);
    if (!table.isBuilt()) continue;
    built += 1;
    for (int i = 0; i < 100; ++i) {
      const naive::Request request = draw.request();
      const naive::Answer expected = naive::lookup(specs, request);
      ASSERT_NE(expected.kind, naive::Answer::Kind::tie) << "seed " << seed << ' ' << request.host << request.path;
      const Choice choice = table.choose(request);
      counts[static_cast<size_t>(expected.kind)] += 1;
      ASSERT_EQ(static_cast<int>(choice.verdict), static_cast<int>(expected.kind))
          << "seed " << seed << ' ' << request.method << ' ' << request.host << request.path << '?' << request.query;
      if (choice.verdict == Verdict::found) {
        ASSERT_EQ(choice.route, expected.route) << "seed " << seed << ' ' << request.host << request.path;
      }
    }
  }
  EXPECT_GT(built, 350);
  for (int kind = 0; kind < 3; ++kind) EXPECT_GT(counts[kind], 500) << kind;
}

// Every mistake about two routes is shown by a request that matches both, none before the other.
TEST(RouteDifferential, AMistakeIsOneByTheRules) {
  int seen = 0;
  for (uint64_t seed = 1; seed <= 2'000; ++seed) {
    Draw draw(seed);
    std::vector<RouteSpec> specs{draw.route(0, false), draw.route(1, false)};
    if (seed % 2 == 0) {
      specs[1].match.path_kind = specs[0].match.path_kind;
      specs[1].match.path = specs[0].match.path;
      specs[1].match.hosts = specs[0].match.hosts;
    }
    if (specs[0].match.path_kind == PathKind::expression && specs[0].match.path != specs[1].match.path) continue;
    const Match& a = specs[0].match;
    const Match& b = specs[1].match;
    bool is_tie = false;
    naive::Request request;
    std::string path;
    request.fields = a.fields;
    for (const Condition& field : b.fields) {
      if (std::none_of(a.fields.begin(), a.fields.end(), [&](const Condition& one) { return one.name == field.name; }))
        request.fields.push_back(field);
    }
    std::vector<Condition> parameters = a.query;
    parameters.insert(parameters.end(), b.query.begin(), b.query.end());
    for (const Condition& one : parameters) request.query += one.name + '=' + one.value + '&';
    const auto is_host_free = [](const Match& match) { return match.hosts.empty(); };
    std::vector<std::string> hosts{"free.example"};
    if (!is_host_free(a)) {
      for (const std::string& host : a.hosts) hosts.push_back(host.starts_with("*") ? "fresh" + host.substr(1) : host);
    }
    for (const std::string& host : hosts) {
      for (const char* method : {"GET", "POST", "PURGE", "HEAD"}) {
        request.host = host;
        request.method = method;
        request.path = a.path_kind == PathKind::expression ? "/a/b" : a.path;
        for (const std::string& reading : {std::string("/a"), std::string("/b/c"), request.path}) {
          const auto first = naive::rankOf(a, request, reading);
          const auto second = naive::rankOf(b, request, reading);
          is_tie = is_tie || (first && second && *first == *second);
        }
      }
    }
    const TestTable table(specs);
    EXPECT_EQ(table.isBuilt(), !is_tie) << "seed " << seed << ' ' << a.path << ' ' << b.path << ' ' << table.mistakes;
    seen += is_tie;
  }
  EXPECT_GT(seen, 20);
}

TEST(RouteDifferential, AProofHoldsByTheRules) {
  int counts[3] = {};
  for (uint64_t seed = 1; seed <= 250; ++seed) {
    Draw draw(seed);
    std::vector<RouteSpec> specs;
    for (size_t i = draw.below(40); i != 0; --i) specs.push_back(draw.route(i, true));
    for (RouteSpec& spec : specs) {
      if (spec.match.path_kind == PathKind::expression) spec.match.example = "/a/b";
    }
    const TestTable table(specs);
    if (!table.isBuilt()) continue;
    const std::vector<RouteProof> proofs = proveRoutes(table.table(), specs);
    ASSERT_EQ(proofs.size(), specs.size());
    for (uint32_t route = 0; route < specs.size(); ++route) {
      const RouteProof& proof = proofs[route];
      counts[static_cast<size_t>(proof.state)] += 1;
      const naive::Answer answer = naive::lookup(specs, {proof.example.host, proof.example.path, proof.example.query,
                                                         proof.example.method, proof.example.fields});
      if (proof.state == RouteProof::State::reached) {
        ASSERT_EQ(answer, (naive::Answer{naive::Answer::Kind::found, route}))
            << "seed " << seed << proof.example.text();
      } else if (proof.by != UINT32_MAX) {
        ASSERT_EQ(answer, (naive::Answer{naive::Answer::Kind::found, proof.by})) << "seed " << seed;
      }
      if (proof.state != RouteProof::State::shadowed) continue;
      for (int i = 0; i < 200; ++i) {
        const naive::Request request = draw.request();
        ASSERT_NE(naive::lookup(specs, request), (naive::Answer{naive::Answer::Kind::found, route}))
            << "seed " << seed << ' ' << request.method << ' ' << request.host << request.path
            << " reaches a shadowed route, " << specs[route].match.path;
      }
    }
  }
  for (const int count : counts) EXPECT_GT(count, 10);
}

}  // namespace
}  // namespace plait::route
