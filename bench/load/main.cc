// plait_load: the bench's own load generator, for what h2load does not do: it connects first and says so, so that
// set-up is not measured with the load; sends at a fixed rate whatever comes back; comes and goes; or just stays.
//
//   plait_load --to 127.0.0.1:8080 [--tls [--resume]] [--connections N] [--streams N] [--path P] [--fields N]
//
// Every connection is opened and has one request answered; then "ready" is printed, and commands are read, a line each.
// Each is answered with one line of JSON:
//
//   closed COUNT [EACH]    COUNT requests, on every connection as many at once as --streams says. With EACH a
//                          connection is closed and opened anew after so many requests.
//   spread COUNT WIDTH     COUNT requests, WIDTH at once over all connections, which take turns.
//   open RATE SECONDS      an open loop: requests fall due at random (Poisson) at RATE a second, and a request that has
//                          to wait for its connection counts as late from when it was due. So a server that stalls pays
//                          for every request that it held up, not for one (coordinated omission).
//
// Latencies are in µs. Nothing is answered 2xx by chance: every request that was not is counted under "failed".
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "bench/load/connection.h"
#include "plait/net/address.h"

namespace plait::load {
namespace {

constexpr uint32_t connecting_at_once = 64;

class Load final : public Observer {
 public:
  explicit Load(const Options& options) : options_(options), shared_(options, *this) {
    for (uint32_t i = 0; i < options.connections; ++i) connections_.push_back(std::make_unique<Connection>(shared_));
    epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
    ::epoll_ctl(shared_.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
  }

  int run() {
    mode_ = Mode::warming;
    while (opened_ < std::min(connecting_at_once, options_.connections)) connections_[opened_++]->open();
    while (answered_ < options_.connections) {
      turn(-1);
      if (failed_ != 0) {
        std::fprintf(stderr, "%llu of the first requests failed\n", static_cast<unsigned long long>(failed_));
        return 1;
      }
    }
    mode_ = Mode::idle;
    std::puts("ready");
    std::fflush(stdout);
    while (true) {
      for (size_t end = 0; (end = input_.find('\n')) != std::string::npos;) {
        const std::string line = input_.substr(0, end);
        input_.erase(0, end + 1);
        if (!obey(line)) return 2;
      }
      if (input_ended_) break;
      turn(-1);
    }
    return 0;
  }

  void onReady(Connection& connection) override {
    if (mode_ == Mode::warming) {
      connection.send(nowNs());
    } else {
      fill(connection);
    }
  }

  void onAnswer(Connection& connection, bool ok, int64_t scheduled_ns) override {
    answered_ += 1;
    if (!ok) failed_ += 1;
    if (mode_ == Mode::warming) {
      if (opened_ < options_.connections) connections_[opened_++]->open();
      return;
    }
    latencies_.push_back(static_cast<uint32_t>(std::min<int64_t>((nowNs() - scheduled_ns) / 100, UINT32_MAX)));
    if (mode_ == Mode::closed && connection.isOpen()) fill(connection);
  }

  void onClosed(Connection& connection) override {
    closed_ += 1;
    // It is opened anew where work is left for it; not at once, for this may be a call from within it.
    if (mode_ != Mode::idle && mode_ != Mode::warming) reopen_.push_back(&connection);
  }

 private:
  enum class Mode : uint8_t { warming, idle, closed, spread, open };

  void fill(Connection& connection) {
    if (mode_ != Mode::closed) return;
    while (left_ != 0 && connection.canSend() && (each_ == 0 || connection.sent() < each_)) {
      left_ -= 1;
      connection.send(nowNs());
    }
    if (each_ != 0 && connection.sent() >= each_ && connection.inFlight() == 0) renew_.push_back(&connection);
  }

  void turn(int64_t wait_ns) {
    epoll_event events[512];
    const timespec wait{.tv_sec = wait_ns / 1'000'000'000, .tv_nsec = wait_ns % 1'000'000'000};
    const int count = ::epoll_pwait2(shared_.epoll, events, 512, wait_ns < 0 ? nullptr : &wait, nullptr);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.ptr == nullptr) {
        readInput();
      } else if (auto* connection = static_cast<Connection*>(events[i].data.ptr); connection->isOpen()) {
        connection->onEvents(events[i].events);
      }
    }
    for (Connection* connection : std::exchange(renew_, {})) {
      connection->close();
      if (left_ != 0) connection->open();
    }
    for (Connection* connection : std::exchange(reopen_, {})) {
      if (!connection->isOpen()) connection->open();
    }
    flush();
  }

