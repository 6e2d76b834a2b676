// Reads tables of TOML key by key, and collects every mistake with its place.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "plait/config/config.h"
#include "plait/config/toml_tree.h"

namespace plait {

inline constexpr int64_t max_timeout_ms = 7 * 24 * 3'600'000;

// One table, read key by key. The keys that are asked for are those that the table may hold, so the schema is the code
// that reads it.
class TableReader {
 public:
  // `keys` is told every key that is asked for; null where nobody wants to know.
  TableReader(const TomlNode& table, Source file, std::vector<ConfigError>& errors,
              std::vector<ConfigKey>* keys = nullptr, std::string section = {})
      : table_(table), file_(file), errors_(errors), keys_(keys), section_(std::move(section)) {
    entries_.reserve(table.size());
    for (const TomlNode& member : table) entries_.push_back({&member});
  }

  Place placeOf(const TomlNode& node) const { return {file_, node.position().line, node.position().column}; }
  Place place() const { return placeOf(table_); }

  void refuse(Place place, std::string sentence) { errors_.push_back({std::move(place), std::move(sentence)}); }

  // The node of that key, or null; the key is known from here on. A table may hold many keys, and mostly has few.
  const TomlNode* find(std::string_view key) {
    if (known_count_ < known_.size()) known_[known_count_++] = key;
    for (Entry& entry : entries_) {
      if (entry.node->key() != key) continue;
      entry.is_known = true;
      return entry.node;
    }
    return nullptr;
  }

  template <class T>
  void integer(std::string_view key, T& out, int64_t min, int64_t max, const char* unit = "") {
    if (keys_ != nullptr) tell({.kind = ConfigKey::integer, .min = min, .max = max}, key);
    const TomlNode* node = find(key);
    if (node == nullptr) return;
    if (!node->isInteger()) {
      return refuse(placeOf(*node), fmt::format("{}: expected a whole number{}, found {}", key, unit, kindOf(*node)));
    }
    if (node->integer() < min || node->integer() > max) {
      return refuse(placeOf(*node), fmt::format("{}: {} is outside of {} to {}", key, node->integer(), min, max));
    }
    out = static_cast<T>(node->integer());
  }
  void milliseconds(std::string_view key, int64_t& out, int64_t min = 1) {
    integer(key, out, min, max_timeout_ms, " of milliseconds");
  }
  // True where the key was there.
  bool boolean(std::string_view key, bool& out) {
    if (keys_ != nullptr) tell({.kind = ConfigKey::boolean}, key);
    const TomlNode* node = find(key);
    if (node == nullptr) return false;
    if (!node->isBoolean()) {
      refuse(placeOf(*node), fmt::format("{}: expected true or false, found {}", key, kindOf(*node)));
      return false;
    }
    out = node->boolean();
    return true;
  }
  void text(std::string_view key, Text& out) {
    if (keys_ != nullptr) tell({.kind = ConfigKey::text}, key);
    if (const TomlNode* node = find(key)) textOf(key, *node, out);
  }
  // A file's name, relative to the folder of the configuration; "-" is no file's.
  void path(std::string_view key, Text& out) {
    if (keys_ != nullptr) tell({.kind = ConfigKey::path}, key);
    const TomlNode* node = find(key);
    if (node == nullptr || !textOf(key, *node, out) || out.value == "-") return;
    makeRelative(out);
  }
  // One file's name, or a list of them.
  void pathOrPaths(std::string_view key, std::vector<Text>& out) {
    textOrTexts(key, out);
    for (Text& one : out) makeRelative(one);
  }
  void texts(std::string_view key, std::vector<Text>& out) {
    if (keys_ != nullptr) tell({.kind = ConfigKey::texts}, key);
    const TomlNode* node = find(key);
    if (node == nullptr) return;
    listOf(key, *node, out);
  }
  // One string, or a list of them.
  void textOrTexts(std::string_view key, std::vector<Text>& out) {
    if (keys_ != nullptr) tell({.kind = ConfigKey::texts}, key);
    const TomlNode* node = find(key);
    if (node == nullptr) return;
    if (!node->isString()) return listOf(key, *node, out);
    Text text;
    if (textOf(key, *node, text)) out.push_back(std::move(text));
  }
  // A table of strings with names of the operator's: { name = "value", … }, in the order of the text.
  void pairs(std::string_view key, std::vector<TextPair>& out) {
    if (keys_ != nullptr) tell({.kind = ConfigKey::pairs}, key);
    const TomlNode* node = find(key);
    if (node == nullptr) return;
    if (!node->isTable())
      return refuse(placeOf(*node), fmt::format("{}: expected {{ name = \"value\" }}, found {}", key, kindOf(*node)));
    for (const TomlNode& member : *node) {
      TextPair pair;
      pair.name = {std::string(member.key()), keyPlaceOf(member)};
      if (textOf(fmt::format("{}.{}", key, member.key()), member, pair.value)) out.push_back(std::move(pair));
    }
    std::ranges::sort(out, [](const TextPair& a, const TextPair& b) {
      return std::pair(a.name.place.line, a.name.place.column) < std::pair(b.name.place.line, b.name.place.column);
    });
  }
  // A key of a later version.
  void notYet(std::string_view key) {
    if (const TomlNode* node = find(key)) refuse(placeOf(*node), fmt::format("{}: not in this version", key));
  }
  // One of a few words.
  template <class T>
  void choice(std::string_view key, T& out, std::initializer_list<std::pair<std::string_view, T>> words) {
    if (keys_ != nullptr) {
      ConfigKey told{.kind = ConfigKey::choice};
      for (const auto& [word, value] : words) told.words.emplace_back(word);
      tell(std::move(told), key);
    }
    Text text;
    const TomlNode* node = find(key);
    if (node == nullptr || !textOf(key, *node, text)) return;
    std::string list;
    for (const auto& [word, value] : words) {
      if (word == text.value) {
        out = value;
        return;
      }
      list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", word);
    }
    refuse(text.place, fmt::format("{}: expected one of {}, found \"{}\"", key, list, text.value));
  }
  template <class Read>
  void section(std::string_view key, Read read) {
    if (keys_ != nullptr) tell({.kind = ConfigKey::one_section}, key);
    const TomlNode* node = find(key);
    if (node == nullptr) return;
    if (!node->isTable())
      return refuse(placeOf(*node), fmt::format("{}: expected a section [{}], found {}", key, key, kindOf(*node)));
    readTable(key, *node, read);
  }
  template <class Read>
  void sections(std::string_view key, Read read) {
    if (keys_ != nullptr) tell({.kind = ConfigKey::many_sections}, key);
    const TomlNode* node = find(key);
    if (node == nullptr) return;
    bool are_tables = node->isArray();
    for (const TomlNode& element : *node) are_tables = are_tables && element.isTable();
    if (!are_tables) {
      return refuse(placeOf(*node),
                    fmt::format("{}: expected sections [[{}]], found {}", key, key,
                                node->isTable() ? fmt::format("[{}]", key) : std::string(kindOf(*node))));
    }
    for (const TomlNode& element : *node) readTable(key, element, read);
  }

