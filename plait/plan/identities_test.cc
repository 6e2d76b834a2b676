// Numbers of the plan: equal things are the same ones, and a number is given again only when nobody holds what had it.
#include "plait/plan/identities.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

const auto nobody = [](const RoutePolicy&) { return 0u; };

BackendOptions backend(const std::string& host, uint16_t port = 1) {
  BackendOptions options;
  options.name = host;
  options.host = host;
  options.port = port;
  return options;
}

TEST(Numbers, TheLowestThatWasGivenBackComesFirst) {
  Numbers numbers(3);
  EXPECT_EQ(numbers.take(), 0u);
  EXPECT_EQ(numbers.take(), 1u);
  EXPECT_EQ(numbers.take(), 2u);
  EXPECT_EQ(numbers.take(), UINT32_MAX);
  numbers.give(2);
  numbers.give(0);
  EXPECT_EQ(numbers.take(), 0u);
  EXPECT_EQ(numbers.take(), 2u);
  EXPECT_EQ(numbers.take(), UINT32_MAX);
}

TEST(Numbers, ManyThatWereGivenBackAreGivenAgainInOrder) {
  constexpr uint32_t many = 200'000;
  Numbers numbers(many);
  for (uint32_t i = 0; i < many; ++i) ASSERT_EQ(numbers.take(), i);
  for (uint32_t i = many; i-- > 0;) numbers.give(i);
  for (uint32_t i = 0; i < many; ++i) ASSERT_EQ(numbers.take(), i);
  EXPECT_EQ(numbers.take(), UINT32_MAX);
}

TEST(PlanIdentities, EqualForwardingIsOneObjectThatStays) {
  PlanIdentities identities(1, 1);
  ForwardOptions options;
  const auto first = identities.forward(options);
  options.via = false;
  const auto* second = identities.forward(options).get();
  EXPECT_NE(first.get(), second);
  identities.sweep([](const RoutePolicy&) { return 0u; });
  EXPECT_EQ(identities.forward(options).get(), second);
  EXPECT_EQ(identities.forward(ForwardOptions()), first);
  EXPECT_GT(identities.bytes(), 2 * sizeof(ForwardOptions));
}

TEST(PlanIdentities, EqualEndpointsOfOneClusterAreTheSame) {
  PlanIdentities identities(8, 8);
  const auto one = identities.endpoint("a", backend("h"));
  EXPECT_EQ(identities.endpoint("a", backend("h")), one);
  EXPECT_NE(identities.endpoint("b", backend("h")), one) << "each cluster has its own connections";
  EXPECT_NE(identities.endpoint("a", backend("h", 2)), one);
  BackendOptions other = backend("h");
  other.timeouts.emplace().connect_ms = 7;
  const auto with_timeouts = identities.endpoint("a", other);
  EXPECT_NE(with_timeouts, one) << "other settings";
  EXPECT_EQ(with_timeouts->number, one->number) << "of the same endpoint";
  other = backend("h");
  other.connections = 3;
  EXPECT_EQ(identities.endpoint("a", other)->number, one->number);
  EXPECT_EQ(identities.endpointCount(), 3u);
}

TEST(PlanIdentities, ANumberOfAnEndpointIsGivenAgainOnlyWhenNobodyHoldsIt) {
  PlanIdentities identities(2, 1);
  auto one = identities.endpoint("a", backend("one"));
  auto two = identities.endpoint("a", backend("two"));
  EXPECT_EQ(identities.endpoint("a", backend("three")), nullptr);
  identities.sweep(nobody);
  EXPECT_EQ(identities.endpoint("a", backend("three")), nullptr) << "both are held";
  one.reset();
  EXPECT_EQ(identities.endpoint("a", backend("three")), nullptr) << "nobody has looked yet";
  identities.sweep(nobody);
  const auto three = identities.endpoint("a", backend("three"));
  ASSERT_NE(three, nullptr);
  EXPECT_EQ(three->number, 0u);
  EXPECT_EQ(two->number, 1u);
}

TEST(PlanIdentities, AnEndpointThatComesBackBeforeItWasForgottenIsTheSame) {
  PlanIdentities identities(4, 1);
  auto one = identities.endpoint("a", backend("one"));
  const BackendOptions* const was = one.get();
  one.reset();
  EXPECT_EQ(identities.endpoint("a", backend("one")).get(), was);
}

TEST(PlanIdentities, AClusterKeepsItsNumberAsLongAsAPolicyNamesIt) {
  PlanIdentities identities(2, 4);
  auto cluster = identities.cluster("a");
  const auto make = [&] {
    auto policy = std::make_shared<RoutePolicy>();
    policy->sides.push_back({cluster, 1});
    return policy;
  };
  auto policy = identities.policy("p", make);
  EXPECT_EQ(identities.policy("p", [] { return nullptr; }), policy) << "nothing is made a second time";
  cluster.reset();
  identities.sweep(nobody);
  EXPECT_EQ(identities.cluster("b")->number, 1u);
  policy.reset();
  // A request still holds the policy, and with it the cluster.
  identities.sweep([](const RoutePolicy&) { return 1u; });
  EXPECT_EQ(identities.policyCount(), 1u);
  EXPECT_EQ(identities.cluster("c")->number, 1u) << "b was held by nobody";
  identities.sweep(nobody);
  EXPECT_EQ(identities.policyCount(), 0u);
  EXPECT_EQ(identities.cluster("d")->number, 0u);
}

TEST(PlanIdentities, APolicyWithoutAPlaceIsRefused) {
  PlanIdentities identities(1, 1);
  const auto make = [] { return std::make_shared<RoutePolicy>(); };
  auto one = identities.policy("1", make);
  EXPECT_EQ(identities.policy("2", make), nullptr);
  EXPECT_EQ(identities.policyCount(), 1u);
  one.reset();
  identities.sweep(nobody);
  EXPECT_NE(identities.policy("2", make), nullptr);
}

TEST(PlanIdentities, AClusterStaysWhileARequestIsCountedInIt) {
  PlanIdentities identities(1, 1);
  const ClusterIdentity* const cluster = identities.cluster("web").get();
  for (RequestCount* count : {&cluster->requests, &cluster->waiting}) {
    ASSERT_TRUE(count->enter(1));
    identities.sweep(nobody);
    EXPECT_EQ(identities.cluster("api"), nullptr);
    count->leave();
  }
  identities.sweep(nobody);
  EXPECT_NE(identities.cluster("api"), nullptr);
}

// A worker holds them for an endpoint that leaves, and would free what the control thread has allocated.
TEST(PlanIdentities, FormerSettingsGoWithASweepAndNotWithTheirLastHolder) {
  PlanIdentities identities(4, 4);
  BackendOptions options = backend("a.test");
  auto held = identities.endpoint("web", options);
  const std::weak_ptr<const BackendOptions> former = held;
  options.connections = 3;
  (void)identities.endpoint("web", options);
  held = nullptr;
  EXPECT_FALSE(former.expired());
  identities.sweep(nobody);
  EXPECT_TRUE(former.expired());
}

}  // namespace
}  // namespace plait
