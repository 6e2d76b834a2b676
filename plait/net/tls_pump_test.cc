// TLS in a socket that finds no block for a record or for its ciphertext.
#include "plait/net/tls_pump.h"

#include "plait/net/sock_test.h"

namespace plait {
namespace {

using namespace sock_test;

struct TlsPumpTest : SockTest {};
INSTANTIATE_TEST_SUITE_P(Backends, TlsPumpTest, tlsKinds(), kindName);

// A socket with TLS that has no block to encrypt into is not one that has nothing to send.
TEST_P(TlsPumpTest, OutputForWhoseCiphertextThereIsNoBlockWaitsWithoutTurningTheLoop) {
  open();
  server.read(scope);
  client.write("starving");
  std::vector<void*> taken;
  while (void* block = send_blocks.take()) taken.push_back(block);
  scope.spawn(Side::drainNow(client, io.nowNs() + 5 * ns_per_s, io), io);
  int turns = 0;
  uint32_t rounds = 0;
  const TimeNs until = backend->now() + 120 * ns_per_ms;
  while (backend->now() < until) {
    io.turn(until);
    turns += 1;
    rounds = std::max(rounds, io.roundsOfTurn());
  }
  EXPECT_LT(turns, 30) << "it looks again now and then";
  EXPECT_LT(rounds, 10u);
  EXPECT_FALSE(client.is_drained);
  EXPECT_EQ(server.text, "");
  for (void* block : taken) send_blocks.give(block);
  EXPECT_TRUE(turnUntil([&] { return client.is_drained && server.text == "starving"; }));
  EXPECT_FALSE(client.sock.isAborted());
}

TEST_P(TlsPumpTest, AGracefulCloseForWhichThereIsNoBlockEnds) {
  open();
  client.write("starving");
  std::vector<void*> taken;
  while (void* block = send_blocks.take()) taken.push_back(block);
  scope.spawn(Side::closeNow(client, true, io, UINT32_MAX, 200), io);
  EXPECT_TRUE(turnUntil([&] { return client.is_closed; }, 3000));
  EXPECT_EQ(client.sock.error().code, ErrorCode::stalled);
  for (void* block : taken) send_blocks.give(block);
}

// Of what is left to others a client takes nothing, but for what was its own already.
TEST_P(TlsPumpTest, PlaintextIsEncryptedIntoWhatIsLeftToOthersForItGivesABlockBack) {
  client.sock.leaveToOthers(100);
  open();
  server.read(scope);
  std::vector<void*> taken;
  while (send_blocks.available() > 101) taken.push_back(send_blocks.take());
  EXPECT_GT(client.sock.output().bulkRoom(), 0u);
  client.write("the last one");
  EXPECT_LT(client.sock.output().room(), 16u << 10) << "it has its one block";
  taken.push_back(send_blocks.take());
  EXPECT_TRUE(turnUntil([&] { return server.text == "the last one"; }));
  for (void* block : taken) send_blocks.give(block);
}

struct ScarceTlsTest : ScarceTest {};
INSTANTIATE_TEST_SUITE_P(Backends, ScarceTlsTest, tlsKinds(), kindName);

TEST_P(ScarceTlsTest, AReaderForWhoseRecordThereIsNoBlockWaitsForOne) {
  open();
  std::vector<void*> blocks;
  while (void* block = record_blocks.take()) blocks.push_back(block);
  server.read(scope);
  client.write("late");
  turnFor(30);
  EXPECT_EQ(server.text, "");
  EXPECT_TRUE(server.reading);
  for (void* block : blocks) record_blocks.give(block);
  EXPECT_TRUE(turnUntil([&] { return server.text == "late"; }));
  server.sock.stopReading();
  EXPECT_TRUE(turnUntil([&] { return !server.reading; }));
}

}  // namespace
}  // namespace plait
