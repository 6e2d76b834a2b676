#include "plait/net/tls_arena.h"

#include <gtest/gtest.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "plait/net/tls.h"
#include "plait/net/tls_test_certs.h"

namespace plait {
namespace {

// Before main, and so before any test has used OpenSSL.
const bool is_installed = installTlsArena();

// Runs `body` on a thread of its own, on which `arena` is bound.
template <class Body>
void onWorker(TlsArena& arena, Body body) {
  std::thread([&] {
    TlsArena::bind(&arena);
    body();
    TlsArena::bind(nullptr);
  }).join();
}

TEST(TlsArena, IsInstalledOnce) {
  EXPECT_TRUE(is_installed);
  EXPECT_TRUE(installTlsArena());
}

TEST(TlsArena, ServesOpenSslAndTakesEverythingBack) {
  TlsArena arena(1 << 20);
  onWorker(arena, [&] {
    std::vector<void*> blocks;
    for (const size_t size : {1, 16, 17, 100, 1000, 16'384, 16'800, 100'000}) {
      void* block = OPENSSL_malloc(size);
      ASSERT_NE(block, nullptr) << size;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 16, 0u);
      std::memset(block, 0xa5, size);
      blocks.push_back(block);
    }
    EXPECT_EQ(arena.allocations(), blocks.size());
    EXPECT_GT(arena.liveBytes(), 134'000u);
    for (void* block : blocks) OPENSSL_free(block);
    EXPECT_EQ(arena.liveBytes(), 0u);
    EXPECT_GT(arena.peakBytes(), 134'000u);
    const size_t peak = arena.peakBytes();
    for (int i = 0; i < 1000; ++i) OPENSSL_free(OPENSSL_malloc(50'000));
    EXPECT_EQ(arena.peakBytes(), peak);
  });
}

TEST(TlsArena, ABlockThatWasFreedServesTheNextOfItsSize) {
  TlsArena arena(1 << 20);
  onWorker(arena, [&] {
    for (size_t size = 1; size <= 20'000; size += size < 200 ? 1 : 97) {
      void* const block = OPENSSL_malloc(size);
      OPENSSL_free(block);
      void* const next = OPENSSL_malloc(size);
      EXPECT_EQ(next, block) << size;
      OPENSSL_free(next);
    }
  });
}

TEST(TlsArena, KeepsWhatWasWrittenWhenABlockGrows) {
  TlsArena arena(1 << 20);
  onWorker(arena, [&] {
    auto* bytes = static_cast<uint8_t*>(OPENSSL_malloc(1));
    bytes[0] = 0;
    for (size_t size = 2; size < 60'000; size = size * 5 / 4 + 1) {
      bytes = static_cast<uint8_t*>(OPENSSL_realloc(bytes, size));
      ASSERT_NE(bytes, nullptr);
      ASSERT_EQ(bytes[0], 0);
      ASSERT_EQ(bytes[size / 2 > 40 ? 40 : 0], size / 2 > 40 ? 40 : 0);
      for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i);
    }
    OPENSSL_free(bytes);
    EXPECT_EQ(arena.liveBytes(), 0u);
  });
}

TEST(TlsArena, AnswersNullWhenItIsAtItsEndAndGoesOnAfterwards) {
  TlsArena arena(128 * 1024);
  onWorker(arena, [&] {
    std::vector<void*> blocks;
    while (void* block = OPENSSL_malloc(1000)) blocks.push_back(block);
    EXPECT_GT(blocks.size(), 90u);
    EXPECT_EQ(arena.refusals(), 1u);
    EXPECT_EQ(OPENSSL_malloc(TlsArena::max_block), nullptr);
    EXPECT_EQ(OPENSSL_malloc(SIZE_MAX), nullptr);
    for (void* block : blocks) OPENSSL_free(block);
    // Smaller requests may use the blocks that larger ones left.
    void* small = OPENSSL_malloc(10);
    EXPECT_NE(small, nullptr);
    OPENSSL_free(small);
    EXPECT_EQ(arena.liveBytes(), 0u);
  });
}

TEST(TlsArena, TakesBackWhatAnotherThreadFreed) {
  TlsArena arena(1 << 20);
  onWorker(arena, [&] {
    for (int round = 0; round < 50; ++round) {
      std::vector<void*> blocks;
      for (int i = 0; i < 100; ++i) blocks.push_back(OPENSSL_malloc(500));
      std::thread first([&] {
        for (size_t i = 0; i < 50; ++i) OPENSSL_free(blocks[i]);
      });
      std::thread second([&] {
        for (size_t i = 50; i < 100; ++i) OPENSSL_free(blocks[i]);
      });
      // The owner goes on while the others give back.
      for (int i = 0; i < 200; ++i) OPENSSL_free(OPENSSL_malloc(500));
      first.join();
      second.join();
    }
    OPENSSL_free(OPENSSL_malloc(1));
    EXPECT_EQ(arena.liveBytes(), 0u);
    EXPECT_LT(arena.peakBytes(), 300u * 640);
  });
}

TEST(TlsArena, LeavesMallocBlocksToMalloc) {
  void* before = OPENSSL_malloc(100);
  TlsArena arena(1 << 20);
  void* inside = nullptr;
  onWorker(arena, [&] {
    before = OPENSSL_realloc(before, 50);
    OPENSSL_free(before);
    EXPECT_EQ(arena.allocations(), 0u);
    inside = OPENSSL_malloc(100);
  });
  // A thread without an arena may use and free it, and what it grows into is malloc's.
  inside = OPENSSL_realloc(inside, 5000);
  std::memset(inside, 1, 5000);
  OPENSSL_free(inside);
}

TEST(TlsArena, LetsBlocksOutliveIt) {
  void* kept = nullptr;
  {
    TlsArena arena(1 << 20);
    onWorker(arena, [&] { kept = OPENSSL_malloc(100); });
  }
  std::memset(kept, 1, 100);
  OPENSSL_free(kept);
}

TEST(TlsArena, MemoryThatWasCutIntoLargeBlocksServesSmallOnesAndTheOtherWayRound) {
  constexpr size_t size = 4 << 20;
  TlsArena arena(size);
  onWorker(arena, [&] {
    const auto fill = [&](size_t block_size) {
      std::vector<void*> blocks;
      while (void* block = OPENSSL_malloc(block_size)) {
        std::memset(block, 0x5a, block_size);
        blocks.push_back(block);
      }
      EXPECT_GT(arena.liveBytes(), size * 15 / 16) << block_size;
      // In no order.
      std::shuffle(blocks.begin(), blocks.end(), std::mt19937(block_size));
      for (void* block : blocks) OPENSSL_free(block);
      EXPECT_EQ(arena.liveBytes(), 0u);
    };
    for (const size_t block_size : {170'000, 100, 17'000, 1'000, 250'000, 40}) fill(block_size);
  });
}

TEST(TlsArena, BlocksOfAllSizesComeAndGoWithoutTouchingEachOther) {
  TlsArena arena(2 << 20);
  onWorker(arena, [&] {
    std::mt19937 random(11);
    struct Held {
      uint8_t* block;
      size_t size;
      uint8_t mark;
    };
    std::vector<Held> held;
    const auto isWhole = [](const Held& one) {
      return std::all_of(one.block, one.block + one.size, [&](uint8_t byte) { return byte == one.mark; });
    };
    for (int i = 0; i < 60'000; ++i) {
      const size_t bits = 4 + random() % 13;
      const size_t size = 1 + random() % (size_t{1} << bits);
      auto* block = static_cast<uint8_t*>(OPENSSL_malloc(size));
      if (block != nullptr) {
        held.push_back({block, size, static_cast<uint8_t>(i)});
        std::memset(block, static_cast<uint8_t>(i), size);
      }
      // More comes than goes, until there is no memory for more.
      for (size_t frees = block == nullptr ? held.size() / 2 : random() % 3 / 2; frees != 0; --frees) {
        std::swap(held[random() % held.size()], held.back());
        ASSERT_TRUE(isWhole(held.back()));
        OPENSSL_free(held.back().block);
        held.pop_back();
        if (held.empty()) break;
      }
    }
    for (const Held& one : held) {
      ASSERT_TRUE(isWhole(one));
      OPENSSL_free(one.block);
    }
    EXPECT_EQ(arena.liveBytes(), 0u);
    EXPECT_GT(arena.refusals(), 0u);
  });
}

// A handshake between two sessions on one thread; how far it came.
struct Handshake {
  BlockSlab blocks{16 * 1024, 64};
  ByteQueue client_out{blocks};
  ByteQueue server_out{blocks};

  Status run(TlsContext& client_context, TlsContext& server_context) {
    TlsSession client(client_context, client_out, "localhost");
    TlsSession server(server_context, server_out, "");
    std::vector<uint8_t> to_client, to_server;
    for (int i = 0; i < 20; ++i) {
      const auto client_step = client.handshake();
      if (!client_step) return fail(client_step.error());
      if (!move(client_out, to_server, server)) continue;
      const auto server_step = server.handshake();
      if (!server_step) return fail(server_step.error());
      if (*client_step == TlsSession::Step::done && *server_step == TlsSession::Step::done) return {};
      move(server_out, to_client, client);
    }
    return fail(connectionError(ErrorCode::stalled, "the handshake does not end"));
  }
  static bool move(ByteQueue& from, std::vector<uint8_t>& wire, TlsSession& to) {
    wire.clear();
    while (!from.empty()) {
      wire.insert(wire.end(), from.front().begin(), from.front().end());
      from.consume(from.front().size());
    }
    if (!wire.empty()) to.feed(wire);
    return !wire.empty();
  }
};

TEST(TlsArena, CarriesHandshakesAndFailsThemCleanlyWhenItIsTooSmall) {
  const TestCerts certs;
  auto server = TlsContext::makeServer({certs.path("server.pem"), certs.path("server.key")});
  auto client = TlsContext::makeClient({.ca_file = certs.path("ca.pem")});
  ASSERT_TRUE(server && client);
  int failed = 0, done = 0;
  for (size_t size = 0; size <= 400 * 1024; size += 4096) {
    TlsArena arena(size);
    onWorker(arena, [&] {
      const auto status = Handshake().run(**client, **server);
      (status ? done : failed) += 1;
    });
  }
  EXPECT_GT(failed, 5);
  EXPECT_GT(done, 5);
  // Nothing that was cut short has spoilt what the process shares.
  TlsArena arena(4 << 20);
  onWorker(arena, [&] {
    for (int i = 0; i < 20; ++i) {
      const auto status = Handshake().run(**client, **server);
      EXPECT_TRUE(status) << status.error().reason;
    }
    RecordProperty("allocations_per_handshake", static_cast<int>(arena.allocations() / 20));
    EXPECT_EQ(arena.refusals(), 0u);
  });
}

}  // namespace
}  // namespace plait