  // Where each key is that is there and was asked for.
  void tellPlaces(std::map<std::string, Place, std::less<>>& out) const {
    for (const Entry& entry : entries_) {
      if (entry.is_known) out.emplace(entry.node->key(), placeOf(*entry.node));
    }
  }

  // Reports every key that nobody asked for.
  void finish() {
    for (const Entry& entry : entries_) {
      if (entry.is_known) continue;
      const std::string_view meant = nearest(entry.node->key(), {known_.begin(), known_.begin() + known_count_});
      refuse(keyPlaceOf(*entry.node), fmt::format("unknown key \"{}\"{}", entry.node->key(),
                                                  meant.empty() ? "" : fmt::format(", did you mean \"{}\"?", meant)));
    }
  }

 private:
  void makeRelative(Text& path) const {
    if (path.value.starts_with('/')) return;
    const std::string& file = file_.text();
    if (const size_t slash = file.rfind('/'); slash != file.npos) path.value.insert(0, file, 0, slash + 1);
  }
  template <class Read>
  void readTable(std::string_view key, const TomlNode& table, Read& read) {
    std::string section;
    if (keys_ != nullptr) section = section_.empty() ? std::string(key) : fmt::format("{}.{}", section_, key);
    TableReader reader(table, file_, errors_, keys_, std::move(section));
    read(reader);
    reader.finish();
  }
  void tell(ConfigKey key, std::string_view name) {
    key.section = section_;
    key.name = name;
    keys_->push_back(std::move(key));
  }
  void listOf(std::string_view key, const TomlNode& node, std::vector<Text>& out) {
    if (!node.isArray())
      return refuse(placeOf(node), fmt::format("{}: expected a list of strings, found {}", key, kindOf(node)));
    for (const TomlNode& element : node) {
      Text text;
      if (textOf(key, element, text)) out.push_back(std::move(text));
    }
  }
  bool textOf(std::string_view key, const TomlNode& node, Text& out) {
    if (!node.isString()) {
      refuse(placeOf(node), fmt::format("{}: expected a string, found {}", key, kindOf(node)));
      return false;
    }
    if (node.text().empty()) {
      refuse(placeOf(node), fmt::format("{}: the string is empty", key));
      return false;
    }
    out = {std::string(node.text()), placeOf(node)};
    return true;
  }
  Place keyPlaceOf(const TomlNode& member) const {
    return {file_, member.keyPosition().line, member.keyPosition().column};
  }
  static const char* kindOf(const TomlNode& node) {
    switch (node.kind()) {
      case TomlNode::Kind::table:
        return "a section";
      case TomlNode::Kind::array:
        return "a list";
      case TomlNode::Kind::string:
        return "a string";
      case TomlNode::Kind::integer:
        return "a number";
      case TomlNode::Kind::fraction:
        return "a fraction";
      case TomlNode::Kind::boolean:
        return "a truth value";
      case TomlNode::Kind::time:
        return "a date or time";
    }
    return "";
  }

  const TomlNode& table_;
  const Source file_;
  std::vector<ConfigError>& errors_;
  std::vector<ConfigKey>* keys_;
  std::string section_;
  struct Entry {
    const TomlNode* node;
    bool is_known = false;
  };
  std::vector<Entry> entries_;
  // Those that were asked for; of more than there is room for the rest is only never proposed.
  std::array<std::string_view, 96> known_;
  size_t known_count_ = 0;
};

}  // namespace plait
