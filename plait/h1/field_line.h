// One field line of a section whose line structure scanLines() has checked already.
#pragma once

#include <string_view>

#include "plait/base/bytes.h"

namespace plait::h1 {

struct FieldLine {
  bool well_formed = false;  // false: the name is empty, is no token, or no colon follows it directly
  bool fits = false;         // false: name and value exceed the memory given; both views are then empty
  std::string_view name;     // lower case, at the start of the memory
  std::string_view value;    // without surrounding whitespace, directly behind the name
};

// Parses the line at `position` and moves behind its CRLF. Name (lower-cased) and value are copied into `memory`, so
// that a FieldList that lent its free bytes only has to commit them. Obsolete line folding and whitespace before the
// colon come out as not well-formed (RFC 9112 §5.1, §5.2).
FieldLine parseFieldLine(Bytes section, size_t& position, MutableBytes memory);

}  // namespace plait::h1
