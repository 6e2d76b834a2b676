// The configuration that the operator asked for: plait.toml and the flags, read into one value. Nothing here touches a
// file, a name or a socket: from text to a Config or a list of mistakes, each with its place. docs/configuration.md is
// the reference.
//
//   text ──parseConfig──▶ Config ──applyFlags──▶ Config ──completeConfig──▶ Config ──loadConfig (config_load.h)──▶
//   workers
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plait/client/pool.h"
#include "plait/io/backend.h"
#include "plait/limits.h"
#include "plait/net/tls_policy.h"
#include "plait/plan/cluster_spec.h"
#include "plait/plan/forward_options.h"
#include "plait/server/server_options.h"

namespace plait {

// The name of a file or a flag. Each name is kept once, until the process ends: there are few, and many places.
class Source {
 public:
  Source() = default;
  Source(std::string_view name);
  Source(const std::string& name) : Source(std::string_view(name)) {}
  Source(const char* name) : Source(std::string_view(name)) {}
  const std::string& text() const { return *name_; }
  bool empty() const { return name_->empty(); }
  bool operator==(const Source& other) const { return name_ == other.name_; }

 private:
  static const std::string none;
  const std::string* name_ = &none;
};

// Where something was said: a position in a file, or a flag (then line is 0).
struct Place {
  Source source;
  uint32_t line = 0;
  uint32_t column = 0;
  // "plait.toml:3:7" or "--backend h2c://a:1".
  std::string text() const;
};

struct ConfigError {
  Place place;
  std::string sentence;
  std::string text() const { return place.text() + ": " + sentence; }
};

// A string of the configuration that is looked at again later: files to be read, names to be looked up.
struct Text {
  std::string value;
  Place place;
  bool empty() const { return value.empty(); }
};

struct TextPair {
  Text name;
  Text value;
};

// A number with the place where it was said; without one where it was not.
struct Number {
  int64_t value = 0;
  Place place;
  bool isSaid() const { return !place.source.empty(); }
};

enum class ListenTls : uint8_t { off, on, automatic };

// A site of the listeners with TLS that have no certificate of their own.
struct CertificateConfig {
  Place place;
  Text cert;
  Text key;
  Text client_ca;
  net::ClientAuth client_auth = net::ClientAuth::require;
  Place client_auth_place;  // without a source where it was not said
  net::TlsSettings settings;
};

struct ListenConfig {
  Text address;
  sockaddr_storage parsed{};
  bool only_v6 = false;
  ListenTls tls = ListenTls::off;
  Text cert;
  Text key;
  Text client_ca;
  bool has_proxy_protocol = false;  // each connection begins with a PROXY header,
  TrustedProxies proxy_trusted;     // of one of these balancers
  bool redirects_https = false;
  Place redirect_place;
};

struct BackendConfig {
  Text url;
  BackendProtocol protocol = BackendProtocol::h2c;
  std::string name;  // without brackets
  uint16_t port = 0;
  Text host;  // the authority sent: empty or "client" for the client's, "backend" for the backend's, or a literal
  Text server_name;
  Text ca_file;
  Text client_cert;
  Text client_key;
  bool insecure = false;
};

struct ClusterConfig {
  Text name;
  Place place;
  PoolTimeouts timeouts;  // its own, else those of [timeouts]
  Number response_head_ms;
  OutlierOptions outliers;
  Number connections;             // for each endpoint and worker
  uint32_t requests = 0;          // at once, in the process; 0: as many as come
  std::optional<uint32_t> queue;  // that wait for room at once, in the process; absent: as many as come
  std::vector<BackendConfig> backends;
  // The keys of `timeouts` that it has set itself.
  std::map<std::string, int64_t, std::less<>> said_timeouts;
};

struct SplitConfig {
  Text cluster;
  uint32_t weight = 1;
  Place place;
};

struct FieldsConfig {
  std::vector<TextPair> set;
  std::vector<TextPair> add;
  std::vector<Text> remove;
};

struct ErrorPageConfig {
  Number status;
  Text file;
};

struct RedirectConfig {
  Place place;
  int64_t status = 302;
  Text scheme;
  Text host;
  Text path;
  Number port;
};

struct RespondConfig {
  Place place;
  int64_t status = 200;
  Text body;
  Text file;
  Text content_type;
};

// A route as it is written. Exactly one of cluster, split, redirect and respond is there once completeConfig has found
// no mistake.
struct RouteConfig {
  Place place;
  Text name;
  std::vector<Text> hosts;
  Text path;
  Text path_exact;
  Text path_regex;
  Text example;
  std::vector<Text> methods;
  std::vector<TextPair> fields;
  std::vector<TextPair> query;
  int32_t priority = 0;

  Text cluster;
  std::vector<SplitConfig> split;
  // The key by which a client stays on its side of a split: at most one of these.
  Text split_cookie;
  Text split_field;
  bool splits_by_address = false;
  std::optional<RedirectConfig> redirect;
  std::optional<RespondConfig> respond;

  Text rewrite_path;
  Text rewrite_host;
  FieldsConfig request_fields;
  FieldsConfig response_fields;
  Number response_head_ms;
  Number idle_ms;
  Number total_ms;
  Number retries_max;
  bool retries_unknown = true;
  Number body_bytes;
  Number requests;
  std::vector<Text> allow;
  std::vector<Text> deny;
  Number hsts_seconds;
  bool hsts_subdomains = false;
  bool hsts_preload = false;
  std::vector<ErrorPageConfig> error_pages;
};

enum class LogFormat : uint8_t { combined, json };

struct AccessLogConfig {
  Text file;  // empty: no log; "-" for standard output
  LogFormat format = LogFormat::combined;
};

struct Config {
  // The file that was named, and those that it includes, in the order in which they were read.
  std::vector<std::string> files;
  std::vector<Text> includes;  // names and patterns of files, relative to the working folder
  // The sections that stand once, and where.
  std::map<std::string, Place, std::less<>> section_places;
  bool is_broken = false;  // one of the files is no TOML

