// From a configuration to a plan: what the plan has, what it shares with the one before, and which mistakes only the
// whole can show.
#include "plait/config/compile.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace plait {
namespace {

constexpr std::string_view front = R"([[listen]]
address = "127.0.0.1:0"
[[cluster]]
name = "api"
[[cluster.backend]]
url = "h2c://a:1"
)";

class Compile : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "plait-compile-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Its mistakes. Paths in it are relative to the test's folder.
  std::string compileAll(const std::string& text) {
    Config config;
    const std::string file = folder_ + "/p.toml";
    std::vector<ConfigError> errors = parseConfig(text, file, config);
    for (ConfigError& error : completeConfig(config, true, file)) errors.push_back(std::move(error));
    std::string said;
    for (const ConfigError& error : errors) said += "config: " + error.text() + "\n";
    out = CompiledPlan();
    for (const ConfigError& error : compile(config, {identities, {1, 2}, nullptr, {}}, out)) {
      std::string line = error.text();
      for (size_t at = line.find(folder_); at != std::string::npos; at = line.find(folder_)) {
        line.erase(at, folder_.size() + 1);
      }
      said += line + "\n";
    }
    return said;
  }
  std::string mistakesOf(std::string_view more) {
    // Clusters that no route leads to are a mistake of their own.
    const char* const route = more.find("[[route]]") == more.npos ? "[[route]]\ncluster = \"api\"\n" : "";
    return compileAll(std::string(front) + std::string(more) + route);
  }
  void write(const std::string& name, size_t bytes) { std::ofstream(folder_ + "/" + name) << std::string(bytes, 'x'); }
  const RoutePolicy& policy(size_t n) const { return *out.plan->policies.at(n); }

  std::string folder_;
  PlanIdentities identities{8, 16};
  CompiledPlan out;
};

TEST_F(Compile, BackendsOfTheTopLevelAreTheClusterDefaultWithNumberZero) {
  EXPECT_EQ(compileAll("[[listen]]\naddress = \"127.0.0.1:0\"\n[[backend]]\nurl = \"h2c://a:1\"\n"), "");
  ASSERT_EQ(out.plan->clusters.size(), 1u);
  EXPECT_EQ(out.plan->clusters[0]->identity->name, "default");
  EXPECT_EQ(out.plan->clusters[0]->endpoints[0].options->name, "h2c://a:1");
  EXPECT_EQ(out.plan->routes, nullptr);
}

TEST_F(Compile, AClusterHasItsOwnTimeoutsElseThoseOfTheFile) {
  EXPECT_EQ(
      mistakesOf("[[cluster]]\nname = \"b\"\nlimits = { connections = 3, queue = 0 }\n"
                 "timeouts = { connect_ms = 6, queue_ms = 7, response_head_ms = 8 }\n"
                 "[[cluster.backend]]\nurl = \"http://b:1\"\n[timeouts]\nconnect_ms = 50\nresponse_head_ms = 60\n"),
      "");
  const ClusterSpec& api = *out.plan->clusters[0];
  const ClusterSpec& b = *out.plan->clusters[1];
  EXPECT_EQ(api.response_head_ms, 60);
  EXPECT_FALSE(api.endpoints[0].options->timeouts.has_value()) << "the pool's";
  EXPECT_EQ(b.response_head_ms, 8);
  EXPECT_EQ(b.queue_ms, 7);
  EXPECT_EQ(b.endpoints[0].options->timeouts->connect_ms, 6);
  EXPECT_EQ(b.endpoints[0].options->connections, 3u);
  EXPECT_EQ(b.most_waiting, 0u);
  EXPECT_EQ(b.endpoints[0].options->name, "b/http://b:1");
}

