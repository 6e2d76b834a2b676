// The seam to the kernel: each backend must show the same behaviour.
#include "plait/io/io_test.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <thread>

namespace {

bool submitting_fails = false;
int failed_submits = 0;

}  // namespace

// In the place of liburing's.
struct io_uring;
extern "C" int io_uring_submit(io_uring* ring) {
  if (submitting_fails) {
    failed_submits += 1;
    return -ENOMEM;
  }
  static const auto real = reinterpret_cast<int (*)(io_uring*)>(::dlsym(RTLD_NEXT, "io_uring_submit"));
  return real(ring);
}

namespace plait::io_test {
namespace {

INSTANTIATE_TEST_SUITE_P(Backends, IoTest, testing::Values(IoKind::uring, IoKind::epoll), backendName);

// Two connected sockets: `client` was connected by an op, `server` accepted by one.
struct ConnectionTest : IoTest {
  explicit ConnectionTest(uint32_t buffer_count = 8, uint32_t buffer_size = 4096) : IoTest(buffer_count, buffer_size) {
    listener = listenOn(address);
    EXPECT_GE(listener, 0);
    accept.emplace(io, OpKind::accept, listener);
    accept->submit();
    Recorder connect(io, OpKind::connect, -1);
    connect.op.address = &address;
    connect.submit();
    EXPECT_TRUE(turnUntil([&] { return connect.ended && !accept->results.empty(); }));
    client = connect.last();
    server = accept->last();
    EXPECT_GE(client, 0);
    EXPECT_GE(server, 0);
  }
  ~ConnectionTest() override {
    io.cancel(accept->op);
    EXPECT_TRUE(turnUntil([&] { return accept->ended; }));
    EXPECT_EQ(accept->last(), -ECANCELED);
    for (int fd : {client, server, listener}) {
      if (fd >= 0) EXPECT_EQ(synchronous(OpKind::close, fd), 0);
    }
  }
  // Sends all of it and waits until the kernel has it.
  void send(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      Recorder op(io, OpKind::send, fd);
      iovec vector{const_cast<char*>(bytes.data()), bytes.size()};
      op.op.vectors = &vector;
      op.op.vector_count = 1;
      op.submit();
      ASSERT_TRUE(turnUntil([&] { return op.ended; }));
      ASSERT_GT(op.last(), 0);
      bytes.remove_prefix(static_cast<size_t>(op.last()));
    }
  }
  void cancelAndWait(Recorder& op) {
    io.cancel(op.op);
    ASSERT_TRUE(turnUntil([&] { return op.ended; }));
  }

