// The flags on top of the file, and what only both together can tell.
#include <fmt/format.h>

#include "plait/http/field_rules.h"
#include "plait/proxy/config.h"

namespace plait {
namespace {

void addListener(std::string_view text, Place place, ListenTls tls, Config& config, std::vector<ConfigError>& errors) {
  ListenConfig listen;
  listen.address = {std::string(text), std::move(place)};
  listen.tls = tls;
  if (std::string wrong = parseListenAddress(text, listen.parsed); !wrong.empty()) {
    errors.push_back({listen.address.place, std::move(wrong)});
  }
  config.listeners.push_back(std::move(listen));
}

void setWhereEmpty(Text& text, const std::string& value, const char* flag) {
  if (text.empty() && !value.empty()) text = {value, {flag}};
}

}  // namespace

std::string authorityOf(const BackendConfig& backend) {
  const bool is_v6 = backend.name.find(':') != std::string::npos;
  const std::string name = is_v6 ? "[" + backend.name + "]" : backend.name;
  return backend.port == (backend.protocol == BackendProtocol::https ? 443 : 80)
             ? name
             : fmt::format("{}:{}", name, backend.port);
}

std::vector<ConfigError> applyFlags(const Flags& flags, Config& config) {
  std::vector<ConfigError> errors;
  if (flags.workers > 0) config.workers = static_cast<uint32_t>(flags.workers);
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
  for (BackendConfig& backend : config.backends) {
    if (backend.protocol != BackendProtocol::https) continue;
    setWhereEmpty(backend.ca_file, flags.ca_file, "--ca-file");
    if (backend.client_cert.empty() && backend.client_key.empty()) {
      setWhereEmpty(backend.client_cert, flags.backend_cert, "--backend-cert");
      setWhereEmpty(backend.client_key, flags.backend_key, "--backend-key");
    }
    backend.insecure = backend.insecure || flags.insecure;
  }
  for (const std::string& text : flags.listen) {
    const bool is_tls = text.starts_with("tls:");
    const bool is_automatic = text.starts_with("auto:");
    addListener(std::string_view(text).substr(is_tls         ? 4
                                              : is_automatic ? 5
                                                             : 0),
                {"--listen " + text},
                is_tls         ? ListenTls::on
                : is_automatic ? ListenTls::automatic
                               : ListenTls::off,
                config, errors);
  }
  if (flags.port >= 0) {
    addListener(fmt::format("0.0.0.0:{}", flags.port), {fmt::format("--port {}", flags.port)},
                flags.tls_cert.empty() ? ListenTls::off : ListenTls::on, config, errors);
  }
  for (ListenConfig& listen : config.listeners) {
    if (listen.tls == ListenTls::off || !listen.cert.empty() || !listen.key.empty()) continue;
    setWhereEmpty(listen.cert, flags.tls_cert, "--tls-cert");
    setWhereEmpty(listen.key, flags.tls_key, "--tls-key");
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
  if (config.backends.empty() && needs_backends) {
    missing("--backend", "no backend: name at least one with -b, as in -b h2c://127.0.0.1:9001, or in [[backend]]");
  }
  if (config.listeners.empty())
    missing("--listen", "nowhere to listen: use -p PORT, --listen ADDRESS:PORT or [[listen]]");
  for (const ListenConfig& listen : config.listeners) {
    if (listen.tls == ListenTls::off) {
      for (const Text* text : {&listen.cert, &listen.key, &listen.client_ca}) {
        if (text->empty()) continue;
        errors.push_back({text->place, "this listener has no TLS: say tls = \"on\" or tls = \"auto\""});
        break;
      }
    } else if (listen.cert.empty() || listen.key.empty()) {
      errors.push_back({listen.cert.empty() != listen.key.empty()
                            ? (listen.cert.empty() ? listen.key.place : listen.cert.place)
                            : listen.address.place,
                        "TLS needs a certificate and its key: cert and key, or --tls-cert and --tls-key"});
    }
  }
  for (BackendConfig& backend : config.backends) {
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
  }
  return errors;
}

}  // namespace plait
