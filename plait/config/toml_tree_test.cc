#include "plait/config/toml_tree.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>

namespace plait {
namespace {

std::string describe(const TomlNode& node) {
  std::string text = fmt::format("@{}:{} ", node.position().line, node.position().column);
  switch (node.kind()) {
    case TomlNode::Kind::table: {
      std::map<std::string, std::string> members;
      for (const TomlNode& one : node) {
        members[std::string(one.key())] =
            fmt::format("@{}:{} = {}", one.keyPosition().line, one.keyPosition().column, describe(one));
      }
      text += "{";
      for (const auto& [key, value] : members) text += fmt::format("{} {}\n", key, value);
      return text + "}";
    }
    case TomlNode::Kind::array:
      text += "[";
      for (const TomlNode& one : node) text += describe(one) + ",";
      return text + "]";
    case TomlNode::Kind::string:
      return text + fmt::format("\"{}\"", node.text());
    case TomlNode::Kind::integer:
      return text + fmt::format("{}", node.integer());
    case TomlNode::Kind::boolean:
      return text + (node.boolean() ? "true" : "false");
    case TomlNode::Kind::fraction:
      return text + "fraction";
    case TomlNode::Kind::time:
      return text + "time";
  }
  return text;
}

// Where the reader of common forms says anything, it says what toml++ does. True where it did.
bool compare(const std::string& text) {
  const auto quick = TomlTree::read(text);
  if (quick == nullptr) return false;
  const auto slow = TomlTree::parseSlowly(text);
  EXPECT_TRUE(slow.has_value()) << text << (slow ? "" : slow.error().text);
  if (slow) {
    EXPECT_EQ(describe(quick->root()), describe(slow->root())) << text;
  }
  return true;
}

TEST(TomlTree, CommonFormsAreReadAsTomlPlusPlusReadsThem) {
  for (const char* text :
       {"", "\n", "# only\n", "a = 1", "a = 1\r\nb = 2\r\n", "a=\"x\"# c\n", "  a\t=\t'x'  \n", "\"a b\" = true\n",
        "a = []\nb = [1, 2,\n # c\n 3,]\nc = [[1], ['x', \"y\"]]\n", "a = {}\nb = { c = 1, d = { e = \"f\" } }\n",
        "[a]\nb = 1\n[c.d]\ne = 2\n[c.f]\n[g]\n",
        "[[a]]\nb = 1\n[[a.c]]\nd = 1\n[[a.c]]\n[a.e]\nf = 1\n[[a]]\n[[a.c]]\n", "a = \"q\\\"u\\\\o\\nt\\te\"\n",
        "a = ''\nb = \"\"\n", "a = -5\nb = 0\nc = 999999999999999999\n", "1 = 2\n",
        "a = \"\xc3\xa4\xe2\x82\xac\" # \xf0\x9f\x98\x80\nb = [\"\xc3\xa4\", 1]\n", "[ ]\n[a]\n"}) {
    if (std::string_view(text) != "[ ]\n[a]\n") EXPECT_TRUE(compare(text)) << text;
  }
}

TEST(TomlTree, OtherFormsAndFaultsAreTomlPlusPluss) {
  for (const char* text : {"a.b = 1\n", "a = 0x1f\n", "a = 1_000\n", "a = 1.5\n", "a = 1979-05-27\n",
                           "a = \"\"\"x\"\"\"\n", "a = \"\\u00e4\"\n", "[\"a b\"]\n", "[a.b]\n[a]\n"}) {
    EXPECT_EQ(TomlTree::read(text), nullptr) << text;
    EXPECT_TRUE(TomlTree::parse(text).has_value()) << text;
  }
  for (const char* text : {"a = 1\na = 2\n",
                           "[a]\n[a]\n",
                           "a = {}\n[a.b]\n",
                           "a = [1]\n[[a]]\n",
                           "[[a]]\n[a]\n",
                           "[a]\n[[a]]\n",
                           "a = 01\n",
                           "a = tru\n",
                           "a = \"x\n\"\n",
                           "a = 1 b = 2\n",
                           "a = \n",
                           "= 1\n",
                           "a = { b = 1,\n c = 2 }\n",
                           "a = { b = 1, }\n",
                           "a = \"\xff\"\n",
                           "a = \"\xed\xa0\x80\"\n",
                           "a = 'x\x01'\n",
                           "# \x02\n",
                           "[[a]\n",
                           "a = [1\n",
                           "[a\n]",
                           "a = 1\rb = 2"}) {
    EXPECT_EQ(TomlTree::read(text), nullptr) << text;
    EXPECT_FALSE(TomlTree::parse(text).has_value()) << text;
  }
}

// Configurations, with bytes changed at random: the reader gives up, or says what toml++ says.
TEST(TomlTree, NoChangedTextIsReadInAnotherWay) {
  const std::string text =
      "# caf\xc3\xa9\n[server]\nworkers = 2\nmemory = \"1G\"\n\n[[listen]]\naddress = \"[::]:443\" # all\ntls = 'on'\n"
      "[[cluster]]\nname = \"a\"\nlimits = { requests = 10, queue = 0 }\n[[cluster.backend]]\nurl = \"h2c://a:1\"\n"
      "[[route]]\nhost = [\"x.example\",\n  \"*.x.example\"]\npath = \"/a\\\\b\"\nheader = { x-a = \"b\", \"x c\" = "
      "'d' }\n"
      "split = [{ cluster = \"a\", weight = -1 }, { cluster = \"b\" }]\nwatch = true\n[route.rewrite]\npath = \"/\"\n";
  ASSERT_TRUE(compare(text));
  std::mt19937 random(1);
  const std::string bytes = "[]{}=,.\"'#\\ \n\r\t-_019azt\x7f\xc3\x80";
  size_t read = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string changed = text;
    for (uint32_t k = random() % 3 + 1; k != 0; --k) {
      const size_t at = random() % changed.size();
      switch (random() % 4) {
        case 0:
          changed[at] = bytes[random() % bytes.size()];
          break;
        case 1:
          changed.insert(at, 1, bytes[random() % bytes.size()]);
          break;
        case 2:
          changed.erase(at, random() % 4 + 1);
          break;
        default:
          changed.insert(at, changed.substr(random() % changed.size(), random() % 30));
      }
    }
    read += compare(changed);
    ASSERT_FALSE(::testing::Test::HasFailure());
  }
  EXPECT_GT(read, 2000u);
}

TEST(TomlTree, DeepAndWideTextsAreGivenUp) {
  EXPECT_EQ(TomlTree::read("a = " + std::string(100'000, '[')), nullptr);
  std::string wide;
  for (int i = 0; i < 1000; ++i) wide += fmt::format("k{} = 1\n", i);
  EXPECT_EQ(TomlTree::read(wide), nullptr);
  EXPECT_EQ(TomlTree::parse(wide)->root().size(), 1000u);
}

}  // namespace
}  // namespace plait
