#include "plait/config/routes.h"

#include <set>
#include <unordered_set>

#include "plait/config/table_reader.h"
#include "plait/http/field_rules.h"

namespace plait {
namespace {

constexpr uint32_t most_weight = 1'000'000;

// A number that may be absent.
void readNumber(TableReader& in, std::string_view key, Number& out, int64_t min, int64_t max, const char* unit = "") {
  const TomlNode* node = in.find(key);
  in.integer(key, out.value, min, max, unit);
  if (node != nullptr) out.place = in.placeOf(*node);
}

void readClusterTimeouts(TableReader& in, ClusterConfig& out) {
  const auto read = [&](std::string_view key, int64_t min) {
    Number number;
    readNumber(in, key, number, min, max_timeout_ms, " of milliseconds");
    if (number.isSaid()) out.said_timeouts.emplace(key, number.value);
  };
  for (const char* key : {"connect_ms", "queue_ms", "probe_ms", "upstream_idle_ms", "stream_idle_ms", "tunnel_idle_ms",
                          "ping_answer_ms", "connection_age_ms"})
    read(key, 1);
  read("ping_ms", 0);
  readNumber(in, "response_head_ms", out.response_head_ms, 1, max_timeout_ms, " of milliseconds");
}

void readFields(TableReader& in, FieldsConfig& out) {
  in.pairs("set", out.set);
  in.pairs("add", out.add);
  in.textOrTexts("remove", out.remove);
}

void readSplit(TableReader& in, RouteConfig& out) {
  SplitConfig side;
  side.place = in.place();
  in.text("cluster", side.cluster);
  in.integer("weight", side.weight, 0, most_weight);
  if (side.cluster.empty() && in.find("cluster") == nullptr)
    in.refuse(in.place(), "split: each side needs cluster = \"NAME\"");
  out.split.push_back(std::move(side));
}

void readRedirect(TableReader& in, RouteConfig& out) {
  RedirectConfig& redirect = out.redirect.emplace();
  redirect.place = in.place();
  in.integer("status", redirect.status, 301, 308);
  if (const TomlNode* node = in.find("status"); node != nullptr && redirect.status != 301 && redirect.status != 302 &&
                                                redirect.status != 303 && redirect.status != 307 &&
                                                redirect.status != 308) {
    in.refuse(in.placeOf(*node), fmt::format("status: {} is none of 301, 302, 303, 307, 308", redirect.status));
  }
  in.text("scheme", redirect.scheme);
  if (!redirect.scheme.empty() && redirect.scheme.value != "http" && redirect.scheme.value != "https")
    in.refuse(redirect.scheme.place, "scheme: expected \"http\" or \"https\"");
  in.text("host", redirect.host);
  in.text("path", redirect.path);
  readNumber(in, "port", redirect.port, 1, 65'535);
}

void readRespond(TableReader& in, RouteConfig& out) {
  RespondConfig& respond = out.respond.emplace();
  respond.place = in.place();
  in.integer("status", respond.status, 200, 599);
  in.text("body", respond.body);
  in.path("file", respond.file);
  in.text("content_type", respond.content_type);
  if (!respond.body.empty() && !respond.file.empty())
    in.refuse(respond.file.place, "file: the response has a body already, write one of body and file");
  const Text& content = respond.body.empty() ? respond.file : respond.body;
  if (!content.empty() && (respond.status == 204 || respond.status == 205 || respond.status == 304))
    in.refuse(content.place, fmt::format("{}: a response with status {} has no content (RFC 9110 §15), leave it out",
                                         respond.body.empty() ? "file" : "body", respond.status));
}

void readErrorPages(TableReader& in, RouteConfig& out) {
  ErrorPageConfig page;
  readNumber(in, "status", page.status, 400, 599);
  in.path("file", page.file);
  if (!page.status.isSaid() || page.file.empty()) {
    if (in.find("status") == nullptr || in.find("file") == nullptr)
      in.refuse(in.place(), "error_pages: each needs status = NUMBER and file = \"FILE\"");
    return;
  }
  out.error_pages.push_back(std::move(page));
}

}  // namespace

void readBackend(TableReader& in, std::vector<BackendConfig>& out) {
  BackendConfig backend;
  in.text("url", backend.url);
  in.text("host", backend.host);
  in.text("server_name", backend.server_name);
  in.path("ca_file", backend.ca_file);
  in.boolean("insecure", backend.insecure);
  in.path("client_cert", backend.client_cert);
  in.path("client_key", backend.client_key);
  for (const char* key : {"weight", "priority", "zone"}) in.notYet(key);
  if (backend.url.empty()) {
    if (in.find("url") == nullptr) in.refuse(in.place(), "a backend needs url = \"h2c://host:port\"");
    return;
  }
  if (const std::string wrong = parseBackendUrl(backend.url.value, backend); !wrong.empty()) {
    in.refuse(backend.url.place, fmt::format("url: {}", wrong));
  }
  out.push_back(std::move(backend));
}

void readCluster(TableReader& in, Config& out) {
  ClusterConfig cluster;
  cluster.place = in.place();
  in.text("name", cluster.name);
  if (cluster.name.empty() && in.find("name") == nullptr) in.refuse(in.place(), "[[cluster]] needs name = \"NAME\"");
  int balance = 0;
  if (const TomlNode* node = in.find("balance"); node != nullptr) {
    for (const char* later : {"round_robin", "random", "hash"}) {
      if (node->text() != later) continue;
      in.refuse(in.placeOf(*node), fmt::format("balance: \"{}\" is not in this version", later));
      balance = -1;
    }
  }
  if (balance == 0) in.choice<int>("balance", balance, {{"least_loaded", 0}});
  for (const char* key : {"sticky", "health", "hash", "subset", "weights"}) in.notYet(key);
  in.section("outliers", [&](TableReader& inner) {
    inner.integer("failures", cluster.outliers.failures, 1, 1000);
    inner.milliseconds("eject_ms", cluster.outliers.eject_ms);
    inner.integer("max_percent", cluster.outliers.max_percent, 0, 100);
  });
  in.section("limits", [&](TableReader& inner) {
    inner.integer("requests", cluster.requests, 0, 1 << 24);
    Number queue;
    readNumber(inner, "queue", queue, 0, 1 << 24);
    if (queue.isSaid()) cluster.queue = static_cast<uint32_t>(queue.value);
    readNumber(inner, "connections", cluster.connections, 1, 1 << 16);
  });
  in.section("timeouts", [&](TableReader& inner) { readClusterTimeouts(inner, cluster); });
  in.sections("backend", [&](TableReader& inner) { readBackend(inner, cluster.backends); });
  out.clusters.push_back(std::move(cluster));
}

void readRoute(TableReader& in, Config& out) {
  RouteConfig& route = out.routes.emplace_back();
  route.place = in.place();
  in.text("name", route.name);
  in.textOrTexts("host", route.hosts);
  in.text("path", route.path);
  in.text("path_exact", route.path_exact);
  in.text("path_regex", route.path_regex);
  in.text("example", route.example);
  in.textOrTexts("method", route.methods);
  in.pairs("header", route.fields);
  in.pairs("query", route.query);
  in.integer("priority", route.priority, -1'000'000, 1'000'000);
  in.text("cluster", route.cluster);
  in.sections("split", [&](TableReader& inner) { readSplit(inner, route); });
  in.section("split_key", [&](TableReader& inner) {
    inner.text("cookie", route.split_cookie);
    inner.text("header", route.split_field);
    inner.boolean("client_address", route.splits_by_address);
  });
  in.section("redirect", [&](TableReader& inner) { readRedirect(inner, route); });
  in.section("respond", [&](TableReader& inner) { readRespond(inner, route); });
  in.section("rewrite", [&](TableReader& inner) {
    inner.text("path", route.rewrite_path);
    inner.text("host", route.rewrite_host);
  });
  in.section("request_fields", [&](TableReader& inner) { readFields(inner, route.request_fields); });
  in.section("response_fields", [&](TableReader& inner) { readFields(inner, route.response_fields); });
  in.section("timeouts", [&](TableReader& inner) {
    readNumber(inner, "response_head_ms", route.response_head_ms, 1, max_timeout_ms, " of milliseconds");
    readNumber(inner, "idle_ms", route.idle_ms, 1, max_timeout_ms, " of milliseconds");
    readNumber(inner, "total_ms", route.total_ms, 0, max_timeout_ms, " of milliseconds");
  });
  in.section("retries", [&](TableReader& inner) {
    readNumber(inner, "max", route.retries_max, 0, 100);
    inner.choice<bool>("unknown", route.retries_unknown, {{"idempotent", true}, {"never", false}});
  });
  in.section("limits", [&](TableReader& inner) {
    readNumber(inner, "body_bytes", route.body_bytes, 0, int64_t{1} << 50);
    readNumber(inner, "requests", route.requests, 0, 1 << 24);
  });
  in.textOrTexts("allow", route.allow);
  in.textOrTexts("deny", route.deny);
  in.section("hsts", [&](TableReader& inner) {
    readNumber(inner, "max_age_s", route.hsts_seconds, 0, int64_t{1} << 31);
    inner.boolean("include_subdomains", route.hsts_subdomains);
    inner.boolean("preload", route.hsts_preload);
    if (!route.hsts_seconds.isSaid() && inner.find("max_age_s") == nullptr)
      inner.refuse(inner.place(), "hsts needs max_age_s = SECONDS");
  });
  in.sections("error_pages", [&](TableReader& inner) { readErrorPages(inner, route); });
  for (const char* key : {"rate_limit", "compress", "mirror", "cors", "forward_auth", "jwt", "basic_auth", "hedge"})
    in.notYet(key);
}

namespace {

class RouteCompletion {
 public:
  RouteCompletion(Config& config, std::vector<ConfigError>& errors) : config_(config), errors_(errors) {
    if (!config.backends.empty()) clusters_.insert("default");
  }

