// HPACK, decoding: of any blocks plait and libnghttp2 read the same fields into the same tables, or both refuse.
// Two bytes in front of each block say how long it is, so that the tables are used more than once. The first byte says
// how large a table we announced.
#include <memory>

#include "fuzz/nghttp2_hpack.h"
#include "plait/h2/frame.h"
#include "plait/h2/hpack_decoder.h"
#include "plait/h2/sound_field.h"

using namespace plait;
using namespace plait::h2;
using namespace plait::fuzz;

namespace {

// False when the block is broken.
bool decode(HpackDecoder& decoder, HpackScratch& scratch, Bytes block, std::vector<OracleField>& fields) {
  const std::vector<uint8_t> input = exact(block);
  HpackDecoder::Cursor cursor(input);
  DecodedField field{};
  while (true) {
    const auto more = decoder.next(cursor, field, scratch);
    if (!more) {
      require(more.error().detail == static_cast<uint32_t>(H2Error::compression_error));
      return false;
    }
    if (!*more) return true;
    require(field.id == http::fieldNameOf(field.name));
    require(field.is_sound == isSoundField(field.name, field.value, field.id));
    fields.push_back({std::string(field.name), std::string(field.value), field.never_indexed});
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static constexpr uint32_t table_sizes[] = {4096, 0, 31, 64, 100, 512, 2048, 4095};
  static HpackScratch scratch;
  ClassedSlab memory(DynamicTable::blocksFor(1));
  Input input(data, size);
  const uint32_t table_size = table_sizes[input.byte() % std::size(table_sizes)];
  const auto decoder = std::make_unique<HpackDecoder>(table_size, memory);
  OracleDecoder oracle;
  oracle.changeTableSize(table_size);
  // Where less than 4,096 was announced libnghttp2 insists on a size update in the first block (RFC 7541 §4.2); plait
  // reads on, since such a peer has at most forgotten to say what it does. So the first block says it here.
  std::vector<uint8_t> update;
  if (table_size < 31) {
    update = {static_cast<uint8_t>(0x20 | table_size)};
  } else if (table_size != 4096) {
    update = {0x3f};
    uint32_t left = table_size - 31;
    for (; left >= 128; left >>= 7) update.push_back(static_cast<uint8_t>(0x80 | (left & 0x7f)));
    update.push_back(static_cast<uint8_t>(left));
  }
  std::vector<OracleField> ours, theirs;
  while (!input.empty()) {
    const uint32_t length = input.below(0x2000);
    const Bytes next = input.bytes(length);
    update.insert(update.end(), next.begin(), next.end());
    ours.clear();
    theirs.clear();
    const bool is_ours_good = decode(*decoder, scratch, update, ours);
    const bool is_theirs_good = oracle.decode(update, theirs);
    require(ours == theirs);
    require(is_ours_good == is_theirs_good);
    if (!is_ours_good) return 0;
    require(decoder->table().size() == oracle.tableSize() && decoder->table().count() == oracle.tableCount());
    update.clear();
  }
  return 0;
}
