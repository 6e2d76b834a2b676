#include "plait/cluster/outlier.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

constexpr TimeNs start_ns = 1000 * ns_per_s;

// The outcomes seen at an endpoint, a millisecond apart.
struct Watched {
  Outlier outlier;
  TimeNs now_ns = start_ns;
  uint32_t siblings_500_percent = 0;
  // Whether it has to go after one more.
  bool note(Seen seen, const ClientKey& client) {
    now_ns += ns_per_ms;
    return outlier.note(seen, client, now_ns, OutlierOptions().failures, siblings_500_percent);
  }
};

ClientKey client(uint64_t address, uint64_t connection = 0) {
  return {address, connection == 0 ? address : connection};
}

TEST(Outlier, FiveFailuresInARowForThreeClientsAreEnoughWhateverTheyAre) {
  for (const Seen seen : {Seen::bad_gateway, Seen::broken, Seen::late}) {
    Watched at;
    for (uint64_t other = 11; other <= 20; ++other) EXPECT_FALSE(at.note(Seen::good, client(other)));
    for (uint64_t i = 0; i < 4; ++i) EXPECT_FALSE(at.note(seen, client(1 + i % 3)));
    EXPECT_TRUE(at.note(seen, client(2)));
  }
}

TEST(Outlier, OneClientAloneEjectsNobodyWhatItAsksFor) {
  Watched at;
  EXPECT_FALSE(at.note(Seen::good, client(1)));
  EXPECT_FALSE(at.note(Seen::good, client(2)));
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(at.note(Seen::bad_gateway, client(9)));
}

TEST(Outlier, ManyConnectionsOfOneAddressAreOneClientWhereOthersAreServed) {
  Watched at;
  for (uint64_t other = 1; other <= 3; ++other) EXPECT_FALSE(at.note(Seen::good, client(other)));
  for (uint64_t connection = 100; connection < 200; ++connection)
    EXPECT_FALSE(at.note(Seen::bad_gateway, client(9, connection)));
}

TEST(Outlier, ManyConnectionsOfOneAddressDoNotMakeTheOthersForgotten) {
  Watched at;
  for (int round = 0; round < 50; ++round) {
    for (uint64_t other = 1; other <= 2; ++other) EXPECT_FALSE(at.note(Seen::good, client(other)));
    for (uint64_t connection = 0; connection < 20; ++connection)
      ASSERT_FALSE(at.note(Seen::bad_gateway, client(9, 1000 + connection + round * 20u))) << round;
  }
}

TEST(Outlier, AllClientsThatThereWereAreEnoughWhereTheyAreFewerThanThree) {
  Watched alone;
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(alone.note(Seen::broken, client(1)));
  EXPECT_TRUE(alone.note(Seen::broken, client(1)));
  Watched two;
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(two.note(Seen::broken, client(1 + i % 2)));
  EXPECT_TRUE(two.note(Seen::broken, client(1)));
  Watched behind_one_balancer;
  for (uint64_t i = 0; i < 4; ++i) EXPECT_FALSE(behind_one_balancer.note(Seen::broken, client(1, 100 + i)));
  EXPECT_TRUE(behind_one_balancer.note(Seen::broken, client(1, 104)));
}

TEST(Outlier, AClientThatWasServedLongAgoIsNoWitness) {
  Watched at;
  EXPECT_FALSE(at.note(Seen::good, client(2)));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(at.note(Seen::bad_gateway, client(1))) << "the other was served well";
  at.now_ns += RecentClients::window_ns;
  EXPECT_TRUE(at.note(Seen::bad_gateway, client(1))) << "it is all that there were in the last 10 s";
}

TEST(Outlier, AConnectionThatWasServedWellAndIsForgottenForItsNeighbourIsStillAWitness) {
  Watched at;
  const auto atSecond = [&](double second) { at.now_ns = start_ns + static_cast<TimeNs>(second * ns_per_s); };
  atSecond(4);
  for (uint64_t other = 101; other <= 107; ++other) EXPECT_FALSE(at.note(Seen::good, client(other)));
  atSecond(9);
  EXPECT_FALSE(at.note(Seen::good, client(9, 1)));
  atSecond(9.5);
  EXPECT_FALSE(at.note(Seen::broken, client(9, 2)));
  atSecond(15);
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(at.note(Seen::broken, client(9, 2)));
}

TEST(Outlier, ASuccessInBetweenStartsTheCountAnew) {
  Watched at;
  for (uint64_t i = 0; i < 100; ++i) {
    EXPECT_FALSE(at.note(i % 5 == 4 ? Seen::good : Seen::broken, client(1 + i % 3)));
  }
}

TEST(Outlier, WhatSaysNothingAboutTheEndpointCountsNeitherWay) {
  Watched at;
  for (uint64_t i = 0; i < 4; ++i) EXPECT_FALSE(at.note(Seen::broken, client(1 + i % 3)));
  for (uint64_t i = 0; i < 100; ++i) EXPECT_FALSE(at.note(Seen::neutral, client(1 + i)));
  EXPECT_TRUE(at.note(Seen::broken, client(1)));
}

TEST(Outlier, AConnectionThatBreaksIsOneStrikeHoweverManyRequestsItCarried) {
  Watched at;
  const auto breakOne = [&](uint32_t requests) {
    bool has_to_go = false;
    for (uint32_t i = 0; i < requests; ++i) {
      at.now_ns += ns_per_ms;
      has_to_go = at.outlier.note(Seen::broken, client(1 + i), at.now_ns, OutlierOptions().failures, 0, i == 0 ? 1 : 0);
    }
    return has_to_go;
  };
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(breakOne(20));
  EXPECT_TRUE(breakOne(20));
}

