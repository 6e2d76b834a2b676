#include "plait/control/load.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <set>

#include "plait/control/access_log.h"
#include "plait/control/memory_fit.h"
#include "plait/plan/plan_bytes.h"
#include "plait/proxy/plan_store.h"

namespace plait {
namespace {

// The places of a TLS context's files, so that a mistake in one is reported where that one was named.
Place placeOfFile(const std::string& sentence, std::initializer_list<const Text*> files, const Place& otherwise) {
  for (const Text* file : files) {
    if (!file->empty() && sentence.find(file->value) != std::string::npos) return file->place;
  }
  return otherwise;
}

// A pipe or a device instead of a file: reading it could wait for ever, or never end.
bool isPipeOrDevice(const Text& file) {
  struct stat status{};
  return !file.empty() && ::stat(file.value.c_str(), &status) == 0 && !S_ISREG(status.st_mode) &&
         !S_ISDIR(status.st_mode);
}

// The content of a file, as far as there is any that can be read: who uses the file says what is wrong with it.
std::string contentOf(const std::string& name) {
  // No PEM file that is meant comes near this size.
  constexpr size_t most = 16 << 20;
  std::string text;
  const int fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return text;
  char buffer[16384];
  for (ssize_t got = 0; text.size() < most && (got = ::read(fd, buffer, sizeof(buffer))) > 0;)
    text.append(buffer, static_cast<size_t>(got));
  ::close(fd);
  return text;
}

// What tells files apart: their names and contents.
std::string fingerprint(std::initializer_list<const Text*> files) {
  std::string text;
  for (const Text* file : files) {
    if (file->empty()) {
      text += "none\n";
      continue;
    }
    const std::string content = contentOf(file->value);
    text += fmt::format("{}:{}:{:x}\n", file->value, content.size(), std::hash<std::string>()(content));
  }
  return text;
}

// Makes each context once: listeners or backends that say the same share sessions and memory.
class Contexts {
 public:
  Contexts(LoadedConfig& out, std::vector<ConfigError>& errors)
      : contexts_(*out.contexts), warnings_(out.warnings), errors_(errors) {}

  TlsContext* server(const ListenConfig& listen) {
    if (!areFiles({&listen.cert, &listen.key, &listen.client_ca})) return nullptr;
    return make(
        "server\n" + fingerprint({&listen.cert, &listen.key, &listen.client_ca}),
        [&] {
          return TlsContext::makeServer(
              {.cert_file = listen.cert.value, .key_file = listen.key.value, .client_ca_file = listen.client_ca.value});
        },
        {&listen.client_ca, &listen.key, &listen.cert}, listen.address.place);
  }
  TlsContext* sites(const std::vector<CertificateConfig>& certificates) {
    TlsSitesOptions options;
    std::string key = "sites\n";
    for (const CertificateConfig& one : certificates) {
      // A part that is missing is a mistake already.
      if (one.cert.empty() || one.key.empty() || !areFiles({&one.cert, &one.key, &one.client_ca})) return nullptr;
      options.sites.push_back({.cert_file = one.cert.value,
                               .key_file = one.key.value,
                               .client_ca_file = one.client_ca.value,
                               .client_auth = one.client_auth,
                               .settings = one.settings});
      key += fingerprint({&one.cert, &one.key, &one.client_ca}) +
             fmt::format("{}\n{}\n", static_cast<int>(one.client_auth), one.settings.min_version) +
             fmt::format("{}\n{}\n{}\n{}\n", one.settings.max_version, one.settings.ciphers, one.settings.suites,
                         one.settings.groups);
    }
    return contexts_.find(key, [&] { return makeSites(certificates, options); });
  }
  static Place placeOf(const CertificateConfig& certificate, const std::string& sentence) {
    return placeOfFile(sentence, {&certificate.client_ca, &certificate.key, &certificate.cert}, certificate.place);
  }
  TlsContext* client(const BackendConfig& backend) {
    if (!areFiles({&backend.client_cert, &backend.client_key, &backend.ca_file})) return nullptr;
    return make(
        fmt::format("client {}\n", backend.insecure) +
            fingerprint({&backend.client_cert, &backend.client_key, &backend.ca_file}),
        [&] {
          return TlsContext::makeClient({.verify = !backend.insecure,
                                         .ca_file = backend.ca_file.value,
                                         .cert_file = backend.client_cert.value,
                                         .key_file = backend.client_key.value});
        },
        {&backend.ca_file, &backend.client_key, &backend.client_cert}, backend.url.place);
  }