TEST_F(Compile, APolicyHasWhatItsRouteSays) {
  write("page.html", 3);
  EXPECT_EQ(mistakesOf(R"([[route]]
path = "/a"
split = [{ cluster = "api", weight = 2 }, { cluster = "api", weight = 0 }, { cluster = "api" }]
split_key = { header = "X-User" }
retries = { max = 0 }
limits = { body_bytes = 0 }
hsts = { max_age_s = 9, include_subdomains = true }
[[route]]
path_exact = "/b"
respond = { file = "page.html" }
error_pages = [{ status = 403, file = "page.html" }]
)"),
            "");
  EXPECT_EQ(policy(0).sides.size(), 2u) << "a side of weight 0 is none";
  EXPECT_EQ(policy(0).sides[1].upto, 3u);
  EXPECT_EQ(policy(0).split_name, "x-user");
  EXPECT_EQ(policy(0).most_retries, 0u);
  EXPECT_FALSE(policy(0).most_body_bytes.has_value()) << "0 is no limit";
  EXPECT_EQ(policy(0).hstsFor(true), "max-age=9; includeSubDomains");
  EXPECT_EQ(policy(0).hstsFor(false), "");
  EXPECT_TRUE(policy(0).rewrites_prefix);
  EXPECT_EQ(policy(1).body.text, "xxx");
  EXPECT_EQ(policy(1).body.content_type, "text/html; charset=utf-8");
  EXPECT_EQ(policy(1).error_pages.at(0).body.text, "xxx");
  EXPECT_FALSE(policy(1).rewrites_prefix);
}

TEST_F(Compile, WhatDidNotChangeIsTheSameInTheNextPlan) {
  const std::string both =
      "[[route]]\nname = \"a\"\npath = \"/a\"\ncluster = \"api\"\n"
      "[[route]]\nname = \"b\"\npath = \"/b\"\ncluster = \"api\"\ntimeouts = { total_ms = 1 }\n";
  ASSERT_EQ(mistakesOf(both), "");
  const CompiledPlan before = out;
  ASSERT_EQ(mistakesOf(both), "");
  EXPECT_EQ(out.plan->policies, before.plan->policies);
  EXPECT_EQ(out.plan->clusters[0]->endpoints[0].options, before.plan->clusters[0]->endpoints[0].options);
  std::string changed = both;
  changed.replace(changed.find("total_ms = 1"), 12, "total_ms = 2");
  ASSERT_EQ(mistakesOf(changed), "");
  EXPECT_EQ(out.plan->policies[0], before.plan->policies[0]);
  EXPECT_NE(out.plan->policies[1], before.plan->policies[1]);
  EXPECT_NE(out.plan->policies[1]->number, before.plan->policies[1]->number);
}

TEST_F(Compile, AChangedFileMakesAnotherPolicy) {
  write("f.txt", 3);
  const char* const route = "[[route]]\nrespond = { file = \"f.txt\" }\n";
  ASSERT_EQ(mistakesOf(route), "");
  const auto before = out.plan->policies[0];
  write("f.txt", 4);
  ASSERT_EQ(mistakesOf(route), "");
  EXPECT_NE(out.plan->policies[0], before);
}

TEST_F(Compile, FilesThatAreMissingOrTooLargeAreMistakes) {
  write("large", (64 << 10) + 1);
  write("most", 64 << 10);
  write("page", (16 << 10) + 1);
  EXPECT_EQ(mistakesOf("[[route]]\nrespond = { file = \"most\" }\n"), "");
  EXPECT_EQ(mistakesOf("[[route]]\nrespond = { file = \"large\" }\n"),
            "p.toml:8:20: large: the file has 65537 bytes, and at most 65536 are kept\n");
  EXPECT_EQ(mistakesOf("[[route]]\nrespond = { file = \"no/such\" }\n"),
            "p.toml:8:20: no/such: the file cannot be read\n");
  EXPECT_EQ(mistakesOf("[[route]]\nrespond = { file = \".\" }\n"), "p.toml:8:20: .: the file cannot be read\n");
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"api\"\nerror_pages = [{ status = 502, file = \"page\" }]\n"),
            "p.toml:9:39: page: the file has 16385 bytes, and at most 16384 are kept\n");
}

TEST_F(Compile, FieldsThatARouteMayNotChangeAreMistakes) {
  EXPECT_EQ(
      mistakesOf("[[route]]\ncluster = \"api\"\nrequest_fields = { set = { Host = \"a\", x = \"${hots}\" } }\n"),
      "p.toml:9:28: request_fields: host belongs to the message or to one connection and is not a route's to "
      "change: use rewrite.host\n"
      "p.toml:9:44: request_fields.x: there is no variable \"hots\": there are client_address, host, path, query, "
      "scheme, method, request_id, tls_server_name, client_cert_subject, client_cert_fingerprint\n");
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"api\"\nresponse_fields = { add = { \"a b\" = \"1\" }, remove = "
                       "[\"Transfer-Encoding\"] }\n"),
            "p.toml:9:29: response_fields: \"a b\" is no name of a field\n"
            "p.toml:9:54: response_fields: transfer-encoding belongs to the message or to one connection and is not a "
            "route's to change\n");
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"api\"\nrequest_fields = { set = { a = \"$5\", b = \"x\\ny\" } }\n"),
            "p.toml:9:32: request_fields.a: a dollar sign begins a variable, as in ${host}: write $$ for the sign "
            "itself\np.toml:9:42: request_fields.b: it has bytes that no field may have\n");
}

