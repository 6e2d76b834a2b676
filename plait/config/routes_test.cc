// [[route]] and [[cluster]] as they are written: what arrives, and which mistakes are said where.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "plait/config/config.h"

namespace plait {
namespace {

// Six lines, so that what a test adds begins with the seventh.
constexpr std::string_view front = R"([[listen]]
address = "127.0.0.1:0"
[[cluster]]
name = "api"
[[cluster.backend]]
url = "h2c://a:1"
)";

std::string mistakesOf(std::string_view more, Config* out = nullptr) {
  Config config;
  // Clusters that no route leads to are a mistake of their own.
  const char* const route = more.find("[[route]]") == more.npos ? "[[route]]\ncluster = \"api\"\n" : "";
  std::vector<ConfigError> errors = parseConfig(std::string(front) + std::string(more) + route, "p.toml", config);
  for (ConfigError& error : completeConfig(config, true, "p.toml")) errors.push_back(std::move(error));
  std::string text;
  for (const ConfigError& error : errors) text += error.text() + "\n";
  if (out != nullptr) *out = std::move(config);
  return text;
}

TEST(RouteConfig, EveryKeyOfARouteArrives) {
  Config config;
  EXPECT_EQ(mistakesOf(R"([[route]]
name = "r"
host = "Shop.example"
path = "/api"
method = ["GET", "POST"]
header = { x-b = "2", x-a = "1" }
query = { q = "v w" }
priority = -3
split = [{ cluster = "api", weight = 95 }, { cluster = "api" }]
split_key = { header = "X-User" }
rewrite = { path = "/v2", host = "inner:81" }
request_fields = { set = { x-e = "1" }, add = { x-f = "2" }, remove = ["x-g"] }
response_fields = { remove = "server" }
timeouts = { response_head_ms = 1, idle_ms = 2, total_ms = 3 }
retries = { max = 4, unknown = "never" }
limits = { body_bytes = 5, requests = 6 }
allow = "10.0.0.0/8"
deny = ["10.1.0.0/16", "10.2.0.0/16"]
hsts = { max_age_s = 7, include_subdomains = true, preload = true }
error_pages = [{ status = 502, file = "502.html" }]
)",
                       &config),
            "");
  ASSERT_EQ(config.routes.size(), 1u);
  const RouteConfig& route = config.routes[0];
  EXPECT_EQ(route.name.value, "r");
  EXPECT_EQ(route.place.text(), "p.toml:7:1");
  EXPECT_EQ(route.hosts.at(0).value, "Shop.example");
  EXPECT_EQ(route.path.value, "/api");
  EXPECT_EQ(route.methods.size(), 2u);
  EXPECT_EQ(route.fields.at(0).name.value, "x-b") << "in the order of the text";
  EXPECT_EQ(route.query.at(0).value.value, "v w");
  EXPECT_EQ(route.priority, -3);
  EXPECT_EQ(route.split.at(0).weight, 95u);
  EXPECT_EQ(route.split.at(1).weight, 1u);
  EXPECT_EQ(route.split_field.value, "X-User");
  EXPECT_EQ(route.rewrite_path.value, "/v2");
  EXPECT_EQ(route.rewrite_host.value, "inner:81");
  EXPECT_EQ(route.request_fields.set.at(0).name.value, "x-e");
  EXPECT_EQ(route.request_fields.add.at(0).value.value, "2");
  EXPECT_EQ(route.request_fields.remove.at(0).value, "x-g");
  EXPECT_EQ(route.response_fields.remove.at(0).value, "server");
  EXPECT_EQ(route.response_head_ms.value, 1);
  EXPECT_EQ(route.idle_ms.value, 2);
  EXPECT_EQ(route.total_ms.value, 3);
  EXPECT_EQ(route.retries_max.value, 4);
  EXPECT_FALSE(route.retries_unknown);
  EXPECT_EQ(route.body_bytes.value, 5);
  EXPECT_EQ(route.requests.value, 6);
  EXPECT_EQ(route.allow.size(), 1u);
  EXPECT_EQ(route.deny.size(), 2u);
  EXPECT_EQ(route.hsts_seconds.value, 7);
  EXPECT_TRUE(route.hsts_subdomains && route.hsts_preload);
  EXPECT_EQ(route.error_pages.at(0).status.value, 502);
  EXPECT_EQ(route.error_pages.at(0).file.value, "502.html");
}

