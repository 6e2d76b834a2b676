#include "plait/h1/scan.h"

#include <bit>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace plait::h1 {
namespace {

inline bool isControl(uint8_t byte) {
  return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

// No byte of it is below 0x20, nor 0x7f. HTAB is not plain, though it is no control that anybody looks for.
inline bool isPlain(uint64_t word) {
  constexpr uint64_t ones = 0x0101010101010101;
  const uint64_t low_bits = word & (0x7f * ones);
  const uint64_t not_low = low_bits + 0x60 * ones;
  const uint64_t del = low_bits + ones;
  return ((~(not_low | word) | (del & ~word)) & (0x80 * ones)) == 0;
}

}  // namespace

size_t findControlPortable(Bytes bytes, size_t from) {
  while (from < bytes.size() && !isControl(bytes[from])) from += 1;
  return from;
}

size_t findControl(Bytes bytes, size_t from) {
#if defined(__SSE2__)
  const __m128i last_control = _mm_set1_epi8(0x1f);
  const __m128i tab = _mm_set1_epi8('\t');
  const __m128i del = _mm_set1_epi8(0x7f);
  for (; from + 16 <= bytes.size(); from += 16) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes.data() + from));
    // SSE2 compares signed bytes only; the unsigned minimum tells which are at most 0x1f.
    const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(block, last_control), block);
    const __m128i stop = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(block, tab), low), _mm_cmpeq_epi8(block, del));
    const auto mask = static_cast<uint32_t>(_mm_movemask_epi8(stop));
    if (mask != 0) return from + static_cast<size_t>(std::countr_zero(mask));
  }
#endif
  // What is left of fewer than 16 bytes, if it is nothing special.
  if (from < bytes.size() && bytes.size() >= 8 && isPlain(loadBe64(bytes.data() + bytes.size() - 8)) &&
      (bytes.size() - from <= 8 || isPlain(loadBe64(bytes.data() + from)))) {
    return bytes.size();
  }
  return findControlPortable(bytes, from);
}

HeadScan scanLines(Bytes bytes, size_t begin, size_t& scanned) {
  size_t position = scanned < begin ? begin : scanned;
  while (true) {
    position = findControl(bytes, position);
    scanned = position;
    if (position == bytes.size()) return HeadScan::need_more;
    if (bytes[position] != '\r') return HeadScan::malformed;
    if (position + 1 == bytes.size()) return HeadScan::need_more;
    if (bytes[position + 1] != '\n') return HeadScan::malformed;
    // Everything before is known to be good, so an LF just before this CR ended a line.
    const bool is_empty_line = position == begin || bytes[position - 1] == '\n';
    if (is_empty_line) return HeadScan::complete;
    position += 2;
  }
}

}  // namespace plait::h1
