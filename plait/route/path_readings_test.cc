#include "plait/route/path_readings.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>

#include "plait/base/random.h"
#include "plait/route/naive_test.h"

namespace plait::route {
namespace {

using Texts = std::set<std::string>;

struct Reader {
  std::vector<uint8_t> buffer = std::vector<uint8_t>(PathReadings::buffer_bytes);
  PathReadings readings{buffer};
  PathFault fault = PathFault::none;

  Texts read(const std::string& path) {
    fault = readings.read(path);
    Texts texts;
    for (size_t i = 0; i < readings.count(); ++i) texts.emplace(readings.at(i));
    EXPECT_EQ(texts.size(), readings.count()) << "a reading is there twice: " << path;
    return texts;
  }
};

TEST(PathReadings, MostPathsHaveOne) {
  Reader reader;
  for (const char* path : {"/", "/api", "/api/", "/a/b/c.html", "/@scope/name", "/a-b_c~d!$&'()*+,=:",
                           "/.well-known/acme", "/a/.../b", "/a/..b/.c", "/A/b", "/%E4%B8%AD", "/with%20space"}) {
    EXPECT_EQ(reader.read(path).size(), 1u) << path;
    EXPECT_EQ(reader.fault, PathFault::none) << path;
  }
  EXPECT_EQ(reader.read("/caf%C3%A9%20%22"), Texts{"/caf\xC3\xA9 \""}) << "bytes that can be written in no other way";
  EXPECT_EQ(reader.read("*"), Texts{"*"});
  EXPECT_EQ(reader.read(""), Texts{""});
}

TEST(PathReadings, AHostilePathHasThoseThatProgramsKnow) {
  const std::pair<const char*, Texts> cases[] = {
      {"/a/./b", {"/a/./b", "/a/b"}},
      {"/a/../b", {"/a/../b", "/b"}},
      {"/../b", {"/../b", "/b"}},
      {"/a/..", {"/a/..", "/"}},
      {"/a/.", {"/a/.", "/a/"}},
      {"//a", {"//a", "/a", "/"}},
      {"//a/b", {"//a/b", "/a/b", "/b"}},
      {"///a//b/../c", {"///a//b/../c", "///a//c", "/a/c", "/a/b/../c", "//b/../c", "//c", "/c", "/b/../c", "/../c"}},
      {"/a//../b", {"/a//../b", "/a/b", "/a/../b", "/b"}},
      {"/a//..//b", {"/a//..//b", "/a//b", "/a/b", "/a/../b", "/b"}},
      {"/%2e%2e/b", {"/%2e%2e/b", "/../b", "/b"}},
      {"/a/%2E./b", {"/a/%2E./b", "/a/../b", "/b"}},
      {"/a%2fb", {"/a%2fb", "/a/b"}},
      {"/a%2F%2e%2e%2Fb", {"/a%2F%2e%2e%2Fb", "/a/%2e%2e/b", "/a%2F..%2Fb", "/a/../b", "/b"}},
      {"/a;x/b", {"/a;x/b", "/a/b"}},
      {"/a;x%2fb", {"/a;x%2fb", "/a", "/a;x/b", "/a/b"}},
      {"/a/..;/b", {"/a/..;/b", "/a/../b", "/b"}},
      {"/a%3bx/b", {"/a%3bx/b", "/a;x/b", "/a/b"}},
      {"/a%5cb", {"/a%5cb", "/a\\b", "/a/b"}},
      {"/a/..%5cb", {"/a/..%5cb", "/a/..\\b", "/a/../b", "/b"}},
      {"/%61dmin", {"/%61dmin", "/admin"}},
      {"/%40scope/x", {"/%40scope/x", "/@scope/x"}},
      {"/%252e%252e/b", {"/%252e%252e/b", "/%2e%2e/b", "/../b", "/b"}},
      {"/a%253fb", {"/a%253fb", "/a%3fb", "/a?b", "/a"}},
      {"/admin%3fx", {"/admin?x", "/admin"}},
      {"/admin%23x", {"/admin#x", "/admin"}},
  };
  Reader reader;
  for (const auto& [path, expected] : cases) {
    EXPECT_EQ(reader.read(path), expected) << path;
    EXPECT_EQ(naive::readings(path), expected) << path;
    EXPECT_FALSE(hasOneReading(path)) << path;
  }
}

TEST(PathReadings, WhatNoProgramShouldSeeIsRefused) {
  const std::pair<std::string, PathFault> cases[] = {
      {"/a#b", PathFault::fragment},
      {"/a\\b", PathFault::backslash},
      {"/a%zz", PathFault::malformed_percent},
      {"/a%", PathFault::malformed_percent},
      {"/a%4", PathFault::malformed_percent},
      {"/%u002e/", PathFault::malformed_percent},
      {"/a%00", PathFault::nul},
      {"/a%2500", PathFault::nul},
      {std::string("/a\0", 3), PathFault::nul},
      {"/%c0%ae%c0%ae/", PathFault::overlong},
      {"/%C0%AF", PathFault::overlong},
      {"/\xc0\xae", PathFault::overlong},
      {"/%e0%80%ae", PathFault::overlong},
      {"/%f0%80%80%ae", PathFault::overlong},
      {"a", PathFault::not_absolute},
      {"http://a/", PathFault::not_absolute},
  };
  Reader reader;
  for (const auto& [path, fault] : cases) {
    EXPECT_TRUE(reader.read(path).empty()) << path;
    EXPECT_EQ(reader.fault, fault) << path;
    EXPECT_NE(*textOf(fault), '\0');
    EXPECT_FALSE(hasOneReading(path)) << path;
    EXPECT_TRUE(naive::readings(path).empty()) << path;
  }
}

TEST(PathReadings, TheFirstIsThePathAsItCame) {
  Reader reader;
  const std::string path = "/a;b//c/../%2f%61";
  reader.read(path);
  EXPECT_EQ(reader.readings.at(0), path);
}

TEST(PathReadings, WhatLeavesAFrontIsFoundAlsoWhereItComesBack) {
  std::vector<uint8_t> buffer(PathReadings::buffer_bytes);
  PathReadings readings(buffer);
  for (const char* rest : {"", "/", "/x", "/x/../y", "//x", "/x%2fy", "/./x", "/x/%2e%2e", "/..x", "/a/b/../../c"})
    EXPECT_FALSE(readings.climbsOutOf(rest)) << rest;
  for (const char* rest : {"/..", "/../a", "/../b/x", "/x/../../a/y", "/%2e%2e/a", "/..%2fa", "/x%2f..%2f..", "/..;/a",
                           "/%252e%252e/a", "/x%5c..%5c..%5ca", "//../../a", "/%zz", "/%00"})
    EXPECT_TRUE(readings.climbsOutOf(rest)) << rest;
}

TEST(PathReadings, TooManyAreRefusedAndTheWorkIsBounded) {
  Reader reader;
  EXPECT_TRUE(reader.read("/%2f%2e%5c%3b%25%61//../;").empty());
  EXPECT_EQ(reader.fault, PathFault::too_many_readings);
  std::string path;
  while (path.size() < 20'000) path += "/%61";
  EXPECT_EQ(reader.read(path).size(), 2u) << "a long path that has few";
  while (path.size() < 40'000) path += "/%61";
  EXPECT_TRUE(reader.read(path).empty());
  EXPECT_EQ(reader.fault, PathFault::too_many_readings);
}

TEST(PathReadings, ThePassBeforeFindsAllThatHaveOthersAtEveryPlace) {
  for (size_t size = 2; size < 70; ++size) {
    const std::string plain = "/" + std::string(size - 1, 'a');
    EXPECT_TRUE(hasOneReading(plain));
    for (size_t at = 1; at < size; ++at) {
      for (const char c : std::string("%;\\#\xc0\0", 6)) {
        std::string path = plain;
        path[at] = c;
        EXPECT_FALSE(hasOneReading(path)) << size << ' ' << at << ' ' << static_cast<int>(c);
      }
      for (const char c : {'/', '.'}) {
        std::string path = plain;
        path[at - 1] = '/';
        path[at] = c;
        EXPECT_FALSE(hasOneReading(path)) << path;
      }
    }
  }
}

TEST(PathReadings, AreThoseOfTheRules) {
  Random random(17);
  Reader reader;
  const char* pieces[] = {"/",   "/",   "a",   ".",   "..", ";",   "%2f", "%2e", "%5C",
                          "%61", "%25", "%3b", "%20", "2f", "%3f", "é",   "b"};
  int with_many = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string path = "/";
    for (uint64_t i = random.below(8); i != 0; --i) path += pieces[random.below(std::size(pieces))];
    const Texts found = reader.read(path);
    const Texts expected = naive::readings(path);
    if (reader.fault == PathFault::too_many_readings) {
      EXPECT_GT(expected.size(), PathReadings::max_count);
      with_many += 1;
      continue;
    }
    ASSERT_EQ(found, expected) << path;
    if (hasOneReading(path)) {
      ASSERT_EQ(found, Texts{path});
    }
  }
  EXPECT_LT(with_many, 2'000);
}

TEST(ReadingOfRoute, IsOneOrAMistake) {
  std::string reading;
  const std::pair<const char*, const char*> good[] = {{"/", "/"},
                                                      {"/api", "/api"},
                                                      {"/api/", "/api"},
                                                      {"/caf%c3%a9", "/café"},
                                                      {"/café", "/café"},
                                                      {"/a b", "/a b"},
                                                      {"/.well-known", "/.well-known"},
                                                      {"/@scope", "/@scope"}};
  for (const auto& [written, expected] : good) {
    EXPECT_EQ(readingOfRoute(written, true, reading), "") << written;
    EXPECT_EQ(reading, expected);
  }
  EXPECT_EQ(readingOfRoute("/api/", false, reading), "");
  EXPECT_EQ(reading, "/api/");
  const std::pair<const char*, const char*> bad[] = {
      {"", "does not begin with \"/\""},
      {"api", "does not begin with \"/\""},
      {"/a?b", "has a query, for which there is the key query"},
      {"/a#b", "has a \"#\", which no request may have"},
      {"/a\\b", "has a backslash, which no request may have"},
      {"/a;b", "has a \";\", behind which some programs cut an element"},
      {"/a\nb", "has a control character"},
      {"/%zz", "has a \"%\" without two hexadecimal digits"},
      {"/%00", "has a control character"},
      {"/%61", "has %61: write \"a\""},
      {"/a%2fb", "has %2f, which some programs decode and others do not"},
      {"/%c0%ae", "has an overlong UTF-8 sequence"},
      {"/a//b", "has \"//\", which some programs take for \"/\""},
      {"/a/../b", "has a \".\" or \"..\" for an element, which some programs remove"},
  };
  for (const auto& [written, expected] : bad) EXPECT_EQ(readingOfRoute(written, true, reading), expected) << written;
}

}  // namespace
}  // namespace plait::route
