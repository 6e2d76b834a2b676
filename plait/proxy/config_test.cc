#include "plait/proxy/config.h"

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

[[listen]]
address = "127.0.0.1:8080"

[[listen]]
address = "[::1]:8443"
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
trusted_proxies = ["10.0.0.0/8", "::1"]

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
receive_buffers = 64
coalesce_us = 0

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
  ASSERT_EQ(config.listeners.size(), 2u);
  EXPECT_EQ(listenText(config.listeners[0]), "127.0.0.1:8080");
  EXPECT_EQ(config.listeners[0].tls, ListenTls::off);
  EXPECT_EQ(listenText(config.listeners[1]), "[::1]:8443");
  EXPECT_EQ(config.listeners[1].tls, ListenTls::on);
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
  EXPECT_TRUE(config.forward.forwarded);
  EXPECT_FALSE(config.forward.via);
  EXPECT_TRUE(config.forward.trusted_proxies.contains("10.1.2.3"));
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
  EXPECT_EQ(config.limits.receive_buffers, 64u);
  EXPECT_EQ(config.limits.coalesce_us, 0u);
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
  EXPECT_EQ(mistakesOf("server = 1\n"), "plait.toml:1:10: server: expected a section [server], found a number\n");
  EXPECT_EQ(mistakesOf("[backend]\nurl = \"h2c://a:1\"\n"),
            "plait.toml:1:1: backend: expected sections [[backend]], found [backend]\n");
}

TEST(Config, AValueOutOfItsRangeIsReported) {
  EXPECT_EQ(mistakesOf("[server]\nworkers = 0\n"), "plait.toml:2:11: workers: 0 is outside of 1 to 256\n");
  EXPECT_EQ(mistakesOf("[timeouts]\nstall_ms = -1\n"), "plait.toml:2:12: stall_ms: -1 is outside of 1 to 604800000\n");
  EXPECT_EQ(mistakesOf("[limits]\nreceive_buffers = 100\n"),
            "plait.toml:2:19: receive_buffers: 100 is not a power of two\n");
  EXPECT_EQ(mistakesOf("[limits]\ncoalesce_us = 20000\n"),
            "plait.toml:2:15: coalesce_us: 20000 is outside of 0 to 10000\n");
  EXPECT_EQ(mistakesOf("[timeouts]\nbackoff_min_ms = 5000\n"),
            "plait.toml:2:18: backoff_min_ms: 5000 is more than backoff_max_ms, which is 1000\n");
  EXPECT_EQ(mistakesOf("[server]\nio = \"kqueue\"\n"),
            "plait.toml:2:6: io: expected one of \"auto\", \"uring\", \"epoll\", found \"kqueue\"\n");
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
      "plait.toml:8:7: url: expected h2c://host:port, http://host[:port], https://host[:port] or host:port\n"
      "plait.toml:9:1: unknown key \"hots\", did you mean \"host\"?\n"
      "plait.toml:11:20: trusted_proxies: \"10.0.0.1/8\" has bits set behind its prefix\n");
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
  flags.port = 4;
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

TEST(Config, MistakesInFlagsNameTheFlag) {
  Config config;
  Flags flags;
  flags.backends = {"gopher://x"};
  flags.listen = {"tls:nowhere"};
  flags.tls_cert = "a.pem";
  flags.backend_key = "b.pem";
  flags.admin = "9100";
  flags.trusted_proxies = {"all"};
  EXPECT_EQ(textOf(applyFlags(flags, config)),
            "--backend gopher://x: expected h2c://host:port, http://host[:port], https://host[:port] or host:port\n"
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
            "plait.toml:2:11: TLS needs a certificate and its key: cert and key, or --tls-cert and --tls-key\n"
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

}  // namespace
}  // namespace plait
