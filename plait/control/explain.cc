#include "plait/control/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>

#include "plait/control/check.h"
#include "plait/filter/fields.h"
#include "plait/h1/parser.h"
#include "plait/http/field_rules.h"
#include "plait/net/address.h"
#include "plait/proxy/forward.h"
#include "plait/proxy/route_effects.h"

namespace plait {
namespace {

constexpr std::string_view example_id = "0123456789abcdef";
// Of more routes than this nobody is told which one is the nearest.
constexpr size_t most_compared = 500;
constexpr size_t most_nearest = 3;

// A command is one line, and its parts may have spaces.
constexpr char separator = '\x1f';
constexpr std::string_view explain_command = "explain";

// A question, read by the parser that reads requests.
class Asked {
 public:
  // Empty on success, else a phrase for the operator.
  std::string read(const Question& question, const Limits& limits) {
    const size_t space = question.request.find(' ');
    const std::string method = space == std::string::npos ? "GET" : question.request.substr(0, space);
    std::string target = space == std::string::npos ? question.request : question.request.substr(space + 1);
    std::string host;
    if (const size_t mark = target.find("://"); mark != std::string::npos && mark < target.find_first_of("/?#")) {
      const std::string scheme = target.substr(0, mark);
      if (scheme != "http" && scheme != "https")
        return fmt::format("{}: the URL of a request begins with http:// or https://", target);
      client.is_tls = scheme == "https";
      const size_t end = std::min(target.find_first_of("/?#", mark + 3), target.size());
      host = target.substr(mark + 3, end - mark - 3);
      target.erase(0, end);
      if (!target.starts_with('/')) target.insert(0, method == "OPTIONS" && target.empty() ? "*" : "/");
    }
    std::string fields;
    for (const std::string& field : question.fields) {
      const size_t colon = field.find(':');
      if (colon == std::string::npos) return fmt::format("-H {}: expected \"NAME: VALUE\"", field);
      const std::string_view name = std::string_view(field).substr(0, colon);
      const std::string_view value = http::trimWhitespace(std::string_view(field).substr(colon + 1));
      if (http::equalsIgnoreCase(name, "host")) {
        host = value;
      } else {
        fields += fmt::format("{}: {}\r\n", name, value);
      }
    }
    // A request without a host is one of HTTP/1.0.
    const std::string text = fmt::format("{} {} HTTP/1.{}\r\n{}{}\r\n", method, target, host.empty() ? 0 : 1,
                                         host.empty() ? "" : "host: " + host + "\r\n", fields);
    memory_.resize((text.size() + 16 * (question.fields.size() + 4)) / sizeof(uint64_t) + 64);
    head.fields = http::FieldList({reinterpret_cast<uint8_t*>(memory_.data()), memory_.size() * sizeof(uint64_t)});
    size_t scanned = 0;
    h1::Limits bounds;
    bounds.fields_size = limits.header_bytes;
    bounds.field_count = limits.header_fields;
    bounds.target_size = limits.target_bytes;
    bounds.start_line_size = limits.target_bytes + 64;
    const auto parsed = h1::parseRequestHead(asBytes(text), scanned, head, bounds);
    if (!parsed) return fmt::format("{}: {}", question.request, parsed.error().error.reason);
    if (!parsed->complete) return fmt::format("{}: this is no request", question.request);
    if (TrustedProxies::numberOf(question.client) == 0)
      return fmt::format("--client {}: expected an address, as in 192.0.2.1", question.client);
    client.address_size = static_cast<uint8_t>(std::min(question.client.size(), sizeof(client.address_text)));
    std::memcpy(client.address_text, question.client.data(), client.address_size);
    return {};
  }

  http::RequestHead head;
  ClientInfo client;

