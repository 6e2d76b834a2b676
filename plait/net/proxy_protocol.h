// The PROXY protocol, versions 1 and 2: what a balancer says in front of a connection about the client that it speaks
// for (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt). Pure: bytes in, a header or a mistake out.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string_view>

#include "plait/base/bytes.h"
#include "plait/base/error.h"

namespace plait::net {

struct ProxyHeader {
  size_t size = 0;  // in bytes: what follows is the client's
  // False where the header names nobody, so that the addresses of the socket hold: the balancer speaks for itself
  // (LOCAL), or its client has no address of IP (UNKNOWN, AF_UNSPEC, AF_UNIX), or speaks no TCP (SOCK_DGRAM).
  bool has_addresses = false;
  // The client, and what it connected to. IPv4-mapped addresses have become IPv4.
  sockaddr_storage source{};
  sockaddr_storage destination{};
  // Of version 2, where the balancer ended the client's TLS; empty where it said nothing. Views of the header.
  std::string_view alpn;
  std::string_view authority;  // the name that the client asked for (SNI): UTF-8, and nothing is promised beyond that
};

// Of version 1, CRLF included (§2.1), and of version 2 with all its TLVs. A header that says it is longer is a mistake.
inline constexpr size_t max_proxy_header_v1 = 107;
inline constexpr size_t max_proxy_header = 4096;

// The header that `bytes` begin with; nothing where more of them are needed to tell, of which there are
// max_proxy_header at the most. The error is of code protocol_error and reaches the connection.
//
// Everything that version 2's lengths bound is looked at, but for LOCAL, whose content means nothing (§2.2). A TLV of
// CRC-32C is verified; TLVs that are not known are passed over; one that is known and comes twice is a mistake.
Result<std::optional<ProxyHeader>> readProxyHeader(Bytes bytes);

// Of CRC-32C (RFC 3720 §12.1), as in TLVs.
uint32_t crc32c(Bytes bytes, uint32_t crc = 0);

}  // namespace plait::net
