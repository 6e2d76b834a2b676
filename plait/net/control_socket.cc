#include "plait/net/control_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

namespace plait {
namespace {

// A request with its fields may be asked about.
constexpr size_t most_command = 64 << 10;

bool makeAddress(const std::string& path, sockaddr_un& out) {
  out = {};
  out.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(out.sun_path)) return false;
  std::memcpy(out.sun_path, path.data(), path.size());
  return true;
}

void limitWaits(int fd, long seconds) {
  const timeval limit{.tv_sec = seconds, .tv_usec = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

bool sendAll(int fd, std::string_view text) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  while (!text.empty()) {
    if (std::chrono::steady_clock::now() > until) return false;
    const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    text.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

std::string because(const std::string& what, int error) {
  return what + ": " + std::strerror(error);
}

}  // namespace

ControlSocket::ControlSocket(ControlSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), lock_fd_(std::exchange(other.lock_fd_, -1)), path_(std::move(other.path_)) {}

ControlSocket& ControlSocket::operator=(ControlSocket&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(lock_fd_, other.lock_fd_);
  std::swap(path_, other.path_);
  return *this;
}

ControlSocket::~ControlSocket() {
  if (fd_ >= 0) {
    ::unlink(path_.c_str());
    ::close(fd_);
  }
  if (lock_fd_ >= 0) {
    ::unlink((path_ + ".lock").c_str());
    ::close(lock_fd_);
  }
}

std::expected<ControlSocket, std::string> ControlSocket::open(const std::string& path) {
  sockaddr_un address;
  if (!makeAddress(path, address)) return std::unexpected("the path " + path + " is too long for a socket");
  ControlSocket made;
  made.path_ = path;
  const std::string lock = path + ".lock";
  made.lock_fd_ = ::open(lock.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (made.lock_fd_ < 0) return std::unexpected(because("cannot make " + lock, errno));
  if (::flock(made.lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    // The file is the other process's.
    ::close(std::exchange(made.lock_fd_, -1));
    return std::unexpected("another plait has the socket " + path);
  }
  struct stat status{};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode)) return std::unexpected(path + " is there already, and is no socket");
    ::unlink(path.c_str());
  }
  made.fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (made.fd_ < 0) return std::unexpected(because("cannot make a socket", errno));
  const mode_t before = ::umask(0177);
  const int bound = ::bind(made.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const int failed = errno;
  ::umask(before);
  if (bound != 0 || ::listen(made.fd_, 16) != 0) {
    const std::string why = because("cannot listen at " + path, bound != 0 ? failed : errno);
    if (bound != 0) ::close(std::exchange(made.fd_, -1));
    return std::unexpected(why);
  }
  return made;
}

int ControlSocket::accept() {
  const int client = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (client < 0) return -1;
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || (peer.uid != 0 && peer.uid != ::geteuid())) {
    ::close(client);
    return -1;
  }
  limitWaits(client, 1);
  return client;
}

ControlSocket::Heard ControlSocket::hear(int client, std::string& command) {
  char buffer[512];
  while (true) {
    const ssize_t got = ::recv(client, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Heard::part;
    if (got <= 0) return Heard::nothing;
    command.append(buffer, static_cast<size_t>(got));
    if (const size_t end = command.find('\n'); end != command.npos) {
      command.resize(end);
      return Heard::whole;
    }
    if (command.size() >= most_command) return Heard::nothing;
  }
}

void ControlSocket::answer(int client, std::string_view text) {
  (void)sendAll(client, text);
  ::close(client);
}

std::expected<std::string, std::string> ControlSocket::ask(const std::string& path, std::string_view command) {
  sockaddr_un address;
  if (!makeAddress(path, address)) return std::unexpected("the path " + path + " is too long for a socket");
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return std::unexpected(because("cannot make a socket", errno));
  std::string answer;
  std::string wrong;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    wrong = because("no plait can be asked at " + path, errno);
  } else if (!sendAll(fd, std::string(command) + '\n')) {
    wrong = because("the command could not be sent to " + path, errno);
  } else {
    char buffer[4096];
    while (true) {
      const ssize_t got = ::recv(fd, buffer, sizeof(buffer), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      answer.append(buffer, static_cast<size_t>(got));
    }
    if (answer.empty()) wrong = "plait at " + path + " gave no answer: only root and its own user may ask";
  }
  ::close(fd);
  if (!wrong.empty()) return std::unexpected(wrong);
  return answer;
}

}  // namespace plait
