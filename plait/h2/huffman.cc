#include "plait/h2/huffman.h"

#include <algorithm>
#include <array>
#include <bit>

namespace plait::h2 {
namespace {

constexpr uint32_t symbol_count = 257;
constexpr uint32_t eos = 256;
constexpr uint32_t max_length = 30;
// So many bits are looked up at once: two symbols in most cases, since those of ordinary text have five to seven.
constexpr uint32_t look_bits = 12;

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

// The symbols that look_bits bits begin with, in one word: bits 0 to 5 how many bits all its symbols take, 8 to 15 the
// first symbol, 16 to 23 the second, 24 to 27 the bits of the first alone, 30 and 31 how many symbols there are; 0: the
// code is longer.
struct Look {
  uint32_t word = 0;
  constexpr uint32_t bits() const { return word & 63; }
  constexpr uint32_t firstBits() const { return word >> 24 & 15; }
  constexpr uint32_t count() const { return word >> 30; }
  uint8_t first() const { return static_cast<uint8_t>(word >> 8); }
  // Writes two bytes, though only count() of them mean something.
  void write(uint8_t* out) const {
    const auto both = static_cast<uint16_t>(word >> 8);
    static_assert(std::endian::native == std::endian::little);
    std::memcpy(out, &both, sizeof(both));
  }
};

struct Tables {
  std::array<uint32_t, symbol_count> codes{};
  std::array<uint64_t, 256> encoded{};  // the code, and above its 32 bits its length
  std::array<Look, 1 << look_bits> looks{};
  std::array<uint16_t, symbol_count> by_code{};        // symbols in the order of their codes
  std::array<uint32_t, max_length + 2> first_code{};   // the first code of each length
  std::array<uint16_t, max_length + 2> first_index{};  // where its symbols start in by_code
  std::array<uint16_t, max_length + 2> count{};
};

consteval Tables makeTables() {
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
      if (length <= look_bits) {
        const uint32_t shift = look_bits - length;
        for (uint32_t i = 0; i < (1u << shift); ++i) {
          tables.looks[(code << shift) + i].word = 1u << 30 | length << 24 | symbol << 8 | length;
        }
      }
      code += 1;
    }
    tables.count[length] = static_cast<uint16_t>(index - tables.first_index[length]);
  }
  // A second symbol where its code is whole as well.
  const auto singles = tables.looks;
  for (uint32_t bits = 0; bits < tables.looks.size(); ++bits) {
    const Look first = singles[bits];
    if (first.count() == 0) continue;
    const Look second = singles[(bits << first.bits()) & (tables.looks.size() - 1)];
    if (second.count() == 0 || first.bits() + second.bits() > look_bits) continue;
    tables.looks[bits].word = 2u << 30 | first.bits() << 24 | (second.word & 0xff00) << 8 | (first.word & 0xff00) |
                              (first.bits() + second.bits());
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

// The code at the top of `word` when it is longer than look_bits. The code is complete, so one always matches.
Code longCode(uint64_t word) {
  for (uint32_t length = look_bits + 1; length < max_length; ++length) {
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

size_t huffmanEncode(std::string_view text, uint8_t* out, size_t limit) {
  uint8_t* const start = out;
  uint64_t word = 0;  // bits not written yet, in its low `filled` bits
  uint32_t filled = 0;
  for (const char c : text) {
    const uint64_t code = tables.encoded[static_cast<uint8_t>(c)];
    const auto length = static_cast<uint32_t>(code >> 32);
    word = word << length | static_cast<uint32_t>(code);
    filled += length;
    if (filled >= 32) {
      if (static_cast<size_t>(out - start) + 4 > limit) return limit;
      filled -= 32;
      storeBe32(out, static_cast<uint32_t>(word >> filled));
      out += 4;
    }
  }
  const uint32_t left = (filled + 7) / 8;
  if (static_cast<size_t>(out - start) + left >= limit) return limit;
  // The rest of the last byte is filled with ones, the start of EOS.
  const uint64_t padded = ~((~word << 1) << (63 - filled));
  storeBe32(out, static_cast<uint32_t>(padded >> 32));
  return static_cast<size_t>(out + left - start);
}

namespace {

// `count` bytes, 1 to 8, from the top of a word downwards; zeros below.
uint64_t loadTop(const uint8_t* p, size_t count) {
  if (count == 8) return loadBe64(p);
  if (count >= 4) return uint64_t{loadBe32(p)} << 32 | uint64_t{loadBe32(p + count - 4)} << 8 * (8 - count);
  return uint64_t{p[0]} << 56 | uint64_t{p[count / 2]} << (56 - 8 * (count / 2)) |
         uint64_t{p[count - 1]} << 8 * (8 - count);
}

}  // namespace

ptrdiff_t huffmanDecode(Bytes input, uint8_t* out) {
  uint8_t* const start = out;
  const uint8_t* p = input.data();
  const uint8_t* const end = p + input.size();
  uint64_t word = 0;  // unread bits, from its top downwards
  uint32_t filled = 0;
  const auto take = [&](Look look) {
    look.write(out);
    out += look.count();
    word <<= look.bits();
    filled -= look.bits();
  };
  // While eight bytes are left a refill is one load. It may put more bits into `word` than `filled` counts; they are
  // the next ones, so the following load puts the same ones there again.
  while (end - p >= 8) {
    word |= loadBe64(p) >> filled;
    p += (63 - filled) >> 3;
    filled |= 56;
    if (tables.looks[word >> (64 - look_bits)].count() == 0) {
      const Code code = longCode(word);
      if (code.symbol == eos) return -1;
      *out++ = static_cast<uint8_t>(code.symbol);
      word <<= code.length;
      filled -= code.length;
    }
    while (filled >= look_bits) {
      const Look look = tables.looks[word >> (64 - look_bits)];
      if (look.count() == 0) break;
      take(look);
    }
  }
  word = filled == 0 ? 0 : word & ~uint64_t{0} << (64 - filled);
  while (true) {
    if (p != end && filled <= 56) {
      const size_t count = std::min<size_t>(static_cast<size_t>(end - p), (64 - filled) / 8);
      word |= loadTop(p, count) >> filled;
      p += count;
      filled += static_cast<uint32_t>(count * 8);
    }
    // Whole symbols as long as they are certain.
    while (filled >= look_bits) {
      const Look look = tables.looks[word >> (64 - look_bits)];
      if (look.count() == 0) break;
      take(look);
    }
    if (p != end && filled <= 56) continue;
    // Missing bits count as ones, so that padding looks like the start of EOS.
    const uint64_t padded = filled == 64 ? word : word | ~uint64_t{0} >> filled;
    // The bits that are left are padding: less than a byte, and all ones. No code is that.
    if (filled <= 7 && padded == ~uint64_t{0}) return out - start;
    const Look look = tables.looks[padded >> (64 - look_bits)];
    const Code code = look.count() != 0 ? Code{look.first(), look.firstBits()} : longCode(padded);
    if (code.length > filled || code.symbol == eos) return -1;
    *out++ = static_cast<uint8_t>(code.symbol);
    word <<= code.length;
    filled -= code.length;
  }
}

}  // namespace plait::h2
