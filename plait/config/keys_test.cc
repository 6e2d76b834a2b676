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

// All that clusters and routes say, without places.
std::string describe(const Config& config) {
  std::string text;
  const auto put = [&](const auto& value) { text += fmt::format("{}|", value); };
  const auto putAll = [&](const std::vector<Text>& texts) {
    for (const Text& one : texts) put(one.value);
    text += ';';
  };
  const auto putPairs = [&](const std::vector<TextPair>& pairs) {
    for (const TextPair& pair : pairs) text += pair.name.value + "=" + pair.value.value + "|";
    text += ';';
  };
  const auto putNumber = [&](const Number& number) {
    text += number.isSaid() && number.value != 0 ? fmt::format("{}|", number.value) : "-|";
  };
  for (const ClusterConfig& one : config.clusters) {
    put(one.name.value);
    for (const uint64_t number :
         {uint64_t{one.outliers.failures}, static_cast<uint64_t>(one.outliers.eject_ms),
          uint64_t{one.outliers.max_percent}, uint64_t{one.requests}, one.queue ? uint64_t{*one.queue} : UINT64_MAX})
      put(number);
    putNumber(one.connections);
    putNumber(one.response_head_ms);
    for (const auto& [key, value] : one.said_timeouts) text += fmt::format("{}={}|", key, value);
    for (const BackendConfig& backend : one.backends) {
      put(backend.insecure);
      for (const Text* part : {&backend.url, &backend.host, &backend.server_name, &backend.ca_file,
                               &backend.client_cert, &backend.client_key})
        put(part->value);
    }
  }
  for (const RouteConfig& one : config.routes) {
    for (const Text* part : {&one.name, &one.path, &one.path_exact, &one.path_regex, &one.example, &one.cluster,
                             &one.split_cookie, &one.split_field, &one.rewrite_path, &one.rewrite_host})
      put(part->value);
    for (const auto* texts :
         {&one.hosts, &one.methods, &one.allow, &one.deny, &one.request_fields.remove, &one.response_fields.remove})
      putAll(*texts);
    for (const auto* pairs : {&one.fields, &one.query, &one.request_fields.set, &one.request_fields.add,
                              &one.response_fields.set, &one.response_fields.add})
      putPairs(*pairs);
    for (const Number* number : {&one.response_head_ms, &one.idle_ms, &one.total_ms, &one.retries_max, &one.body_bytes,
                                 &one.requests, &one.hsts_seconds})
      putNumber(*number);
    put(one.priority);
    for (const bool flag : {one.splits_by_address, one.retries_unknown, one.hsts_subdomains, one.hsts_preload})
      put(flag);
    for (const SplitConfig& side : one.split) text += fmt::format("{} {}|", side.cluster.value, side.weight);
    if (one.redirect) {
      put(one.redirect->status);
      for (const Text* part : {&one.redirect->scheme, &one.redirect->host, &one.redirect->path}) put(part->value);
      putNumber(one.redirect->port);
    }
    if (one.respond) {
      put(one.respond->status);
      for (const Text* part : {&one.respond->body, &one.respond->file, &one.respond->content_type}) put(part->value);
    }
    for (const ErrorPageConfig& page : one.error_pages) {
      putNumber(page.status);
      put(page.file.value);
    }
  }
  return text;
}

bool isSame(const Config& a, const Config& b) {
  const auto sameListener = [](const ListenConfig& one, const ListenConfig& other) {
    return one.address.value == other.address.value && one.tls == other.tls && one.only_v6 == other.only_v6 &&
           one.cert.value == other.cert.value && one.key.value == other.key.value &&
           one.client_ca.value == other.client_ca.value && one.has_proxy_protocol == other.has_proxy_protocol &&
           one.proxy_trusted.text() == other.proxy_trusted.text() && one.redirects_https == other.redirects_https;
  };
  const auto sameCertificate = [](const CertificateConfig& one, const CertificateConfig& other) {
    return one.cert.value == other.cert.value && one.key.value == other.key.value &&
           one.client_ca.value == other.client_ca.value && one.client_auth == other.client_auth &&
           one.settings == other.settings;
  };
  const auto sameBackend = [](const BackendConfig& one, const BackendConfig& other) {
    return one.url.value == other.url.value && one.host.value == other.host.value &&
           one.server_name.value == other.server_name.value && one.ca_file.value == other.ca_file.value &&
           one.client_cert.value == other.client_cert.value && one.client_key.value == other.client_key.value &&
           one.insecure == other.insecure;
  };
  const auto sameForwarding = [](const ForwardOptions& one, const ForwardOptions& other) {
    return one.x_forwarded == other.x_forwarded && one.forwarded == other.forwarded && one.via == other.via &&
           one.client_cert == other.client_cert && one.request_id == other.request_id &&
           one.trusted_proxies.empty() == other.trusted_proxies.empty() &&
           one.identity.claims({"x-some", "", http::FieldName::unknown, false}) ==
               other.identity.claims({"x-some", "", http::FieldName::unknown, false});
  };
  return describe(a) == describe(b) && a.watch == b.watch && a.admin_socket.value == b.admin_socket.value &&
         a.workers == b.workers && a.memory_bytes == b.memory_bytes && a.io == b.io && a.prefault == b.prefault &&
         a.share_port == b.share_port && a.limits == b.limits && a.pool_timeouts == b.pool_timeouts &&
         a.server_timeouts == b.server_timeouts && a.response_head_ms == b.response_head_ms &&
         sameForwarding(a.forward, b.forward) && std::ranges::equal(a.listeners, b.listeners, sameListener) &&
         std::ranges::equal(a.certificates, b.certificates, sameCertificate) &&
         std::ranges::equal(a.backends, b.backends, sameBackend) &&
         a.access_log.file.value == b.access_log.file.value && a.access_log.format == b.access_log.format &&
         a.admin.value == b.admin.value;
}

