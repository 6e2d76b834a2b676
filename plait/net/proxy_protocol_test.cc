#include "plait/net/proxy_protocol.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "plait/net/address.h"

namespace plait::net {
namespace {

constexpr std::string_view signature("\r\n\r\n\0\r\nQUIT\n", 12);

std::string number16(size_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value)};
}
std::string number32(uint32_t value) {
  return number16(value >> 16) + number16(value & 0xffff);
}
std::string tlv(int type, const std::string& value) {
  return static_cast<char>(type) + number16(value.size()) + value;
}
// Of version 2, with that byte of version and command, and that of family and transport.
std::string v2(int command, int family, const std::string& content) {
  return std::string(signature) + static_cast<char>(command) + static_cast<char>(family) + number16(content.size()) +
         content;
}
const std::string v4_ends = std::string("\x0a\x01\x02\x03\xc0\x00\x02\x01\x15\x38\x01\xbb", 12);
const std::string v6_ends = std::string("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07", 16) + std::string(15, '\0') +
                            '\1' + std::string("\x15\x38\x01\xbb", 4);
const std::string mapped_ends = std::string(10, '\0') + "\xff\xff\x0a\x01\x02\x03" + std::string(10, '\0') +
                                std::string("\xff\xff\xc0\x00\x02\x01\x15\x38\x01\xbb", 10);

// With the sum in place of the four bytes at that position.
std::string withSum(std::string header, size_t at) {
  header.replace(at, 4, number32(crc32c(asBytes(header))));
  return header;
}

// "SIZE client → destination", what else it says, "more", or the mistake.
std::string read(std::string_view bytes) {
  const auto header = readProxyHeader(asBytes(bytes));
  if (!header) return header.error().reason;
  if (!*header) return "more";
  std::string text = std::to_string((*header)->size);
  char source[address_text_size];
  char destination[address_text_size];
  if ((*header)->has_addresses) {
    text += ' ';
    text += formatAddress((*header)->source, source);
    text += " to ";
    text += formatAddress((*header)->destination, destination);
  }
  if (!(*header)->alpn.empty()) text += " alpn " + std::string((*header)->alpn);
  if (!(*header)->authority.empty()) text += " authority " + std::string((*header)->authority);
  return text;
}

struct Case {
  std::string bytes;
  std::string meaning;
};

TEST(ProxyProtocol, Version1SaysWhoTheClientIs) {
  const std::string longest =
      "PROXY TCP6 ffff:f1f1:ffff:f1f1:ffff:f1f1:ffff:f1f1 ffff:f1f1:ffff:f1f1:ffff:f1f1:ffff:f1f1 65535 65535\r\n";
  const Case cases[] = {
      {"PROXY TCP4 10.1.2.3 192.0.2.1 5432 443\r\n", "40 10.1.2.3:5432 to 192.0.2.1:443"},
      {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
       "56 255.255.255.255:65535 to 255.255.255.255:65535"},
      {"PROXY TCP6 2001:db8::7 ::1 5432 443\r\n", "37 [2001:db8::7]:5432 to [::1]:443"},
      {longest,
       std::to_string(longest.size()) +
           " [ffff:f1f1:ffff:f1f1:ffff:f1f1:ffff:f1f1]:65535 to [ffff:f1f1:ffff:f1f1:ffff:f1f1:ffff:f1f1]:65535"},
      {"PROXY TCP6 ::ffff:10.1.2.3 ::1 0 1\r\n", "36 10.1.2.3:0 to [::1]:1"},
      {"PROXY UNKNOWN\r\n", "15"},
      {"PROXY UNKNOWN whatever it says, \x01\r\n", "35"},
      {"PROXY TCP4 10.1.2.3 192.0.2.1 5432 443\r\nGET / HTTP/1.1\r\n", "40 10.1.2.3:5432 to 192.0.2.1:443"},
  };
  for (const Case& one : cases) EXPECT_EQ(read(one.bytes), one.meaning) << one.bytes;
}

