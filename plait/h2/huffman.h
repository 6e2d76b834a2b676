// The Huffman code of HPACK (RFC 7541 §5.2, Appendix B). The code is canonical, so the lengths of its 257 symbols
// define it; the tables are computed from them at compile time.
#pragma once

#include "plait/base/bytes.h"

namespace plait::h2 {

// The size of `text` when encoded.
size_t huffmanSize(std::string_view text);
// Encodes `text` and returns the size, if that is less than `limit`; else `limit`, and what was written means nothing.
// `out` must have room for `limit` bytes and 8 more.
size_t huffmanEncode(std::string_view text, uint8_t* out, size_t limit = SIZE_MAX / 2);
// Decodes into `out`, which must have room for `input.size() * 8 / 5 + 2` bytes. Returns the size, or -1 when the input
// is no valid encoding: EOS inside, or padding that is longer than 7 bits or not all ones.
ptrdiff_t huffmanDecode(Bytes input, uint8_t* out);

}  // namespace plait::h2
