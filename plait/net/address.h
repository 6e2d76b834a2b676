// Socket addresses as text and back, without allocation: logs and Forwarded fields are written on the request path.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace plait {

// "host:port" taken apart. The views point into the text that was given.
struct HostPort {
  std::string_view host;         // without brackets; a name or an address literal, empty where the text had only a port
  std::optional<uint16_t> port;  // absent where the text had none
};

// Takes "name", "name:80", "192.0.2.1:80", "[2001:db8::1]:80", "[2001:db8::1]", "2001:db8::1" or ":80" apart. Text with
// more than one colon and no brackets is an IPv6 address without a port. Nothing is returned for a port that is no
// number below 65536, for brackets that do not close or have no colon between them, and for empty text; otherwise the
// host itself is not looked at.
std::optional<HostPort> splitHostPort(std::string_view text);

// An IPv4 or IPv6 address literal without brackets, an IPv6 zone ("fe80::1%eth0") included; nothing for a name.
std::optional<sockaddr_storage> parseLiteral(std::string_view host, uint16_t port);
// As splitHostPort, for text whose host is a literal; `default_port` where the text names none.
std::optional<sockaddr_storage> parseAddress(std::string_view text, uint16_t default_port = 0);

// An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) becomes the IPv4 address that it stands for.
void unmapV4(sockaddr_storage& address);
// The same for text without brackets and port; other text is left as it is.
std::string_view unmapV4(std::string_view host);

uint16_t portOf(const sockaddr_storage& address);
void setPort(sockaddr_storage& address, uint16_t port);

// Room for any text below: brackets, an IPv6 address with its zone, a colon and a port.
inline constexpr size_t address_text_size = 80;

// "192.0.2.1:80" or "[2001:db8::1]:80". An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) is written as the IPv4 address
// that it stands for. The view points into `buffer`; it is empty for another family, or where `buffer` is too small.
std::string_view formatAddress(const sockaddr_storage& address, std::span<char> buffer);
// The same without port and brackets.
std::string_view formatHost(const sockaddr_storage& address, std::span<char> buffer);

}  // namespace plait
