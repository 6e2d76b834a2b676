#include "plait/client/shares.h"

#include <algorithm>

namespace plait {

[[gnu::noinline]] void ShareTable::lookAnew(Last& last, uint32_t endpoint, uint64_t number, bool is_address) const {
  const uint64_t key = keyed(number, uint64_t{endpoint} << 1 | (is_address ? 1 : 0), seed_);
  last = {endpoint, number, key, &table_.find(key)};
}

void ShareTable::add(uint32_t endpoint, const ClientKey& client, uint32_t& addresses) {
  const Last& by_connection = look(endpoint, client.connection, false);
  Entry& connection = *by_connection.entry;
  const bool is_new = connection.key == 0;
  if (is_new) table_.insert(connection, by_connection.key);
  connection.held += 1;
  const Last& by_address = look(endpoint, client.address, true);
  Entry& address = *by_address.entry;
  if (address.key == 0) {
    table_.insert(address, by_address.key);
    addresses += 1;
  }
  address.held += 1;
  if (is_new) address.members += 1;
}

void ShareTable::remove(uint32_t endpoint, const ClientKey& client, uint32_t& addresses) {
  Entry& connection = *look(endpoint, client.connection, false).entry;
  PLAIT_ASSERT(connection.key != 0 && connection.held != 0);
  connection.held -= 1;
  const bool is_last = connection.held == 0;
  if (is_last) table_.erase(connection);
  Entry& address = *look(endpoint, client.address, true).entry;
  PLAIT_ASSERT(address.key != 0 && address.held != 0);
  address.held -= 1;
  if (is_last) address.members -= 1;
  if (address.held != 0) return;
  addresses -= 1;
  table_.erase(address);
}

bool ShareTable::mayTake(uint32_t endpoint, const Claim& claim, uint32_t addresses, uint32_t streams,
                         uint32_t left) const {
  const uint32_t kept = streams / 8;
  if (left > kept) return true;
  if (left == 0) return false;
  const Entry& address = *look(endpoint, claim.client.address, true).entry;
  const Entry& connection = *look(endpoint, claim.client.connection, false).entry;
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
