// Sending: when output leaves, in which pieces, and which memory it holds meanwhile.
#include "plait/net/sock_output.h"

#include "plait/net/sock_test.h"

namespace plait {
namespace {

using namespace sock_test;

struct SockOutputTest : SockTest {};
INSTANTIATE_TEST_SUITE_P(Backends, SockOutputTest, allKinds(), kindName);

TEST_P(SockOutputTest, WhatOneTurnWritesArrivesOnceAndInOrder) {
  open();
  server.read(scope);
  std::string sent;
  for (int i = 0; i < 200; ++i) {
    const std::string part(static_cast<size_t>(1 + i * 13), static_cast<char>('a' + i % 26));
    client.write(part);
    sent += part;
  }
  ASSERT_TRUE(turnUntil([&] { return server.text.size() >= sent.size(); }));
  turnFor(10);
  EXPECT_EQ(server.text, sent);
  EXPECT_EQ(client.sock.unsent(), 0u);
  EXPECT_GE(client.owner.drained, 1);
}

TEST_P(SockOutputTest, WithoutAnArrayForManyBlocksTheyLeaveOneByOne) {
  open();
  std::vector<void*> taken;
  while (void* array = io.vectorArrays().take()) taken.push_back(array);
  server.read(scope);
  std::string sent;
  for (int i = 0; i < 20; ++i) sent += std::string(10'000, static_cast<char>('a' + i));
  client.write(sent);
  EXPECT_TRUE(turnUntil([&] { return server.text.size() >= sent.size(); }));
  EXPECT_EQ(server.text, sent);
  for (void* array : taken) io.vectorArrays().give(array);
}

TEST_P(SockOutputTest, FlushingTwiceInOneTurnSendsNothingTwice) {
  open();
  server.read(scope);
  // The first drain makes its task ready while flushing; what the task writes is flushed in the same turn.
  struct Writer {
    static Task<void> run(Side& side, Io& io) {
      side.write("first ");
      for (int i = 0; i < 20; ++i) {
        co_await side.sock.drain(io.nowNs() + ns_per_s, io);
        side.write("again ");
        side.sock.flushLater();
      }
    }
  };
  scope.spawn(Writer::run(client, io), io);
  std::string expected = "first ";
  for (int i = 0; i < 20; ++i) expected += "again ";
  ASSERT_TRUE(turnUntil([&] { return server.text.size() >= expected.size(); }));
  turnFor(10);
  EXPECT_EQ(server.text, expected);
}

TEST_P(SockOutputTest, WhereBlocksAreScarceAPeerThatDoesNotReadHoldsOneBlock) {
  open();
  std::vector<void*> taken;
  while (!send_blocks.isScarce()) taken.push_back(send_blocks.take());
  const std::string some(4096, 's');
  const auto fill = [&] {
    (void)client.sock.output().appendSome(asBytes(some), some.size());
    client.sock.flushLater();
    io.turn(io.nowNs() + ns_per_ms);
  };
  // Until the kernel takes no more, and then some.
  for (uint64_t sent = UINT64_MAX; sent != client.sock.bytesSent();) {
    sent = client.sock.bytesSent();
    for (int i = 0; i < 200; ++i) fill();
  }
  EXPECT_GT(client.sock.unsent(), 0u);
  EXPECT_EQ(send_blocks.used() - taken.size(), 1u);
  for (void* block : taken) send_blocks.give(block);
}

}  // namespace
}  // namespace plait
