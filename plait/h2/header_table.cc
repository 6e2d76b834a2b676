#include "plait/h2/header_table.h"

#include <utility>

#include "plait/base/assert.h"

namespace plait::h2 {

using http::FieldName;

constinit const TableEntry static_table[static_table_size] = {
    {":authority", "", FieldName::pseudo_authority, true},
    {":method", "GET", FieldName::pseudo_method, true},
    {":method", "POST", FieldName::pseudo_method, true},
    {":path", "/", FieldName::pseudo_path, true},
    {":path", "/index.html", FieldName::pseudo_path, true},
    {":scheme", "http", FieldName::pseudo_scheme, true},
    {":scheme", "https", FieldName::pseudo_scheme, true},
    {":status", "200", FieldName::pseudo_status, true},
    {":status", "204", FieldName::pseudo_status, true},
    {":status", "206", FieldName::pseudo_status, true},
    {":status", "304", FieldName::pseudo_status, true},
    {":status", "400", FieldName::pseudo_status, true},
    {":status", "404", FieldName::pseudo_status, true},
    {":status", "500", FieldName::pseudo_status, true},
    {"accept-charset", "", FieldName::accept_charset, true},
    {"accept-encoding", "gzip, deflate", FieldName::accept_encoding, true},
    {"accept-language", "", FieldName::accept_language, true},
    {"accept-ranges", "", FieldName::accept_ranges, true},
    {"accept", "", FieldName::accept, true},
    {"access-control-allow-origin", "", FieldName::access_control_allow_origin, true},
    {"age", "", FieldName::age, true},
    {"allow", "", FieldName::allow, true},
    {"authorization", "", FieldName::authorization, true},
    {"cache-control", "", FieldName::cache_control, true},
    {"content-disposition", "", FieldName::content_disposition, true},
    {"content-encoding", "", FieldName::content_encoding, true},
    {"content-language", "", FieldName::content_language, true},
    {"content-length", "", FieldName::content_length, true},
    {"content-location", "", FieldName::content_location, true},
    {"content-range", "", FieldName::content_range, true},
    {"content-type", "", FieldName::content_type, true},
    {"cookie", "", FieldName::cookie, true},
    {"date", "", FieldName::date, true},
    {"etag", "", FieldName::etag, true},
    {"expect", "", FieldName::expect, true},
    {"expires", "", FieldName::expires, true},
    {"from", "", FieldName::from, true},
    {"host", "", FieldName::host, true},
    {"if-match", "", FieldName::if_match, true},
    {"if-modified-since", "", FieldName::if_modified_since, true},
    {"if-none-match", "", FieldName::if_none_match, true},
    {"if-range", "", FieldName::if_range, true},
    {"if-unmodified-since", "", FieldName::if_unmodified_since, true},
    {"last-modified", "", FieldName::last_modified, true},
    {"link", "", FieldName::link, true},
    {"location", "", FieldName::location, true},
    {"max-forwards", "", FieldName::max_forwards, true},
    {"proxy-authenticate", "", FieldName::proxy_authenticate, true},
    {"proxy-authorization", "", FieldName::proxy_authorization, true},
    {"range", "", FieldName::range, true},
    {"referer", "", FieldName::referer, true},
    {"refresh", "", FieldName::refresh, true},
    {"retry-after", "", FieldName::retry_after, true},
    {"server", "", FieldName::server, true},
    {"set-cookie", "", FieldName::set_cookie, true},
    {"strict-transport-security", "", FieldName::strict_transport_security, true},
    {"transfer-encoding", "", FieldName::transfer_encoding, true},
    {"user-agent", "", FieldName::user_agent, true},
    {"vary", "", FieldName::vary, true},
    {"via", "", FieldName::via, true},
    {"www-authenticate", "", FieldName::www_authenticate, true},
};

namespace {

constexpr uint32_t entry_overhead = 32;

}  // namespace

void DynamicTable::evictDownTo(uint32_t size) {
  while (size_ > size) {
    const Slot& oldest = slot(count_ - 1);
    begin_ = static_cast<uint16_t>(oldest.offset + oldest.keptNameSize() + oldest.value_size);
    size_ = static_cast<uint16_t>(size_ - oldest.name_size - oldest.value_size - entry_overhead);
    count_ -= 1;
  }
  if (count_ == 0) begin_ = end_ = static_cast<uint16_t>(textStart(slot_count_));
}

void DynamicTable::giveBlock() {
  if (block_ == nullptr) return;
  memory_.give(std::exchange(block_, nullptr));
  block_size_ = slot_count_ = begin_ = end_ = 0;
  epoch_ += 1;
}

void DynamicTable::setLimit(uint32_t limit) {
  PLAIT_ASSERT(limit <= max_size);
  limit_ = static_cast<uint16_t>(limit);
  evictDownTo(limit);
  if (count_ == 0) giveBlock();
}

// Makes room for a slot and so many bytes of text behind the last ones.
void DynamicTable::makeRoom(uint32_t bytes) {
  const auto live = static_cast<uint32_t>(end_ - begin_);
  uint32_t size = block_size_ == 0 ? ClassedSlab::smallest : block_size_;
  const auto fits = [&](uint32_t block_size) {
    const uint32_t text = block_size - textStart(slotsIn(block_size));
    // A block that would be nearly full of what lives would have to be tidied again at once.
    const uint32_t useful = block_size == block_size_ ? text / 4 * 3 : text;
    return count_ < slotsIn(block_size) && live + bytes <= useful;
  };
  while (size < ClassedSlab::largest && !fits(size)) size *= 2;
  if (size == block_size_) {
    const uint32_t start = textStart(slot_count_);
    std::memmove(block_ + start, block_ + begin_, live);
    for (uint32_t i = 0; i < count_; ++i) slot(i).offset = static_cast<uint16_t>(slot(i).offset - begin_ + start);
    begin_ = static_cast<uint16_t>(start);
    end_ = static_cast<uint16_t>(start + live);
    return;
  }
  uint8_t* const larger = memory_.take(size);
  PLAIT_ASSERT(larger != nullptr);  // the memory has a block for every table
  const uint32_t slots = slotsIn(size);
  const uint32_t start = textStart(slots);
  auto* const moved = reinterpret_cast<Slot*>(larger);
  std::memset(larger + slots * sizeof(Slot), 0, slots * index_share_);
  if (live != 0) std::memcpy(larger + start, block_ + begin_, live);
  for (uint32_t i = 0; i < count_; ++i) {
    Slot& to = moved[(inserted_ - 1 - i) & (slots - 1)];
    to = slot(i);
    to.offset = static_cast<uint16_t>(to.offset - begin_ + start);
  }
  if (block_ != nullptr) memory_.give(block_);
  block_ = larger;
  block_size_ = static_cast<uint16_t>(size);
  slot_count_ = static_cast<uint16_t>(slots);
  begin_ = static_cast<uint16_t>(start);
  end_ = static_cast<uint16_t>(start + live);
  epoch_ += 1;
}

bool DynamicTable::insert(std::string_view name, std::string_view value, FieldName id, bool is_sound) {
  const uint64_t needed = uint64_t{name.size()} + value.size() + entry_overhead;
  if (needed > limit_) {
    evictDownTo(0);
    giveBlock();
    return false;
  }
  const auto name_size = static_cast<uint16_t>(name.size());
  if (id != FieldName::unknown) name = {};
  // A view of the table itself may be evicted or moved while it is inserted, so it is copied first (RFC 7541 §4.4).
  uint8_t copy[max_size];
  const auto isOurs = [this](std::string_view text) {
    const auto* p = reinterpret_cast<const uint8_t*>(text.data());
    return block_ != nullptr && p >= block_ && p < block_ + block_size_;
  };
  if (isOurs(name) || isOurs(value)) {
    copyShort(copy, name.data(), name.size());
    copyShort(copy + name.size(), value.data(), value.size());
    name = {reinterpret_cast<const char*>(copy), name.size()};
    value = {reinterpret_cast<const char*>(copy) + name.size(), value.size()};
  }
  const auto bytes = static_cast<uint32_t>(name.size() + value.size());
  evictDownTo(limit_ - static_cast<uint32_t>(needed));
  if (count_ == slot_count_ || end_ + bytes > block_size_) makeRoom(bytes);
  copyShort(block_ + end_, name.data(), name.size());
  copyShort(block_ + end_ + name.size(), value.data(), value.size());
  slots()[inserted_ & (slot_count_ - 1)] = {static_cast<uint16_t>(end_), name_size, static_cast<uint16_t>(value.size()),
                                            id, is_sound};
  end_ = static_cast<uint16_t>(end_ + bytes);
  inserted_ += 1;
  count_ += 1;
  size_ = static_cast<uint16_t>(size_ + needed);
  return true;
}

}  // namespace plait::h2