// What the section of that key needs besides it, so that it is read.
std::string companions(const ConfigKey& key) {
  static const std::map<std::string, std::vector<std::pair<std::string, std::string>>> needed = {
      {"listen", {{"address", "\"127.0.0.1:80\""}}},
      {"listen.proxy_trusted", {{"address", "\"127.0.0.1:80\""}, {"proxy_protocol", "\"require\""}}},
      {"backend", {{"url", "\"h2c://a:1\""}}},
      {"cluster", {{"name", "\"some\""}}},
      {"cluster.backend", {{"url", "\"h2c://a:1\""}}},
      {"route.split", {{"cluster", "\"some\""}}},
      {"route.hsts", {{"max_age_s", "1"}}},
      {"route.error_pages", {{"status", "500"}, {"file", "\"some.html\""}}},
      {"certificate", {{"cert", "\"a.pem\""}, {"key", "\"a.key\""}}}};
  const auto its_own = needed.find(key.section + "." + key.name);
  const auto found = its_own != needed.end() ? its_own : needed.find(key.section);
  std::string text;
  if (found == needed.end()) return text;
  for (const auto& [name, value] : found->second) {
    if (name != key.name) text += fmt::format("{} = {}\n", name, value);
  }
  return text;
}

// The header of a section, and of those that it lies in.
std::string headerOf(const std::string& section) {
  static const std::set<std::string> repeated = {"listen", "backend",         "certificate", "cluster",
                                                 "route",  "cluster.backend", "route.split", "route.error_pages"};
  std::string text;
  const size_t dot = section.rfind('.');
  if (dot != section.npos) {
    const std::string outer = section.substr(0, dot);
    text = headerOf(outer) + companions({.section = outer});
  }
  return text + (repeated.contains(section) ? fmt::format("[[{}]]\n", section) : fmt::format("[{}]\n", section));
}

// A configuration with that line in its section.
std::string with(const ConfigKey& key, const std::string& value) {
  std::string text = headerOf(key.section);
  if (!value.empty()) text += fmt::format("{} = {}\n", key.name, value);
  text += companions(key);
  if (key.section != "listen") text += "[[listen]]\naddress = \"127.0.0.1:80\"\n";
  if (key.section != "backend") text += "[[backend]]\nurl = \"h2c://a:1\"\n";
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
  static const std::map<std::string, std::string> samples = {{"memory", "\"64M\""},
                                                             {"address", "\"127.0.0.1:99\""},
                                                             {"url", "\"h2c://b:2\""},
                                                             {"host", "\"other.example\""},
                                                             {"ciphers", "[\"ECDHE+AESGCM\"]"},
                                                             {"suites", "[\"TLS_AES_128_GCM_SHA256\"]"},
                                                             {"groups", "[\"P-256\"]"},
                                                             {"trusted_proxies", "[\"10.0.0.0/8\"]"},
                                                             {"proxy_trusted", "[\"10.0.0.0/8\"]"},
                                                             {"identity_fields", "[\"x-some\"]"},
                                                             {"scheme", "\"https\""}};
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
    case ConfigKey::pairs:
      return {"{ x-some = \"yes\" }"};
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
  std::erase_if(found, [](const ConfigKey& key) {
    return key.section.empty() || key.kind == ConfigKey::one_section || key.kind == ConfigKey::many_sections;
  });
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
    // A word that is alone is the default.
    has_changed = has_changed || (key.kind == ConfigKey::choice && key.words.size() == 1);
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
      EXPECT_EQ(made.errors[0].place.source.text(), "plait.toml");
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
      // "rewrite.path" is the key "path" of a table within the section.
      const std::string name = names[i].substr(1, names[i].size() - 2);
      const size_t dot = name.rfind('.');
      const std::string inner = dot == name.npos ? section : section + "." + name.substr(0, dot);
      std::string value = defaults.empty() ? "" : i < defaults.size() ? defaults[i] : defaults.back();
      std::erase(value, '`');
      rows[{inner, dot == name.npos ? name : name.substr(dot + 1)}] = value;
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
    const bool is_said_in_words = key.name == "workers" || key.name == "request_id" || row->second == "none";
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
