#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "plait/base/byte_queue.h"
#include "plait/base/list.h"
#include "plait/base/random.h"
#include "plait/base/ring.h"
#include "plait/base/slab.h"

namespace plait {
namespace {

struct Item {
  int number = 0;
  ListNode node;
};
using Items = List<Item, &Item::node>;

TEST(List, KeepsOrderAndUnlinksFromTheMiddle) {
  Item a{1}, b{2}, c{3};
  Items items;
  items.pushBack(b);
  items.pushFront(a);
  items.pushBack(c);
  EXPECT_EQ(items.front(), &a);
  EXPECT_EQ(items.back(), &c);
  EXPECT_EQ(items.next(a), &b);
  b.node.unlink();
  EXPECT_EQ(items.next(a), &c);
  EXPECT_EQ(items.next(c), nullptr);
  items.insert(c, b);
  EXPECT_EQ(items.popFront(), &a);
  EXPECT_EQ(items.popFront(), &b);
  EXPECT_EQ(items.popFront(), &c);
  EXPECT_EQ(items.popFront(), nullptr);
}

TEST(List, SplicesAllNodesBehindOurs) {
  Item a{1}, b{2}, c{3};
  Items first, second;
  first.pushBack(a);
  second.pushBack(b);
  second.pushBack(c);
  first.spliceBack(second);
  EXPECT_TRUE(second.empty());
  first.spliceBack(second);
  EXPECT_EQ(first.popFront(), &a);
  EXPECT_EQ(first.popFront(), &b);
  EXPECT_EQ(first.popFront(), &c);
}

TEST(ListDeathTest, RefusesDoubleInsertion) {
  EXPECT_DEATH(
      {
        Item a;
        Items items;
        items.pushBack(a);
        items.pushBack(a);
      },
      "isLinked");
}

TEST(ListDeathTest, RefusesDeathWhileLinked) {
  EXPECT_DEATH(
      {
        Items items;
        {
          Item a;
          items.pushBack(a);
        }
      },
      "isLinked");
}

TEST(BlockSlab, SpreadsLargeBlocksOverTheSetsOfTheCaches) {
  constexpr size_t line = 64;
  for (const size_t size : {256u, 2048u, 4096u, 16384u}) {
    BlockSlab slab(size, 4);
    auto* a = static_cast<uint8_t*>(slab.take());
    auto* b = static_cast<uint8_t*>(slab.take());
    EXPECT_EQ(slab.blockSize(), size);
    EXPECT_GE(static_cast<size_t>(b - a), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a) % line, 0u);
    EXPECT_EQ(static_cast<size_t>(b - a) % line, 0u);
    EXPECT_EQ(static_cast<size_t>(b - a) / line % 2, 1u) << "an even number of lines returns to the same sets";
    EXPECT_GE(slab.reservedBytes(), size * 4);
    slab.give(a);
    slab.give(b);
  }
}

#if __has_feature(address_sanitizer)
TEST(BlockSlab, AFreeBlockMustNotBeTouched) {
  BlockSlab slab(64, 2);
  auto* block = static_cast<uint8_t*>(slab.take());
  EXPECT_FALSE(__asan_address_is_poisoned(block));
  slab.give(block);
  EXPECT_TRUE(__asan_address_is_poisoned(block));
  EXPECT_TRUE(__asan_address_is_poisoned(block + 63));
  EXPECT_EQ(slab.take(), block);
  EXPECT_FALSE(__asan_address_is_poisoned(block + 63));
}

TEST(Slab, AnObjectThatIsGoneMustNotBeTouchedButForItsGeneration) {
  struct Object {
    uint64_t words[4];
  };
  Slab<Object> slab(2);
  Object* object = slab.create();
  const Handle<Object> handle = slab.handleOf(object);
  slab.destroy(object);
  EXPECT_TRUE(__asan_address_is_poisoned(&object->words[0]));
  EXPECT_TRUE(__asan_address_is_poisoned(&object->words[3]));
  EXPECT_EQ(slab.find(handle), nullptr);
}
#endif

TEST(BlockSlab, RunsDryAndHandsOutTheLastReturnedFirst) {
  BlockSlab slab(64, 2);
  void* a = slab.take();
  void* b = slab.take();
  ASSERT_NE(a, nullptr);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(slab.take(), nullptr);
  EXPECT_EQ(slab.available(), 0u);
  slab.give(a);
  slab.give(b);
  EXPECT_EQ(slab.take(), b);
  EXPECT_EQ(slab.peak(), 2u);
  EXPECT_EQ(slab.used(), 1u);
  EXPECT_TRUE(slab.contains(a));
  slab.give(b);
}

TEST(Slab, AStaleHandleFindsAnotherGeneration) {
  Slab<std::string> slab(1);
  std::string* text = slab.create("one");
  ASSERT_NE(text, nullptr);
  EXPECT_EQ(slab.create("two"), nullptr);
  const uint32_t generation = slab.generation(text);
  EXPECT_EQ(generation % 2, 1u);
  slab.destroy(text);
  EXPECT_NE(slab.generation(text), generation);
  std::string* again = slab.create("three");
  EXPECT_EQ(again, text);
  EXPECT_NE(slab.generation(again), generation);
  slab.destroy(again);
  EXPECT_EQ(slab.used(), 0u);
}

TEST(Slab, AStaleHandleFindsNothingEvenIfItsPlaceHasAnotherTenant) {
  Slab<std::string> slab(2);
  EXPECT_EQ(slab.find({}), nullptr) << "no object at all";
  std::string* text = slab.create("one");
  const Handle<std::string> handle = slab.handleOf(text);
  const uint32_t index = slab.indexOf(text);
  EXPECT_EQ(slab.find(handle), text);
  EXPECT_EQ(slab.at(index, handle.generation), text);
  EXPECT_EQ(slab.at(index + 1, handle.generation), nullptr) << "a place that was never used";
  slab.destroy(text);
  EXPECT_EQ(slab.find(handle), nullptr);
  std::string* tenant = slab.create("two");
  ASSERT_EQ(tenant, text);
  EXPECT_EQ(slab.find(handle), nullptr);
  EXPECT_EQ(slab.at(index, handle.generation), nullptr);
  EXPECT_EQ(slab.find(slab.handleOf(tenant)), tenant);
  slab.destroy(tenant);
}

TEST(Ring, WrapsAround) {
  Ring<int> ring(3);
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < 4; ++i) ring.push(round * 4 + i);
    EXPECT_TRUE(ring.full());
    for (int i = 0; i < 4; ++i) EXPECT_EQ(ring.pop(), round * 4 + i);
  }
  EXPECT_TRUE(ring.empty());
}

