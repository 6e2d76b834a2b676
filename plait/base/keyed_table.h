// KeyedTable: entries of fixed size by a key of 64 bits, in places that are reserved once (open addressing, linear
// probing). A key stands for what it was made of by keyed(), with a chance of 2^-64 to be wrong.
#pragma once

#include <algorithm>
#include <bit>

#include "plait/base/slab.h"

namespace plait {

// A key for a number and what tells it from the same number elsewhere; never 0. Nobody outside knows the seed, so
// nobody can choose numbers whose keys collide.
constexpr uint64_t keyed(uint64_t number, uint64_t salt, uint64_t seed) {
  uint64_t mixed = (number ^ seed) * 0x9e3779b97f4a7c15;
  mixed ^= mixed >> 32;
  mixed = (mixed + salt + seed) * 0xbf58476d1ce4e5b9;
  mixed ^= mixed >> 29;
  mixed *= 0x94d049bb133111eb;
  mixed ^= mixed >> 32;
  return mixed == 0 ? 1 : mixed;
}

// `Entry` begins with `uint64_t key`, which is 0 in a free place, and is otherwise plain.
template <class Entry>
class KeyedTable {
 public:
  // Has room for as many entries, and as much again, so that a search is short.
  explicit KeyedTable(size_t entries) : mask_(placesFor(entries) - 1), memory_(placesFor(entries) * sizeof(Entry)) {}

  // The entry with that key, or the free place where it belongs. Good until the next insert() or erase().
  Entry& find(uint64_t key) const {
    size_t place = key & mask_;
    while (entries()[place].key != 0 && entries()[place].key != key) place = (place + 1) & mask_;
    return entries()[place];
  }
  // `free` is the place that find() has shown for that key.
  void insert(Entry& free, uint64_t key) {
    PLAIT_ASSERT(free.key == 0 && used_ <= mask_ / 2);
    free = {};
    free.key = key;
    used_ += 1;
  }
  void erase(Entry& entry) {
    used_ -= 1;
    auto hole = static_cast<size_t>(&entry - entries());
    // Entries behind the hole that would no longer be found move up (Knuth 6.4, algorithm R).
    for (size_t place = (hole + 1) & mask_; entries()[place].key != 0; place = (place + 1) & mask_) {
      const size_t home = entries()[place].key & mask_;
      if (((place - home) & mask_) < ((place - hole) & mask_)) continue;
      entries()[hole] = entries()[place];
      hole = place;
    }
    entries()[hole] = {};
  }

  size_t used() const { return used_; }
  static size_t bytesFor(size_t entries) {
    constexpr size_t page_size = 4096;
    return (placesFor(entries) * sizeof(Entry) + page_size - 1) / page_size * page_size;
  }
  size_t reservedBytes() const { return memory_.size(); }
  void prefault() { memory_.prefault(); }

 private:
  static size_t placesFor(size_t entries) { return std::bit_ceil(std::max<size_t>(entries, 1) * 2); }
  Entry* entries() const { return reinterpret_cast<Entry*>(memory_.data()); }

  size_t mask_;
  size_t used_ = 0;
  Reservation memory_;
};

}  // namespace plait
