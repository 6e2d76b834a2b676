#include "plait/io/socket_backend.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "plait/base/assert.h"

namespace plait::socket_backend {
namespace {

int setInt(int fd, int level, int option, int value) {
  return ::setsockopt(fd, level, option, &value, sizeof(value));
}

bool isLoopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET6) {
    return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
  }
  return ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

// BBR spreads what it sends over time, with a timer for each piece, and cuts it smaller the slower it goes. Within the
// machine there is no path whose rate could be found out by that. Where the system has BBR for a default, such a
// connection gets the algorithm that every Linux allows.
void leaveUnpaced(int fd, const sockaddr_storage& address) {
  if (!isLoopback(address)) return;
  char name[16] = {};
  socklen_t size = sizeof(name);
  if (::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size) != 0 ||
      !std::string_view(name, size).starts_with("bbr"))
    return;
  constexpr std::string_view unpaced = "reno";
  ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, unpaced.data(), unpaced.size());
}

// A socket that has the address, and does not listen yet; -errno on failure.
int makeBound(const sockaddr_storage& address, bool share_port, bool only_v6) {
  const int fd = ::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  setInt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (share_port) setInt(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (address.ss_family == AF_INET6) setInt(fd, IPPROTO_IPV6, IPV6_V6ONLY, only_v6 ? 1 : 0);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), addressSize(address)) == 0) return fd;
  const int error = errno;
  ::close(fd);
  return -error;
}

int32_t listenOn(Op& op) {
  const int fd = makeBound(*op.address, op.share_port, op.only_v6);
  if (fd < 0) return fd;
  leaveUnpaced(fd, *op.address);  // what is accepted inherits it
  if (::listen(fd, 4096) != 0) {
    const int error = errno;
    ::close(fd);
    return -error;
  }
  // The first to listen had to find the address free: the kernel asks again in listen(), so of two that begin at once
  // one is refused. Only from here on may others join, as every further worker does; the kernel spreads the connections
  // over them.
  setInt(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  socklen_t size = sizeof(*op.address);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(op.address), &size);
  return fd;
}

}  // namespace

int tryAddress(const sockaddr_storage& address, bool share_port, bool only_v6) {
  const int fd = makeBound(address, share_port, only_v6);
  if (fd < 0) return fd;
  ::close(fd);
  return 0;
}

uint32_t addressSize(const sockaddr_storage& address) {
  return address.ss_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
}

int makeSocket(const Op& op) {
  const int fd = ::socket(op.address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  prepareAccepted(fd);
  leaveUnpaced(fd, *op.address);
  return fd;
}

void prepareAccepted(int fd) {
  // A whole turn's output leaves in one send, so there is nothing for Nagle's algorithm to gather.
  setInt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

void runSynchronous(Op& op) {
  switch (op.kind) {
    case OpKind::listen:
      op.result = listenOn(op);
      return;
    case OpKind::accept_waiting:
      do {
        op.result = ::accept4(op.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      } while (op.result < 0 && (errno == EINTR || errno == ECONNABORTED));
      if (op.result < 0) {
        op.result = -errno;
      } else {
        prepareAccepted(op.result);
      }
      return;
    case OpKind::peer: {
      socklen_t size = sizeof(*op.address);
      op.result = ::getpeername(op.fd, reinterpret_cast<sockaddr*>(op.address), &size) == 0 ? 0 : -errno;
      return;
    }
    case OpKind::untaken: {
      int bytes = 0;
      op.result = ::ioctl(op.fd, SIOCOUTQ, &bytes) == 0 ? bytes : -errno;
      return;
    }
    case OpKind::shutdown:
      op.result = ::shutdown(op.fd, SHUT_WR) == 0 ? 0 : -errno;
      return;
    case OpKind::close:
      if (op.reset_on_close) {
        const linger reset{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(op.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
      }
      op.result = ::close(op.fd) == 0 ? 0 : -errno;
      op.fd = -1;
      return;
    default:
      PLAIT_UNREACHABLE();
  }
}

TimeNs monotonicNow() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * ns_per_s + now.tv_nsec;
}

TimeNs threadCpu() {
  timespec ran;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ran);
  return ran.tv_sec * ns_per_s + ran.tv_nsec;
}

int64_t epochSeconds() {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec;
}

uint64_t entropy() {
  uint64_t value = 0;
  PLAIT_ASSERT(::getrandom(&value, sizeof(value), 0) == sizeof(value));
  return value;
}

}  // namespace plait::socket_backend
