#include "plait/h2/hpack_decoder.h"

#include "plait/h2/frame.h"
#include "plait/h2/huffman.h"
#include "plait/h2/sound_field.h"

namespace plait::h2 {
namespace {

std::unexpected<Error> broken(const char* reason) {
  return fail(connectionError(ErrorCode::protocol_error, reason, static_cast<uint32_t>(H2Error::compression_error)));
}

bool readInteger(HpackDecoder::Cursor& block, uint32_t prefix_bits, uint32_t& value) {
  if (block.position == block.end) return false;
  const uint32_t mask = (1u << prefix_bits) - 1;
  uint64_t result = *block.position++ & mask;
  if (result == mask) {
    // Five continuation bytes hold any value that can mean something here; more is an attack (RFC 7541 §5.1, §7.4).
    for (uint32_t shift = 0;; shift += 7) {
      if (block.position == block.end || shift > 28) return false;
      const uint8_t byte = *block.position++;
      result += uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0) break;
    }
    if (result > INT32_MAX) return false;
  }
  value = static_cast<uint32_t>(result);
  return true;
}

// A string of Huffman's code is written to `decoded`, which is then behind it.
bool readString(HpackDecoder::Cursor& block, std::string_view& text, uint8_t*& decoded) {
  if (block.position == block.end) return false;
  const bool is_huffman = (*block.position & 0x80) != 0;
  uint32_t size = 0;
  if (!readInteger(block, 7, size) || size > static_cast<size_t>(block.end - block.position)) return false;
  const Bytes bytes(block.position, size);
  block.position += size;
  if (!is_huffman) {
    text = asText(bytes);
    return true;
  }
  const ptrdiff_t count = huffmanDecode(bytes, decoded);
  if (count < 0) return false;
  text = {reinterpret_cast<const char*>(decoded), static_cast<size_t>(count)};
  decoded += count;
  return true;
}

}  // namespace

bool HpackDecoder::lookUp(uint32_t index, TableEntry& entry) const {
  if (index == 0) return false;
  if (index <= static_table_size) {
    entry = staticEntry(index);
    return true;
  }
  index -= static_table_size + 1;
  if (index >= table_.count()) return false;
  entry = table_.at(index);
  return true;
}

Result<bool> HpackDecoder::nextSlow(Cursor& block, DecodedField& field, HpackScratch& scratch) {
  while (block.position != block.end && (*block.position & 0xe0) == 0x20) {
    // A size update may only stand at the start of a block (RFC 7541 §4.2).
    uint32_t size = 0;
    if (block.fields_seen || !readInteger(block, 5, size) || size > max_table_size_)
      return broken("a bad table size update (RFC 7541 §6.3)");
    table_.setLimit(size);
  }
  if (block.position == block.end) return false;
  block.fields_seen = true;
  const uint8_t first = *block.position;
  uint32_t index = 0;
  TableEntry entry{};
  if ((first & 0x80) != 0) {
    if (!readInteger(block, 7, index) || !lookUp(index, entry))
      return broken("an index outside the tables (RFC 7541 §2.3.3)");
    give(entry, field);
    return true;
  }
  const bool is_indexed = (first & 0x40) != 0;
  if (!readInteger(block, is_indexed ? 6 : 4, index)) return broken("a broken integer (RFC 7541 §5.1)");
  uint8_t* decoded = scratch.text;
  if (index != 0) {
    if (!lookUp(index, entry)) return broken("an index outside the tables (RFC 7541 §2.3.3)");
  } else {
    if (!readString(block, entry.name, decoded)) return broken("a broken string (RFC 7541 §5.2)");
    entry.id = http::fieldNameOf(entry.name);
  }
  if (!readString(block, entry.value, decoded)) return broken("a broken string (RFC 7541 §5.2)");
  field = {entry.name, entry.value, entry.id, !is_indexed && (first & 0x10) != 0,
           isSoundField(entry.name, entry.value, entry.id)};
  if (is_indexed) {
    // A name out of the table may move or go with the insertion; the field then has a copy of it.
    if (index > static_table_size && entry.id == http::FieldName::unknown) {
      if (!entry.name.empty()) std::memcpy(scratch.name, entry.name.data(), entry.name.size());
      field.name = {reinterpret_cast<const char*>(scratch.name), entry.name.size()};
    }
    table_.insert(field.name, field.value, field.id, field.is_sound);
  }
  return true;
}

}  // namespace plait::h2
