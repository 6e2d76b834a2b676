#include "plait/route/host_table.h"

#include <gtest/gtest.h>

namespace plait::route {
namespace {

std::string normal(std::string_view authority) {
  char buffer[max_host];
  return std::string(normalHost(authority, buffer));
}

TEST(HostTable, AHostIsComparedInOneForm) {
  EXPECT_EQ(normal("shop.example"), "shop.example");
  EXPECT_EQ(normal("SHOP.example:8443"), "shop.example");
  EXPECT_EQ(normal("shop.example."), "shop.example");
  EXPECT_EQ(normal("shop.example.:80"), "shop.example");
  EXPECT_EQ(normal("[2001:DB8::1]:443"), "[2001:db8::1]");
  EXPECT_EQ(normal("[2001:db8::1"), "[2001:db8::1");
  EXPECT_EQ(normal(""), "");
  EXPECT_EQ(normal(":80"), "");
  EXPECT_EQ(normal(std::string(255, 'A')), std::string(255, 'a'));
  EXPECT_EQ(normal(std::string(256, 'A')), "") << "no host is as long";
}

TEST(HostTable, APatternIsAHostOrAWildcard) {
  std::string pattern;
  const std::pair<const char*, const char*> good[] = {{"shop.example", "shop.example"},
                                                      {"*.Shop.Example.", "*.shop.example"},
                                                      {"*.example", "*.example"},
                                                      {"localhost", "localhost"},
                                                      {"192.0.2.1", "192.0.2.1"},
                                                      {"[::1]", "[::1]"},
                                                      {"xn--bcher-kva.example", "xn--bcher-kva.example"},
                                                      {"_http._tcp.a", "_http._tcp.a"}};
  for (const auto& [written, expected] : good) {
    EXPECT_EQ(readHostPattern(written, pattern), "") << written;
    EXPECT_EQ(pattern, expected);
  }
  const std::pair<const char*, const char*> bad[] = {
      {"", "is empty"},
      {"*", "stands for every host: leave it out"},
      {"::1", "needs brackets: [::1]"},
      {"[::1]:80", "has a port: routes do not look at ports"},
      {"[::g]", "is no IPv6 address"},
      {"a.example:80", "has a port: routes do not look at ports"},
      {"a..example", "has an empty label"},
      {".a.example", "has an empty label"},
      {"*.", "has a \"*\" that is not its whole first label"},
      {"a.*.example", "has a \"*\" that is not its whole first label"},
      {"*a.example", "has a \"*\" that is not its whole first label"},
      {"*.*.example", "has a \"*\" that is not its whole first label"},
      {"bücher.example", "is not in ASCII: write it as requests have it, with xn--"},
      {"a/b", "has a byte that no host has"},
  };
  for (const auto& [written, expected] : bad) EXPECT_EQ(readHostPattern(written, pattern), expected) << written;
  EXPECT_EQ(readHostPattern(std::string(300, 'a'), pattern), "is longer than 255 bytes");
}

std::vector<uint32_t> rootsFor(const HostTable& table, std::string_view host) {
  std::vector<uint32_t> roots;
  HostTable::Cursor cursor(table, host);
  while (const Site* site = cursor.next()) roots.push_back(site->root);
  EXPECT_EQ(cursor.next(), nullptr);
  return roots;
}

TEST(HostTable, SitesComeFromTheMostSpecificOn) {
  const HostTable::Entry entries[] = {
      {"a.b.example", {1}}, {"*.b.example", {2}}, {"*.example", {3}}, {"*.a.b.example", {4}}};
  const Site without{9};
  HostTable table;
  table.build(entries, &without, {1, 2});
  using Roots = std::vector<uint32_t>;
  EXPECT_EQ(rootsFor(table, "a.b.example"), (Roots{1, 2, 3, 9}));
  EXPECT_EQ(rootsFor(table, "x.a.b.example"), (Roots{4, 2, 3, 9}));
  EXPECT_EQ(rootsFor(table, "b.example"), (Roots{3, 9}));
  EXPECT_EQ(rootsFor(table, "example"), (Roots{9}));
  EXPECT_EQ(rootsFor(table, ".example"), (Roots{9}));
  EXPECT_EQ(rootsFor(table, "..example"), (Roots{3, 9}));
  EXPECT_EQ(rootsFor(table, ""), (Roots{9}));
  EXPECT_EQ(rootsFor(table, std::string(255, '.')), (Roots{9}));
  HostTable empty;
  empty.build({}, nullptr, {1, 2});
  EXPECT_EQ(rootsFor(empty, "a.b.example"), Roots{});
}

TEST(HostTable, FindsEachOfMany) {
  std::vector<std::string> names;
  for (int i = 0; i < 10'000; ++i)
    names.push_back((i % 3 == 0 ? "*." : "") + std::string("site-") + std::to_string(i) + ".example");
  std::vector<HostTable::Entry> entries;
  for (uint32_t i = 0; i < names.size(); ++i) entries.push_back({names[i], {i}});
  HostTable table;
  table.build(entries, nullptr, {3, 4});
  for (uint32_t i = 0; i < names.size(); ++i) {
    const std::string host = i % 3 == 0 ? "x" + names[i].substr(1) : names[i];
    EXPECT_EQ(rootsFor(table, host), std::vector<uint32_t>{i});
    EXPECT_TRUE(matchesHost(names[i], host));
  }
  EXPECT_TRUE(rootsFor(table, "site-0.example").empty());
  EXPECT_LT(table.bytes(), 10'000u * 150);
}

}  // namespace
}  // namespace plait::route