std::string drain(ByteQueue& queue) {
  std::string text;
  while (!queue.empty()) {
    const Bytes front = queue.front();
    text += asText(front);
    queue.consume(front.size());
  }
  return text;
}

TEST(ByteQueue, AppendsAllOrNothingAcrossBlocks) {
  BlockSlab blocks(32, 4);  // 16 bytes of payload in each
  ByteQueue queue(blocks);
  EXPECT_EQ(queue.room(), 64u);
  EXPECT_TRUE(queue.append(asBytes(std::string(40, 'a'))));
  EXPECT_EQ(queue.room(), 24u);
  EXPECT_TRUE(queue.append({}));
  EXPECT_FALSE(queue.append(asBytes(std::string(25, 'b'))));
  EXPECT_EQ(queue.size(), 40u);
  EXPECT_TRUE(queue.append(asBytes(std::string(24, 'b'))));
  EXPECT_EQ(queue.room(), 0u);
  EXPECT_EQ(queue.appendSome(asBytes("c"), 100), 0u);
  EXPECT_EQ(drain(queue), std::string(40, 'a') + std::string(24, 'b'));
  EXPECT_EQ(blocks.used(), 0u);
}

TEST(ByteQueue, OneThatIsNotDrainedGetsNoSecondBlockOnceTheyAreScarce) {
  BlockSlab blocks(64, 8);
  ByteQueue first(blocks);
  ByteQueue second(blocks);
  const std::string text(1000, 'x');
  const size_t taken = first.appendSome(asBytes(text), text.size());
  EXPECT_EQ(taken, first.size());
  EXPECT_EQ(blocks.used(), 8u) << "as long as they are not scarce, all may be taken";
  first.clear();
  while (!blocks.isScarce()) ASSERT_TRUE(first.append(asBytes(text).first(40)));
  EXPECT_LT(first.bulkRoom(), 64u);
  EXPECT_GT(first.room(), 64u);
  EXPECT_GT(second.bulkRoom(), 0u);
  ASSERT_NE(second.appendSome(asBytes(text), text.size()), 0u);
  EXPECT_EQ(second.bulkRoom(), 0u) << "one block is full, and there is no second";
  EXPECT_TRUE(second.append(asBytes(text).first(64))) << "what is no body may still be said";
}

TEST(ByteQueue, LeavesBlocksToThoseThatMatterMore) {
  BlockSlab blocks(64, 8);
  ByteQueue client(blocks);
  ByteQueue backend(blocks);
  client.leaveToOthers(4);
  const std::string text(64, 'x');
  while (client.room() != 0) ASSERT_TRUE(client.append(asBytes(text).first(std::min(client.room(), text.size()))));
  EXPECT_EQ(blocks.available(), 4u);
  while (client.append(asBytes(text).first(1))) {
  }
  EXPECT_EQ(blocks.available(), 2u) << "at any price, but not all";
  EXPECT_TRUE(backend.append(asBytes(text)));
}