 private:
  std::vector<uint64_t> memory_;
};

class Explanation {
 public:
  Explanation(const Explained& explained, const Asked& asked, std::string& out)
      : config_(explained.config),
        listeners_(explained.listeners),
        plan_(explained.plan),
        specs_(explained.specs),
        states_(explained.states),
        head_(asked.head),
        client_(asked.client),
        out_(out) {
    real_client_ = realClientOf(head_, client_, config_.forward);
    address_ = real_client_.empty() ? client_.address() : real_client_;
  }

  void run() {
    const std::string origin = head_.authority.empty() ? "" : fmt::format("{}://{}", client_.scheme(), head_.authority);
    say("request: {} {}{}", head_.method, origin, head_.path);
    if (!real_client_.empty()) say("client: {}, as {} names it", address_, client_.address());
    if (head_.method == "CONNECT") return answer(501, "this proxy takes no CONNECT");
    if (hasUsedUpMaxForwards(head_)) return answer(head_.method == "OPTIONS" ? 200 : 501, "Max-Forwards is used up");
    if (isForwardingLoop(head_)) return answer(508, "this request comes round to this proxy again and again");
    if (const ListenConfig* listen = redirectingListener()) {
      client_.redirects_https = true;
      say("listener: {}, which redirects to HTTPS", listen->address.value);
      if (isForHttps(head_, client_, config_.forward.trusted_proxies)) return sayHttpsRedirect();
      say("  {} says that its client speaks TLS already", client_.address());
    }
    if (plan_.routes == nullptr) {
      say("route: there are none, everything goes to the cluster \"default\"");
      return sayCluster(nullptr, 0, 1, 1);
    }
    chooseRoute();
  }

 private:
  template <class... Args>
  void say(fmt::format_string<Args...> text, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), text, std::forward<Args>(args)...);
    out_ += '\n';
  }
  void answer(uint16_t status, std::string_view why) { say("answer: {}, {}", status, why); }

  // The one with redirect_https that a plain request comes by: it has the port of the URL, or no plain one is without.
  const ListenConfig* redirectingListener() const {
    if (client_.is_tls) return nullptr;
    const auto asked = splitHostPort(head_.authority);
    const uint16_t port = asked && asked->port ? *asked->port : 80;
    const ListenConfig* found = nullptr;
    bool is_each = true;
    for (const ListenConfig& one : listeners_) {
      is_each = is_each && (one.redirects_https || one.tls == ListenTls::on);
      if (one.redirects_https && (found == nullptr || portOf(one.parsed) == port)) found = &one;
    }
    return found != nullptr && (is_each || portOf(found->parsed) == port) ? found : nullptr;
  }

  void sayHttpsRedirect() {
    std::vector<char> memory(most_location);
    TextWriter location(memory);
    if (!writeHttpsLocation(location, head_)) return answer(400, "the request names no host that it could be sent to");
    say("answer: {} to {}", https_redirect_status, location.text());
  }

  std::string nameOf(uint32_t route) const {
    const route::RouteSpec& spec = specs_[route];
    return fmt::format("{} ({})", spec.name, Place{spec.place.file, spec.place.line, spec.place.column}.text());
  }
  std::string nameOf(const route::Choice& choice) const {
    return choice.verdict == route::Verdict::found ? nameOf(choice.route) : "no route";
  }

  void chooseRoute() {
    route::RouteScratch scratch(*plan_.routes);
    const route::RequestView view = route::RequestView::of(head_);
    const route::Choice choice = plan_.routes->lookup(view, scratch);
    if (choice.verdict == route::Verdict::refused) answer(400, choice.reason);
    sayReadings(view, choice, scratch);
    if (choice.verdict == route::Verdict::refused) return;
    if (choice.verdict == route::Verdict::none) {
      answer(404, "no route leads anywhere for this host and path");
      return sayNearest(view);
    }
    say("route: {}", nameOf(choice.route));
    const RoutePolicy& policy = *plan_.policies[choice.policy];
    sayPolicies(policy);
    if (!isOpenTo(policy, address_)) return answerOfRoute(policy, 403, "this route is not open to this client");
    if (!allowsLength(policy, head_)) return answerOfRoute(policy, 413, "the request's body is larger than allowed");
    switch (policy.action) {
      case RoutePolicy::Action::redirect:
        return sayRedirect(policy, choice.elements);
      case RoutePolicy::Action::respond:
        say("answer: {}, {} bytes{}{}", policy.status, policy.body.text.size(), policy.body.text.empty() ? "" : " of ",
            policy.body.text.empty() ? "" : policy.body.content_type);
        return sayResponseFields(policy);
      case RoutePolicy::Action::forward:
        return sayForward(policy, choice.elements);
    }
  }

