// The static table, and a dynamic table in fixed memory (RFC 7541 §2.3, Appendix A).
//
// Strings of the dynamic table lie one behind the other in a buffer of twice the table's largest size; when its end is
// reached, the live half moves to the front. So every entry is contiguous, and moving costs less than a byte a byte.
#pragma once

#include <memory>
#include <string_view>

#include "plait/base/assert.h"
#include "plait/base/bytes.h"
#include "plait/http/field_name.h"

namespace plait::h2 {

struct TableEntry {
  std::string_view name;
  std::string_view value;
  http::FieldName id;
};

inline constexpr uint32_t static_table_size = 61;
// `index` is 1 to 61.
const TableEntry& staticEntry(uint32_t index);

class DynamicTable {
 public:
  static constexpr uint32_t max_size = 4096;    // RFC 7541 §4.1: sum of name + value + 32
  static constexpr uint32_t max_entries = 128;  // max_size / 32

  uint32_t count() const { return count_; }
  uint32_t size() const { return size_; }
  uint32_t limit() const { return limit_; }
  // How many entries were ever inserted: entry `i` (0 is the newest) was number inserted() - 1 - i.
  uint32_t inserted() const { return inserted_; }

  // Evicts what no longer fits. `limit` is at most max_size.
  void setLimit(uint32_t limit);
  // Inserts as the newest entry, evicting old ones; an entry larger than the table empties it (RFC 7541 §4.4). The
  // views may point into the table itself.
  void insert(std::string_view name, std::string_view value, http::FieldName id);
  // 0 is the newest; `index` < count().
  TableEntry at(uint32_t index) const {
    PLAIT_ASSERT(index < count_);
    const Slot& entry = slot(index);
    const auto* text = reinterpret_cast<const char*>(bytes_ + entry.offset);
    return {{text, entry.name_size}, {text + entry.name_size, entry.value_size}, entry.id};
  }

 private:
  struct Slot {
    uint32_t offset;
    uint16_t name_size;
    uint16_t value_size;
    http::FieldName id;
  };
  void evictDownTo(uint32_t size);
  const Slot& slot(uint32_t index) const { return slots_[(inserted_ - 1 - index) % max_entries]; }

  uint8_t bytes_[2 * max_size];
  Slot slots_[max_entries];
  uint32_t begin_ = 0;  // the oldest live byte
  uint32_t end_ = 0;
  uint32_t count_ = 0;
  uint32_t size_ = 0;
  uint32_t limit_ = max_size;
  uint32_t inserted_ = 0;
};

}  // namespace plait::h2
