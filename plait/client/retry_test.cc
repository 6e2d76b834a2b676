#include "plait/client/retry.h"

#include <gtest/gtest.h>

#include <vector>

namespace plait {
namespace {

TEST(Retry, WhatWasProvablyNotProcessedIsRepeatedWithAnyMethod) {
  for (const ErrorCode code : {ErrorCode::refused_stream, ErrorCode::goaway_unprocessed, ErrorCode::never_sent}) {
    EXPECT_EQ(verdictOn(streamError(code, ""), "GET"), Verdict::unprocessed);
    EXPECT_EQ(verdictOn(streamError(code, ""), "POST"), Verdict::unprocessed);
    EXPECT_EQ(verdictOn(connectionError(code, ""), "POST"), Verdict::unprocessed);
  }
}

TEST(Retry, WhatIsOfUnknownFateIsRepeatedWithIdempotentMethodsAlone) {
  for (const ErrorCode code :
       {ErrorCode::connection_lost, ErrorCode::connection_stale, ErrorCode::protocol_error, ErrorCode::stalled}) {
    EXPECT_EQ(verdictOn(connectionError(code, ""), "GET"), Verdict::unknown);
    EXPECT_EQ(verdictOn(connectionError(code, ""), "PUT"), Verdict::unknown);
    EXPECT_EQ(verdictOn(connectionError(code, ""), "DELETE"), Verdict::unknown);
    EXPECT_EQ(verdictOn(connectionError(code, ""), "POST"), Verdict::final);
    EXPECT_EQ(verdictOn(connectionError(code, ""), "PATCH"), Verdict::final);
    EXPECT_EQ(verdictOn(streamError(code, ""), "GET"), Verdict::final) << "the connection is well: it was processed";
  }
}

TEST(Retry, AHeadThatDoesNotComeInTimeIsAskedForElsewhere) {
  EXPECT_EQ(verdictOn(streamError(ErrorCode::deadline_exceeded, ""), "GET"), Verdict::late);
  EXPECT_EQ(verdictOn(streamError(ErrorCode::deadline_exceeded, ""), "POST"), Verdict::final);
}

TEST(Retry, WhatWasProcessedOrIsTheRequestsOwnIsNeverRepeated) {
  for (const ErrorCode code :
       {ErrorCode::stream_reset, ErrorCode::malformed_message, ErrorCode::cancelled, ErrorCode::body_aborted,
        ErrorCode::message_too_large, ErrorCode::no_memory, ErrorCode::shutting_down, ErrorCode::pool_exhausted}) {
    EXPECT_EQ(verdictOn(streamError(code, ""), "GET"), Verdict::final);
    EXPECT_EQ(verdictOn(connectionError(code, ""), "GET"), Verdict::final);
  }
}

TEST(Retry, ABackendThatWantsHttp11IsAskedSo) {
  EXPECT_EQ(verdictOn(streamError(ErrorCode::http_1_1_required, ""), "POST"), Verdict::over_http_1_1);
}

// Requests come one each millisecond, and every try is refused. Returns the tries of each request.
std::vector<uint32_t> refuseAll(RetryBudget& budget, uint32_t requests, uint32_t most_retries, TimeNs begin_ns) {
  std::vector<uint32_t> tries(requests, 1);
  for (uint32_t i = 0; i < requests; ++i) {
    const TimeNs now_ns = begin_ns + i * ns_per_ms;
    budget.onRequest();
    budget.onTry(now_ns);
    while (tries[i] <= most_retries && budget.takeUnprocessed(now_ns)) {
      budget.onTry(now_ns);
      tries[i] += 1;
    }
  }
  return tries;
}

TEST(RetryBudget, ABackendThatRefusesEverythingIsAskedOneAndAHalfTimesForEachRequestOnceTheBurstIsSpent) {
  RetryBudget budget(20, 1024, 0);
  (void)refuseAll(budget, 20'000, 5, 0);
  uint64_t tries = 0;
  constexpr uint32_t requests = 20'000;
  for (const uint32_t each : refuseAll(budget, requests, 5, 20 * ns_per_s)) tries += each;
  // Windows of whole seconds and tokens round up a little.
  EXPECT_LE(tries, requests * 3 / 2 + requests / 500);
  EXPECT_GE(tries, requests * 5 / 4) << "a fifth of the tries is free, and a fifth of the requests is earned";
}

TEST(RetryBudget, FewRefusalsCostNothing) {
  RetryBudget budget(0, 0, 0);
  uint32_t repeated = 0;
  for (uint32_t i = 0; i < 1000; ++i) {
    const TimeNs now_ns = i * ns_per_ms;
    budget.onRequest();
    budget.onTry(now_ns);
    // Each tenth is refused once.
    if (i % 10 != 9) continue;
    ASSERT_TRUE(budget.takeUnprocessed(now_ns)) << "request " << i;
    budget.onTry(now_ns);
    repeated += 1;
  }
  EXPECT_EQ(repeated, 100u);
}

TEST(RetryBudget, RefusalsAboveAFifthOfTheTriesDrawOnTheBucket) {
  RetryBudget budget(0, 0, 0);
  for (int i = 0; i < 100; ++i) budget.onTry(0);
  uint32_t free = 0;
  while (budget.takeUnprocessed(0)) free += 1;
  EXPECT_EQ(free, 20u);
  RetryBudget with_burst(0, 7, 0);
  for (int i = 0; i < 100; ++i) with_burst.onTry(0);
  uint32_t all = 0;
  while (with_burst.takeUnprocessed(0)) all += 1;
  EXPECT_EQ(all, 27u);
}

TEST(RetryBudget, TriesOfLongAgoMakeNoRefusalFree) {
  RetryBudget budget(0, 0, 0);
  for (int i = 0; i < 1000; ++i) budget.onTry(0);
  EXPECT_TRUE(budget.takeUnprocessed(ns_per_s / 2));
  EXPECT_FALSE(budget.takeUnprocessed(2 * ns_per_s));
}

TEST(RetryBudget, UnknownFatesAreRepeatedForAFifthOfTheRequestsAndABurst) {
  RetryBudget budget(20, 1024, 0);
  uint32_t repeated = 0;
  for (int i = 0; i < 10'000; ++i) {
    budget.onRequest();
    if (budget.takeUnknown()) repeated += 1;
  }
  EXPECT_NEAR(repeated, 1024 + 10'000 / 5, 1);
}

TEST(RetryBudget, NoMoreThanTheBurstIsSaved) {
  RetryBudget budget(20, 10, 0);
  for (int i = 0; i < 100'000; ++i) budget.onRequest();
  uint32_t repeated = 0;
  while (budget.takeUnknown()) repeated += 1;
  EXPECT_EQ(repeated, 10u);
}

}  // namespace
}  // namespace plait
