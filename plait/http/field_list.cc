#include "plait/http/field_list.h"

#include "plait/base/assert.h"

namespace plait::http {

FieldList::FieldList(MutableBytes memory) : memory_(memory.data()), size_(memory.size() & ~size_t{7}) {
  PLAIT_ASSERT(reinterpret_cast<uintptr_t>(memory.data()) % 8 == 0);
  PLAIT_ASSERT(memory.size() < UINT32_MAX);
}

Field FieldList::at(size_t index) const {
  PLAIT_ASSERT(index < count_);
  const Entry& found = *entry(index);
  const char* name = reinterpret_cast<const char*>(memory_) + found.name_offset;
  return {{name, found.name_size}, {name + found.name_size, found.value_size}, found.id, found.never_indexed};
}

MutableBytes FieldList::freeBytes() {
  const size_t taken = used_ + (count_ + 1) * sizeof(Entry);
  if (taken >= size_) return {};
  return {memory_ + used_, size_ - taken};
}

void FieldList::commit(size_t name_size, size_t value_size, FieldName id, bool never_indexed) {
  PLAIT_ASSERT((count_ + 1) * sizeof(Entry) <= size_ - used_);
  PLAIT_ASSERT(name_size + value_size <= size_ - used_ - (count_ + 1) * sizeof(Entry));
  *entry(count_) = {static_cast<uint32_t>(used_), static_cast<uint32_t>(name_size), static_cast<uint32_t>(value_size), id,
                    never_indexed};
  count_ += 1;
  used_ += name_size + value_size;
  list_size_ += name_size + value_size + 32;
}

bool FieldList::add(std::string_view name, std::string_view value, FieldName id, bool never_indexed) {
  const size_t taken = used_ + (count_ + 1) * sizeof(Entry);
  if (taken > size_) return false;
  if (name.size() > size_ - taken || value.size() > size_ - taken - name.size()) return false;
  // An empty view may have null data, which memcpy must not be given.
  if (!name.empty()) std::memcpy(memory_ + used_, name.data(), name.size());
  if (!value.empty()) std::memcpy(memory_ + used_ + name.size(), value.data(), value.size());
  commit(name.size(), value.size(), id, never_indexed);
  return true;
}

std::string_view FieldList::keep(std::string_view text) {
  const size_t taken = used_ + count_ * sizeof(Entry);
  if (text.size() > size_ - taken) return {};
  if (memory_ == nullptr) return {};
  auto* kept = reinterpret_cast<char*>(memory_) + used_;
  // A decoder may keep text that it has just written into freeBytes(), so the two may overlap.
  if (!text.empty()) std::memmove(kept, text.data(), text.size());
  used_ += text.size();
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
    if (std::memcmp(memory_ + candidate.name_offset, name.data(), name.size()) == 0) return i;
  }
  return count_;
}

std::string_view FieldList::value(FieldName id) const {
  const size_t index = find(id);
  return index == count_ ? std::string_view() : at(index).value;
}

bool FieldList::append(const FieldList& other) {
  PLAIT_ASSERT(&other != this);
  const size_t count = count_;
  const size_t used = used_;
  const size_t list_size = list_size_;
  for (const Field& field : other) {
    if (add(field.name, field.value, field.id, field.never_indexed)) continue;
    count_ = count;
    used_ = used;
    list_size_ = list_size;
    return false;
  }
  return true;
}

void FieldList::clear() {
  used_ = 0;
  count_ = 0;
  list_size_ = 0;
}

}  // namespace plait::http
