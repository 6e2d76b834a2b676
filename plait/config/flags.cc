// The flags on top of the file, and what only both together can tell.
#include <fmt/format.h>

#include <algorithm>

#include "plait/config/config.h"
#include "plait/config/routes.h"
#include "plait/http/field_rules.h"

namespace plait {
namespace {

// "tls:" and "auto:" before the address, or before the port alone, say that there is TLS; without them there is none.
void addListener(const std::string& given, const char* flag, const char* host, Config& config,
                 std::vector<ConfigError>& errors) {
  ListenConfig listen;
  std::string_view rest = given;
  for (const auto& [prefix, tls] : {std::pair("tls:", ListenTls::on), std::pair("auto:", ListenTls::automatic)}) {
    if (!rest.starts_with(prefix)) continue;
    rest.remove_prefix(std::string_view(prefix).size());
    listen.tls = tls;
    break;
  }
  listen.address = {host + std::string(rest), {fmt::format("{} {}", flag, given)}};
  if (std::string wrong = parseListenAddress(listen.address.value, listen.parsed); !wrong.empty()) {
    const bool is_port = *host != '\0';
    errors.push_back({listen.address.place, is_port ? "expected a port, as in 8080 or tls:8443" : std::move(wrong)});
  }
  config.listeners.push_back(std::move(listen));
}

void setWhereEmpty(Text& text, const std::string& value, const char* flag) {
  if (text.empty() && !value.empty()) text = {value, {flag}};
}

}  // namespace

void followSaid(Limits& limits, const IsSaid& is_said) {
  constexpr uint32_t most_send_blocks = 1 << 20;
  if (!is_said("send_blocks")) {
    while (limits.send_blocks < most_send_blocks && (limits.upstream_connections > limits.blocksLeftByClients() / 2 ||
                                                     limits.client_connections > limits.clientsWithBlocks()))
      limits.send_blocks += std::max(limits.send_blocks / 32, 16u);
  }
  if (!is_said("upstream_connections"))
    limits.upstream_connections = std::min(limits.upstream_connections, std::max(limits.send_blocks / 16, 1u));
  if (!is_said("client_connections"))
    limits.client_connections = std::min(limits.client_connections, std::max(limits.clientsWithBlocks(), 1u));
  if (!is_said("send_queue_bytes")) limits.send_queue_bytes = std::min(limits.send_queue_bytes, limits.largestQueue());
  if (!is_said("upload_pool_bytes")) {
    const uint64_t needed = std::min<uint64_t>(uint64_t{limits.client_stream_window} * 8, UINT32_MAX);
    limits.upload_pool_bytes = std::max(limits.upload_pool_bytes, static_cast<uint32_t>(needed));
  } else if (!is_said("client_stream_window")) {
    limits.client_stream_window = std::min(limits.client_stream_window, limits.upload_pool_bytes / 8);
  }
  if (!is_said("replay_bytes_per_request"))
    limits.replay_bytes_per_request = std::min(limits.replay_bytes_per_request, limits.client_stream_window);
}

std::string authorityOf(const BackendConfig& backend) {
  const bool is_v6 = backend.name.find(':') != std::string::npos;
  const std::string name = is_v6 ? "[" + backend.name + "]" : backend.name;
  return backend.port == (backend.protocol == BackendProtocol::https ? 443 : 80)
             ? name
             : fmt::format("{}:{}", name, backend.port);
}

std::vector<ConfigError> applyFlags(const Flags& flags, Config& config) {
  std::vector<ConfigError> errors;
  config.share_port = config.share_port || flags.share_port;
  if (flags.workers > 0) config.workers = static_cast<uint32_t>(flags.workers);
  if (!flags.memory.empty()) {
    config.memory_place = {"--memory " + flags.memory};
    if (std::string wrong = parseMemory(flags.memory, config.memory_bytes); !wrong.empty())
      errors.push_back({config.memory_place, std::move(wrong)});
  }
  if (!flags.io.empty())
    config.io = flags.io == "uring" ? IoKind::uring : flags.io == "epoll" ? IoKind::epoll : IoKind::automatic;
  for (const std::string& url : flags.backends) {
    BackendConfig backend;
    backend.url = {url, {"--backend " + url}};
    if (std::string wrong = parseBackendUrl(url, backend); !wrong.empty()) {
      errors.push_back({backend.url.place, std::move(wrong)});
    }
    config.backends.push_back(std::move(backend));
  }
  forEachBackend(config, [&](BackendConfig& backend) {
    if (backend.protocol != BackendProtocol::https) return;
    setWhereEmpty(backend.ca_file, flags.ca_file, "--ca-file");
    if (backend.client_cert.empty() && backend.client_key.empty()) {
      setWhereEmpty(backend.client_cert, flags.backend_cert, "--backend-cert");
      setWhereEmpty(backend.client_key, flags.backend_key, "--backend-key");
    }
    backend.insecure = backend.insecure || flags.insecure;
  });
  for (const std::string& text : flags.listen) addListener(text, "--listen", "", config, errors);
  if (!flags.port.empty()) addListener(flags.port, "--port", "0.0.0.0:", config, errors);
  bool is_cert_used = flags.tls_cert.empty();
  for (ListenConfig& listen : config.listeners) {
    if (listen.tls == ListenTls::off || !listen.cert.empty() || !listen.key.empty()) continue;
    is_cert_used = true;
    setWhereEmpty(listen.cert, flags.tls_cert, "--tls-cert");
    setWhereEmpty(listen.key, flags.tls_key, "--tls-key");
  }
  if (!is_cert_used) {
    errors.push_back(
        {{"--tls-cert"}, "no listener uses it: one with TLS begins with tls: or auto:, as in -p tls:8443"});
  }
  if (flags.tls_cert.empty() != flags.tls_key.empty()) {
    const bool has_cert = !flags.tls_cert.empty();
    errors.push_back(
        {{has_cert ? "--tls-cert" : "--tls-key"}, has_cert ? "needs --tls-key as well" : "needs --tls-cert as well"});
  }
  if (flags.backend_cert.empty() != flags.backend_key.empty()) {
    const bool has_cert = !flags.backend_cert.empty();
    errors.push_back({{has_cert ? "--backend-cert" : "--backend-key"},
                      has_cert ? "needs --backend-key as well" : "needs --backend-cert as well"});
  }
  if (!flags.access_log.empty()) config.access_log.file = {flags.access_log, {"--access-log " + flags.access_log}};
  if (!flags.log_format.empty())
    config.access_log.format = flags.log_format == "json" ? LogFormat::json : LogFormat::combined;
  if (!flags.admin.empty()) {
    config.admin = {flags.admin, {"--admin " + flags.admin}};
    if (std::string wrong = parseListenAddress(flags.admin, config.admin_address); !wrong.empty()) {
      errors.push_back({config.admin.place, std::move(wrong)});
    }
  }
  for (const std::string& text : flags.trusted_proxies) {
    if (std::string wrong = config.forward.trusted_proxies.add(text); !wrong.empty()) {
      errors.push_back({{"--trusted-proxy " + text}, std::move(wrong)});
    }
  }
  return errors;
}

std::vector<ConfigError> completeConfig(Config& config, bool needs_backends, const std::string& file) {
  std::vector<ConfigError> errors;
  // A mistake of omission has no line: it stands at the file's beginning, or names the flag that is missing.
  const auto missing = [&](const char* flag, std::string sentence) {
    errors.push_back({file.empty() ? Place{flag} : Place{file, 1, 1}, std::move(sentence)});
  };
  if (config.backends.empty() && config.clusters.empty() && config.routes.empty() && needs_backends) {
    missing("--backend", "no backend: name at least one with -b, as in -b h2c://127.0.0.1:9001, or in [[backend]]");
  } else if (config.backends.empty() && config.routes.empty() && needs_backends) {
    errors.push_back({config.clusters[0].place, "no [[route]] leads to a cluster, and there is no [[backend]]"});
  }
  completeRoutes(config, errors);
  followSaid(config.limits, [&](std::string_view key) { return config.limit_places.contains(key); });
  if (const auto mistake = config.limits.mistake()) {
    Place place = file.empty() ? Place{"limits"} : Place{file, 1, 1};
    for (const char* key : {mistake->by_key, mistake->key}) {
      if (key == nullptr) continue;
      if (const auto said = config.limit_places.find(key); said != config.limit_places.end()) place = said->second;
    }
    errors.push_back({place, sentenceOf(*mistake)});
  }
  if (config.listeners.empty())
    missing("--listen", "nowhere to listen: use -p PORT, --listen ADDRESS:PORT or [[listen]]");
  const bool has_sites = !config.certificates.empty();
  if (has_sites &&
      std::ranges::all_of(config.listeners, [](const ListenConfig& one) { return one.tls == ListenTls::off; })) {
    errors.push_back(
        {config.certificates.front().place, "no listener uses it: say tls = \"on\" or tls = \"auto\" in a [[listen]]"});
  }
  for (const CertificateConfig& certificate : config.certificates) {
    const bool asks = certificate.client_auth != net::ClientAuth::off;
    if (asks && !certificate.client_auth_place.source.empty() && certificate.client_ca.empty())
      errors.push_back({certificate.client_auth_place, "client_auth: without client_ca nobody can vouch for a client"});
  }
  for (const ListenConfig& listen : config.listeners) {
    if (listen.redirects_https && listen.tls != ListenTls::off)
      errors.push_back(
          {listen.redirect_place, "redirect_https: this listener speaks TLS: it is for a plain one beside it"});
    if (listen.tls == ListenTls::off) {
      for (const Text* text : {&listen.cert, &listen.key, &listen.client_ca}) {
        if (text->empty()) continue;
        errors.push_back({text->place, "this listener has no TLS: say tls = \"on\" or tls = \"auto\""});
        break;
      }
    } else if (has_sites) {
      for (const Text* text : {&listen.cert, &listen.key, &listen.client_ca}) {
        if (text->empty()) continue;
        errors.push_back({text->place,
                          "a listener has a certificate of its own, or those of [[certificate]]: put it into a "
                          "[[certificate]] as well"});
        break;
      }
    } else if (listen.cert.empty() || listen.key.empty()) {
      errors.push_back(
          {listen.cert.empty() != listen.key.empty() ? (listen.cert.empty() ? listen.key.place : listen.cert.place)
                                                     : listen.address.place,
           "TLS needs a certificate and its key: cert and key, [[certificate]], or --tls-cert and --tls-key"});
    }
  }
  forEachBackend(config, [&](BackendConfig& backend) {
    const bool is_tls = backend.protocol == BackendProtocol::https;
    for (const Text* text : {&backend.server_name, &backend.ca_file, &backend.client_cert, &backend.client_key}) {
      if (is_tls || text->empty()) continue;
      errors.push_back({text->place, "this backend has no TLS: its url does not begin with https://"});
      break;
    }
    if (is_tls && backend.client_cert.empty() != backend.client_key.empty()) {
      errors.push_back({backend.client_cert.empty() ? backend.client_key.place : backend.client_cert.place,
                        "client_cert and client_key go together"});
    }
    if (backend.host.value == "client") backend.host.value.clear();
    if (backend.host.value == "backend") {
      backend.host.value = authorityOf(backend);
    } else if (!backend.host.empty() && !http::isAuthority(backend.host.value)) {
      errors.push_back(
          {backend.host.place, "host: expected \"client\", \"backend\", or a host name with or without a port"});
    }
  });
  for (ConfigError& error : settleConflicts(config)) errors.push_back(std::move(error));
  size_t backends = 0;
  forEachBackend(config, [&](const BackendConfig&) { backends += 1; });
  size_t place = 0;
  forEachBackend(config, [&](const BackendConfig& backend) {
    if (place++ != config.limits.endpoints) return;
    errors.push_back(
        {backend.url.place, fmt::format("there are {} backends, more than the {} that limits.endpoints allows",
                                        backends, config.limits.endpoints)});
  });
  return errors;
}

}  // namespace plait
