#include "plait/route/route_proof.h"

#include <algorithm>

namespace plait::route {
namespace {

constexpr const char* some_labels[] = {"www", "any", "plait-check"};
constexpr const char* some_elements[] = {"", "/any", "/0", "/plait-check", "/plait_CHECK.0~"};
constexpr const char* some_methods[] = {"GET",   "POST",    "PUT",   "DELETE",     "HEAD",
                                        "PATCH", "OPTIONS", "TRACE", "PLAIT-CHECK"};

// Bytes that a URL cannot have as they are.
std::string encoded(std::string_view text, std::string_view plain) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    const bool is_word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (is_word || plain.find(c) != std::string_view::npos) {
      out += c;
    } else {
      constexpr char digits[] = "0123456789ABCDEF";
      out += {'%', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return out;
}

// Hosts for which no pattern but the route's own is more specific, as far as that exists.
std::vector<std::string> hostsFor(const Match& match) {
  std::vector<std::string> hosts;
  for (const std::string& host : match.hosts) {
    if (!isWildcard(host)) hosts.push_back(host);
  }
  for (const std::string& host : match.hosts) {
    if (!isWildcard(host)) continue;
    for (const char* label : some_labels) hosts.push_back(label + host.substr(1));
  }
  if (match.hosts.empty()) hosts = {"any.example", "plait-check.invalid", ""};
  return hosts;
}

std::vector<std::string> pathsFor(const Match& match) {
  if (match.path_kind == PathKind::expression) return {match.example};
  std::string path;
  readingOfRoute(match.path, match.path_kind == PathKind::prefix, path);
  path = encoded(path, "/!$&'()*+,=:@-._~");
  if (match.path_kind == PathKind::exact) return {path};
  std::vector<std::string> paths;
  for (const char* element : some_elements) paths.push_back(path == "/" && *element != '\0' ? element : path + element);
  // Where expressions match every path, what is left of "/" is the target of OPTIONS (RFC 9112 §3.2.4).
  if (path == "/") paths.push_back("*");
  return paths;
}

// The fields of an example in memory of its own.
class Fields {
 public:
  explicit Fields(const std::vector<Condition>& conditions) {
    size_t size = 0;
    for (const Condition& condition : conditions)
      size += http::FieldList::bytesFor(condition.name, condition.value, http::FieldName::unknown);
    memory_.resize(size / sizeof(uint64_t) + 1);
    list_ = http::FieldList({reinterpret_cast<uint8_t*>(memory_.data()), memory_.size() * sizeof(uint64_t)});
    for (const Condition& condition : conditions) list_.add(condition.name, condition.value);
  }
  const http::FieldList* list() const { return &list_; }

 private:
  std::vector<uint64_t> memory_;
  http::FieldList list_;
};

class Prover {
 public:
  explicit Prover(const RouteTable& table) : table_(table), scratch_(table) {}

  RouteProof prove(uint32_t route, const Match& match) {
    RouteProof proof;
    const bool is_expression = match.path_kind == PathKind::expression;
    if (is_expression && match.example.empty()) {
      proof.reason = "an expression needs an example";
      return proof;
    }
    const Fields fields(match.fields);
    ExampleRequest example;
    example.fields = match.fields;
    for (const Condition& condition : match.query) {
      if (!example.query.empty()) example.query += '&';
      example.query += encoded(condition.name, "-._~") + '=' + encoded(condition.value, "-._~");
    }
    std::vector<std::string> methods = match.methods;
    if (methods.empty()) methods.assign(std::begin(some_methods), std::end(some_methods));
    Choice first;
    bool is_first = true;
    for (const std::string& host : hostsFor(match)) {
      for (const std::string& path : pathsFor(match)) {
        for (const std::string& method : methods) {
          if (path == "*" && method != "OPTIONS") continue;
          example.host = host;
          example.path = path;
          example.method = method;
          const Choice choice = table_.lookup({host, path, example.query, method, fields.list()}, scratch_);
          if (choice.verdict == Verdict::found && choice.route == route) {
            proof.state = RouteProof::State::reached;
            proof.example = example;
            return proof;
          }
          if (!is_first) continue;
          is_first = false;
          first = choice;
          proof.example = example;
        }
      }
    }
    if (first.verdict == Verdict::found) proof.by = first.route;
    if (!is_expression && first.verdict == Verdict::found) {
      proof.state = RouteProof::State::shadowed;
    } else {
      proof.reason = first.verdict == Verdict::found     ? "the example goes to another route"
                     : first.verdict == Verdict::refused ? first.reason
                                                         : "the example does not match";
    }
    return proof;
  }

 private:
  const RouteTable& table_;
  RouteScratch scratch_;
};

}  // namespace

std::string ExampleRequest::text() const {
  std::string text = method + ' ';
  if (path == "*") {
    text += path;
    if (!host.empty()) text += " -H 'host: " + host + '\'';
  } else {
    if (!host.empty()) text += "https://" + host;
    text += path;
  }
  if (!query.empty()) text += '?' + query;
  for (const Condition& field : fields) text += " -H '" + field.name + ": " + field.value + '\'';
  return text;
}

std::vector<RouteProof> proveRoutes(const RouteTable& table, std::span<const RouteSpec> specs) {
  std::vector<RouteProof> proofs;
  proofs.reserve(specs.size());
  Prover prover(table);
  for (uint32_t route = 0; route < specs.size(); ++route) proofs.push_back(prover.prove(route, specs[route].match));
  return proofs;
}

}  // namespace plait::route