TEST(Outlier, RefusalsAreNoStrikeAndAttractNobody) {
  Watched at;
  for (uint64_t i = 0; i < 100; ++i) EXPECT_FALSE(at.note(Seen::refused, client(1 + i)));
  EXPECT_GT(at.outlier.penalty(at.now_ns), 50);
  Watched once;
  EXPECT_FALSE(once.note(Seen::refused, client(1)));
  for (uint64_t i = 0; i < 20; ++i) EXPECT_FALSE(once.note(Seen::good, client(1 + i)));
  EXPECT_EQ(once.outlier.penalty(once.now_ns), 1) << "as at the end of each connection's number of requests";
}

TEST(Outlier, Answers500CountFromTwentyAnswersToThreeClientsOn) {
  Watched at;
  for (uint64_t i = 0; i < 19; ++i) EXPECT_FALSE(at.note(Seen::server_error, client(1 + i % 3))) << i;
  // From the twentieth on each is a strike.
  for (uint64_t i = 0; i < 4; ++i) EXPECT_FALSE(at.note(Seen::server_error, client(1 + i % 3))) << i;
  EXPECT_TRUE(at.note(Seen::server_error, client(1)));
}

TEST(Outlier, Answers500ToTwoClientsAreTheirOwnAffair) {
  Watched at;
  for (uint64_t i = 0; i < 1000; ++i) EXPECT_FALSE(at.note(Seen::server_error, client(1 + i % 2)));
}

TEST(Outlier, Answers500ThatSiblingsGiveAsWellAreNoStrikes) {
  Watched at;
  at.siblings_500_percent = 100;
  for (uint64_t i = 0; i < 1000; ++i) EXPECT_FALSE(at.note(Seen::server_error, client(1 + i % 5)));
  EXPECT_EQ(at.outlier.penalty(at.now_ns), 1);
}

TEST(Outlier, SiblingsProveAsMuchAsTheyHaveAnswered) {
  const auto answered = [](uint64_t good, uint64_t errors) {
    Watched sibling;
    for (uint64_t i = 0; i < good; ++i) (void)sibling.note(Seen::good, client(1 + i % 3));
    for (uint64_t i = 0; i < errors; ++i) (void)sibling.note(Seen::server_error, client(1 + i % 3));
    return sibling.outlier;
  };
  const auto percentOf = [](std::initializer_list<Outlier> outliers) {
    Siblings500 siblings;
    for (const Outlier& outlier : outliers) siblings.add(outlier, start_ns + ns_per_s);
    return siblings.percent();
  };
  EXPECT_EQ(percentOf({}), 100u);
  EXPECT_EQ(percentOf({answered(0, 0)}), 100u);
  EXPECT_EQ(percentOf({answered(1, 0)}), 50u);
  EXPECT_LE(percentOf({answered(200, 0)}), 4u);
  EXPECT_LE(percentOf({answered(1, 0), answered(1, 0), answered(1, 0), answered(1, 0), answered(0, 0)}), 20u);
  EXPECT_NEAR(percentOf({answered(0, 800), answered(20, 0)}), 50, 2) << "one that answers often does not speak for all";
}

TEST(Outlier, ShareOf500IsOfTheLastSecondsAlone) {
  Watched at;
  for (uint64_t i = 0; i < 20; ++i) (void)at.note(i % 2 == 0 ? Seen::server_error : Seen::good, client(1 + i % 3));
  EXPECT_EQ(at.outlier.share500(at.now_ns), 50u);
  EXPECT_EQ(at.outlier.share500(at.now_ns + 3 * RecentClients::window_ns), 0u);
}

TEST(Outlier, ThePenaltyGrowsWithFailuresUpTo64AndIsForgotten) {
  Watched at;
  EXPECT_EQ(at.outlier.penalty(at.now_ns), 1);
  int64_t before = 1;
  for (int i = 0; i < 50; ++i) {
    (void)at.note(Seen::bad_gateway, client(1));
    EXPECT_GE(at.outlier.penalty(at.now_ns), before);
    before = at.outlier.penalty(at.now_ns);
  }
  EXPECT_GT(before, 60);
  EXPECT_LE(before, 64);
  EXPECT_NEAR(static_cast<double>(at.outlier.penalty(at.now_ns + 5 * ns_per_s)), 32, 2) << "halved after 5 s";
  EXPECT_EQ(at.outlier.penalty(at.now_ns + 300 * ns_per_s), 1);
  for (int i = 0; i < 50; ++i) (void)at.note(Seen::good, client(1));
  EXPECT_LE(at.outlier.penalty(at.now_ns), 2) << "successes take it away sooner";
}

TEST(Outlier, AnOverloadIsNoStrikeAndCostsShare) {
  Watched at;
  for (int i = 0; i < 20; ++i) at.outlier.noteOverload(at.now_ns);
  EXPECT_GT(at.outlier.penalty(at.now_ns), 32);
  EXPECT_FALSE(at.note(Seen::good, client(1)));
}

TEST(Outlier, OneThatIsBackBeginsAnew) {
  Watched at;
  for (uint64_t i = 0; i < 5; ++i) (void)at.note(Seen::broken, client(1 + i % 3));
  at.outlier.reset();
  EXPECT_EQ(at.outlier.penalty(at.now_ns), 1);
  for (uint64_t i = 0; i < 4; ++i) EXPECT_FALSE(at.note(Seen::broken, client(1 + i % 3)));
  EXPECT_TRUE(at.note(Seen::broken, client(1)));
}

}  // namespace
}  // namespace plait