TEST(ProxyProtocol, Version1IsRefusedForAnySlip) {
  const std::string none = "a PROXY header of version 1 has no valid addresses and ports";
  const std::string no_end = "a PROXY header of version 1 does not end with CRLF";
  const std::string too_long = "a PROXY header of version 1 is longer than 107 bytes";
  const std::string family = "a PROXY header names neither TCP4, TCP6 nor UNKNOWN";
  const Case cases[] = {
      {"PROXY TCP4 10.1.2.3 192.0.2.1 5432 65536\r\n", none},
      {"PROXY TCP4 10.1.2.3 192.0.2.1 5432 0443\r\n", none},
      {"PROXY TCP4 10.1.2.3 192.0.2.1 +5432 443\r\n", none},
      {"PROXY TCP4 10.1.2.3 192.0.2.1 5432 443 \r\n", none},
      {"PROXY TCP4 10.1.2.3 192.0.2.1 5432 443 1\r\n", none},
      {"PROXY TCP4 10.1.2.3  192.0.2.1 5432 443\r\n", none},
      {"PROXY TCP4 10.1.2.3 192.0.2.1 5432\r\n", none},
      {"PROXY TCP4 10.1.2.03 192.0.2.1 5432 443\r\n", none},
      {"PROXY TCP4 10.1.2.3 2001:db8::7 5432 443\r\n", none},
      {"PROXY TCP4\r\n", none},
      {"PROXY TCP6 10.1.2.3 192.0.2.1 5432 443\r\n", none},
      {"PROXY TCP6 fe80::1%eth0 ::1 5432 443\r\n", none},
      {"PROXY TCP6 " + std::string(60, '1') + " ::1 5432 443\r\n", none},
      {"PROXY  TCP4 10.1.2.3 192.0.2.1 5432 443\r\n", family},
      {"PROXY tcp4 10.1.2.3 192.0.2.1 5432 443\r\n", family},
      {"PROXY UDP4 10.1.2.3 192.0.2.1 5432 443\r\n", family},
      {"PROXY UNKNOWNS\r\n", family},
      {"PROXY \r\n", family},
      {"PROXY TCP4 10.1.2.3 192.0.2.1 5432 443\rG", no_end},
      {"PROXY TCP4 10.1.2.3 192.0.2.1 5432 443\n" + std::string(80, ' '), too_long},
      {"PROXY UNKNOWN " + std::string(91, 'x') + "\r\n", "107"},
      {"PROXY UNKNOWN " + std::string(92, 'x') + "\r\n", no_end},
      {"PROXY UNKNOWN " + std::string(93, 'x'), too_long},
  };
  for (const Case& one : cases) EXPECT_EQ(read(one.bytes), one.meaning) << one.bytes;
}

TEST(ProxyProtocol, Version2SaysWhoTheClientIs) {
  const std::string v4 = "10.1.2.3:5432 to 192.0.2.1:443";
  const Case cases[] = {
      {v2(0x21, 0x11, v4_ends), "28 " + v4},
      {v2(0x21, 0x21, v6_ends), "52 [2001:db8::7]:5432 to [::1]:443"},
      {v2(0x21, 0x21, mapped_ends), "52 " + v4},
      {v2(0x21, 0x11, v4_ends) + "GET", "28 " + v4},
      {v2(0x21, 0x11, v4_ends + tlv(1, "h2") + tlv(2, "shop.example") + tlv(4, "pad")),
       "54 " + v4 + " alpn h2 authority shop.example"},
      {v2(0x21, 0x11, v4_ends + tlv(4, "") + tlv(0xea, std::string(300, 'x')) + tlv(0x20, "\1\0\0\0\0")), "338 " + v4},
      {withSum(v2(0x21, 0x11, v4_ends + tlv(3, std::string(4, '\0'))), 31), "35 " + v4},
      {withSum(v2(0x21, 0x11, v4_ends + tlv(1, "h2") + tlv(3, std::string(4, '\0')) + tlv(4, "x")), 36),
       "44 " + v4 + " alpn h2"},
      {v2(0x21, 0x11, v4_ends + tlv(4, std::string(4065, 'x'))), "4096 " + v4},
  };
  for (const Case& one : cases) EXPECT_EQ(read(one.bytes), one.meaning);
}

TEST(ProxyProtocol, TheAddressesOfTheSocketHoldWhereVersion2NamesNoClientOfTcp) {
  const Case cases[] = {
      {v2(0x20, 0x00, ""), "16"},
      // The content of LOCAL means nothing, whatever it says.
      {v2(0x20, 0x11, v4_ends), "28"},
      {v2(0x20, 0xff, "x"), "17"},
      {v2(0x20, 0x11, v4_ends + tlv(3, "sum!")), "35"},
      {v2(0x21, 0x00, ""), "16"},
      {v2(0x21, 0x00, tlv(1, "h2")), "21 alpn h2"},
      {v2(0x21, 0x10, v4_ends), "28"},  // an unspecified transport
      {v2(0x21, 0x12, v4_ends), "28"},  // UDP
      {v2(0x21, 0x22, v6_ends), "52"},
      {v2(0x21, 0x31, std::string(216, 'x')), "232"},  // unix
      {v2(0x21, 0x32, std::string(216, 'x')), "232"},
  };
  for (const Case& one : cases) EXPECT_EQ(read(one.bytes), one.meaning);
}