TEST(RouteConfig, EveryKeyOfAClusterArrives) {
  Config config;
  EXPECT_EQ(mistakesOf(R"([[cluster]]
name = "b.2-c_D"
balance = "least_loaded"
outliers = { failures = 1, eject_ms = 2, max_percent = 3 }
limits = { requests = 4, queue = 0, connections = 5 }
timeouts = { connect_ms = 6, queue_ms = 7, response_head_ms = 8, ping_ms = 0 }
[[cluster.backend]]
url = "https://b"
[[cluster.backend]]
url = "http://c:80"
)",
                       &config),
            "");
  ASSERT_EQ(config.clusters.size(), 2u);
  const ClusterConfig& cluster = config.clusters[1];
  EXPECT_EQ(cluster.outliers, (OutlierOptions{1, 2, 3}));
  EXPECT_EQ(cluster.requests, 4u);
  EXPECT_EQ(cluster.queue, 0u);
  EXPECT_EQ(cluster.connections.value, 5);
  EXPECT_EQ(cluster.said_timeouts.at("connect_ms"), 6);
  EXPECT_EQ(cluster.said_timeouts.at("ping_ms"), 0);
  EXPECT_EQ(cluster.response_head_ms.value, 8);
  EXPECT_EQ(cluster.backends.size(), 2u);
}

TEST(RouteConfig, ARouteHasOneAction) {
  EXPECT_EQ(mistakesOf("[[route]]\nname = \"r\"\n"),
            "p.toml:7:1: the route \"r\" does nothing: write one of cluster, split, redirect and respond\n");
  EXPECT_EQ(
      mistakesOf("[[route]]\ncluster = \"api\"\nredirect = { path = \"/x\" }\n"),
      "p.toml:7:1: the route \"route-1\" does several things: write one of cluster, split, redirect and respond\n");
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"api\"\nsplit = []\n"), "") << "an empty split is none";
}

TEST(RouteConfig, AClusterThatIsMissingIsNamedWithTheOneThatWasMeant) {
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"apj\"\n"),
            "p.toml:8:11: cluster: there is no cluster \"apj\", did you mean \"api\"?\n");
  EXPECT_EQ(mistakesOf("[[route]]\nsplit = [{ cluster = \"api\" }, { cluster = \"elsewhere\" }]\n"),
            "p.toml:8:43: cluster: there is no cluster \"elsewhere\"\n");
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"default\"\n"),
            "p.toml:8:11: cluster: there is no cluster \"default\": it is what [[backend]] and -b name\n");
  EXPECT_EQ(mistakesOf("[[backend]]\nurl = \"h2c://b:1\"\n[[route]]\ncluster = \"default\"\n"), "");
}

TEST(RouteConfig, ClustersHaveNamesOfTheirOwnAndBackends) {
  EXPECT_EQ(mistakesOf("[[cluster]]\nname = \"api\"\n[[cluster.backend]]\nurl = \"h2c://b:1\"\n"),
            "p.toml:8:8: name: there is a cluster \"api\" already\n");
  EXPECT_EQ(mistakesOf("[[backend]]\nurl = \"h2c://b:1\"\n[[cluster]]\nname = \"default\"\n[[cluster.backend]]\nurl = "
                       "\"h2c://c:1\"\n"),
            "p.toml:10:8: name: [[backend]] and -b are the cluster \"default\" already\n");
  EXPECT_EQ(mistakesOf("[[cluster]]\nname = \"b\"\n"), "p.toml:7:1: the cluster \"b\" has no [[cluster.backend]]\n");
  EXPECT_EQ(mistakesOf("[[cluster]]\nname = \"b c\"\n[[cluster.backend]]\nurl = \"h2c://b:1\"\n"),
            "p.toml:8:8: name: letters, digits, '-', '_' and '.' make a name, 64 of them at the most\n");
  EXPECT_EQ(mistakesOf("[[cluster]]\n[[cluster.backend]]\nurl = \"h2c://b:1\"\n"),
            "p.toml:7:1: [[cluster]] needs name = \"NAME\"\n");
}

TEST(RouteConfig, KeysOfALaterVersionAreSaidToBeThat) {
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"api\"\ncompress = true\nmirror = { cluster = \"api\" }\n"),
            "p.toml:9:12: compress: not in this version\np.toml:10:10: mirror: not in this version\n");
  EXPECT_EQ(mistakesOf("[[cluster]]\nname = \"b\"\nbalance = \"hash\"\nsticky = { cookie = \"c\" }\n"
                       "[[cluster.backend]]\nurl = \"h2c://b:1\"\nweight = 2\n"),
            "p.toml:9:11: balance: \"hash\" is not in this version\np.toml:10:10: sticky: not in this version\n"
            "p.toml:13:10: weight: not in this version\n");
  EXPECT_EQ(mistakesOf("[[cluster]]\nname = \"b\"\nbalance = \"best\"\n[[cluster.backend]]\nurl = \"h2c://b:1\"\n"),
            "p.toml:9:11: balance: expected one of \"least_loaded\", found \"best\"\n");
}