  void flush() {
    for (size_t i = 0; i < shared_.dirty.size(); ++i) shared_.dirty[i]->flush();
    shared_.dirty.clear();
  }

  void readInput() {
    char text[256];
    const ssize_t count = ::read(STDIN_FILENO, text, sizeof(text));
    if (count <= 0) {
      input_ended_ = true;
      ::epoll_ctl(shared_.epoll, EPOLL_CTL_DEL, STDIN_FILENO, nullptr);
      return;
    }
    input_.append(text, static_cast<size_t>(count));
  }

  bool obey(const std::string& line) {
    unsigned long long count = 0;
    unsigned each = 0;
    double rate = 0;
    double seconds = 0;
    latencies_.clear();
    answered_ = failed_ = closed_ = 0;
    shared_.body_bytes = shared_.handshakes = shared_.resumed = 0;
    const int64_t start_ns = nowNs();
    if (std::sscanf(line.c_str(), "closed %llu %u", &count, &each) >= 1) {
      runClosed(count, each);
    } else if (std::sscanf(line.c_str(), "spread %llu %u", &count, &each) == 2 && each != 0) {
      runSpread(count, each);
    } else if (std::sscanf(line.c_str(), "open %lf %lf", &rate, &seconds) == 2 && rate > 0) {
      runOpen(rate, seconds);
    } else {
      std::fprintf(stderr, "unknown command: %s\n", line.c_str());
      return false;
    }
    report(start_ns);
    return true;
  }

  void runClosed(uint64_t count, uint32_t each) {
    mode_ = Mode::closed;
    left_ = count;
    each_ = each;
    for (auto& connection : connections_) {
      // A connection that an earlier command left open has its requests counted already.
      if (each != 0 && connection->isOpen()) connection->close();
      if (!connection->isOpen()) {
        if (left_ != 0) connection->open();
      } else {
        fill(*connection);
      }
    }
    flush();
    while (answered_ < count) turn(-1);
    mode_ = Mode::idle;
    flush();
  }

  void runSpread(uint64_t count, uint32_t width) {
    mode_ = Mode::spread;
    uint64_t sent = 0;
    size_t next = 0;
    while (answered_ < count) {
      size_t tried = 0;
      while (sent < count && sent - answered_ < width && tried < connections_.size()) {
        Connection& connection = *connections_[next++ % connections_.size()];
        tried += 1;
        if (!connection.canSend()) continue;
        connection.send(nowNs());
        sent += 1;
        tried = 0;
      }
      flush();
      turn(-1);
    }
    mode_ = Mode::idle;
  }

  void runOpen(double rate, double seconds) {
    mode_ = Mode::open;
    std::exponential_distribution<double> gap(rate / 1e9);
    const int64_t start_ns = nowNs();
    const int64_t end_ns = start_ns + static_cast<int64_t>(seconds * 1e9);
    // A server that cannot keep up is given this long to answer what it owes; what it then has not is failed.
    const int64_t give_up_ns = end_ns + 10'000'000'000;
    double due = static_cast<double>(start_ns) + gap(random_);
    uint64_t sent = 0;
    size_t next = 0;
    while (true) {
      const int64_t now_ns = nowNs();
      while (due <= static_cast<double>(std::min(now_ns, end_ns))) {
        size_t tried = 0;
        while (tried < connections_.size() && !connections_[next % connections_.size()]->canSend()) ++next, ++tried;
        if (tried == connections_.size()) break;  // it stays due
        connections_[next++ % connections_.size()]->send(static_cast<int64_t>(due));
        sent += 1;
        due += gap(random_);
      }
      flush();
      if (due > static_cast<double>(end_ns) && answered_ == sent) break;
      if (now_ns > give_up_ns) break;
      const bool is_waiting = due <= static_cast<double>(now_ns);
      turn(is_waiting || due > static_cast<double>(end_ns) ? 1'000'000
                                                           : std::max<int64_t>(static_cast<int64_t>(due) - nowNs(), 0));
    }
    failed_ += sent - answered_;
    mode_ = Mode::idle;
  }

