#include "plait/proxy/config_load.h"

#include <gtest/gtest.h>

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

TEST(ConfigLoad, MoreMemoryThanThereIsRefusesTheStart) {
  Resolver resolver;
  const Config config = twoWorkers();
  LoadedConfig fitting;
  EXPECT_TRUE(loadConfig(config, resolver, fitting, std::nullopt).empty());
  const uint64_t reserved = 2 * sumOf(memoryOf(fitting.options));
  LoadedConfig exact;
  EXPECT_TRUE(loadConfig(config, resolver, exact, reserved).empty());
  LoadedConfig larger;
  const auto errors = loadConfig(config, resolver, larger, reserved - 1);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_TRUE(errors[0].text().starts_with("memory: 2 worker(s) reserve ")) << errors[0].text();
}

TEST(ConfigLoad, EachBackendHasTheAuthorityThatWasAskedFor) {
  Resolver resolver;
  Config config = twoWorkers();
  config.backends[0].host.value = "fixed.example";
  LoadedConfig loaded;
  ASSERT_TRUE(loadConfig(config, resolver, loaded, std::nullopt).empty());
  ASSERT_EQ(loaded.options.forward.authorities.size(), 1u);
  EXPECT_EQ(loaded.options.forward.authorities[0].fixed, "fixed.example");
  EXPECT_EQ(loaded.options.forward.authorities[0].own, "127.0.0.1:9001");
}

}  // namespace
}  // namespace plait
