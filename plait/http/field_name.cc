#include "plait/http/field_name.h"

#include "plait/base/bytes.h"

namespace plait::http {
namespace {

constexpr std::array<std::string_view, field_name_count> names = {"",
#define PLAIT_FIELD_NAME_TEXT(enumerator, text) text,
                                                                  PLAIT_FIELD_NAMES(PLAIT_FIELD_NAME_TEXT)
#undef PLAIT_FIELD_NAME_TEXT
};

constexpr size_t shortest = 2;  // "te"

constexpr uint32_t load4(const char* p) {
  return static_cast<uint32_t>(static_cast<uint8_t>(p[0])) | static_cast<uint32_t>(static_cast<uint8_t>(p[1])) << 8 |
         static_cast<uint32_t>(static_cast<uint8_t>(p[2])) << 16 |
         static_cast<uint32_t>(static_cast<uint8_t>(p[3])) << 24;
}

constexpr size_t slot_bits = 10;
constexpr size_t slot_count = size_t{1} << slot_bits;

constexpr size_t slotOf(std::string_view name) {
  uint32_t first;
  uint32_t last;
  if (name.size() >= 4) {
    first = load4(name.data());
    last = load4(name.data() + name.size() - 4);
  } else {
    first = static_cast<uint8_t>(name[0]);
    last = static_cast<uint8_t>(name[1]);
  }
  const uint64_t mixed = (first ^ uint64_t{last} << 21 ^ uint64_t{name.size()} << 40) * 0x9e3779b97f4a7c15;
  return static_cast<size_t>(mixed >> (64 - slot_bits));
}

// Open addressing with a load below one fifth. The table is built by the compiler, so a name added to the list cannot
// break it; a minimal perfect hash would have to be searched for again.
constexpr auto slots = [] {
  std::array<uint8_t, slot_count> table{};
  for (size_t i = 1; i < field_name_count; ++i) {
    size_t slot = slotOf(names[i]);
    while (table[slot] != 0) slot = (slot + 1) % slot_count;
    table[slot] = static_cast<uint8_t>(i);
  }
  return table;
}();

static_assert([] {
  for (size_t i = 1; i < field_name_count; ++i) {
    if (names[i].size() < shortest || names[i].size() > longest_field_name) return false;
    for (const char c : names[i]) {
      if (c >= 'A' && c <= 'Z') return false;
    }
  }
  return true;
}());

}  // namespace

constinit const std::array<std::string_view, field_name_count> field_name_texts = names;

FieldName fieldNameOf(std::string_view lower_case) {
  if (lower_case.size() < shortest || lower_case.size() > longest_field_name) return FieldName::unknown;
  for (size_t slot = slotOf(lower_case);; slot = (slot + 1) % slot_count) {
    const uint8_t candidate = slots[slot];
    if (candidate == 0) return FieldName::unknown;
    const std::string_view name = names[candidate];
    if (equalShort(name, lower_case)) return static_cast<FieldName>(candidate);
  }
}

}  // namespace plait::http
