// TrustedProxies: the peers that are proxies of ours, whose word about a client is taken, in forwarded fields or in a
// PROXY header: networks in CIDR notation (RFC 4632, RFC 4291 §2.3).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace plait {

class TrustedProxies {
 public:
  // "10.0.0.0/8", "2001:db8::/32", or one address. Empty on success, else a phrase for the operator.
  std::string add(std::string_view network);
  // Whether a numeric address without brackets lies in one of the networks. An IPv4-mapped IPv6 address counts as the
  // IPv4 address that it stands for. Allocates nothing.
  bool contains(std::string_view address) const;
  bool empty() const { return networks_.empty(); }
  // The networks as they were added, for comparing.
  const std::string& text() const { return text_; }
  // The number by which clients are told apart (ClientKey::address); 0 where `address` is no address.
  static uint64_t numberOf(std::string_view address);

 private:
  // IPv4 as mapped IPv6 (RFC 4291 §2.5.5.2), so that one comparison serves both families.
  using Binary = std::array<uint8_t, 16>;
  struct Network {
    Binary address;
    uint32_t prefix;
  };
  static bool parse(std::string_view text, Binary& out, bool& is_v4);
  std::vector<Network> networks_;
  std::string text_;
};

}  // namespace plait
