#include "plait/control/load.h"

#include <fmt/format.h>

#include <cerrno>
#include <map>
#include <tuple>

#include "plait/control/access_log.h"
#include "plait/control/memory_fit.h"

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
  Contexts(LoadedConfig& out, std::vector<ConfigError>& errors)
      : owned_(out.contexts), warnings_(out.warnings), errors_(errors) {}

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
      for (const std::string& one : kept->warnings()) warnings_.push_back({placeOfFile(one, files, otherwise), one});
      owned_.push_back(std::move(*context));
    } else {
      errors_.push_back({placeOfFile(context.error(), files, otherwise), context.error()});
    }
    return kept;
  }

  std::vector<std::unique_ptr<TlsContext>>& owned_;
  std::vector<ConfigError>& warnings_;
  std::vector<ConfigError>& errors_;
  std::map<Key, TlsContext*> made_;
};

}  // namespace

std::vector<ConfigError> loadConfig(const Config& config, Resolver& resolver, LoadedConfig& out,
                                    const MemoryThere& memory) {
  std::vector<ConfigError> errors;
  Contexts contexts(out, errors);
  out.warnings = config.warnings;
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
    listener.port = {.share = config.share_port, .only_v6 = listen.only_v6};
    options.listeners.push_back(listener);
  }
  for (const BackendConfig& backend : config.backends) {
    if (backend.name.empty() || backend.port == 0) continue;
    BackendOptions made;
    ResolveAnswer answer;
    if (const int result = resolver.resolveNow(backend.name, backend.port, answer); result != 0) {
      // Text that is no name will not become one.
      std::vector<ConfigError>& found = result == -EINVAL ? errors : out.warnings;
      found.push_back({backend.url.place,
                       fmt::format("the name {} cannot be resolved: {}", backend.name, Resolver::describe(result))});
      made.starts_down = true;
    }
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
  if (const Text& file = config.access_log.file; !file.empty()) {
    if (std::string wrong = AccessLog::mistake(file.value); !wrong.empty())
      errors.push_back({file.place, std::move(wrong)});
  }
  const auto is_said = [&](std::string_view key) { return config.limit_places.contains(key); };
  const uint64_t allowed = config.memory_bytes != 0 ? config.memory_bytes : memory.limit.value_or(memory.machine / 2);
  // The rest is for the kernel, whose buffers of sockets count as well.
  const uint64_t reservable = allowed / 4 * 3;
  if (const auto least = fitMemory(options, is_said, config.workers, reservable)) {
    const char* const by = config.memory_bytes != 0 ? "that \"memory\" leaves"
                           : memory.limit           ? "that three quarters of the control group's limit are"
                                                    : "that three eighths of the machine's memory are";
    errors.push_back(
        {config.memory_bytes != 0 ? config.memory_place : Place{"memory"},
         fmt::format("{} worker(s) reserve {} MiB at the least, more than the {} MiB {}: lower the numbers in "
                     "[limits] or workers, see plait check --verbose, or raise memory",
                     config.workers, (*least >> 20) + 1, reservable >> 20, by)});
  } else if (const auto mistake = options.limits.mistake()) {
    const auto said = config.limit_places.find(mistake->key);
    errors.push_back({said != config.limit_places.end() ? said->second : config.memory_place,
                      fmt::format("{} (with {} MiB in all)", sentenceOf(*mistake), reservable >> 20)});
  }
  return errors;
}

}  // namespace plait
