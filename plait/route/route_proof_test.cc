#include "plait/route/route_proof.h"

#include <gtest/gtest.h>

#include "plait/route/route_test.h"

namespace plait::route {
namespace {

Match at(std::string path, std::vector<std::string> hosts = {}) {
  Match match;
  match.path = std::move(path);
  match.hosts = std::move(hosts);
  return match;
}

TEST(RouteProof, ShowsARequestForEachRoute) {
  Match canary = at("/a b", {"*.shop.example"});
  canary.methods = {"PUT"};
  canary.fields = {{"x-canary", "yes"}};
  canary.query = {{"q", "a&b"}};
  Match number = at("/[0-9]+");
  number.path_kind = PathKind::expression;
  number.example = "/12";
  TestTable table({named("root", at("/")), named("canary", canary), named("number", number)});
  ASSERT_EQ(table.mistakes, "");
  const auto proofs = proveRoutes(table.table(), table.specs());
  EXPECT_EQ(proofs[0].example.text(), "GET https://any.example/");
  EXPECT_EQ(proofs[1].example.text(), "PUT https://www.shop.example/a%20b?q=a%26b -H 'x-canary: yes'");
  EXPECT_EQ(proofs[2].example.text(), "GET https://any.example/12");
  for (const RouteProof& proof : proofs) EXPECT_EQ(proof.state, RouteProof::State::reached);
}

TEST(RouteProof, FindsAWayAroundMoreSpecificRoutes) {
  Match get = at("/", {"*.a.example"});
  get.methods = {"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE"};
  Match exact = at("/");
  exact.path_kind = PathKind::exact;
  TestTable table({named("wildcard", at("/", {"*.a.example"})), named("www", at("/", {"www.a.example"})),
                   named("get", get), named("any", at("/")), named("exact", exact),
                   named("any example", at("/", {"any.example"}))});
  ASSERT_EQ(table.mistakes, "");
  for (const RouteProof& proof : proveRoutes(table.table(), table.specs()))
    EXPECT_EQ(proof.state, RouteProof::State::reached) << proof.by;
}

TEST(RouteProof, NamesTheRouteThatStandsInFront) {
  Match urgent = at("/a");
  urgent.priority = 1;
  Match all = at("/x/.*");
  all.path_kind = PathKind::expression;
  TestTable table({named("plain", at("/a")), named("urgent", urgent), named("all", all), named("below", at("/x/y"))});
  ASSERT_EQ(table.mistakes, "");
  const auto proofs = proveRoutes(table.table(), table.specs());
  EXPECT_EQ(proofs[0].state, RouteProof::State::shadowed);
  EXPECT_EQ(proofs[0].by, 1u);
  EXPECT_EQ(proofs[2].state, RouteProof::State::not_proven);
  EXPECT_STREQ(proofs[2].reason, "an expression needs an example");
  EXPECT_EQ(proofs[3].state, RouteProof::State::shadowed);
  EXPECT_EQ(proofs[3].by, 2u);
}

TEST(RouteProof, AnExampleHasToReachItsRoute) {
  Match number = at("/[0-9]+");
  number.path_kind = PathKind::expression;
  number.example = "/x";
  TestTable elsewhere({named("number", number), named("root", at("/"))});
  EXPECT_STREQ(proveRoutes(elsewhere.table(), elsewhere.specs())[0].reason, "the example goes to another route");
  TestTable alone({named("number", number)});
  EXPECT_STREQ(proveRoutes(alone.table(), alone.specs())[0].reason, "the example does not match");
}

}  // namespace
}  // namespace plait::route
