#include "plait/proxy/config_load.h"

#include <fmt/format.h>

#include <map>
#include <tuple>

namespace plait {
namespace {

// The places of a TLS context's files, so that a mistake in one is reported where that one was named.
Place placeOfFile(const std::string& sentence, std::initializer_list<const Text*> files, const Place& otherwise) {
  for (const Text* file : files) {
    if (!file->empty() && sentence.find(file->value) != std::string::npos) return file->place;
  }
  return otherwise;
}

// Makes each context once: listeners or backends that say the same share sessions and memory.
class Contexts {
 public:
  Contexts(std::vector<std::unique_ptr<TlsContext>>& owned, std::vector<ConfigError>& errors)
      : owned_(owned), errors_(errors) {}

  TlsContext* server(const ListenConfig& listen) {
    return make(
        {true, listen.cert.value, listen.key.value, listen.client_ca.value, false},
        [&] {
          return TlsContext::makeServer(
              {.cert_file = listen.cert.value, .key_file = listen.key.value, .client_ca_file = listen.client_ca.value});
        },
        {&listen.client_ca, &listen.key, &listen.cert}, listen.address.place);
  }
  TlsContext* client(const BackendConfig& backend) {
    return make(
        {false, backend.client_cert.value, backend.client_key.value, backend.ca_file.value, backend.insecure},
        [&] {
          return TlsContext::makeClient({.verify = !backend.insecure,
                                         .ca_file = backend.ca_file.value,
                                         .cert_file = backend.client_cert.value,
                                         .key_file = backend.client_key.value});
        },
        {&backend.ca_file, &backend.client_key, &backend.client_cert}, backend.url.place);
  }

 private:
  using Key = std::tuple<bool, std::string, std::string, std::string, bool>;

  template <class Make>
  TlsContext* make(const Key& key, Make make_context, std::initializer_list<const Text*> files,
                   const Place& otherwise) {
    if (const auto found = made_.find(key); found != made_.end()) return found->second;
    auto context = make_context();
    TlsContext*& kept = made_[key];
    if (context) {
      kept = context->get();
      owned_.push_back(std::move(*context));
    } else {
      errors_.push_back({placeOfFile(context.error(), files, otherwise), context.error()});
    }
    return kept;
  }

  std::vector<std::unique_ptr<TlsContext>>& owned_;
  std::vector<ConfigError>& errors_;
  std::map<Key, TlsContext*> made_;
};

}  // namespace

std::vector<ConfigError> loadConfig(const Config& config, Resolver& resolver, LoadedConfig& out,
                                    std::optional<uint64_t> memory_limit) {
  std::vector<ConfigError> errors;
  Contexts contexts(out.contexts, errors);
  WorkerOptions& options = out.options;
  options.io = config.io;
  options.limits = config.limits;
  options.prefault = config.prefault;
  options.has_access_log = !config.access_log.file.empty();
  options.pool_timeouts = config.pool_timeouts;
  options.server_timeouts = config.server_timeouts;
  options.response_head_ms = config.response_head_ms;
  options.forward = config.forward;
  for (const ListenConfig& listen : config.listeners) {
    ListenOptions listener{listen.parsed};
    if (listen.tls != ListenTls::off && !listen.cert.empty() && !listen.key.empty())
      listener.tls = contexts.server(listen);
    listener.tls_by_first_byte = listen.tls == ListenTls::automatic;
    options.listeners.push_back(listener);
  }
  for (const BackendConfig& backend : config.backends) {
    if (backend.name.empty() || backend.port == 0) continue;
    ResolveAnswer answer;
    if (const int result = resolver.resolveNow(backend.name, backend.port, answer); result != 0) {
      errors.push_back({backend.url.place,
                        fmt::format("the name {} cannot be resolved: {}", backend.name, Resolver::describe(result))});
    }
    BackendOptions made;
    made.name = backend.url.value;
    made.protocol = backend.protocol;
    made.host = backend.name;
    made.port = backend.port;
    made.server_name = backend.server_name.value;
    if (backend.protocol == BackendProtocol::https && backend.client_cert.empty() == backend.client_key.empty()) {
      made.tls = contexts.client(backend);
    }
    options.backends.push_back(std::move(made));
    options.forward.authorities.push_back({backend.host.value, authorityOf(backend)});
  }
  const uint64_t reserved = sumOf(memoryOf(options));
  if (memory_limit && reserved * config.workers > *memory_limit) {
    errors.push_back(
        {{"memory"},
         fmt::format("{} worker(s) reserve {} MiB each, more than the {} MiB that the control group allows: "
                     "lower the numbers in [limits], see plait check --verbose",
                     config.workers, reserved >> 20, *memory_limit >> 20)});
  }
  return errors;
}

}  // namespace plait
