// plait's command line: reads the flags, starts the workers, and waits for a signal.
#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>

#include <charconv>
#include <cstdio>

#include "plait/base/alloc_guard.h"
#include "plait/net/resolver.h"
#include "plait/proxy/worker.h"

namespace {

using namespace plait;

// A mistake of the operator's: one line on standard error, exit code 2.
int refuse(const std::string& sentence) {
  fmt::print(stderr, "plait: {}\n", sentence);
  return 2;
}

struct Flags {
  std::vector<std::string> backends;
  std::vector<std::string> listen;
  int port = -1;
  std::string tls_cert;
  std::string tls_key;
  std::string ca_file;
  bool insecure = false;
  int workers = 1;
  std::string io = "auto";
};

// host:port, [v6]:port; false when malformed.
bool splitHostPort(std::string_view text, std::string& host, uint16_t& port, int default_port) {
  size_t colon = text.rfind(':');
  if (!text.empty() && text.front() == '[') {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return false;
    host = text.substr(1, close - 1);
    colon = close + 1 < text.size() && text[close + 1] == ':' ? close + 1 : std::string_view::npos;
    if (close + 1 < text.size() && colon == std::string_view::npos) return false;
  } else {
    host = text.substr(0, colon);
  }
  int value = default_port;
  if (colon != std::string_view::npos) {
    const std::string_view digits = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size()) return false;
  }
  if (host.empty() || value < 0 || value > 65535) return false;
  port = static_cast<uint16_t>(value);
  return true;
}

// Empty on success, else a sentence.
std::string parseBackend(const std::string& url, BackendOptions& out) {
  std::string_view rest = url;
  int default_port = -1;
  out.name = url;
  if (rest.starts_with("h2c://")) {
    rest.remove_prefix(6);
    out.protocol = BackendProtocol::h2c;
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
    out.protocol = BackendProtocol::h1;
    default_port = 80;
  } else if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
    out.protocol = BackendProtocol::https;
    default_port = 443;
  } else if (rest.find("://") != std::string_view::npos) {
    return fmt::format("--backend {}: expected h2c://host:port, http://host[:port], https://host[:port] or host:port", url);
  }
  if (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);
  if (!splitHostPort(rest, out.host, out.port, default_port) || out.port == 0) {
    return fmt::format("--backend {}: expected h2c://host:port, http://host[:port], https://host[:port] or host:port", url);
  }
  return {};
}

std::string parseListen(std::string_view text, sockaddr_storage& address) {
  std::string host;
  uint16_t port = 0;
  auto& v4 = reinterpret_cast<sockaddr_in&>(address);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
  address = {};
  if (splitHostPort(text, host, port, -1)) {
    if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
      v4.sin_family = AF_INET;
      v4.sin_port = htons(port);
      return {};
    }
    if (::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
      v6.sin6_family = AF_INET6;
      v6.sin6_port = htons(port);
      return {};
    }
  }
  return fmt::format("--listen {}: expected ADDRESS:PORT with a numeric address, as in 127.0.0.1:8080 or [::1]:8080", text);
}

std::string addressText(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
    return fmt::format("[{}]:{}", text, ntohs(v6.sin6_port));
  }
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
  ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
  return fmt::format("{}:{}", text, ntohs(v4.sin_port));
}

void raiseDescriptorLimit(uint64_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted) {
    fmt::print(stderr, "plait: only {} file descriptors are allowed and {} may be needed: raise the hard limit (ulimit -Hn)\n",
               limit.rlim_cur, wanted);
  }
}

