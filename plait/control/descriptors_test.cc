#include "plait/control/descriptors.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

DescriptorUse few(uint64_t allowed, uint32_t workers = 1) {
  return {.allowed = allowed, .open = 4, .workers = workers, .listeners = 1, .has_backends = true, .has_admin = true};
}

TEST(Descriptors, WhereThereAreEnoughNothingChanges) {
  Limits limits;
  EXPECT_EQ(shareDescriptors(few(20'000), limits).text, "");
  EXPECT_EQ(limits.client_connections, Limits().client_connections);
  EXPECT_EQ(limits.upstream_connections, Limits().upstream_connections);
  EXPECT_FALSE(limits.accepts_one_by_one);
}

TEST(Descriptors, AQuarterAtLeastIsForBackendsAndAllTogetherIsWhatThereIs) {
  for (const uint64_t allowed : {40u, 64u, 256u, 1024u, 4096u, 10'000u}) {
    for (const uint32_t workers : {1u, 2u, 8u}) {
      SCOPED_TRACE(std::to_string(allowed) + " for " + std::to_string(workers));
      if (allowed < workers * 20) continue;
      Limits limits;
      const DescriptorsShared told = shareDescriptors(few(allowed, workers), limits);
      EXPECT_NE(told.text.find(std::to_string(allowed)), std::string::npos) << told.text;
      EXPECT_EQ(told.is_warning, limits.client_connections < 1000) << told.text;
      EXPECT_TRUE(limits.accepts_one_by_one);
      EXPECT_GE(limits.client_connections, 1u);
      EXPECT_GE(limits.upstream_connections * 4 + 3,
                std::min(limits.client_connections + limits.upstream_connections, Limits().upstream_connections * 4));
      EXPECT_LE((limits.client_connections + limits.upstream_connections) * workers + 4 * workers + 8, allowed);
    }
  }
  Limits limits;
  (void)shareDescriptors(few(256), limits);
  EXPECT_GE(limits.client_connections + limits.upstream_connections, 200u) << "most of them are used";
}

TEST(Descriptors, ClientsThatWaitForTheirAddressesShareAreCounted) {
  const uint64_t connections = Limits().client_connections + Limits().upstream_connections;
  Limits limits;
  EXPECT_EQ(shareDescriptors(few(connections + 4000), limits).text, "");
  EXPECT_TRUE(limits.accepts_one_by_one) << "4,096 could wait, so none does";
  EXPECT_EQ(limits.client_connections, Limits().client_connections);
  limits = {};
  EXPECT_EQ(shareDescriptors(few(connections + 4096 + 64), limits).text, "");
  EXPECT_FALSE(limits.accepts_one_by_one);
  // Not more than four for each place.
  limits.client_connections = 100;
  limits.upstream_connections = 20;
  EXPECT_EQ(shareDescriptors(few(5 * 100 + 20 + 64), limits).text, "");
  EXPECT_FALSE(limits.accepts_one_by_one);
}

TEST(Descriptors, ThatDefaultsAreLoweredIsNoWarningUnlessFewAreLeft) {
  Limits limits;
  EXPECT_FALSE(shareDescriptors(few(20'000, 2), limits).is_warning);
  EXPECT_GT(limits.client_connections, 8000u);
  limits = {};
  DescriptorUse use = few(20'000, 2);
  use.is_wish = true;
  EXPECT_TRUE(shareDescriptors(use, limits).is_warning);
}

TEST(Descriptors, WhatWasAskedForIsNeverRaised) {
  Limits limits;
  limits.client_connections = 20;
  limits.upstream_connections = 500;
  (void)shareDescriptors(few(256), limits);
  EXPECT_EQ(limits.client_connections, 20u);
  EXPECT_GE(limits.upstream_connections, 150u);
  Limits wide;
  wide.upstream_connections = 10;
  (void)shareDescriptors(few(256), wide);
  EXPECT_EQ(wide.upstream_connections, 10u);
  EXPECT_GE(wide.client_connections, 190u);
}

TEST(Descriptors, WithHardlyAnyThereIsOnePlaceForEach) {
  Limits limits;
  (void)shareDescriptors(few(5), limits);
  EXPECT_EQ(limits.client_connections, 1u);
  EXPECT_EQ(limits.upstream_connections, 1u);
}

TEST(Descriptors, OpenOnesAreCounted) {
  EXPECT_GE(openDescriptors(), 3u);
}

}  // namespace
}  // namespace plait
