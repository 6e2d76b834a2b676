#include "plait/config/config.h"

#include "plait/config/routes.h"
#include "plait/config/table_reader.h"
#include "plait/config/toml_mistake.h"

namespace plait {
namespace {

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
  in.boolean("watch", out.watch);
  bool answers = false;
  in.choice<bool>("half_close", answers, {{"leave", false}, {"answer", true}});
  // Without a byte of the response.
  out.server_timeouts.half_close_ms = answers ? 10'000 : 0;
}

// Lists as OpenSSL writes them, with colons in between.
void readList(TableReader& in, std::string_view key, std::string& out) {
  std::vector<Text> words;
  in.texts(key, words);
  if (words.empty()) return;
  out.clear();
  for (const Text& word : words) out += (out.empty() ? "" : ":") + word.value;
}

void readCertificate(TableReader& in, Config& out) {
  CertificateConfig certificate;
  certificate.place = in.place();
  in.path("cert", certificate.cert);
  in.path("key", certificate.key);
  in.path("client_ca", certificate.client_ca);
  in.choice<net::ClientAuth>(
      "client_auth", certificate.client_auth,
      {{"require", net::ClientAuth::require}, {"request", net::ClientAuth::request}, {"off", net::ClientAuth::off}});
  if (const TomlNode* said = in.find("client_auth")) certificate.client_auth_place = in.placeOf(*said);
  constexpr uint16_t v1_2 = net::TlsSettings::tls_1_2, v1_3 = net::TlsSettings::tls_1_3;
  in.choice<uint16_t>("min_version", certificate.settings.min_version, {{"1.2", v1_2}, {"1.3", v1_3}});
  in.choice<uint16_t>("max_version", certificate.settings.max_version, {{"1.2", v1_2}, {"1.3", v1_3}});
  readList(in, "ciphers", certificate.settings.ciphers);
  readList(in, "suites", certificate.settings.suites);
  readList(in, "groups", certificate.settings.groups);
  for (const auto& [key, text] : {std::pair("cert", &certificate.cert), {"key", &certificate.key}}) {
    // One that is there and no name of a file is a mistake already.
    if (text->empty() && in.find(key) == nullptr)
      in.refuse(in.place(), fmt::format("[[certificate]] needs {} = \"FILE\"", key));
  }
  out.certificates.push_back(std::move(certificate));
}

// Balancers that are not named could be anybody who reaches the port, and would say that they are any client they like.
void readProxyProtocol(TableReader& in, ListenConfig& out) {
  in.choice<bool>("proxy_protocol", out.has_proxy_protocol, {{"off", false}, {"require", true}});
  std::vector<Text> trusted;
  in.texts("proxy_trusted", trusted);
  for (const Text& text : trusted) {
    if (const std::string wrong = out.proxy_trusted.add(text.value); !wrong.empty())
      in.refuse(text.place, fmt::format("proxy_trusted: {}", wrong));
  }
  const TomlNode* const said = in.find("proxy_trusted");
  if (out.has_proxy_protocol && (said == nullptr || (said->isArray() && said->size() == 0))) {
    in.refuse(in.placeOf(said == nullptr ? *in.find("proxy_protocol") : *said),
              "proxy_protocol: \"require\" needs proxy_trusted, the networks of the balancers, as in [\"10.0.0.0/8\"]");
  } else if (!out.has_proxy_protocol && said != nullptr) {
    in.refuse(in.placeOf(*said), "proxy_trusted: counts with proxy_protocol = \"require\" alone");
  }
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
  readProxyProtocol(in, listen);
  in.boolean("redirect_https", listen.redirects_https);
  if (const TomlNode* said = in.find("redirect_https")) listen.redirect_place = in.placeOf(*said);
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

void readForwarding(TableReader& in, Config& out) {
  in.boolean("x_forwarded", out.forward.x_forwarded);
  in.boolean("forwarded", out.forward.forwarded);
  in.boolean("via", out.forward.via);
  in.choice<ClientCertHint>("client_cert", out.forward.client_cert,
                            {{"off", ClientCertHint::off}, {"fields", ClientCertHint::fields}});
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
    const TomlNode* node = in.find("backoff_min_ms");
    if (node == nullptr) node = in.find("backoff_max_ms");
    in.refuse(node == nullptr ? in.place() : in.placeOf(*node),
              fmt::format("backoff_min_ms: {} is more than backoff_max_ms, which is {}", pool.backoff_min_ms,
                          pool.backoff_max_ms));
  }
}

// Each bound by itself; whether they go together is asked when all are known (Limits::mistake).
// `visit` is called with the key, the bound and its range.
template <class Visit>
void visitLimits(Limits& out, Visit visit) {
  constexpr int64_t mib = 1 << 20;
// A key has the name of its bound.
#define PLAIT_LIMIT(name, min, max) visit(#name, out.name, min, max)
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
  PLAIT_LIMIT(tls_handshakes, 1, 1 << 20);
  PLAIT_LIMIT(coalesce_us, 0, 10'000);
  PLAIT_LIMIT(access_ring_bytes, 64 << 10, 1024 * mib);
  PLAIT_LIMIT(plan_bytes, 64 << 10, 2047 * mib);
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

void readLimits(TableReader& in, Limits& out) {
  visitLimits(out, [&](const char* key, auto& bound, int64_t min, int64_t max) { in.integer(key, bound, min, max); });
}

}  // namespace

std::vector<std::string> differentLimits(const Limits& one, const Limits& other) {
  std::map<std::string, int64_t> values;
  Limits copy = other;
  visitLimits(copy, [&](const char* key, auto& bound, int64_t, int64_t) { values[key] = static_cast<int64_t>(bound); });
  std::vector<std::string> keys;
  copy = one;
  visitLimits(copy, [&](const char* key, auto& bound, int64_t, int64_t) {
    if (values[key] != static_cast<int64_t>(bound)) keys.emplace_back(key);
  });
  return keys;
}

namespace {

// Names of files, which are for those who read them (control/read_config.h).
void readIncludes(TableReader& in, bool is_included, Config& out) {
  if (is_included) {
    if (const TomlNode* said = in.find("include"))
      in.refuse(in.placeOf(*said), "include: this file is included itself, and cannot include others");
    return;
  }
  in.pathOrPaths("include", out.includes);
}

std::vector<ConfigError> parse(std::string_view text, const std::string& file, bool is_included, Config& out,
                               std::vector<ConfigKey>* keys) {
  std::vector<ConfigError> errors;
  const auto tree = TomlTree::parse(text);
  if (!tree) {
    const TomlFault& fault = tree.error();
    errors.push_back(tomlMistake(text, {file, fault.position.line, fault.position.column}, fault.text));
    out.is_broken = true;
    return errors;
  }
  const TomlNode& root = tree->root();
  TableReader reader(root, file, errors, keys);
  // A section that stands in one file alone: of two nobody could tell which one holds.
  const auto once = [&](std::string_view key, auto read) {
    if (const TomlNode* node = root.member(key)) {
      const Place place = reader.placeOf(*node);
      if (const auto [known, is_new] = out.section_places.emplace(key, place); !is_new)
        errors.push_back({place, fmt::format("[{}]: {} has this section already", key, known->second.text())});
    }
    reader.section(key, read);
  };
  readIncludes(reader, is_included, out);
  once("server", [&](TableReader& in) { readServer(in, out); });
  reader.sections("certificate", [&](TableReader& in) { readCertificate(in, out); });
  reader.sections("listen", [&](TableReader& in) { readListen(in, out); });
  reader.sections("backend", [&](TableReader& in) { readBackend(in, out.backends); });
  reader.sections("cluster", [&](TableReader& in) { readCluster(in, out); });
  if (const TomlNode* routes = root.member("route")) out.routes.reserve(out.routes.size() + routes->size());
  reader.sections("route", [&](TableReader& in) { readRoute(in, out); });
  reader.notYet("etcd");
  once("forwarding", [&](TableReader& in) { readForwarding(in, out); });
  once("timeouts", [&](TableReader& in) { readTimeouts(in, out); });
  once("limits", [&](TableReader& in) {
    readLimits(in, out.limits);
    in.tellPlaces(out.limit_places);
  });
  once("access_log", [&](TableReader& in) {
    in.path("file", out.access_log.file);
    in.choice<LogFormat>("format", out.access_log.format,
                         {{"combined", LogFormat::combined}, {"json", LogFormat::json}});
  });
  once("admin", [&](TableReader& in) {
    in.text("address", out.admin);
    in.path("socket", out.admin_socket);
  });
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
  return parse(text, file, false, out, nullptr);
}

std::vector<ConfigError> parseIncluded(std::string_view text, const std::string& file, Config& out) {
  return parse(text, file, true, out, nullptr);
}

std::vector<ConfigKey> configKeys() {
  // Each section is read once where it is there, and may hold others.
  std::string text;
  std::vector<ConfigKey> keys;
  for (size_t known = SIZE_MAX; known != keys.size();) {
    known = keys.size();
    keys.clear();
    Config ignored;
    (void)parse(text, "", false, ignored, &keys);
    text.clear();
    for (const ConfigKey& key : keys) {
      const std::string path = key.section.empty() ? key.name : fmt::format("{}.{}", key.section, key.name);
      if (key.kind == ConfigKey::many_sections) text += fmt::format("[[{}]]\n", path);
      if (key.kind == ConfigKey::one_section) text += fmt::format("[{}]\n", path);
    }
  }
  return keys;
}

}  // namespace plait