 private:
  bool areFiles(std::initializer_list<const Text*> files) {
    bool are_files = true;
    for (const Text* file : files) {
      if (!isPipeOrDevice(*file)) continue;
      errors_.push_back({file->place, fmt::format("{} is a pipe or a device, and no file", file->value)});
      are_files = false;
    }
    return are_files;
  }
  TlsContext* makeSites(const std::vector<CertificateConfig>& certificates, const TlsSitesOptions& options) {
    auto made = TlsContext::makeSites(options);
    const auto say = [&](std::vector<ConfigError>& to, const net::SiteMistake& mistake) {
      to.push_back({placeOf(certificates[mistake.site], mistake.sentence), mistake.sentence});
    };
    if (!made) {
      for (const net::SiteMistake& mistake : made.error()) say(errors_, mistake);
      return nullptr;
    }
    net::CertificateStore& store = *(*made)->certificates();
    for (const net::SiteMistake& one : store.warnings()) say(warnings_, one);
    for (const net::SiteMistake& one : store.dateWarnings(::time(nullptr))) say(warnings_, one);
    bool is_good = true;
    for (uint32_t i = 0; store.size() <= keys_loaded_at_start && i < store.size(); ++i) {
      std::string wrong = store.load(i);
      if (wrong.empty()) continue;
      say(errors_, {i, std::move(wrong)});
      is_good = false;
    }
    // One with a mistake is not kept: asked for again, it would seem to have none.
    return is_good ? contexts_.keep(std::move(*made)) : nullptr;
  }
  template <class Make>
  TlsContext* make(const std::string& key, Make make_context, std::initializer_list<const Text*> files,
                   const Place& otherwise) {
    return contexts_.find(key, [&]() -> TlsContext* {
      auto context = make_context();
      if (!context) {
        errors_.push_back({placeOfFile(context.error(), files, otherwise), context.error()});
        return nullptr;
      }
      TlsContext* kept = contexts_.keep(std::move(*context));
      for (const std::string& one : kept->warnings()) warnings_.push_back({placeOfFile(one, files, otherwise), one});
      return kept;
    });
  }