TEST(ByteQueue, TakesBackWhatWasAppendedLast) {
  BlockSlab blocks(32, 4);  // 16 bytes of payload in each
  ByteQueue queue(blocks);
  ASSERT_TRUE(queue.append(asBytes("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN")));
  queue.consume(3);
  queue.truncate(47);
  EXPECT_EQ(queue.size(), 47u);
  queue.truncate(29);
  EXPECT_EQ(blocks.used(), 2u);
  queue.truncate(14);
  ASSERT_TRUE(queue.append(asBytes("!?")));
  EXPECT_EQ(drain(queue), "3456789abcdefg!?");
  ASSERT_TRUE(queue.append(asBytes("again")));
  queue.truncate(0);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(blocks.used(), 0u);
}

TEST(ByteQueue, GathersWhatIsUnread) {
  BlockSlab blocks(32, 4);
  ByteQueue queue(blocks);
  ASSERT_TRUE(queue.append(asBytes("0123456789abcdefghijklmnopqrstuvwxyz")));
  queue.consume(17);
  iovec vectors[4];
  ASSERT_EQ(queue.gather(vectors), 2u);
  std::string text;
  for (size_t i = 0; i < 2; ++i) text.append(static_cast<char*>(vectors[i].iov_base), vectors[i].iov_len);
  EXPECT_EQ(text, "hijklmnopqrstuvwxyz");
  EXPECT_EQ(queue.gather(std::span(vectors, 1)), 1u);
  EXPECT_EQ(blocks.used(), 2u);
}

struct Lender final : ByteLender {
  bool lend(const uint8_t* start) override {
    if (lent.size() == most) return false;
    lent.push_back(start);
    return true;
  }
  void takeBack(const uint8_t* start) override {
    const auto found = std::ranges::find(lent, start);
    ASSERT_NE(found, lent.end());
    lent.erase(found);
  }
  std::vector<const uint8_t*> lent;
  size_t most = SIZE_MAX;
};

TEST(ByteQueue, LongBytesThatAreLentAreNotCopiedAndComeInTheirPlace) {
  BlockSlab slab(16384, 16);
  Lender lender;
  const std::string first(9000, 'x');
  const std::string second(8192, 'y');
  ByteQueue queue(slab);
  EXPECT_TRUE(queue.append(asBytes("head"), &lender));
  EXPECT_TRUE(queue.append(asBytes(first), &lender));
  EXPECT_TRUE(queue.append(asBytes("tail"), &lender)) << "which goes behind it, not into what was lent";
  EXPECT_TRUE(queue.append(asBytes(second), &lender));
  EXPECT_EQ(lender.lent, (std::vector<const uint8_t*>{asBytes(first).data(), asBytes(second).data()}));
  EXPECT_EQ(queue.size(), 4 + 9000 + 4 + 8192u);
  iovec vectors[8];
  ASSERT_EQ(queue.gather(vectors), 4u);
  EXPECT_EQ(vectors[1].iov_base, first.data());
  EXPECT_EQ(vectors[1].iov_len, 9000u);
  queue.consume(9003);
  EXPECT_EQ(lender.lent.size(), 2u) << "a byte of it is still to be sent";
  EXPECT_EQ(queue.front().data(), asBytes(first).data() + 8999);
  queue.consume(1);
  EXPECT_EQ(lender.lent, (std::vector<const uint8_t*>{asBytes(second).data()}));
  queue.truncate(104);
  EXPECT_EQ(asText(queue.front()), "tail");
  queue.consume(4);
  EXPECT_EQ(asText(queue.front()), second.substr(0, 100));
  EXPECT_TRUE(queue.append(asBytes("end")));
  queue.consume(100);
  EXPECT_TRUE(lender.lent.empty());
  EXPECT_EQ(asText(queue.front()), "end");
  EXPECT_TRUE(queue.append(asBytes(first), &lender));
  queue.clear();
  EXPECT_TRUE(lender.lent.empty());
  EXPECT_EQ(slab.used(), 0u);
}

TEST(ByteQueue, CopiesWhatIsShortOrNotLentAndEverythingWhereBlocksAreScarce) {
  BlockSlab slab(16384, 16);
  Lender lender;
  const std::string bytes(9000, 'x');
  ByteQueue queue(slab);
  EXPECT_TRUE(queue.append(asBytes(bytes).first(8191), &lender));
  EXPECT_TRUE(queue.append(asBytes(bytes), nullptr));
  lender.most = 0;
  EXPECT_TRUE(queue.append(asBytes(bytes), &lender));
  EXPECT_TRUE(lender.lent.empty());
  EXPECT_EQ(queue.size(), 8191 + 9000 + 9000u);
  lender.most = SIZE_MAX;
  std::vector<void*> taken;
  while (!slab.isScarce()) taken.push_back(slab.take());
  EXPECT_TRUE(queue.append(asBytes(bytes), &lender));
  EXPECT_TRUE(lender.lent.empty()) << "a block for each piece is more than copies need";
  for (void* block : taken) slab.give(block);
}

