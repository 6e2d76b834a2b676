#include "plait/http/field_list.h"

namespace plait::http {

FieldList::FieldList(MutableBytes memory)
    : memory_(memory.data()), size_(static_cast<uint32_t>(memory.size() & ~size_t{7})) {
  PLAIT_ASSERT(reinterpret_cast<uintptr_t>(memory.data()) % 8 == 0);
  PLAIT_ASSERT(memory.size() < UINT32_MAX);
}

bool FieldList::addUnnumbered(std::string_view name, std::string_view value, bool never_indexed) {
  if (!hasRoom(name.size() + value.size())) return false;
  uint8_t* text = memory_ + used_;
  put({used_, static_cast<uint32_t>(name.size()), static_cast<uint32_t>(value.size()), FieldName::unknown,
       never_indexed},
      name.size() + value.size());
  copyShort(text, name.data(), name.size());
  copyShort(text + name.size(), value.data(), value.size());
  return true;
}

MutableBytes FieldList::freeBytes() const {
  const size_t taken = used_ + (size_t{count_} + 1) * sizeof(Entry);
  if (taken >= size_) return {};
  return {memory_ + used_, size_ - taken};
}

std::string_view FieldList::keep(std::string_view text) {
  const size_t taken = heldBytes();
  if (text.size() > size_ - taken) return {};
  if (memory_ == nullptr) return {};
  auto* kept = reinterpret_cast<char*>(memory_) + used_;
  // A decoder may keep text that it has just written into freeBytes(), so the two may overlap.
  if (text.size() <= 32) {
    copyShort(kept, text.data(), text.size());
  } else {
    std::memmove(kept, text.data(), text.size());
  }
  used_ += static_cast<uint32_t>(text.size());
  return {kept, text.size()};
}

size_t FieldList::find(FieldName id, size_t from) const {
  for (size_t i = from; i < count_; ++i) {
    if (entry(i)->id == id) return i;
  }
  return count_;
}

size_t FieldList::find(std::string_view name, size_t from) const {
  for (size_t i = from; i < count_; ++i) {
    const Entry& candidate = *entry(i);
    if (candidate.name_size != name.size()) continue;
    if (at(i).name == name) return i;
  }
  return count_;
}

std::string_view FieldList::value(FieldName id) const {
  const size_t index = find(id);
  return index == count_ ? std::string_view() : at(index).value;
}

bool FieldList::append(const FieldList& other) {
  PLAIT_ASSERT(&other != this);
  const uint32_t count = count_;
  const uint32_t used = used_;
  const uint32_t list_size = list_size_;
  for (const Field& field : other) {
    if (add(field.name, field.value, field.id, field.never_indexed)) continue;
    count_ = count;
    used_ = used;
    list_size_ = list_size;
    return false;
  }
  return true;
}

bool FieldList::copyFrom(const FieldList& other) {
  PLAIT_ASSERT(&other != this && count_ == 0 && used_ == 0);
  if (other.heldBytes() > size_) return false;
  if (other.used_ != 0) std::memcpy(memory_, other.memory_, other.used_);
  if (other.count_ != 0)
    std::memcpy(entry(other.count_ - 1), other.entry(other.count_ - 1), other.count_ * sizeof(Entry));
  used_ = other.used_;
  count_ = other.count_;
  list_size_ = other.list_size_;
  return true;
}

std::string_view FieldList::moved(std::string_view text, const FieldList& other) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const bool is_copied = !text.empty() && bytes >= other.memory_ && bytes + text.size() <= other.memory_ + other.used_;
  if (!is_copied) return keep(text);
  return {reinterpret_cast<const char*>(memory_) + (bytes - other.memory_), text.size()};
}

void FieldList::clear() {
  used_ = 0;
  count_ = 0;
  list_size_ = 0;
}

}  // namespace plait::http