TEST(RouteConfig, WhatDoesNotGoTogetherIsAMistake) {
  EXPECT_EQ(mistakesOf("[[route]]\nname = \"r\"\ncluster = \"api\"\npath = \"/a\"\npath_exact = \"/b\"\n"),
            "p.toml:7:1: the route \"r\" has several paths: write one of path, path_exact and path_regex\n");
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"api\"\npath = \"/a\"\nexample = \"/a\"\n"),
            "p.toml:10:11: example: only an expression (path_regex) needs one\n");
  EXPECT_EQ(mistakesOf("[[route]]\nrespond = { body = \"x\" }\nrewrite = { path = \"/x\" }\n"),
            "p.toml:9:20: rewrite: only a request that goes to a cluster is rewritten\n");
  for (const int status : {204, 205, 304}) {
    EXPECT_EQ(mistakesOf(fmt::format("[[route]]\nrespond = {{ status = {}, body = \"x\" }}\n", status)),
              fmt::format("p.toml:8:34: body: a response with status {} has no content (RFC 9110 §15), leave it out\n",
                          status));
    EXPECT_EQ(mistakesOf(fmt::format("[[route]]\nrespond = {{ status = {}, file = \"f\" }}\n", status)),
              fmt::format("p.toml:8:34: file: a response with status {} has no content (RFC 9110 §15), leave it out\n",
                          status));
    EXPECT_EQ(mistakesOf(fmt::format("[[route]]\nrespond = {{ status = {} }}\n", status)), "");
  }
  EXPECT_EQ(mistakesOf("[[route]]\nrespond = { body = \"x\", file = \"f\" }\n"),
            "p.toml:8:32: file: the response has a body already, write one of body and file\n");
  EXPECT_EQ(mistakesOf("[[route]]\nredirect = { path = \"/x\" }\nrequest_fields = { set = { a = \"b\" } }\n"),
            "p.toml:7:1: request_fields: only a request that goes to a cluster has them\n");
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"api\"\nsplit_key = { cookie = \"c\" }\n"),
            "p.toml:7:1: split_key: there is no split\n");
  EXPECT_EQ(mistakesOf("[[route]]\nsplit = [{ cluster = \"api\" }]\nsplit_key = { cookie = \"c\", header = \"h\" }\n"),
            "p.toml:7:1: split_key: write one of cookie, header and client_address\n");
  EXPECT_EQ(mistakesOf("[[route]]\nsplit = [{ cluster = \"api\", weight = 0 }]\n"),
            "p.toml:8:10: split: no side has a weight above 0\n");
  EXPECT_EQ(mistakesOf("[[route]]\nname = \"r\"\ncluster = \"api\"\n[[route]]\nname = \"r\"\ncluster = \"api\"\n"),
            "p.toml:11:8: name: there is a route \"r\" already\n");
}

TEST(RouteConfig, ValuesThatCannotBeAreMistakes) {
  EXPECT_EQ(mistakesOf("[[route]]\nredirect = { status = 304 }\n"),
            "p.toml:8:23: status: 304 is none of 301, 302, 303, 307, 308\n");
  EXPECT_EQ(mistakesOf("[[route]]\nredirect = { scheme = \"ftp\" }\n"),
            "p.toml:8:23: scheme: expected \"http\" or \"https\"\n");
  EXPECT_EQ(mistakesOf("[[route]]\nrespond = { status = 600 }\n"),
            "p.toml:8:22: status: 600 is outside of 200 to 599\n");
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"api\"\nrewrite = { path = \"x\", host = \"a b\" }\n"),
            "p.toml:9:20: rewrite.path: a path begins with \"/\"\n"
            "p.toml:9:32: rewrite.host: expected a host name with or without a port\n");
  EXPECT_EQ(
      mistakesOf("[[route]]\ncluster = \"api\"\ntimeouts = { total_ms = -1 }\nretries = { unknown = \"always\" }\n"),
      "p.toml:9:25: total_ms: -1 is outside of 0 to 604800000\n"
      "p.toml:10:23: unknown: expected one of \"idempotent\", \"never\", found \"always\"\n");
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"api\"\nhsts = { preload = true }\n"),
            "p.toml:9:8: hsts needs max_age_s = SECONDS\n");
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"api\"\nerror_pages = [{ status = 404 }]\n"),
            "p.toml:9:16: error_pages: each needs status = NUMBER and file = \"FILE\"\n");
  EXPECT_EQ(mistakesOf("[[route]]\nsplit = [{ weight = 1 }]\n"),
            "p.toml:8:10: split: each side needs cluster = \"NAME\"\n");
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"api\"\nheader = \"x\"\npaths = \"/x\"\n"),
            "p.toml:9:10: header: expected { name = \"value\" }, found a string\n"
            "p.toml:10:1: unknown key \"paths\", did you mean \"path\"?\n");
}

}  // namespace
}  // namespace plait