  // Each reading with its route, where there are several.
  void sayReadings(const route::RequestView& view, const route::Choice& choice, route::RouteScratch& scratch) {
    if (route::hasOneReading(view.path)) return;
    const auto memory = std::make_unique<uint8_t[]>(route::PathReadings::buffer_bytes);
    route::PathReadings readings({memory.get(), route::PathReadings::buffer_bytes});
    if (readings.read(view.path) != route::PathFault::none || readings.count() < 2) return;
    say("the path can be read in {} ways:", readings.count());
    for (size_t i = 0; i < readings.count(); ++i) {
      const std::string reading(readings.at(i));
      if (choice.verdict == route::Verdict::refused) {
        say("  {} → {}", reading, nameOf(plan_.routes->lookupReading(view, reading, scratch)));
      } else {
        say("  {}", reading);
      }
    }
  }

  // What keeps a route from getting the request, each aspect by itself.
  static std::vector<std::string> differences(const route::Match& match, const route::RequestView& view) {
    std::vector<std::string> found;
    const auto matches = [&](const route::Match& aspect) {
      const std::vector<route::RouteSpec> one = {{"one", aspect, {}, 0}};
      const route::RouteTable::Built built = route::RouteTable::build(one, {});
      if (built.table == nullptr) return false;
      route::RouteScratch scratch(*built.table);
      return built.table->lookup(view, scratch).verdict == route::Verdict::found;
    };
    if (route::Match aspect; aspect.hosts = match.hosts, !matches(aspect)) found.emplace_back("the host");
    route::Match path;
    path.path_kind = match.path_kind;
    path.path = match.path;
    if (!matches(path)) found.emplace_back("the path");
    if (route::Match aspect; aspect.methods = match.methods, !matches(aspect)) found.emplace_back("the method");
    for (const route::Condition& field : match.fields) {
      if (route::Match aspect; aspect.fields = {field}, !matches(aspect)) found.push_back("header." + field.name);
    }
    for (const route::Condition& parameter : match.query) {
      if (route::Match aspect; aspect.query = {parameter}, !matches(aspect)) found.push_back("query." + parameter.name);
    }
    return found;
  }

  void sayNearest(const route::RequestView& view) {
    if (specs_.size() > most_compared) return;
    struct Distance {
      std::vector<std::string> differences;
      uint32_t route = 0;
      // Fewer differences are nearer, and among equals that another path is asked for is the largest.
      std::pair<size_t, bool> rank() const {
        return {differences.size(), std::ranges::find(differences, "the path") != differences.end()};
      }
    };
    std::vector<Distance> all;
    for (uint32_t route = 0; route < specs_.size(); ++route)
      all.push_back({differences(specs_[route].match, view), route});
    std::ranges::sort(all, {}, [](const Distance& one) { return std::pair(one.rank(), one.route); });
    for (size_t i = 0; i < std::min(most_nearest, all.size()) && all[i].rank() == all[0].rank(); ++i) {
      say("  not {}: {} {}", nameOf(all[i].route), fmt::join(all[i].differences, " and "),
          all[i].differences.size() == 1 ? "differs" : "differ");
    }
  }

