#include "plait/config/config.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "plait/net/address.h"

namespace plait {
namespace {

std::string textOf(const std::vector<ConfigError>& errors) {
  std::string text;
  for (const ConfigError& error : errors) text += error.text() + "\n";
  return text;
}

std::string mistakesOf(std::string_view toml) {
  Config config;
  return textOf(parseConfig(toml, "plait.toml", config));
}

std::string listenText(const ListenConfig& listen) {
  char text[address_text_size];
  return std::string(formatAddress(listen.parsed, text));
}

TEST(Config, EverySettingArrivesWhereItBelongs) {
  Config config;
  EXPECT_EQ(textOf(parseConfig(R"(
[server]
workers = 3
io = "epoll"
prefault = true
share_port = true

[[listen]]
address = "127.0.0.1:8080"

[[listen]]
address = "[::1]:8443"
only_v6 = true
tls = "on"
cert = "certs/a.pem"
key = "/etc/a.key"
client_ca = "ca.pem"

[[backend]]
url = "h2c://one:9001"

[[backend]]
url = "https://two"
host = "backend"
server_name = "two.internal"
ca_file = "two.pem"
insecure = true
client_cert = "c.pem"
client_key = "k.pem"

[forwarding]
x_forwarded = false
forwarded = true
via = false
request_id = false
trusted_proxies = ["10.0.0.0/8", "::1"]
identity_fields = ["CF-Connecting-IP"]

[timeouts]
connect_ms = 1
response_head_ms = 2
client_header_ms = 3
client_idle_ms = 4
upstream_idle_ms = 5
stall_ms = 6
queue_ms = 7
drain_ms = 8
probe_ms = 9
connection_age_ms = 10
backoff_min_ms = 11
backoff_max_ms = 12
stream_idle_ms = 13
tunnel_idle_ms = 14
ping_ms = 0
ping_answer_ms = 15
shrink_ms = 16

[limits]
exchanges = 100
endpoints = 2
receive_buffers = 64
coalesce_us = 0
header_bytes = 4096
header_fields = 8
target_bytes = 256

[access_log]
file = "log/access.log"
format = "json"

[admin]
address = "127.0.0.1:9100"
)",
                               "/etc/plait/plait.toml", config)),
            "");
  EXPECT_EQ(config.workers, 3u);
  EXPECT_EQ(config.io, IoKind::epoll);
  EXPECT_TRUE(config.prefault);
  EXPECT_TRUE(config.share_port);
  ASSERT_EQ(config.listeners.size(), 2u);
  EXPECT_EQ(listenText(config.listeners[0]), "127.0.0.1:8080");
  EXPECT_EQ(config.listeners[0].tls, ListenTls::off);
  EXPECT_EQ(listenText(config.listeners[1]), "[::1]:8443");
  EXPECT_EQ(config.listeners[1].tls, ListenTls::on);
  EXPECT_TRUE(config.listeners[1].only_v6);
  EXPECT_FALSE(config.listeners[0].only_v6);
  EXPECT_EQ(config.listeners[1].cert.value, "/etc/plait/certs/a.pem") << "relative to the file's folder";
  EXPECT_EQ(config.listeners[1].key.value, "/etc/a.key");
  EXPECT_EQ(config.listeners[1].client_ca.value, "/etc/plait/ca.pem");
  ASSERT_EQ(config.backends.size(), 2u);
  EXPECT_EQ(config.backends[0].name, "one");
  EXPECT_EQ(config.backends[0].port, 9001);
  EXPECT_EQ(config.backends[1].protocol, BackendProtocol::https);
  EXPECT_EQ(config.backends[1].port, 443);
  EXPECT_EQ(config.backends[1].host.value, "backend");
  EXPECT_EQ(config.backends[1].server_name.value, "two.internal");
  EXPECT_EQ(config.backends[1].ca_file.value, "/etc/plait/two.pem");
  EXPECT_TRUE(config.backends[1].insecure);
  EXPECT_EQ(config.backends[1].client_cert.value, "/etc/plait/c.pem");
  EXPECT_EQ(config.backends[1].client_key.value, "/etc/plait/k.pem");
  EXPECT_FALSE(config.forward.x_forwarded);
  EXPECT_EQ(config.forward.request_id, false);
  EXPECT_TRUE(config.forward.forwarded);
  EXPECT_FALSE(config.forward.via);
  EXPECT_TRUE(config.forward.trusted_proxies.contains("10.1.2.3"));
  EXPECT_TRUE(config.forward.identity.claims({"cf-connecting-ip", "", http::FieldName::unknown, false}));
  EXPECT_EQ(config.pool_timeouts.connect_ms, 1);
  EXPECT_EQ(config.response_head_ms, 2);
  EXPECT_EQ(config.server_timeouts.client_header_ms, 3);
  EXPECT_EQ(config.server_timeouts.client_idle_ms, 4);
  EXPECT_EQ(config.pool_timeouts.idle_ms, 5);
  EXPECT_EQ(config.server_timeouts.stall_ms, 6);
  EXPECT_EQ(config.pool_timeouts.stream_idle_ms, 13);
  EXPECT_EQ(config.pool_timeouts.tunnel_idle_ms, 14);
  EXPECT_EQ(config.pool_timeouts.ping_ms, 0);
  EXPECT_EQ(config.pool_timeouts.ping_answer_ms, 15);
  EXPECT_EQ(config.pool_timeouts.shrink_ms, 16);
  EXPECT_EQ(config.pool_timeouts.queue_ms, 7);
  EXPECT_EQ(config.server_timeouts.drain_ms, 8);
  EXPECT_EQ(config.pool_timeouts.drain_ms, 8);
  EXPECT_EQ(config.pool_timeouts.probe_ms, 9);
  EXPECT_EQ(config.pool_timeouts.max_age_ms, 10);
  EXPECT_EQ(config.pool_timeouts.backoff_min_ms, 11);
  EXPECT_EQ(config.pool_timeouts.backoff_max_ms, 12);
  EXPECT_EQ(config.limits.exchanges, 100u);
  EXPECT_EQ(config.limits.endpoints, 2u);
  EXPECT_EQ(config.limits.receive_buffers, 64u);
  EXPECT_EQ(config.limits.coalesce_us, 0u);
  EXPECT_EQ(config.limits.header_bytes, 4096u);
  EXPECT_EQ(config.limits.header_fields, 8u);
  EXPECT_EQ(config.limits.target_bytes, 256u);
  EXPECT_EQ(config.access_log.file.value, "/etc/plait/log/access.log");
  EXPECT_EQ(config.access_log.format, LogFormat::json);
  EXPECT_EQ(config.admin.value, "127.0.0.1:9100");
  EXPECT_EQ(textOf(completeConfig(config, true, "plait.toml")), "");
  EXPECT_EQ(config.backends[0].host.value, "") << "the client's authority by default";
  EXPECT_EQ(config.backends[1].host.value, "two") << "https' own port is not said";
}

TEST(Config, AnUnknownKeyIsReportedWithTheOneThatWasProbablyMeant) {
  EXPECT_EQ(mistakesOf("[server]\nworker = 2\n"),
            "plait.toml:2:1: unknown key \"worker\", did you mean \"workers\"?\n");
  EXPECT_EQ(mistakesOf("[timeouts]\n  connect = 2\n"),
            "plait.toml:2:3: unknown key \"connect\", did you mean \"connect_ms\"?\n");
  EXPECT_EQ(mistakesOf("[[backends]]\nurl = \"h2c://a:1\"\n"),
            "plait.toml:1:3: unknown key \"backends\", did you mean \"backend\"?\n");
  EXPECT_EQ(mistakesOf("xyzzy = 1\n"), "plait.toml:1:1: unknown key \"xyzzy\"\n");
}

TEST(Config, AWrongTypeIsReportedWhereItStands) {
  EXPECT_EQ(mistakesOf("[server]\nworkers = \"two\"\n"),
            "plait.toml:2:11: workers: expected a whole number, found a string\n");
  EXPECT_EQ(mistakesOf("[timeouts]\nqueue_ms = 1.5\n"),
            "plait.toml:2:12: queue_ms: expected a whole number of milliseconds, found a fraction\n");
  EXPECT_EQ(mistakesOf("[forwarding]\nvia = 1\n"), "plait.toml:2:7: via: expected true or false, found a number\n");
  EXPECT_EQ(mistakesOf("[forwarding]\ntrusted_proxies = [\"::1\", 7]\n"),
            "plait.toml:2:27: trusted_proxies: expected a string, found a number\n");
  EXPECT_EQ(mistakesOf("[forwarding]\nidentity_fields = [\"a b\"]\n"),
            "plait.toml:2:20: identity_fields: \"a b\" is no field's name\n");
  EXPECT_EQ(mistakesOf("[[listen]]\naddress = \"127.0.0.1:80\"\nonly_v6 = true\n"),
            "plait.toml:3:11: only_v6: 127.0.0.1:80 is no address of IPv6\n");
  EXPECT_EQ(mistakesOf("server = 1\n"), "plait.toml:1:10: server: expected a section [server], found a number\n");
  EXPECT_EQ(mistakesOf("[backend]\nurl = \"h2c://a:1\"\n"),
            "plait.toml:1:1: backend: expected sections [[backend]], found [backend]\n");
}

TEST(Config, AValueOutOfItsRangeIsReported) {
  EXPECT_EQ(mistakesOf("[server]\nworkers = 0\n"), "plait.toml:2:11: workers: 0 is outside of 1 to 256\n");
  EXPECT_EQ(mistakesOf("[timeouts]\nstall_ms = -1\n"), "plait.toml:2:12: stall_ms: -1 is outside of 1 to 604800000\n");
  EXPECT_EQ(mistakesOf("[limits]\ncoalesce_us = 20000\n"),
            "plait.toml:2:15: coalesce_us: 20000 is outside of 0 to 10000\n");
  EXPECT_EQ(mistakesOf("[timeouts]\nbackoff_min_ms = 5000\n"),
            "plait.toml:2:18: backoff_min_ms: 5000 is more than backoff_max_ms, which is 1000\n");
  EXPECT_EQ(mistakesOf("[server]\nio = \"kqueue\"\n"),
            "plait.toml:2:6: io: expected one of \"auto\", \"uring\", \"epoll\", found \"kqueue\"\n");
}

TEST(Config, MoreBackendsThanThereArePlacesForAreAMistakeThatNamesTheKey) {
  const std::string backends = "[[backend]]\nurl = \"h2c://a:1\"\n[[backend]]\nurl = \"h2c://b:1\"\n";
  const auto mistakes = [&](uint32_t endpoints) {
    Config config;
    EXPECT_EQ(textOf(parseConfig(fmt::format("[[listen]]\naddress = \"127.0.0.1:80\"\n{}[limits]\nendpoints = {}\n",
                                             backends, endpoints),
                                 "plait.toml", config)),
              "");
    return textOf(completeConfig(config, true, "plait.toml"));
  };
  EXPECT_EQ(mistakes(1), "plait.toml:6:7: there are 2 backends, more than the 1 that limits.endpoints allows\n");
  EXPECT_EQ(mistakes(2), "");
  EXPECT_EQ(mistakesOf("[limits]\nendpoints = 0\n"), "plait.toml:2:13: endpoints: 0 is outside of 1 to 65536\n");
}

// Each bound is in its range, and one of them not beside the other.
TEST(Config, LimitsThatDoNotGoTogetherAreAMistakeAtTheKeyThatWasSet) {
  const auto mistakes = [](std::string_view limits) {
    Config config;
    const std::string text =
        fmt::format("[[listen]]\naddress = \"127.0.0.1:80\"\n[[backend]]\nurl = \"h2c://a:1\"\n[limits]\n{}", limits);
    EXPECT_EQ(textOf(parseConfig(text, "plait.toml", config)), "");
    return textOf(completeConfig(config, true, "plait.toml"));
  };
  EXPECT_EQ(mistakes("receive_buffers = 100\n"),
            "plait.toml:6:19: receive_buffers: 100 is not a power of two: a ring has as many places\n");
  EXPECT_EQ(mistakes("send_blocks = 64\n"), "") << "what nobody has set follows";
  EXPECT_EQ(mistakes("client_connections = 50000\nupstream_connections = 4096\n"), "");
  EXPECT_EQ(mistakes("send_blocks = 64\nupstream_connections = 1024\n"),
            "plait.toml:7:24: upstream_connections: 1024 is more than the 8 that send_blocks = 64 allows: clients that "
            "do not read leave a send block to each connection to a backend\n");
  EXPECT_EQ(
      mistakes("send_blocks = 8192\nclient_connections = 9000\n"),
      "plait.toml:7:22: client_connections: 9000 is more than the 5246 that send_blocks = 8192 allows: clients that "
      "do not read leave a send block to each other\n");
  EXPECT_EQ(mistakes("upload_pool_bytes = 1048576\nclient_stream_window = 1048576\n"),
            "plait.toml:7:24: client_stream_window: 1048576 is more than the 131072 that upload_pool_bytes = 1048576 "
            "allows: one upload may hold an eighth of the memory for uploads\n");
  EXPECT_EQ(mistakes("exchanges = 64\nburst_pool_bytes = 0\nupstream_stream_window = 1048576\n"), "")
      << "the blocks of a window follow it";
}

TEST(Config, AllMistakesOfAFileAreReportedInItsOrder) {
  EXPECT_EQ(
      mistakesOf(R"([access_log]
format = "xml"
[[listen]]
address = "localhost:80"
tls = "yes"
[[listen]]
[[backend]]
url = "ftp://x"
hots = "client"
[forwarding]
trusted_proxies = ["10.0.0.1/8"]
)"),
      "plait.toml:2:10: format: expected one of \"combined\", \"json\", found \"xml\"\n"
      "plait.toml:4:11: address: expected ADDRESS:PORT with a numeric address, as in 127.0.0.1:8080 or [::1]:8080\n"
      "plait.toml:5:7: tls: expected one of \"off\", \"on\", \"auto\", found \"yes\"\n"
      "plait.toml:6:1: [[listen]] needs address = \"ADDRESS:PORT\"\n"
      "plait.toml:8:7: url: ftp:// is unknown: expected h2c://host:port, http://host[:port], https://host[:port] or "
      "host:port\n"
      "plait.toml:9:1: unknown key \"hots\", did you mean \"host\"?\n"
      "plait.toml:11:20: trusted_proxies: \"10.0.0.1/8\" has bits set behind its prefix\n");
}

TEST(Config, APortThatTakesProxyHeadersNamesWhoseTheyAre) {
  const auto listen = [](const char* rest) {
    return fmt::format("[[listen]]\naddress = \"127.0.0.1:80\"\n{}[[backend]]\nurl = \"h2c://a:1\"\n", rest);
  };
  Config config;
  EXPECT_EQ(mistakesOf(listen("proxy_protocol = \"require\"\nproxy_trusted = [\"10.0.0.0/8\", \"::1\"]\n")), "");
  EXPECT_TRUE(
      parseConfig(listen("proxy_protocol = \"require\"\nproxy_trusted = [\"10.0.0.0/8\"]\n"), "a", config).empty());
  EXPECT_TRUE(config.listeners[0].has_proxy_protocol);
  EXPECT_TRUE(config.listeners[0].proxy_trusted.contains("10.1.2.3"));
  const std::string needs =
      "proxy_protocol: \"require\" needs proxy_trusted, the networks of the balancers, as in [\"10.0.0.0/8\"]\n";
  EXPECT_EQ(mistakesOf(listen("proxy_protocol = \"require\"\n")), "plait.toml:3:18: " + needs);
  EXPECT_EQ(mistakesOf(listen("proxy_protocol = \"require\"\nproxy_trusted = []\n")), "plait.toml:4:17: " + needs);
  const std::string alone = "proxy_trusted: counts with proxy_protocol = \"require\" alone\n";
  EXPECT_EQ(mistakesOf(listen("proxy_trusted = [\"10.0.0.0/8\"]\n")), "plait.toml:3:17: " + alone);
  EXPECT_EQ(mistakesOf(listen("proxy_protocol = \"off\"\nproxy_trusted = [\"::1\"]\n")), "plait.toml:4:17: " + alone);
  EXPECT_EQ(mistakesOf(listen("proxy_protocol = \"require\"\nproxy_trusted = [\"10.0.0.1/8\"]\n")),
            "plait.toml:4:18: proxy_trusted: \"10.0.0.1/8\" has bits set behind its prefix\n");
}

TEST(Config, APlainListenerAloneRedirectsToHttps) {
  const auto listen = [](const char* rest) {
    return fmt::format("[[listen]]\naddress = \"127.0.0.1:80\"\n{}[[backend]]\nurl = \"h2c://a:1\"\n", rest);
  };
  Config config;
  EXPECT_EQ(mistakesOf(listen("redirect_https = true\n")), "");
  EXPECT_TRUE(parseConfig(listen("redirect_https = true\n"), "a", config).empty());
  EXPECT_TRUE(config.listeners[0].redirects_https);
  for (const char* tls : {"on", "auto"}) {
    Config secure;
    const std::string keys = fmt::format("redirect_https = true\ntls = \"{}\"\ncert = \"a\"\nkey = \"b\"\n", tls);
    EXPECT_TRUE(parseConfig(listen(keys.c_str()), "a.toml", secure).empty());
    EXPECT_EQ(textOf(completeConfig(secure, true, "a.toml")),
              "a.toml:3:18: redirect_https: this listener speaks TLS: it is for a plain one beside it\n");
  }
}

TEST(Config, AnIncludedFileAddsToTheOneThatIncludesIt) {
  Config config;
  EXPECT_EQ(textOf(parseConfig("include = [\"conf.d/*.toml\", \"/etc/more.toml\"]\n[server]\nworkers = 2\n"
                               "[[backend]]\nurl = \"h2c://a:1\"\n",
                               "some/plait.toml", config)),
            "");
  ASSERT_EQ(config.includes.size(), 2u);
  EXPECT_EQ(config.includes[0].value, "some/conf.d/*.toml");
  EXPECT_EQ(config.includes[1].value, "/etc/more.toml");
  EXPECT_EQ(textOf(parseIncluded("[[backend]]\nurl = \"h2c://b:1\"\n[limits]\nexchanges = 100\n", "b.toml", config)),
            "");
  EXPECT_EQ(config.backends.size(), 2u);
  EXPECT_EQ(config.limits.exchanges, 100u);
  EXPECT_EQ(textOf(parseIncluded("include = \"x.toml\"\n[server]\nwatch = true\n", "c.toml", config)),
            "c.toml:1:11: include: this file is included itself, and cannot include others\n"
            "c.toml:2:1: [server]: some/plait.toml:2:1 has this section already\n");
  EXPECT_FALSE(config.is_broken);
  EXPECT_EQ(parseIncluded("[[route]\n", "d.toml", config).size(), 1u);
  EXPECT_TRUE(config.is_broken);
}

TEST(Config, AStreamMayBeIdleForTenMinutesByDefault) {
  Config config;
  EXPECT_GT(config.pool_timeouts.stream_idle_ms, 600'000);
}

TEST(Config, StandardOutputHasNoFolder) {
  Config config;
  EXPECT_EQ(textOf(parseConfig("[access_log]\nfile = \"-\"\n", "/etc/plait.toml", config)), "");
  EXPECT_EQ(config.access_log.file.value, "-");
}

TEST(Config, BrokenTomlIsOneMistakeWithItsPlace) {
  const std::string text = mistakesOf("[server]\nworkers = \n");
  EXPECT_TRUE(text.starts_with("plait.toml:2:")) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
}

TEST(Config, AStringWithoutQuotesIsSaidToNeedThem) {
  const auto mistake = [](std::string_view section, std::string_view line) {
    return mistakesOf(fmt::format("{}\n{}\n", section, line));
  };
  EXPECT_EQ(mistake("[[backend]]", "url = h2c://a:1  # one"), "plait.toml:2:7: a string needs quotes: \"h2c://a:1\"\n");
  EXPECT_EQ(mistake("[[listen]]", "address=127.0.0.1:80"), "plait.toml:2:9: a string needs quotes: \"127.0.0.1:80\"\n");
  EXPECT_EQ(mistake("[[listen]]", "address = [::]:80"), "plait.toml:2:11: a string needs quotes: \"[::]:80\"\n");
  EXPECT_EQ(mistake("[[listen]]", "tls = on"), "plait.toml:2:7: a string needs quotes: \"on\"\n");
  EXPECT_EQ(mistake("[access_log]", "file = ./a.log"), "plait.toml:2:8: a string needs quotes: \"./a.log\"\n");
  EXPECT_EQ(mistake("[forwarding]", "trusted_proxies = [\"::1\", 10.0.0.0/8]"),
            "plait.toml:2:27: a string needs quotes: \"10.0.0.0/8\"\n");
  // Other faults keep the parser's words.
  for (const char* line : {"io = \"auto", "workers =", "workers 2", "workers = \"a\" 3", "= 4", "x = [1, 2"}) {
    const std::string text = mistake("[server]", line);
    EXPECT_EQ(text.find("quotes"), std::string::npos) << text;
    EXPECT_TRUE(text.starts_with("plait.toml:2:") || text.starts_with("plait.toml:3:")) << text;
  }
}

TEST(Config, FlagsAddToTheFileAndOverrideIt) {
  Config config;
  ASSERT_EQ(mistakesOf(""), "");
  parseConfig(
      "[server]\nworkers = 2\nio = \"uring\"\n[[backend]]\nurl = \"https://a:1\"\n[[backend]]\nurl = "
      "\"https://b:1\"\nca_file = \"own.pem\"\n",
      "plait.toml", config);
  Flags flags;
  flags.workers = 5;
  flags.backends = {"h2c://c:3"};
  flags.listen = {"tls:127.0.0.1:1", "127.0.0.1:2", "auto:[::1]:3"};
  flags.port = "4";
  flags.tls_cert = "cert.pem";
  flags.tls_key = "key.pem";
  flags.ca_file = "ca.pem";
  flags.backend_cert = "bc.pem";
  flags.backend_key = "bk.pem";
  flags.access_log = "-";
  flags.log_format = "json";
  flags.admin = "127.0.0.1:0";
  flags.trusted_proxies = {"192.0.2.0/24"};
  EXPECT_EQ(textOf(applyFlags(flags, config)), "");
  EXPECT_EQ(textOf(completeConfig(config, true, "plait.toml")), "");
  EXPECT_EQ(config.workers, 5u);
  EXPECT_EQ(config.io, IoKind::uring);
  ASSERT_EQ(config.backends.size(), 3u);
  EXPECT_EQ(config.backends[0].ca_file.value, "ca.pem");
  EXPECT_EQ(config.backends[0].client_cert.value, "bc.pem");
  EXPECT_EQ(config.backends[0].client_key.value, "bk.pem");
  EXPECT_EQ(config.backends[1].ca_file.value, "own.pem");
  EXPECT_EQ(config.backends[2].ca_file.value, "");
  ASSERT_EQ(config.listeners.size(), 4u);
  EXPECT_EQ(config.listeners[0].tls, ListenTls::on);
  EXPECT_EQ(config.listeners[0].cert.value, "cert.pem");
  EXPECT_EQ(config.listeners[1].tls, ListenTls::off);
  EXPECT_EQ(config.listeners[1].cert.value, "");
  EXPECT_EQ(config.listeners[2].tls, ListenTls::automatic);
  EXPECT_EQ(listenText(config.listeners[2]), "[::1]:3");
  EXPECT_EQ(listenText(config.listeners[3]), "0.0.0.0:4");
  EXPECT_EQ(config.access_log.file.value, "-");
  EXPECT_EQ(config.access_log.format, LogFormat::json);
  EXPECT_TRUE(config.forward.trusted_proxies.contains("192.0.2.200"));
}

TEST(Config, OnePrefixSaysForAnAddressAndForAPortAloneThatThereIsTls) {
  Config config;
  Flags flags;
  flags.listen = {"127.0.0.1:1", "tls:127.0.0.1:2", "auto:127.0.0.1:3"};
  flags.port = "tls:4";
  flags.tls_cert = "cert.pem";
  flags.tls_key = "key.pem";
  EXPECT_EQ(textOf(applyFlags(flags, config)), "");
  ASSERT_EQ(config.listeners.size(), 4u);
  EXPECT_EQ(config.listeners[0].tls, ListenTls::off);
  EXPECT_EQ(config.listeners[1].tls, ListenTls::on);
  EXPECT_EQ(config.listeners[2].tls, ListenTls::automatic);
  EXPECT_EQ(config.listeners[3].tls, ListenTls::on);
  EXPECT_EQ(listenText(config.listeners[3]), "0.0.0.0:4");
  EXPECT_EQ(config.listeners[3].cert.value, "cert.pem");
  Config plain;
  flags.listen = {"127.0.0.1:1"};
  flags.port = "4";
  EXPECT_EQ(textOf(applyFlags(flags, plain)),
            "--tls-cert: no listener uses it: one with TLS begins with tls: or auto:, as in -p tls:8443\n");
  EXPECT_EQ(plain.listeners[1].tls, ListenTls::off);
  Config wrong;
  Flags ports;
  ports.port = "70000";
  EXPECT_EQ(textOf(applyFlags(ports, wrong)), "--port 70000: expected a port, as in 8080 or tls:8443\n");
}

TEST(Config, MistakesInFlagsNameTheFlag) {
  Config config;
  Flags flags;
  flags.backends = {"gopher://x"};
  flags.listen = {"tls:nowhere"};
  flags.tls_cert = "a.pem";
  flags.backend_key = "b.pem";
  flags.admin = "9100";
  flags.trusted_proxies = {"all"};
  EXPECT_EQ(
      textOf(applyFlags(flags, config)),
      "--backend gopher://x: gopher:// is unknown: expected h2c://host:port, http://host[:port], https://host[:port] "
      "or host:port\n"
      "--listen tls:nowhere: expected ADDRESS:PORT with a numeric address, as in 127.0.0.1:8080 or [::1]:8080\n"
      "--tls-cert: needs --tls-key as well\n"
      "--backend-key: needs --backend-cert as well\n"
      "--admin 9100: expected ADDRESS:PORT with a numeric address, as in 127.0.0.1:8080 or [::1]:8080\n"
      "--trusted-proxy all: \"all\" is no address or network, as in 10.0.0.0/8 or ::1\n");
}

TEST(Config, WhatIsMissingInTheWholeIsReported) {
  Config config;
  EXPECT_EQ(textOf(completeConfig(config, false, "")),
            "--listen: nowhere to listen: use -p PORT, --listen ADDRESS:PORT or [[listen]]\n");
  ASSERT_EQ(textOf(parseConfig(R"([[listen]]
address = "127.0.0.1:1"
tls = "auto"
[[listen]]
address = "127.0.0.1:2"
cert = "c"
[[backend]]
url = "h2c://a:1"
server_name = "b"
[[backend]]
url = "https://a"
client_cert = "b"
host = "not/a host"
)",
                               "plait.toml", config)),
            "");
  EXPECT_EQ(textOf(completeConfig(config, true, "plait.toml")),
            "plait.toml:2:11: TLS needs a certificate and its key: cert and key, [[certificate]], or --tls-cert and "
            "--tls-key\n"
            "plait.toml:6:8: this listener has no TLS: say tls = \"on\" or tls = \"auto\"\n"
            "plait.toml:9:15: this backend has no TLS: its url does not begin with https://\n"
            "plait.toml:12:15: client_cert and client_key go together\n"
            "plait.toml:13:8: host: expected \"client\", \"backend\", or a host name with or without a port\n");
}

TEST(Config, UrlsOfBackendsAreTakenApart) {
  const auto parsed = [](std::string_view url) {
    BackendConfig backend;
    const std::string wrong = parseBackendUrl(url, backend);
    return wrong.empty() ? authorityOf(backend) : "wrong";
  };
  EXPECT_EQ(parsed("h2c://a:9001"), "a:9001");
  EXPECT_EQ(parsed("h2c://[::1]:9001/"), "[::1]:9001");
  EXPECT_EQ(parsed("https://example.test"), "example.test");
  EXPECT_EQ(parsed("https://example.test:444"), "example.test:444");
  EXPECT_EQ(parsed("a:80"), "a");
  EXPECT_EQ(parsed("http://a"), "a");
  EXPECT_EQ(parsed("http://a:8080"), "a:8080");
  EXPECT_EQ(parsed("http://[fe80::1%eth9]:8080"), "[fe80::1%eth9]:8080");
  for (const char* url : {"", "h2c://", "h2c://a", "h2c://a:0", "h2c://a:70000", "h2c://a:1/path", "https://user@a",
                          "https://a?b", "h2c://[::1:1", "h2c://a\r\nb:1", "http://a\x01", "http://a[]", "http://a:b:c",
                          "http://[::1%]", "http://[::g]", "http://a\"b"}) {
    EXPECT_EQ(parsed(url), "wrong") << url;
  }
}

TEST(Config, EachFaultOfAUrlHasItsSentence) {
  const auto faultOf = [](std::string_view url) {
    BackendConfig backend;
    return parseBackendUrl(url, backend);
  };
  EXPECT_EQ(faultOf("http://host/path"), "a backend has no path, each request brings its own: write http://host");
  EXPECT_EQ(faultOf("host:80/a?b"), "a backend has no path, each request brings its own: write host:80");
  EXPECT_EQ(faultOf("https://u:p@host"), "a user or a password cannot be sent: write the host without them");
  EXPECT_EQ(faultOf("host"), "there is no port: write host:9001, or http://host or https://host for theirs");
  EXPECT_EQ(faultOf("h2c://host"), "there is no port, as in h2c://host:9001");
  for (const char* url : {"unix:/run/app.sock", "unix:///run/app.sock", "http+unix:/run/app.sock"}) {
    EXPECT_EQ(faultOf(url), "a socket of Unix cannot be a backend: name a host and a port") << url;
  }
  EXPECT_EQ(faultOf("http://::1:9001"), "an address of IPv6 stands in brackets, as in http://[::1]:9001");
  EXPECT_EQ(faultOf("2001:db8::1"), "an address of IPv6 stands in brackets, as in [::1]:9001");
  EXPECT_EQ(faultOf("grpc://a:1"),
            "grpc:// is unknown: expected h2c://host:port, http://host[:port], https://host[:port] or host:port");
  for (const char* url : {"http://[a]:80", "[unix]:6", "h2c://[127.0.0.1]", "https://[a"}) {
    EXPECT_EQ(faultOf(url), "brackets are for addresses of IPv6: write the host without them") << url;
  }
  for (const char* url : {"a:0", "a:70000", "http://a:", "http://[::1]:x"}) {
    EXPECT_EQ(faultOf(url), "the port is no number from 1 to 65535") << url;
  }
  for (const char* url : {"", "http://", ":80"})
    EXPECT_EQ(faultOf(url), "there is no host, as in h2c://api-1:9001") << url;
  EXPECT_EQ(faultOf("a b:1"), "a b is no host name and no address");
}

}  // namespace
}  // namespace plait