  sockaddr_storage address;
  std::optional<Recorder> accept;
  int listener = -1;
  int client = -1;
  int server = -1;
};
INSTANTIATE_TEST_SUITE_P(Backends, ConnectionTest, testing::Values(IoKind::uring, IoKind::epoll), backendName);

// Fails where BBR is the system's default, as it is where this was found, and a socket was forgotten.
TEST_P(ConnectionTest, NoEndOfAConnectionWithinTheMachineIsPaced) {
  for (const int fd : {listener, client, server}) {
    char name[16] = {};
    socklen_t size = sizeof(name);
    ASSERT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
    EXPECT_FALSE(std::string_view(name, size).starts_with("bbr"));
  }
}

TEST_P(IoTest, TimeMovesWithTheTurnsOnly) {
  const TimeNs before = io.nowNs();
  while (backend->now() < before + 2 * ns_per_ms) {
  }
  EXPECT_EQ(io.nowNs(), before);
  io.turn(0);
  EXPECT_GE(io.nowNs(), before + 2 * ns_per_ms);
}

TEST_P(IoTest, EntropyIsNotTheSameTwice) {
  EXPECT_NE(io.entropy(), io.entropy());
}

TEST_P(IoTest, AConnectToAPortWhereNobodyListensFails) {
  sockaddr_storage address;
  const int listener = listenOn(address);
  synchronous(OpKind::close, listener);
  Recorder connect(io, OpKind::connect, -1);
  connect.op.address = &address;
  connect.submit();
  ASSERT_TRUE(turnUntil([&] { return connect.ended; }));
  EXPECT_EQ(connect.last(), -ECONNREFUSED);
  EXPECT_EQ(connect.op.fd, -1);
}

TEST_P(IoTest, AConnectThatIsCancelledEndsAndLeavesNoDescriptor) {
  // A listener whose queue is full lets further connections wait.
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  const int full = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(full, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(full, 0), 0);
  socklen_t size = sizeof(address);
  ::getsockname(full, reinterpret_cast<sockaddr*>(&address), &size);
  sockaddr_storage target{};
  std::memcpy(&target, &address, sizeof(address));
  std::vector<std::unique_ptr<Recorder>> connects;
  for (int i = 0; i < 4; ++i) {
    connects.push_back(std::make_unique<Recorder>(io, OpKind::connect, -1));
    connects.back()->op.address = &target;
    connects.back()->submit();
  }
  turnFor(50);
  ASSERT_FALSE(connects.back()->ended);
  for (auto& one : connects) io.cancel(one->op);
  EXPECT_TRUE(turnUntil([&] {
    for (auto& one : connects) {
      if (!one->ended) return false;
    }
    return true;
  }));
  EXPECT_EQ(connects.back()->last(), -ECANCELED);
  for (auto& one : connects) {
    EXPECT_EQ(one->results.size(), 1u);
    if (one->last() >= 0) synchronous(OpKind::close, one->last());
  }
  ::close(full);
}

TEST_P(IoTest, AListenerTakesManyAndEachIsReportedOnce) {
  sockaddr_storage address;
  const int listener = listenOn(address);
  Recorder accept(io, OpKind::accept, listener);
  accept.submit();
  std::vector<int> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(::socket(AF_INET, SOCK_STREAM, 0));
    ASSERT_EQ(::connect(clients.back(), reinterpret_cast<sockaddr*>(&address), sizeof(sockaddr_in)), 0);
  }
  EXPECT_TRUE(turnUntil([&] { return accept.results.size() == 20; }));
  EXPECT_FALSE(accept.ended);
  io.cancel(accept.op);
  EXPECT_TRUE(turnUntil([&] { return accept.ended; }));
  for (int fd : accept.results) {
    if (fd >= 0) synchronous(OpKind::close, fd);
  }
  // Those that come now are nobody's, until one asks for what is waiting.
  const int late = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(::connect(late, reinterpret_cast<sockaddr*>(&address), sizeof(sockaddr_in)), 0);
  const int taken = synchronous(OpKind::accept_waiting, listener);
  EXPECT_GE(taken, 0);
  EXPECT_EQ(synchronous(OpKind::accept_waiting, listener), -EAGAIN);
  for (int fd : clients) ::close(fd);
  for (int fd : {late, taken, listener}) synchronous(OpKind::close, fd);
}

TEST_P(ConnectionTest, BytesArriveInOrderAndOneArmingLastsForAll) {
  Recorder recv(io, OpKind::recv, server);
  recv.submit();
  std::string sent;
  for (int i = 0; i < 50; ++i) {
    const std::string part(static_cast<size_t>(1 + i * 37), static_cast<char>('a' + i % 26));
    sent += part;
    send(client, part);
  }
  EXPECT_TRUE(turnUntil([&] { return recv.text.size() == sent.size(); }));
  EXPECT_EQ(recv.text, sent);
  EXPECT_FALSE(recv.ended);
  cancelAndWait(recv);
  EXPECT_EQ(recv.last(), -ECANCELED);
}

struct ManyBuffers : ConnectionTest {
  ManyBuffers() : ConnectionTest(64) {}
};
INSTANTIATE_TEST_SUITE_P(Backends, ManyBuffers, testing::Values(IoKind::uring, IoKind::epoll), backendName);

