#include "plait/route/route_conflicts.h"

#include <algorithm>
#include <map>

#include "plait/route/regex_set.h"

namespace plait::route {
namespace {

const std::string* valueOf(const std::vector<Condition>& conditions, const std::string& name) {
  for (const Condition& condition : conditions) {
    if (condition.name == name) return &condition.value;
  }
  return nullptr;
}

}  // namespace

std::string nameInSentence(std::span<const RouteSpec> specs, uint32_t route) {
  const RouteSpec& spec = specs[route];
  std::string text = spec.name.empty() ? "route " + std::to_string(route + 1) : "route \"" + spec.name + "\"";
  if (spec.place.line == 0) return text;
  text += spec.place.file.empty() ? " (line " : " (" + std::string(spec.place.file) + ':';
  text += std::to_string(spec.place.line);
  text += spec.place.file.empty() ? ", column " : ":";
  return text + std::to_string(spec.place.column) + ')';
}

uint64_t precedenceOf(const Match& match) {
  const auto fewer = [](size_t conditions) {
    return Match::max_conditions - std::min(conditions, Match::max_conditions);
  };
  const uint64_t by_priority = ~static_cast<uint32_t>(match.priority) ^ 0x8000'0000;
  return uint64_t{match.methods.empty()} << 48 | fewer(match.fields.size()) << 40 | fewer(match.query.size()) << 32 |
         by_priority;
}

void RouteConflicts::look(std::span<const Candidate> routes) {
  for (size_t first = 0; first < routes.size() && !isEnough();) {
    size_t end = first + 1;
    while (end < routes.size() &&
           precedenceOf(specs_[routes[first].route].match) == precedenceOf(specs_[routes[end].route].match))
      end += 1;
    if (end - first > 1) compareAll(routes.subspan(first, end - first));
    first = end;
  }
}

void RouteConflicts::compareAll(std::span<const Candidate> routes) {
  constexpr size_t few = 8;
  if (routes.size() > few && (divideByCondition(routes) || divideByStart(routes))) return;
  for (size_t i = 0; i < routes.size(); ++i) {
    for (size_t k = i + 1; k < routes.size(); ++k) {
      if (isEnough()) return;
      comparisons_ += 1;
      if (areAlike(routes[i], routes[k]))
        pairs_.emplace(std::max(routes[i].route, routes[k].route), std::min(routes[i].route, routes[k].route));
    }
  }
}

// Some request matches both.
bool RouteConflicts::areAlike(const Candidate& a, const Candidate& b) const {
  if (!predicates_.areCompatible(a.predicate, b.predicate)) return false;
  const Match& left = specs_[a.route].match;
  const Match& right = specs_[b.route].match;
  if (left.path_kind != PathKind::expression || left.path == right.path) return true;
  const std::string left_start = RegexSet::literalStart(left.path);
  const std::string right_start = RegexSet::literalStart(right.path);
  return left_start.starts_with(right_start) || right_start.starts_with(left_start);
}

// Routes that all ask for one name, by the values that they ask for: no request matches two of those. False where no
// name divides them.
bool RouteConflicts::divideByCondition(std::span<const Candidate> routes) {
  for (const auto conditions : {&Match::fields, &Match::query}) {
    for (const Condition& condition : specs_[routes[0].route].match.*conditions) {
      std::map<std::string_view, std::vector<Candidate>> parts;
      for (const Candidate& candidate : routes) {
        const std::string* value = valueOf(specs_[candidate.route].match.*conditions, condition.name);
        if (value == nullptr) break;
        parts[*value].push_back(candidate);
      }
      size_t divided = 0;
      for (const auto& [value, part] : parts) divided += part.size();
      if (divided != routes.size() || parts.size() == 1) continue;
      for (const auto& [value, part] : parts) compareAll(part);
      return true;
    }
  }
  return false;
}

// Expressions whose matches begin in different ways. False where all may begin alike.
bool RouteConflicts::divideByStart(std::span<const Candidate> routes) {
  if (specs_[routes[0].route].match.path_kind != PathKind::expression) return false;
  std::vector<std::pair<std::string, Candidate>> sorted;
  for (const Candidate& candidate : routes)
    sorted.emplace_back(RegexSet::literalStart(specs_[candidate.route].match.path), candidate);
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  // What begins with one text lies together, behind that text.
  std::vector<std::vector<Candidate>> parts;
  const std::string* start = nullptr;
  for (const auto& [text, candidate] : sorted) {
    if (start == nullptr || !text.starts_with(*start)) {
      parts.emplace_back();
      start = &text;
    }
    parts.back().push_back(candidate);
  }
  if (parts.size() == 1) return false;
  for (const std::vector<Candidate>& part : parts) compareAll(part);
  return true;
}

std::vector<Mistake> RouteConflicts::takeMistakes() {
  std::vector<Mistake> mistakes;
  for (const auto& [later, earlier] : pairs_) {
    std::string text = nameInSentence(specs_, later) + " and " + nameInSentence(specs_, earlier);
    text +=
        specs_[later].match.path_kind == PathKind::expression && specs_[later].match.path != specs_[earlier].match.path
            ? " have expressions of one length that may match one path"
            : " match the same requests";
    text += ", and neither is more specific: give one of them a higher priority";
    mistakes.push_back({std::move(text), later, specs_[later].place});
  }
  if (comparisons_ > max_comparisons) {
    mistakes.push_back({"there are too many routes with one path whose conditions have no name in common", 0, {}});
  }
  return mistakes;
}

}  // namespace plait::route
