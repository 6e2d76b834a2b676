// RouteTable::build: specs are read one by one, then put together by host.
#include <algorithm>
#include <numeric>
#include <optional>
#include <unordered_map>

#include "plait/http/field_rules.h"
#include "plait/route/route_conflicts.h"
#include "plait/route/route_table.h"

namespace plait::route {

class RouteTableBuilder {
 public:
  RouteTableBuilder(std::span<const RouteSpec> specs, const SipKey& key)
      : specs_(specs), key_(key), table_(new RouteTable()) {}

  RouteTable::Built build(const RouteTable* before);

 private:
  // A spec as it was read.
  struct Read {
    std::string path;
    uint32_t predicate = Predicates::always;
    uint32_t expression = 0;
    uint32_t elements = 0;
  };
  // A place of a route: one of its hosts, as a number among all hosts.
  struct Placed {
    uint32_t host;
    uint32_t route;
  };

  void read(uint32_t route);
  void readHosts(uint32_t route);
  void readConditions(uint32_t route, std::string_view key, const std::vector<Condition>& conditions, bool are_fields);
  void readExpressions(const RouteTable* before);
  void placeRoutes();
  Site siteOf(std::span<const uint32_t> routes);
  Site makeSite(std::span<const uint32_t> routes);
  void lookForConflicts(std::span<const PathTree::Item> items);
  Candidate candidateOf(uint32_t route) const {
    return {route, reads_[route].predicate, specs_[route].policy, reads_[route].elements,
            specs_[route].replaces_prefix};
  }
  void refuse(uint32_t route, std::string_view key, std::string_view value, std::string_view phrase);