  void run() {
    routes_.reserve(config_.routes.size());
    for (const ClusterConfig& cluster : config_.clusters) complete(cluster);
    for (RouteConfig& route : config_.routes) complete(route);
  }

 private:
  void refuse(const Place& place, std::string sentence) { errors_.push_back({place, std::move(sentence)}); }

  void complete(const ClusterConfig& cluster) {
    if (cluster.name.empty()) return;
    if (!isName(cluster.name.value)) {
      refuse(cluster.name.place, "name: letters, digits, '-', '_' and '.' make a name, 64 of them at the most");
    }
    if (!clusters_.insert(cluster.name.value).second) {
      refuse(cluster.name.place, cluster.name.value == "default" && !config_.backends.empty()
                                     ? "name: [[backend]] and -b are the cluster \"default\" already"
                                     : fmt::format("name: there is a cluster \"{}\" already", cluster.name.value));
    }
    if (cluster.backends.empty())
      refuse(cluster.place, fmt::format("the cluster \"{}\" has no [[cluster.backend]]", cluster.name.value));
  }

  void complete(RouteConfig& route) {
    if (route.name.empty()) {
      route.name = {fmt::format("route-{}", &route - config_.routes.data() + 1), route.place};
    } else if (!isName(route.name.value)) {
      refuse(route.name.place, "name: letters, digits, '-', '_' and '.' make a name, 64 of them at the most");
    }
    if (!routes_.insert(route.name.value).second)
      refuse(route.name.place, fmt::format("name: there is a route \"{}\" already", route.name.value));
    const int paths = !route.path.empty() + !route.path_exact.empty() + !route.path_regex.empty();
    if (paths > 1)
      refuse(route.place,
             fmt::format("the route \"{}\" has several paths: write one of path, path_exact and path_regex",
                         route.name.value));
    if (!route.example.empty() && route.path_regex.empty())
      refuse(route.example.place, "example: only an expression (path_regex) needs one");
    completeAction(route);
    if (!route.rewrite_path.empty() && !route.rewrite_path.value.starts_with('/'))
      refuse(route.rewrite_path.place, "rewrite.path: a path begins with \"/\"");
    if (!route.rewrite_host.empty() && !http::isAuthority(route.rewrite_host.value))
      refuse(route.rewrite_host.place, "rewrite.host: expected a host name with or without a port");
  }

