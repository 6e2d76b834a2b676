// The fields of one message in one flat piece of memory: entries grow from its end downwards, their bytes from its
// start upwards. Nothing allocates; a list that is full says so and its owner moves it to a larger piece.
#pragma once

#include <string_view>

#include "plait/base/assert.h"
#include "plait/base/bytes.h"
#include "plait/http/field_name.h"

namespace plait::http {

// One field line. `name` is lower case (RFC 9113 §8.2.1); both views live as long as the memory they were added to.
struct Field {
  std::string_view name;
  std::string_view value;
  FieldName id = FieldName::unknown;
  bool never_indexed = false;  // RFC 7541 §7.1.3: stays a never-indexed literal on every hop
};

class FieldList {
 public:
  FieldList() = default;
  // `memory` is owned by the caller and must be aligned to 8 bytes. The list starts empty.
  explicit FieldList(MutableBytes memory);

  size_t count() const { return count_; }
  size_t capacityBytes() const { return size_; }
  Field at(size_t index) const {
    PLAIT_ASSERT(index < count_);
    const Entry& found = *entry(index);
    const char* text = reinterpret_cast<const char*>(memory_) + found.offset;
    if (found.id != FieldName::unknown) [[likely]]
      return {nameOf(found.id), {text, found.value_size}, found.id, found.never_indexed};
    return {{text, found.name_size}, {text + found.name_size, found.value_size}, found.id, found.never_indexed};
  }
  Field operator[](size_t index) const { return at(index); }

  // Copies name and value in; false when there is no room (nothing is changed then). `id` must be the name's own. The
  // text of a name that has a number is not copied: nameOf() has it.
  bool add(std::string_view name, std::string_view value, FieldName id, bool never_indexed = false) {
    if (id == FieldName::unknown) [[unlikely]]
      return addUnnumbered(name, value, never_indexed);
    if (!hasRoom(value.size())) [[unlikely]]
      return false;
    uint8_t* text = memory_ + used_;
    put({used_, static_cast<uint32_t>(name.size()), static_cast<uint32_t>(value.size()), id, never_indexed},
        value.size());
    copyShort(text, value.data(), value.size());
    return true;
  }
  bool add(std::string_view name, std::string_view value) { return add(name, value, fieldNameOf(name)); }

  // Copies text that is not a field (method, path, …) into the list's memory; an empty view with null data when full.
  std::string_view keep(std::string_view text);

  // Decoders write straight into the free memory: `freeBytes` is what is left between bytes and entries (minus one
  // entry), `commit` makes a field of the first `name_size + value_size` bytes of it.
  MutableBytes freeBytes() const;
  void commit(size_t name_size, size_t value_size, FieldName id, bool never_indexed) {
    PLAIT_ASSERT(used_ + name_size + value_size + (size_t{count_} + 1) * sizeof(Entry) <= size_);
    const auto offset = static_cast<uint32_t>(id == FieldName::unknown ? used_ : used_ + name_size);
    put({offset, static_cast<uint32_t>(name_size), static_cast<uint32_t>(value_size), id, never_indexed},
        name_size + value_size);
  }

  // Takes out the fields for which `isUnwanted` is true; the others keep their order. The bytes stay taken.
  template <typename Predicate>
  void removeIf(Predicate&& isUnwanted) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count_; ++i) {
      if (isUnwanted(at(i))) {
        list_size_ -= entry(i)->name_size + entry(i)->value_size + 32;
      } else {
        if (kept != i) *entry(kept) = *entry(i);
        kept += 1;
      }
    }
    count_ = kept;
  }

  // The first field with that name; count() when there is none.
  size_t find(FieldName id, size_t from = 0) const;
  size_t find(std::string_view name, size_t from = 0) const;
  bool contains(FieldName id) const { return find(id) != count_; }
  // Whether any field has one of these names.
  bool containsAny(const FieldNameSet& names) const {
    for (size_t i = 0; i < count_; ++i) {
      if (names.contains(entry(i)->id)) return true;
    }
    return false;
  }
  // Likewise; of the fields whose names have no number, those for which `isOne` is true count as well.
  template <typename Predicate>
  bool containsAny(const FieldNameSet& names, Predicate&& isOne) const {
    for (size_t i = 0; i < count_; ++i) {
      const FieldName id = entry(i)->id;
      if (names.contains(id) || (id == FieldName::unknown && isOne(at(i)))) return true;
    }
    return false;
  }
  // Value of the first field with that name, empty when absent.
  std::string_view value(FieldName id) const;

  // The size a peer may bound with SETTINGS_MAX_HEADER_LIST_SIZE: name + value + 32 for each field (RFC 9113 §6.5.2).
  size_t listSize() const { return list_size_; }
  // The bytes that another field needs.
  static size_t bytesFor(std::string_view name, std::string_view value, FieldName id) {
    return sizeof(Entry) + value.size() + (id == FieldName::unknown ? name.size() : 0);
  }
  // The bytes that a copy of this list needs.
  size_t heldBytes() const { return used_ + count_ * sizeof(Entry); }

  // Copies every field of `other`; false when it does not fit (the list is then unchanged).
  bool append(const FieldList& other);
  // Copies `other` as it lies, kept texts included, into this list, which must be empty; false when it does not fit.
  bool copyFrom(const FieldList& other);
  // Where `text`, a view of `other`, is in this list, which is a copy of it. Text of elsewhere is kept as by keep().
  std::string_view moved(std::string_view text, const FieldList& other);
  void clear();

  class Iterator {
   public:
    Iterator(const FieldList* list, size_t index) : list_(list), index_(index) {}
    Field operator*() const { return list_->at(index_); }
    Iterator& operator++() {
      ++index_;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }

   private:
    const FieldList* list_;
    size_t index_;
  };
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, count_}; }

 private:
  struct Entry {
    uint32_t offset;  // of the name's text where it has no number, and of the value behind it
    uint32_t name_size;
    uint32_t value_size;
    FieldName id;
    bool never_indexed;
  };
  static_assert(sizeof(Entry) == 16);
  // For another entry, and so many bytes.
  bool hasRoom(size_t bytes) const { return used_ + (size_t{count_} + 1) * sizeof(Entry) + bytes <= size_; }
  bool addUnnumbered(std::string_view name, std::string_view value, bool never_indexed);
  void put(const Entry& added, size_t kept_bytes) {
    *entry(count_) = added;
    count_ += 1;
    used_ += static_cast<uint32_t>(kept_bytes);
    list_size_ += added.name_size + added.value_size + 32;
  }
  Entry* entry(size_t index) const { return reinterpret_cast<Entry*>(memory_ + size_) - 1 - index; }

  uint8_t* memory_ = nullptr;
  uint32_t size_ = 0;
  uint32_t used_ = 0;
  uint32_t count_ = 0;
  uint32_t list_size_ = 0;
};

}  // namespace plait::http
