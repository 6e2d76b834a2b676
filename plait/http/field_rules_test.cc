#include "plait/http/field_rules.h"

#include <gtest/gtest.h>

#include <string>

namespace plait::http {
namespace {

using namespace std::string_view_literals;

// The fast path looks at eight bytes at once; a byte must count the same wherever it stands.
TEST(FieldRules, EveryByteOfAValueCountsWhereverItStands) {
  for (size_t size = 3; size <= 26; ++size) {
    for (size_t position = 1; position + 1 < size; ++position) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string text(size, 'v');
        text[position] = static_cast<char>(byte);
        const bool is_allowed = byte == '\t' || (byte >= 0x20 && byte != 0x7f);
        ASSERT_EQ(isFieldValue(text), is_allowed) << "byte " << byte << " at " << position << " of " << size;
      }
    }
  }
}

TEST(FieldRules, TokensAndValues) {
  EXPECT_TRUE(isToken("X-Custom!#$%&'*+.^_`|~"));
  for (const std::string_view bad : {""sv, "a b"sv, "a:"sv, "a\0b"sv, "\x80"sv, "a("sv, "a/b"sv})
    EXPECT_FALSE(isToken(bad));
  EXPECT_TRUE(isLowerCaseToken("x-custom-1"));
  for (const std::string_view bad : {""sv, "X"sv, ":path"sv, "a\0"sv, "a b"sv}) EXPECT_FALSE(isLowerCaseToken(bad));
  for (const std::string_view good : {""sv, "a b\tc"sv, "\xc3\xbc"sv, "!"sv}) EXPECT_TRUE(isFieldValue(good));
  for (const std::string_view bad : {" a"sv, "a\t"sv, "a\rb"sv, "a\nb"sv, "a\0b"sv, "a\x7f"sv, "\x01"sv}) {
    EXPECT_FALSE(isFieldValue(bad));
  }
  EXPECT_TRUE(isFreeOfLineBreaks(" a\x01 "));
  EXPECT_FALSE(isFreeOfLineBreaks("a\nb"));
}

TEST(FieldRules, ListsSkipEmptyElementsAndRespectQuotes) {
  std::string_view list = R"( , a ,"b,\"c" ,, d"x)";
  std::string_view element;
  ASSERT_TRUE(nextListElement(list, element));
  EXPECT_EQ(element, "a");
  ASSERT_TRUE(nextListElement(list, element));
  EXPECT_EQ(element, R"("b,\"c")");
  ASSERT_TRUE(nextListElement(list, element));
  EXPECT_EQ(element, "d\"x");
  EXPECT_FALSE(nextListElement(list, element));
  list = "\"\\";
  EXPECT_TRUE(nextListElement(list, element));
  EXPECT_FALSE(nextListElement(list, element));
}

Field fieldOf(std::string_view name, std::string_view value) {
  return {name, value, fieldNameOf(name), false};
}

TEST(FieldRules, ConnectionNominatesOnlyWhatItMay) {
  ConnectionTokens tokens;
  EXPECT_TRUE(
      parseConnectionValue("Keep-Alive, Upgrade, X-Hop , x-hop, Authorization, X-Forwarded-For, Host, Cookie", tokens));
  EXPECT_TRUE(parseConnectionValue("Range, X-Request-Id, Content-Length, Cache-Control", tokens));
  EXPECT_TRUE(parseConnectionValue("CLOSE", tokens));
  EXPECT_TRUE(tokens.close && tokens.keep_alive && tokens.upgrade);
  EXPECT_EQ(tokens.nominated_count, 3) << "X-Hop, Range, X-Request-Id";
  EXPECT_TRUE(isHopByHop(fieldOf("x-hop", "1"), tokens));
  EXPECT_TRUE(isHopByHop(fieldOf("range", "bytes=0-1"), tokens));
  EXPECT_TRUE(isHopByHop(fieldOf("x-request-id", "1"), tokens));
  EXPECT_FALSE(isHopByHop(fieldOf("content-length", "1"), tokens));
  EXPECT_FALSE(isHopByHop(fieldOf("cookie", "1"), tokens));
  EXPECT_FALSE(isHopByHop(fieldOf("authorization", "1"), tokens));
  EXPECT_FALSE(isHopByHop(fieldOf("x-forwarded-for", "1"), tokens));
  EXPECT_FALSE(isHopByHop(fieldOf("x-other", "1"), tokens));
  EXPECT_FALSE(parseConnectionValue("a b", tokens));
  EXPECT_FALSE(parseConnectionValue("a,b,c,d,e,f,g,h,i", tokens));
}

