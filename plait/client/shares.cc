#include "plait/client/shares.h"

#include <algorithm>

namespace plait {

[[gnu::noinline]] void ShareTable::lookAnew(uint32_t endpoint, const ClientKey& client) const {
  const uint64_t salt = uint64_t{endpoint} << 1;
  const bool is_same_address = last_.endpoint == endpoint && last_.client.address == client.address;
  if (!is_same_address || last_.address->key != last_.address_key) {
    last_.address_key = keyed(client.address, salt | 1, seed_);
    last_.address = &table_.find(last_.address_key);
  }
  last_.endpoint = endpoint;
  last_.client = client;
  last_.connection_key = keyed(client.connection, salt, seed_);
  last_.connection = &table_.find(last_.connection_key);
}

void ShareTable::add(uint32_t endpoint, const ClientKey& client, uint32_t& addresses) {
  const Found& found = look(endpoint, client);
  if (found.connection->key == 0 || found.address->key == 0) insert(endpoint, client, addresses);
  found.connection->held += 1;
  found.address->held += 1;
}

[[gnu::noinline]] void ShareTable::insert(uint32_t endpoint, const ClientKey& client, uint32_t& addresses) {
  if (last_.address->key == 0) {
    table_.insert(*last_.address, last_.address_key);
    addresses += 1;
    // Both may belong in the same free place.
    lookAnew(endpoint, client);
  }
  if (last_.connection->key != 0) return;
  table_.insert(*last_.connection, last_.connection_key);
  last_.address->members += 1;
}

void ShareTable::remove(uint32_t endpoint, const ClientKey& client, uint32_t& addresses) {
  const Found& found = look(endpoint, client);
  PLAIT_ASSERT(found.connection->held != 0 && found.address->held != 0);
  found.connection->held -= 1;
  found.address->held -= 1;
  if (found.connection->held == 0 || found.address->held == 0) erase(endpoint, client, addresses);
}

[[gnu::noinline]] void ShareTable::erase(uint32_t endpoint, const ClientKey& client, uint32_t& addresses) {
  if (last_.connection->held == 0) {
    last_.address->members -= 1;
    table_.erase(*last_.connection);
    // The other entry may have moved up.
    (void)look(endpoint, client);
  }
  if (last_.address->held != 0) return;
  addresses -= 1;
  table_.erase(*last_.address);
}

bool ShareTable::mayTake(uint32_t endpoint, const Claim& claim, uint32_t addresses, uint32_t streams,
                         uint32_t left) const {
  const uint32_t kept = streams / 8;
  if (left > kept) return true;
  if (left == 0) return false;
  const Found& found = look(endpoint, claim.client);
  const Entry& address = *found.address;
  const Entry& connection = *found.connection;
  const bool is_alone = addresses == 1 && address.key != 0;
  const uint32_t held = !is_alone ? address.held : connection.held;
  const bool is_kept_for_small = left <= (kept + 3) / 4;
  if (is_kept_for_small || left * 2 <= kept) {
    const bool is_kept_for_others = is_alone && left * 8 <= kept;
    return held < 2 && (claim.is_small || !is_kept_for_small) && !is_kept_for_others;
  }
  const uint32_t clients = is_alone ? address.members : addresses;
  return held < std::max(2u, std::min(left / 8, (streams - kept) / (clients + 1)));
}

}  // namespace plait
