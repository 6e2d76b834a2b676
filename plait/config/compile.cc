#include "plait/config/compile.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "plait/http/field_rules.h"

namespace plait {
namespace {

constexpr size_t most_body = 64 << 10;
// An error page is sent at once, into what the client's windows have room for at the least.
constexpr size_t most_error_page = 16 << 10;

std::string lowerCase(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return lower;
}

std::string typeOf(std::string_view file) {
  static const std::map<std::string_view, std::string_view> types = {{".html", "text/html; charset=utf-8"},
                                                                     {".htm", "text/html; charset=utf-8"},
                                                                     {".json", "application/json"},
                                                                     {".xml", "application/xml"},
                                                                     {".svg", "image/svg+xml"},
                                                                     {".css", "text/css; charset=utf-8"},
                                                                     {".js", "text/javascript; charset=utf-8"},
                                                                     {".txt", "text/plain; charset=utf-8"},
                                                                     {".ico", "image/x-icon"},
                                                                     {".png", "image/png"}};
  const size_t dot = file.rfind('.');
  const auto known = dot == file.npos ? types.end() : types.find(file.substr(dot));
  return std::string(known == types.end() ? "application/octet-stream" : known->second);
}

class Compiler {
 public:
  Compiler(const Config& config, const CompileTools& tools, CompiledPlan& out)
      : config_(config), tools_(tools), out_(out) {}

  std::vector<ConfigError> run() {
    out_.plan = std::make_shared<Plan>();
    out_.plan->pool_timeouts = config_.pool_timeouts;
    out_.plan->server_timeouts = config_.server_timeouts;
    if (!config_.backends.empty()) {
      ClusterConfig cluster;
      cluster.name.value = "default";
      addCluster(cluster, config_.backends);
      if (const auto known = clusters_.find("default"); known != clusters_.end())
        out_.plan->only_cluster = known->second->number;
    }
    for (const ClusterConfig& cluster : config_.clusters) addCluster(cluster, cluster.backends);
    for (const RouteConfig& route : config_.routes) addRoute(route);
    if (!config_.routes.empty() && errors_.empty()) buildRoutes();
    return std::move(errors_);
  }

 private:
  void refuse(const Place& place, std::string sentence) { errors_.push_back({place, std::move(sentence)}); }

  static void put(std::vector<std::shared_ptr<const ClusterSpec>>& by_number, std::shared_ptr<const ClusterSpec> spec) {
    const uint32_t number = spec->identity->number;
    if (by_number.size() <= number) by_number.resize(number + 1);
    by_number[number] = std::move(spec);
  }

  // The same cluster of the present plan, if it is as it was.
  std::shared_ptr<const ClusterSpec> sharedWithBefore(std::shared_ptr<const ClusterSpec> spec) const {
    if (tools_.before == nullptr || spec->identity->number >= tools_.before->clusters.size()) return spec;
    const auto& before = tools_.before->clusters[spec->identity->number];
    return before != nullptr && *before == *spec ? before : spec;
  }

  PoolTimeouts timeoutsOf(const ClusterConfig& cluster) const {
    PoolTimeouts made = config_.pool_timeouts;
    const std::pair<const char*, int64_t PoolTimeouts::*> known[] = {{"connect_ms", &PoolTimeouts::connect_ms},
                                                                     {"queue_ms", &PoolTimeouts::queue_ms},
                                                                     {"probe_ms", &PoolTimeouts::probe_ms},
                                                                     {"upstream_idle_ms", &PoolTimeouts::idle_ms},
                                                                     {"stream_idle_ms", &PoolTimeouts::stream_idle_ms},
                                                                     {"tunnel_idle_ms", &PoolTimeouts::tunnel_idle_ms},
                                                                     {"ping_ms", &PoolTimeouts::ping_ms},
                                                                     {"ping_answer_ms", &PoolTimeouts::ping_answer_ms},
                                                                     {"connection_age_ms", &PoolTimeouts::max_age_ms}};
    for (const auto& [key, field] : known) {
      if (const auto said = cluster.said_timeouts.find(key); said != cluster.said_timeouts.end())
        made.*field = said->second;
    }
    return made;
  }

