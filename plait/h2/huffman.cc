#include "plait/h2/huffman.h"

#include <array>

namespace plait::h2 {
namespace {

constexpr uint32_t symbol_count = 257;
constexpr uint32_t eos = 256;
constexpr uint32_t max_length = 30;
// Codes up to this length are decoded by one look-up; all printable text except a few marks fits.
constexpr uint32_t fast_bits = 10;

constexpr std::array<uint8_t, symbol_count> lengths = {
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6,  10, 10, 12, 13, 6,  8,  11, 10, 10, 8,  11, 8,  6,  6,  6,  5,  5,  5,  6,  6,  6,  6,  6,  6,  6,
    7,  8,  15, 6,  12, 10, 13, 6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
    7,  8,  7,  8,  13, 19, 13, 14, 6,  15, 5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,  6,  7,  6,  5,
    5,  6,  7,  7,  7,  7,  7,  15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24,
    24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22,
    23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26,
    27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23,
    22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30};

struct Tables {
  std::array<uint32_t, symbol_count> codes{};
  std::array<uint64_t, 256> encoded{};  // the code, and above its 32 bits its length
  struct Fast {
    uint8_t symbol;
    uint8_t length;  // 0: the code is longer
  };
  std::array<Fast, 1 << fast_bits> fast{};
  std::array<uint16_t, symbol_count> by_code{};        // symbols in the order of their codes
  std::array<uint32_t, max_length + 2> first_code{};   // the first code of each length
  std::array<uint16_t, max_length + 2> first_index{};  // where its symbols start in by_code
  std::array<uint16_t, max_length + 2> count{};
};

constexpr Tables makeTables() {
  Tables tables;
  uint32_t code = 0;
  uint16_t index = 0;
  for (uint32_t length = 1; length <= max_length; ++length) {
    code <<= 1;
    tables.first_code[length] = code;
    tables.first_index[length] = index;
    for (uint32_t symbol = 0; symbol < symbol_count; ++symbol) {
      if (lengths[symbol] != length) continue;
      tables.codes[symbol] = code;
      tables.by_code[index++] = static_cast<uint16_t>(symbol);
      if (length <= fast_bits) {
        const uint32_t shift = fast_bits - length;
        for (uint32_t i = 0; i < (1u << shift); ++i) {
          tables.fast[(code << shift) + i] = {static_cast<uint8_t>(symbol), static_cast<uint8_t>(length)};
        }
      }
      code += 1;
    }
    tables.count[length] = static_cast<uint16_t>(index - tables.first_index[length]);
  }
  for (uint32_t symbol = 0; symbol < 256; ++symbol)
    tables.encoded[symbol] = uint64_t{lengths[symbol]} << 32 | tables.codes[symbol];
  return tables;
}

constexpr Tables tables = makeTables();
static_assert(tables.codes[eos] == 0x3fffffff, "EOS is thirty ones (RFC 7541 Appendix B)");

struct Code {
  uint32_t symbol;
  uint32_t length;
};

// The code at the top of `word` when it is longer than fast_bits. The code is complete, so one always matches.
Code longCode(uint64_t word) {
  for (uint32_t length = fast_bits + 1; length < max_length; ++length) {
    const auto offset = static_cast<uint32_t>(word >> (64 - length)) - tables.first_code[length];
    if (offset < tables.count[length]) return {tables.by_code[tables.first_index[length] + offset], length};
  }
  const auto offset = static_cast<uint32_t>(word >> (64 - max_length)) - tables.first_code[max_length];
  return {tables.by_code[tables.first_index[max_length] + offset], max_length};
}

}  // namespace

size_t huffmanSize(std::string_view text) {
  size_t bits = 0;
  for (const char c : text) bits += lengths[static_cast<uint8_t>(c)];
  return (bits + 7) / 8;
}

size_t huffmanEncode(std::string_view text, uint8_t* out) {
  uint8_t* const start = out;
  uint64_t word = 0;  // bits not written yet, in its low `filled` bits
  uint32_t filled = 0;
  for (const char c : text) {
    const uint64_t code = tables.encoded[static_cast<uint8_t>(c)];
    const auto length = static_cast<uint32_t>(code >> 32);
    word = word << length | static_cast<uint32_t>(code);
    filled += length;
    if (filled >= 32) {
      filled -= 32;
      storeBe32(out, static_cast<uint32_t>(word >> filled));
      out += 4;
    }
  }
  if (filled != 0) {
    // The rest of the last byte is filled with ones, the start of EOS.
    const uint32_t padding = (8 - filled % 8) % 8;
    word = word << padding | ((1u << padding) - 1);
    filled += padding;
    while (filled != 0) {
      filled -= 8;
      *out++ = static_cast<uint8_t>(word >> filled);
    }
  }
  return static_cast<size_t>(out - start);
}

ptrdiff_t huffmanDecode(Bytes input, uint8_t* out) {
  uint8_t* const start = out;
  const uint8_t* p = input.data();
  const uint8_t* const end = p + input.size();
  uint64_t word = 0;  // unread bits, from its top downwards
  uint32_t filled = 0;
  // While eight bytes are left a refill is one load. It may put more bits into `word` than `filled` counts; they are
  // the next ones, so the following load puts the same ones there again.
  while (end - p >= 8) {
    word |= loadBe64(p) >> filled;
    p += (63 - filled) >> 3;
    filled |= 56;
    if (tables.fast[word >> (64 - fast_bits)].length == 0) {
      const Code code = longCode(word);
      if (code.symbol == eos) return -1;
      *out++ = static_cast<uint8_t>(code.symbol);
      word <<= code.length;
      filled -= code.length;
    }
    while (filled >= fast_bits) {
      const auto entry = tables.fast[word >> (64 - fast_bits)];
      if (entry.length == 0) break;
      *out++ = entry.symbol;
      word <<= entry.length;
      filled -= entry.length;
    }
  }
  word = filled == 0 ? 0 : word & ~uint64_t{0} << (64 - filled);
  while (true) {
    for (; filled <= 56 && p != end; filled += 8) word |= uint64_t{*p++} << (56 - filled);
    // Short codes as long as they are certainly whole.
    while (filled >= fast_bits) {
      const auto entry = tables.fast[word >> (64 - fast_bits)];
      if (entry.length == 0) break;
      *out++ = entry.symbol;
      word <<= entry.length;
      filled -= entry.length;
    }
    if (p != end && filled <= 56) continue;
    // Missing bits count as ones, so that padding looks like the start of EOS.
    const uint64_t padded = filled == 64 ? word : word | ~uint64_t{0} >> filled;
    const auto entry = tables.fast[padded >> (64 - fast_bits)];
    const Code code = entry.length != 0 ? Code{entry.symbol, entry.length} : longCode(padded);
    if (code.length > filled) {
      // What is left is padding: less than a byte, and all ones.
      return filled <= 7 && padded == ~uint64_t{0} ? out - start : -1;
    }
    if (code.symbol == eos) return -1;
    *out++ = static_cast<uint8_t>(code.symbol);
    word <<= code.length;
    filled -= code.length;
  }
}

}  // namespace plait::h2
