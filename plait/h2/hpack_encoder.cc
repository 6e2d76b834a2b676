#include "plait/h2/hpack_encoder.h"

#include <algorithm>
#include <array>
#include <utility>

#include "plait/h2/huffman.h"

namespace plait::h2 {
namespace {

using http::FieldName;

uint32_t hashOf(std::string_view text, uint32_t seed) {
  const auto* p = asBytes(text).data();
  const size_t size = text.size();
  uint64_t hash = seed * 0x9e3779b97f4a7c15ull + size;
  const auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * 0xff51afd7ed558ccdull;
    hash ^= hash >> 32;
  };
  if (size >= 8) {
    for (size_t i = 0; i + 8 < size; i += 8) mix(loadBe64(p + i));
    mix(loadBe64(p + size - 8));
  } else if (size >= 4) {
    mix(uint64_t{loadBe32(p)} << 32 | loadBe32(p + size - 4));
  } else if (size != 0) {
    mix(uint32_t{p[0]} << 16 | uint32_t{p[size / 2]} << 8 | p[size - 1]);
  }
  return static_cast<uint32_t>(hash);
}

uint8_t* writeInteger(uint8_t* out, uint8_t pattern, uint32_t prefix_bits, uint32_t value) {
  const uint32_t mask = (1u << prefix_bits) - 1;
  if (value < mask) [[likely]] {
    *out++ = static_cast<uint8_t>(pattern | value);
    return out;
  }
  *out++ = static_cast<uint8_t>(pattern | mask);
  for (value -= mask; value >= 0x80; value >>= 7) *out++ = static_cast<uint8_t>(value | 0x80);
  *out++ = static_cast<uint8_t>(value);
  return out;
}

// The static table's entries for each name that has a number: the first one, 0 for none, and how many entries with
// values there are to choose from. FieldName starts in the static table's order, but four names have several entries.
struct StaticEntries {
  uint8_t name_index = 0;
  uint8_t values = 0;
};
constexpr auto static_entries = [] {
  std::array<StaticEntries, http::field_name_count> table{};
  for (auto id = static_cast<size_t>(FieldName::accept_charset); id <= static_cast<size_t>(FieldName::www_authenticate);
       ++id)
    table[id].name_index = static_cast<uint8_t>(15 + id - static_cast<size_t>(FieldName::accept_charset));
  const auto at = [&](FieldName id) -> StaticEntries& { return table[static_cast<size_t>(id)]; };
  at(FieldName::pseudo_authority) = {1, 0};
  at(FieldName::pseudo_method) = {2, 2};
  at(FieldName::pseudo_path) = {4, 2};
  at(FieldName::pseudo_scheme) = {6, 2};
  at(FieldName::pseudo_status) = {8, 7};
  at(FieldName::accept_encoding).values = 1;
  return table;
}();

// The static entry that equals the field, 0 when there is none.
uint32_t staticFieldIndex(StaticEntries entries, std::string_view value) {
  if (entries.values == 0) return value.empty() ? entries.name_index : 0;
  for (uint32_t index = entries.name_index; index < uint32_t{entries.name_index} + entries.values; ++index) {
    if (equalShort(staticEntry(index).value, value)) return index;
  }
  return 0;
}

}  // namespace

uint8_t* HpackEncoder::writeString(uint8_t* out, std::string_view text) const {
  if (coding_ == StringCoding::huffman) {
    // A size below 127 takes one byte, so a short text is encoded in one pass behind it, and over it if that is no
    // gain.
    constexpr size_t short_size = 127;
    if (text.size() <= short_size) [[likely]] {
      const size_t size = huffmanEncode(text, out + 1, text.size());
      if (size < text.size()) {
        *out = static_cast<uint8_t>(0x80 | size);
        return out + 1 + size;
      }
    } else if (const size_t size = huffmanSize(text); size < text.size()) {
      out = writeInteger(out, 0x80, 7, static_cast<uint32_t>(size));
      return out + huffmanEncode(text, out, text.size());
    }
  }
  out = writeInteger(out, 0, 7, static_cast<uint32_t>(text.size()));
  copyShort(out, text.data(), text.size());
  return out + text.size();
}

uint32_t HpackEncoder::hashOfName(FieldName id, std::string_view name) {
  return id != FieldName::unknown ? hashOfId(id) : hashOf(name, 1);
}

void HpackEncoder::indexEntry(uint32_t entry) {
  const TableEntry found = table_.at(entry);
  const uint32_t name_hash = hashOfName(found.id, found.name);
  const uint32_t field_hash = hashOf(found.value, name_hash + 2);
  const auto bucket = static_cast<uint8_t>(table_.slotOf(entry) + 1);
  // The slot that was there goes to the neighbour, unless it is of no use any more: its entry is gone, another one has
  // its slot, or (of names) the new one is the last of its name.
  const auto put = [&](uint8_t* buckets, uint32_t place, auto placeOfEntry) {
    const uint32_t slot = std::exchange(buckets[place], bucket) - 1u;
    if (slot >= table_.slotCount() || table_.entryIn(slot) >= table_.count() || slot + 1 == bucket) return;
    if ((placeOfEntry(table_.at(table_.entryIn(slot))) ^ place) <= 1)
      buckets[place ^ 1] = static_cast<uint8_t>(slot + 1);
  };
  put(fieldBuckets(), placeOf(field_hash),
      [&](const TableEntry& other) { return placeOf(hashOf(other.value, hashOfName(other.id, other.name) + 2)); });
  put(nameBuckets(), placeOf(name_hash), [&](const TableEntry& other) {
    const bool is_same = other.id == found.id && other.name == found.name;
    return is_same ? UINT32_MAX : placeOf(hashOfName(other.id, other.name));
  });
}

