// A text of TOML as a tree in one piece of memory. Configurations may have 100,000 routes, for which toml++ takes most
// of a reload's time and some hundred MiB. So a reader of TOML's common forms goes first (toml_reader.cc). Forms that
// it does not know, and every text with a fault, are toml++'s (toml_tree.cc): it alone says where the fault is.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace plait {

struct TomlPosition {
  bool operator==(const TomlPosition&) const = default;
  uint32_t line = 0;
  uint32_t column = 0;  // in code points, from 1 on
};

// A value, and its key where it is a member of a table. It lives as long as its tree.
class TomlNode {
 public:
  enum class Kind : uint8_t { table, array, string, integer, boolean, fraction, time };

  Kind kind() const { return kind_; }
  bool isTable() const { return kind_ == Kind::table; }
  bool isArray() const { return kind_ == Kind::array; }
  bool isString() const { return kind_ == Kind::string; }
  bool isInteger() const { return kind_ == Kind::integer; }
  bool isBoolean() const { return kind_ == Kind::boolean; }

  TomlPosition position() const { return position_; }
  // Of a member of a table.
  std::string_view key() const { return key_; }
  TomlPosition keyPosition() const { return key_position_; }

  // The value of a node of that kind.
  std::string_view text() const { return isString() ? text_ : std::string_view(); }
  int64_t integer() const { return integer_; }
  bool boolean() const { return integer_ != 0; }

  // Members and elements of tables and arrays, which may be gone through once more.
  size_t size() const { return isTable() || isArray() ? size_ : 0; }
  const TomlNode* first() const { return isTable() || isArray() ? children_.first : nullptr; }
  const TomlNode* next() const { return next_; }
  // The member of a table; null where there is none.
  const TomlNode* member(std::string_view key) const;

  class Iterator {
   public:
    explicit Iterator(const TomlNode* at) : at_(at) {}
    const TomlNode& operator*() const { return *at_; }
    Iterator& operator++() {
      at_ = at_->next();
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    const TomlNode* at_;
  };
  Iterator begin() const { return Iterator(first()); }
  static Iterator end() { return Iterator(nullptr); }

 private:
  friend class TomlTree;
  friend class TomlReader;
  struct Children {
    TomlNode* first;
    TomlNode* last;
  };

  std::string_view key_;
  TomlNode* next_ = nullptr;
  union {
    Children children_;
    std::string_view text_;
    int64_t integer_ = 0;
  };
  TomlPosition position_;
  TomlPosition key_position_;
  uint32_t size_ = 0;
  Kind kind_ = Kind::table;
  bool is_implicit_ = false;         // a table that so far is only the beginning of another's name
  bool is_array_of_tables_ = false;  // written as [[name]]
  bool is_closed_ = false;           // an inline table: nothing is added to it
};

struct TomlFault {
  TomlPosition position;
  std::string text;
};

class TomlTree {
 public:
  // `text` must outlive the tree, whose texts may be views of it. Of several faults the first.
  static std::expected<TomlTree, TomlFault> parse(std::string_view text);
  // By the reader of common forms alone: nothing where the text has others, or a fault. For tests.
  static std::unique_ptr<TomlTree> read(std::string_view text);
  // By toml++ alone. For tests.
  static std::expected<TomlTree, TomlFault> parseSlowly(std::string_view text);

  const TomlNode& root() const { return *root_; }

 private:
  friend class TomlReader;
  TomlTree();
  TomlNode* make(TomlNode::Kind kind, TomlPosition position);
  static void add(TomlNode& parent, TomlNode& child);
  std::string_view keep(std::string_view text);
  char* allocate(size_t bytes, size_t alignment);
  struct Copy;

  std::vector<std::unique_ptr<char[]>> blocks_;
  size_t used_ = 0;  // of the last block
  size_t room_ = 0;
  TomlNode* root_ = nullptr;
};

}  // namespace plait
