// HPACK, both ways: what plait encodes is read alike by plait and by libnghttp2, what libnghttp2 encodes is read by
// plait, and after each block the tables of both ends are equal. The input chooses fields, indexing and table sizes.
#include <memory>

#include "fuzz/nghttp2_hpack.h"
#include "plait/h2/hpack_decoder.h"
#include "plait/h2/hpack_encoder.h"

using namespace plait;
using namespace plait::h2;
using namespace plait::fuzz;

namespace {

constexpr std::string_view names[] = {
    ":method",    ":path",           ":status", ":authority", ":scheme",    "cookie", "content-length", "date", "etag",
    "set-cookie", "accept-encoding", "x-a",     "x-b",        "user-agent", "te",     "authorization"};
constexpr std::string_view values[] = {"GET", "/", "200", "http", "https", "", "gzip, deflate", "404", "a", "POST"};

OracleField fieldFrom(Input& input) {
  const uint8_t choice = input.byte();
  OracleField field;
  field.name = choice < 192 ? std::string(names[choice % std::size(names)]) : input.string(input.byte());
  const uint8_t value = input.byte();
  if (value < 100) {
    field.value = values[value % std::size(values)];
  } else if (value < 250) {
    field.value = input.string(value - 100u);
  } else {
    field.value = std::string(input.below(5000), static_cast<char>(input.byte()));
  }
  return field;
}

std::vector<OracleField> decode(HpackDecoder& decoder, HpackScratch& scratch, Bytes block) {
  const std::vector<uint8_t> input = exact(block);
  std::vector<OracleField> fields;
  HpackDecoder::Cursor cursor(input);
  DecodedField field{};
  while (true) {
    const auto more = decoder.next(cursor, field, scratch);
    require(more.has_value());
    if (!*more) return fields;
    require(field.id == http::fieldNameOf(field.name));
    fields.push_back({std::string(field.name), std::string(field.value), field.never_indexed});
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static HpackScratch scratch;
  ClassedSlab memory(DynamicTable::blocksFor(3));
  const auto encoder = std::make_unique<HpackEncoder>(memory);
  const auto decoder = std::make_unique<HpackDecoder>(DynamicTable::max_size, memory);
  const auto decoder_of_theirs = std::make_unique<HpackDecoder>(DynamicTable::max_size, memory);
  OracleDecoder oracle_decoder;
  OracleEncoder oracle_encoder;
  Input input(data, size);
  for (int turn = 0; turn < 64 && !input.empty(); ++turn) {
    const uint8_t plan = input.byte();
    // More than one change between two blocks: the smallest has to be said too (RFC 7541 §4.2).
    for (int changes = plan >> 6; changes > 0; --changes) {
      const uint32_t table_size = input.below(8192);
      encoder->setPeerTableSize(table_size);
      oracle_decoder.changeTableSize(table_size);
      oracle_encoder.changeTableSize(std::min(table_size, DynamicTable::max_size));
    }
    std::vector<OracleField> fields;
    std::vector<uint8_t> block(HpackEncoder::begin_bound);
    block.resize(static_cast<size_t>(encoder->begin(block.data()) - block.data()));
    for (int count = plan & 15; count > 0; --count) {
      OracleField field = fieldFrom(input);
      const auto indexing = static_cast<Indexing>(input.byte() % 4);
      field.never_indexed = indexing == Indexing::never;
      // An exact bound, so that writing more is seen.
      std::vector<uint8_t> out(HpackEncoder::bound(field.name.size(), field.value.size()));
      const http::FieldName id = http::fieldNameOf(field.name);
      const bool is_pseudo = id == http::FieldName::pseudo_method || id == http::FieldName::pseudo_path ||
                             id == http::FieldName::pseudo_status || id == http::FieldName::pseudo_scheme ||
                             id == http::FieldName::pseudo_authority;
      const uint8_t* const end = is_pseudo && (plan & 16) != 0 && !field.never_indexed
                                     ? encoder->pseudoField(out.data(), id, field.value, indexing)
                                     : encoder->field(out.data(), field.name, field.value, id, indexing);
      block.insert(block.end(), static_cast<const uint8_t*>(out.data()), end);
      fields.push_back(std::move(field));
    }
    require(decode(*decoder, scratch, block) == fields);
    std::vector<OracleField> theirs;
    require(oracle_decoder.decode(block, theirs) && theirs == fields);
    require(decoder->table().size() == encoder->table().size() && decoder->table().count() == encoder->table().count());
    require(oracle_decoder.tableSize() == encoder->table().size());
    require(oracle_decoder.tableCount() == encoder->table().count());
    // Of its own accord libnghttp2 says "never index" of short cookies and of authorization, too.
    std::vector<OracleField> copies = decode(*decoder_of_theirs, scratch, oracle_encoder.encode(fields));
    require(copies.size() == fields.size());
    for (size_t i = 0; i < copies.size(); ++i) {
      require(copies[i].never_indexed || !fields[i].never_indexed);
      copies[i].never_indexed = fields[i].never_indexed;
    }
    require(copies == fields);
  }
  return 0;
}
