// Reads tables of TOML key by key, and collects every mistake with its place.
#pragma once

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "plait/config/config.h"

namespace plait {

inline constexpr int64_t max_timeout_ms = 7 * 24 * 3'600'000;

// One table, read key by key. The keys that are asked for are those that the table may hold, so the schema is the code
// that reads it.
class TableReader {
 public:
  // `keys` is told every key that is asked for; null where nobody wants to know.
  TableReader(const toml::table& table, const std::string& file, std::vector<ConfigError>& errors,
              std::vector<ConfigKey>* keys = nullptr, std::string section = {})
      : table_(table), file_(file), errors_(errors), keys_(keys), section_(std::move(section)) {}

  Place placeOf(const toml::node& node) const { return {file_, node.source().begin.line, node.source().begin.column}; }
  Place place() const { return placeOf(table_); }

  void refuse(Place place, std::string sentence) { errors_.push_back({std::move(place), std::move(sentence)}); }

  // The node of that key, or null; the key is known from here on.
  const toml::node* find(std::string_view key) {
    known_.push_back(key);
    return table_.get(key);
  }

  template <class T>
  void integer(std::string_view key, T& out, int64_t min, int64_t max, const char* unit = "") {
    tell({.kind = ConfigKey::integer, .min = min, .max = max}, key);
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* value = node->as_integer();
    if (value == nullptr) {
      return refuse(placeOf(*node), fmt::format("{}: expected a whole number{}, found {}", key, unit, kindOf(*node)));
    }
    if (value->get() < min || value->get() > max) {
      return refuse(placeOf(*node), fmt::format("{}: {} is outside of {} to {}", key, value->get(), min, max));
    }
    out = static_cast<T>(value->get());
  }
  void milliseconds(std::string_view key, int64_t& out, int64_t min = 1) {
    integer(key, out, min, max_timeout_ms, " of milliseconds");
  }
  // True where the key was there.
  bool boolean(std::string_view key, bool& out) {
    tell({.kind = ConfigKey::boolean}, key);
    const toml::node* node = find(key);
    if (node == nullptr) return false;
    const auto* value = node->as_boolean();
    if (value == nullptr) {
      refuse(placeOf(*node), fmt::format("{}: expected true or false, found {}", key, kindOf(*node)));
      return false;
    }
    out = value->get();
    return true;
  }
  void text(std::string_view key, Text& out) {
    tell({.kind = ConfigKey::text}, key);
    if (const toml::node* node = find(key)) textOf(key, *node, out);
  }
  // A file's name, relative to the folder of the configuration; "-" is no file's.
  void path(std::string_view key, Text& out) {
    tell({.kind = ConfigKey::path}, key);
    const toml::node* node = find(key);
    if (node == nullptr || !textOf(key, *node, out) || out.value.starts_with('/') || out.value == "-") return;
    if (const size_t slash = file_.rfind('/'); slash != file_.npos) out.value.insert(0, file_, 0, slash + 1);
  }
  void texts(std::string_view key, std::vector<Text>& out) {
    tell({.kind = ConfigKey::texts}, key);
    const toml::node* node = find(key);
    if (node == nullptr) return;
    listOf(key, *node, out);
  }
  // One string, or a list of them.
  void textOrTexts(std::string_view key, std::vector<Text>& out) {
    tell({.kind = ConfigKey::texts}, key);
    const toml::node* node = find(key);
    if (node == nullptr) return;
    if (!node->is_string()) return listOf(key, *node, out);
    Text text;
    if (textOf(key, *node, text)) out.push_back(std::move(text));
  }
  // A table of strings with names of the operator's: { name = "value", … }, in the order of the text.
  void pairs(std::string_view key, std::vector<TextPair>& out) {
    tell({.kind = ConfigKey::pairs}, key);
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* table = node->as_table();
    if (table == nullptr)
      return refuse(placeOf(*node), fmt::format("{}: expected {{ name = \"value\" }}, found {}", key, kindOf(*node)));
    for (const auto& [name, value] : *table) {
      TextPair pair;
      pair.name = {std::string(name.str()), {file_, name.source().begin.line, name.source().begin.column}};
      if (textOf(fmt::format("{}.{}", key, name.str()), value, pair.value)) out.push_back(std::move(pair));
    }
    std::ranges::sort(out, [](const TextPair& a, const TextPair& b) {
      return std::pair(a.name.place.line, a.name.place.column) < std::pair(b.name.place.line, b.name.place.column);
    });
  }
  // A key of a later version.
  void notYet(std::string_view key) {
    if (const toml::node* node = find(key)) refuse(placeOf(*node), fmt::format("{}: not in this version", key));
  }
  // One of a few words.
  template <class T>
  void choice(std::string_view key, T& out, std::initializer_list<std::pair<std::string_view, T>> words) {
    ConfigKey told{.kind = ConfigKey::choice};
    for (const auto& [word, value] : words) told.words.emplace_back(word);
    tell(std::move(told), key);
    Text text;
    const toml::node* node = find(key);
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
    tell({.kind = ConfigKey::one_section}, key);
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* table = node->as_table();
    if (table == nullptr)
      return refuse(placeOf(*node), fmt::format("{}: expected a section [{}], found {}", key, key, kindOf(*node)));
    readTable(key, *table, read);
  }
  template <class Read>
  void sections(std::string_view key, Read read) {
    tell({.kind = ConfigKey::many_sections}, key);
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* array = node->as_array();
    if (array == nullptr ||
        !std::ranges::all_of(*array, [](const toml::node& element) { return element.is_table(); })) {
      return refuse(placeOf(*node),
                    fmt::format("{}: expected sections [[{}]], found {}", key, key,
                                node->is_table() ? fmt::format("[{}]", key) : std::string(kindOf(*node))));
    }
    for (const toml::node& element : *array) readTable(key, *element.as_table(), read);
  }

