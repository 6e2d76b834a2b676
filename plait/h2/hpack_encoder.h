// Fields into header blocks (RFC 7541 §6). Recent fields are found by a hash of name and value, so encoding a repeated
// field costs one look-up and one or two bytes.
#pragma once

#include "plait/h2/header_table.h"

namespace plait::h2 {

enum class Indexing : uint8_t {
  allow,  // may enter the dynamic table
  avoid,  // literal without indexing: varies, or belongs to one client of a shared connection
  never,  // never-indexed literal, on every hop (RFC 7541 §7.1.3)
};

class HpackEncoder {
 public:
  // `memory`: where its table lies, see DynamicTable.
  explicit HpackEncoder(ClassedSlab& memory) : table_(memory, index_share) {}

  // The peer's SETTINGS_HEADER_TABLE_SIZE. Said in the next block, the smallest value since the last one first
  // (RFC 7541 §4.2).
  void setPeerTableSize(uint32_t size);

  // The most bytes that field() writes for a field of this size, and begin() at the start of a block.
  static size_t bound(size_t name_size, size_t value_size) { return name_size + value_size + 24; }
  static constexpr size_t begin_bound = 16;

  // Both return the end of what they wrote.
  uint8_t* begin(uint8_t* out);
  uint8_t* field(uint8_t* out, std::string_view name, std::string_view value, http::FieldName id, Indexing indexing);

  const DynamicTable& table() const { return table_; }

 private:
  // The table's index: for each slot four buckets of fields and one of names. A bucket holds the slot of the entry that
  // last had this hash, plus one; whether it still lives and is the same is looked up.
  static constexpr uint32_t index_share = 5;
  uint8_t* fieldBucket(uint32_t hash) const { return table_.index() + hash % (4 * table_.slotCount()); }
  uint8_t* nameBucket(uint32_t hash) const {
    return table_.index() + 4 * table_.slotCount() + hash % table_.slotCount();
  }
  void indexEntry(uint32_t entry);

  DynamicTable table_;
  uint32_t smallest_pending_ = UINT32_MAX;
  uint32_t pending_ = UINT32_MAX;
};

}  // namespace plait::h2