  void completeAction(const RouteConfig& route) {
    const int actions =
        !route.cluster.empty() + !route.split.empty() + route.redirect.has_value() + route.respond.has_value();
    if (actions != 1) {
      refuse(route.place, fmt::format("the route \"{}\" {}: write one of cluster, split, redirect and respond",
                                      route.name.value, actions == 0 ? "does nothing" : "does several things"));
    }
    if (!route.cluster.empty()) mustExist("cluster", route.cluster);
    uint64_t weights = 0;
    for (const SplitConfig& side : route.split) {
      weights += side.weight;
      if (!side.cluster.empty()) mustExist("cluster", side.cluster);
    }
    if (!route.split.empty() && weights == 0) refuse(route.split[0].place, "split: no side has a weight above 0");
    const int keys = !route.split_cookie.empty() + !route.split_field.empty() + route.splits_by_address;
    if (keys > 1) refuse(route.place, "split_key: write one of cookie, header and client_address");
    if (keys != 0 && route.split.empty()) refuse(route.place, "split_key: there is no split");
    const bool forwards = !route.cluster.empty() || !route.split.empty();
    if (forwards || actions != 1) return;
    for (const Text* text : {&route.rewrite_path, &route.rewrite_host}) {
      if (!text->empty()) return refuse(text->place, "rewrite: only a request that goes to a cluster is rewritten");
    }
    if (const FieldsConfig& fields = route.request_fields;
        !fields.set.empty() || !fields.add.empty() || !fields.remove.empty())
      refuse(route.place, "request_fields: only a request that goes to a cluster has them");
  }

  void mustExist(const char* key, const Text& name) {
    if (clusters_.contains(name.value)) return;
    const std::vector<std::string_view> known(clusters_.begin(), clusters_.end());
    const std::string_view meant = nearest(name.value, known);
    const std::string hint = !meant.empty()            ? fmt::format(", did you mean \"{}\"?", meant)
                             : name.value == "default" ? std::string(": it is what [[backend]] and -b name")
                                                       : std::string();
    refuse(name.place, fmt::format("{}: there is no cluster \"{}\"{}", key, name.value, hint));
  }

  static bool isName(std::string_view name) {
    return name.size() <= 64 && std::ranges::all_of(name, [](char c) {
             return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                    c == '_' || c == '.';
           });
  }

  Config& config_;
  std::vector<ConfigError>& errors_;
  std::set<std::string> clusters_;
  std::unordered_set<std::string_view> routes_;
};

}  // namespace

void completeRoutes(Config& config, std::vector<ConfigError>& errors) {
  RouteCompletion(config, errors).run();
}

}  // namespace plait
