#include "plait/net/trusted_proxies.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>

#include "plait/base/client_key.h"

namespace plait {
namespace {

std::string quoted(std::string_view text) {
  return '"' + std::string(text) + '"';
}

}  // namespace

bool TrustedProxies::parse(std::string_view text, Binary& out, bool& is_v4) {
  char terminated[INET6_ADDRSTRLEN];
  // A zone says on which link an address is, not which address it is.
  const std::string_view address = text.substr(0, text.find('%'));
  if (address.size() >= sizeof(terminated)) return false;
  std::memcpy(terminated, address.data(), address.size());
  terminated[address.size()] = '\0';
  out = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0};
  is_v4 = ::inet_pton(AF_INET, terminated, out.data() + 12) == 1;
  return is_v4 || ::inet_pton(AF_INET6, terminated, out.data()) == 1;
}

std::string TrustedProxies::add(std::string_view text) {
  const size_t slash = text.find('/');
  Network network{};
  bool is_v4 = false;
  if (!parse(text.substr(0, slash), network.address, is_v4)) {
    return quoted(text) + " is no address or network, as in 10.0.0.0/8 or ::1";
  }
  network.prefix = is_v4 ? 32 : 128;
  if (slash != text.npos) {
    uint32_t prefix = 0;
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
    if (error != std::errc() || end != digits.data() + digits.size() || prefix > network.prefix) {
      return quoted(text) + ": the prefix is no number from 0 to " + std::to_string(network.prefix);
    }
    network.prefix = prefix;
  }
  if (is_v4) network.prefix += 96;
  // Bits behind the prefix are more likely a slip of the pen than meant to be ignored.
  Binary masked = network.address;
  for (uint32_t bit = network.prefix; bit < 128; ++bit) masked[bit / 8] &= static_cast<uint8_t>(~(0x80u >> (bit % 8)));
  if (masked != network.address) return quoted(text) + " has bits set behind its prefix";
  networks_.push_back(network);
  text_ += text;
  text_ += ' ';
  return {};
}

bool TrustedProxies::contains(std::string_view text) const {
  Binary address;
  bool is_v4 = false;
  if (networks_.empty() || !parse(text, address, is_v4)) return false;
  for (const Network& network : networks_) {
    const uint32_t bytes = network.prefix / 8;
    if (std::memcmp(address.data(), network.address.data(), bytes) != 0) continue;
    const auto mask = static_cast<uint8_t>(0xff00u >> (network.prefix % 8));
    if (bytes == 16 || ((address[bytes] ^ network.address[bytes]) & mask) == 0) return true;
  }
  return false;
}

uint64_t TrustedProxies::numberOf(std::string_view text) {
  Binary address;
  bool is_v4 = false;
  if (!parse(text, address, is_v4)) return 0;
  return ClientKey::ofBytes(address.data());
}

}  // namespace plait
