// AddressShares: how much of something each client's address holds, and who may have what is left of it.
//
//   left of `limit`           for
//   above an eighth           everybody
//   up to an eighth           addresses that hold less than their share: an equal part of all
//   up to a sixty-fourth      not for an address that holds all the rest
//
// Nothing is counted while an eighth is free: then everybody has room.
#pragma once

#include "plait/base/client_key.h"
#include "plait/base/keyed_table.h"

namespace plait {

class AddressShares {
 public:
  // Room for as many holders, each at another address. `seed` keys the table.
  AddressShares(size_t holders, uint64_t seed) : seed_(seed | 1), table_(holders) {}

  // Addresses as in ClientKey, never 0.
  void add(uint64_t address);
  void remove(uint64_t address);
  bool mayTake(uint64_t address, size_t limit, size_t left) const;
  // Holds more than its share while others hold some, so that it is the first to give way.
  bool isAbove(uint64_t address, size_t limit) const;
  size_t addresses() const { return table_.used(); }
  // For another table of the same owner.
  uint64_t seed() const { return seed_; }

  static size_t bytesFor(size_t holders) { return KeyedTable<Entry>::bytesFor(holders); }
  size_t reservedBytes() const { return table_.reservedBytes(); }
  void prefault() { table_.prefault(); }

 private:
  struct Entry {
    uint64_t key;
    uint64_t held;
  };
  uint64_t keyOf(uint64_t address) const { return keyed(address, 0, seed_); }

  uint64_t seed_;
  KeyedTable<Entry> table_;
};

}  // namespace plait