  void addCluster(const ClusterConfig& cluster, const std::vector<BackendConfig>& backends) {
    const std::string& name = cluster.name.value;
    if (name.empty()) return;
    auto spec = std::make_shared<ClusterSpec>();
    spec->identity = tools_.identities.cluster(name);
    if (spec->identity == nullptr)
      return refuse(cluster.place, "there are more clusters than limits.endpoints has places for");
    const PoolTimeouts timeouts = timeoutsOf(cluster);
    spec->outliers = cluster.outliers;
    spec->queue_ms = timeouts.queue_ms;
    spec->response_head_ms =
        cluster.response_head_ms.isSaid() ? cluster.response_head_ms.value : config_.response_head_ms;
    spec->most_requests = cluster.requests;
    spec->most_waiting = cluster.queue;
    for (const BackendConfig& backend : backends) {
      if (backend.name.empty() || backend.port == 0) continue;
      BackendOptions options;
      options.name = name == "default" ? backend.url.value : fmt::format("{}/{}", name, backend.url.value);
      options.protocol = backend.protocol;
      options.host = backend.name;
      options.port = backend.port;
      options.server_name = backend.server_name.value;
      options.connections = static_cast<uint32_t>(cluster.connections.value);
      if (timeouts != config_.pool_timeouts) options.timeouts = timeouts;
      if (tools_.look) tools_.look(backend, options);
      out_.has_tls_backends = out_.has_tls_backends || backend.protocol == BackendProtocol::https;
      auto endpoint = tools_.identities.endpoint(name, options);
      if (endpoint == nullptr) {
        return refuse(backend.url.place, fmt::format("there are more backends than the {} that limits.endpoints allows",
                                                     config_.limits.endpoints));
      }
      auto& authorities = out_.plan->authorities;
      if (authorities.size() <= endpoint->number) authorities.resize(endpoint->number + 1);
      const BackendAuthority authority{backend.host.value, authorityOf(backend)};
      authorities[endpoint->number] = authority;
      spec->endpoints.push_back({std::move(endpoint), authority});
    }
    clusters_[name] = spec->identity;
    put(out_.plan->clusters, sharedWithBefore(std::move(spec)));
  }

  // The content of a file, or nothing and a mistake.
  bool readFile(const Text& file, size_t most, std::string& out) {
    std::error_code wrong;
    const bool is_file = std::filesystem::is_regular_file(file.value, wrong);
    if (const uintmax_t size = is_file ? std::filesystem::file_size(file.value, wrong) : 0; !wrong && size > most) {
      refuse(file.place, fmt::format("{}: the file has {} bytes, and at most {} are kept", file.value, size, most));
      return false;
    }
    std::ifstream in(file.value, std::ios::binary);
    if (!is_file || !in.is_open()) {
      refuse(file.place, fmt::format("{}: the file cannot be read", file.value));
      return false;
    }
    // It may grow while it is read.
    out.resize(most);
    in.read(out.data(), static_cast<std::streamsize>(most));
    out.resize(static_cast<size_t>(in.gcount()));
    return true;
  }

  void readFields(const FieldsConfig& config, const char* key, route::FieldChanges& out) {
    const auto nameOf = [&](const Text& name) {
      if (std::string wrong = route::faultOfChangedName(name.value); !wrong.empty()) {
        refuse(name.place, fmt::format("{}: {}", key, wrong));
        return std::string();
      }
      return lowerCase(name.value);
    };
    const auto addAll = [&](const std::vector<TextPair>& pairs, bool replaces) {
      for (const TextPair& pair : pairs) {
        route::FieldChange change;
        change.name = nameOf(pair.name);
        change.id = http::fieldNameOf(change.name);
        change.replaces = replaces;
        if (std::string wrong = change.value.parse(pair.value.value); !wrong.empty())
          refuse(pair.value.place, fmt::format("{}.{}: {}", key, pair.name.value, wrong));
        out.changes.push_back(std::move(change));
      }
    };
    addAll(config.set, true);
    addAll(config.add, false);
    for (const Text& name : config.remove) out.removed.push_back(nameOf(name));
  }

  void readNetworks(const std::vector<Text>& texts, const char* key, TrustedProxies& out) {
    for (const Text& text : texts) {
      if (std::string wrong = out.add(text.value); !wrong.empty())
        refuse(text.place, fmt::format("{}: {}", key, wrong));
    }
  }

