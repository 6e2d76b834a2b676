#include "plait/net/trusted_proxies.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

TEST(TrustedProxies, NobodyIsTrustedUnlessNamed) {
  EXPECT_FALSE(TrustedProxies().contains("127.0.0.1"));
  EXPECT_FALSE(TrustedProxies().contains("::1"));
}

TEST(TrustedProxies, MatchesPrefixesThatEndWithinAByte) {
  TrustedProxies trusted;
  ASSERT_EQ(trusted.add("10.32.0.0/11"), "");
  EXPECT_TRUE(trusted.contains("10.32.0.0"));
  EXPECT_TRUE(trusted.contains("10.63.255.255"));
  EXPECT_FALSE(trusted.contains("10.64.0.0"));
  EXPECT_FALSE(trusted.contains("10.31.255.255"));
  EXPECT_FALSE(trusted.contains("::1"));
}

TEST(TrustedProxies, ASingleAddressIsANetworkOfOne) {
  TrustedProxies trusted;
  ASSERT_EQ(trusted.add("::1"), "");
  ASSERT_EQ(trusted.add("192.0.2.7"), "");
  EXPECT_TRUE(trusted.contains("::1"));
  EXPECT_FALSE(trusted.contains("::2"));
  EXPECT_TRUE(trusted.contains("192.0.2.7"));
  EXPECT_FALSE(trusted.contains("192.0.2.6"));
}

TEST(TrustedProxies, AMappedAddressIsTheIpv4AddressThatItStandsFor) {
  TrustedProxies trusted;
  ASSERT_EQ(trusted.add("192.0.2.0/24"), "");
  EXPECT_TRUE(trusted.contains("::ffff:192.0.2.99"));
  EXPECT_FALSE(trusted.contains("::192.0.2.99"));
}

TEST(TrustedProxies, AllOfIpv4IsNotAllOfIpv6) {
  TrustedProxies trusted;
  ASSERT_EQ(trusted.add("0.0.0.0/0"), "");
  EXPECT_TRUE(trusted.contains("203.0.113.9"));
  EXPECT_FALSE(trusted.contains("2001:db8::1"));
  ASSERT_EQ(trusted.add("::/0"), "");
  EXPECT_TRUE(trusted.contains("2001:db8::1"));
}

TEST(TrustedProxies, AZoneDoesNotMatter) {
  TrustedProxies trusted;
  ASSERT_EQ(trusted.add("fe80::/10"), "");
  EXPECT_TRUE(trusted.contains("fe80::1%2"));
}

TEST(TrustedProxies, WhatIsNoNetworkIsRefused) {
  TrustedProxies trusted;
  for (const char* text :
       {"", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8x", "10.0.0.0/-1", "::/129", "localhost", "10.0.0.1/8", "10.0.0"}) {
    EXPECT_NE(trusted.add(text), "") << text;
  }
  EXPECT_TRUE(trusted.empty());
}

}  // namespace
}  // namespace plait
