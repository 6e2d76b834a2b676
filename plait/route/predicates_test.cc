#include "plait/route/predicates.h"

#include <gtest/gtest.h>

#include "plait/route/route_test.h"

namespace plait::route {
namespace {

TEST(Predicates, AParameterIsComparedAfterDecoding) {
  EXPECT_TRUE(hasParameter("a=1&b=2", "b", "2"));
  EXPECT_TRUE(hasParameter("%61=%31", "a", "1"));
  EXPECT_TRUE(hasParameter("a=x+y%2B", "a", "x y+"));
  EXPECT_TRUE(hasParameter("a", "a", ""));
  EXPECT_TRUE(hasParameter("a=", "a", ""));
  EXPECT_TRUE(hasParameter("&&a=b=c&", "a", "b=c"));
  EXPECT_TRUE(hasParameter("a=%zz%4", "a", "%zz%4")) << "what is not encoded stands for itself";
  EXPECT_FALSE(hasParameter("a=1&a=2", "a", "2")) << "the first counts";
  EXPECT_FALSE(hasParameter("A=1", "a", "1"));
  EXPECT_FALSE(hasParameter("a=1", "a", "11"));
  EXPECT_FALSE(hasParameter("a=11", "a", "1"));
  EXPECT_FALSE(hasParameter("aa=1", "a", "1"));
  EXPECT_FALSE(hasParameter("", "a", ""));
}

TEST(Predicates, LinesOfAFieldAreOneValue) {
  const TestFields fields(
      {{"x-a", "1"}, {"accept", "b"}, {"x-a", "2, 3"}, {"cookie", "c=1"}, {"cookie", "d=2"}, {"x-empty", ""}});
  const auto has = [&](const char* name, const char* value) {
    return hasField(*fields.list(), http::fieldNameOf(name), name, value);
  };
  EXPECT_TRUE(has("x-a", "1, 2, 3"));
  EXPECT_FALSE(has("x-a", "1"));
  EXPECT_FALSE(has("x-a", "1, 2, 3, 4"));
  EXPECT_TRUE(has("accept", "b"));
  EXPECT_FALSE(has("accept", "B"));
  EXPECT_TRUE(has("cookie", "c=1; d=2"));
  EXPECT_TRUE(has("x-empty", ""));
  EXPECT_FALSE(has("x-missing", ""));
}

TEST(Predicates, EqualConditionsAreOnePredicate) {
  Predicates predicates;
  Match match;
  EXPECT_EQ(predicates.add(match), Predicates::always);
  match.fields = {{"a", "1"}, {"b", "2"}};
  const uint32_t first = predicates.add(match);
  std::swap(match.fields[0], match.fields[1]);
  EXPECT_EQ(predicates.add(match), first);
  match.query = std::exchange(match.fields, {});
  EXPECT_NE(predicates.add(match), first);
}

TEST(Predicates, SixtyFourMethodsAreTold) {
  Predicates predicates;
  Match match;
  for (int i = 0; i < 55; ++i) {
    match.methods = {"M" + std::to_string(i)};
    EXPECT_TRUE(predicates.addMethods(match)) << i;
  }
  const uint32_t last = predicates.add(match);
  match.methods = {"ONE-MORE"};
  EXPECT_FALSE(predicates.addMethods(match));
  for (const auto& [method, expected] : {std::pair("M54", true), {"M53", false}, {"GET", false}, {"ONE-MORE", false}}) {
    const RequestView request{"", "/", "", method, nullptr};
    Asked asked{request};
    EXPECT_EQ(predicates.matches(last, asked), expected) << method;
  }
}

}  // namespace
}  // namespace plait::route
