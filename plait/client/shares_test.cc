#include "plait/client/shares.h"

#include <gtest/gtest.h>

#include <map>

#include "plait/base/random.h"

namespace plait {
namespace {

constexpr uint32_t endpoint = 3;

// Takes as many streams of 1,024 as it may.
struct Endpoint {
  ShareTable table{4096, 7};
  uint32_t addresses = 0;
  uint32_t used = 0;
  static constexpr uint32_t streams = 1024;

  bool take(const ClientKey& client, bool is_small = false) {
    if (!table.mayTake(endpoint, {client, is_small}, addresses, streams, streams - used)) return false;
    table.add(endpoint, client, addresses);
    used += 1;
    return true;
  }
  void takeAll(const ClientKey& client) {
    while (take(client)) {
    }
  }
};

TEST(Shares, ManyAddressesThatComeOneAfterTheOtherLeaveRoomForASmallRequest) {
  Endpoint at;
  for (uint64_t client = 1; client <= 200; ++client) at.takeAll({client, client});
  EXPECT_EQ(at.used, 1024u - 32);
  EXPECT_FALSE(at.take({300, 300})) << "the last part is for small requests";
  EXPECT_TRUE(at.take({300, 300}, true));
  EXPECT_TRUE(at.take({300, 300}, true));
  EXPECT_FALSE(at.take({300, 300}, true)) << "of clients that hold next to nothing";
  EXPECT_FALSE(at.take({1, 1}, true));
}

TEST(Shares, ConnectionsOfOneAddressAreToldApartAndLeaveRoomToOtherAddresses) {
  Endpoint at;
  for (uint64_t connection = 1; connection <= 200; ++connection) at.takeAll({9, connection});
  EXPECT_TRUE(at.take({9, 300}, true)) << "another connection of the same address";
  for (uint64_t connection = 301; connection <= 600; ++connection) (void)at.take({9, connection}, true);
  EXPECT_EQ(at.used, 1024u - 16) << "the very last are for other addresses";
  EXPECT_TRUE(at.take({8, 1000}, true));
}

TEST(Shares, AClientAboveItsShareIsRefusedBeforeOneBelow) {
  Endpoint at;
  at.takeAll({1, 1});
  EXPECT_EQ(at.used, 896u);
  EXPECT_TRUE(at.take({2, 3}));
  EXPECT_FALSE(at.take({1, 2})) << "its address has all the rest";
  EXPECT_TRUE(at.take({2, 3}));
}

TEST(Shares, AnEndpointOfOneStreamIsForEverybody) {
  ShareTable table(16, 7);
  EXPECT_TRUE(table.mayTake(0, {{1, 1}, false}, 0, 1, 1));
  EXPECT_FALSE(table.mayTake(0, {{1, 1}, true}, 0, 1, 0));
}

TEST(Shares, WhatIsCountedIsCountedBack) {
  ShareTable table(64, 11);
  std::map<std::pair<uint32_t, std::pair<uint64_t, uint64_t>>, uint32_t> naive;
  uint32_t addresses[4] = {};
  Random random(5);
  uint32_t total = 0;
  for (int i = 0; i < 100'000; ++i) {
    const uint32_t which = random.below(4);
    const ClientKey key{1 + random.below(5), 1 + random.below(12)};
    auto& count = naive[{which, {key.address, key.connection}}];
    if (total < 60 && random.below(2) == 0) {
      table.add(which, key, addresses[which]);
      count += 1;
      total += 1;
    } else if (count != 0) {
      table.remove(which, key, addresses[which]);
      count -= 1;
      total -= 1;
    }
  }
  for (auto& [key, count] : naive) {
    for (; count != 0; --count) table.remove(key.first, {key.second.first, key.second.second}, addresses[key.first]);
  }
  EXPECT_EQ(table.used(), 0u);
  for (const uint32_t count : addresses) EXPECT_EQ(count, 0u);
}

}  // namespace
}  // namespace plait
