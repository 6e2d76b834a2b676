// HPACK: any block either fails or gives fields that survive being encoded and decoded again, whatever the indexing.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "plait/h2/hpack_decoder.h"
#include "plait/h2/hpack_encoder.h"

using namespace plait;
using namespace plait::h2;

namespace {
void require(bool condition) {
  if (!condition) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static HpackScratch scratch, scratch_again;
  ClassedSlab memory(DynamicTable::blocksFor(3));
  const auto decoder = std::make_unique<HpackDecoder>(DynamicTable::max_size, memory);
  const auto encoder = std::make_unique<HpackEncoder>(memory);
  const auto again = std::make_unique<HpackDecoder>(DynamicTable::max_size, memory);
  size_t turn = 0;
  // Two bytes in front of each block say how long it is; so the tables are used more than once.
  while (size > 2) {
    const size_t length = std::min<size_t>(loadBe16(data) & 0x3ff, size - 2);
    if ((data[0] & 0x80) != 0) encoder->setPeerTableSize(data[1] * 17u);
    decoder->begin({data + 2, length});
    data += 2 + length;
    size -= 2 + length;
    DecodedField field{};
    std::vector<uint8_t> block(HpackEncoder::begin_bound);
    auto start = static_cast<size_t>(encoder->begin(block.data()) - block.data());
    block.resize(start);
    while (true) {
      const auto more = decoder->next(field, scratch);
      if (!more) return 0;
      if (!*more) break;
      require(field.id == http::fieldNameOf(field.name));
      const auto indexing = field.never_indexed ? Indexing::never : static_cast<Indexing>(turn++ % 3);
      std::vector<uint8_t> out(HpackEncoder::bound(field.name.size(), field.value.size()));
      const uint8_t* const end = encoder->field(out.data(), field.name, field.value, field.id, indexing);
      block.assign(block.begin(), block.begin() + static_cast<ptrdiff_t>(start));
      block.insert(block.end(), static_cast<const uint8_t*>(out.data()), end);
      start = 0;  // the size update has been said, and saying it again would evict again
      again->begin(block);
      DecodedField copy{};
      require(again->next(copy, scratch_again).value_or(false));
      require(copy.name == field.name && copy.value == field.value && copy.never_indexed == field.never_indexed);
      require(again->table().size() == encoder->table().size() && again->table().count() == encoder->table().count());
    }
    if (start != 0) {
      again->begin({block.data(), start});
      DecodedField none{};
      require(!again->next(none, scratch_again).value_or(true));
    }
  }
  return 0;
}
