#include "plait/http/accept.h"

#include <gtest/gtest.h>

#include "plait/http/request_id.h"

namespace plait::http {
namespace {

bool prefersHtml(std::string_view accept) {
  alignas(8) uint8_t memory[512];
  FieldList fields{MutableBytes(memory)};
  fields.add("accept", accept);
  return http::prefersHtml(fields);
}

TEST(Accept, HtmlIsForThoseWhoWeighItMoreThanText) {
  EXPECT_TRUE(prefersHtml("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"));
  EXPECT_TRUE(prefersHtml("text/html"));
  EXPECT_TRUE(prefersHtml("Text/HTML;q=0.3, text/*;q=0.2"));
  EXPECT_TRUE(prefersHtml("text/plain;q=0, */*"));
  EXPECT_TRUE(prefersHtml("text/html ; q=0.301 , text/plain;q=0.3"));
  EXPECT_FALSE(prefersHtml("*/*"));
  EXPECT_FALSE(prefersHtml("text/*"));
  EXPECT_FALSE(prefersHtml("application/json"));
  EXPECT_FALSE(prefersHtml("text/html;q=0.5, text/plain"));
  EXPECT_FALSE(prefersHtml("text/html;q=0"));
  EXPECT_FALSE(prefersHtml("text/html;q=7"));
  EXPECT_FALSE(prefersHtml("text/html;q=0.1111"));
  EXPECT_FALSE(prefersHtml("text/html;level=1"));
  EXPECT_FALSE(prefersHtml(""));
  EXPECT_FALSE(http::prefersHtml(FieldList()));
}

TEST(RequestIds, AreAllDifferent) {
  RequestIds ids(7);
  RequestIds others(8);
  char first[RequestIds::size];
  char second[RequestIds::size];
  char third[RequestIds::size];
  ids.next(first);
  ids.next(second);
  others.next(third);
  EXPECT_NE(std::string_view(first, 16), std::string_view(second, 16));
  EXPECT_NE(std::string_view(first, 16), std::string_view(third, 16));
  EXPECT_EQ(std::string_view(first, 16).find_first_not_of("0123456789abcdef"), std::string_view::npos);
}

TEST(RequestIds, ThoseOfOthersAreTakenOnlyIfTheyCanBeWrittenAnywhere) {
  EXPECT_TRUE(RequestIds::isSane("7b1e0e0a-3f0e-4d51-9f57-0d2d5a8d6b9e"));
  EXPECT_TRUE(RequestIds::isSane("Root=1-67891233-abcdef012345678912345678"));
  EXPECT_FALSE(RequestIds::isSane(""));
  EXPECT_FALSE(RequestIds::isSane("a b"));
  EXPECT_FALSE(RequestIds::isSane("a\"b"));
  EXPECT_FALSE(RequestIds::isSane("a,b"));
  EXPECT_FALSE(RequestIds::isSane("\xc3\xa4"));
  EXPECT_FALSE(RequestIds::isSane(std::string(129, 'a')));
}

}  // namespace
}  // namespace plait::http