  std::shared_ptr<RoutePolicy> makePolicy(const RouteConfig& route) {
    auto made = std::make_shared<RoutePolicy>();
    made->name = route.name.value;
    const bool is_prefix = route.path_exact.empty() && route.path_regex.empty();
    made->rewrites_prefix = is_prefix;
    if (route.redirect) {
      made->action = RoutePolicy::Action::redirect;
      made->status = static_cast<uint16_t>(route.redirect->status);
      made->redirect_scheme = route.redirect->scheme.value;
      made->redirect_host = route.redirect->host.value;
      made->redirect_path = route.redirect->path.value;
      made->redirect_port = static_cast<uint16_t>(route.redirect->port.value);
      if (!made->redirect_host.empty() && !http::isAuthority(made->redirect_host))
        refuse(route.redirect->host.place, "redirect.host: expected a host name with or without a port");
      if (!made->redirect_path.empty() && !isTarget(made->redirect_path))
        refuse(route.redirect->path.place,
               "redirect.path: expected a path that begins with \"/\", as it stands in a URL");
    } else if (route.respond) {
      made->action = RoutePolicy::Action::respond;
      made->status = static_cast<uint16_t>(route.respond->status);
      made->body.text = route.respond->body.value;
      made->body.content_type = "text/plain; charset=utf-8";
      if (!route.respond->file.empty()) {
        readFile(route.respond->file, most_body, made->body.text);
        made->body.content_type = typeOf(route.respond->file.value);
      } else if (made->body.text.size() > most_body) {
        refuse(route.respond->body.place, fmt::format("body: it has more than {} bytes", most_body));
      }
      if (!route.respond->content_type.empty()) {
        made->body.content_type = route.respond->content_type.value;
        if (!http::isFieldValue(made->body.content_type) || made->body.content_type.size() > 200)
          refuse(route.respond->content_type.place, "content_type: it cannot be the value of a field");
      }
    } else {
      uint32_t sum = 0;
      const auto addSide = [&](const Text& name, uint32_t weight) {
        const auto cluster = clusters_.find(name.value);
        if (weight == 0 || cluster == clusters_.end()) return;
        sum += weight;
        made->sides.push_back({cluster->second, sum});
      };
      if (!route.cluster.empty()) addSide(route.cluster, 1);
      for (const SplitConfig& side : route.split) addSide(side.cluster, side.weight);
      made->split_key = !route.split_cookie.empty()  ? SplitKey::cookie
                        : !route.split_field.empty() ? SplitKey::field
                        : route.splits_by_address    ? SplitKey::client_address
                                                     : SplitKey::none;
      made->split_name = !route.split_cookie.empty() ? route.split_cookie.value : lowerCase(route.split_field.value);
      made->rewrite_path = route.rewrite_path.value;
      if (!made->rewrite_path.empty() && !isTarget(made->rewrite_path))
        refuse(route.rewrite_path.place, "rewrite.path: expected a path that begins with \"/\", as it stands in a URL");
      made->rewrite_host = route.rewrite_host.value;
      readFields(route.request_fields, "request_fields", made->request_fields);
      made->response_head_ms = route.response_head_ms.value;
      made->idle_ms = route.idle_ms.value;
      made->total_ms = route.total_ms.value;
      if (route.retries_max.isSaid()) made->most_retries = static_cast<uint32_t>(route.retries_max.value);
      made->repeats_unknown = route.retries_unknown;
    }
    readFields(route.response_fields, "response_fields", made->response_fields);
    if (route.hsts_seconds.isSaid()) {
      made->hsts =
          fmt::format("max-age={}{}{}", route.hsts_seconds.value, route.hsts_subdomains ? "; includeSubDomains" : "",
                      route.hsts_preload ? "; preload" : "");
    }
    readNetworks(route.allow, "allow", made->allow);
    readNetworks(route.deny, "deny", made->deny);
    if (route.body_bytes.isSaid() && route.body_bytes.value != 0)
      made->most_body_bytes = static_cast<uint64_t>(route.body_bytes.value);
    made->most_requests = static_cast<uint32_t>(route.requests.value);
    for (const ErrorPageConfig& page : route.error_pages) {
      RoutePolicy::ErrorPage kept{static_cast<uint16_t>(page.status.value), {typeOf(page.file.value), {}}};
      readFile(page.file, most_error_page, kept.body.text);
      made->error_pages.push_back(std::move(kept));
    }
    return made;
  }

  static bool isTarget(std::string_view path) {
    return path.starts_with('/') &&
           std::ranges::all_of(path, [](char c) { return c > ' ' && c < 0x7f && c != '?' && c != '#' && c != '\\'; });
  }

