#include "plait/http/forwarded.h"

#include <gtest/gtest.h>

#include "plait/http/date.h"

namespace plait::http {
namespace {

class Forwarded : public testing::Test {
 protected:
  alignas(8) uint8_t memory_[1024];
  uint8_t buffer_[256];
  FieldList fields_{memory_};
  ClientHop hop_{"198.51.100.2", "https", "example.org:8443", false};
};

TEST_F(Forwarded, AStrangersClaimsAreReplaced) {
  ASSERT_TRUE(fields_.add("x-forwarded-for", "10.0.0.1"));
  ASSERT_TRUE(fields_.add("x-forwarded-proto", "http"));
  ASSERT_TRUE(fields_.add("x-forwarded-host", "bank.example"));
  ASSERT_TRUE(fields_.add("forwarded", "for=10.0.0.1"));
  EXPECT_EQ(buildXForwardedFor(buffer_, fields_, hop_), "198.51.100.2");
  EXPECT_EQ(buildXForwardedProto(buffer_, fields_, hop_), "https");
  EXPECT_EQ(buildXForwardedHost(buffer_, fields_, hop_), "example.org:8443");
  EXPECT_EQ(buildForwarded(buffer_, fields_, hop_), "for=198.51.100.2;host=\"example.org:8443\";proto=https");
}

TEST_F(Forwarded, ATrustedPeersValuesAreKeptAndExtended) {
  hop_.is_trusted = true;
  ASSERT_TRUE(fields_.add("x-forwarded-for", "203.0.113.7"));
  ASSERT_TRUE(fields_.add("x-forwarded-for", "10.0.0.1, 10.0.0.2"));
  ASSERT_TRUE(fields_.add("x-forwarded-proto", "http"));
  ASSERT_TRUE(fields_.add("forwarded", "for=203.0.113.7"));
  EXPECT_EQ(buildXForwardedFor(buffer_, fields_, hop_), "203.0.113.7, 10.0.0.1, 10.0.0.2, 198.51.100.2");
  EXPECT_EQ(buildXForwardedProto(buffer_, fields_, hop_), "http");
  EXPECT_EQ(buildXForwardedHost(buffer_, fields_, hop_), "example.org:8443");
  hop_.host = "example.org";
  EXPECT_EQ(buildForwarded(buffer_, fields_, hop_), "for=203.0.113.7, for=198.51.100.2;host=example.org;proto=https");
}

TEST_F(Forwarded, Ipv6IsBracketedAndQuotedInForwardedOnly) {
  hop_ = {"2001:db8::1", "http", "", false};
  EXPECT_EQ(buildForwarded(buffer_, fields_, hop_), "for=\"[2001:db8::1]\";proto=http");
  EXPECT_EQ(buildXForwardedFor(buffer_, fields_, hop_), "2001:db8::1");
  EXPECT_EQ(buildXForwardedHost(buffer_, fields_, hop_), "");
  hop_.address = {};
  EXPECT_EQ(buildForwarded(buffer_, fields_, hop_), "for=unknown;proto=http");
}

TEST_F(Forwarded, ViaIsAlwaysAppended) {
  EXPECT_EQ(buildVia(buffer_, fields_, Version::http_2, "plait"), "2.0 plait");
  ASSERT_TRUE(fields_.add("via", "1.0 fred"));
  EXPECT_EQ(buildVia(buffer_, fields_, Version::http_1_1, "plait"), "1.0 fred, 1.1 plait");
  EXPECT_EQ(buildVia(buffer_, fields_, Version::http_1_0, "plait"), "1.0 fred, 1.0 plait");
}

TEST_F(Forwarded, WhatDoesNotFitIsEmpty) {
  const MutableBytes small = MutableBytes(buffer_).first(11);
  EXPECT_EQ(buildXForwardedFor(small, fields_, hop_), "");
  EXPECT_EQ(buildVia(small, fields_, Version::http_2, "a-long-name"), "");
  EXPECT_EQ(buildXForwardedProto(small, fields_, hop_), "https");
}

std::string dateOf(int64_t epoch_s) {
  char text[imf_date_size];
  formatImfDate(epoch_s, text);
  return std::string(text, imf_date_size);
}

TEST(Date, KnownMoments) {
  EXPECT_EQ(dateOf(784'111'777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(dateOf(0), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(dateOf(951'782'400), "Tue, 29 Feb 2000 00:00:00 GMT");
  EXPECT_EQ(dateOf(4'107'542'400), "Mon, 01 Mar 2100 00:00:00 GMT");
  EXPECT_EQ(dateOf(-5), dateOf(0));
  EXPECT_EQ(dateOf(INT64_MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
}

TEST(Date, EveryDayAgreesWithTheLibrary) {
  for (int64_t day = 0; day < 200 * 366; ++day) {
    const time_t moment = day * 86'400 + day % 86'400;
    tm parts;
    gmtime_r(&moment, &parts);
    char text[32];
    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    ASSERT_EQ(dateOf(moment), text);
  }
}

}  // namespace
}  // namespace plait::http
