#include "plait/config/toml_tree.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <type_traits>

namespace plait {

static_assert(std::is_trivially_destructible_v<TomlNode>, "a tree gives its blocks back as a whole");

const TomlNode* TomlNode::member(std::string_view key) const {
  if (!isTable()) return nullptr;
  for (const TomlNode& one : *this) {
    if (one.key_ == key) return &one;
  }
  return nullptr;
}

TomlTree::TomlTree() {
  root_ = make(TomlNode::Kind::table, {1, 1});
}

char* TomlTree::allocate(size_t bytes, size_t alignment) {
  constexpr size_t block_size = 256 << 10;
  used_ = (used_ + alignment - 1) / alignment * alignment;
  if (used_ + bytes > room_) {
    room_ = std::max(bytes, block_size);
    used_ = 0;
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(room_));
  }
  char* const place = blocks_.back().get() + used_;
  used_ += bytes;
  return place;
}

TomlNode* TomlTree::make(TomlNode::Kind kind, TomlPosition position) {
  auto* const node = new (allocate(sizeof(TomlNode), alignof(TomlNode))) TomlNode();
  node->kind_ = kind;
  node->position_ = position;
  if (node->isTable() || node->isArray()) node->children_ = {nullptr, nullptr};
  return node;
}

void TomlTree::add(TomlNode& parent, TomlNode& child) {
  (parent.size_ == 0 ? parent.children_.first : parent.children_.last->next_) = &child;
  parent.children_.last = &child;
  parent.size_ += 1;
}

std::string_view TomlTree::keep(std::string_view text) {
  char* const place = allocate(text.size(), 1);
  std::memcpy(place, text.data(), text.size());
  return {place, text.size()};
}

// From toml++'s tree.
struct TomlTree::Copy {
  TomlTree& tree;

  static TomlPosition positionOf(const toml::source_region& source) { return {source.begin.line, source.begin.column}; }
  TomlNode* of(const toml::node& from) const {
    using Kind = TomlNode::Kind;
    const TomlPosition position = positionOf(from.source());
    switch (from.type()) {
      case toml::node_type::table: {
        TomlNode* const made = tree.make(Kind::table, position);
        members(*from.as_table(), *made);
        return made;
      }
      case toml::node_type::array: {
        TomlNode* const made = tree.make(Kind::array, position);
        for (const toml::node& element : *from.as_array()) add(*made, *of(element));
        return made;
      }
      case toml::node_type::string: {
        TomlNode* const made = tree.make(Kind::string, position);
        made->text_ = tree.keep(from.as_string()->get());
        return made;
      }
      case toml::node_type::integer: {
        TomlNode* const made = tree.make(Kind::integer, position);
        made->integer_ = from.as_integer()->get();
        return made;
      }
      case toml::node_type::boolean: {
        TomlNode* const made = tree.make(Kind::boolean, position);
        made->integer_ = from.as_boolean()->get();
        return made;
      }
      case toml::node_type::floating_point:
        return tree.make(Kind::fraction, position);
      default:
        return tree.make(Kind::time, position);
    }
  }
  void members(const toml::table& from, TomlNode& to) const {
    for (const auto& [key, value] : from) {
      TomlNode* const made = of(value);
      made->key_ = tree.keep(key.str());
      made->key_position_ = positionOf(key.source());
      add(to, *made);
    }
  }
};

std::expected<TomlTree, TomlFault> TomlTree::parseSlowly(std::string_view text) {
  toml::table root;
  try {
    root = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return std::unexpected(TomlFault{Copy::positionOf(error.source()), std::string(error.description())});
  }
  TomlTree tree;
  Copy{tree}.members(root, *tree.root_);
  return tree;
}

std::expected<TomlTree, TomlFault> TomlTree::parse(std::string_view text) {
  if (std::unique_ptr<TomlTree> tree = read(text)) return std::move(*tree);
  return parseSlowly(text);
}

}  // namespace plait
