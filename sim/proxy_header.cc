#include "sim/proxy_header.h"

#include <cstdio>

namespace plait::sim {
namespace {

// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, §2.2.
constexpr std::string_view signature("\r\n\r\n\0\r\nQUIT\n", 12);
enum Command : uint8_t { local = 0x20, proxy = 0x21 };
enum Family : uint8_t { unspecified = 0x00, tcp4 = 0x11, tcp6 = 0x21 };
enum Tlv : uint8_t { alpn = 1, authority = 2, crc32c = 3, noop = 4 };

std::string number16(size_t number) {
  return {static_cast<char>(number >> 8), static_cast<char>(number & 0xff)};
}
std::string number32(uint32_t number) {
  return number16(number >> 16) + number16(number & 0xffff);
}

std::string tlv(Tlv type, std::string_view value) {
  return static_cast<char>(type) + number16(value.size()) + std::string(value);
}

// RFC 3720 §12.1, bit by bit.
uint32_t crcOf(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

std::string version2(Simulation& sim, Command command, Family family, const std::string& addresses) {
  std::string tlvs;
  if (sim.oneIn(2)) tlvs += tlv(authority, "proxy.example.test");
  if (sim.oneIn(3)) tlvs += tlv(alpn, "http/1.1");
  if (sim.oneIn(3)) tlvs += tlv(noop, std::string(sim.below(300), '\0'));
  const bool has_sum = sim.oneIn(2);
  if (has_sum) tlvs += tlv(crc32c, std::string(4, '\0'));
  std::string header(signature);
  header += {static_cast<char>(command), static_cast<char>(family)};
  header += number16(addresses.size() + tlvs.size()) + addresses + tlvs;
  if (has_sum) header.replace(header.size() - 4, 4, number32(crcOf(header)));
  return header;
}

}  // namespace

std::string textOfHost(uint32_t host) {
  char text[16];
  std::snprintf(text, sizeof(text), "%u.%u.%u.%u", host >> 24, host >> 16 & 0xff, host >> 8 & 0xff, host & 0xff);
  return text;
}

ProxyWords proxyWords(Simulation& sim, uint32_t host, uint16_t port, uint32_t balancer) {
  constexpr uint32_t asked = 0x0a0100ff;
  const std::string ports = number16(port) + number16(443);
  const std::string client = textOfHost(host);
  const std::string nobodys = textOfHost(balancer);
  switch (sim.below(6)) {
    case 0:
      return {"PROXY TCP4 " + client + " " + textOfHost(asked) + " " + std::to_string(port) + " 443\r\n", client};
    case 1:
      return {sim.oneIn(2) ? "PROXY UNKNOWN\r\n" : "PROXY UNKNOWN ::1 ::1 1 2\r\n", nobodys};
    case 2:
      return {version2(sim, proxy, tcp4, number32(host) + number32(asked) + ports), client};
    case 3: {
      const std::string network("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\1", 14);
      char text[32];
      std::snprintf(text, sizeof(text), "2001:db8::1:%x", host & 0xffff);
      return {version2(sim, proxy, tcp6, network + number16(host & 0xffff) + network + number16(1) + ports), text};
    }
    case 4: {
      const std::string mapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
      return {version2(sim, proxy, tcp6, mapped + number32(host) + mapped + number32(asked) + ports), client};
    }
    default:
      return {version2(sim, local, sim.oneIn(2) ? unspecified : tcp4, std::string(sim.oneIn(2) ? 0 : 12, '\0')),
              nobodys};
  }
}

}  // namespace plait::sim
