#include "plait/config/toml_mistake.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <optional>

namespace plait {
namespace {

constexpr std::string_view blank = " \t\r";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(blank);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(blank) + 1 - begin);
}

std::string_view lineOf(std::string_view text, uint32_t number) {
  for (; number > 1; --number) {
    const size_t end = text.find('\n');
    if (end == text.npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

bool isToml(const std::string& text) {
  try {
    (void)toml::parse(text);
    return true;
  } catch (const toml::parse_error&) {
    return false;
  }
}

bool lacksQuotes(std::string_view value) {
  if (value.empty() || value.find_first_of("\"'\\") != value.npos) return false;
  return !isToml(fmt::format("x = {}", value)) && isToml(fmt::format("x = \"{}\"", value));
}

// The value, or the element of a list, on that line that would be a string if it had quotes.
std::optional<std::string_view> unquoted(std::string_view line) {
  const size_t equals = line.find('=');
  if (equals == line.npos) return std::nullopt;
  std::string_view value = line.substr(equals + 1);
  if (value.find_first_of("\"'") == value.npos) value = value.substr(0, value.find('#'));
  value = trimmed(value);
  // "[::]:80" begins like a list as well.
  if (!value.starts_with('[') || value.starts_with("[:")) {
    return lacksQuotes(value) ? std::optional(value) : std::nullopt;
  }
  value.remove_prefix(1);
  if (value.ends_with(']')) value.remove_suffix(1);
  while (!value.empty()) {
    const size_t end = std::min(value.find(','), value.size());
    const std::string_view element = trimmed(value.substr(0, end));
    if (lacksQuotes(element)) return element;
    value.remove_prefix(std::min(end + 1, value.size()));
  }
  return std::nullopt;
}

}  // namespace

ConfigError tomlMistake(std::string_view text, Place place, std::string_view description) {
  const std::string_view line = lineOf(text, place.line);
  if (const auto value = unquoted(line)) {
    place.column = static_cast<uint32_t>(value->data() - line.data()) + 1;
    return {std::move(place), fmt::format("a string needs quotes: \"{}\"", *value)};
  }
  static constexpr std::string_view preamble = "Error while parsing ";
  if (description.starts_with(preamble)) description.remove_prefix(preamble.size());
  return {std::move(place), std::string(description)};
}

}  // namespace plait
