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
  // The entries of the client that was looked up last: requests of one client come together.
  struct Found {
    uint32_t endpoint = UINT32_MAX;
    ClientKey client;
    // Each entry holds its key, or is the free place where that belongs.
    uint64_t connection_key = 0;
    uint64_t address_key = 0;
    Entry* connection = nullptr;
    Entry* address = nullptr;
  };
  const Found& look(uint32_t endpoint, const ClientKey& client) const {
    // Entries move up when one goes, so the keys tell whether these are still there.
    const bool is_same = last_.endpoint == endpoint && last_.client == client;
    if (!is_same || last_.connection->key != last_.connection_key || last_.address->key != last_.address_key)
      lookAnew(endpoint, client);
    return last_;
  }
  void lookAnew(uint32_t endpoint, const ClientKey& client) const;
  // The entries that last_ lacks; and those that hold nothing any more.
  void insert(uint32_t endpoint, const ClientKey& client, uint32_t& addresses);
  void erase(uint32_t endpoint, const ClientKey& client, uint32_t& addresses);

  uint64_t seed_;
  KeyedTable<Entry> table_;
  mutable Found last_;
};

}  // namespace plait