  uint32_t workers = 0;  // 0: one for each core that may be used
  // What plait may have of the machine's memory, the kernel's part included; 0: what the control group allows, or half.
  uint64_t memory_bytes = 0;
  Place memory_place;
  IoKind io = IoKind::automatic;
  bool prefault = false;
  bool share_port = false;
  bool watch = false;  // reload when a file of the configuration changes
  Limits limits;
  // The keys of [limits] that somebody has set, and where.
  std::map<std::string, Place, std::less<>> limit_places;
  PoolTimeouts pool_timeouts;
  ServerTimeouts server_timeouts;
  int64_t response_head_ms = 60'000;
  ForwardOptions forward;
  std::vector<CertificateConfig> certificates;
  std::vector<ListenConfig> listeners;
  std::vector<BackendConfig> backends;  // of the cluster "default"
  std::vector<ClusterConfig> clusters;
  std::vector<RouteConfig> routes;
  AccessLogConfig access_log;
  Text admin;
  Text admin_socket;                 // empty: none
  sockaddr_storage admin_address{};  // meaningful unless `admin` is empty
  // What is probably not meant, and keeps nobody from starting.
  std::vector<ConfigError> warnings;

  // Gives the memory of routes and clusters back, which their plan has then.
  void forgetRoutes() {
    std::vector<RouteConfig>().swap(routes);
    std::vector<ClusterConfig>().swap(clusters);
  }
};

// Adds to `out` what `text` says. `file` names the text in mistakes, and paths in it are relative to its folder. Every
// mistake that can be found is in the answer, in the order of the text; of broken TOML the first alone.
std::vector<ConfigError> parseConfig(std::string_view text, const std::string& file, Config& out);
// Likewise for a file that another one includes.
std::vector<ConfigError> parseIncluded(std::string_view text, const std::string& file, Config& out);

// The keys of [limits] in which they differ.
std::vector<std::string> differentLimits(const Limits& one, const Limits& other);

// Calls use(backend) for the backends of all clusters, those of the cluster "default" first.
void forEachBackend(auto& config, auto use) {
  for (auto& backend : config.backends) use(backend);
  for (auto& cluster : config.clusters) {
    for (auto& backend : cluster.backends) use(backend);
  }
}

// One key that a configuration may hold, as the code reads it that knows it.
struct ConfigKey {
  enum Kind : uint8_t { integer, boolean, text, path, texts, pairs, choice, one_section, many_sections };
  std::string section;  // empty for a section itself; "route.rewrite" for a table in one
  std::string name;
  Kind kind = text;
  int64_t min = 0;  // of a number
  int64_t max = 0;
  std::vector<std::string> words;  // of a choice
};
// All of them.
std::vector<ConfigKey> configKeys();

// The flags, as they were given. Strings and lists are empty, numbers negative, where a flag is absent.
struct Flags {
  std::vector<std::string> backends;
  std::vector<std::string> listen;
  std::string port;
  std::string tls_cert;
  std::string tls_key;
  std::string ca_file;
  std::string backend_cert;
  std::string backend_key;
  bool insecure = false;
  bool share_port = false;
  int workers = -1;
  std::string memory;
  std::string io;
  std::string access_log;
  std::string log_format;
  std::string admin;
  std::vector<std::string> trusted_proxies;
};

// Backends, listeners and trusted proxies of the flags are added to those of the file; --tls-cert, --ca-file and their
// like hold for what has none of its own; the other flags override.
std::vector<ConfigError> applyFlags(const Flags& flags, Config& config);

// Checks what only the whole can tell: that there is a backend and a listener, that TLS has its certificate, that the
// limits go together.
// `needs_backends` is false for the demo origin. `file` is for mistakes of omission; empty where there is no file.
std::vector<ConfigError> completeConfig(Config& config, bool needs_backends, const std::string& file);

// A part of completeConfig: addresses that two would have are mistakes; a backend that is named twice with the same
// settings becomes one, with a warning.
std::vector<ConfigError> settleConflicts(Config& config);
// True for a key of [limits] that somebody has set.
using IsSaid = std::function<bool(std::string_view key)>;
// Makes the limits that nobody has set go with those that somebody has set.
void followSaid(Limits& limits, const IsSaid& is_said);

// -- the parts, each a pure function from text; the answer is empty on success, else a phrase for the operator

// h2c://host:port, https://host[:port], http://host[:port], or host:port, which is probed.
std::string parseBackendUrl(std::string_view url, BackendConfig& out);
// The backend's own authority, as a browser would write it: with the port unless it is the scheme's.
std::string authorityOf(const BackendConfig& backend);
// Which bound is wrong beside which other one, with both numbers, and why.
std::string sentenceOf(const LimitsMistake& mistake);
// How much memory: "256M", "2G"; 32 MiB at the least.
std::string parseMemory(std::string_view text, uint64_t& out);
// ADDRESS:PORT with a numeric address.
std::string parseListenAddress(std::string_view text, sockaddr_storage& out);
// The one of `known` that is so near that it was probably meant; empty where none is.
std::string_view nearest(std::string_view word, const std::vector<std::string_view>& known);

}  // namespace plait
