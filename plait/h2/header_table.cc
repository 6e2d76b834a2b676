#include "plait/h2/header_table.h"

#include <utility>

#include "plait/base/assert.h"

namespace plait::h2 {
namespace {

using http::FieldName;

constexpr TableEntry static_table[static_table_size] = {
    {":authority", "", FieldName::pseudo_authority},
    {":method", "GET", FieldName::pseudo_method},
    {":method", "POST", FieldName::pseudo_method},
    {":path", "/", FieldName::pseudo_path},
    {":path", "/index.html", FieldName::pseudo_path},
    {":scheme", "http", FieldName::pseudo_scheme},
    {":scheme", "https", FieldName::pseudo_scheme},
    {":status", "200", FieldName::pseudo_status},
    {":status", "204", FieldName::pseudo_status},
    {":status", "206", FieldName::pseudo_status},
    {":status", "304", FieldName::pseudo_status},
    {":status", "400", FieldName::pseudo_status},
    {":status", "404", FieldName::pseudo_status},
    {":status", "500", FieldName::pseudo_status},
    {"accept-charset", "", FieldName::accept_charset},
    {"accept-encoding", "gzip, deflate", FieldName::accept_encoding},
    {"accept-language", "", FieldName::accept_language},
    {"accept-ranges", "", FieldName::accept_ranges},
    {"accept", "", FieldName::accept},
    {"access-control-allow-origin", "", FieldName::access_control_allow_origin},
    {"age", "", FieldName::age},
    {"allow", "", FieldName::allow},
    {"authorization", "", FieldName::authorization},
    {"cache-control", "", FieldName::cache_control},
    {"content-disposition", "", FieldName::content_disposition},
    {"content-encoding", "", FieldName::content_encoding},
    {"content-language", "", FieldName::content_language},
    {"content-length", "", FieldName::content_length},
    {"content-location", "", FieldName::content_location},
    {"content-range", "", FieldName::content_range},
    {"content-type", "", FieldName::content_type},
    {"cookie", "", FieldName::cookie},
    {"date", "", FieldName::date},
    {"etag", "", FieldName::etag},
    {"expect", "", FieldName::expect},
    {"expires", "", FieldName::expires},
    {"from", "", FieldName::from},
    {"host", "", FieldName::host},
    {"if-match", "", FieldName::if_match},
    {"if-modified-since", "", FieldName::if_modified_since},
    {"if-none-match", "", FieldName::if_none_match},
    {"if-range", "", FieldName::if_range},
    {"if-unmodified-since", "", FieldName::if_unmodified_since},
    {"last-modified", "", FieldName::last_modified},
    {"link", "", FieldName::link},
    {"location", "", FieldName::location},
    {"max-forwards", "", FieldName::max_forwards},
    {"proxy-authenticate", "", FieldName::proxy_authenticate},
    {"proxy-authorization", "", FieldName::proxy_authorization},
    {"range", "", FieldName::range},
    {"referer", "", FieldName::referer},
    {"refresh", "", FieldName::refresh},
    {"retry-after", "", FieldName::retry_after},
    {"server", "", FieldName::server},
    {"set-cookie", "", FieldName::set_cookie},
    {"strict-transport-security", "", FieldName::strict_transport_security},
    {"transfer-encoding", "", FieldName::transfer_encoding},
    {"user-agent", "", FieldName::user_agent},
    {"vary", "", FieldName::vary},
    {"via", "", FieldName::via},
    {"www-authenticate", "", FieldName::www_authenticate},
};

constexpr uint32_t entry_overhead = 32;

}  // namespace

const TableEntry& staticEntry(uint32_t index) {
  PLAIT_ASSERT(index >= 1 && index <= static_table_size);
  return static_table[index - 1];
}

void DynamicTable::evictDownTo(uint32_t size) {
  while (size_ > size) {
    const Slot& oldest = slot(count_ - 1);
    const uint32_t bytes = uint32_t{oldest.name_size} + oldest.value_size;
    begin_ = oldest.offset + bytes;
    size_ -= bytes + entry_overhead;
    count_ -= 1;
  }
  if (count_ == 0) begin_ = end_ = textStart(slot_count_);
}

void DynamicTable::giveBlock() {
  if (block_ == nullptr) return;
  memory_.give(std::exchange(block_, nullptr));
  block_size_ = slot_count_ = begin_ = end_ = 0;
  epoch_ += 1;
}

void DynamicTable::setLimit(uint32_t limit) {
  PLAIT_ASSERT(limit <= max_size);
  limit_ = limit;
  evictDownTo(limit);
  if (count_ == 0) giveBlock();
}

// Makes room for a slot and so many bytes of text behind the last ones.
void DynamicTable::makeRoom(uint32_t bytes) {
  const uint32_t live = end_ - begin_;
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
    begin_ = start;
    end_ = start + live;
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
  block_size_ = size;
  slot_count_ = slots;
  begin_ = start;
  end_ = start + live;
  epoch_ += 1;
}

bool DynamicTable::insert(std::string_view name, std::string_view value, http::FieldName id) {
  const uint64_t needed = uint64_t{name.size()} + value.size() + entry_overhead;
  if (needed > limit_) {
    evictDownTo(0);
    giveBlock();
    return false;
  }
  // A view of the table itself may be evicted or moved while it is inserted, so it is copied first (RFC 7541 §4.4).
  uint8_t copy[max_size];
  const auto isOurs = [this](std::string_view text) {
    const auto* p = reinterpret_cast<const uint8_t*>(text.data());
    return block_ != nullptr && p >= block_ && p < block_ + block_size_;
  };
  if (isOurs(name) || isOurs(value)) {
    if (!name.empty()) std::memcpy(copy, name.data(), name.size());
    if (!value.empty()) std::memcpy(copy + name.size(), value.data(), value.size());
    name = {reinterpret_cast<const char*>(copy), name.size()};
    value = {reinterpret_cast<const char*>(copy) + name.size(), value.size()};
  }
  const auto bytes = static_cast<uint32_t>(name.size() + value.size());
  evictDownTo(limit_ - static_cast<uint32_t>(needed));
  if (count_ == slot_count_ || end_ + bytes > block_size_) makeRoom(bytes);
  if (!name.empty()) std::memcpy(block_ + end_, name.data(), name.size());
  if (!value.empty()) std::memcpy(block_ + end_ + name.size(), value.data(), value.size());
  reinterpret_cast<Slot*>(block_)[inserted_ & (slot_count_ - 1)] = {
      static_cast<uint16_t>(end_), static_cast<uint16_t>(name.size()), static_cast<uint16_t>(value.size()), id};
  end_ += bytes;
  inserted_ += 1;
  count_ += 1;
  size_ += static_cast<uint32_t>(needed);
  return true;
}

}  // namespace plait::h2
