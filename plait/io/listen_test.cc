// Listening: who may have a port beside whom, and which clients [::] takes.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "plait/io/io_test.h"

namespace plait::io_test {
namespace {

struct ListenTest : IoTest {
  ~ListenTest() override {
    for (const int fd : listeners) synchronous(OpKind::close, fd);
    for (const int fd : others) ::close(fd);
  }

  int listen(sockaddr_storage& address, bool share_port, bool only_v6 = false) {
    Op op;
    op.kind = OpKind::listen;
    op.address = &address;
    op.share_port = share_port;
    op.only_v6 = only_v6;
    io.submit(op);
    if (op.result >= 0) listeners.push_back(op.result);
    return op.result;
  }
  // 0 or the errno of a client that connects to that port.
  int connectTo(const char* host, const sockaddr_storage& bound) {
    sockaddr_in address{.sin_family = AF_INET, .sin_port = portOf(bound), .sin_addr = {}, .sin_zero = {}};
    ::inet_pton(AF_INET, host, &address.sin_addr);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    others.push_back(fd);
    return ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
  }
  int waitingAt(int listener) {
    int count = 0;
    for (int fd = synchronous(OpKind::accept_waiting, listener); fd >= 0;
         fd = synchronous(OpKind::accept_waiting, listener)) {
      others.push_back(fd);
      count += 1;
    }
    return count;
  }
  static in_port_t portOf(const sockaddr_storage& address) {
    return address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                         : reinterpret_cast<const sockaddr_in&>(address).sin_port;
  }
  static sockaddr_storage loopback() {
    sockaddr_storage address{};
    reinterpret_cast<sockaddr_in&>(address) = {
        .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    return address;
  }
  static sockaddr_storage anyV6() {
    sockaddr_storage address{};
    address.ss_family = AF_INET6;
    return address;
  }

  std::vector<int> listeners;
  std::vector<int> others;
};
INSTANTIATE_TEST_SUITE_P(Backends, ListenTest, testing::Values(IoKind::uring, IoKind::epoll), backendName);

TEST_P(ListenTest, APortThatIsHeldIsRefusedToALaterOneThatDoesNotAskToShareIt) {
  sockaddr_storage address = loopback();
  ASSERT_GE(listen(address, false), 0);
  EXPECT_EQ(listen(address, false), -EADDRINUSE);
  EXPECT_GE(listen(address, true), 0) << "the others of a process join the first";
  EXPECT_EQ(listen(address, false), -EADDRINUSE);
  sockaddr_storage any{};
  reinterpret_cast<sockaddr_in&>(any) = {
      .sin_family = AF_INET, .sin_port = portOf(address), .sin_addr = {INADDR_ANY}, .sin_zero = {}};
  EXPECT_EQ(listen(any, false), -EADDRINUSE);
}

TEST_P(ListenTest, APortIsFreeWhenItsListenerHasClosed) {
  sockaddr_storage address = loopback();
  const int first = listen(address, false);
  ASSERT_GE(first, 0);
  // A connection that the listener's side ends leaves a state behind that binds its port for a minute.
  EXPECT_EQ(connectTo("127.0.0.1", address), 0);
  const int accepted = synchronous(OpKind::accept_waiting, first);
  ASSERT_GE(accepted, 0);
  synchronous(OpKind::close, accepted);
  synchronous(OpKind::close, first);
  listeners.clear();
  EXPECT_GE(listen(address, false), 0);
}

TEST_P(ListenTest, ConnectionsAreSpreadOverThoseThatShareAPort) {
  sockaddr_storage address = loopback();
  const int first = listen(address, false);
  const int second = listen(address, true);
  ASSERT_TRUE(first >= 0 && second >= 0);
  for (int i = 0; i < 128; ++i) ASSERT_EQ(connectTo("127.0.0.1", address), 0);
  const int at_first = waitingAt(first);
  const int at_second = waitingAt(second);
  EXPECT_EQ(at_first + at_second, 128);
  // The chance of fewer at either is below one in a thousand million.
  EXPECT_GT(at_first, 25);
  EXPECT_GT(at_second, 25);
}

TEST_P(ListenTest, AllAddressesOfIpv6AreThoseOfIpv4TooUnlessToldOtherwise) {
  sockaddr_storage address = anyV6();
  const int both = listen(address, false);
  ASSERT_GE(both, 0);
  EXPECT_EQ(connectTo("127.0.0.1", address), 0);
  EXPECT_EQ(waitingAt(both), 1);
  sockaddr_storage other = anyV6();
  ASSERT_GE(listen(other, false, true), 0);
  EXPECT_EQ(connectTo("127.0.0.1", other), ECONNREFUSED);
  sockaddr_storage v4{};
  reinterpret_cast<sockaddr_in&>(v4) = {
      .sin_family = AF_INET, .sin_port = portOf(other), .sin_addr = {INADDR_ANY}, .sin_zero = {}};
  EXPECT_GE(listen(v4, false), 0) << "which leaves them to another listener";
}

}  // namespace
}  // namespace plait::io_test
