// plait's command line: reads flags and configuration, starts the workers, and waits for a signal.
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "plait/base/alloc_guard.h"
#include "plait/net/address.h"
#include "plait/net/tls_arena.h"
#include "plait/proxy/config_load.h"
#include "plait/proxy/control.h"
#include "plait/proxy/worker_memory.h"

namespace {

using namespace plait;

// Mistakes of the operator's: one line each on standard error, exit code 2.
int refuse(const std::string& sentence) {
  fmt::print(stderr, "plait: {}\n", sentence);
  return 2;
}

int refuse(const std::vector<ConfigError>& errors) {
  // What has a line in a file begins with it, as compilers do, so that editors can jump there.
  for (const ConfigError& error : errors) {
    fmt::print(stderr, "{}{}\n", error.place.line == 0 ? "plait: " : "", error.text());
  }
  return 2;
}

std::string addressText(const sockaddr_storage& address) {
  char text[address_text_size];
  return std::string(formatAddress(address, text));
}

void raiseDescriptorLimit(uint64_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted) {
    fmt::print(stderr,
               "plait: only {} file descriptors are allowed and {} may be needed: raise the hard limit (ulimit -Hn)\n",
               limit.rlim_cur, wanted);
  }
}

// Reads flags and file into `config` and what the workers need into `loaded`; every mistake of both.
std::vector<ConfigError> configure(const Flags& flags, const std::string& file, bool is_demo, Resolver& resolver,
                                   Config& config, LoadedConfig& loaded) {
  std::vector<ConfigError> errors;
  if (!file.empty()) {
    std::error_code ignored;
    if (std::filesystem::is_directory(file, ignored)) return {{{file}, "this is a folder, and no configuration"}};
    std::ifstream in(file, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (!in) return {{{file}, "the file cannot be read"}};
    errors = parseConfig(text, file, config);
    // Of broken TOML nothing is known: what else seems wrong would follow from that alone.
    if (config.listeners.empty() && config.backends.empty() && !errors.empty()) return errors;
  }
  const auto append = [&](std::vector<ConfigError> more) { errors.insert(errors.end(), more.begin(), more.end()); };
  append(applyFlags(flags, config));
  append(completeConfig(config, !is_demo, file));
  append(loadConfig(config, resolver, loaded));
  // In the order of the file, whoever found them; what a flag said comes first.
  std::ranges::sort(errors, {},
                    [](const ConfigError& error) { return std::pair(error.place.line, error.place.column); });
  return errors;
}

const char* kindOf(ListenTls tls) {
  return tls == ListenTls::off ? "plain" : tls == ListenTls::on ? "tls" : "auto";
}

void printMemory(const std::vector<MemoryItem>& memory) {
  for (const MemoryItem& item : memory) {
    if (item.bytes != 0) fmt::print("  {:<26} {:>8.1f} MiB\n", item.name, static_cast<double>(item.bytes) / (1 << 20));
  }
}

int serve(const Flags& flags, const std::string& file, bool is_demo, bool is_verbose) {
  Resolver resolver;
  Config config;
  LoadedConfig loaded;
  if (const auto errors = configure(flags, file, is_demo, resolver, config, loaded); !errors.empty())
    return refuse(errors);
  WorkerOptions& options = loaded.options;
  raiseDescriptorLimit(uint64_t{options.limits.client_connections + options.limits.upstream_connections} *
                       config.workers);

  // Signals are for this thread alone; the others inherit the mask.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal_number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&signals, signal_number);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<ListenOptions> listeners = options.listeners;
  for (uint32_t i = 0; i < config.workers; ++i) {
    workers.push_back(std::make_unique<Worker>(resolver, options));
    WorkerStarted started = workers.back()->start(listeners);
    if (!started.error.empty()) {
      const size_t bad = started.addresses.size();
      const Place place = bad < config.listeners.size() ? config.listeners[bad].address.place : Place{"--io"};
      for (size_t k = 0; k + 1 < workers.size(); ++k) workers[k]->stop();
      workers.clear();
      return refuse(std::vector<ConfigError>{{place, started.error}});
    }
    if (i == 0) {
      // A port that the kernel chose is the other workers' too.
      for (size_t k = 0; k < started.addresses.size(); ++k) {
        listeners[k].address = started.addresses[k];
        fmt::print("listening on {} ({})\n", addressText(started.addresses[k]), kindOf(config.listeners[k].tls));
      }
      const auto memory = memoryOf(options);
      fmt::print("memory: {} MiB reserved for each of {} worker(s), touched as needed; io: {}\n", sumOf(memory) >> 20,
                 config.workers, started.io == IoKind::uring ? "io_uring" : "epoll");
      if (is_verbose) printMemory(memory);
    }
  }
  ControlOptions control_options;
  control_options.io = config.io;
  if (!config.admin.empty()) control_options.admin = config.admin_address;
  control_options.access_log = config.access_log.file.value;
  control_options.log_format = config.access_log.format;
  for (const BackendOptions& backend : options.backends) control_options.backends.push_back(backend.name);
  ControlThread control(control_options, workers);
  const bool has_control = control_options.admin || options.has_access_log || !options.backends.empty();
  if (has_control) {
    const ControlStarted started = control.start();
    if (started.failed != ControlStarted::Part::none) {
      const Place place = started.failed == ControlStarted::Part::access_log ? config.access_log.file.place
                          : started.failed == ControlStarted::Part::admin    ? config.admin.place
                                                                             : Place{"--io"};
      for (auto& worker : workers) worker->stop();
      workers.clear();
      return refuse(std::vector<ConfigError>{{place, started.error}});
    }
    if (control_options.admin) fmt::print("admin on {}\n", addressText(started.admin));
  }
  fmt::print("ready\n");
  std::fflush(stdout);
  int signal_number = 0;
  while (::sigwait(&signals, &signal_number) != 0 || signal_number == SIGHUP || signal_number == SIGUSR1) {
    if (has_control) control.reopenLog();
  }
  control.setDraining();
  for (auto& worker : workers) worker->stop();
  for (auto& worker : workers) worker->join();
  if (has_control) control.stop();
  fmt::print("malloc calls while serving: {}\n", AllocGuard::servingAllocations());
  if (tlsArenaBytes(options) != 0) {
    uint64_t peak = 0;
    uint64_t allocations = 0;
    uint64_t refusals = 0;
    for (const auto& worker : workers) {
      peak = std::max(peak, worker->last().tls_peak_bytes);
      allocations += worker->last().tls_allocations;
      refusals += worker->last().tls_refusals;
    }
    fmt::print("TLS arena: {} allocations, {} refused, at most {} of {} KiB used by a worker\n", allocations, refusals,
               peak >> 10, tlsArenaBytes(options) >> 10);
  }
  return 0;
}

// plait check: says what start would find wrong, without opening a port.
int check(const std::string& file, bool is_verbose) {
  Resolver resolver;
  Config config;
  LoadedConfig loaded;
  if (const auto errors = configure({}, file, false, resolver, config, loaded); !errors.empty()) return refuse(errors);
  fmt::print("{}: ok\n", file);
  if (is_verbose) {
    const auto memory = memoryOf(loaded.options);
    fmt::print("memory: {} MiB for each of {} worker(s)\n", sumOf(memory) >> 20, config.workers);
    printMemory(memory);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // Before anything of OpenSSL, whose memory it becomes.
  installTlsArena();
  CLI::App app{"plait: an HTTP/2-first reverse proxy that braids many clients' streams into few upstream connections"};
  Flags flags;
  std::string file;
  std::string checked_file;
  bool is_verbose = false;
  app.set_version_flag("--version", "plait 0.1.0");
  const auto addCommon = [&](CLI::App& target) {
    target.add_option("-p,--port", flags.port, "Port to listen on, on all IPv4 addresses; 0 lets the kernel choose")
        ->check(CLI::Range(0, 65535));
    target.add_option(
        "--listen", flags.listen,
        "ADDRESS:PORT to listen on, tls:ADDRESS:PORT for TLS, auto:ADDRESS:PORT where the client chooses; repeatable");
    target.add_option("--tls-cert", flags.tls_cert, "Certificate chain for TLS listeners (PEM)");
    target.add_option("--tls-key", flags.tls_key, "Private key for TLS listeners (PEM)");
    target.add_option("--workers", flags.workers, "Worker threads, one per core (1)")->check(CLI::Range(1, 256));
    target.add_option("--io", flags.io, "auto, uring or epoll (auto)")
        ->check(CLI::IsMember({"auto", "uring", "epoll"}));
    target.add_flag("--verbose", is_verbose, "Say how the reserved memory adds up");
  };
  addCommon(app);
  app.add_option("-c,--config", file,
                 "Configuration (TOML), see docs/configuration.md; flags add to it and override it");
  app.add_option(
      "-b,--backend", flags.backends,
      "h2c://host:port, http://host[:port], https://host[:port], or host:port, which finds out by itself; repeatable");
  app.add_flag("--insecure", flags.insecure, "Do not verify the certificates of https backends");
  app.add_option("--ca-file", flags.ca_file, "Certificates that https backends are verified against (PEM)");
  app.add_option("--backend-cert", flags.backend_cert, "Client certificate for https backends (PEM)");
  app.add_option("--backend-key", flags.backend_key, "Its private key (PEM)");
  app.add_option("--trusted-proxy", flags.trusted_proxies,
                 "Network whose forwarded fields are kept, as in 10.0.0.0/8; repeatable");
  app.add_option("--access-log", flags.access_log,
                 "File for the access log, - for standard output; SIGHUP opens it anew");
  app.add_option("--log-format", flags.log_format, "combined or json (combined)")
      ->check(CLI::IsMember({"combined", "json"}));
  app.add_option("--admin", flags.admin, "ADDRESS:PORT for /metrics, /healthz and /ready");
  CLI::App* demo = app.add_subcommand("demo", "Run the demo origin: something to put plait in front of");
  addCommon(*demo);
  CLI::App* checker = app.add_subcommand("check", "Look for mistakes in a configuration, without opening a port");
  checker->add_flag("--verbose", is_verbose, "Say how the reserved memory adds up");
  checker->add_option("file", checked_file, "The configuration")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return refuse(std::string(error.what()) + " (see plait --help)");
  }
  if (checker->parsed()) return check(checked_file, is_verbose);
  return serve(flags, file, demo->parsed(), is_verbose);
}
