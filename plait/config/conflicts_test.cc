#include <fmt/format.h>
#include <gtest/gtest.h>

#include "plait/config/config.h"

namespace plait {
namespace {

std::string textOf(const std::vector<ConfigError>& errors) {
  std::string text;
  for (const ConfigError& error : errors) text += error.text() + "\n";
  return text;
}

// Listeners at these addresses, each on two lines from line 1 on.
Config listeningAt(std::initializer_list<const char*> addresses) {
  std::string toml;
  for (const char* address : addresses) toml += fmt::format("[[listen]]\naddress = \"{}\"\n", address);
  Config config;
  EXPECT_EQ(textOf(parseConfig(toml, "plait.toml", config)), "");
  return config;
}

std::string conflictsAt(std::initializer_list<const char*> addresses) {
  Config config = listeningAt(addresses);
  return textOf(settleConflicts(config));
}

TEST(ConfigConflicts, AnAddressIsOneListenersAlone) {
  EXPECT_EQ(
      conflictsAt({"127.0.0.1:80", "127.0.0.1:81", "127.0.0.2:80", "[::1]:80", "[fe80::1%1]:80", "[fe80::1%2]:80"}),
      "");
  EXPECT_EQ(conflictsAt({"127.0.0.1:0", "127.0.0.1:0", "0.0.0.0:0"}), "");
  EXPECT_EQ(conflictsAt({"127.0.0.1:80", "127.0.0.1:80"}),
            "plait.toml:4:11: plait.toml:2:11 has this address already\n");
  EXPECT_EQ(conflictsAt({"[::1]:80", "[0:0::1]:80"}), "plait.toml:4:11: plait.toml:2:11 has this address already\n");
}

TEST(ConfigConflicts, AllAddressesAreAmongThemEveryOne) {
  EXPECT_EQ(conflictsAt({"0.0.0.0:80", "127.0.0.1:80"}),
            "plait.toml:4:11: plait.toml:2:11 has this address already, as one of all: 0.0.0.0:80\n");
  EXPECT_EQ(conflictsAt({"127.0.0.1:80", "0.0.0.0:80"}),
            "plait.toml:4:11: this is all addresses, of which plait.toml:2:11 has one already: 127.0.0.1:80\n");
  EXPECT_EQ(conflictsAt({"[::]:80", "[::1]:80"}),
            "plait.toml:4:11: plait.toml:2:11 has this address already, as one of all: [::]:80\n");
}

TEST(ConfigConflicts, AllAddressesOfIpv6HaveThoseOfIpv4AmongThemUnlessTheyAreToldNotTo) {
  const std::string hint = "; with only_v6 = true [::] does not take IPv4\n";
  EXPECT_EQ(conflictsAt({"[::]:80", "127.0.0.1:80"}),
            "plait.toml:4:11: plait.toml:2:11 has this address already, as one of all: [::]:80" + hint);
  EXPECT_EQ(conflictsAt({"0.0.0.0:80", "[::]:80"}),
            "plait.toml:4:11: this is all addresses, of which plait.toml:2:11 has one already: 0.0.0.0:80" + hint);
  EXPECT_EQ(conflictsAt({"0.0.0.0:80", "[::1]:80"}), "");
  EXPECT_EQ(conflictsAt({"127.0.0.1:80", "[::ffff:127.0.0.1]:80"}),
            "plait.toml:4:11: plait.toml:2:11 has this address already\n");
  Config config = listeningAt({"[::]:80", "0.0.0.0:80"});
  config.listeners[0].only_v6 = true;
  EXPECT_EQ(textOf(settleConflicts(config)), "");
}

TEST(ConfigConflicts, TwoCertificatesAtOneAddressAreSaidToBeTwo) {
  Config config;
  ASSERT_EQ(textOf(parseConfig(R"([[listen]]
address = "127.0.0.1:443"
tls = "on"
cert = "a.pem"
key = "a.key"
[[listen]]
address = "127.0.0.1:443"
tls = "on"
cert = "b.pem"
key = "b.key"
)",
                               "plait.toml", config)),
            "");
  EXPECT_EQ(textOf(settleConflicts(config)),
            "plait.toml:7:11: plait.toml:2:11 has this address already, with another certificate: a listener has one, "
            "which may "
            "be for several names\n");
}

TEST(ConfigConflicts, TheAdminAddressIsNoListeners) {
  Config config = listeningAt({"0.0.0.0:80"});
  Flags flags;
  flags.admin = "127.0.0.1:80";
  ASSERT_EQ(textOf(applyFlags(flags, config)), "");
  EXPECT_EQ(textOf(settleConflicts(config)),
            "--admin 127.0.0.1:80: plait.toml:2:11 has this address already, as one of all: 0.0.0.0:80\n");
  config = listeningAt({"127.0.0.1:80"});
  ASSERT_EQ(textOf(applyFlags(flags, config)), "");
  EXPECT_EQ(
      textOf(settleConflicts(config)),
      "--admin 127.0.0.1:80: plait.toml:2:11 has this address already, and a listener cannot share it with [admin]\n");
}

TEST(ConfigConflicts, ABackendThatIsNamedTwiceIsOneAndAWarning) {
  Config config;
  Flags flags;
  flags.backends = {"http://API:80", "http://api/", "h2c://api:80", "http://[::1]:81", "http://[0::1]:81", "api:80"};
  ASSERT_EQ(textOf(applyFlags(flags, config)), "");
  EXPECT_EQ(textOf(settleConflicts(config)), "");
  EXPECT_EQ(
      textOf(config.warnings),
      "--backend http://api/: this is the backend of --backend http://API:80 once more: it is used once\n"
      "--backend http://[0::1]:81: this is the backend of --backend http://[::1]:81 once more: it is used once\n");
  ASSERT_EQ(config.backends.size(), 4u);
  EXPECT_EQ(config.backends[1].url.value, "h2c://api:80") << "another protocol is another endpoint";
  EXPECT_EQ(config.backends[3].url.value, "api:80");
}

TEST(ConfigConflicts, ABackendThatIsNamedTwiceWithOtherSettingsIsAMistake) {
  Config config;
  ASSERT_EQ(
      textOf(parseConfig("[[backend]]\nurl = \"https://a\"\n[[backend]]\nurl = \"https://a\"\nserver_name = \"b\"\n",
                         "plait.toml", config)),
      "");
  EXPECT_EQ(textOf(settleConflicts(config)),
            "plait.toml:4:7: this is the backend of plait.toml:2:7 with other settings\n");
  EXPECT_EQ(textOf(config.warnings), "");
}

TEST(ConfigConflicts, WhatIsSaidTwiceOfAHostIsNoDifference) {
  Config config;
  ASSERT_EQ(
      textOf(parseConfig("[[listen]]\naddress = \"127.0.0.1:80\"\n[[backend]]\nurl = \"http://a\"\n[[backend]]\nurl = "
                         "\"http://a\"\nhost = \"client\"\n[limits]\nendpoints = 1\n",
                         "plait.toml", config)),
      "");
  EXPECT_EQ(textOf(completeConfig(config, true, "plait.toml")), "") << "and it takes one place";
  EXPECT_EQ(config.backends.size(), 1u);
}

}  // namespace
}  // namespace plait
