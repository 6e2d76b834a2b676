// Looking for the bytes at which an HTTP/1.x head has to stop and think.
#pragma once

#include <cstddef>
#include <cstdint>

#include "plait/base/bytes.h"

namespace plait::h1 {

// Index of the first control character other than HTAB (0x00–0x1f, 0x7f) at or behind `from`; size when there is none.
// No byte at or behind the end is read.
size_t findControl(Bytes bytes, size_t from);
// The portable form of the same; the tests hold the two against each other.
size_t findControlPortable(Bytes bytes, size_t from);

enum class HeadScan : uint8_t {
  need_more,
  complete,  // `scanned` is where the empty line starts: the section ends two bytes behind it, and asking again says so
  malformed,  // a control character, a CR without LF, or an LF without CR
};

// Looks for the empty line that ends a section of lines starting at `begin`, checking that lines end in CRLF and
// contain no other control characters. `scanned` is the position up to which that is known, never below `begin`; it
// advances. A section may consist of the empty line alone.
HeadScan scanLines(Bytes bytes, size_t begin, size_t& scanned);

}  // namespace plait::h1
