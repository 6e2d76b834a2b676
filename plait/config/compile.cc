#include "plait/config/compile.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "plait/base/sip_hash.h"
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
    out_.plan->forward = tools_.identities.forward(config_.forward);
    if (!config_.backends.empty()) {
      ClusterConfig cluster;
      cluster.name.value = "default";
      addCluster(cluster, config_.backends);
      if (const auto known = clusters_.find("default"); known != clusters_.end())
        out_.plan->only_cluster = known->second->number;
    }
    for (const ClusterConfig& cluster : config_.clusters) addCluster(cluster, cluster.backends);
    out_.specs.reserve(config_.routes.size());
    out_.plan->policies.reserve(config_.routes.size());
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

  // A file's content, read once; nothing and a mistake where it cannot be had.
  struct FileContent {
    std::string text;
    std::string wrong;
  };
  const FileContent& fileOf(const std::string& name, size_t most) {
    const auto [known, is_new] = files_.try_emplace({name, most});
    if (is_new) read(name, most, known->second);
    return known->second;
  }
  static void read(const std::string& name, size_t most, FileContent& out) {
    std::error_code failed;
    const bool is_file = std::filesystem::is_regular_file(name, failed);
    if (const uintmax_t size = is_file ? std::filesystem::file_size(name, failed) : 0; !failed && size > most) {
      out.wrong = fmt::format("{}: the file has {} bytes, and at most {} are kept", name, size, most);
      return;
    }
    std::ifstream in(name, std::ios::binary);
    if (!is_file || !in.is_open()) {
      out.wrong = fmt::format("{}: the file cannot be read", name);
      return;
    }
    // It may grow while it is read.
    out.text.resize(most);
    in.read(out.text.data(), static_cast<std::streamsize>(most));
    out.text.resize(static_cast<size_t>(in.gcount()));
  }
  std::string readFile(const Text& file, size_t most) {
    const FileContent& content = fileOf(file.value, most);
    if (!content.wrong.empty()) refuse(file.place, content.wrong);
    return content.text;
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
        made->body.text = readFile(route.respond->file, most_body);
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
      made->error_pages.push_back(
          {static_cast<uint16_t>(page.status.value), {typeOf(page.file.value), readFile(page.file, most_error_page)}});
    }
    return made;
  }

  static bool isTarget(std::string_view path) {
    return path.starts_with('/') &&
           std::ranges::all_of(path, [](char c) { return c > ' ' && c < 0x7f && c != '?' && c != '#' && c != '\\'; });
  }

  // The parts of a route that make its policy, as a key. Keys that the route leaves out are left out here, so that most
  // are short.
  class PolicyKey {
   public:
    explicit PolicyKey(const SipKey& key) : key_(key) {}
    template <class T>
      requires std::is_arithmetic_v<T> || std::is_enum_v<T>
    void put(char tag, T value) {
      text_ += tag;
      text_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
    void put(char tag, std::string_view value) {
      put(tag, static_cast<uint32_t>(value.size()));
      if (value.size() <= longest) {
        text_ += value;
      } else {
        // Of 128 bits, whose key nobody knows.
        put('-', sipHash(key_, value));
        put('-', sipHash({key_.second, key_.first}, value));
      }
    }
    void put(char tag, const Text& value) {
      if (!value.empty()) put(tag, std::string_view(value.value));
    }
    void put(char tag, const Number& number) {
      if (number.isSaid()) put(tag, number.value);
    }
    void put(char tag, const std::vector<Text>& list) {
      for (const Text& one : list) put(tag, one);
    }
    void put(char tag, const FieldsConfig& fields) {
      for (const auto& [kind, pairs] : {std::pair('s', &fields.set), {'a', &fields.add}}) {
        for (const TextPair& pair : *pairs) {
          put(tag, kind);
          put('n', std::string_view(pair.name.value));
          put('v', std::string_view(pair.value.value));
        }
      }
      for (const Text& name : fields.remove) {
        put(tag, 'r');
        put('n', std::string_view(name.value));
      }
    }
    const std::string& text() const { return text_; }

   private:
    static constexpr size_t longest = 256;
    const SipKey& key_;
    std::string text_;
  };

  // One that cannot be read is no other's that is empty.
  void putFile(PolicyKey& key, const Text& file, size_t most) {
    if (file.empty()) return;
    const FileContent& content = fileOf(file.value, most);
    key.put('f', file);
    key.put('F', std::string_view(content.text));
    key.put('g', content.wrong.empty());
  }

  // Equal texts stand for equal policies. Files count with their contents.
  std::string keyOf(const RouteConfig& route) {
    PolicyKey key(tools_.key);
    key.put('n', std::string_view(route.name.value));
    key.put('p', route.path_exact.empty() && route.path_regex.empty());
    if (route.redirect) {
      key.put('r', route.redirect->status);
      key.put('s', route.redirect->scheme);
      key.put('h', route.redirect->host);
      key.put('t', route.redirect->path);
      key.put('o', route.redirect->port);
    }
    if (route.respond) {
      key.put('R', route.respond->status);
      key.put('b', route.respond->body);
      putFile(key, route.respond->file, most_body);
      key.put('y', route.respond->content_type);
    }
    const auto putSide = [&](const Text& name, uint32_t weight) {
      const auto cluster = clusters_.find(name.value);
      if (cluster == clusters_.end()) return;
      key.put('c', cluster->second->number);
      key.put('w', weight);
    };
    if (!route.cluster.empty()) putSide(route.cluster, 1);
    for (const SplitConfig& side : route.split) putSide(side.cluster, side.weight);
    key.put('C', route.split_cookie);
    key.put('H', route.split_field);
    if (route.splits_by_address) key.put('A', true);
    key.put('P', route.rewrite_path);
    key.put('O', route.rewrite_host);
    key.put('q', route.request_fields);
    key.put('Q', route.response_fields);
    key.put('1', route.response_head_ms);
    key.put('2', route.idle_ms);
    key.put('3', route.total_ms);
    key.put('4', route.retries_max);
    if (!route.retries_unknown) key.put('5', false);
    key.put('6', route.body_bytes);
    key.put('7', route.requests);
    key.put('8', route.allow);
    key.put('9', route.deny);
    key.put('m', route.hsts_seconds);
    if (route.hsts_subdomains) key.put('u', true);
    if (route.hsts_preload) key.put('l', true);
    for (const ErrorPageConfig& page : route.error_pages) {
      key.put('e', page.status);
      putFile(key, page.file, most_error_page);
    }
    return key.text();
  }

  void addRoute(const RouteConfig& route) {
    auto policy = tools_.identities.policy(keyOf(route), [&] { return makePolicy(route); });
    if (policy == nullptr) return refuse(route.place, "there are more routes than plait has places for");
    route::RouteSpec spec;
    spec.name = route.name.value;
    spec.place = {route.place.source.text(), route.place.line, route.place.column};
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
      refuse({mistake.place.file, mistake.place.line, mistake.place.column}, mistake.text);
    out_.plan->routes = std::move(built.table);
  }

  const Config& config_;
  const CompileTools& tools_;
  CompiledPlan& out_;
  std::vector<ConfigError> errors_;
  std::map<std::string, std::shared_ptr<const ClusterIdentity>> clusters_;
  std::map<std::pair<std::string, size_t>, FileContent> files_;
};

}  // namespace

std::vector<ConfigError> compile(const Config& config, const CompileTools& tools, CompiledPlan& out) {
  return Compiler(config, tools, out).run();
}

}  // namespace plait
