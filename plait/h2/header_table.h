// The static table, and a dynamic table in lent memory (RFC 7541 §2.3, Appendix A).
//
// A table lies in one block of the smallest size that holds it, and in none while it is empty, so that of thousands of
// idle connections each holds what its fields need. In the block:
//
//   [ slots, a ring │ the owner's index │ strings, oldest first → ]
//
// Strings lie one behind the other, so every entry is contiguous. When their end is reached the live ones move to the
// front, or, where little would be won by that, all of it into a larger block: moving costs some bytes a byte at most.
#pragma once

#include <string_view>

#include "plait/base/assert.h"
#include "plait/base/bytes.h"
#include "plait/base/classed_slab.h"
#include "plait/http/field_name.h"

namespace plait::h2 {

struct TableEntry {
  std::string_view name;
  std::string_view value;
  http::FieldName id;
  bool is_sound;  // name and value are what they may be (isSoundField), which is found out once, at the insertion
};

inline constexpr uint32_t static_table_size = 61;
extern const TableEntry static_table[static_table_size];
// `index` is 1 to 61.
inline const TableEntry& staticEntry(uint32_t index) {
  PLAIT_ASSERT(index >= 1 && index <= static_table_size);
  return static_table[index - 1];
}

class DynamicTable {
 public:
  static constexpr uint32_t max_size = 4096;    // RFC 7541 §4.1: sum of name + value + 32
  static constexpr uint32_t max_entries = 128;  // max_size / 32

  // `memory` has to have a block for each table that uses it, and one more for a table that grows. `index_share` bytes
  // for each slot are the owner's, and are zero after the table has moved to another block (epoch()).
  explicit DynamicTable(ClassedSlab& memory, uint16_t index_share = 0) : memory_(memory), index_share_(index_share) {}
  DynamicTable(const DynamicTable&) = delete;
  DynamicTable& operator=(const DynamicTable&) = delete;
  ~DynamicTable() { giveBlock(); }
  // How many blocks as many tables need.
  static constexpr size_t blocksFor(size_t tables) { return tables + 1; }

  uint32_t count() const { return count_; }
  uint32_t size() const { return size_; }
  uint32_t limit() const { return limit_; }

  // Evicts what no longer fits. `limit` is at most max_size.
  void setLimit(uint32_t limit);
  // Inserts as the newest entry, evicting old ones; an entry larger than the table empties it (RFC 7541 §4.4). The
  // views may point into the table itself. False when it is not in the table.
  bool insert(std::string_view name, std::string_view value, http::FieldName id, bool is_sound = true);
  // 0 is the newest; `index` < count().
  TableEntry at(uint32_t index) const {
    PLAIT_ASSERT(index < count_);
    const Slot& entry = slot(index);
    const auto* text = reinterpret_cast<const char*>(block_ + entry.offset);
    if (entry.id != http::FieldName::unknown) [[likely]]
      return {http::nameOf(entry.id), {text, entry.value_size}, entry.id, entry.is_sound};
    return {{text, entry.name_size}, {text + entry.name_size, entry.value_size}, entry.id, entry.is_sound};
  }

  // -- for the owner's index
  // How many slots there are: a power of two, or 0 while the table has no block.
  uint32_t slotCount() const { return slot_count_; }
  // Which slot an entry has as long as it lives in this block, and which entry a slot holds: at least count() where
  // that is none.
  uint32_t slotOf(uint32_t index) const { return (inserted_ - 1 - index) & (slot_count_ - 1u); }
  uint32_t entryIn(uint32_t slot) const { return (inserted_ - 1 - slot) & (slot_count_ - 1u); }
  // Of the entry in a slot, which must hold one. Names that have a number are compared by it.
  bool isNamed(uint32_t slot, std::string_view name, http::FieldName id) const {
    const Slot& entry = slots()[slot];
    if (entry.id != id) return false;
    return id != http::FieldName::unknown ||
           (entry.name_size == name.size() && equalShort(block_ + entry.offset, name.data(), name.size()));
  }
  // Of the entry in a slot that isNamed().
  bool hasValue(uint32_t slot, std::string_view value, http::FieldName id) const {
    const Slot& entry = slots()[slot];
    const uint32_t offset = id == http::FieldName::unknown ? uint32_t{entry.offset} + entry.name_size : entry.offset;
    return entry.value_size == value.size() && equalShort(block_ + offset, value.data(), value.size());
  }
  // The same for a name that has a number.
  bool hasKnownValue(uint32_t slot, std::string_view value) const {
    const Slot& entry = slots()[slot];
    return entry.value_size == value.size() && equalShort(block_ + entry.offset, value.data(), value.size());
  }
  uint8_t* index() const { return block_ + slot_count_ * sizeof(Slot); }
  // Changes when entries have other slots than before.
  uint32_t epoch() const { return epoch_; }

 private:
  struct Slot {
    uint16_t offset;  // in the block
    uint16_t name_size;
    uint16_t value_size;
    http::FieldName id;
    bool is_sound;
    // The text of a name that has a number is not kept.
    uint16_t keptNameSize() const { return id == http::FieldName::unknown ? name_size : 0; }
  };
  static_assert(sizeof(Slot) == 8);
  static constexpr uint32_t slotsIn(uint32_t block_size) {
    return block_size / 32 < max_entries ? block_size / 32 : max_entries;
  }
  uint32_t textStart(uint32_t slots) const { return slots * (static_cast<uint32_t>(sizeof(Slot)) + index_share_); }
  void evictDownTo(uint32_t size);
  void makeRoom(uint32_t bytes);
  void giveBlock();
  Slot* slots() const { return reinterpret_cast<Slot*>(block_); }
  Slot& slot(uint32_t index) const { return slots()[slotOf(index)]; }

  ClassedSlab& memory_;
  uint8_t* block_ = nullptr;
  uint32_t inserted_ = 0;
  uint32_t epoch_ = 0;
  // None of these exceeds 8 KiB, and every connection has two tables.
  uint16_t block_size_ = 0;
  uint16_t slot_count_ = 0;
  uint16_t index_share_;
  uint16_t begin_ = 0;  // the oldest live byte, from the start of the block
  uint16_t end_ = 0;
  uint16_t count_ = 0;
  uint16_t size_ = 0;
  uint16_t limit_ = max_size;
};

}  // namespace plait::h2
