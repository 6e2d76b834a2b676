// A wire: what is written at one end is read at the other half a round trip later, in order, each way. It takes
// whatever it is given at once, however much that is, so that only the round trip counts and no rate of its own.
//
//   plait_wire --to PORT [--round-trip-us N]      says the port that it listens on, and relays until it is ended
//   plait_wire --check [--round-trip-us N]        what such a wire does with nothing but two sockets at its ends: one
//   line
//                                                 of JSON, its round trip and bytes a second each way
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

namespace {

int64_t nowNs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

constexpr size_t piece_size = 64 << 10;

// Pieces that have left are used again: memory that is fresh from the kernel would cost more than the bytes in it.
class Pieces {
 public:
  struct Piece {
    int64_t due_ns = 0;
    size_t begin = 0;
    size_t end = 0;  // equal to begin: the end of the stream
    uint8_t bytes[piece_size];
  };
  using Held = std::unique_ptr<Piece>;
  Held take() {
    if (free_.empty()) return std::make_unique_for_overwrite<Piece>();
    Held piece = std::move(free_.back());
    free_.pop_back();
    return piece;
  }
  void give(Held piece) { free_.push_back(std::move(piece)); }

 private:
  std::vector<Held> free_;
};

// One direction of a connection.
struct Way {
  int from = -1;
  int to = -1;
  std::deque<Pieces::Held> under_way;
  bool has_ended = false;   // the reader has seen the end
  bool is_writable = true;  // as far as is known
};

struct Connection {
  Way ways[2];
  bool is_broken = false;
  bool isOver() const {
    return is_broken ||
           (ways[0].has_ended && ways[1].has_ended && ways[0].under_way.empty() && ways[1].under_way.empty());
  }
};

class Relay {
 public:
  // `port_to` hears the port.
  Relay(uint16_t to, int64_t delay_ns, std::FILE* port_to)
      : delay_ns_(delay_ns), epoll_(::epoll_create1(0)), timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)) {
    to_.sin_family = AF_INET;
    to_.sin_port = htons(to);
    to_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    sockaddr_in own = to_;
    own.sin_port = 0;
    socklen_t size = sizeof(own);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&own), size) != 0 || ::listen(listener_, 1024) != 0)
      die("listen");
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&own), &size);
    watch(listener_, EPOLLIN, &listener_);
    watch(timer_, EPOLLIN, &timer_);
    std::fprintf(port_to, "%u\n", ntohs(own.sin_port));
    std::fflush(port_to);
  }

  void run() {
    std::vector<epoll_event> events(256);
    while (true) {
      arm();
      const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        if (events[i].data.ptr == &listener_) {
          accept();
        } else if (events[i].data.ptr == &timer_) {
          uint64_t fired = 0;
          (void)!::read(timer_, &fired, sizeof(fired));
        } else {
          auto& connection = *static_cast<Connection*>(events[i].data.ptr);
          // Edges: which of the two sockets it was does not matter, each is read and written as far as it goes.
          for (Way& way : connection.ways) way.is_writable = true;
          read(connection);
        }
      }
      for (size_t i = 0; i < connections_.size();) {
        write(*connections_[i]);
        if (connections_[i]->isOver()) {
          end(i);
        } else {
          i += 1;
        }
      }
    }
  }

 private:
  void watch(int fd, uint32_t events, void* data) {
    epoll_event event{.events = events, .data = {.ptr = data}};
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
  }

  void accept() {
    const int near = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK);
    if (near < 0) return;
    const int far = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (::connect(far, reinterpret_cast<const sockaddr*>(&to_), sizeof(to_)) != 0 && errno != EINPROGRESS) {
      ::close(near);
      ::close(far);
      return;
    }
    auto& connection = *connections_.emplace_back(std::make_unique<Connection>());
    connection.ways[0].from = connection.ways[1].to = near;
    connection.ways[1].from = connection.ways[0].to = far;
    const int on = 1;
    for (const int fd : {near, far}) {
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &connection);
    }
  }

  void read(Connection& connection) {
    for (Way& way : connection.ways) {
      while (!way.has_ended && !connection.is_broken) {
        Pieces::Held piece = pieces_.take();
        const ssize_t count = ::recv(way.from, piece->bytes, piece_size, 0);
        if (count < 0) {
          pieces_.give(std::move(piece));
          if (errno != EAGAIN && errno != ENOTCONN) connection.is_broken = true;
          break;
        }
        piece->begin = 0;
        piece->end = static_cast<size_t>(count);
        piece->due_ns = nowNs() + delay_ns_;
        way.has_ended = count == 0;
        way.under_way.push_back(std::move(piece));
      }
    }
  }

  void write(Connection& connection) {
    for (Way& way : connection.ways) {
      while (!way.under_way.empty() && way.is_writable && way.under_way.front()->due_ns <= nowNs()) {
        Pieces::Piece& piece = *way.under_way.front();
        if (piece.begin == piece.end) {
          ::shutdown(way.to, SHUT_WR);
        } else {
          const ssize_t count = ::send(way.to, piece.bytes + piece.begin, piece.end - piece.begin, MSG_NOSIGNAL);
          if (count < 0) {
            if (errno != EAGAIN && errno != ENOTCONN) connection.is_broken = true;
            way.is_writable = false;
            break;
          }
          piece.begin += static_cast<size_t>(count);
          if (piece.begin != piece.end) continue;
        }
        pieces_.give(std::move(way.under_way.front()));
        way.under_way.pop_front();
      }
    }
  }

  // The timer goes off when the next piece is due that can be written.
  void arm() {
    int64_t next_ns = 0;
    for (const auto& connection : connections_) {
      for (const Way& way : connection->ways) {
        if (way.under_way.empty() || !way.is_writable) continue;
        if (next_ns == 0 || way.under_way.front()->due_ns < next_ns) next_ns = way.under_way.front()->due_ns;
      }
    }
    if (next_ns == armed_ns_) return;
    armed_ns_ = next_ns;
    itimerspec at{};
    at.it_value = {.tv_sec = next_ns / 1'000'000'000, .tv_nsec = next_ns % 1'000'000'000};
    ::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &at, nullptr);
  }

  void end(size_t index) {
    Connection& connection = *connections_[index];
    for (Way& way : connection.ways) {
      // A connection that broke is broken at its other end too.
      if (connection.is_broken) {
        const linger hard{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(way.from, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
      }
      ::close(way.from);
      for (Pieces::Held& piece : way.under_way) pieces_.give(std::move(piece));
    }
    connections_[index] = std::move(connections_.back());
    connections_.pop_back();
  }

  sockaddr_in to_{};
  const int64_t delay_ns_;
  int epoll_;
  int timer_;
  int listener_ = -1;
  int64_t armed_ns_ = 0;
  Pieces pieces_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

// -- what the wire does by itself

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void readWhole(int fd, size_t size) {
  char bytes[256];
  while (size != 0) {
    const ssize_t count = ::recv(fd, bytes, std::min(size, sizeof(bytes)), 0);
    if (count <= 0) die("recv");
    size -= static_cast<size_t>(count);
  }
}

// The median of some pings of one byte, in nanoseconds.
int64_t roundTripOf(int near, int far) {
  std::vector<int64_t> seen;
  for (int i = 0; i < 21; ++i) {
    const int64_t begun_ns = nowNs();
    if (::send(near, "?", 1, 0) != 1) die("send");
    readWhole(far, 1);
    if (::send(far, "!", 1, 0) != 1) die("send");
    readWhole(near, 1);
    seen.push_back(nowNs() - begun_ns);
  }
  std::ranges::nth_element(seen, seen.begin() + 10);
  return seen[10];
}

// Bytes a second that come out at `to` of what is put in at `from` without a pause, for a second after the first.
double rateOf(int from, int to) {
  constexpr int64_t second = 1'000'000'000;
  std::vector<char> put(256 << 10);
  std::vector<char> got(256 << 10);
  std::thread writer([&] {
    const int64_t until_ns = nowNs() + second * 3 / 2;
    while (nowNs() < until_ns && ::send(from, put.data(), put.size(), MSG_NOSIGNAL) > 0) {
    }
    ::shutdown(from, SHUT_WR);
  });
  int64_t begun_ns = 0;
  int64_t last_ns = 0;
  double bytes = 0;
  for (ssize_t count = 1; count > 0;) {
    count = ::recv(to, got.data(), got.size(), 0);
    if (count < 0) die("recv");
    last_ns = nowNs();
    // The bytes that have come first are the beginning, and no part of it.
    if (begun_ns == 0) {
      begun_ns = last_ns;
    } else {
      bytes += static_cast<double>(count);
    }
  }
  writer.join();
  return bytes * 1e9 / static_cast<double>(std::max<int64_t>(last_ns - begun_ns, 1));
}

int check(int64_t round_trip_us) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in own = loopback(0);
  socklen_t size = sizeof(own);
  if (::bind(listener, reinterpret_cast<sockaddr*>(&own), size) != 0 || ::listen(listener, 8) != 0) die("listen");
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&own), &size);
  int pipe[2];
  if (::pipe(pipe) != 0) die("pipe");
  const pid_t child = ::fork();
  if (child < 0) die("fork");
  if (child == 0) Relay(ntohs(own.sin_port), round_trip_us * 1000 / 2, ::fdopen(pipe[1], "w")).run();
  unsigned port = 0;
  std::FILE* const said = ::fdopen(pipe[0], "r");
  if (std::fscanf(said, "%u", &port) != 1) die("the relay's port");
  const auto open = [&](int& near, int& far) {
    near = ::socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in to = loopback(static_cast<uint16_t>(port));
    if (::connect(near, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) die("connect");
    far = ::accept(listener, nullptr, nullptr);
    const int on = 1;
    for (const int fd : {near, far}) ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  };
  int near = -1;
  int far = -1;
  open(near, far);
  const double round_trip_ms = static_cast<double>(roundTripOf(near, far)) / 1e6;
  const double up = rateOf(near, far);
  open(near, far);
  const double down = rateOf(far, near);
  std::printf("{\"roundTrip_ms\": %.3f, \"up\": %.0f, \"down\": %.0f}\n", round_trip_ms, up, down);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  uint16_t to = 0;
  int64_t round_trip_us = 0;
  bool checks = false;
  for (int i = 1; i < argc; ++i) {
    const bool has_value = i + 1 < argc;
    if (std::strcmp(argv[i], "--check") == 0) checks = true;
    if (std::strcmp(argv[i], "--to") == 0 && has_value) to = static_cast<uint16_t>(std::atoi(argv[++i]));
    if (std::strcmp(argv[i], "--round-trip-us") == 0 && has_value) round_trip_us = std::atoll(argv[++i]);
  }
  if (checks) return check(round_trip_us);
  if (to == 0) {
    std::fprintf(stderr, "usage: plait_wire --to PORT | --check [--round-trip-us N]\n");
    return 2;
  }
  Relay(to, round_trip_us * 1000 / 2, stdout).run();
}
