// A body's way through a pipe: what the consumer gets, what the producer is told, and what is held in between.
#include "plait/http/pipe.h"

#include <gtest/gtest.h>

#include <string>

namespace plait::http {
namespace {

struct Producer final : BodyProducer {
  void onConsumed(size_t count) override { consumed += count; }
  void onConsumerGone(const Error& error) override {
    gone = true;
    gone_code = error.code;
  }
  size_t consumed = 0;
  bool gone = false;
  ErrorCode gone_code = ErrorCode::none;
};

// Takes bytes as long as it has room, and an end only when it may.
struct Consumer final : BodyConsumer {
  size_t onBody(Bytes bytes, bool last) override {
    EXPECT_FALSE(bytes.empty()) << "an end without bytes is onBodyEnd's to say";
    EXPECT_FALSE(ended);
    const size_t taken = std::min(bytes.size(), room);
    room -= taken;
    text += asText(bytes.first(taken));
    if (cancels != nullptr) cancels->cancel(streamError(ErrorCode::cancelled, "enough"));
    if (last && taken == bytes.size()) ended = true;
    if (pumps != nullptr) pumps->pump();
    return taken;
  }
  bool onBodyEnd(const FieldList* trailers) override {
    EXPECT_FALSE(ended);
    if (!takes_end) return false;
    ended = true;
    if (trailers != nullptr)
      trailer = std::string((*trailers->begin()).name) + "=" + std::string((*trailers->begin()).value);
    return true;
  }
  void onBodyAborted(const Error& error) override { aborted = error.code; }

  std::string text;
  std::string trailer;
  size_t room = SIZE_MAX;
  bool takes_end = true;
  bool ended = false;
  ErrorCode aborted = ErrorCode::none;
  Pipe* cancels = nullptr;
  Pipe* pumps = nullptr;
};

struct PipeTest : testing::Test {
  PipeTest() { pipe.setProducer(&producer); }
  bool push(std::string_view text, bool last = false) { return pipe.push(asBytes(text), last); }