  // Where each key is that is there and was asked for.
  void tellPlaces(std::map<std::string, Place, std::less<>>& out) const {
    for (const std::string_view key : known_) {
      if (const toml::node* node = table_.get(key)) out.emplace(key, placeOf(*node));
    }
  }

  // Reports every key that nobody asked for.
  void finish() {
    for (const auto& [key, node] : table_) {
      if (std::ranges::find(known_, key.str()) != known_.end()) continue;
      const std::string_view meant = nearest(key.str(), known_);
      refuse({file_, key.source().begin.line, key.source().begin.column},
             fmt::format("unknown key \"{}\"{}", key.str(),
                         meant.empty() ? "" : fmt::format(", did you mean \"{}\"?", meant)));
    }
  }

 private:
  template <class Read>
  void readTable(std::string_view key, const toml::table& table, Read& read) {
    TableReader reader(table, file_, errors_, keys_,
                       section_.empty() ? std::string(key) : fmt::format("{}.{}", section_, key));
    read(reader);
    reader.finish();
  }
  void tell(ConfigKey key, std::string_view name) {
    if (keys_ == nullptr) return;
    key.section = section_;
    key.name = name;
    keys_->push_back(std::move(key));
  }
  void listOf(std::string_view key, const toml::node& node, std::vector<Text>& out) {
    const auto* array = node.as_array();
    if (array == nullptr)
      return refuse(placeOf(node), fmt::format("{}: expected a list of strings, found {}", key, kindOf(node)));
    for (const toml::node& element : *array) {
      Text text;
      if (textOf(key, element, text)) out.push_back(std::move(text));
    }
  }
  bool textOf(std::string_view key, const toml::node& node, Text& out) {
    const auto* value = node.as_string();
    if (value == nullptr) {
      refuse(placeOf(node), fmt::format("{}: expected a string, found {}", key, kindOf(node)));
      return false;
    }
    if (value->get().empty()) {
      refuse(placeOf(node), fmt::format("{}: the string is empty", key));
      return false;
    }
    out = {value->get(), placeOf(node)};
    return true;
  }
  static const char* kindOf(const toml::node& node) {
    switch (node.type()) {
      case toml::node_type::table:
        return "a section";
      case toml::node_type::array:
        return "a list";
      case toml::node_type::string:
        return "a string";
      case toml::node_type::integer:
        return "a number";
      case toml::node_type::floating_point:
        return "a fraction";
      case toml::node_type::boolean:
        return "a truth value";
      default:
        return "a date or time";
    }
  }

  const toml::table& table_;
  const std::string& file_;
  std::vector<ConfigError>& errors_;
  std::vector<ConfigKey>* keys_;
  std::string section_;
  std::vector<std::string_view> known_;
};

}  // namespace plait
