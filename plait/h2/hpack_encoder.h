// Fields into header blocks (RFC 7541 §6). The last value of each name is compared at once, others are found by a hash
// of name and value, so encoding a repeated field costs one look-up and one or two bytes.
#pragma once

#include <initializer_list>

#include "plait/h2/header_table.h"
#include "plait/http/field_list.h"

namespace plait::h2 {

enum class Indexing : uint8_t {
  allow,     // may enter the dynamic table
  repeated,  // enters it when it comes a second time: varies, but not always
  avoid,     // literal without indexing: varies, or belongs to one client of a shared connection
  never,     // never-indexed literal, on every hop (RFC 7541 §7.1.3)
};

// How strings are written (RFC 7541 §5.2). Huffman's code is a fifth to a third shorter, and costs both ends more than
// everything else about a field that is new.
enum class StringCoding : uint8_t { huffman, plain };

// How the fields of one direction are indexed, by their names: a table, since every field asks.
class IndexingRules {
 public:
  struct Rule {
    Indexing indexing;
    std::initializer_list<http::FieldName> names;
  };
  // Names that no rule names may enter the table.
  constexpr IndexingRules(std::initializer_list<Rule> rules) {
    for (const Rule& rule : rules) {
      for (const http::FieldName name : rule.names) indexing_[static_cast<size_t>(name)] = rule.indexing;
    }
  }
  Indexing of(const http::Field& field) const {
    return field.never_indexed ? Indexing::never : indexing_[static_cast<size_t>(field.id)];
  }

 private:
  Indexing indexing_[http::field_name_count] = {};
};

class HpackEncoder {
 public:
  // `memory`: where its table lies, see DynamicTable.
  explicit HpackEncoder(ClassedSlab& memory, StringCoding coding = StringCoding::huffman)
      : table_(memory, index_share), coding_(coding) {}

  // The peer's SETTINGS_HEADER_TABLE_SIZE. Said in the next block, the smallest value since the last one first
  // (RFC 7541 §4.2).
  void setPeerTableSize(uint32_t size);

  // The most bytes that field() writes for a field of this size, and begin() at the start of a block.
  static size_t bound(size_t name_size, size_t value_size) { return name_size + value_size + 24; }
  static constexpr size_t begin_bound = 16;

  // Each returns the end of what it wrote.
  uint8_t* begin(uint8_t* out);
  uint8_t* field(uint8_t* out, std::string_view name, std::string_view value, http::FieldName id, Indexing indexing) {
    if (id != http::FieldName::unknown) [[likely]]
      return knownField(out, value, id, indexing);
    return otherField(out, name, value, id, indexing);
  }
  // A field whose name has a number.
  uint8_t* knownField(uint8_t* out, std::string_view value, http::FieldName id, Indexing indexing) {
    // The value that the name had last.
    if (indexing <= Indexing::repeated && table_.slotCount() != 0) [[likely]] {
      const uint32_t place = placeOf(hashOfId(id));
      uint32_t slot = nameBuckets()[place] - 1u;
      bool is_of_name = isOfName(slot, id);
      if (!is_of_name) [[unlikely]] {
        slot = nameBuckets()[place ^ 1] - 1u;
        is_of_name = isOfName(slot, id);
      }
      if (is_of_name) [[likely]] {
        const uint32_t entry = table_.entryIn(slot);
        if (entry < table_.count() && table_.hasKnownValue(slot, value)) [[likely]]
          return writeIndex(out, static_table_size + 1 + entry);
      }
    }
    return otherKnownField(out, value, id, indexing);
  }
  // A pseudo-header field. Made for a constant `id`.
  uint8_t* pseudoField(uint8_t* out, http::FieldName id, std::string_view value, Indexing indexing) {
    using http::FieldName;
    const auto isStatic = [&](uint32_t index) { return equalShort(staticEntry(index).value, value); };
    const auto first = id == FieldName::pseudo_method   ? 2u
                       : id == FieldName::pseudo_path   ? 4u
                       : id == FieldName::pseudo_scheme ? 6u
                       : id == FieldName::pseudo_status ? 8u
                                                        : 0u;
    if (first != 0 && indexing != Indexing::never) {
      if (isStatic(first)) return writeIndex(out, first);
      if (isStatic(first + 1)) return writeIndex(out, first + 1);
    }
    return knownField(out, value, id, indexing);
  }

  const DynamicTable& table() const { return table_; }

 private:
  static uint8_t* writeIndex(uint8_t* out, uint32_t index) {
    if (index >= 127) [[unlikely]]
      return writeLongIndex(out, index);
    *out = static_cast<uint8_t>(0x80 | index);
    return out + 1;
  }
  static uint8_t* writeLongIndex(uint8_t* out, uint32_t index);
  uint8_t* writeString(uint8_t* out, std::string_view text) const;
  // Whatever the last value of its name does not tell.
  uint8_t* otherKnownField(uint8_t* out, std::string_view value, http::FieldName id, Indexing indexing);
  uint8_t* otherField(uint8_t* out, std::string_view name, std::string_view value, http::FieldName id,
                      Indexing indexing);

  // The table's index: for each slot two buckets of fields and two of names. A bucket holds the slot of an entry, plus
  // one; whether it still lives and is the same is looked up. An entry is in the bucket of its hash, or, when another
  // one has come there, in the neighbour.
  static constexpr uint16_t index_share = 4;
  // Chosen so that names that often come together have buckets of their own.
  static constexpr uint32_t hashOfId(http::FieldName id) { return static_cast<uint32_t>(id) * 11 >> 3; }
  uint8_t* nameBuckets() const { return table_.index(); }
  uint8_t* fieldBuckets() const { return table_.index() + 2 * table_.slotCount(); }
  uint32_t placeOf(uint32_t hash) const { return hash & (2 * table_.slotCount() - 1); }
  // A slot, if it is one, has that name, which has a number. Its entry may be gone.
  bool isOfName(uint32_t slot, http::FieldName id) const {
    return slot < table_.slotCount() && table_.isNamed(slot, {}, id);
  }
  static uint32_t hashOfName(http::FieldName id, std::string_view name);
  void indexEntry(uint32_t entry);
  // The slot of the last entry of that name, and of an entry that equals the field; slotCount() where there is none.
  uint32_t findName(uint32_t hash, std::string_view name, http::FieldName id) const;
  uint32_t findField(uint32_t hash, std::string_view name, std::string_view value, http::FieldName id) const;
  // The slot that a bucket names, if it holds an entry of that name; slotCount() if not.
  uint32_t namedSlot(uint8_t bucket, std::string_view name, http::FieldName id) const;

  // A part of the hash of what came last with Indexing::repeated, by the name's hash.
  static constexpr uint32_t seen_count = 16;
  uint8_t seen_[seen_count] = {};
  DynamicTable table_;
  // The sizes that the next block has to say.
  static constexpr uint16_t none_pending = UINT16_MAX;
  uint16_t smallest_pending_ = none_pending;
  uint16_t pending_ = none_pending;
  const StringCoding coding_;
};

}  // namespace plait::h2