  void sayPolicies(const RoutePolicy& policy) {
    if (!policy.allow.empty() || !policy.deny.empty())
      say("networks: {} is {}", address_, isOpenTo(policy, address_) ? "allowed" : "denied");
    if (policy.most_body_bytes || policy.most_requests != 0) {
      std::string limits;
      if (policy.most_body_bytes) limits += fmt::format("{} bytes of a body", *policy.most_body_bytes);
      if (policy.most_requests != 0)
        limits += fmt::format("{}{} requests at once", limits.empty() ? "" : ", ", policy.most_requests);
      say("limits: {}", limits);
    }
    if (!policy.error_pages.empty()) {
      std::string statuses;
      for (const RoutePolicy::ErrorPage& page : policy.error_pages)
        statuses += fmt::format("{}{}", statuses.empty() ? "" : ", ", page.status);
      say("error pages: {}", statuses);
    }
  }

  void answerOfRoute(const RoutePolicy& policy, uint16_t status, std::string_view why) {
    answer(status, why);
    sayResponseFields(policy);
  }

  void sayRedirect(const RoutePolicy& policy, uint32_t elements) {
    std::vector<char> memory(most_location);
    TextWriter location(memory);
    if (!writeLocation(location, policy, head_, client_.scheme(), elements))
      return answerOfRoute(policy, 400, "the request names no host that it could be sent to");
    say("answer: {} to {}", policy.status, location.text());
    sayResponseFields(policy);
  }

  void sayForward(const RoutePolicy& policy, uint32_t elements) {
    if (!policy.rewrite_path.empty() && head_.path != "*") {
      std::vector<char> memory(most_rewritten);
      TextWriter target(memory);
      writeTarget(target, head_.path, policy.rewrite_path, policy.rewrites_prefix, elements);
      say("path: {}", target.text());
    }
    if (!policy.rewrite_host.empty()) say("host: {}", policy.rewrite_host);
    sayFields("request fields", policy.request_fields);
    sayResponseFields(policy);
    say("retries: at most {}, {}",
        std::min(policy.most_retries.value_or(UINT32_MAX), config_.limits.unprocessed_retries),
        policy.repeats_unknown ? "idempotent ones also where their fate is unknown"
                               : "never where their fate is unknown");
    if (policy.total_ms != 0) say("timeouts: {} ms in all", policy.total_ms);
    const std::string_view key = splitKeyOf(policy, head_, address_);
    const bool is_kept = policy.sides.size() > 1 && !key.empty();
    if (is_kept) say("split by {}: this request goes to {}", key, nameOfSide(policy, sideOf(policy, key)));
    uint32_t before = 0;
    for (const SplitSide& side : policy.sides) {
      sayCluster(&policy, side.cluster->number, side.upto - before, policy.sides.back().upto);
      before = side.upto;
    }
  }

  static std::string_view nameOfSide(const RoutePolicy& policy, uint32_t number) {
    const auto side = std::ranges::find(policy.sides, number, [](const SplitSide& one) { return one.cluster->number; });
    return side->cluster->name;
  }

  void sayFields(const char* title, const route::FieldChanges& changes) {
    if (changes.empty()) return;
    say("{}:", title);
    const route::Variables variables =
        variablesOf(head_, head_.authority, head_.path, address_, client_.scheme(), example_id);
    std::vector<char> buffer(most_filled_value);
    for (const std::string& name : changes.removed) say("  remove {}", name);
    for (const route::FieldChange& change : changes.changes) {
      bool ok = false;
      const std::string_view value = change.value.fill(variables, buffer, ok);
      if (ok) {
        say("  {} {}: {}", change.replaces ? "set" : "add", change.name, value);
      } else {
        say("  {} {}, since its value cannot be one", change.replaces ? "remove" : "add no", change.name);
      }
    }
  }
  void sayResponseFields(const RoutePolicy& policy) {
    sayFields("response fields", policy.response_fields);
    if (const std::string_view hsts = policy.hstsFor(client_.is_tls); !hsts.empty())
      say("strict-transport-security: {}", hsts);
  }