  std::span<const RouteSpec> specs_;
  SipKey key_;
  std::shared_ptr<RouteTable> table_;
  std::vector<Mistake> mistakes_;
  std::vector<Read> reads_;
  std::vector<uint32_t> ranks_;  // places of routes by precedence, as if they all had one host and path
  std::unordered_map<std::string, uint32_t> hosts_;  // "" stands for routes without a host
  std::vector<Placed> placed_;
  std::unordered_multimap<uint64_t, std::pair<std::span<const uint32_t>, Site>> sites_;  // by their routes' hash
  std::unique_ptr<RouteConflicts> conflicts_;
  std::vector<PathTree::Item> items_;
};

void RouteTableBuilder::refuse(uint32_t route, std::string_view key, std::string_view value, std::string_view phrase) {
  std::string text = nameInSentence(specs_, route) + ": " + std::string(key);
  if (!value.empty()) text += " \"" + std::string(value) + '"';
  mistakes_.push_back({text + ' ' + std::string(phrase), route, specs_[route].place});
}

void RouteTableBuilder::readHosts(uint32_t route) {
  const size_t first = placed_.size();
  const auto place = [&](std::string pattern) {
    const auto number = hosts_.emplace(std::move(pattern), static_cast<uint32_t>(hosts_.size())).first->second;
    for (size_t i = first; i < placed_.size(); ++i) {
      if (placed_[i].host == number) return;
    }
    placed_.push_back({number, route});
  };
  if (specs_[route].match.hosts.empty()) place("");
  for (const std::string& host : specs_[route].match.hosts) {
    std::string pattern;
    const std::string phrase = readHostPattern(host, pattern);
    if (phrase.empty()) {
      place(std::move(pattern));
    } else {
      refuse(route, "host", host, phrase);
    }
  }
}

void RouteTableBuilder::readConditions(uint32_t route, std::string_view key, const std::vector<Condition>& conditions,
                                       bool are_fields) {
  if (conditions.size() > Match::max_conditions)
    refuse(route, key, "", "has more than " + std::to_string(Match::max_conditions) + " conditions");
  for (const Condition& condition : conditions) {
    const auto namesakes = std::count_if(conditions.begin(), conditions.end(),
                                         [&](const Condition& other) { return other.name == condition.name; });
    if (namesakes > 1) refuse(route, key, condition.name, "is there twice");
    if (condition.name.empty()) refuse(route, key, "", "has a condition without a name");
    if (!are_fields || condition.name.empty()) continue;
    if (!http::isLowerCaseToken(condition.name))
      refuse(route, key, condition.name, "is no name of a field in lower case");
    if (condition.name == "host") refuse(route, key, condition.name, "is what the key host is for");
    if (!http::isFieldValue(condition.value)) refuse(route, key, condition.name, "has a value that no field can have");
  }
}

void RouteTableBuilder::read(uint32_t route) {
  const Match& match = specs_[route].match;
  readHosts(route);
  Read& to = reads_[route];
  if (match.path_kind == PathKind::expression) {
    const std::string phrase = RegexSet::mistakeIn(match.path);
    if (!phrase.empty()) refuse(route, "path_regex", match.path, phrase);
  } else {
    const bool is_prefix = match.path_kind == PathKind::prefix;
    const std::string phrase = readingOfRoute(match.path, is_prefix, to.path);
    if (!phrase.empty()) refuse(route, is_prefix ? "path" : "path_exact", match.path, phrase);
  }
  for (const std::string& method : match.methods) {
    if (!http::isToken(method)) refuse(route, "method", method, "is no method");
  }
  readConditions(route, "header", match.fields, true);
  readConditions(route, "query", match.query, false);
  if (!table_->predicates_.addMethods(match))
    refuse(route, "method", "", "is one of more than " + std::to_string(Predicates::max_methods) + " different ones");
  to.predicate = table_->predicates_.add(match);
  if (match.path_kind == PathKind::prefix && to.path != "/")
    to.elements = static_cast<uint32_t>(std::count(to.path.begin(), to.path.end(), '/')) & 0x7fffffff;
}

void RouteTableBuilder::readExpressions(const RouteTable* before) {
  std::vector<std::string> texts;
  for (const RouteSpec& spec : specs_) {
    if (spec.match.path_kind == PathKind::expression) texts.push_back(spec.match.path);
  }
  if (texts.empty()) return;
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  std::unordered_map<std::string_view, uint32_t> numbers;
  for (const std::string& text : texts) numbers.emplace(text, static_cast<uint32_t>(numbers.size()));
  std::vector<uint32_t> users(texts.size(), UINT32_MAX);
  for (uint32_t route = 0; route < specs_.size(); ++route) {
    if (specs_[route].match.path_kind != PathKind::expression) continue;
    reads_[route].expression = numbers[specs_[route].match.path];
    uint32_t& user = users[reads_[route].expression];
    user = std::min(user, route);
  }
  if (before != nullptr && before->expressions_ && std::ranges::equal(before->expressions_->texts(), texts)) {
    table_->expressions_ = before->expressions_;
    return;
  }
  auto made = std::make_shared<RegexSet>();
  const RegexSet::Failure failure = made->compile(texts);
  if (failure.text.empty()) {
    table_->expressions_ = std::move(made);
  } else if (failure.index < users.size()) {
    refuse(users[failure.index], "path_regex", texts[failure.index], failure.text);
  } else {
    mistakes_.push_back({"the expressions of all routes: " + failure.text, 0, {}});
  }
}

// The routes of each host by precedence, then a site for each different list of them.
void RouteTableBuilder::placeRoutes() {
  std::vector<std::pair<uint64_t, uint32_t>> by_precedence;
  by_precedence.reserve(specs_.size());
  for (uint32_t route = 0; route < specs_.size(); ++route)
    by_precedence.emplace_back(precedenceOf(specs_[route].match), route);
  std::sort(by_precedence.begin(), by_precedence.end());
  ranks_.resize(specs_.size());
  for (uint32_t i = 0; i < by_precedence.size(); ++i) ranks_[by_precedence[i].second] = i;
  std::vector<size_t> first(hosts_.size() + 1);
  for (const Placed& placed : placed_) first[placed.host + 1] += 1;
  std::partial_sum(first.begin(), first.end(), first.begin());
  std::vector<uint32_t> routes(placed_.size());
  std::vector<size_t> next(first.begin(), first.end() - 1);
  // placed_ is in the order of routes: those of one host are sorted by their rank afterwards.
  for (const Placed& placed : placed_) routes[next[placed.host]++] = placed.route;

  std::vector<HostTable::Entry> entries;
  entries.reserve(hosts_.size());
  std::optional<Site> without_host;
  std::vector<const std::string*> names(hosts_.size());
  for (const auto& [name, number] : hosts_) names[number] = &name;
  for (size_t host = 0; host < names.size(); ++host) {
    const std::span of_host(routes.data() + first[host], first[host + 1] - first[host]);
    std::sort(of_host.begin(), of_host.end(), [&](uint32_t a, uint32_t b) { return ranks_[a] < ranks_[b]; });
    const Site site = siteOf(of_host);
    if (names[host]->empty()) {
      without_host = site;
    } else {
      entries.push_back({*names[host], site});
    }
  }
  sites_.clear();  // it looks into `routes`
  table_->hosts_.build(entries, without_host ? &*without_host : nullptr, key_);
}

Site RouteTableBuilder::siteOf(std::span<const uint32_t> routes) {
  const uint64_t hash = sipHash(key_, {reinterpret_cast<const char*>(routes.data()), routes.size_bytes()});
  for (auto [known, end] = sites_.equal_range(hash); known != end; ++known) {
    if (std::ranges::equal(known->second.first, routes)) return known->second.second;
  }
  const Site site = makeSite(routes);
  sites_.emplace(hash, std::pair(routes, site));
  return site;
}

Site RouteTableBuilder::makeSite(std::span<const uint32_t> routes) {
  Site site;
  site.first_expression = static_cast<uint32_t>(table_->expression_candidates_.size());
  items_.clear();
  for (const uint32_t route : routes) {
    const PathKind kind = specs_[route].match.path_kind;
    if (kind == PathKind::expression) {
      table_->expression_candidates_.push_back({reads_[route].expression, candidateOf(route)});
    } else {
      items_.push_back({reads_[route].path, kind == PathKind::prefix, candidateOf(route)});
    }
  }
  const std::span expressions = std::span(table_->expression_candidates_).subspan(site.first_expression);
  site.expression_count = static_cast<uint32_t>(expressions.size());
  const auto lengthOf = [&](const RouteTable::ExpressionCandidate& one) {
    return specs_[one.candidate.route].match.path.size();
  };
  std::sort(expressions.begin(), expressions.end(), [&](const auto& a, const auto& b) {
    if (lengthOf(a) != lengthOf(b)) return lengthOf(a) > lengthOf(b);
    return ranks_[a.candidate.route] < ranks_[b.candidate.route];
  });
  site.root = table_->tree_.add(items_);
  lookForConflicts(items_);
  std::vector<Candidate> same_length;
  for (size_t i = 0; i < expressions.size(); ++i) {
    same_length.push_back(expressions[i].candidate);
    if (i + 1 < expressions.size() && lengthOf(expressions[i]) == lengthOf(expressions[i + 1])) continue;
    conflicts_->look(same_length);
    same_length.clear();
  }
  return site;
}

// `items` are sorted by path.
void RouteTableBuilder::lookForConflicts(std::span<const PathTree::Item> items) {
  std::vector<Candidate> same_path;
  for (size_t i = 0; i < items.size();) {
    size_t end = i + 1;
    while (end < items.size() && items[end].is_prefix == items[i].is_prefix && items[end].path == items[i].path)
      end += 1;
    if (end - i > 1) {
      same_path.clear();
      for (size_t k = i; k < end; ++k) same_path.push_back(items[k].candidate);
      conflicts_->look(same_path);
    }
    i = end;
  }
}

RouteTable::Built RouteTableBuilder::build(const RouteTable* before) {
  reads_.resize(specs_.size());
  hosts_.reserve(specs_.size());
  placed_.reserve(specs_.size());
  table_->count_ = specs_.size();
  table_->tree_ = PathTree(key_.first ^ key_.second);
  for (uint32_t route = 0; route < specs_.size(); ++route) {
    read(route);
    if (mistakes_.size() >= RouteTable::max_mistakes) break;
  }
  if (mistakes_.empty()) readExpressions(before);
  if (mistakes_.empty()) {
    conflicts_ = std::make_unique<RouteConflicts>(specs_, table_->predicates_, RouteTable::max_mistakes);
    placeRoutes();
    mistakes_ = conflicts_->takeMistakes();
  }
  if (mistakes_.size() > RouteTable::max_mistakes) mistakes_.resize(RouteTable::max_mistakes);
  if (!mistakes_.empty()) return {nullptr, std::move(mistakes_)};
  table_->tree_.finish();
  table_->predicates_.finish();
  table_->expression_candidates_.shrink_to_fit();
  return {std::move(table_), {}};
}

RouteTable::Built RouteTable::build(std::span<const RouteSpec> specs, const SipKey& key, const RouteTable* before) {
  return RouteTableBuilder(specs, key).build(before);
}

}  // namespace plait::route
