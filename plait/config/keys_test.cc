// Every key of the configuration, found by asking the code that reads it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "plait/config/config.h"

namespace plait {
namespace {

bool isSame(const Config& a, const Config& b) {
  const auto sameListener = [](const ListenConfig& one, const ListenConfig& other) {
    return one.address.value == other.address.value && one.tls == other.tls && one.only_v6 == other.only_v6 &&
           one.cert.value == other.cert.value && one.key.value == other.key.value &&
           one.client_ca.value == other.client_ca.value;
  };
  const auto sameBackend = [](const BackendConfig& one, const BackendConfig& other) {
    return one.url.value == other.url.value && one.host.value == other.host.value &&
           one.server_name.value == other.server_name.value && one.ca_file.value == other.ca_file.value &&
           one.client_cert.value == other.client_cert.value && one.client_key.value == other.client_key.value &&
           one.insecure == other.insecure;
  };
  const auto sameForwarding = [](const ForwardOptions& one, const ForwardOptions& other) {
    return one.x_forwarded == other.x_forwarded && one.forwarded == other.forwarded && one.via == other.via &&
           one.request_id == other.request_id && one.trusted_proxies.empty() == other.trusted_proxies.empty() &&
           one.identity.claims({"x-some", "", http::FieldName::unknown, false}) ==
               other.identity.claims({"x-some", "", http::FieldName::unknown, false});
  };
  return a.workers == b.workers && a.memory_bytes == b.memory_bytes && a.io == b.io && a.prefault == b.prefault &&
         a.share_port == b.share_port && a.limits == b.limits && a.pool_timeouts == b.pool_timeouts &&
         a.server_timeouts == b.server_timeouts && a.response_head_ms == b.response_head_ms &&
         sameForwarding(a.forward, b.forward) && std::ranges::equal(a.listeners, b.listeners, sameListener) &&
         std::ranges::equal(a.backends, b.backends, sameBackend) &&
         a.access_log.file.value == b.access_log.file.value && a.access_log.format == b.access_log.format &&
         a.admin.value == b.admin.value;
}

// A configuration with that line in its section.
std::string with(const ConfigKey& key, const std::string& value) {
  std::map<std::string, std::string> sections;
  const auto line = [&](const char* section, const char* name, const char* own) {
    if (key.section != section || key.name != name) sections[section] += fmt::format("{} = {}\n", name, own);
  };
  line("listen", "address", "\"127.0.0.1:80\"");
  line("backend", "url", "\"h2c://a:1\"");
  if (!value.empty()) sections[key.section] = fmt::format("{} = {}\n", key.name, value) + sections[key.section];
  std::string text;
  for (const auto& [name, lines] : sections) {
    const bool is_repeated = name == "listen" || name == "backend";
    text += is_repeated ? fmt::format("[[{}]]\n{}", name, lines) : fmt::format("[{}]\n{}", name, lines);
  }
  return text;
}

struct Read {
  Config config;
  std::vector<ConfigError> errors;
};
Read read(const ConfigKey& key, const std::string& value) {
  Read made;
  made.errors = parseConfig(with(key, value), "plait.toml", made.config);
  (void)completeConfig(made.config, true, "plait.toml");
  return made;
}

// Values that a key may have, one of which at least is not its default.
std::vector<std::string> valuesOf(const ConfigKey& key) {
  static const std::map<std::string, std::string> samples = {
      {"memory", "\"64M\""},         {"address", "\"127.0.0.1:99\""},         {"url", "\"h2c://b:2\""},
      {"host", "\"other.example\""}, {"trusted_proxies", "[\"10.0.0.0/8\"]"}, {"identity_fields", "[\"x-some\"]"}};
  switch (key.kind) {
    case ConfigKey::integer:
      return {std::to_string(key.min), std::to_string(key.max)};
    case ConfigKey::boolean:
      return {"true", "false"};
    case ConfigKey::choice: {
      std::vector<std::string> values;
      for (const std::string& word : key.words) values.push_back('"' + word + '"');
      return values;
    }
    default: {
      const auto sample = samples.find(key.name);
      return {sample == samples.end() ? "\"some.pem\"" : sample->second};
    }
  }
}

std::vector<std::string> wrongValuesOf(const ConfigKey& key) {
  switch (key.kind) {
    case ConfigKey::integer:
      return {std::to_string(key.min - 1), std::to_string(key.max + 1), "\"text\"", "1.5"};
    case ConfigKey::choice:
      return {"\"no such word\"", "1"};
    case ConfigKey::boolean:
      return {"1", "\"true\""};
    default:
      return {"1", "\"\""};
  }
}

std::vector<ConfigKey> keys() {
  std::vector<ConfigKey> found = configKeys();
  std::erase_if(found, [](const ConfigKey& key) { return key.section.empty(); });
  return found;
}

TEST(ConfigKeys, EachChangesTheConfiguration) {
  EXPECT_GT(keys().size(), 70u);
  for (const ConfigKey& key : keys()) {
    const Read untouched = read(key, key.name == "address" || key.name == "url" ? valuesOf(key)[0] : "");
    bool has_changed = key.section == "listen" && key.name == "address";  // which is what the other is compared with
    has_changed = has_changed || key.name == "url";
    bool is_taken = false;
    for (const std::string& value : valuesOf(key)) {
      const Read made = read(key, value);
      is_taken = is_taken || made.errors.empty();
      has_changed = has_changed || !isSame(made.config, untouched.config);
    }
    // Of two that are held against each other one end of the range alone goes with the other's default.
    EXPECT_TRUE(is_taken) << key.section << '.' << key.name;
    EXPECT_TRUE(has_changed || (key.section == "admin" && key.name == "address")) << key.section << '.' << key.name;
  }
}

TEST(ConfigKeys, EachIsRefusedOutOfItsRangeWithItsPlace) {
  for (const ConfigKey& key : keys()) {
    for (const std::string& value : wrongValuesOf(key)) {
      const Read made = read(key, value);
      ASSERT_FALSE(made.errors.empty()) << key.section << '.' << key.name << " = " << value;
      EXPECT_NE(made.errors[0].place.line, 0u) << key.name;
      EXPECT_EQ(made.errors[0].place.source, "plait.toml");
      EXPECT_EQ(made.errors[0].sentence.find(key.name + ": "), 0u) << made.errors[0].text();
    }
  }
}

// The rows of the reference: section and key, and the default as it stands there.
std::map<std::pair<std::string, std::string>, std::string> documented() {
  std::ifstream in(PLAIT_SOURCE_DIR "/docs/configuration.md");
  std::map<std::pair<std::string, std::string>, std::string> rows;
  std::string section;
  size_t default_column = 0;
  const auto split = [](const std::string& text, char by) {
    std::vector<std::string> parts;
    std::istringstream in_parts(text);
    for (std::string part; std::getline(in_parts, part, by);) {
      const size_t begin = part.find_first_not_of(' ');
      parts.push_back(begin == part.npos ? "" : part.substr(begin, part.find_last_not_of(' ') - begin + 1));
    }
    return parts;
  };
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("## ")) {
      const size_t begin = line.find_first_not_of("# `[");
      const size_t end = line.find(']');
      section = line.starts_with("## `[") ? line.substr(begin, end - begin) : "";
    }
    if (line.starts_with("| ") && !line.starts_with("| `"))
      default_column = line.starts_with("| key | flag |") ? 3 : line.starts_with("| key |") ? 2 : 0;
    if (section.empty() || !line.starts_with("| `")) continue;
    // The first cell is the empty one in front of the line.
    const auto cells = split(line, '|');
    if (default_column == 0 || cells.size() <= default_column) continue;
    const auto names = split(cells[1], ',');
    const auto defaults = split(cells[default_column], ',');
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i].size() < 3 || names[i].front() != '`') continue;
      std::string value = defaults.empty() ? "" : i < defaults.size() ? defaults[i] : defaults.back();
      std::erase(value, '`');
      rows[{section, names[i].substr(1, names[i].size() - 2)}] = value;
    }
  }
  return rows;
}

TEST(ConfigKeys, EachIsInTheReferenceWithItsDefaultAndNoOtherIs) {
  auto rows = documented();
  for (const ConfigKey& key : keys()) {
    const auto row = rows.find({key.section, key.name});
    ASSERT_NE(row, rows.end()) << key.section << '.' << key.name << " is not in docs/configuration.md";
    const bool is_plain =
        key.kind == ConfigKey::integer || key.kind == ConfigKey::boolean || key.kind == ConfigKey::choice;
    // What follows from something else is said in words.
    const bool is_said_in_words = key.name == "workers" || key.name == "request_id";
    if (is_plain && !is_said_in_words) {
      const Read as_documented = read(key, row->second);
      ASSERT_TRUE(as_documented.errors.empty()) << key.name << ": " << as_documented.errors[0].text();
      EXPECT_TRUE(isSame(as_documented.config, read(key, "").config)) << key.name << " = " << row->second;
    }
    rows.erase(row);
  }
  for (const auto& [name, value] : rows) ADD_FAILURE() << name.first << '.' << name.second << " is no key";
}

}  // namespace
}  // namespace plait
