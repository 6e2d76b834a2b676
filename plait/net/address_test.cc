#include "plait/net/address.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>

namespace plait {
namespace {

std::string formatted(std::string_view text) {
  char buffer[address_text_size];
  const auto address = parseAddress(text, 7);
  return address ? std::string(formatAddress(*address, buffer)) : "none";
}

std::string hostOf(std::string_view text) {
  char buffer[address_text_size];
  const auto address = parseAddress(text, 7);
  return address ? std::string(formatHost(*address, buffer)) : "none";
}

TEST(Address, ReadsLiteralsWithAndWithoutAPort) {
  EXPECT_EQ(formatted("192.0.2.1:80"), "192.0.2.1:80");
  EXPECT_EQ(formatted("192.0.2.1"), "192.0.2.1:7");
  EXPECT_EQ(formatted("[2001:db8::1]:443"), "[2001:db8::1]:443");
  EXPECT_EQ(formatted("[2001:db8::1]"), "[2001:db8::1]:7");
  EXPECT_EQ(formatted("2001:db8::1"), "[2001:db8::1]:7");
  EXPECT_EQ(formatted("::"), "[::]:7");
}

TEST(Address, WritesMappedAddressesAsTheIpv4AddressesTheyAre) {
  EXPECT_EQ(formatted("[::ffff:192.0.2.1]:80"), "192.0.2.1:80");
  EXPECT_EQ(hostOf("::ffff:192.0.2.1"), "192.0.2.1");
}

TEST(Address, AMappedAddressBecomesTheIpv4AddressThatItIs) {
  auto mapped = *parseAddress("[::ffff:192.0.2.1]:80");
  unmapV4(mapped);
  EXPECT_EQ(mapped.ss_family, AF_INET);
  char text[address_text_size];
  EXPECT_EQ(formatAddress(mapped, text), "192.0.2.1:80");
  for (const char* other : {"[2001:db8::1]:80", "192.0.2.1:80", "[::192.0.2.1]:80"}) {
    auto address = *parseAddress(other);
    const int family = address.ss_family;
    unmapV4(address);
    EXPECT_EQ(address.ss_family, family) << other;
  }
  EXPECT_EQ(unmapV4("::ffff:192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(unmapV4("::FFFF:192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(unmapV4("0:0:0:0:0:ffff:192.0.2.1"), "192.0.2.1");
  for (const char* other :
       {"", "192.0.2.1", "::192.0.2.1", "2001:db8::1", "::ffff:c000:201", "::ffff:192.0.2", "a:1.b"}) {
    EXPECT_EQ(unmapV4(other), other);
  }
}

TEST(Address, WritesHostsWithoutPortAndBrackets) {
  EXPECT_EQ(hostOf("192.0.2.1:80"), "192.0.2.1");
  EXPECT_EQ(hostOf("[2001:db8::1]:443"), "2001:db8::1");
}

TEST(Address, KeepsTheZoneOfALinkLocalAddress) {
  EXPECT_EQ(formatted("[fe80::1%7]:80"), "[fe80::1%7]:80");
  const auto loopback = parseLiteral("fe80::1%lo", 80);
  ASSERT_TRUE(loopback);
  EXPECT_NE(reinterpret_cast<const sockaddr_in6&>(*loopback).sin6_scope_id, 0u);
  EXPECT_FALSE(parseLiteral("fe80::1%", 80));
  EXPECT_FALSE(parseLiteral("fe80::1%0", 80));
  EXPECT_FALSE(parseLiteral("192.0.2.1%lo", 80));
}

TEST(Address, TakesNamesAndPortsApart) {
  const auto with_port = splitHostPort("api-1:9001");
  ASSERT_TRUE(with_port);
  EXPECT_EQ(with_port->host, "api-1");
  EXPECT_EQ(with_port->port, 9001);
  const auto bare = splitHostPort("api-1");
  ASSERT_TRUE(bare);
  EXPECT_EQ(bare->host, "api-1");
  EXPECT_FALSE(bare->port);
  const auto port_only = splitHostPort(":8080");
  ASSERT_TRUE(port_only);
  EXPECT_EQ(port_only->host, "");
  EXPECT_EQ(port_only->port, 8080);
}

TEST(Address, RefusesWhatIsNoAddress) {
  for (const char* text : {"", "[", "[]", "[]:80", "[::1", "[::1]80", "[::1]:", "[host]:80", "[192.0.2.1]:80",
                           "host:", "host:x", "host:-1", "host:65536", "host:80x", "host: 80"}) {
    EXPECT_FALSE(splitHostPort(text)) << text;
  }
  for (const char* text : {"host", "host:80", "1.2.3", "1.2.3.4.5", "256.0.0.1", ":::", "12345::", ":80"}) {
    EXPECT_FALSE(parseAddress(text)) << text;
  }
  EXPECT_FALSE(parseLiteral(std::string_view("1.2.3.4\0x", 9), 80));
  EXPECT_FALSE(parseLiteral(std::string(1000, '1'), 80));
}

TEST(Address, WritesNothingRatherThanHalfAnAddress) {
  const auto address = parseAddress("192.0.2.1:80");
  ASSERT_TRUE(address);
  char exact[12], small[11];
  EXPECT_EQ(formatAddress(*address, exact), "192.0.2.1:80");
  EXPECT_EQ(formatAddress(*address, small), "");
  EXPECT_EQ(formatAddress(sockaddr_storage{}, exact), "");
}

TEST(Address, HasRoomForTheLongestText) {
  const auto address = parseAddress("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");
  ASSERT_TRUE(address);
  char buffer[address_text_size];
  EXPECT_EQ(formatAddress(*address, buffer), "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");
}

}  // namespace
}  // namespace plait
