// What the operator asked for: plait.toml and the flags, read into one value. Nothing here touches a file, a name or a
// socket: from text to a Config or a list of mistakes, each with its place. docs/configuration.md is the reference.
//
//   text ──parseConfig──▶ Config ──applyFlags──▶ Config ──completeConfig──▶ Config ──loadConfig (config_load.h)──▶
//   workers
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plait/client/pool.h"
#include "plait/io/backend.h"
#include "plait/limits.h"
#include "plait/proxy/forward.h"
#include "plait/server/server.h"

namespace plait {

// Where something was said: a position in a file, or a flag (then line is 0).
struct Place {
  std::string source;
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

enum class ListenTls : uint8_t { off, on, automatic };

struct ListenConfig {
  Text address;
  sockaddr_storage parsed{};
  ListenTls tls = ListenTls::off;
  Text cert;
  Text key;
  Text client_ca;
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

enum class LogFormat : uint8_t { combined, json };

struct AccessLogConfig {
  Text file;  // empty: no log; "-" for standard output
  LogFormat format = LogFormat::combined;
};

struct Config {
  uint32_t workers = 1;
  IoKind io = IoKind::automatic;
  bool prefault = false;
  Limits limits;
  PoolTimeouts pool_timeouts;
  ServerTimeouts server_timeouts;
  int64_t response_head_ms = 60'000;
  ForwardOptions forward;
  std::vector<ListenConfig> listeners;
  std::vector<BackendConfig> backends;
  AccessLogConfig access_log;
  Text admin;
  sockaddr_storage admin_address{};  // meaningful unless `admin` is empty
};

// Adds to `out` what `text` says. `file` names the text in mistakes, and paths in it are relative to its folder. Every
// mistake that can be found is in the answer, in the order of the text; of broken TOML the first alone.
std::vector<ConfigError> parseConfig(std::string_view text, const std::string& file, Config& out);

// What the flags say, as they were given. Strings and lists are empty, numbers negative, where a flag is absent.
struct Flags {
  std::vector<std::string> backends;
  std::vector<std::string> listen;
  int port = -1;
  std::string tls_cert;
  std::string tls_key;
  std::string ca_file;
  std::string backend_cert;
  std::string backend_key;
  bool insecure = false;
  int workers = -1;
  std::string io;
  std::string access_log;
  std::string log_format;
  std::string admin;
  std::vector<std::string> trusted_proxies;
};

// Backends, listeners and trusted proxies of the flags are added to those of the file; --tls-cert, --ca-file and their
// like hold for what has none of its own; the other flags override.
std::vector<ConfigError> applyFlags(const Flags& flags, Config& config);

// What only the whole can tell: that there is a backend and a listener, that TLS has its certificate. `needs_backends`
// is false for the demo origin. `file` is for mistakes of omission; empty where there is no file.
std::vector<ConfigError> completeConfig(Config& config, bool needs_backends, const std::string& file);

// -- the parts, each a pure function from text; the answer is empty on success, else a phrase for the operator

// h2c://host:port, https://host[:port], http://host[:port], or host:port, which is probed.
std::string parseBackendUrl(std::string_view url, BackendConfig& out);
// The backend's own authority, as a browser would write it: with the port unless it is the scheme's.
std::string authorityOf(const BackendConfig& backend);
// ADDRESS:PORT with a numeric address.
std::string parseListenAddress(std::string_view text, sockaddr_storage& out);
// The one of `known` that is so near that it was probably meant; empty where none is.
std::string_view nearest(std::string_view word, const std::vector<std::string_view>& known);

}  // namespace plait
