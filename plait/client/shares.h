// ShareTable: how many streams of an endpoint each client holds, by address and within it by connection, and which
// requests may have one of the last eighth. Nothing is counted while an endpoint is less than three quarters full: then
// everybody has room.
//
//   left of 1,024 streams   for
//   above 128               everybody
//   65 to 128               clients below their share, and below an eighth of what is left; one may always be held
//   33 to 64                clients that hold at most one
//   1 to 32                 small requests of such clients
//   1 to 16                 of those, clients at another address, where one address holds all the rest
//
// An endpoint of fewer than eight streams keeps none.
//
// A client is an address, or a connection where one address has all. A share is an equal part of the rest of the
// streams, with one part more than there are clients.
#pragma once

#include "plait/base/client_key.h"
#include "plait/base/keyed_table.h"

namespace plait {

class ShareTable {
 public:
  // Room for as many streams as there are exchanges, each from another address and connection. `seed` keys the hash.
  ShareTable(size_t exchanges, uint64_t seed) : seed_(seed | 1), table_(2 * exchanges) {}

  // A stream of the endpoint with that index begins or ends. `addresses`, the endpoint's, counts those that hold any.
  void add(uint32_t endpoint, const ClientKey& client, uint32_t& addresses);
  void remove(uint32_t endpoint, const ClientKey& client, uint32_t& addresses);
  // True where one more stream may go to that claim, while `left` of the endpoint's `streams` are free.
  bool mayTake(uint32_t endpoint, const Claim& claim, uint32_t addresses, uint32_t streams, uint32_t left) const;

  size_t used() const { return table_.used(); }
  static size_t bytesFor(size_t exchanges) { return KeyedTable<Entry>::bytesFor(2 * exchanges); }
  size_t reservedBytes() const { return table_.reservedBytes(); }
  void prefault() { table_.prefault(); }

 private:
  struct Entry {
    uint64_t key;
    uint32_t held;     // streams
    uint32_t members;  // of an address: connections that hold any
  };
  // The entry that was looked up last, of connections or of addresses: requests of one client come together.
  struct Last {
    uint32_t endpoint = 0;
    uint64_t number = 0;
    uint64_t key = 0;
    Entry* entry = nullptr;  // holds that key, or is the free place where it belongs
  };
  const Last& look(uint32_t endpoint, uint64_t number, bool is_address) const {
    Last& last = is_address ? last_address_ : last_connection_;
    // Entries move up when one goes, so the key tells whether this one is still there.
    const bool is_same = last.number == number && last.endpoint == endpoint && last.entry != nullptr;
    if (!is_same || last.entry->key != last.key) lookAnew(last, endpoint, number, is_address);
    return last;
  }
  void lookAnew(Last& last, uint32_t endpoint, uint64_t number, bool is_address) const;

  uint64_t seed_;
  KeyedTable<Entry> table_;
  mutable Last last_connection_;
  mutable Last last_address_;
};

}  // namespace plait