TEST_F(Compile, NetworksHostsAndPathsThatAreNoneAreMistakes) {
  EXPECT_NE(mistakesOf("[[route]]\ncluster = \"api\"\nallow = \"10.0.0.0/33\"\n").find("p.toml:9:9: allow: "),
            std::string::npos);
  EXPECT_EQ(mistakesOf("[[route]]\nredirect = { host = \"a b\", path = \"x?y\" }\n"),
            "p.toml:8:21: redirect.host: expected a host name with or without a port\n"
            "p.toml:8:35: redirect.path: expected a path that begins with \"/\", as it stands in a URL\n");
  EXPECT_EQ(mistakesOf("[[route]]\ncluster = \"api\"\nrewrite = { path = \"/a b\" }\n"),
            "p.toml:9:20: rewrite.path: expected a path that begins with \"/\", as it stands in a URL\n");
  EXPECT_EQ(mistakesOf("[[route]]\nrespond = { body = \"x\", content_type = \"a\\u0001\" }\n"),
            "p.toml:8:40: content_type: it cannot be the value of a field\n");
  for (const char* key :
       {"path = \"api\"", "path = \"/a//b\"", "path = \"/a/../b\"", "path = \"/%61\"", "path_regex = \"/(\"",
        "host = \"a..b\"", "method = \"G T\"", "header = { \"a b\" = \"c\" }"}) {
    EXPECT_NE(mistakesOf(std::string("[[route]]\ncluster = \"api\"\n") + key + "\n"), "") << key;
  }
}

TEST_F(Compile, TwoRoutesBetweenWhichNothingDecidesAreAMistake) {
  const std::string said = mistakesOf(
      "[[route]]\nname = \"a\"\nheader = { x = \"1\" }\ncluster = \"api\"\n"
      "[[route]]\nname = \"b\"\nheader = { y = \"1\" }\ncluster = \"api\"\n");
  EXPECT_NE(said.find("\"a\""), std::string::npos) << said;
  EXPECT_NE(said.find("\"b\""), std::string::npos) << said;
  EXPECT_NE(said.find("priority"), std::string::npos) << said;
  EXPECT_EQ(mistakesOf("[[route]]\nname = \"a\"\nheader = { x = \"1\" }\ncluster = \"api\"\n"
                       "[[route]]\nname = \"b\"\nheader = { y = \"1\" }\ncluster = \"api\"\npriority = 1\n"),
            "");
}

TEST_F(Compile, MoreThanThereArePlacesForIsAMistake) {
  std::string clusters;
  for (int i = 0; i < 8; ++i)
    clusters += "[[cluster]]\nname = \"c" + std::to_string(i) + "\"\n[[cluster.backend]]\nurl = \"h2c://b:1\"\n";
  const std::string said = mistakesOf(clusters);
  EXPECT_NE(said.find("there are more clusters than limits.endpoints has places for"), std::string::npos) << said;
  std::string routes;
  for (int i = 0; i < 17; ++i) routes += "[[route]]\npath = \"/" + std::to_string(i) + "\"\ncluster = \"api\"\n";
  EXPECT_NE(mistakesOf(routes).find("there are more routes than plait has places for"), std::string::npos);
}

TEST_F(Compile, OnlyAReplacedPrefixMakesPathsThatLeaveItWrong) {
  ASSERT_EQ(mistakesOf("[[route]]\npath = \"/a\"\ncluster = \"api\"\nrewrite = { path = \"/b\" }\n"
                       "[[route]]\npath = \"/c\"\ncluster = \"api\"\n"
                       "[[route]]\npath_exact = \"/d\"\ncluster = \"api\"\nrewrite = { path = \"/e\" }\n"),
            "");
  EXPECT_TRUE(out.specs[0].replaces_prefix);
  EXPECT_FALSE(out.specs[1].replaces_prefix);
  EXPECT_FALSE(out.specs[2].replaces_prefix);
}

}  // namespace
}  // namespace plait