int serve(const Flags& flags, bool is_demo) {
  WorkerOptions options;
  options.io = flags.io == "uring" ? IoKind::uring : flags.io == "epoll" ? IoKind::epoll : IoKind::automatic;
  std::unique_ptr<TlsContext> server_tls;
  std::unique_ptr<TlsContext> client_tls;
  if (flags.tls_cert.empty() != flags.tls_key.empty()) {
    return refuse(flags.tls_cert.empty() ? "--tls-key needs --tls-cert as well" : "--tls-cert needs --tls-key as well");
  }
  if (!flags.tls_cert.empty()) {
    auto made = TlsContext::makeServer({flags.tls_cert, flags.tls_key});
    if (!made) return refuse("--tls-cert/--tls-key: " + made.error());
    server_tls = std::move(*made);
  }
  Resolver resolver;
  for (const std::string& url : flags.backends) {
    BackendOptions backend;
    if (std::string error = parseBackend(url, backend); !error.empty()) return refuse(error);
    ResolveAnswer answer;
    if (resolver.resolveNow(backend.host, backend.port, answer) != 0) {
      return refuse(fmt::format("--backend {}: the name {} cannot be resolved", url, backend.host));
    }
    if (backend.protocol == BackendProtocol::https) {
      if (client_tls == nullptr) {
        auto made = TlsContext::makeClient({.verify = !flags.insecure, .ca_file = flags.ca_file});
        if (!made) return refuse("--ca-file: " + made.error());
        client_tls = std::move(*made);
      }
      backend.tls = client_tls.get();
    }
    options.backends.push_back(std::move(backend));
  }
  if (options.backends.empty() && !is_demo) return refuse("no backend: name at least one with -b, as in -b h2c://127.0.0.1:9001");
  std::vector<std::pair<std::string, bool>> listeners;
  for (const std::string& text : flags.listen) {
    const bool is_tls = text.starts_with("tls:");
    listeners.emplace_back(is_tls ? text.substr(4) : text, is_tls);
  }
  if (flags.port >= 0) listeners.emplace_back(fmt::format("0.0.0.0:{}", flags.port), server_tls != nullptr && !is_demo);
  if (listeners.empty()) return refuse("nowhere to listen: use -p PORT or --listen ADDRESS:PORT");
  for (const auto& [text, is_tls] : listeners) {
    ListenOptions listener;
    if (std::string error = parseListen(text, listener.address); !error.empty()) return refuse(error);
    if (is_tls && server_tls == nullptr) return refuse(fmt::format("--listen tls:{}: TLS needs --tls-cert and --tls-key", text));
    listener.tls = is_tls ? server_tls.get() : nullptr;
    options.listeners.push_back(listener);
  }
  raiseDescriptorLimit(uint64_t{options.limits.client_connections + options.limits.upstream_connections} *
                       static_cast<uint64_t>(flags.workers));

  // Signals are for this thread alone; the workers inherit the mask.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  std::vector<std::unique_ptr<Worker>> workers;
  for (int i = 0; i < flags.workers; ++i) {
    workers.push_back(std::make_unique<Worker>(resolver));
    WorkerStarted started = workers.back()->start(options);
    if (!started.error.empty()) {
      const size_t bad = started.addresses.size();
      const std::string place = bad < options.listeners.size() ? addressText(options.listeners[bad].address) : std::string("--io");
      for (size_t k = 0; k + 1 < workers.size(); ++k) workers[k]->stop();
      workers.clear();
      return refuse(place + ": " + started.error);
    }
    if (i == 0) {
      // A port that the kernel chose is the other workers' too.
      for (size_t k = 0; k < started.addresses.size(); ++k) {
        options.listeners[k].address = started.addresses[k];
        fmt::print("listening on {} ({})\n", addressText(started.addresses[k]), options.listeners[k].tls != nullptr ? "tls" : "plain");
      }
      fmt::print("memory: {} MiB reserved for each of {} worker(s), touched as needed; io: {}\n", started.reserved_bytes >> 20,
                 flags.workers, started.io == IoKind::uring ? "io_uring" : "epoll");
    }
  }
  fmt::print("ready\n");
  std::fflush(stdout);
  int signal_number = 0;
  ::sigwait(&signals, &signal_number);
  for (auto& worker : workers) worker->stop();
  for (auto& worker : workers) worker->join();
  fmt::print("malloc calls while serving: {}\n", AllocGuard::servingAllocations());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"plait: an HTTP/2-first reverse proxy that braids many clients' streams into few upstream connections"};
  Flags flags;
  app.set_version_flag("--version", "plait 0.1.0");
  const auto addCommon = [&](CLI::App& target) {
    target.add_option("-p,--port", flags.port, "Port to listen on, on all IPv4 addresses; 0 lets the kernel choose")->check(CLI::Range(0, 65535));
    target.add_option("--listen", flags.listen, "ADDRESS:PORT to listen on, tls:ADDRESS:PORT for TLS; repeatable");
    target.add_option("--tls-cert", flags.tls_cert, "Certificate chain for TLS listeners (PEM)");
    target.add_option("--tls-key", flags.tls_key, "Private key for TLS listeners (PEM)");
    target.add_option("--workers", flags.workers, "Worker threads, one per core")->check(CLI::Range(1, 256));
    target.add_option("--io", flags.io, "auto, uring or epoll")->check(CLI::IsMember({"auto", "uring", "epoll"}));
  };
  addCommon(app);
  app.add_option("-b,--backend", flags.backends, "h2c://host:port, http://host[:port], https://host[:port], or host:port, which finds out by itself; repeatable");
  app.add_flag("--insecure", flags.insecure, "Do not verify the certificates of https backends");
  app.add_option("--ca-file", flags.ca_file, "Certificates that https backends are verified against (PEM)");
  CLI::App* demo = app.add_subcommand("demo", "Run the demo origin: something to put plait in front of");
  addCommon(*demo);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return refuse(std::string(error.what()) + " (see plait --help)");
  }
  return serve(flags, demo->parsed());
}