  void report(int64_t start_ns) {
    const double seconds = static_cast<double>(nowNs() - start_ns) / 1e9;
    std::sort(latencies_.begin(), latencies_.end());
    const auto quantile = [&](double share) {
      if (latencies_.empty()) return 0.0;
      const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(latencies_.size())));
      return latencies_[std::min(rank == 0 ? 0 : rank - 1, latencies_.size() - 1)] / 10.0;
    };
    std::printf(
        "{\"requests\":%llu,\"failed\":%llu,\"closed\":%llu,\"bytes\":%llu,\"seconds\":%.6f,\"handshakes\":%llu,"
        "\"resumed\":%llu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}\n",
        static_cast<unsigned long long>(answered_), static_cast<unsigned long long>(failed_),
        static_cast<unsigned long long>(closed_), static_cast<unsigned long long>(shared_.body_bytes), seconds,
        static_cast<unsigned long long>(shared_.handshakes), static_cast<unsigned long long>(shared_.resumed),
        quantile(0.5), quantile(0.9), quantile(0.99), quantile(0.999), quantile(1));
    std::fflush(stdout);
  }

  const Options& options_;
  Shared shared_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> renew_;
  std::vector<Connection*> reopen_;
  std::mt19937_64 random_{1};
  Mode mode_ = Mode::idle;
  uint32_t opened_ = 0;
  uint64_t left_ = 0;
  uint32_t each_ = 0;
  uint64_t answered_ = 0;
  uint64_t failed_ = 0;
  uint64_t closed_ = 0;
  std::vector<uint32_t> latencies_;  // in units of 100 ns
  std::string input_;
  bool input_ended_ = false;
};

// The fields that browsers and gateways send look like this: some names that HPACK knows, most of them not.
void addFields(Options& options, uint32_t count, uint32_t cookie_bytes) {
  for (uint32_t i = 0; i < count; ++i) {
    options.fields.emplace_back("x-bench-field-" + std::to_string(i), "value-of-field-" + std::to_string(i * 7919));
  }
  if (cookie_bytes != 0) options.fields.emplace_back("cookie", "session=" + std::string(cookie_bytes - 8, 'c'));
}

int start(int argc, char** argv) {
  Options options;
  uint32_t fields = 0;
  uint32_t cookie = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--tls") {
      options.tls = true;
      continue;
    }
    if (name == "--resume") {
      options.server_name = "localhost";
      continue;
    }
    if (i + 1 == argc) {
      std::fprintf(stderr, "%s needs a value\n", argv[i]);
      return 2;
    }
    const char* const value = argv[++i];
    const auto number = static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
    if (name == "--to") {
      const auto address = parseAddress(value);
      if (!address) {
        std::fprintf(stderr, "--to takes ADDRESS:PORT\n");
        return 2;
      }
      options.to = *address;
    } else if (name == "--connections") {
      options.connections = std::max(number, 1u);
    } else if (name == "--streams") {
      options.streams = std::max(number, 1u);
    } else if (name == "--path") {
      options.path = value;
    } else if (name == "--fields") {
      fields = number;
    } else if (name == "--cookie") {
      cookie = number;
    } else {
      std::fprintf(stderr, "unknown option %s\n", argv[i - 1]);
      return 2;
    }
  }
  addFields(options, fields, cookie);
  return Load(options).run();
}

}  // namespace
}  // namespace plait::load

int main(int argc, char** argv) {
  return plait::load::start(argc, argv);
}
