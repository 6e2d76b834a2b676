#include "plait/route/route_table.h"

#include <gtest/gtest.h>

#include "plait/base/alloc_guard.h"
#include "plait/route/route_test.h"

namespace plait::route {
namespace {

Match prefix(std::string path, std::vector<std::string> hosts = {}) {
  Match match;
  match.hosts = std::move(hosts);
  match.path = std::move(path);
  return match;
}
Match exact(std::string path, std::vector<std::string> hosts = {}) {
  Match match = prefix(std::move(path), std::move(hosts));
  match.path_kind = PathKind::exact;
  return match;
}
Match expression(std::string path, std::vector<std::string> hosts = {}) {
  Match match = prefix(std::move(path), std::move(hosts));
  match.path_kind = PathKind::expression;
  return match;
}

TEST(RouteTable, APathThatLeavesAReplacedPrefixIsRefused) {
  RouteSpec replaced = named("replaced", prefix("/a/b"));
  replaced.replaces_prefix = true;
  RouteSpec root = named("root", prefix("/", {"root"}));
  root.replaces_prefix = true;
  TestTable table({replaced, root, named("kept", prefix("/c"))});
  EXPECT_EQ(table.get("h", "/a/b/x/../y"), "replaced");
  EXPECT_EQ(table.get("h", "/a/b//x"), "replaced");
  EXPECT_EQ(table.get("h", "/a/b/../b/x"), "400");
  EXPECT_EQ(table.get("h", "/c/../c/x"), "kept") << "what is not replaced goes on as it came";
  EXPECT_EQ(table.get("root", "/x/../y"), "root");
  EXPECT_EQ(table.get("root", "/../y"), "400");
  EXPECT_EQ(table.nameFor({"root", "*", "", "OPTIONS", {}}), "root");
}

TEST(RouteTable, WithoutRoutesNothingIsFound) {
  TestTable table({});
  EXPECT_EQ(table.get("a.example", "/"), "none");
}

TEST(RouteTable, APrefixMatchesWholeElements) {
  TestTable table({named("root", prefix("/")), named("api", prefix("/api")), named("v2", prefix("/api/v2/")),
                   named("deep", prefix("/x/y/z"))});
  EXPECT_EQ(table.mistakes, "");
  const std::pair<const char*, const char*> cases[] = {
      {"/", "root"},          {"/api", "api"},    {"/api/", "api"},    {"/api/x", "api"},   {"/apix", "root"},
      {"/ap", "root"},        {"/api/v2", "v2"},  {"/api/v2/", "v2"},  {"/api/v2/x", "v2"}, {"/api/v22", "api"},
      {"/API", "root"},       {"/x/y/z", "deep"}, {"/x/y/z/", "deep"}, {"/x/y", "root"},    {"/x/y/zz", "root"},
      {"/x/y/z/a/b", "deep"}, {"*", "root"},      {"", "root"},
  };
  for (const auto& [path, expected] : cases) EXPECT_EQ(table.get("a.example", path), expected) << path;
}

TEST(RouteTable, AnExactPathIsTheSameToTheLastSlash) {
  TestTable table(
      {named("a", exact("/a")), named("a/", exact("/a/")), named("root", exact("/")), named("b", exact("/a/b"))});
  EXPECT_EQ(table.get("", "/a"), "a");
  EXPECT_EQ(table.get("", "/a/"), "a/");
  EXPECT_EQ(table.get("", "/a/b"), "b");
  EXPECT_EQ(table.get("", "/"), "root");
  EXPECT_EQ(table.get("", "/a/b/"), "none");
  EXPECT_EQ(table.get("", "/A"), "none");
  EXPECT_EQ(table.get("", "*"), "none");
}

TEST(RouteTable, TheMoreSpecificHostComesFirst) {
  TestTable table({named("exact", prefix("/", {"a.shop.example"})), named("wildcard", prefix("/", {"*.shop.example"})),
                   named("longer", prefix("/", {"*.eu.shop.example"})), named("any", prefix("/"))});
  const std::pair<const char*, const char*> cases[] = {
      {"a.shop.example", "exact"},
      {"A.Shop.Example", "exact"},
      {"a.shop.example:8443", "exact"},
      {"a.shop.example.", "exact"},
      {"b.shop.example", "wildcard"},
      {"b.a.shop.example", "wildcard"},
      {"shop.example", "any"},
      {"x.eu.shop.example", "longer"},
      {"x.y.eu.shop.example:1", "longer"},
      {"eu.shop.example", "wildcard"},
      {".shop.example", "any"},
      {"xshop.example", "any"},
      {"", "any"},
      {"[::1]:80", "any"},
      {"192.0.2.1", "any"},
  };
  for (const auto& [host, expected] : cases) EXPECT_EQ(table.get(host, "/"), expected) << host;
}

TEST(RouteTable, ARequestFallsThroughToLessSpecificHosts) {
  TestTable table({named("exact", prefix("/api", {"a.example"})), named("wildcard", prefix("/img", {"*.example"})),
                   named("any", prefix("/"))});
  EXPECT_EQ(table.get("a.example", "/api"), "exact");
  EXPECT_EQ(table.get("a.example", "/img"), "wildcard");
  EXPECT_EQ(table.get("a.example", "/"), "any");
}

TEST(RouteTable, AddressesAreHostsToo) {
  TestTable table({named("v4", prefix("/", {"192.0.2.1"})), named("v6", prefix("/", {"[2001:DB8::1]"}))});
  EXPECT_EQ(table.mistakes, "");
  EXPECT_EQ(table.get("192.0.2.1:80", "/"), "v4");
  EXPECT_EQ(table.get("[2001:db8::1]:80", "/"), "v6");
}

TEST(RouteTable, ExactComesBeforeExpressionBeforePrefix) {
  TestTable table({named("prefix", prefix("/item/long/prefix")), named("expression", expression("/item/.*")),
                   named("longer", expression("/item/l[a-z/]*")), named("exact", exact("/item/long/exact"))});
  EXPECT_EQ(table.mistakes, "");
  EXPECT_EQ(table.get("", "/item/long/exact"), "exact");
  EXPECT_EQ(table.get("", "/item/long/prefix/x"), "longer");
  EXPECT_EQ(table.get("", "/item/0"), "expression");
  EXPECT_EQ(table.get("", "/items"), "none");
  EXPECT_EQ(table.get("", "/x/item/0"), "none") << "an expression is anchored";
}

TEST(RouteTable, AnExpressionSeesOnlyTheRoutesOfItsHost) {
  TestTable table({named("a", expression("/[0-9]+", {"a.example"})), named("b", expression("/[0-9]+", {"b.example"})),
                   named("any", prefix("/"))});
  EXPECT_EQ(table.get("a.example", "/1"), "a");
  EXPECT_EQ(table.get("b.example", "/1"), "b");
  EXPECT_EQ(table.get("c.example", "/1"), "any");
  EXPECT_EQ(table.get("a.example", "*"), "any");
}

TEST(RouteTable, MethodThenFieldsThenQueryThenPriorityDecide) {
  Match method = prefix("/");
  method.methods = {"GET", "PURGE"};
  Match field = prefix("/");
  field.fields = {{"x-canary", "yes"}};
  Match fields = prefix("/");
  fields.fields = {{"x-canary", "yes"}, {"cookie", "a=1; b=2"}};
  Match query = prefix("/");
  query.query = {{"v", "2 +"}};
  Match urgent = prefix("/");
  urgent.priority = 5;
  TestTable table({named("plain", prefix("/")), named("urgent", urgent), named("query", query), named("field", field),
                   named("fields", fields), named("method", method)});
  EXPECT_EQ(table.mistakes, "");
  EXPECT_EQ(table.nameFor({"", "/", "v=2+%2b", "GET", {{"x-canary", "yes"}}}), "method");
  EXPECT_EQ(table.nameFor({"", "/", "", "PURGE", {}}), "method");
  EXPECT_EQ(table.nameFor({"", "/", "", "get", {}}), "urgent");
  EXPECT_EQ(table.nameFor({"", "/", "v=2+%2b", "POST", {{"x-canary", "yes"}}}), "field");
  EXPECT_EQ(table.nameFor({"", "/", "", "POST", {{"cookie", "a=1"}, {"x-canary", "yes"}, {"cookie", "b=2"}}}),
            "fields");
  EXPECT_EQ(table.nameFor({"", "/", "", "POST", {{"x-canary", "yes"}, {"x-canary", "yes"}}}), "urgent");
  EXPECT_EQ(table.nameFor({"", "/", "a&v=2+%2B&v=3", "POST", {}}), "query");
  EXPECT_EQ(table.nameFor({"", "/", "v=3&v=2+%2B", "POST", {}}), "urgent");
  EXPECT_EQ(table.nameFor({"", "/", "v", "POST", {}}), "urgent");
}

TEST(RouteTable, APathThatBelongsToDifferentRoutesIsRefused) {
  TestTable table({named("open", prefix("/")), named("admin", prefix("/admin")), named("admin x", exact("/admin/x"))});
  for (const char* path :
       {"/%61dmin",    "/./admin",           "/x/../admin",     "/x/%2e%2e/admin",     "//admin",       "/admin;x",
        "/;/admin",    "/x/..;/admin",       "/x%2f..%2fadmin", "/admin%2fx",          "/x/..%5cadmin", "/%5cadmin",
        "/admin/../x", "/admin%2f..",        "/%2561dmin",      "/x/%252e%252e/admin", "/admin%3fx",    "/admin/%78",
        "/admin//x",   "/admin/x;y",

        "/admin/./x",  "/%2e/admin",         "/admin%5cx",      "/admin%00",           "/admin\\x",     "/admin#",
        "/%zz",        "/%c0%ae%c0%ae/admin"}) {
    EXPECT_EQ(table.get("a.example", path), "400") << path;
    const Choice choice = table.choose({"a.example", path, "", "GET", {}});
    EXPECT_NE(*choice.reason, '\0');
  }
  EXPECT_EQ(table.nameFor({"", "/", "a#b", "GET", {}}), "400");
  for (const char* path : {"/@scope%2fname", "/a//b", "/a;v=1/b", "/%7euser", "/a%2e/b", "/adminx%2f", "/a%5cb"})
    EXPECT_EQ(table.get("a.example", path), "open") << path;
  for (const char* path : {"/admin/a%2fb", "/admin/a;b/c", "/admin/a//b", "/admin/x/..", "/admin/%20%61"})
    EXPECT_EQ(table.get("a.example", path), "admin") << path;
}

TEST(RouteTable, APathOutsideAsciiIsTheSameEncodedOrNot) {
  TestTable table(
      {named("written", prefix("/café")), named("encoded", exact("/th%C3%A9")), named("space", prefix("/a b"))});
  EXPECT_EQ(table.get("", "/caf%C3%A9/x"), "written");
  EXPECT_EQ(table.get("", "/caf%c3%a9"), "written");
  EXPECT_EQ(table.get("", "/th\xC3\xA9"), "encoded");
  EXPECT_EQ(table.get("", "/a%20b/c"), "space");
}

TEST(RouteTable, TellsWhereAPrefixEndsInThePathAsItCame) {
  TestTable table({named("root", prefix("/")), named("café", prefix("/a/café/"))});
  const std::string path = "/a/caf%C3%A9/x//y";
  const Choice choice = table.choose({"", path, "", "GET", {}});
  EXPECT_EQ(choice.elements, 2u);
  EXPECT_EQ(path.substr(prefixEnd(path, choice.elements)), "/x//y");
  EXPECT_EQ(table.choose({"", "/x", "", "GET", {}}).elements, 0u);
  EXPECT_EQ(prefixEnd("/x", 0), 0u);
  EXPECT_EQ(prefixEnd("/a/b", 2), 4u);
}

TEST(RouteTable, GivesThePolicyBack) {
  RouteSpec spec = named("a", prefix("/a"));
  spec.policy = 77;
  TestTable table({named("root", prefix("/")), spec});
  const Choice choice = table.choose({"", "/a", "", "GET", {}});
  EXPECT_EQ(choice.route, 1u);
  EXPECT_EQ(choice.policy, 77u);
}

TEST(RouteTable, RoutesOfEqualRankAreAMistake) {
  const auto placed = [](std::string name, Match match, uint32_t line) {
    return RouteSpec{std::move(name), std::move(match), {"plait.toml", line, 1}, 0};
  };
  Match a = prefix("/api", {"a.example", "*.b.example"});
  Match b = prefix("/api/", {"*.b.example", "A.EXAMPLE"});
  const std::string expected =
      "route \"second\" (plait.toml:9:1) and route \"first\" (plait.toml:3:1) match the same requests, and neither is "
      "more "
      "specific: give one of them a higher priority\n";
  EXPECT_EQ(TestTable({placed("first", a, 3), placed("second", b, 9)}).mistakes, expected);
  b.priority = -1;
  EXPECT_EQ(TestTable({placed("first", a, 3), placed("second", b, 9)}).mistakes, "");
}

TEST(RouteTable, RoutesThatNoRequestReachesBothMayBeEqual) {
  Match canary = prefix("/");
  canary.fields = {{"x-canary", "yes"}};
  Match no_canary = prefix("/");
  no_canary.fields = {{"x-canary", "no"}};
  Match other = prefix("/");
  other.fields = {{"x-other", "yes"}};
  Match get = prefix("/");
  get.methods = {"GET", "HEAD"};
  Match post = prefix("/");
  post.methods = {"POST"};
  Match head = prefix("/");
  head.methods = {"HEAD", "PUT"};
  EXPECT_TRUE(TestTable({named("1", canary), named("2", no_canary)}).isBuilt());
  EXPECT_TRUE(TestTable({named("1", get), named("2", post)}).isBuilt());
  EXPECT_FALSE(TestTable({named("1", canary), named("2", other)}).isBuilt());
  EXPECT_FALSE(TestTable({named("1", get), named("2", head)}).isBuilt());
  EXPECT_TRUE(TestTable({named("1", exact("/a")), named("2", prefix("/a"))}).isBuilt());
  EXPECT_TRUE(
      TestTable({named("1", prefix("/", {"*.a.example"})), named("2", prefix("/", {"x.a.example"}))}).isBuilt());
  EXPECT_TRUE(TestTable({named("1", expression("/a/[0-9]+")), named("2", expression("/b/[0-9]+"))}).isBuilt());
  EXPECT_EQ(TestTable({named("1", expression("/a/[0-9]+")), named("2", expression("/a/[a-z]+"))}).mistakes,
            "route \"2\" and route \"1\" have expressions of one length that may match one path, and neither is more "
            "specific: "
            "give one of them a higher priority\n");
}

TEST(RouteTable, ManyRoutesOfOnePathAreToldApartInTime) {
  std::vector<RouteSpec> specs;
  for (int i = 0; i < 20'000; ++i) {
    Match match = prefix("/");
    match.fields = {{"x-tenant", std::to_string(i)}};
    if (i % 2 == 0) match.fields.push_back({"x-half", "1"});
    specs.push_back(named(std::to_string(i), match));
  }
  TestTable table(specs);
  EXPECT_EQ(table.mistakes, "");
  EXPECT_EQ(table.nameFor({"", "/", "", "GET", {{"x-tenant", "7777"}}}), "7777");
  specs.push_back(specs[400]);
  EXPECT_FALSE(TestTable(specs).isBuilt());
}

TEST(RouteTable, ThereAreAtMostAHundredMistakes) {
  std::vector<RouteSpec> specs(1000, named("same", prefix("/")));
  EXPECT_EQ(RouteTable::build(specs, test_key).mistakes.size(), RouteTable::max_mistakes);
  for (RouteSpec& spec : specs) spec.match.path = "x";
  EXPECT_EQ(RouteTable::build(specs, test_key).mistakes.size(), RouteTable::max_mistakes);
}

TEST(RouteTable, MistakesSayWhatIsWrong) {
  const auto mistakeOf = [](Match match) { return TestTable({named("r", std::move(match))}).mistakes; };
  Match match;
  match.hosts = {"a.example:80"};
  EXPECT_EQ(mistakeOf(match), "route \"r\": host \"a.example:80\" has a port: routes do not look at ports\n");
  match = exact("/a;b");
  EXPECT_EQ(mistakeOf(match),
            "route \"r\": path_exact \"/a;b\" has a \";\", behind which some programs cut an element\n");
  match = expression("/(");
  EXPECT_EQ(mistakeOf(match).substr(0, 40), "route \"r\": path_regex \"/(\" cannot be use") << mistakeOf(match);
  match = prefix("/");
  match.methods = {"GE T"};
  EXPECT_EQ(mistakeOf(match), "route \"r\": method \"GE T\" is no method\n");
  match = prefix("/");
  match.fields = {{"X-A", "1"}};
  EXPECT_EQ(mistakeOf(match), "route \"r\": header \"X-A\" is no name of a field in lower case\n");
  match.fields = {{"host", "1"}};
  EXPECT_EQ(mistakeOf(match), "route \"r\": header \"host\" is what the key host is for\n");
  match.fields = {{"a", "1"}, {"a", "2"}};
  EXPECT_EQ(mistakeOf(match), "route \"r\": header \"a\" is there twice\nroute \"r\": header \"a\" is there twice\n");
}

TEST(RouteTable, SharesExpressionsThatDidNotChange) {
  std::vector<RouteSpec> specs{named("a", expression("/[0-9]+")), named("b", expression("/[a-z]{2}"))};
  const auto first = RouteTable::build(specs, test_key).table;
  std::swap(specs[0], specs[1]);
  const auto second = RouteTable::build(specs, test_key, first.get()).table;
  ASSERT_TRUE(first && second);
  RouteScratch scratch(*second);
  EXPECT_EQ(second->lookup({"", "/12", "", "GET", nullptr}, scratch).route, 1u);
  EXPECT_EQ(second->lookup({"", "/ab", "", "GET", nullptr}, scratch).route, 0u);
}

TEST(RouteTable, ALookupAllocatesNothing) {
  if (!AllocGuard::isActive()) GTEST_SKIP() << "malloc is not watched in this build";
  AllocGuard::setMode(AllocGuard::Mode::count);
  std::vector<RouteSpec> specs{named("root", prefix("/")), named("wild", prefix("/", {"*.a.example"}))};
  for (int i = 0; i < 300; ++i)
    specs.push_back(named("", expression("/" + std::to_string(i) + "/[a-z]+/x.*y{3,40}z(a|b)*", {"a.example"})));
  TestTable table(specs);
  ASSERT_EQ(table.mistakes, "");
  RouteScratch scratch(table.table());
  const std::string long_path = "/7/abc/x" + std::string(20'000, 'y') + "zab";
  const uint64_t before = AllocGuard::servingAllocations();
  AllocGuard::enter(AllocGuard::Phase::serving);
  for (const std::string_view path :
       {"/", "/a%2fb;x//../%2e", "/7/abc/xyyyz", "/%61dmin/caf%c3%a9", "/7/a%62c/x/../yyyz"}) {
    for (const char* host : {"a.example", "B.a.example:80", ""})
      table->lookup({host, path, "a=b", "GET", nullptr}, scratch);
  }
  const Choice choice = table->lookup({"a.example", long_path, "", "GET", nullptr}, scratch);
  AllocGuard::enter(AllocGuard::Phase::init);
  EXPECT_EQ(AllocGuard::servingAllocations(), before);
  EXPECT_EQ(choice.route, 9u);
}

TEST(RouteTable, KnowsItsSize) {
  std::vector<RouteSpec> specs;
  for (int i = 0; i < 1000; ++i) specs.push_back(named("", prefix("/" + std::to_string(i))));
  TestTable table(specs);
  EXPECT_GT(table->bytes(), 1000 * sizeof(Candidate));
  EXPECT_LT(table->bytes(), 1000 * 150u);
  EXPECT_EQ(table->expressionBytes(), 0u);
}

}  // namespace
}  // namespace plait::route
