#include "plait/h2/hpack_encoder.h"

#include <algorithm>

#include "plait/h2/huffman.h"

namespace plait::h2 {
namespace {

using http::FieldName;

uint32_t hashOf(std::string_view text, uint32_t seed) {
  uint64_t hash = seed * 0x9e3779b97f4a7c15ull + text.size();
  const char* p = text.data();
  size_t left = text.size();
  for (; left >= 8; left -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    hash = (hash ^ word) * 0xff51afd7ed558ccdull;
    hash ^= hash >> 32;
  }
  uint64_t word = 0;
  if (left != 0) std::memcpy(&word, p, left);
  hash = (hash ^ word) * 0xff51afd7ed558ccdull;
  return static_cast<uint32_t>(hash >> 40);
}

uint8_t* writeInteger(uint8_t* out, uint8_t pattern, uint32_t prefix_bits, uint32_t value) {
  const uint32_t mask = (1u << prefix_bits) - 1;
  if (value < mask) {
    *out++ = static_cast<uint8_t>(pattern | value);
    return out;
  }
  *out++ = static_cast<uint8_t>(pattern | mask);
  for (value -= mask; value >= 0x80; value >>= 7) *out++ = static_cast<uint8_t>(value | 0x80);
  *out++ = static_cast<uint8_t>(value);
  return out;
}

uint8_t* writeString(uint8_t* out, std::string_view text) {
  const size_t huffman_size = huffmanSize(text);
  if (huffman_size < text.size()) {
    out = writeInteger(out, 0x80, 7, static_cast<uint32_t>(huffman_size));
    return out + huffmanEncode(text, out);
  }
  out = writeInteger(out, 0, 7, static_cast<uint32_t>(text.size()));
  if (!text.empty()) std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

// The first static entry with that name, 0 when there is none. FieldName starts in the static table's order, but the
// table has several entries for four names.
uint32_t staticNameIndex(FieldName id) {
  switch (id) {
    case FieldName::unknown:
      return 0;
    case FieldName::pseudo_authority:
      return 1;
    case FieldName::pseudo_method:
      return 2;
    case FieldName::pseudo_path:
      return 4;
    case FieldName::pseudo_scheme:
      return 6;
    case FieldName::pseudo_status:
      return 8;
    default:
      break;
  }
  if (id < FieldName::accept_charset || id > FieldName::www_authenticate) return 0;
  return 15 + static_cast<uint32_t>(id) - static_cast<uint32_t>(FieldName::accept_charset);
}

// The static entry that equals the field, 0 when there is none.
uint32_t staticFieldIndex(FieldName id, std::string_view value) {
  uint32_t first = 0;
  uint32_t last = 0;
  switch (id) {
    case FieldName::pseudo_method:
      first = 2, last = 3;
      break;
    case FieldName::pseudo_path:
      first = 4, last = 5;
      break;
    case FieldName::pseudo_scheme:
      first = 6, last = 7;
      break;
    case FieldName::pseudo_status:
      first = 8, last = 14;
      break;
    case FieldName::accept_encoding:
      first = last = 16;
      break;
    default:
      return value.empty() ? staticNameIndex(id) : 0;
  }
  for (uint32_t index = first; index <= last; ++index) {
    if (staticEntry(index).value == value) return index;
  }
  return 0;
}

uint32_t nameHash(FieldName id, std::string_view name) {
  return id != FieldName::unknown ? static_cast<uint32_t>(id) : hashOf(name, 1);
}

}  // namespace

void HpackEncoder::indexEntry(uint32_t entry) {
  const TableEntry found = table_.at(entry);
  const uint32_t name_hash = nameHash(found.id, found.name);
  const auto slot = static_cast<uint8_t>(table_.slotOf(entry) + 1);
  *fieldBucket(hashOf(found.value, name_hash + 2)) = slot;
  *nameBucket(name_hash) = slot;
}

void HpackEncoder::setPeerTableSize(uint32_t size) {
  size = std::min(size, DynamicTable::max_size);
  if (size == table_.limit() && pending_ == UINT32_MAX) return;
  smallest_pending_ = std::min(smallest_pending_, size);
  pending_ = size;
}

uint8_t* HpackEncoder::begin(uint8_t* out) {
  if (pending_ == UINT32_MAX) return out;
  if (smallest_pending_ < pending_) {
    out = writeInteger(out, 0x20, 5, smallest_pending_);
    table_.setLimit(smallest_pending_);
  }
  out = writeInteger(out, 0x20, 5, pending_);
  table_.setLimit(pending_);
  smallest_pending_ = pending_ = UINT32_MAX;
  return out;
}

uint8_t* HpackEncoder::field(uint8_t* out, std::string_view name, std::string_view value, FieldName id,
                             Indexing indexing) {
  if (indexing != Indexing::never) {
    if (const uint32_t index = staticFieldIndex(id, value)) return writeInteger(out, 0x80, 7, index);
  }
  // Names that have a number are compared by it.
  const auto isNamed = [&](const TableEntry& entry) {
    return id != FieldName::unknown ? entry.id == id : entry.id == id && entry.name == name;
  };
  const uint32_t name_hash = nameHash(id, name);
  const bool has_table = table_.slotCount() != 0;
  uint32_t field_hash = 0;
  // Sensitive fields are not looked up by value either: a hit would tell a guess from a miss (RFC 7541 §7.1).
  if (indexing == Indexing::allow) {
    field_hash = hashOf(value, name_hash + 2);
    if (const uint8_t bucket = has_table ? *fieldBucket(field_hash) : 0; bucket != 0) {
      const uint32_t age = table_.entryIn(bucket - 1u);
      if (age < table_.count()) {
        const TableEntry entry = table_.at(age);
        if (isNamed(entry) && entry.value == value) return writeInteger(out, 0x80, 7, static_table_size + 1 + age);
      }
    }
  }
  uint32_t name_index = staticNameIndex(id);
  if (const uint8_t bucket = name_index == 0 && has_table ? *nameBucket(name_hash) : 0; bucket != 0) {
    const uint32_t age = table_.entryIn(bucket - 1u);
    if (age < table_.count() && isNamed(table_.at(age))) name_index = static_table_size + 1 + age;
  }
  // One field must not push out most of what is worth keeping.
  const bool insert = indexing == Indexing::allow && name.size() + value.size() + 32 <= table_.limit() / 2;
  if (insert) {
    out = writeInteger(out, 0x40, 6, name_index);
  } else {
    out = writeInteger(out, indexing == Indexing::never ? 0x10 : 0x00, 4, name_index);
  }
  if (name_index == 0) out = writeString(out, name);
  out = writeString(out, value);
  if (insert) {
    const uint32_t epoch = table_.epoch();
    table_.insert(name, value, id);
    if (table_.epoch() == epoch) {
      const auto slot = static_cast<uint8_t>(table_.slotOf(0) + 1);
      *fieldBucket(field_hash) = slot;
      *nameBucket(name_hash) = slot;
    } else {
      for (uint32_t entry = table_.count(); entry-- != 0;) indexEntry(entry);
    }
  }
  return out;
}

}  // namespace plait::h2
