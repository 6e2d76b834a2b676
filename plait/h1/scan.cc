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
  // Up to 16 bytes are two words, or one that begins with what was before them.
  const size_t left = bytes.size() - from;
  if (left != 0 && left <= 16 && bytes.size() >= 8 && isFreeOfControls(loadBe64(bytes.data() + bytes.size() - 8)) &&
      (left <= 8 || isFreeOfControls(loadBe64(bytes.data() + from)))) {
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
