// Huffman: what decodes must encode to the very same bytes, for the code and its padding are unique.
#include <cstring>
#include <vector>

#include "fuzz/target.h"
#include "plait/h2/huffman.h"

using namespace plait;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> text(size * 8 / 5 + 2);
  const std::vector<uint8_t> input(data, data + size);
  const ptrdiff_t count = h2::huffmanDecode(input, text.data());
  if (count < 0) return 0;
  const std::string_view decoded = asText({text.data(), static_cast<size_t>(count)});
  std::vector<uint8_t> encoded(h2::huffmanSize(decoded) + 8);
  fuzz::require(h2::huffmanEncode(decoded, encoded.data()) == size);
  fuzz::require(size == 0 || std::memcmp(encoded.data(), data, size) == 0);
  return 0;
}
