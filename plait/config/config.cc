#include "plait/config/config.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <initializer_list>

#include "plait/config/toml_mistake.h"

namespace plait {
namespace {

constexpr int64_t max_timeout_ms = 7 * 24 * 3'600'000;

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
    const auto* array = node->as_array();
    if (array == nullptr)
      return refuse(placeOf(*node), fmt::format("{}: expected a list of strings, found {}", key, kindOf(*node)));
    for (const toml::node& element : *array) {
      Text text;
      if (textOf(key, element, text)) out.push_back(std::move(text));
    }
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
    TableReader reader(table, file_, errors_, keys_, std::string(key));
    read(reader);
    reader.finish();
  }
  void tell(ConfigKey key, std::string_view name) {
    if (keys_ == nullptr) return;
    key.section = section_;
    key.name = name;
    keys_->push_back(std::move(key));
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

void readServer(TableReader& in, Config& out) {
  in.integer("workers", out.workers, 1, 256);
  Text memory;
  in.text("memory", memory);
  if (!memory.empty()) {
    out.memory_place = memory.place;
    if (const std::string wrong = parseMemory(memory.value, out.memory_bytes); !wrong.empty())
      in.refuse(memory.place, fmt::format("memory: {}", wrong));
  }
  in.choice<IoKind>("io", out.io, {{"auto", IoKind::automatic}, {"uring", IoKind::uring}, {"epoll", IoKind::epoll}});
  in.boolean("prefault", out.prefault);
  in.boolean("share_port", out.share_port);
  bool answers = false;
  in.choice<bool>("half_close", answers, {{"leave", false}, {"answer", true}});
  // Without a byte of the response.
  out.server_timeouts.half_close_ms = answers ? 10'000 : 0;
}

void readListen(TableReader& in, Config& out) {
  ListenConfig listen;
  in.text("address", listen.address);
  in.boolean("only_v6", listen.only_v6);
  in.choice<ListenTls>("tls", listen.tls,
                       {{"off", ListenTls::off}, {"on", ListenTls::on}, {"auto", ListenTls::automatic}});
  in.path("cert", listen.cert);
  in.path("key", listen.key);
  in.path("client_ca", listen.client_ca);
  if (listen.address.empty()) {
    if (in.find("address") == nullptr) in.refuse(in.place(), "[[listen]] needs address = \"ADDRESS:PORT\"");
    return;
  }
  if (const std::string wrong = parseListenAddress(listen.address.value, listen.parsed); !wrong.empty()) {
    in.refuse(listen.address.place, fmt::format("address: {}", wrong));
  } else if (listen.only_v6 && listen.parsed.ss_family != AF_INET6) {
    in.refuse(in.placeOf(*in.find("only_v6")), fmt::format("only_v6: {} is no address of IPv6", listen.address.value));
  }
  out.listeners.push_back(std::move(listen));
}

void readBackend(TableReader& in, Config& out) {
  BackendConfig backend;
  in.text("url", backend.url);
  in.text("host", backend.host);
  in.text("server_name", backend.server_name);
  in.path("ca_file", backend.ca_file);
  in.boolean("insecure", backend.insecure);
  in.path("client_cert", backend.client_cert);
  in.path("client_key", backend.client_key);
  if (backend.url.empty()) {
    if (in.find("url") == nullptr) in.refuse(in.place(), "[[backend]] needs url = \"h2c://host:port\"");
    return;
  }
  if (const std::string wrong = parseBackendUrl(backend.url.value, backend); !wrong.empty()) {
    in.refuse(backend.url.place, fmt::format("url: {}", wrong));
  }
  out.backends.push_back(std::move(backend));
}

void readForwarding(TableReader& in, Config& out) {
  in.boolean("x_forwarded", out.forward.x_forwarded);
  in.boolean("forwarded", out.forward.forwarded);
  in.boolean("via", out.forward.via);
  bool request_id = false;
  if (in.boolean("request_id", request_id)) out.forward.request_id = request_id;
  std::vector<Text> identity;
  in.texts("identity_fields", identity);
  for (const Text& text : identity) {
    if (const std::string wrong = out.forward.identity.add(text.value); !wrong.empty()) {
      in.refuse(text.place, fmt::format("identity_fields: {}", wrong));
    }
  }
  std::vector<Text> trusted;
  in.texts("trusted_proxies", trusted);
  for (const Text& text : trusted) {
    if (const std::string wrong = out.forward.trusted_proxies.add(text.value); !wrong.empty()) {
      in.refuse(text.place, fmt::format("trusted_proxies: {}", wrong));
    }
  }
}

void readTimeouts(TableReader& in, Config& out) {
  PoolTimeouts& pool = out.pool_timeouts;
  ServerTimeouts& server = out.server_timeouts;
  in.milliseconds("connect_ms", pool.connect_ms);
  in.milliseconds("response_head_ms", out.response_head_ms);
  in.milliseconds("client_header_ms", server.client_header_ms);
  in.milliseconds("client_idle_ms", server.client_idle_ms);
  in.milliseconds("upstream_idle_ms", pool.idle_ms);
  in.milliseconds("stall_ms", server.stall_ms);
  in.milliseconds("stream_idle_ms", pool.stream_idle_ms);
  in.milliseconds("tunnel_idle_ms", pool.tunnel_idle_ms);
  in.milliseconds("ping_ms", pool.ping_ms, 0);
  in.milliseconds("ping_answer_ms", pool.ping_answer_ms);
  in.milliseconds("shrink_ms", pool.shrink_ms);
  in.milliseconds("queue_ms", pool.queue_ms);
  int64_t drain_ms = server.drain_ms;
  in.milliseconds("drain_ms", drain_ms);
  server.drain_ms = pool.drain_ms = drain_ms;
  in.milliseconds("probe_ms", pool.probe_ms);
  in.milliseconds("connection_age_ms", pool.max_age_ms);
  in.milliseconds("backoff_min_ms", pool.backoff_min_ms);
  in.milliseconds("backoff_max_ms", pool.backoff_max_ms);
  if (pool.backoff_min_ms > pool.backoff_max_ms) {
    const toml::node* node = in.find("backoff_min_ms");
    if (node == nullptr) node = in.find("backoff_max_ms");
    in.refuse(node == nullptr ? in.place() : in.placeOf(*node),
              fmt::format("backoff_min_ms: {} is more than backoff_max_ms, which is {}", pool.backoff_min_ms,
                          pool.backoff_max_ms));
  }
}

// Each bound by itself; whether they go together is asked when all are known (Limits::mistake).
void readLimits(TableReader& in, Limits& out) {
  constexpr int64_t mib = 1 << 20;
// A key has the name of its bound.
#define PLAIT_LIMIT(name, min, max) in.integer(#name, out.name, min, max)
  PLAIT_LIMIT(exchanges, 1, 1 << 20);
  PLAIT_LIMIT(client_connections, 1, 1 << 20);
  PLAIT_LIMIT(upstream_connections, 1, 1 << 16);
  PLAIT_LIMIT(endpoints, 1, 1 << 16);
  PLAIT_LIMIT(h2_connections_per_backend, 1, 1 << 16);
  PLAIT_LIMIT(h1_connections_per_backend, 1, 1 << 16);
  PLAIT_LIMIT(streams_per_upstream_connection, 1, 1 << 16);
  PLAIT_LIMIT(streams_per_client, 1, 1 << 16);
  // Below 65,535 there is no smaller connection window in HTTP/2 (RFC 9113 §6.9.2).
  PLAIT_LIMIT(upstream_connection_window, 65'535, Limits::largest_window);
  PLAIT_LIMIT(upstream_stream_window, 4096, mib);
  PLAIT_LIMIT(client_connection_window, 65'535, Limits::largest_window);
  PLAIT_LIMIT(client_stream_window, 4096, mib);
  PLAIT_LIMIT(upload_pool_bytes, mib, 2047 * mib);
  PLAIT_LIMIT(burst_pool_bytes, 0, 2047 * mib);
  PLAIT_LIMIT(send_blocks, 64, 1 << 20);
  PLAIT_LIMIT(record_blocks, 16, 1 << 20);
  PLAIT_LIMIT(send_queue_bytes, 64 << 10, 16 * mib);
  PLAIT_LIMIT(receive_buffers, 16, Limits::most_receive_buffers);
  // Heads lie in blocks of 64 KiB at the most, together with what is added to them.
  PLAIT_LIMIT(header_bytes, 4 << 10, 56 << 10);
  PLAIT_LIMIT(header_fields, 8, 1000);
  PLAIT_LIMIT(target_bytes, 256, 32 << 10);
  PLAIT_LIMIT(medium_header_blocks, 16, 1 << 20);
  PLAIT_LIMIT(large_header_blocks, 16, 1 << 16);
  PLAIT_LIMIT(tls_bytes_per_connection, 16 << 10, mib);
  PLAIT_LIMIT(coalesce_us, 0, 10'000);
  PLAIT_LIMIT(access_ring_bytes, 64 << 10, 1024 * mib);
  PLAIT_LIMIT(upload_bytes_per_second, 0, mib);
  PLAIT_LIMIT(download_bytes_per_second, 0, mib);
  PLAIT_LIMIT(reset_burst, 16, 1 << 20);
  PLAIT_LIMIT(resets_per_second, 0, 1 << 20);
  PLAIT_LIMIT(idle_frame_burst, 256, 1 << 30);
  PLAIT_LIMIT(idle_frames_per_second, 0, 1 << 30);
  PLAIT_LIMIT(replay_bytes_per_request, 0, mib);
  PLAIT_LIMIT(replay_bytes, 0, 2047 * mib);
  PLAIT_LIMIT(unprocessed_retries, 0, 100);
  PLAIT_LIMIT(unknown_retry_percent, 0, 100);
  PLAIT_LIMIT(unknown_retry_burst, 0, 1 << 20);
#undef PLAIT_LIMIT
}

}  // namespace

namespace {

std::vector<ConfigError> parse(std::string_view text, const std::string& file, Config& out,
                               std::vector<ConfigKey>* keys) {
  std::vector<ConfigError> errors;
  toml::table root;
  try {
    root = toml::parse(text, file);
  } catch (const toml::parse_error& error) {
    const auto& begin = error.source().begin;
    errors.push_back(tomlMistake(text, {file, begin.line, begin.column}, error.description()));
    return errors;
  }
  TableReader reader(root, file, errors, keys);
  reader.section("server", [&](TableReader& in) { readServer(in, out); });
  reader.sections("listen", [&](TableReader& in) { readListen(in, out); });
  reader.sections("backend", [&](TableReader& in) { readBackend(in, out); });
  reader.section("forwarding", [&](TableReader& in) { readForwarding(in, out); });
  reader.section("timeouts", [&](TableReader& in) { readTimeouts(in, out); });
  reader.section("limits", [&](TableReader& in) {
    readLimits(in, out.limits);
    in.tellPlaces(out.limit_places);
  });
  reader.section("access_log", [&](TableReader& in) {
    in.path("file", out.access_log.file);
    in.choice<LogFormat>("format", out.access_log.format,
                         {{"combined", LogFormat::combined}, {"json", LogFormat::json}});
  });
  reader.section("admin", [&](TableReader& in) { in.text("address", out.admin); });
  reader.finish();
  if (!out.admin.empty()) {
    if (const std::string wrong = parseListenAddress(out.admin.value, out.admin_address); !wrong.empty()) {
      errors.push_back({out.admin.place, fmt::format("address: {}", wrong)});
    }
  }
  std::ranges::sort(errors, [](const ConfigError& a, const ConfigError& b) {
    return std::pair(a.place.line, a.place.column) < std::pair(b.place.line, b.place.column);
  });
  return errors;
}

}  // namespace

std::vector<ConfigError> parseConfig(std::string_view text, const std::string& file, Config& out) {
  return parse(text, file, out, nullptr);
}

std::vector<ConfigKey> configKeys() {
  Config ignored;
  std::vector<ConfigKey> sections;
  (void)parse("", "", ignored, &sections);
  // Each section is read once where it is there.
  std::string text;
  for (const ConfigKey& section : sections)
    text += section.kind == ConfigKey::many_sections ? fmt::format("[[{}]]\n", section.name)
                                                     : fmt::format("[{}]\n", section.name);
  std::vector<ConfigKey> keys;
  (void)parse(text, "", ignored, &keys);
  return keys;
}

}  // namespace plait
