// The client of a request, as far as shares and counts go: numbers that two requests have in common exactly when they
// come from one client. An address is IPv4's 32 bits or IPv6's first 64, since a site has at least a /64 (RFC 6177).
#pragma once

#include <cstdint>
#include <cstring>

namespace plait {

struct ClientKey {
  uint64_t address = 0;     // 0: not known
  uint64_t connection = 0;  // different for each connection of a worker

  bool operator==(const ClientKey&) const = default;

  // Of an IPv6 address, or an IPv4 address as mapped (RFC 4291 §2.5.5.2); never 0.
  static uint64_t ofBytes(const uint8_t address[16]) {
    static constexpr uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    uint64_t number = 0;
    if (std::memcmp(address, mapped, sizeof(mapped)) == 0) {
      uint32_t v4 = 0;
      std::memcpy(&v4, address + 12, sizeof(v4));
      return uint64_t{0xffff} << 32 | v4;
    }
    std::memcpy(&number, address, sizeof(number));
    // ::1 and its like, whose first half says nothing.
    if (number == 0) std::memcpy(&number, address + 8, sizeof(number));
    return number == 0 ? 1 : number;
  }
};

// A request's claim on an endpoint's streams: whose share it takes, and whether it will soon give it back, as far as
// its head tells (no body, or a short one).
struct Claim {
  ClientKey client;
  bool is_small = false;
};

}  // namespace plait
