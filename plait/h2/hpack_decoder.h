// Header blocks into fields (RFC 7541 §3, §6). A block is decoded whole, in place, in one pass.
#pragma once

#include "plait/base/error.h"
#include "plait/h2/header_table.h"

namespace plait::h2 {

// Memory for decoded Huffman strings, shared by all sessions of a worker: two strings of one field.
struct HpackScratch {
  static constexpr size_t max_string_size = 40 * 1024;
  uint8_t name[max_string_size];
  uint8_t value[max_string_size];
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
  // `max_table_size` is what our SETTINGS_HEADER_TABLE_SIZE says, at most DynamicTable::max_size;
  // `memory`: where the table lies, see DynamicTable.
  HpackDecoder(uint32_t max_table_size, ClassedSlab& memory) : table_(memory), max_table_size_(max_table_size) {
    table_.setLimit(max_table_size);
  }

  // Starts a block. Then next() until it returns false; an error is a COMPRESSION_ERROR of the connection, for the two
  // tables are no longer equal (RFC 9113 §4.3).
  void begin(Bytes block) {
    position_ = block.data();
    end_ = position_ + block.size();
    fields_seen_ = false;
  }
  // The next field; its views are valid until the following call. Every field of a block must be taken, also when the
  // message is to be refused, since each may change the table.
  Result<bool> next(DecodedField& field, HpackScratch& scratch) {
    if (position_ != end_ && *position_ > 0x80 && *position_ < 0xff) [[likely]] {
      const uint32_t index = *position_ & 0x7fu;
      if (index <= static_table_size + table_.count()) [[likely]] {
        fields_seen_ = true;
        position_ += 1;
        give(index <= static_table_size ? staticEntry(index) : table_.at(index - static_table_size - 1), field);
        return true;
      }
    }
    return nextSlow(field, scratch);
  }

  const DynamicTable& table() const { return table_; }

 private:
  static void give(const TableEntry& entry, DecodedField& field) {
    field = {entry.name, entry.value, entry.id, false, entry.is_sound};
  }
  // Whatever is not an entry of the tables whose index takes one byte.
  Result<bool> nextSlow(DecodedField& field, HpackScratch& scratch);
  bool readInteger(uint32_t prefix_bits, uint32_t& value);
  bool readString(std::string_view& text, uint8_t* scratch);
  bool lookUp(uint32_t index, TableEntry& entry) const;

  DynamicTable table_;
  uint32_t max_table_size_;
  const uint8_t* position_ = nullptr;
  const uint8_t* end_ = nullptr;
  bool fields_seen_ = false;
};

}  // namespace plait::h2
