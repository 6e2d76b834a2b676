#include "plait/net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

#include <charconv>
#include <cstring>

#include "plait/base/text_writer.h"

namespace plait {
namespace {

const sockaddr_in& v4(const sockaddr_storage& address) {
  return reinterpret_cast<const sockaddr_in&>(address);
}
const sockaddr_in6& v6(const sockaddr_storage& address) {
  return reinterpret_cast<const sockaddr_in6&>(address);
}

std::optional<uint16_t> parsePort(std::string_view text) {
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc() || stop != end) return std::nullopt;
  return port;
}

// Copies `text` with a terminator, which the C library insists on; false where it does not fit.
template <size_t Size>
bool terminate(std::string_view text, char (&buffer)[Size]) {
  if (text.size() >= Size || text.find('\0') != text.npos) return false;
  if (!text.empty()) std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  return true;
}

std::string_view format(const sockaddr_storage& address, std::span<char> buffer, bool with_port) {
  char host[INET6_ADDRSTRLEN];
  TextWriter out(buffer);
  if (address.ss_family == AF_INET) {
    ::inet_ntop(AF_INET, &v4(address).sin_addr, host, sizeof(host));
    out.put(host);
  } else if (address.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6(address).sin6_addr)) {
    ::inet_ntop(AF_INET, v6(address).sin6_addr.s6_addr + 12, host, sizeof(host));
    out.put(host);
  } else if (address.ss_family == AF_INET6) {
    ::inet_ntop(AF_INET6, &v6(address).sin6_addr, host, sizeof(host));
    if (with_port) out.put("[");
    out.put(host);
    if (v6(address).sin6_scope_id != 0) {
      // The zone's number and not its name: a name takes a system call, and an interface may be gone by now.
      out.put("%");
      out.put(v6(address).sin6_scope_id);
    }
    if (with_port) out.put("]");
  } else {
    return {};
  }
  if (with_port) {
    out.put(":");
    out.put(uint32_t{portOf(address)});
  }
  return out.text();
}

}  // namespace

std::optional<HostPort> splitHostPort(std::string_view text) {
  if (text.empty()) return std::nullopt;
  HostPort result;
  std::string_view rest;
  if (text.front() == '[') {
    const size_t close = text.find(']');
    if (close == text.npos || close == 1) return std::nullopt;
    result.host = text.substr(1, close - 1);
    // Brackets are an IPv6 address's alone (RFC 3986 §3.2.2): without them the same text would be another host and
    // port.
    if (result.host.find(':') == result.host.npos) return std::nullopt;
    rest = text.substr(close + 1);
    if (rest.empty()) return result;
    if (rest.front() != ':') return std::nullopt;
  } else {
    const size_t colon = text.find(':');
    if (colon == text.npos || text.find(':', colon + 1) != text.npos) {
      result.host = text;
      return result;
    }
    result.host = text.substr(0, colon);
    rest = text.substr(colon);
  }
  result.port = parsePort(rest.substr(1));
  if (!result.port) return std::nullopt;
  return result;
}

std::optional<sockaddr_storage> parseLiteral(std::string_view host, uint16_t port) {
  sockaddr_storage address{};
  char text[INET6_ADDRSTRLEN];
  if (!terminate(host.substr(0, host.find('%')), text)) return std::nullopt;
  const bool has_zone = host.find('%') != host.npos;
  auto& as_v4 = reinterpret_cast<sockaddr_in&>(address);
  auto& as_v6 = reinterpret_cast<sockaddr_in6&>(address);
  if (!has_zone && ::inet_pton(AF_INET, text, &as_v4.sin_addr) == 1) {
    as_v4.sin_family = AF_INET;
  } else if (::inet_pton(AF_INET6, text, &as_v6.sin6_addr) == 1) {
    as_v6.sin6_family = AF_INET6;
    if (has_zone) {
      const std::string_view zone = host.substr(host.find('%') + 1);
      char name[IF_NAMESIZE];
      if (zone.empty() || !terminate(zone, name)) return std::nullopt;
      uint32_t number = ::if_nametoindex(name);
      if (number == 0) {
        const auto [stop, error] = std::from_chars(zone.data(), zone.data() + zone.size(), number);
        if (error != std::errc() || stop != zone.data() + zone.size() || number == 0) return std::nullopt;
      }
      as_v6.sin6_scope_id = number;
    }
  } else {
    return std::nullopt;
  }
  setPort(address, port);
  return address;
}

std::optional<sockaddr_storage> parseAddress(std::string_view text, uint16_t default_port) {
  const auto parts = splitHostPort(text);
  if (!parts) return std::nullopt;
  return parseLiteral(parts->host, parts->port.value_or(default_port));
}

void unmapV4(sockaddr_storage& address) {
  if (address.ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6(address).sin6_addr)) return;
  sockaddr_in unmapped{.sin_family = AF_INET, .sin_port = v6(address).sin6_port, .sin_addr = {}, .sin_zero = {}};
  std::memcpy(&unmapped.sin_addr, v6(address).sin6_addr.s6_addr + 12, sizeof(unmapped.sin_addr));
  address = {};
  std::memcpy(&address, &unmapped, sizeof(unmapped));
}

std::string_view unmapV4(std::string_view host) {
  sockaddr_storage binary{};
  char text[INET6_ADDRSTRLEN];
  auto& as_v6 = reinterpret_cast<sockaddr_in6&>(binary);
  const size_t last_colon = host.rfind(':');
  // Only an address whose end is written as IPv4 has the text of one in it.
  if (last_colon == host.npos || host.find('.', last_colon) == host.npos || !terminate(host, text)) return host;
  if (::inet_pton(AF_INET6, text, &as_v6.sin6_addr) != 1 || !IN6_IS_ADDR_V4MAPPED(&as_v6.sin6_addr)) return host;
  return host.substr(last_colon + 1);
}

uint16_t portOf(const sockaddr_storage& address) {
  return ntohs(address.ss_family == AF_INET6 ? v6(address).sin6_port : v4(address).sin_port);
}

void setPort(sockaddr_storage& address, uint16_t port) {
  if (address.ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6&>(address).sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in&>(address).sin_port = htons(port);
  }
}

std::string_view formatAddress(const sockaddr_storage& address, std::span<char> buffer) {
  return format(address, buffer, true);
}

std::string_view formatHost(const sockaddr_storage& address, std::span<char> buffer) {
  return format(address, buffer, false);
}

}  // namespace plait