TEST(FieldRules, HopByHopFieldsStopHere) {
  const ConnectionTokens none;
  for (const std::string_view name : {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade",
                                      "http2-settings", "proxy-authorization", "proxy-authenticate"}) {
    EXPECT_TRUE(isHopByHop(fieldOf(name, "x"), none)) << name;
  }
  EXPECT_FALSE(isHopByHop(fieldOf("te", "Trailers"), none));
  EXPECT_TRUE(isHopByHop(fieldOf("te", "trailers, gzip"), none));
  EXPECT_TRUE(isForbiddenInHttp2(FieldName::te, "gzip"));
  EXPECT_FALSE(isForbiddenInHttp2(FieldName::te, "trailers"));
  EXPECT_TRUE(isForbiddenInHttp2(FieldName::connection, "close"));
  EXPECT_FALSE(isForbiddenInHttp2(FieldName::trailer, "x"));
  EXPECT_TRUE(isForbiddenInTrailers(FieldName::content_length));
  EXPECT_TRUE(isForbiddenInTrailers(FieldName::transfer_encoding));
  EXPECT_TRUE(isForbiddenInTrailers(FieldName::pseudo_status));
  EXPECT_FALSE(isForbiddenInTrailers(FieldName::grpc_status));
  EXPECT_FALSE(isForbiddenInTrailers(FieldName::unknown));
}

TEST(FieldRules, ContentLengthIsOneNumber) {
  EXPECT_EQ(parseContentLength("0"), 0u);
  EXPECT_EQ(parseContentLength("42"), 42u);
  EXPECT_EQ(parseContentLength("42, 42 ,42"), 42u);
  EXPECT_EQ(parseContentLength("9223372036854775807"), uint64_t{INT64_MAX});
  for (const std::string_view bad : {"", "+1", "-1", "1 2", "1,2", "1,", ",1", "0x1", "1.0", "9223372036854775808",
                                     "18446744073709551616", "99999999999999999999999"}) {
    EXPECT_FALSE(parseContentLength(bad).has_value()) << bad;
  }
}

TEST(FieldRules, Methods) {
  for (const std::string_view method : {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
    EXPECT_TRUE(isIdempotent(method));
  for (const std::string_view method : {"POST", "PATCH", "CONNECT", "get", ""}) EXPECT_FALSE(isIdempotent(method));
  EXPECT_FALSE(isSafe("PUT"));
}

TEST(FieldRules, Authorities) {
  const auto port = parseAuthority("example.org:8080");
  ASSERT_TRUE(port);
  EXPECT_EQ(port->host, "example.org");
  EXPECT_EQ(port->port, 8080);
  const auto six = parseAuthority("[2001:db8::1]:443");
  ASSERT_TRUE(six);
  EXPECT_EQ(six->host, "2001:db8::1");
  EXPECT_TRUE(six->is_ipv6);
  EXPECT_EQ(six->port, 443);
  for (const std::string_view good : {"a", "a_b", "a:", "127.0.0.1", "%41b", "[::]", "a.b.:1"})
    EXPECT_TRUE(isAuthority(good)) << good;
  for (const std::string_view bad :
       {"", ":80", "user@host", "a:b", "a:65536", "a:1:2", "a b", "a/b", "[::1", "[::1]x", "[]", "::1", "%4", "%zz",
        "a,b\x80", "a\"", "[fe80::1%25eth0]", "a:99999999999999999999"}) {
    EXPECT_FALSE(isAuthority(bad)) << bad;
  }
}

TEST(FieldRules, Ipv6Addresses) {
  for (const std::string_view good :
       {"::", "::1", "1::", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3::7:8", "2001:DB8::"}) {
    EXPECT_TRUE(isIpv6Address(good)) << good;
  }
  for (const std::string_view bad :
       {"", ":", "1:", ":1", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "::1.2.3",
        "::1.2.3.256", "1:2:3:4:5:6:7:1.2.3.4", "::01.2.3.4", "g::", "1.2.3.4", "1:2:3:4:5:6:7:8::"}) {
    EXPECT_FALSE(isIpv6Address(bad)) << bad;
  }
}

TEST(FieldRules, Paths) {
  for (const std::string_view good : {"/", "/a?b=c", "/\xc3\xbc", "/a|b"}) EXPECT_TRUE(isPath(good, "GET")) << good;
  for (const std::string_view bad : {"", "a", "*", "/a b", "/a#b", "/\r", "/\x7f", "http://a/"})
    EXPECT_FALSE(isPath(bad, "GET"));
  EXPECT_TRUE(isPath("*", "OPTIONS"));
}

}  // namespace
}  // namespace plait::http