TEST(ByteQueue, RewindsToTheFirstRetainedByte) {
  BlockSlab blocks(32, 4);
  ByteQueue queue(blocks);
  queue.retain(true);
  ASSERT_TRUE(queue.append(asBytes("0123456789abcdefghij")));
  queue.consume(18);
  EXPECT_EQ(queue.retainedBytes(), 18u);
  ASSERT_TRUE(queue.append(asBytes("kl")));
  queue.rewind();
  EXPECT_EQ(queue.size(), 22u);
  EXPECT_EQ(queue.retainedBytes(), 0u);
  EXPECT_EQ(drain(queue), "0123456789abcdefghijkl");
  EXPECT_EQ(queue.retainedBytes(), 22u);
  ASSERT_TRUE(queue.append(asBytes("more than a block of bytes")));
  EXPECT_EQ(drain(queue), "more than a block of bytes");
  queue.rewind();
  EXPECT_EQ(drain(queue), "0123456789abcdefghijklmore than a block of bytes");
  queue.retain(false);
  EXPECT_EQ(blocks.used(), 0u);
  ASSERT_TRUE(queue.append(asBytes("x")));
  EXPECT_EQ(drain(queue), "x");
}

TEST(ByteQueue, WhatWasConsumedBeforeRetainingDoesNotComeBack) {
  BlockSlab blocks(32, 4);
  ByteQueue queue(blocks);
  ASSERT_TRUE(queue.append(asBytes("0123456789abcdefghij")));
  queue.consume(3);
  queue.retain(true);
  queue.consume(4);
  queue.rewind();
  EXPECT_EQ(queue.size(), 17u);
  EXPECT_EQ(drain(queue), "3456789abcdefghij");
  queue.retain(false);
  EXPECT_EQ(blocks.used(), 0u);
}

TEST(ByteQueue, AFillOfRetainedBlocksIsReadOn) {
  // The reader stands at the end of a full block when the next one is appended.
  BlockSlab blocks(32, 4);
  ByteQueue queue(blocks);
  queue.retain(true);
  ASSERT_TRUE(queue.append(asBytes("0123456789abcdef")));
  EXPECT_EQ(drain(queue), "0123456789abcdef");
  ASSERT_TRUE(queue.append(asBytes("next")));
  EXPECT_EQ(asText(queue.front()), "next");
  queue.consume(2);
  EXPECT_EQ(drain(queue), "xt");
}

TEST(ByteQueue, RandomOperationsMatchAString) {
  BlockSlab blocks(48, 16);
  Random random(7);
  for (int round = 0; round < 200; ++round) {
    ByteQueue queue(blocks);
    std::string unread;
    std::string consumed;
    bool retaining = false;
    for (int step = 0; step < 60; ++step) {
      switch (random.below(6)) {
        case 5: {
          const std::string text(1 + random.below(20), static_cast<char>('A' + random.below(26)));
          const MutableBytes tail = queue.tail(text.size());
          if (tail.empty()) break;
          ASSERT_GE(tail.size(), text.size());
          std::copy(text.begin(), text.end(), tail.begin());
          queue.commit(text.size());
          unread += text;
          break;
        }
        case 0:
        case 1: {
          std::string text(random.below(70), '\0');
          for (char& c : text) c = static_cast<char>('a' + random.below(26));
          if (queue.append(asBytes(text))) unread += text;
          break;
        }
        case 2: {
          const size_t count = random.below(static_cast<uint32_t>(unread.size() + 1));
          queue.consume(count);
          if (retaining) consumed += unread.substr(0, count);
          unread.erase(0, count);
          break;
        }
        case 3:
          retaining = !retaining;
          queue.retain(retaining);
          consumed.clear();
          break;
        case 4:
          if (!retaining) break;
          queue.rewind();
          unread = consumed + unread;
          consumed.clear();
          break;
      }
      ASSERT_EQ(queue.size(), unread.size());
      iovec vectors[16];
      const size_t count = queue.gather(vectors);
      std::string gathered;
      for (size_t i = 0; i < count; ++i) gathered.append(static_cast<char*>(vectors[i].iov_base), vectors[i].iov_len);
      ASSERT_EQ(gathered, unread);
    }
  }
  EXPECT_EQ(blocks.used(), 0u);
}

}  // namespace
}  // namespace plait