TEST_P(ManyBuffers, WhatHasPiledUpArrivesWholeAndInOrderWithTheEndBehindIt) {
  // The last piece fills its buffer, or one byte less, or one more.
  for (const size_t size : {20 * 4096, 20 * 4096 - 1, 20 * 4096 + 1}) {
    int both[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
    std::string sent;
    for (size_t i = 0; i < size; ++i) sent += static_cast<char>('a' + i / 4096 + i % 7);
    ASSERT_EQ(::write(both[0], sent.data(), size), static_cast<ssize_t>(size));
    ::close(both[0]);
    Recorder recv(io, OpKind::recv, both[1]);
    recv.submit();
    EXPECT_TRUE(turnUntil([&] {
      // A backend may hand out fewer buffers at once than there are.
      if (recv.wantsBuffers()) recv.resume();
      return recv.ended;
    }));
    EXPECT_EQ(recv.text, sent);
    EXPECT_EQ(recv.last(), 0);
    synchronous(OpKind::close, both[1]);
  }
}

struct SmallBuffers : ConnectionTest {
  SmallBuffers() : ConnectionTest(512, 128) {}
};
INSTANTIATE_TEST_SUITE_P(Backends, SmallBuffers, testing::Values(IoKind::uring, IoKind::epoll), backendName);

// More buffers than there are completions in a turn.
TEST_P(SmallBuffers, BulkThatHasPiledUpArrivesWholeAndNoRecvTakesMostBuffers) {
  const std::string sent(300 * 128 + 64, 'b');
  ASSERT_EQ(::send(client, sent.data(), sent.size(), MSG_DONTWAIT), static_cast<ssize_t>(sent.size()));
  Recorder recv(io, OpKind::recv, server);
  recv.op.bulk = true;
  recv.keeps = true;
  recv.submit();
  ASSERT_TRUE(turnUntil([&] {
    EXPECT_LE(buffers.lent(), buffers.count() / 4);
    if (buffers.lent() >= 64) recv.giveBack();
    if (recv.wantsBuffers()) recv.resume();
    return recv.text.size() == sent.size();
  }));
  EXPECT_EQ(recv.text, sent);
  recv.giveBack();
  if (!recv.ended) cancelAndWait(recv);
}

// Buffers that one kind of recv had all for a while come back to the other.
TEST_P(SmallBuffers, BulkGoesOnBehindManyBuffersOfTheOtherKind) {
  const std::string sent(200 * 128, 'm');
  Recorder common(io, OpKind::recv, server);
  common.submit();
  for (size_t round = 1; round <= 8; ++round) {
    ASSERT_EQ(::send(client, sent.data(), sent.size(), MSG_DONTWAIT), static_cast<ssize_t>(sent.size()));
    ASSERT_TRUE(turnUntil([&] {
      if (common.wantsBuffers()) common.resume();
      return common.text.size() == round * sent.size();
    }));
  }
  int both[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
  Recorder bulk(io, OpKind::recv, both[1]);
  bulk.op.bulk = true;
  bulk.submit();
  for (size_t round = 1; round <= 8; ++round) {
    ASSERT_EQ(::write(both[0], sent.data(), sent.size()), static_cast<ssize_t>(sent.size()));
    ASSERT_TRUE(turnUntil([&] {
      if (bulk.wantsBuffers()) bulk.resume();
      return bulk.text.size() == round * sent.size();
    })) << round;
  }
  if (!bulk.ended) cancelAndWait(bulk);
  if (!common.ended) cancelAndWait(common);
  ::close(both[0]);
  synchronous(OpKind::close, both[1]);
}

TEST_P(ConnectionTest, APollThatGathersLetsItsTimePassButNotMoreThanUntil) {
  Recorder recv(io, OpKind::recv, server);
  recv.submit();
  io.turn(0);
  ASSERT_EQ(::send(client, "a", 1, 0), 1);
  std::vector<Completion> completions(256);
  TimeNs before_ns = backend->now();
  size_t count = backend->poll(before_ns + 10 * ns_per_s, 30 * ns_per_ms, completions);
  ASSERT_EQ(count, 1u);
  EXPECT_EQ(completions[0].result, 1);
  EXPECT_GE(backend->now() - before_ns, 30 * ns_per_ms);
  recv.note(completions[0]);
  // Nothing comes: what the loop's timers ask for is kept.
  before_ns = backend->now();
  count = backend->poll(before_ns + 20 * ns_per_ms, 10 * ns_per_s, completions);
  EXPECT_EQ(count, 0u);
  EXPECT_GE(backend->now() - before_ns, 20 * ns_per_ms);
  EXPECT_LT(backend->now() - before_ns, 9 * ns_per_s);
  // Without anything to gather it waits on as ever.
  ASSERT_EQ(::send(client, "b", 1, 0), 1);
  EXPECT_EQ(backend->poll(backend->now() + 10 * ns_per_s, 0, completions), 1u);
  recv.note(completions[0]);
  EXPECT_EQ(recv.text, "ab");
  cancelAndWait(recv);
}

TEST_P(ConnectionTest, AGatheredSendKeepsItsOrder) {
  Recorder recv(io, OpKind::recv, server);
  recv.submit();
  Recorder op(io, OpKind::send, client);
  std::string parts[3] = {"one ", "two ", "three"};
  iovec vectors[3];
  for (int i = 0; i < 3; ++i) vectors[i] = {parts[i].data(), parts[i].size()};
  op.op.vectors = vectors;
  op.op.vector_count = 3;
  op.submit();
  EXPECT_TRUE(op.op.armed) << "also where the kernel took it at once: its completion has not been delivered";
  EXPECT_TRUE(turnUntil([&] { return op.ended && recv.text.size() == 13; }));
  EXPECT_FALSE(op.op.armed);
  EXPECT_EQ(recv.text, "one two three");
  cancelAndWait(recv);
}

TEST_P(ConnectionTest, WhatThePeerHasNotTakenIsKnown) {
  EXPECT_EQ(synchronous(OpKind::untaken, client), 0);
  std::string much(8 << 20, 'x');
  iovec vector{much.data(), much.size()};
  Recorder op(io, OpKind::send, client);
  op.op.vectors = &vector;
  op.op.vector_count = 1;
  op.submit();
  EXPECT_TRUE(turnUntil([&] { return synchronous(OpKind::untaken, client) > 0; }));
  std::string taken(1 << 16, ' ');
  EXPECT_TRUE(turnUntil([&] {
    while (::recv(server, taken.data(), taken.size(), MSG_DONTWAIT) > 0) continue;
    return op.ended && synchronous(OpKind::untaken, client) == 0;
  }));
}

TEST_P(ConnectionTest, AHalfClosedSideStillReceives) {
  Recorder at_server(io, OpKind::recv, server);
  at_server.submit();
  send(client, "last words");
  EXPECT_EQ(synchronous(OpKind::shutdown, client), 0);
  EXPECT_TRUE(turnUntil([&] { return at_server.ended; }));
  EXPECT_EQ(at_server.text, "last words");
  EXPECT_EQ(at_server.last(), 0);
  Recorder at_client(io, OpKind::recv, client);
  at_client.submit();
  send(server, "an answer");
  EXPECT_TRUE(turnUntil([&] { return at_client.text == "an answer"; }));
  cancelAndWait(at_client);
}

TEST_P(ConnectionTest, AResetIsAnErrorAndNoEnd) {
  Recorder recv(io, OpKind::recv, server);
  recv.submit();
  io.turn(0);
  EXPECT_EQ(synchronous(OpKind::close, client, true), 0);
  client = -1;
  EXPECT_TRUE(turnUntil([&] { return recv.ended; }));
  EXPECT_EQ(recv.last(), -ECONNRESET);
}

TEST_P(ConnectionTest, SendingToAClosedPeerIsAnErrorAndNoSignal) {
  synchronous(OpKind::close, server, true);
  server = -1;
  int32_t last = 0;
  EXPECT_TRUE(turnUntil([&] {
    Recorder op(io, OpKind::send, client);
    char byte = 'x';
    iovec vector{&byte, 1};
    op.op.vectors = &vector;
    op.op.vector_count = 1;
    op.submit();
    EXPECT_TRUE(turnUntil([&] { return op.ended; }));
    last = op.last();
    return last < 0;
  }));
  EXPECT_TRUE(last == -EPIPE || last == -ECONNRESET) << last;
}

TEST_P(ConnectionTest, ARecvThatIsCancelledAndArmedAgainLosesNothing) {
  Recorder recv(io, OpKind::recv, server);
  std::string sent;
  for (int i = 0; i < 20; ++i) {
    const std::string part(1000, static_cast<char>('a' + i));
    recv.submit();
    recv.ended = false;
    sent += part;
    if (i % 2 == 0) io.turn(0);
    send(client, part);
    cancelAndWait(recv);
  }
  recv.ended = false;
  recv.submit();
  EXPECT_TRUE(turnUntil([&] { return recv.text.size() == sent.size(); }));
  EXPECT_EQ(recv.text, sent);
  cancelAndWait(recv);
}

TEST_P(ConnectionTest, ASecondCancelChangesNothing) {
  Recorder recv(io, OpKind::recv, server);
  recv.submit();
  io.turn(0);
  io.cancel(recv.op);
  io.cancel(recv.op);
  EXPECT_TRUE(turnUntil([&] { return recv.ended; }));
  io.cancel(recv.op);
  turnFor(10);
  EXPECT_EQ(recv.results, (std::vector<int32_t>{-ECANCELED}));
}

TEST_P(ConnectionTest, ASendThatCannotGoOnIsCancelled) {
  const std::string much(1 << 20, 's');
  Recorder op(io, OpKind::send, client);
  iovec vector{const_cast<char*>(much.data()), much.size()};
  op.op.vectors = &vector;
  op.op.vector_count = 1;
  // Nobody reads, so that the kernel's buffers fill up.
  int64_t taken = 0;
  while (true) {
    op.ended = false;
    op.submit();
    if (!turnUntil([&] { return op.ended; }, 100)) break;
    ASSERT_GT(op.last(), 0);
    taken += op.last();
    ASSERT_LT(taken, int64_t{1} << 30);
  }
  io.cancel(op.op);
  EXPECT_TRUE(turnUntil([&] { return op.ended; }));
  EXPECT_TRUE(op.last() == -ECANCELED || op.last() > 0) << op.last();
}

struct FewBuffers : ConnectionTest {
  FewBuffers() : ConnectionTest(2) {}
};
INSTANTIATE_TEST_SUITE_P(Backends, FewBuffers, testing::Values(IoKind::uring, IoKind::epoll), backendName);

TEST_P(FewBuffers, WithoutABufferRecvSaysSoAndGoesOnWhenOneIsBack) {
  Recorder recv(io, OpKind::recv, server);
  recv.keeps = true;
  recv.submit();
  const std::string sent(5 * 4096, 'n');
  send(client, sent);
  EXPECT_TRUE(turnUntil([&] {
    if (recv.ended && recv.last() > 0) recv.resume();
    return recv.ended;
  }));
  EXPECT_EQ(recv.last(), -ENOBUFS);
  EXPECT_EQ(buffers.lent(), 2u);
  EXPECT_EQ(recv.text.size(), 2u * 4096);
  struct Waiter final : BufferPool::Waiter {
    int woken = 0;
    bool onBuffer() override {
      woken += 1;
      return true;
    }
  } first, second;
  for (Waiter* waiter : {&first, &second}) {
    buffers.wait(*waiter);
  }
  EXPECT_EQ(first.woken, 0);
  recv.giveBack();
  EXPECT_EQ(first.woken, 1);
  EXPECT_EQ(second.woken, 1);
  recv.keeps = false;
  EXPECT_TRUE(turnUntil([&] {
    // Buffers may run out again before those of this turn are back.
    if (recv.wantsBuffers()) recv.resume();
    return recv.text.size() == sent.size();
  }));
  EXPECT_EQ(recv.text, sent);
  if (!recv.ended) cancelAndWait(recv);
}

struct ReserveTest : IoTest {
  ReserveTest() : IoTest(8, 4096, 2) {}
  // A socket on which a byte has come, and a recv that keeps its buffer.
  Recorder& receive(bool from_reserve) {
    int both[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
    fds.push_back(both[0]);
    fds.push_back(both[1]);
    recvs.push_back(std::make_unique<Recorder>(io, OpKind::recv, both[0]));
    Recorder& recv = *recvs.back();
    recv.keeps = recv.op.single = true;
    recv.op.from_reserve = from_reserve;
    EXPECT_EQ(::send(both[1], "x", 1, 0), 1);
    recv.submit();
    EXPECT_TRUE(turnUntil([&] { return recv.ended; }));
    return recv;
  }
  void TearDown() override {
    for (auto& recv : recvs) recv->giveBack();
    for (int fd : fds) synchronous(OpKind::close, fd);
  }
  std::vector<int> fds;
  std::vector<std::unique_ptr<Recorder>> recvs;
};
INSTANTIATE_TEST_SUITE_P(Backends, ReserveTest, testing::Values(IoKind::uring, IoKind::epoll), backendName);

TEST_P(ReserveTest, WhatIsKeptIsForWhoMayUseItAndIsFilledAgainFirst) {
  for (int i = 0; i < 6; ++i) EXPECT_EQ(receive(false).text, "x");
  EXPECT_EQ(receive(false).last(), -ENOBUFS);
  EXPECT_EQ(receive(true).text, "x");
  EXPECT_EQ(receive(true).text, "x");
  EXPECT_EQ(receive(true).last(), -ENOBUFS);
  EXPECT_EQ(buffers.lent(), 8u);
  struct Waiter final : BufferPool::Waiter {
    explicit Waiter(std::string& to, char as) : said(to), name(as) {}
    bool onBuffer() override {
      said += name;
      return true;
    }
    std::string& said;
    char name;
  };
  std::string said;
  Waiter client(said, 'c'), backend_one(said, 'b');
  buffers.wait(client);
  buffers.wait(backend_one, true);
  recvs[0]->giveBack();
  EXPECT_EQ(said, "b") << "connections to backends come first";
  recvs[1]->giveBack();
  EXPECT_EQ(said, "b") << "the reserve comes first";
  turnFor(1);
  recvs[2]->giveBack();
  EXPECT_EQ(said, "bc");
  EXPECT_EQ(receive(false).text, "x");
  EXPECT_EQ(receive(false).last(), -ENOBUFS);
}

TEST_P(IoTest, OtherThreadsCompleteOpsThroughTheMailbox) {
  constexpr int per_thread = 500;
  struct Box {
    int arrived = 0;
  } box;
  std::vector<Op> ops(2 * per_thread);
  for (Op& op : ops) {
    op.kind = OpKind::message;
    op.owner = &box;
    op.on_complete = [](void* self, const Completion& completion) {
      static_cast<Box*>(self)->arrived += completion.result;
    };
    io.submit(op);
  }
  std::thread threads[2];
  for (int t = 0; t < 2; ++t) {
    threads[t] = std::thread([&, t] {
      for (int i = 0; i < per_thread; ++i) mailbox.post(ops[static_cast<size_t>(t * per_thread + i)], 1);
    });
  }
  EXPECT_TRUE(turnUntil([&] { return box.arrived == 2 * per_thread; }));
  for (std::thread& thread : threads) thread.join();
  for (Op& op : ops) EXPECT_FALSE(op.armed);
}

TEST_P(IoTest, APostWakesALoopThatSleeps) {
  Recorder message(io, OpKind::message, -1);
  message.submit();
  io.turn(0);
  std::thread poster([&] { mailbox.post(message.op, 7); });
  const TimeNs before = backend->now();
  while (!message.ended) io.turn(io.nowNs() + 10 * ns_per_s);
  poster.join();
  EXPECT_EQ(message.last(), 7);
  EXPECT_LT(backend->now() - before, 9 * ns_per_s);
}

TEST_P(IoTest, AMessageThatIsCancelledComesOnce) {
  Recorder message(io, OpKind::message, -1);
  message.submit();
  io.cancel(message.op);
  EXPECT_TRUE(turnUntil([&] { return message.ended; }));
  EXPECT_EQ(message.results, (std::vector<int32_t>{-ECANCELED}));
}

// epoll watches no file; a limit of the kernel has the same effect.
TEST_P(IoTest, ADescriptorThatCannotBeWatchedIsAnErrorOfWhatIsDoneWithIt) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  Recorder recv(io, OpKind::recv, ::fileno(file));
  Recorder accept(io, OpKind::accept, ::fileno(file));
  for (Recorder* one : {&recv, &accept}) {
    one->submit();
    ASSERT_TRUE(turnUntil([&] { return one->ended; }));
    EXPECT_LT(one->last(), 0);
    one->submit();
    io.cancel(one->op);
    ASSERT_TRUE(turnUntil([&] { return one->ended && one->results.size() == 2; }));
  }
  std::fclose(file);
}

// The table of descriptors has an end that the process' limit may lie beyond.
TEST(Epoll, ADescriptorForWhichThereIsNoPlaceIsAnErrorOfWhatIsDoneWithIt) {
  BufferPool buffers(8, 4096);
  Mailbox mailbox;
  auto small = makeEpollBackend(buffers, mailbox, nullptr, 64);
  ASSERT_TRUE(small);
  Io io(**small, buffers, {.frames = FrameCounts::evenly(16)});
  int both[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
  const int beyond = ::fcntl(both[0], F_DUPFD_CLOEXEC, 100);
  ASSERT_GE(beyond, 100);
  char byte = 'x';
  iovec vector{&byte, 1};
  Recorder recv(io, OpKind::recv, beyond);
  Recorder send(io, OpKind::send, beyond);
  send.op.vectors = &vector;
  send.op.vector_count = 1;
  for (Recorder* one : {&recv, &send}) {
    one->submit();
    io.cancel(one->op);
    io.turn(0);
    EXPECT_EQ(one->results, std::vector<int32_t>{-EMFILE});
  }
  // All that have a place are taken, so the next are beyond them.
  std::vector<int> fillers;
  while (fillers.empty() || fillers.back() < 64) fillers.push_back(::dup(both[1]));
  sockaddr_storage address{};
  reinterpret_cast<sockaddr_in&>(address) = {
      .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  Recorder connect(io, OpKind::connect, -1);
  connect.op.address = &address;
  connect.submit();
  io.turn(0);
  EXPECT_EQ(connect.results, std::vector<int32_t>{-EMFILE});
  Op close;
  close.kind = OpKind::close;
  close.fd = beyond;
  io.submit(close);
  for (const int fd : fillers) ::close(fd);
  for (const int fd : both) ::close(fd);
}

// More than the ring holds, while the kernel takes none. Nothing waits for that, and nothing is lost.
TEST_P(IoTest, OperationsThatTheKernelDoesNotTakeNowAreTakenLater) {
  if (GetParam() != IoKind::uring) return;
  int both[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
  std::vector<std::unique_ptr<Recorder>> recvs;
  submitting_fails = true;
  for (int i = 0; i < 5000; ++i) {
    recvs.push_back(std::make_unique<Recorder>(io, OpKind::recv, both[0]));
    recvs.back()->submit();
  }
  io.cancel(recvs.front()->op);  // in the ring, where there is no room for the cancellation
  io.cancel(recvs.back()->op);   // not in it
  ASSERT_TRUE(turnUntil([&] { return recvs.front()->ended && recvs.back()->ended; }));
  submitting_fails = false;
  EXPECT_GT(failed_submits, 0);
  EXPECT_EQ(recvs.front()->last(), -ECANCELED);
  EXPECT_EQ(recvs.back()->last(), -ECANCELED);
  ::shutdown(both[1], SHUT_WR);
  EXPECT_TRUE(turnUntil([&] { return std::ranges::all_of(recvs, [](const auto& one) { return one->ended; }); }));
  EXPECT_EQ(recvs[2500]->results, std::vector<int32_t>{0});
  for (const int fd : both) synchronous(OpKind::close, fd);
}

TEST_P(IoTest, MoreCompletionsThanOneTurnTakesAreNotLost) {
  std::vector<int> pairs;
  std::vector<std::unique_ptr<Recorder>> sends;
  char byte = 'x';
  iovec vector{&byte, 1};
  for (int i = 0; i < 400; ++i) {
    int both[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
    pairs.push_back(both[0]);
    pairs.push_back(both[1]);
    sends.push_back(std::make_unique<Recorder>(io, OpKind::send, both[0]));
    sends.back()->op.vectors = &vector;
    sends.back()->op.vector_count = 1;
    sends.back()->submit();
  }
  io.turn(0);
  for (auto& one : sends) {
    if (!one->ended) EXPECT_TRUE(one->op.armed);
  }
  EXPECT_TRUE(turnUntil([&] {
    for (auto& one : sends) {
      if (!one->ended) return false;
    }
    return true;
  }));
  for (auto& one : sends) EXPECT_EQ(one->results, (std::vector<int32_t>{1}));
  for (int fd : pairs) synchronous(OpKind::close, fd);
}

}  // namespace
}  // namespace plait::io_test