  TlsContexts& contexts_;
  std::vector<ConfigError>& warnings_;
  std::vector<ConfigError>& errors_;
};

}  // namespace

void TlsContexts::sweep(const std::function<bool(const TlsContext&)>& is_named,
                        const std::function<void(TlsContext&)>& forget) {
  std::erase_if(owned_, [&](const std::unique_ptr<TlsContext>& one) {
    const bool stays = is_named(*one);
    if (stays || one->isUsed()) return false;
    std::erase_if(by_key_, [&](const auto& known) { return known.second == one.get() || known.second == nullptr; });
    forget(*one);
    return true;
  });
}

std::vector<ConfigError> loadConfig(const Config& config, Resolver& resolver, LoadedConfig& out,
                                    const MemoryThere& memory) {
  std::vector<ConfigError> errors;
  if (out.contexts == nullptr) out.contexts = std::make_shared<TlsContexts>();
  Contexts contexts(out, errors);
  out.warnings = config.warnings;
  WorkerOptions& options = out.options;
  options.io = config.io;
  options.limits = config.limits;
  options.prefault = config.prefault;
  options.has_access_log = !config.access_log.file.empty();
  options.pool_timeouts = config.pool_timeouts;
  options.server_timeouts = config.server_timeouts;
  std::set<std::string> known_files;
  const auto noteEnd = [&](const std::string& file, int64_t not_after_s) {
    if (known_files.insert(file).second) out.certificate_ends.push_back({file, not_after_s});
  };
  if (!config.certificates.empty()) out.sites = contexts.sites(config.certificates);
  if (out.sites != nullptr) {
    const net::CertificateStore& store = *out.sites->certificates();
    for (uint32_t i = 0; i < store.size(); ++i) noteEnd(store.certFile(i), store.notAfterS(i));
  }
  for (const ListenConfig& listen : config.listeners) {
    ListenOptions listener{listen.parsed};
    if (listen.tls != ListenTls::off && !config.certificates.empty()) {
      listener.tls = out.sites;
    } else if (listen.tls != ListenTls::off && !listen.cert.empty() && !listen.key.empty()) {
      listener.tls = contexts.server(listen);
      if (listener.tls != nullptr) noteEnd(listen.cert.value, listener.tls->notAfterS());
    }
    listener.tls_by_first_byte = listen.tls == ListenTls::automatic;
    listener.redirects_https = listen.redirects_https;
    listener.port = {.share = config.share_port, .only_v6 = listen.only_v6};
    if (listen.has_proxy_protocol) listener.proxies = std::make_shared<TrustedProxies>(listen.proxy_trusted);
    options.listeners.push_back(listener);
  }
  if (!config.backends.empty() || !config.clusters.empty() || !config.routes.empty()) {
    const auto look = [&](const BackendConfig& backend, BackendOptions& made) {
      ResolveAnswer answer;
      if (const int result = resolver.resolveNow(backend.name, backend.port, answer); result != 0) {
        // Text that is no name will not become one.
        std::vector<ConfigError>& found = result == -EINVAL ? errors : out.warnings;
        found.push_back({backend.url.place,
                         fmt::format("the name {} cannot be resolved: {}", backend.name, Resolver::describe(result))});
        made.starts_down = true;
      }
      if (backend.protocol == BackendProtocol::https && backend.client_cert.empty() == backend.client_key.empty())
        made.tls = contexts.client(backend);
      if (made.tls != nullptr && !backend.client_cert.empty())
        noteEnd(backend.client_cert.value, made.tls->notAfterS());
    };
    if (out.identities == nullptr)
      out.identities = std::make_shared<PlanIdentities>(config.limits.endpoints, PlanStore::most_policies);
    if (!out.key && ::getentropy(&out.key.emplace(), sizeof(SipKey)) != 0)
      errors.push_back({Place{"routes"}, "the system has no random bytes for the table of hosts"});
    const CompileTools tools{*out.identities, *out.key, out.before, look};
    for (ConfigError& error : compile(config, tools, out.compiled)) errors.push_back(std::move(error));
    out.compiled.plan->sites = out.sites;
    options.plan = out.compiled.plan;
    options.has_tls_backends = out.compiled.has_tls_backends;
    if (out.before == nullptr)
      out.plan_bytes = bytesOf(*out.compiled.plan) + bytesOf(out.compiled.specs) + out.identities->bytes();
  }
  if (const Text& file = config.access_log.file; !file.empty()) {
    if (std::string wrong = AccessLog::mistake(file.value); !wrong.empty())
      errors.push_back({file.place, std::move(wrong)});
  }
  const auto is_said = [&](std::string_view key) { return config.limit_places.contains(key); };
  const uint64_t allowed = config.memory_bytes != 0 ? config.memory_bytes : memory.limit.value_or(memory.machine / 2);
  // The rest is for the kernel, whose buffers of sockets count as well.
  const uint64_t reservable = allowed / 4 * 3;
  if (const auto said = config.limit_places.find("plan_bytes"); said != config.limit_places.end()) {
    if (out.plan_bytes > config.limits.plan_bytes)
      errors.push_back(
          {said->second, fmt::format("plan_bytes: the plan takes {} bytes, more than the {} that are allowed",
                                     out.plan_bytes, config.limits.plan_bytes)});
  }
  // A reload may replace all of it, and requests may hold on to what was before.
  const auto least_plan = static_cast<uint32_t>(std::min<uint64_t>(3 * out.plan_bytes, UINT32_MAX));
  if (const auto least = fitMemory(options, is_said, config.workers, reservable, least_plan)) {
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

std::vector<ConfigError> checkKeys(const Config& config, const LoadedConfig& loaded) {
  return checkNewKeys(config, loaded, nullptr);
}

std::vector<ConfigError> checkNewKeys(const Config& config, const LoadedConfig& loaded, const TlsContext* before) {
  std::vector<ConfigError> errors;
  if (loaded.sites == nullptr || loaded.sites == before) return errors;
  const net::CertificateStore& store = *loaded.sites->certificates();
  if (store.size() <= keys_loaded_at_start) return errors;
  for (const uint32_t site : store.newSince(before == nullptr ? nullptr : before->certificates())) {
    std::string wrong = store.check(site);
    if (!wrong.empty()) errors.push_back({Contexts::placeOf(config.certificates[site], wrong), std::move(wrong)});
  }
  return errors;
}

}  // namespace plait