TEST(ProxyProtocol, Version2IsRefusedForAnySlip) {
  const std::string no_room = "a PROXY header has no room for its addresses";
  const std::string cut = "a TLV of a PROXY header is cut off";
  const std::string too_long = "a TLV of a PROXY header is longer than the header";
  const std::string name = "a name in a PROXY header is empty or longer than 255 bytes";
  const std::string unknown = "a PROXY header with an unknown family or transport";
  const std::string twice = "a TLV of a PROXY header comes twice";
  const Case cases[] = {
      {v2(0x11, 0x11, v4_ends), "a PROXY header of an unknown version"},
      {v2(0x31, 0x11, v4_ends), "a PROXY header of an unknown version"},
      {v2(0x22, 0x11, v4_ends), "a PROXY header with an unknown command"},
      {v2(0x21, 0x13, v4_ends), unknown},
      {v2(0x21, 0x41, v4_ends), unknown},
      {v2(0x21, 0x11, v4_ends.substr(1)), no_room},
      {v2(0x21, 0x21, v4_ends), no_room},
      {v2(0x21, 0x31, v6_ends), no_room},
      {v2(0x21, 0x11, v4_ends + "\1"), cut},
      {v2(0x21, 0x11, v4_ends + "\4\0"), cut},
      {v2(0x21, 0x11, v4_ends + tlv(4, "") + std::string("\4\0\1", 3)), too_long},
      {v2(0x21, 0x11, v4_ends + std::string("\4\xff\xff", 3)), too_long},
      {v2(0x21, 0x12, v4_ends + std::string("\4\xff\xff", 3)), too_long},
      {v2(0x21, 0x11, v4_ends + tlv(1, "")), name},
      {v2(0x21, 0x11, v4_ends + tlv(2, std::string(256, 'x'))), name},
      {v2(0x21, 0x11, v4_ends + tlv(1, "h2") + tlv(1, "h2")), twice},
      {v2(0x21, 0x11, v4_ends + tlv(2, "a") + tlv(2, "b")), twice},
      {v2(0x21, 0x11, v4_ends + tlv(3, "sum")), "the CRC-32C of a PROXY header is not 4 bytes long"},
      {v2(0x21, 0x11, v4_ends + tlv(3, "sum!")), "the CRC-32C of a PROXY header is wrong"},
      {withSum(v2(0x21, 0x11, v4_ends + tlv(3, std::string(4, '\0'))), 31).replace(16, 1, "\x0b"),
       "the CRC-32C of a PROXY header is wrong"},
      {v2(0x21, 0x11, v4_ends + tlv(4, std::string(4066, 'x'))), "a PROXY header is longer than 4096 bytes"},
  };
  for (const Case& one : cases) EXPECT_EQ(read(one.bytes), one.meaning);
}

TEST(ProxyProtocol, EachBeginningOfAHeaderNeedsMoreAndAnyOtherIsRefusedAtOnce) {
  const std::string headers[] = {"PROXY TCP4 10.1.2.3 192.0.2.1 5432 443\r\n", v2(0x21, 0x11, v4_ends + tlv(1, "h2")),
                                 v2(0x20, 0x00, "")};
  for (const std::string& header : headers) {
    for (size_t size = 0; size < header.size(); ++size) EXPECT_EQ(read(header.substr(0, size)), "more") << size;
    EXPECT_NE(read(header), "more");
  }
  const std::string none = "the connection does not begin with a PROXY header";
  const std::string others[] = {"G",      "GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "PROXX",
                                "proxy ", "\x16\x03\x01",       "\r\n\r\n\r"};
  for (const std::string& other : others) EXPECT_EQ(read(other), none) << other;
  // Nobody is waited for who has already gone wrong.
  EXPECT_EQ(read(v2(0x51, 0x11, v4_ends).substr(0, 13)), "a PROXY header of an unknown version");
  EXPECT_EQ(read(v2(0x21, 0x51, v4_ends).substr(0, 14)), "a PROXY header with an unknown family or transport");
  EXPECT_EQ(read(v2(0x21, 0x11, std::string(5000, 'x')).substr(0, 16)), "a PROXY header is longer than 4096 bytes");
}

// RFC 3720 §B.4.
TEST(ProxyProtocol, TheSumIsThatOfIscsi) {
  EXPECT_EQ(crc32c(asBytes(std::string(32, '\0'))), 0x8a9136aau);
  EXPECT_EQ(crc32c(asBytes(std::string(32, '\xff'))), 0x62a8ab43u);
  EXPECT_EQ(crc32c(asBytes("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c(asBytes("6789"), crc32c(asBytes("12345"))), 0xe3069283u);
}

}  // namespace
}  // namespace plait::net
