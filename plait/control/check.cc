#include "plait/control/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "plait/control/read_config.h"
#include "plait/io/socket_backend.h"
#include "plait/route/route_proof.h"

namespace plait {

std::vector<ConfigError> configure(const Flags& flags, const std::string& file, bool is_demo, Resolver& resolver,
                                   Config& config, LoadedConfig& loaded) {
  std::vector<ConfigError> errors;
  if (!file.empty()) {
    errors = readConfig(file, config);
    // Of broken TOML nothing is known: what else seems wrong would follow from that alone.
    if (!errors.empty() && (config.is_broken || (config.listeners.empty() && config.backends.empty()))) return errors;
  }
  const auto append = [&](std::vector<ConfigError> more) { errors.insert(errors.end(), more.begin(), more.end()); };
  append(applyFlags(flags, config));
  if (config.workers == 0) config.workers = usableCores();
  append(completeConfig(config, !is_demo, file));
  append(loadConfig(config, resolver, loaded));
  // Beside mistakes it is one of them; alone it is only said.
  if (!errors.empty()) append(std::exchange(loaded.warnings, {}));
  // In the order of the file, whichever step found them; mistakes in flags come first.
  sortMistakes(errors, config);
  return errors;
}

int refuse(const std::string& sentence) {
  fmt::print(stderr, "plait: {}\n", sentence);
  return 2;
}

int refuse(const std::vector<ConfigError>& errors) {
  // A mistake that has a line in a file begins with it, as those of compilers do, so that editors can jump there.
  for (const ConfigError& error : errors) {
    fmt::print(stderr, "{}{}\n", error.place.line == 0 ? "plait: " : "", error.text());
  }
  return 2;
}

namespace {

// So many routes are shown one by one without --verbose.
constexpr size_t most_shown = 50;

void printWarning(const ConfigError& one) {
  if (one.place.line == 0) {
    fmt::print(stderr, "plait: warning: {}\n", one.text());
  } else {
    fmt::print(stderr, "{}: warning: {}\n", one.place.text(), one.sentence);
  }
}

// For each route a request that reaches it; a route that stands behind others is a warning.
void printProofs(const CompiledPlan& compiled, bool is_verbose) {
  using State = route::RouteProof::State;
  const std::vector<route::RouteProof> proofs = route::proveRoutes(*compiled.plan->routes, compiled.specs);
  const auto nameOf = [&](uint32_t route) {
    const route::RouteSpec& spec = compiled.specs[route];
    return fmt::format("\"{}\" ({}:{}:{})", spec.name, spec.place.file, spec.place.line, spec.place.column);
  };
  const bool is_each_shown = is_verbose || proofs.size() <= most_shown;
  size_t reached = 0;
  size_t shadowed = 0;
  for (uint32_t i = 0; i < proofs.size(); ++i) {
    const route::RouteProof& proof = proofs[i];
    const route::RouteSpec& spec = compiled.specs[i];
    if (proof.state == State::reached) {
      reached += 1;
      if (is_each_shown) fmt::print("  {}: {}\n", spec.name, proof.example.text());
    } else if (proof.state == State::shadowed) {
      shadowed += 1;
      printWarning({{spec.place.file, spec.place.line, spec.place.column},
                    fmt::format("no request was found that reaches the route \"{}\": {} goes to {}", spec.name,
                                proof.example.text(), nameOf(proof.by))});
      if (is_each_shown) fmt::print("  {}: shadowed by {}\n", spec.name, compiled.specs[proof.by].name);
    } else if (is_each_shown) {
      const std::string by = proof.by == UINT32_MAX ? "" : ": " + compiled.specs[proof.by].name;
      fmt::print("  {}: not proven, {}{}\n", spec.name, proof.reason, by);
    }
  }
  if (!is_each_shown)
    fmt::print("routes: {} of {} proven to be reached, {} shadowed\n", reached, proofs.size(), shadowed);
}

}  // namespace

void printMemory(const std::vector<MemoryItem>& memory) {
  for (const MemoryItem& item : memory) {
    if (item.bytes != 0) fmt::print("  {:<26} {:>8.1f} MiB\n", item.name, static_cast<double>(item.bytes) / (1 << 20));
  }
}

namespace {

// What the system says to the addresses, and to the way of doing I/O. A port that is in use goes to `warnings`.
std::vector<ConfigError> askSystem(const Config& config, const WorkerOptions& options,
                                   std::vector<ConfigError>& warnings) {
  std::vector<ConfigError> errors;
  const auto tryAddress = [&](const Place& place, const sockaddr_storage& address, const PortUse& use) {
    const int result = socket_backend::tryAddress(address, use.share, use.only_v6);
    if (result != 0) (result == -EADDRINUSE ? warnings : errors).push_back({place, cannotListen(-result, use)});
  };
  for (size_t i = 0; i < options.listeners.size(); ++i)
    tryAddress(config.listeners[i].address.place, options.listeners[i].address, options.listeners[i].port);
  if (!config.admin.empty()) tryAddress(config.admin.place, config.admin_address, {.share = config.share_port});
  if (config.io == IoKind::uring) {
    BufferPool buffers(options.limits.receive_buffers, options.limits.receive_buffer_size);
    Mailbox mailbox;
    if (const auto backend = makeUringBackend(buffers, mailbox, nullptr); !backend)
      errors.push_back({{"--io"}, cannotDoIo(backend.error())});
  }
  return errors;
}

}  // namespace

int check(const Flags& flags, const std::string& file, bool is_verbose) {
  Resolver resolver;
  Config config;
  LoadedConfig loaded;
  if (const auto errors = configure(flags, file, false, resolver, config, loaded); !errors.empty()) {
    return refuse(errors);
  }
  std::vector<ConfigError> errors = checkKeys(config, loaded);
  for (ConfigError& error : askSystem(config, loaded.options, loaded.warnings)) errors.push_back(std::move(error));
  for (const ConfigError& one : loaded.warnings) printWarning(one);
  if (!errors.empty()) return refuse(errors);
  fmt::print("{}: ok\n", file.empty() ? "plait" : file);
  if (loaded.compiled.plan && loaded.compiled.plan->routes) printProofs(loaded.compiled, is_verbose);
  if (loaded.options.plan && (loaded.options.plan->routes || is_verbose))
    fmt::print("plan: {} bytes of the {} that plan_bytes allows\n", loaded.plan_bytes,
               loaded.options.limits.plan_bytes);
  if (is_verbose) {
    const auto memory = memoryOf(loaded.options);
    fmt::print("memory: {} MiB for each of {} worker(s), {} for the control thread, {} for plans\n",
               sumOf(memory) >> 20, config.workers, sumOf(memoryOfControl(loaded.options)) >> 20,
               loaded.options.limits.plan_bytes >> 20);
    printMemory(memory);
  }
  return 0;
}

}  // namespace plait
