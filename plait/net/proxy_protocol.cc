#include "plait/net/proxy_protocol.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "plait/net/address.h"

namespace plait::net {
namespace {

using Read = Result<std::optional<ProxyHeader>>;

constexpr std::string_view signature_v1 = "PROXY ";
constexpr std::string_view signature_v2("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr size_t head_v2 = 16;  // signature, version and command, family and transport, length

auto mistake(const char* why) {
  return fail(connectionError(ErrorCode::protocol_error, why).as(Fault::proxy_header));
}

// -- version 1

// Takes the text up to the next space, and that space, off the front.
std::string_view word(std::string_view& line) {
  const size_t end = std::min(line.find(' '), line.size());
  const std::string_view found = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return found;
}

bool parsePort(std::string_view text, uint16_t& port) {
  if (text.empty() || (text.size() > 1 && text.front() == '0')) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size();
}

bool parseEnd(int family, std::string_view host, std::string_view port_text, sockaddr_storage& out) {
  char terminated[INET6_ADDRSTRLEN];
  uint16_t port = 0;
  if (host.size() >= sizeof(terminated) || !parsePort(port_text, port)) return false;
  std::memcpy(terminated, host.data(), host.size());
  terminated[host.size()] = '\0';
  void* const binary = family == AF_INET ? static_cast<void*>(&reinterpret_cast<sockaddr_in&>(out).sin_addr)
                                         : &reinterpret_cast<sockaddr_in6&>(out).sin6_addr;
  if (::inet_pton(family, terminated, binary) != 1) return false;
  out.ss_family = static_cast<sa_family_t>(family);
  setPort(out, port);
  unmapV4(out);
  return true;
}

Read readVersion1(std::string_view text) {
  const size_t end = text.substr(0, max_proxy_header_v1).find('\r');
  if (end == text.npos || end + 1 == text.size()) {
    if (text.size() >= max_proxy_header_v1) return mistake("a PROXY header of version 1 is longer than 107 bytes");
    return std::nullopt;
  }
  if (end + 2 > max_proxy_header_v1 || text[end + 1] != '\n')
    return mistake("a PROXY header of version 1 does not end with CRLF");
  ProxyHeader header;
  header.size = end + 2;
  std::string_view line = text.substr(0, end);
  line.remove_prefix(signature_v1.size());
  const std::string_view family = word(line);
  // What else such a line says counts for nothing (§2.1).
  if (family == "UNKNOWN") return header;
  if (family != "TCP4" && family != "TCP6") return mistake("a PROXY header names neither TCP4, TCP6 nor UNKNOWN");
  const std::string_view source = word(line);
  const std::string_view destination = word(line);
  const std::string_view source_port = word(line);
  const int number = family == "TCP4" ? AF_INET : AF_INET6;
  // The rest of the line is the last word, which no space may follow.
  if (!parseEnd(number, source, source_port, header.source) || !parseEnd(number, destination, line, header.destination))
    return mistake("a PROXY header of version 1 has no valid addresses and ports");
  header.has_addresses = true;
  return header;
}

// -- version 2

enum Tlv : uint8_t { tlv_alpn = 0x01, tlv_authority = 0x02, tlv_crc32c = 0x03 };
constexpr size_t tlv_head = 3;

enum Family : uint8_t { unspecified, inet, inet6, local };
constexpr size_t address_bytes[] = {0, 12, 36, 216};

void readAddresses(Bytes bytes, Family family, ProxyHeader& header) {
  const size_t size = family == inet ? 4 : 16;
  const auto readEnd = [&](size_t address, size_t port, sockaddr_storage& out) {
    if (family == inet) {
      auto& v4 = reinterpret_cast<sockaddr_in&>(out);
      v4.sin_family = AF_INET;
      std::memcpy(&v4.sin_addr, bytes.data() + address, size);
    } else {
      auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
      v6.sin6_family = AF_INET6;
      std::memcpy(&v6.sin6_addr, bytes.data() + address, size);
    }
    setPort(out, static_cast<uint16_t>(bytes[port] << 8 | bytes[port + 1]));
    unmapV4(out);
  };
  readEnd(0, 2 * size, header.source);
  readEnd(size, 2 * size + 2, header.destination);
  header.has_addresses = true;
}

// Of the whole header with zeroes in place of the sum itself (§2.2.5).
bool isSumRight(Bytes whole, Bytes sum) {
  static constexpr uint8_t zeroes[4] = {};
  const auto before = static_cast<size_t>(sum.data() - whole.data());
  uint32_t crc = crc32c(whole.first(before));
  crc = crc32c(zeroes, crc);
  crc = crc32c(whole.subspan(before + sizeof(zeroes)), crc);
  return crc == (uint32_t{sum[0]} << 24 | uint32_t{sum[1]} << 16 | uint32_t{sum[2]} << 8 | sum[3]);
}

// Null, or what is wrong with them.
const char* readTlvs(Bytes whole, Bytes tlvs, ProxyHeader& header) {
  uint32_t seen = 0;
  while (!tlvs.empty()) {
    if (tlvs.size() < tlv_head) return "a TLV of a PROXY header is cut off";
    const uint8_t type = tlvs[0];
    const size_t length = size_t{tlvs[1]} << 8 | tlvs[2];
    if (length > tlvs.size() - tlv_head) return "a TLV of a PROXY header is longer than the header";
    const Bytes value = tlvs.subspan(tlv_head, length);
    tlvs = tlvs.subspan(tlv_head + length);
    if (type < tlv_alpn || type > tlv_crc32c) continue;
    if ((seen & 1u << type) != 0) return "a TLV of a PROXY header comes twice";
    seen |= 1u << type;
    if (type == tlv_crc32c) {
      if (length != 4) return "the CRC-32C of a PROXY header is not 4 bytes long";
      if (!isSumRight(whole, value)) return "the CRC-32C of a PROXY header is wrong";
    } else {
      if (length == 0 || length > 255) return "a name in a PROXY header is empty or longer than 255 bytes";
      (type == tlv_alpn ? header.alpn : header.authority) = asText(value);
    }
  }
  return nullptr;
}

Read readVersion2(Bytes bytes) {
  // Each byte is looked at as soon as it is there, so that nobody is waited for in vain.
  if (bytes.size() > 12 && bytes[12] >> 4 != 2) return mistake("a PROXY header of an unknown version");
  const bool is_local = bytes.size() > 12 && (bytes[12] & 0xf) == 0;
  if (bytes.size() > 12 && (bytes[12] & 0xf) > 1) return mistake("a PROXY header with an unknown command");
  if (bytes.size() > 13 && !is_local && (bytes[13] >> 4 > local || (bytes[13] & 0xf) > 2))
    return mistake("a PROXY header with an unknown family or transport");
  if (bytes.size() < head_v2) return std::nullopt;
  ProxyHeader header;
  header.size = head_v2 + (size_t{bytes[14]} << 8 | bytes[15]);
  if (header.size > max_proxy_header) return mistake("a PROXY header is longer than 4096 bytes");
  const auto family = static_cast<Family>(bytes[13] >> 4);
  const bool is_stream = (bytes[13] & 0xf) == 1;
  if (!is_local && header.size < head_v2 + address_bytes[family])
    return mistake("a PROXY header has no room for its addresses");
  if (bytes.size() < header.size) return std::nullopt;
  if (is_local) return header;
  const Bytes whole = bytes.first(header.size);
  const Bytes rest = whole.subspan(head_v2);
  if (is_stream && (family == inet || family == inet6)) readAddresses(rest, family, header);
  if (const char* const wrong = readTlvs(whole, rest.subspan(address_bytes[family]), header); wrong != nullptr)
    return mistake(wrong);
  return header;
}

constexpr std::array<uint32_t, 256> crc_table = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    table[i] = crc;
  }
  return table;
}();

}  // namespace

uint32_t crc32c(Bytes bytes, uint32_t crc) {
  crc = ~crc;
  for (const uint8_t byte : bytes) crc = crc_table[(crc ^ byte) & 0xff] ^ crc >> 8;
  return ~crc;
}

Result<std::optional<ProxyHeader>> readProxyHeader(Bytes bytes) {
  const std::string_view text = asText(bytes);
  const auto begins = [&](std::string_view with) {
    return text.substr(0, with.size()) == with.substr(0, std::min(text.size(), with.size()));
  };
  if (begins(signature_v1)) return text.size() < signature_v1.size() ? Read(std::nullopt) : readVersion1(text);
  if (begins(signature_v2)) return text.size() < signature_v2.size() ? Read(std::nullopt) : readVersion2(bytes);
  return mistake("the connection does not begin with a PROXY header");
}

}  // namespace plait::net