  BlockSlab blocks{4096, 8};
  HeaderSlab headers{2, 1, 1};
  Producer producer;
  ReplayBudget budget;  // outlives the pipe, which gives back what it holds of it
  Pipe pipe{blocks, headers};
};

TEST_F(PipeTest, BytesGoStraightThroughAReadyConsumerAndHoldNoMemory) {
  Consumer consumer;
  pipe.attach(consumer);
  EXPECT_TRUE(push("hello "));
  EXPECT_EQ(producer.consumed, 6u);
  EXPECT_TRUE(push("world", true));
  EXPECT_EQ(consumer.text, "hello world");
  EXPECT_TRUE(consumer.ended);
  EXPECT_TRUE(pipe.isFinished());
  EXPECT_EQ(producer.consumed, 11u);
  EXPECT_EQ(blocks.peak(), 0u);
}

TEST_F(PipeTest, WhatCameBeforeTheConsumerIsHandedOverWhenItComes) {
  EXPECT_TRUE(push("early"));
  EXPECT_TRUE(push(" end", true));
  EXPECT_EQ(producer.consumed, 0u);
  Consumer consumer;
  pipe.attach(consumer);
  EXPECT_EQ(consumer.text, "early end");
  EXPECT_TRUE(consumer.ended);
  EXPECT_EQ(producer.consumed, 9u);
  EXPECT_EQ(blocks.used(), 0u);
}

TEST_F(PipeTest, CreditGoesBackOnlyForWhatTheConsumerTook) {
  Consumer consumer;
  consumer.room = 4;
  pipe.attach(consumer);
  EXPECT_TRUE(push("abcdefgh"));
  EXPECT_EQ(producer.consumed, 4u);
  EXPECT_EQ(pipe.bufferedBytes(), 4u);
  EXPECT_TRUE(push("ij", true));
  EXPECT_EQ(producer.consumed, 4u);
  consumer.room = 3;
  pipe.pump();
  EXPECT_EQ(consumer.text, "abcdefg");
  EXPECT_EQ(producer.consumed, 7u);
  EXPECT_FALSE(consumer.ended);
  consumer.room = 100;
  pipe.pump();
  EXPECT_EQ(consumer.text, "abcdefghij");
  EXPECT_TRUE(consumer.ended);
  EXPECT_EQ(producer.consumed, 10u);
}

TEST_F(PipeTest, AnEndForWhichTheConsumerHasNoRoomIsSaidAgainLater) {
  Consumer consumer;
  consumer.takes_end = false;
  pipe.attach(consumer);
  EXPECT_TRUE(push("all"));
  EXPECT_TRUE(push("", true));
  EXPECT_FALSE(pipe.isFinished());
  pipe.pump();
  EXPECT_FALSE(pipe.isFinished());
  consumer.takes_end = true;
  pipe.pump();
  EXPECT_TRUE(consumer.ended);
  EXPECT_TRUE(pipe.isFinished());
}

TEST_F(PipeTest, AConsumerThatPumpsWhileItIsGivenBytesGetsNoneTwice) {
  Consumer consumer;
  consumer.pumps = &pipe;
  consumer.room = 2;
  pipe.attach(consumer);
  EXPECT_TRUE(push("abcd"));
  consumer.room = 100;
  pipe.pump();
  EXPECT_EQ(consumer.text, "abcd");
  EXPECT_EQ(producer.consumed, 4u);
}

TEST_F(PipeTest, TrailersComeBehindTheLastByte) {
  alignas(8) uint8_t memory[512];
  FieldList trailers(memory);
  trailers.add("x-sum", "42");
  Consumer consumer;
  consumer.room = 0;
  pipe.attach(consumer);
  EXPECT_TRUE(push("body"));
  EXPECT_TRUE(pipe.end(&trailers));
  trailers.clear();
  EXPECT_FALSE(consumer.ended);
  consumer.room = 100;
  pipe.pump();
  EXPECT_EQ(consumer.text, "body");
  EXPECT_EQ(consumer.trailer, "x-sum=42");
  EXPECT_TRUE(pipe.isFinished());
}

TEST_F(PipeTest, TrailersWithoutMemoryAreReported) {
  MutableBytes taken[4];
  for (MutableBytes& one : taken) one = headers.take(16);
  alignas(8) uint8_t memory[512];
  FieldList trailers(memory);
  trailers.add("x-sum", "42");
  EXPECT_FALSE(pipe.end(&trailers));
  for (MutableBytes& one : taken) headers.give(one);
}

TEST_F(PipeTest, AnAbortedBodyNeverLooksComplete) {
  Consumer consumer;
  consumer.room = 2;
  pipe.attach(consumer);
  EXPECT_TRUE(push("abcd"));
  pipe.abort(streamError(ErrorCode::stream_reset, "gone"));
  EXPECT_EQ(consumer.aborted, ErrorCode::stream_reset);
  consumer.room = 100;
  pipe.pump();
  EXPECT_EQ(consumer.text, "ab");
  EXPECT_FALSE(consumer.ended);
  EXPECT_EQ(blocks.used(), 0u);
  EXPECT_FALSE(producer.gone) << "the producer said it itself";
}

TEST_F(PipeTest, AConsumerThatComesAfterTheAbortIsTold) {
  pipe.abort(streamError(ErrorCode::connection_lost, "gone"));
  Consumer consumer;
  pipe.attach(consumer);
  EXPECT_EQ(consumer.aborted, ErrorCode::connection_lost);
  EXPECT_TRUE(push("dropped", true));
  EXPECT_EQ(blocks.used(), 0u);
}

TEST_F(PipeTest, AConsumerThatIsGoneIsToldToTheProducerOnce) {
  Consumer consumer;
  consumer.room = 1;
  pipe.attach(consumer);
  EXPECT_TRUE(push("abc"));
  pipe.cancel(streamError(ErrorCode::cancelled, "enough"));
  EXPECT_TRUE(producer.gone);
  EXPECT_EQ(producer.gone_code, ErrorCode::cancelled);
  EXPECT_EQ(blocks.used(), 0u);
  producer.gone = false;
  pipe.cancel(streamError(ErrorCode::cancelled, "again"));
  EXPECT_FALSE(producer.gone);
}

TEST_F(PipeTest, AConsumerThatGivesUpInTheMiddleOfAPushLeavesNothingBehind) {
  Consumer consumer;
  consumer.room = 2;
  consumer.cancels = &pipe;
  pipe.attach(consumer);
  EXPECT_TRUE(push("abcdef", true));
  EXPECT_TRUE(pipe.isAborted());
  EXPECT_FALSE(pipe.isFinished());
  EXPECT_EQ(blocks.used(), 0u);
}

TEST_F(PipeTest, MemoryThatHasRunOutIsTheProducersToKnow) {
  const std::string big(8 * 4096, 'x');
  EXPECT_FALSE(push(big));
  EXPECT_TRUE(push("small"));
}

TEST_F(PipeTest, ARequestIsReplayedWholeToTheNextConsumerAndCreditedOnce) {
  budget.available = 1000;
  EXPECT_TRUE(push("before "));
  pipe.enableReplay(budget, 100);
  EXPECT_EQ(budget.available, 993u);
  Consumer first;
  first.room = 10;
  pipe.attach(first);
  EXPECT_TRUE(push("after", true));
  EXPECT_EQ(first.text, "before aft");
  EXPECT_EQ(producer.consumed, 10u);
  ASSERT_TRUE(pipe.canReplay());
  pipe.rewind();
  Consumer second;
  pipe.attach(second);
  EXPECT_EQ(second.text, "before after");
  EXPECT_TRUE(second.ended);
  EXPECT_EQ(producer.consumed, 12u) << "no byte is credited twice";
  ASSERT_TRUE(pipe.canReplay());
  pipe.rewind();
  Consumer third;
  pipe.attach(third);
  EXPECT_EQ(third.text, "before after");
  pipe.disableReplay();
  EXPECT_EQ(budget.available, 1000u);
  EXPECT_EQ(blocks.used(), 0u);
  EXPECT_FALSE(pipe.canReplay());
}

TEST_F(PipeTest, ABodyAboveTheReplayLimitIsSentOnceOnly) {
  budget.available = 1000;
  pipe.enableReplay(budget, 8);
  Consumer consumer;
  pipe.attach(consumer);
  EXPECT_TRUE(push("12345678"));
  EXPECT_TRUE(pipe.canReplay());
  EXPECT_TRUE(push("9"));
  EXPECT_FALSE(pipe.canReplay());
  EXPECT_EQ(consumer.text, "123456789");
  EXPECT_EQ(budget.available, 1000u);
}

TEST_F(PipeTest, WhatCouldBeSentAgainGivesWayWhenBlocksAreScarce) {
  budget.available = 1000;
  pipe.enableReplay(budget, 1000);
  Consumer consumer;
  pipe.attach(consumer);
  EXPECT_TRUE(push("12345"));
  EXPECT_TRUE(pipe.canReplay());
  std::vector<void*> taken;
  while (!blocks.isScarce()) taken.push_back(blocks.take());
  EXPECT_TRUE(push("678"));
  EXPECT_EQ(consumer.text, "12345678");
  EXPECT_FALSE(pipe.canReplay());
  EXPECT_EQ(budget.available, 1000u);
  EXPECT_EQ(blocks.used(), taken.size());
  for (void* block : taken) blocks.give(block);
}

TEST_F(PipeTest, AnEmptyReplayBudgetMakesBodiesUnrepeatableNotImpossible) {
  budget.available = 4;
  pipe.enableReplay(budget, 100);
  Consumer consumer;
  pipe.attach(consumer);
  EXPECT_TRUE(push("12345", true));
  EXPECT_FALSE(pipe.canReplay());
  EXPECT_EQ(consumer.text, "12345");
  EXPECT_TRUE(consumer.ended);
  EXPECT_EQ(budget.available, 4u);
}

TEST_F(PipeTest, AnEmptyBodyCanBeReplayed) {
  budget.available = 100;
  pipe.enableReplay(budget, 100);
  Consumer first;
  pipe.attach(first);
  EXPECT_TRUE(push("", true));
  EXPECT_TRUE(first.ended);
  ASSERT_TRUE(pipe.canReplay());
  pipe.rewind();
  Consumer second;
  pipe.attach(second);
  EXPECT_TRUE(second.ended);
  pipe.disableReplay();  // the budget goes before the pipe does
}

TEST_F(PipeTest, APipeThatIsDestroyedGivesItsBudgetAndBlocksBack) {
  budget.available = 100;
  {
    Pipe other(blocks, headers);
    other.enableReplay(budget, 100);
    EXPECT_TRUE(other.push(asBytes("held"), false));
    EXPECT_EQ(budget.available, 96u);
    EXPECT_EQ(blocks.used(), 1u);
  }
  EXPECT_EQ(budget.available, 100u);
  EXPECT_EQ(blocks.used(), 0u);
}

}  // namespace
}  // namespace plait::http
