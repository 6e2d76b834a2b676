#include "plait/proxy/access_ring.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace plait {

// In the ring a record is this, and its texts behind it.
struct AccessRing::Header {
  static constexpr size_t texts = 9;
  uint32_t size;    // of the whole entry, a multiple of 16
  bool is_padding;  // nothing but the rest of the ring's end
  uint16_t lengths[texts];
  AccessRecord record;
};

namespace {

constexpr size_t alignment = 16;

std::array<std::string_view*, 9> textsOf(AccessRecord& record) {
  return {&record.route,     &record.client, &record.real_client, &record.request_id, &record.method,
          &record.authority, &record.path,   &record.referer,     &record.user_agent};
}

}  // namespace

AccessRing::AccessRing(size_t size) : memory_(size), size_(size) {
  PLAIT_ASSERT(size >= 64 * 1024);
  PLAIT_ASSERT((size & (size - 1)) == 0);
}

bool AccessRing::push(const AccessRecord& record) {
  AccessRecord copy = record;
  const auto texts = textsOf(copy);
  size_t size = sizeof(Header);
  for (std::string_view* text : texts) {
    *text = text->substr(0, max_text);
    size += text->size();
  }
  size = (size + alignment - 1) / alignment * alignment;
  uint64_t position = pushed_.load(std::memory_order_relaxed);
  const size_t to_end = size_ - static_cast<size_t>(position & (size_ - 1));
  // An entry lies in one piece: where it would reach over the end, the rest of the ring is padding.
  const size_t padding = to_end < size ? to_end : 0;
  if (size_ - static_cast<size_t>(position - popped_.load(std::memory_order_acquire)) < size + padding) {
    dropped_.store(dropped_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return false;
  }
  if (padding != 0) {
    // The rest may be too short for a whole header, but never for its first fields.
    uint8_t* place = memory_.data() + (position & (size_ - 1));
    static_assert(offsetof(Header, is_padding) < alignment);
    const auto padding_size = static_cast<uint32_t>(padding);
    std::memcpy(place, &padding_size, sizeof(padding_size));
    place[offsetof(Header, is_padding)] = 1;
    position += padding;
  }
  uint8_t* place = memory_.data() + (position & (size_ - 1));
  auto* header = new (place) Header{static_cast<uint32_t>(size), false, {}, copy};
  uint8_t* end = place + sizeof(Header);
  for (size_t i = 0; i < texts.size(); ++i) {
    header->lengths[i] = static_cast<uint16_t>(texts[i]->size());
    if (!texts[i]->empty()) std::memcpy(end, texts[i]->data(), texts[i]->size());
    end += texts[i]->size();
  }
  lines_.store(lines_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  pushed_.store(position + size, std::memory_order_release);
  return true;
}

bool AccessRing::front(AccessRecord& record) {
  uint64_t position = popped_.load(std::memory_order_relaxed);
  if (position == pushed_.load(std::memory_order_acquire)) return false;
  uint8_t* place = memory_.data() + (position & (size_ - 1));
  if (place[offsetof(Header, is_padding)] != 0) {
    uint32_t padding = 0;
    std::memcpy(&padding, place, sizeof(padding));
    position += padding;
    popped_.store(position, std::memory_order_release);
    place = memory_.data() + (position & (size_ - 1));  // padding is published together with what follows it
  }
  const auto* header = reinterpret_cast<const Header*>(place);
  record = header->record;
  const char* text = reinterpret_cast<const char*>(place) + sizeof(Header);
  size_t i = 0;
  for (std::string_view* view : textsOf(record)) {
    *view = {text, header->lengths[i]};
    text += header->lengths[i++];
  }
  front_size_ = header->size;
  return true;
}

void AccessRing::popped() {
  PLAIT_ASSERT(front_size_ != 0);
  popped_.store(popped_.load(std::memory_order_relaxed) + std::exchange(front_size_, 0), std::memory_order_release);
}

}  // namespace plait
