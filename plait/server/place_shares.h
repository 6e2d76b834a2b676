// PlaceShares: who may have one of the last places for clients, by address (AddressShares), and the line of those whose
// address holds its share.
#pragma once

#include <algorithm>

#include "plait/base/address_shares.h"
#include "plait/base/ring.h"
#include "plait/runtime/loop_limits.h"
#include "plait/server/listener.h"

namespace plait {

class PlaceShares {
 public:
  // A client waits here for a connection of its address to end, and holds a descriptor meanwhile: as many may as a
  // listen queue has, but no more than four for each place.
  static constexpr uint32_t mostWaiting(const LoopLimits& limits) {
    return std::min(4 * std::min(limits.client_connections, 1024u), 4096u);
  }

  PlaceShares(const LoopLimits& limits, uint64_t seed)
      : limits_(limits), shares_(limits.client_connections, seed), line_(mostWaiting(limits)) {}

  // Of an address, as in ClientKey; 0 speaks for many clients, and has no share. `left` places are free.
  bool mayTake(uint64_t address, size_t left) const {
    // Where descriptors are short nobody can wait here. As long as all clients are at one address, the listen queue of
    // the kernel is their line.
    if (limits_.accepts_one_by_one && shares_.addresses() <= 1) return true;
    return address == 0 || shares_.mayTake(address, limits_.client_connections, left);
  }
  // Whether a client that may not take a place yet may wait for one.
  bool mayWait() const { return line_.size() < mostWaiting(limits_) && !limits_.accepts_one_by_one; }
  bool isAbove(uint64_t address) const { return address != 0 && shares_.isAbove(address, limits_.client_connections); }
  uint64_t seed() const { return shares_.seed(); }
  bool hasSeveral() const { return shares_.addresses() > 1; }
  void add(uint64_t address) {
    if (address != 0) shares_.add(address);
  }
  void remove(uint64_t address) {
    if (address != 0) shares_.remove(address);
  }

  void push(const AcceptedClient& client) { line_.push(client); }
  AcceptedClient pop() { return line_.pop(); }
  size_t waiting() const { return line_.size(); }

  static size_t bytesFor(const LoopLimits& limits) {
    return AddressShares::bytesFor(limits.client_connections) + mostWaiting(limits) * sizeof(AcceptedClient);
  }
  size_t reservedBytes() const { return shares_.reservedBytes() + mostWaiting(limits_) * sizeof(AcceptedClient); }
  void prefault() { shares_.prefault(); }

 private:
  const LoopLimits& limits_;
  AddressShares shares_;
  Ring<AcceptedClient> line_;
};

}  // namespace plait
