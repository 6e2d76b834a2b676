#include "plait/h1/field_line.h"

#include <algorithm>

#include "plait/h1/scan.h"
#include "plait/http/field_rules.h"

namespace plait::h1 {

FieldLine parseFieldLine(Bytes section, size_t& position, MutableBytes memory) {
  FieldLine line;
  const uint8_t* from = section.data() + position;
  // The section ends in CRLF, which is no token: neither loop runs past its end.
  const size_t room = std::min(memory.size(), section.size() - position);
  size_t name_size = 0;
  while (name_size < room) {
    const uint8_t lowered = http::lower_token_bytes[from[name_size]];
    if (lowered == 0) break;
    memory[name_size++] = lowered;
  }
  while (http::lower_token_bytes[from[name_size]] != 0) name_size += 1;
  if (name_size == 0 || from[name_size] != ':') return line;
  line.well_formed = true;

  size_t begin = position + name_size + 1;
  size_t end = findControl(section, begin);
  position = end + 2;
  while (begin < end && (section[begin] == ' ' || section[begin] == '\t')) begin += 1;
  while (begin < end && (section[end - 1] == ' ' || section[end - 1] == '\t')) end -= 1;
  const size_t value_size = end - begin;
  if (name_size > memory.size() || value_size > memory.size() - name_size) return line;

  line.fits = true;
  if (value_size != 0) std::memcpy(memory.data() + name_size, section.data() + begin, value_size);
  line.name = asText(memory.first(name_size));
  line.value = asText(memory.subspan(name_size, value_size));
  return line;
}

}  // namespace plait::h1
