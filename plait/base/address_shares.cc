#include "plait/base/address_shares.h"

namespace plait {

void AddressShares::add(uint64_t address) {
  const uint64_t key = keyOf(address);
  Entry& entry = table_.find(key);
  if (entry.key == 0) table_.insert(entry, key);
  entry.held += 1;
}

void AddressShares::remove(uint64_t address) {
  Entry& entry = table_.find(keyOf(address));
  PLAIT_ASSERT(entry.key != 0);
  entry.held -= 1;
  if (entry.held == 0) table_.erase(entry);
}

bool AddressShares::mayTake(uint64_t address, size_t limit, size_t left) const {
  if (left * 8 > limit) return true;
  const Entry& entry = table_.find(keyOf(address));
  const bool is_new = entry.key == 0;
  if (!is_new && addresses() == 1) return left > limit / 64;
  const size_t share = limit / (addresses() + (is_new ? 1 : 0));
  return entry.held < std::max<size_t>(share, 1);
}

bool AddressShares::isAbove(uint64_t address, size_t limit) const {
  return addresses() > 1 && table_.find(keyOf(address)).held > std::max<size_t>(limit / addresses(), 1);
}

}  // namespace plait
