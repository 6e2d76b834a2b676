#include "plait/route/regex_set.h"

#include <gtest/gtest.h>

namespace plait::route {
namespace {

bool matches(const std::string& text, std::string_view path) {
  RegexSet set;
  EXPECT_EQ(RegexSet::mistakeIn(text), "") << text;
  const RegexSet::Failure failure = set.compile({text});
  EXPECT_EQ(failure.text, "") << text;
  const RegexScratch scratch = set.makeScratch();
  RegexSet::Matches found;
  set.match(path, scratch, found);
  return found[0];
}

TEST(RegexSet, AnExpressionMatchesAWholePath) {
  EXPECT_TRUE(matches("/a/[0-9]+", "/a/12"));
  EXPECT_FALSE(matches("/a/[0-9]+", "/a/12/"));
  EXPECT_FALSE(matches("/a/[0-9]+", "x/a/12"));
  EXPECT_FALSE(matches("/a/[0-9]+", "/a/12\n")) << "\"$\" would stand before the end of a line";
  EXPECT_FALSE(matches("/a|/b", "/a/x"));
  EXPECT_FALSE(matches("/a|/b", "/x/b"));
  EXPECT_TRUE(matches("/a|/b", "/b"));
  EXPECT_TRUE(matches("^/a$", "/a"));
  EXPECT_TRUE(matches("/.*", "/a\nb\xff"));
  EXPECT_TRUE(matches("(?i)/API", "/api"));
  EXPECT_FALSE(matches("/API", "/api"));
  EXPECT_TRUE(matches("/café", "/caf\xC3\xA9"));
}

TEST(RegexSet, MistakesAreSaid) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "is empty"},
      {std::string(513, 'a'), "is longer than 512 bytes"},
      {"/a{257}", "repeats more than 256 times, nested repeats multiplied"},
      {"/a{1,257}", "repeats more than 256 times, nested repeats multiplied"},
      {"/a{300,}", "repeats more than 256 times, nested repeats multiplied"},
      {"/a{99999999999999999999}", "repeats more than 256 times, nested repeats multiplied"},
      {"/(a{2}b{20}){13}", "repeats more than 256 times, nested repeats multiplied"},
      {"/((a{7}|b)*x{6}){7}{7}", "repeats more than 256 times, nested repeats multiplied"},
      {std::string("/\0", 2), "has a NUL"},
      {"/\\Qa", "has \\Q: write a \\ before each byte"},
  };
  for (const auto& [text, phrase] : cases) EXPECT_EQ(RegexSet::mistakeIn(text), phrase) << text;
  for (const char* text : {"/a)|(/b", "(", "[", "/(a)\\1", "/(?=a)", "/(?!a)", "/(?<=a)", "/\\", "*", "/(?x)a #"})
    EXPECT_TRUE(RegexSet::mistakeIn(text).starts_with("cannot be used: ")) << text << RegexSet::mistakeIn(text);
  for (const char* text : {"/a{256}", "/[{300}]", "/\\{300}", "/x{,y", "/[]{400}]", "/[^]{400}]",
                           "/(a{16}b{16}){16}c{256}", "/(a{256})*", "/\\({2}a{200}"})
    EXPECT_EQ(RegexSet::mistakeIn(text), "") << text;
}

TEST(RegexSet, AllThatMatchAreFound) {
  RegexSet set;
  std::vector<std::string> texts;
  for (int i = 0; i < 1000; ++i) texts.push_back("/" + std::to_string(i) + "/[a-z]+");
  texts.push_back("/.*");
  ASSERT_EQ(set.compile(texts).text, "");
  EXPECT_GT(set.bytes(), 0u);
  EXPECT_LT(set.bytes(), RegexSet::max_table_bytes);
  const RegexScratch scratch = set.makeScratch();
  EXPECT_GT(scratch.bytes(), 0u);
  RegexSet::Matches found;
  set.match("/77/abc", scratch, found);
  EXPECT_EQ(found.count(), 2u);
  EXPECT_TRUE(found[77] && found[1000]);
}

TEST(RegexSet, SetsThatAreTooLargeAreRefused) {
  RegexSet many;
  EXPECT_EQ(many.compile(std::vector<std::string>(4097, "/a")).text, "more than 4096 expressions");
  EXPECT_EQ(RegexSet().compile({}).text, "");
}

TEST(RegexSet, TheLiteralStartIsWhatEveryMatchBeginsWith) {
  const std::pair<const char*, const char*> cases[] = {
      {"/a/[0-9]+", "/a/"}, {"/ab*", "/a"},     {"/ab?", "/a"},  {"/ab{0}", "/a"}, {"/ab+", "/ab"}, {"/a|/b", ""},
      {"/a(b|c)", "/a"},    {"/a\\.b", "/a.b"}, {"/a\\d", "/a"}, {"(/a)", ""},     {"^/a$", "/a"},  {"/a[|]b", "/a"},
      {"/a\\|b", "/a|b"},   {"[", ""},          {"\\", ""},      {"", ""}};
  for (const auto& [text, start] : cases) EXPECT_EQ(RegexSet::literalStart(text), start) << text;
}

}  // namespace
}  // namespace plait::route