  void sayCluster(const RoutePolicy* policy, uint32_t number, uint32_t weight, uint32_t sum) {
    const ClusterSpec& spec = *plan_.clusters[number];
    const std::string share = weight == sum ? "" : fmt::format(", {} of {}", weight, sum);
    say("cluster: {}{}", spec.identity->name, share);
    const bool has_head_ms = policy != nullptr && policy->response_head_ms != 0;
    const PoolTimeouts& timeouts = spec.endpoints.empty() || !spec.endpoints[0].options->timeouts
                                       ? config_.pool_timeouts
                                       : *spec.endpoints[0].options->timeouts;
    const bool has_idle_ms = policy != nullptr && policy->idle_ms != 0;
    say("  timeouts: {} ms to connect, {} ms for room, {} ms to a head, {} ms without a byte", timeouts.connect_ms,
        spec.queue_ms, has_head_ms ? policy->response_head_ms : spec.response_head_ms,
        has_idle_ms ? policy->idle_ms : timeouts.stream_idle_ms);
    if (spec.most_requests != 0) say("  limits: {} requests at once", spec.most_requests);
    if (spec.most_waiting) say("  limits: {} wait for room at once", *spec.most_waiting);
    for (const EndpointSpec& endpoint : spec.endpoints) {
      const std::string_view authority = authorityFor(policy, head_.authority, endpoint.authority);
      const uint32_t number = endpoint.options->number;
      const std::string state = states_ == nullptr
                                    ? endpoint.options->starts_down ? " (its name cannot be resolved now)" : ""
                                    : fmt::format(" {}, {}", states_->of(number), states_->scoreOf(number));
      say("  {}{}{}", endpoint.options->name, state,
          authority == head_.authority || (policy != nullptr && !policy->rewrite_host.empty())
              ? ""
              : fmt::format(", asked for the host {}", authority));
    }
  }

  const Config& config_;
  std::span<const ListenConfig> listeners_;
  const Plan& plan_;
  std::span<const route::RouteSpec> specs_;
  const EndpointStates* states_;
  const http::RequestHead& head_;
  ClientInfo client_;
  std::string_view real_client_;
  std::string_view address_;
  std::string& out_;
};

}  // namespace

std::optional<std::string> commandOf(const Question& question) {
  std::string command(explain_command);
  const auto put = [&](const std::string& part) { command += separator + part; };
  put(question.request);
  put(question.client);
  for (const std::string& field : question.fields) put(field);
  const size_t separators = question.fields.size() + 2;
  const auto is_control = [](char c) { return static_cast<uint8_t>(c) < ' ' && c != '\t'; };
  return static_cast<size_t>(std::ranges::count_if(command, is_control)) == separators ? std::optional(command)
                                                                                       : std::nullopt;
}

std::optional<Question> questionOf(std::string_view command) {
  std::vector<std::string> parts;
  while (true) {
    const size_t end = std::min(command.find(separator), command.size());
    parts.emplace_back(command.substr(0, end));
    if (end == command.size()) break;
    command.remove_prefix(end + 1);
  }
  if (parts.size() < 3 || parts[0] != explain_command) return std::nullopt;
  return Question{parts[1], {parts.begin() + 3, parts.end()}, parts[2]};
}

std::string explainRequest(const Explained& explained, const Question& question, std::string& out) {
  Asked asked;
  if (std::string wrong = asked.read(question, explained.config.limits); !wrong.empty()) return wrong;
  Explanation(explained, asked, out).run();
  return {};
}

int explain(const Flags& flags, const std::string& file, const Question& question) {
  Resolver resolver;
  Config config;
  LoadedConfig loaded;
  if (const auto errors = configure(flags, file, false, resolver, config, loaded); !errors.empty())
    return refuse(errors);
  std::string text;
  const Explained explained{config, config.listeners, *loaded.options.plan, loaded.compiled.specs};
  if (const std::string wrong = explainRequest(explained, question, text); !wrong.empty()) return refuse(wrong);
  fmt::print("{}", text);
  return 0;
}

}  // namespace plait