uint32_t HpackEncoder::findName(uint32_t hash, std::string_view name, FieldName id) const {
  const uint32_t none = table_.slotCount();
  if (none == 0) return none;
  const uint32_t place = placeOf(hash);
  const uint32_t slot = namedSlot(nameBuckets()[place], name, id);
  return slot != none ? slot : namedSlot(nameBuckets()[place ^ 1], name, id);
}

uint32_t HpackEncoder::findField(uint32_t hash, std::string_view name, std::string_view value, FieldName id) const {
  const uint32_t none = table_.slotCount();
  if (none == 0) return none;
  for (const uint32_t place : {placeOf(hash), placeOf(hash) ^ 1}) {
    const uint32_t slot = namedSlot(fieldBuckets()[place], name, id);
    if (slot != none && table_.hasValue(slot, value, id)) return slot;
  }
  return none;
}

uint32_t HpackEncoder::namedSlot(uint8_t bucket, std::string_view name, FieldName id) const {
  const uint32_t slot = bucket - 1u;
  const bool is_there =
      slot < table_.slotCount() && table_.entryIn(slot) < table_.count() && table_.isNamed(slot, name, id);
  return is_there ? slot : table_.slotCount();
}

void HpackEncoder::setPeerTableSize(uint32_t size) {
  size = std::min(size, DynamicTable::max_size);
  if (size == table_.limit() && pending_ == none_pending) return;
  pending_ = static_cast<uint16_t>(size);
  smallest_pending_ = std::min(smallest_pending_, pending_);
}

uint8_t* HpackEncoder::begin(uint8_t* out) {
  if (pending_ == none_pending) return out;
  if (smallest_pending_ < pending_) {
    out = writeInteger(out, 0x20, 5, smallest_pending_);
    table_.setLimit(smallest_pending_);
  }
  out = writeInteger(out, 0x20, 5, pending_);
  table_.setLimit(pending_);
  smallest_pending_ = pending_ = none_pending;
  return out;
}

uint8_t* HpackEncoder::writeLongIndex(uint8_t* out, uint32_t index) {
  return writeInteger(out, 0x80, 7, index);
}

uint8_t* HpackEncoder::otherKnownField(uint8_t* out, std::string_view value, FieldName id, Indexing indexing) {
  return otherField(out, http::nameOf(id), value, id, indexing);
}

uint8_t* HpackEncoder::otherField(uint8_t* out, std::string_view name, std::string_view value, FieldName id,
                                  Indexing indexing) {
  const StaticEntries entries = static_entries[static_cast<size_t>(id)];
  if ((entries.values != 0 || value.empty()) && indexing != Indexing::never) {
    if (const uint32_t index = staticFieldIndex(entries, value)) return writeIndex(out, index);
  }
  const uint32_t name_hash = hashOfName(id, name);
  const uint32_t slots = table_.slotCount();
  // A name of the static table is not looked for: field() has seen that its last value is another one.
  const uint32_t named = entries.name_index == 0 ? findName(name_hash, name, id) : slots;
  const auto indexIn = [&](uint32_t slot) { return static_table_size + 1 + table_.entryIn(slot); };
  uint32_t name_index = entries.name_index;
  if (name_index == 0 && named != slots) name_index = indexIn(named);
  bool insert = indexing == Indexing::allow;
  if (indexing <= Indexing::repeated) {
    if (named != slots && table_.hasValue(named, value, id)) return writeIndex(out, indexIn(named));
    const uint32_t hash = hashOf(value, name_hash + 2);
    const uint32_t found = findField(hash, name, value, id);
    if (found != slots) return writeIndex(out, indexIn(found));
    const auto tag = static_cast<uint8_t>(hash >> 24);
    if (indexing == Indexing::repeated) insert = std::exchange(seen_[name_hash / 2 % seen_count], tag) == tag;
  } else if (indexing == Indexing::avoid) {
    // Such a field is not looked up by value: a hit would tell a guess from a miss (RFC 7541 §7.1). One of them enters
    // the table all the same, so that those after it need not spell out the name.
    insert = name_index == 0 && id != FieldName::unknown;
  }
  // One field must not push out most of what is worth keeping.
  insert = insert && name.size() + value.size() + 32 <= table_.limit() / 2;
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
    // In another block the index is empty.
    for (uint32_t entry = table_.epoch() == epoch ? 1 : table_.count(); entry-- != 0;) indexEntry(entry);
  }
  return out;
}

}  // namespace plait::h2