  // Equal texts stand for equal policies. Files count with their contents.
  static std::string keyOf(const RoutePolicy& policy) {
    std::string key;
    const auto put = [&](const auto& value) { key += fmt::format("{}\n", value); };
    const auto putText = [&](std::string_view text) { key += fmt::format("{}:{}\n", text.size(), text); };
    putText(policy.name);
    put(static_cast<int>(policy.action));
    for (const SplitSide& side : policy.sides) {
      put(side.cluster->number);
      put(side.upto);
    }
    put(static_cast<int>(policy.split_key));
    for (const std::string* text :
         {&policy.split_name, &policy.rewrite_path, &policy.rewrite_host, &policy.redirect_scheme,
          &policy.redirect_host, &policy.redirect_path, &policy.body.content_type, &policy.body.text, &policy.hsts})
      putText(*text);
    put(policy.rewrites_prefix);
    for (const int64_t number :
         {policy.response_head_ms, policy.idle_ms, policy.total_ms,
          policy.most_retries ? int64_t{*policy.most_retries} : -1, int64_t{policy.repeats_unknown},
          int64_t{policy.status}, int64_t{policy.redirect_port},
          policy.most_body_bytes ? static_cast<int64_t>(*policy.most_body_bytes) : -1, int64_t{policy.most_requests}})
      put(number);
    for (const route::FieldChanges* changes : {&policy.request_fields, &policy.response_fields}) {
      for (const route::FieldChange& change : changes->changes) {
        putText(change.name);
        put(change.replaces);
        putText(change.value.text());
      }
      put("-");
      for (const std::string& name : changes->removed) putText(name);
      put("-");
    }
    putText(policy.allow.text());
    putText(policy.deny.text());
    for (const RoutePolicy::ErrorPage& page : policy.error_pages) {
      put(page.status);
      putText(page.body.content_type);
      putText(page.body.text);
    }
    return key;
  }

  void addRoute(const RouteConfig& route) {
    std::shared_ptr<RoutePolicy> made = makePolicy(route);
    auto policy = tools_.identities.policy(keyOf(*made), [&] { return made; });
    if (policy == nullptr) return refuse(route.place, "there are more routes than plait has places for");
    route::RouteSpec spec;
    spec.name = route.name.value;
    spec.place = {route.place.source, route.place.line, route.place.column};
    spec.policy = static_cast<uint32_t>(out_.plan->policies.size());
    for (const Text& host : route.hosts) spec.match.hosts.push_back(host.value);
    if (!route.path_exact.empty()) {
      spec.match.path_kind = route::PathKind::exact;
      spec.match.path = route.path_exact.value;
    } else if (!route.path_regex.empty()) {
      spec.match.path_kind = route::PathKind::expression;
      spec.match.path = route.path_regex.value;
    } else if (!route.path.empty()) {
      spec.match.path = route.path.value;
    }
    for (const Text& method : route.methods) spec.match.methods.push_back(method.value);
    for (const TextPair& field : route.fields)
      spec.match.fields.push_back({lowerCase(field.name.value), field.value.value});
    for (const TextPair& parameter : route.query)
      spec.match.query.push_back({parameter.name.value, parameter.value.value});
    spec.match.priority = route.priority;
    spec.replaces_prefix = policy->rewrites_prefix && !policy->rewrite_path.empty();
    spec.match.example = route.example.value;
    out_.specs.push_back(std::move(spec));
    out_.plan->policies.push_back(std::move(policy));
  }

  void buildRoutes() {
    route::RouteTable::Built built = route::RouteTable::build(
        out_.specs, tools_.key, tools_.before == nullptr ? nullptr : tools_.before->routes.get());
    for (const route::Mistake& mistake : built.mistakes)
      refuse({std::string(mistake.place.file), mistake.place.line, mistake.place.column}, mistake.text);
    out_.plan->routes = std::move(built.table);
  }

  const Config& config_;
  const CompileTools& tools_;
  CompiledPlan& out_;
  std::vector<ConfigError> errors_;
  std::map<std::string, std::shared_ptr<const ClusterIdentity>> clusters_;
};

}  // namespace

std::vector<ConfigError> compile(const Config& config, const CompileTools& tools, CompiledPlan& out) {
  return Compiler(config, tools, out).run();
}

}  // namespace plait
