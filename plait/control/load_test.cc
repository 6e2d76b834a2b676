#include "plait/control/load.h"

#include <gtest/gtest.h>

#include "plait/control/memory_fit.h"

namespace plait {
namespace {

Config twoWorkers() {
  Config config;
  EXPECT_TRUE(
      parseConfig(
          "[server]\nworkers = 2\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[backend]]\nurl = \"h2c://127.0.0.1:9001\"\n",
          "plait.toml", config)
          .empty());
  EXPECT_TRUE(completeConfig(config, true, "plait.toml").empty());
  return config;
}

constexpr uint64_t mib = 1 << 20;

uint64_t reservedBy(const LoadedConfig& loaded, const Config& config) {
  return reservedInAll(loaded.options, config.workers);
}

TEST(ConfigLoad, LimitsThatNobodyHasSetShrinkUntilThreeQuartersOfTheMemorySuffice) {
  Resolver resolver;
  const Config config = twoWorkers();
  LoadedConfig ample;
  EXPECT_TRUE(loadConfig(config, resolver, ample, {std::nullopt, 64'000 * mib}).empty());
  EXPECT_EQ(ample.options.limits.exchanges, Limits().exchanges);
  for (const uint64_t megabytes : {192, 256, 400, 1000, 1500, 2000}) {
    LoadedConfig group;
    EXPECT_TRUE(loadConfig(config, resolver, group, {megabytes * mib, 64'000 * mib}).empty());
    EXPECT_LE(reservedBy(group, config), megabytes * mib / 4 * 3) << megabytes;
    EXPECT_GT(reservedBy(group, config), std::min(megabytes * mib / 4 * 3, reservedBy(ample, config)) / 8 * 7);
    EXPECT_FALSE(group.options.limits.mistake().has_value());
    LoadedConfig machine;
    EXPECT_TRUE(loadConfig(config, resolver, machine, {std::nullopt, megabytes * 2 * mib}).empty());
    EXPECT_EQ(machine.options.limits.exchanges, group.options.limits.exchanges) << "half of the machine's";
    Config said = config;
    said.memory_bytes = megabytes * mib;
    LoadedConfig by_key;
    EXPECT_TRUE(loadConfig(said, resolver, by_key, {10 * mib, 10 * mib}).empty());
    EXPECT_EQ(by_key.options.limits.exchanges, group.options.limits.exchanges) << "before what the group says";
  }
}

TEST(ConfigLoad, LimitsThatSomebodyHasSetStayAndTheOthersFollow) {
  Resolver resolver;
  Config config = twoWorkers();
  config.limits.client_connections = 3000;
  config.limit_places["client_connections"] = {"plait.toml", 9, 22};
  LoadedConfig loaded;
  EXPECT_TRUE(loadConfig(config, resolver, loaded, {512 * mib, 0}).empty());
  EXPECT_EQ(loaded.options.limits.client_connections, 3000u);
  EXPECT_LT(loaded.options.limits.exchanges, Limits().exchanges);
  EXPECT_GE(loaded.options.limits.clientsWithBlocks(), 3000u);
}

TEST(ConfigLoad, PlansHaveTheirPartOfTheMemory) {
  Resolver resolver;
  Config config = twoWorkers();
  LoadedConfig ample;
  EXPECT_TRUE(loadConfig(config, resolver, ample, {std::nullopt, 64'000 * mib}).empty());
  EXPECT_EQ(ample.options.limits.plan_bytes, Limits().plan_bytes);
  EXPECT_GT(ample.plan_bytes, 0u);
  LoadedConfig small;
  EXPECT_TRUE(loadConfig(config, resolver, small, {256 * mib, 0}).empty());
  EXPECT_LT(small.options.limits.plan_bytes, Limits().plan_bytes);
  RouteConfig route;
  route.respond.emplace().body.value = std::string(60'000, 'x');
  for (int i = 0; i < 400; ++i) {
    route.name.value = "r" + std::to_string(i);
    route.path.value = "/r" + std::to_string(i);
    config.routes.push_back(route);
  }
  LoadedConfig large;
  EXPECT_TRUE(loadConfig(config, resolver, large, {std::nullopt, 64'000 * mib}).empty());
  EXPECT_GT(large.plan_bytes, 400u * 60'000);
  EXPECT_EQ(large.options.limits.plan_bytes, 3 * large.plan_bytes) << "so that a reload may replace it";
  config.limits.plan_bytes = 1 << 20;
  config.limit_places["plan_bytes"] = {"plait.toml", 3, 9};
  LoadedConfig said;
  const auto mistakes = loadConfig(config, resolver, said, {std::nullopt, 64'000 * mib});
  ASSERT_EQ(mistakes.size(), 1u);
  EXPECT_EQ(mistakes[0].text(), "plait.toml:3:9: plan_bytes: the plan takes " + std::to_string(said.plan_bytes) +
                                    " bytes, more than the 1048576 that are allowed");
}

TEST(ConfigLoad, MoreMemoryThanThereIsRefusesTheStart) {
  Resolver resolver;
  Config config = twoWorkers();
  config.limits.client_connections = 100'000;
  config.limit_places["client_connections"] = {"plait.toml", 9, 22};
  LoadedConfig loaded;
  const auto errors = loadConfig(config, resolver, loaded, {256 * mib, 0});
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_TRUE(errors[0].text().starts_with("memory: 2 worker(s) reserve ")) << errors[0].text();
  EXPECT_NE(errors[0].text().find("more than the 192 MiB that three quarters of the control group's limit are"),
            std::string::npos)
      << errors[0].text();
  config.memory_bytes = 512 * mib;
  config.memory_place = {"plait.toml", 3, 10};
  LoadedConfig again;
  const auto by_key = loadConfig(config, resolver, again, {256 * mib, 0});
  ASSERT_EQ(by_key.size(), 1u);
  EXPECT_TRUE(by_key[0].text().starts_with("plait.toml:3:10: 2 worker(s) reserve ")) << by_key[0].text();
}

TEST(ConfigLoad, EachBackendHasTheAuthorityThatWasAskedFor) {
  Resolver resolver;
  Config config = twoWorkers();
  config.backends[0].host.value = "fixed.example";
  LoadedConfig loaded;
  ASSERT_TRUE(loadConfig(config, resolver, loaded, {std::nullopt, 64'000 * mib}).empty());
  ASSERT_EQ(loaded.options.plan->authorities.size(), 1u);
  EXPECT_EQ(loaded.options.plan->authorities[0].fixed, "fixed.example");
  EXPECT_EQ(loaded.options.plan->authorities[0].own, "127.0.0.1:9001");
}

}  // namespace
}  // namespace plait
