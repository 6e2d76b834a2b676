// Header blocks into fields (RFC 7541 §3, §6). A block is decoded whole, in place, in one pass.
#pragma once

#include "plait/base/error.h"
#include "plait/h2/header_table.h"

namespace plait::h2 {

// Memory for one field, shared by all sessions of a worker.
struct HpackScratch {
  // No header block is longer, and so no string is too long to be decoded: how much of it is wanted is not for HPACK to
  // say, whose tables must stay in step (RFC 7541 §4.4).
  static constexpr size_t max_block_size = 64 * 1024;
  // The strings of Huffman's code: the name, and the value behind it. The shortest code has five bits (huffmanDecode).
  uint8_t text[max_block_size * 8 / 5 + 2];
  // A name out of the table, while the table changes.
  uint8_t name[DynamicTable::max_size];
};

struct DecodedField {
  std::string_view name;
  std::string_view value;
  http::FieldName id;
  bool never_indexed;
  bool is_sound;  // isSoundField()
};

class HpackDecoder {
 public:
  // How far a block has been read.
  struct Cursor {
    explicit Cursor(Bytes block) : position(block.data()), end(position + block.size()) {
      PLAIT_ASSERT(block.size() <= HpackScratch::max_block_size);
    }
    const uint8_t* position;
    const uint8_t* end;
    bool fields_seen = false;
  };

  // `max_table_size` is what our SETTINGS_HEADER_TABLE_SIZE says, at most DynamicTable::max_size;
  // `memory`: where the table lies, see DynamicTable.
  HpackDecoder(uint32_t max_table_size, ClassedSlab& memory) : table_(memory), max_table_size_(max_table_size) {
    table_.setLimit(max_table_size);
  }

  // The next field of a block; its views are valid until the following call. False at the end of the block; an error is
  // a COMPRESSION_ERROR of the connection, for the two tables are no longer equal (RFC 9113 §4.3). Every field of a
  // block must be taken, also when the message is to be refused, since each may change the table.
  Result<bool> next(Cursor& block, DecodedField& field, HpackScratch& scratch) {
    if (block.position != block.end && *block.position > 0x80 && *block.position < 0xff) [[likely]] {
      const uint32_t index = *block.position & 0x7fu;
      if (index <= static_table_size + table_.count()) [[likely]] {
        block.fields_seen = true;
        block.position += 1;
        give(index <= static_table_size ? staticEntry(index) : table_.at(index - static_table_size - 1), field);
        return true;
      }
    }
    return nextSlow(block, field, scratch);
  }

  const DynamicTable& table() const { return table_; }

 private:
  static void give(const TableEntry& entry, DecodedField& field) {
    field = {entry.name, entry.value, entry.id, false, entry.is_sound};
  }
  // Whatever is not an entry of the tables whose index takes one byte.
  Result<bool> nextSlow(Cursor& block, DecodedField& field, HpackScratch& scratch);
  bool lookUp(uint32_t index, TableEntry& entry) const;

  DynamicTable table_;
  uint32_t max_table_size_;
};

}  // namespace plait::h2
