// plait's command line: reads flags and configuration, starts the workers, and waits for a signal.
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <new>
#include <optional>
#include <utility>

#include "plait/base/alloc_guard.h"
#include "plait/control/build_info.h"
#include "plait/control/check.h"
#include "plait/control/clerk.h"
#include "plait/control/control_thread.h"
#include "plait/control/descriptors.h"
#include "plait/control/explain.h"
#include "plait/control/key_clerk.h"
#include "plait/control/read_config.h"
#include "plait/net/address.h"
#include "plait/net/tls_arena.h"
#include "plait/proxy/worker_memory.h"

namespace {

using namespace plait;

const char* nameOf(int signal_number) {
  switch (signal_number) {
    case SIGHUP:
      return "SIGHUP";
    case SIGUSR1:
      return "SIGUSR1";
    case SIGUSR2:
      return "SIGUSR2";
    case SIGINT:
      return "SIGINT";
    case SIGQUIT:
      return "SIGQUIT";
    default:
      return "SIGTERM";
  }
}

// The resident memory of this process.
uint64_t residentBytes() {
  std::ifstream in("/proc/self/statm");
  uint64_t size = 0;
  uint64_t resident = 0;
  in >> size >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::string addressText(const sockaddr_storage& address) {
  char text[address_text_size];
  return std::string(formatAddress(address, text));
}

// Raises the soft limit of file descriptors to the hard one.
void raiseDescriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Shares the descriptors that are allowed, and leaves it at those for which there is memory.
void fitDescriptors(const Config& config, WorkerOptions& options, LogSink& log) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const uint64_t allowed = limit.rlim_cur;
  if (options.descriptors != 0) {
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_cur, options.descriptors);
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  const auto is_said = [&](const char* key) { return config.limit_places.contains(key); };
  const DescriptorsShared shared =
      shareDescriptors({.allowed = allowed,
                        .open = openDescriptors(),
                        .workers = config.workers,
                        .listeners = static_cast<uint32_t>(options.listeners.size()),
                        .has_backends = options.plan != nullptr,
                        .has_admin = !config.admin.empty(),
                        .has_access_log = options.has_access_log,
                        .is_wish = is_said("client_connections") || is_said("upstream_connections")},
                       options.limits);
  if (!shared.text.empty()) log.say({shared.is_warning ? LogLevel::warning : LogLevel::info, "plait", shared.text});
}

// The system gives no more memory: to `new`, or to a slab (base/slab.h).
[[noreturn]] void endWithoutMemory() {
  static constexpr char text[] =
      "plait: memory: the system gives no more: lower the numbers in [limits], see plait check --verbose, or raise "
      "what "
      "is allowed (ulimit -v)\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, sizeof(text) - 1);
  ::_exit(2);
}

const char* kindOf(ListenTls tls) {
  return tls == ListenTls::off ? "plain" : tls == ListenTls::on ? "tls" : "auto";
}

// The thread to which all signals come, and which does nothing else once plait serves.
class SignalThread {
 public:
  // Threads that are started from here on inherit the mask.
  explicit SignalThread(LogSink& log) : log_(log) {
    sigemptyset(&signals_);
    for (const int one : {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&signals_, one);
    ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
  }

  // Returns the signal that ends plait; heeds the others until it comes.
  int waitForEnd(ControlThread& control, Clerk* clerk, bool has_log) {
    control_ = &control;
    clerk_ = clerk;
    has_log_ = has_log;
    int signal_number = 0;
    while (::sigwait(&signals_, &signal_number) != 0 || !ends(signal_number)) heed(signal_number);
    return signal_number;
  }

  void forgetClerk() { clerk_ = nullptr; }

  // Says with how many requests the drain begins, and returns when all workers have ended. A second signal to end does
  // not return.
  void whileDraining(int signal_number, const std::vector<std::unique_ptr<Worker>>& workers, int64_t drain_ms) {
    const auto isTrueOfAll = [&](auto what) { return std::ranges::all_of(workers, what); };
    bool is_told = false;
    while (!is_told || !isTrueOfAll([](const auto& worker) { return worker->hasEnded(); })) {
      if (!is_told && isTrueOfAll([](const auto& worker) { return worker->drained().has_value(); })) {
        is_told = true;
        uint64_t requests = 0;
        for (const auto& worker : workers) requests += *worker->drained();
        say(LogLevel::info, fmt::format("{}: draining, {} request(s), at most {} s", nameOf(signal_number), requests,
                                        static_cast<double>(drain_ms) / 1000));
      }
      const timespec pause{.tv_sec = 0, .tv_nsec = 20'000'000};
      const int another = ::sigtimedwait(&signals_, nullptr, &pause);
      if (another < 0) continue;
      if (!ends(another)) {
        heed(another);
        continue;
      }
      say(LogLevel::warning,
          fmt::format("a second signal, {}: ended at once, while {} of {} worker(s) had requests", nameOf(another),
                      std::ranges::count_if(workers, [](const auto& worker) { return !worker->hasEnded(); }),
                      workers.size()));
      ::_exit(1);
    }
  }

 private:
  static bool ends(int signal_number) {
    return signal_number == SIGTERM || signal_number == SIGINT || signal_number == SIGQUIT;
  }

  void say(LogLevel level, std::string text) { log_.say({level, "plait", std::move(text)}); }

  void heed(int signal_number) {
    if (signal_number == SIGUSR2) {
      return say(LogLevel::warning,
                 "SIGUSR2: this version cannot hand over to another program yet; it goes on as it is");
    }
    std::string text = std::string(nameOf(signal_number)) + ": ";
    if (signal_number == SIGHUP && clerk_ != nullptr) {
      text += "the configuration is read anew; ";
      clerk_->requestReload();
    }
    text += has_log_ ? "the access log is opened anew" : "there is no access log to be opened anew";
    say(LogLevel::info, std::move(text));
    if (has_log_) control_->reopenLog();
  }

  LogSink& log_;
  ControlThread* control_ = nullptr;
  Clerk* clerk_ = nullptr;  // null where there is nothing to be read anew, or no more
  bool has_log_ = false;
  sigset_t signals_;
};

int serve(const Flags& flags, const std::string& file, bool is_demo, bool is_verbose) {
  Resolver resolver;
  Config config;
  LoadedConfig loaded;
  if (const auto errors = configure(flags, file, is_demo, resolver, config, loaded); !errors.empty())
    return refuse(errors);
  StderrLog log;
  for (const ConfigError& one : loaded.warnings) log.say({LogLevel::warning, "configuration", one.text()});
  WorkerOptions& options = loaded.options;
  fitDescriptors(config, options, log);

  SignalThread signals(log);
  // It has to outlive the workers, whose handshakes wait for it.
  std::optional<KeyClerk> key_clerk;
  if (loaded.sites != nullptr) {
    key_clerk.emplace(log);
    key_clerk->serve(*loaded.sites->certificates());
  }
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<ListenOptions> listeners = options.listeners;
  IoKind io = IoKind::epoll;
  for (uint32_t i = 0; i < config.workers; ++i) {
    workers.push_back(std::make_unique<Worker>(resolver, options, i));
    WorkerStarted started = workers.back()->start(listeners);
    if (!started.error.empty()) {
      const size_t bad = started.addresses.size();
      const Place place = started.lacks_memory            ? Place{"memory"}
                          : bad < config.listeners.size() ? config.listeners[bad].address.place
                                                          : Place{"--io"};
      for (size_t k = 0; k + 1 < workers.size(); ++k) workers[k]->stop();
      workers.clear();
      return refuse(std::vector<ConfigError>{{place, started.error}});
    }
    if (i == 0) {
      io = started.io;
      // The other workers join the first, also where the kernel chose the port.
      for (size_t k = 0; k < started.addresses.size(); ++k) {
        listeners[k].address = started.addresses[k];
        listeners[k].port.share = true;
        fmt::print("listening on {} ({})\n", addressText(started.addresses[k]), kindOf(config.listeners[k].tls));
      }
    }
  }
  const char* const io_name = io == IoKind::uring ? "io_uring" : "epoll";
  options.io = io;  // what is chosen once is chosen for all, and is all that is counted
  const auto memory = memoryOf(options);
  fmt::print(
      "memory: {} MiB resident now, {} MiB at most for each of {} worker(s), {} for the control thread, {} for plans; "
      "io: {}\n",
      residentBytes() >> 20, sumOf(memory) >> 20, config.workers, sumOf(memoryOfControl(options)) >> 20,
      options.plan != nullptr ? options.limits.plan_bytes >> 20 : 0, io_name);
  if (is_verbose) printMemory(memory);
  ControlOptions control_options;
  control_options.log = &log;
  control_options.io = options.io;
  control_options.descriptors = options.descriptors;
  if (!config.admin.empty()) control_options.admin = config.admin_address;
  control_options.admin_port.share = config.share_port;
  control_options.access_log = config.access_log.file.value;
  control_options.log_format = config.access_log.format;
  EndpointNames names(loaded.compiled.plan ? endpointNames(*loaded.compiled.plan) : EndpointNames::Names());
  control_options.names = &names;
  ReloadFigures figures;
  control_options.reloads = &figures;
  CertificateDates certificate_dates(loaded.certificate_ends);
  control_options.certificate_dates = &certificate_dates;
  ControlThread control(control_options, workers);
  const bool has_control = control_options.admin || options.has_access_log || options.plan != nullptr;
  if (has_control) {
    const ControlStarted started = control.start();
    if (started.failed != ControlStarted::Part::none) {
      const Place place = started.failed == ControlStarted::Part::access_log ? config.access_log.file.place
                          : started.failed == ControlStarted::Part::admin    ? config.admin.place
                          : started.failed == ControlStarted::Part::memory   ? Place{"memory"}
                                                                             : Place{"--io"};
      for (auto& worker : workers) worker->stop();
      workers.clear();
      return refuse(std::vector<ConfigError>{{place, started.error}});
    }
    if (control_options.admin) fmt::print("admin on {}\n", addressText(started.admin));
  }
  std::optional<Reloader> reloader;
  std::optional<Clerk> clerk;
  if (options.plan != nullptr) {
    reloader.emplace(flags, file, config, loaded, listeners, workers, resolver, names, certificate_dates, key_clerk,
                     figures, log);
    // The workers have it, and the reloader holds it while they do. Held here it would keep the numbers of all that it
    // names.
    options.plan = nullptr;
    config.forgetRoutes();
    clerk.emplace(*reloader, log);
    if (const std::string wrong = clerk->start({.socket = config.admin_socket.value, .watches = config.watch});
        !wrong.empty()) {
      for (auto& worker : workers) worker->stop();
      for (auto& worker : workers) worker->join();
      if (has_control) control.stop();
      return refuse(
          std::vector<ConfigError>{{config.admin_socket.empty() ? Place{"plait"} : config.admin_socket.place, wrong}});
    }
    if (!config.admin_socket.empty()) fmt::print("commands at {}\n", config.admin_socket.value);
  }
  fmt::print("ready\n");
  std::fflush(stdout);
  log.say({LogLevel::info, "plait",
           fmt::format("plait {} has started: process {}, {} worker(s), {}", buildInfo().version, ::getpid(),
                       config.workers, io_name)});
  const int signal_number = signals.waitForEnd(control, clerk ? &*clerk : nullptr, options.has_access_log);
  control.setDraining();
  signals.forgetClerk();
  // It may be in the midst of something, and nothing of that holds up the drain.
  if (clerk) clerk->requestEnd();
  for (auto& worker : workers) worker->stop();
  signals.whileDraining(signal_number, workers, config.server_timeouts.drain_ms);
  for (auto& worker : workers) worker->join();
  if (clerk) clerk->stop();
  if (has_control) control.stop();
  uint64_t cut = 0;
  for (const auto& worker : workers) cut += worker->last().server.requests_cut;
  if (cut != 0) log.say({LogLevel::warning, "plait", fmt::format("cut {} request(s) at the deadline", cut)});
  log.say({LogLevel::info, "plait", "ended"});
  if (is_verbose) fmt::print("malloc calls while serving: {}\n", AllocGuard::servingAllocations());
  if (is_verbose && tlsArenaBytes(options) != 0) {
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

// Gives a running plait a command, and prints its answer. Returns the exit code.
int askRunning(std::string socket, const std::string& file, std::string_view command) {
  if (socket.empty() && !file.empty()) {
    Config config;
    // Mistakes in it are for the running plait to tell.
    if (const auto mistakes = readConfig(file, config); !mistakes.empty() && mistakes[0].place.line == 0)
      return refuse(mistakes[0].text());
    socket = config.admin_socket.value;
  }
  if (socket.empty()) return refuse("which plait? Name its socket with --socket, or its configuration with -c");
  const auto answer = ControlSocket::ask(socket, command);
  if (!answer) return refuse(answer.error());
  const bool is_good = answer->starts_with("generation ");
  fmt::print(is_good ? stdout : stderr, "{}", *answer);
  return is_good ? 0 : 1;
}

// The question is for a file, or for a running plait.
int explainTo(const Flags& flags, const std::string& socket, const std::string& running, std::string file,
              Question& question) {
  if (socket.empty() && running.empty()) {
    if (file.empty() || question.request.empty())
      return refuse("explain needs a configuration and a request, as in: plait explain plait.toml 'GET /api'");
    return explain(flags, file, question);
  }
  if (!question.request.empty())
    return refuse("explain is for one of them, the configuration that it names or the plait that runs");
  question.request = std::exchange(file, {});
  if (question.request.empty()) return refuse("explain needs a request, as in: plait explain -c plait.toml 'GET /api'");
  const auto command = commandOf(question);
  if (!command) return refuse("a request has no control characters");
  return askRunning(socket, running, *command);
}

// A guess at the argument or command that was meant by one that plait does not know, as a sentence.
std::string unknownArgument(const std::string& argument, const CLI::App& app) {
  for (const char* test : {"-t", "-T", "--test", "--check", "configtest", "validate"}) {
    if (argument == test) return argument + " is unknown: to look for mistakes in a configuration use plait check FILE";
  }
  if (argument == "-v") return "-v is unknown: -V is the version, --verbose says more about memory";
  std::vector<std::string_view> commands;
  std::vector<std::string_view> long_flags;
  for (const CLI::App* command : app.get_subcommands(nullptr)) commands.push_back(command->get_name());
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) long_flags.push_back(name);
  }
  const size_t begin = argument.find_first_not_of('-');
  const std::string_view word = std::string_view(argument).substr(std::min(begin, argument.size()));
  std::string meant(begin == 0 ? nearest(word, commands) : std::string_view());
  if (meant.empty()) meant = nearest(word.substr(0, word.find('=')), long_flags);
  if (std::ranges::find(long_flags, meant) != long_flags.end()) meant.insert(0, "--");
  return fmt::format("{} is unknown{} (see plait --help)", argument,
                     meant.empty() ? "" : fmt::format(", did you mean {}?", meant));
}

}  // namespace

int main(int argc, char** argv) {
  std::set_new_handler(endWithoutMemory);
  raiseDescriptors();
  // Before anything of OpenSSL, whose memory it becomes.
  installTlsArena();
  CLI::App app{"plait: an HTTP/2-first reverse proxy that braids many clients' streams into few upstream connections"};
  Flags flags;
  std::string file;
  std::string checked_file;
  bool is_verbose = false;
  app.set_version_flag("-V,--version", versionText());
  const auto addRepeatable = [](CLI::App& target, const char* name, std::vector<std::string>& out, const char* help) {
    // Each takes one value: what follows may be the name of a file.
    target.add_option(name, out, help)->allow_extra_args(false);
  };
  const auto addCommon = [&](CLI::App& target) {
    target.add_option(
        "-p,--port", flags.port,
        "Port to listen on, on all IPv4 addresses, with the prefixes of --listen; 0 lets the kernel choose");
    addRepeatable(
        target, "--listen", flags.listen,
        "ADDRESS:PORT to listen on: plain, or tls:ADDRESS:PORT for TLS, auto:ADDRESS:PORT for either; repeatable");
    target.add_option("--tls-cert", flags.tls_cert, "Certificate chain for listeners with tls: or auto: (PEM)");
    target.add_option("--tls-key", flags.tls_key, "Its private key (PEM)");
    target.add_option("--workers", flags.workers, "Worker threads (one for each core that may be used)")
        ->check(CLI::Range(1, 256));
    target.add_option("--memory", flags.memory,
                      "Memory that plait may have, the kernel's part included, as in 256M (the control group's limit)");
    target.add_option("--io", flags.io, "auto, uring or epoll (auto)")
        ->check(CLI::IsMember({"auto", "uring", "epoll"}));
    target.add_flag("--share-port", flags.share_port, "Listen beside another plait of this user: docs/operating.md");
    target.add_flag("--verbose", is_verbose, "Say how the reserved memory adds up, and at the end what was used of it");
  };
  addCommon(app);
  app.add_option("-c,--config", file,
                 "Configuration (TOML), see docs/configuration.md; flags add to it and override it");
  addRepeatable(app, "-b,--backend", flags.backends,
                "h2c://host:port, http://host[:port], https://host[:port], or host:port, which is probed; repeatable");
  app.add_flag("--insecure", flags.insecure, "Do not verify the certificates of https backends");
  app.add_option("--ca-file", flags.ca_file, "Certificates that https backends are verified against (PEM)");
  app.add_option("--backend-cert", flags.backend_cert, "Client certificate for https backends (PEM)");
  app.add_option("--backend-key", flags.backend_key, "Its private key (PEM)");
  addRepeatable(app, "--trusted-proxy", flags.trusted_proxies,
                "Network whose forwarded fields are kept, as in 10.0.0.0/8; repeatable");
  app.add_option("--access-log", flags.access_log,
                 "File for the access log, - for standard output; SIGHUP and SIGUSR1 open it anew");
  app.add_option("--log-format", flags.log_format, "combined or json (combined)")
      ->check(CLI::IsMember({"combined", "json"}));
  app.add_option("--admin", flags.admin, "ADDRESS:PORT for /metrics, /healthz and /ready");
  CLI::App* demo = app.add_subcommand("demo", "Run the demo origin: something to put plait in front of");
  addCommon(*demo);
  CLI::App* checker = app.add_subcommand("check", "Look for mistakes in a configuration, without opening a port");
  checker->fallthrough();
  checker->footer("The flags of plait are looked at as well, as in: plait check -b api-1:9001 -p 8080");
  checker->add_option("file", checked_file, "The configuration; -c names it as well");
  std::string socket;
  CLI::App* reloader =
      app.add_subcommand("reload", "Let a running plait read its configuration anew, and say what changed");
  CLI::App* status =
      app.add_subcommand("status", "Say what a running plait serves: listeners, clusters, endpoints and their states");
  CLI::App* explainer = app.add_subcommand("explain", "Say what happens to one request, without opening a port");
  explainer->footer("As in: plait explain plait.toml 'GET https://shop.example/api/x' -H 'x-canary: yes'");
  Question question;
  explainer->add_option("file", checked_file, "The configuration; without it a running plait is asked");
  explainer->add_option("request", question.request, "METHOD URL, or a URL alone for GET");
  addRepeatable(*explainer, "-H", question.fields, "A field of the request, as in 'x-canary: yes'; repeatable");
  explainer->add_option("--client", question.client, "The client's address (192.0.2.1)");
  for (CLI::App* command : {reloader, status, explainer}) {
    command->fallthrough();
    command->add_option("--socket", socket,
                        "The running plait's [admin] socket; else that of the configuration that -c names");
  }
  app.allow_extras();
  demo->allow_extras();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return refuse(std::string(error.what()) + " (see plait --help)");
  }
  if (const auto unknown = app.remaining(true); !unknown.empty()) return refuse(unknownArgument(unknown.front(), app));
  if (reloader->parsed() || status->parsed()) return askRunning(socket, file, reloader->parsed() ? "reload" : "status");
  if (explainer->parsed()) return explainTo(flags, socket, file, checked_file, question);
  if (!checker->parsed()) return serve(flags, file, demo->parsed(), is_verbose);
  if (!checked_file.empty() && !file.empty()) {
    return refuse(fmt::format("two configurations are named, {} and {}: check looks at one", file, checked_file));
  }
  return check(flags, checked_file.empty() ? file : checked_file, is_verbose);
}
