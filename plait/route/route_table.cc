#include "plait/route/route_table.h"

namespace plait::route {

RouteScratch::RouteScratch(const RouteTable& table)
    : buffer_(std::make_unique_for_overwrite<uint8_t[]>(PathReadings::buffer_bytes)),
      readings_({buffer_.get(), PathReadings::buffer_bytes}) {
  if (table.expressions_) regex_ = table.expressions_->makeScratch();
}

Choice RouteTable::lookup(const RequestView& request, RouteScratch& scratch) const {
  const auto refused = [](const char* reason) { return Choice{.verdict = Verdict::refused, .reason = reason}; };
  if (request.query.find('#') != std::string_view::npos) return refused(textOf(PathFault::fragment));
  char buffer[max_host];
  const std::string_view host = normalHost(request.host, buffer);
  Asked asked{request};
  const Candidate* chosen = nullptr;
  if (hasOneReading(request.path)) [[likely]] {
    chosen = candidateOf(host, request.path, asked, scratch);
  } else {
    PathReadings& readings = scratch.readings_;
    const PathFault fault = readings.read(request.path);
    if (fault != PathFault::none) return refused(textOf(fault));
    chosen = candidateOf(host, readings.at(0), asked, scratch);
    for (size_t i = 1; i < readings.count(); ++i) {
      const Candidate* other = candidateOf(host, readings.at(i), asked, scratch);
      if ((other == nullptr) != (chosen == nullptr) || (chosen != nullptr && other->route != chosen->route))
        return refused("the path can be read in several ways, which belong to different routes");
    }
    if (chosen != nullptr && chosen->replaces_prefix && request.path != "*" &&
        readings.climbsOutOf(request.path.substr(prefixEnd(request.path, chosen->elements)))) {
      return refused("the path leaves the prefix that its route replaces");
    }
  }
  if (chosen == nullptr) return {};
  return {Verdict::found, chosen->route, chosen->policy, chosen->elements};
}

Choice RouteTable::lookupReading(const RequestView& request, std::string_view reading, RouteScratch& scratch) const {
  char buffer[max_host];
  Asked asked{request};
  const Candidate* chosen = candidateOf(normalHost(request.host, buffer), reading, asked, scratch);
  if (chosen == nullptr) return {};
  return {Verdict::found, chosen->route, chosen->policy, chosen->elements};
}

const Candidate* RouteTable::firstThatMatches(std::span<const Candidate> candidates, Asked& asked) const {
  for (const Candidate& candidate : candidates) {
    if (predicates_.matches(candidate.predicate, asked)) return &candidate;
  }
  return nullptr;
}

const Candidate* RouteTable::candidateOf(std::string_view host, std::string_view path, Asked& asked,
                                         RouteScratch& scratch) const {
  bool is_scanned = false;
  HostTable::Cursor cursor(hosts_, host);
  for (const Site* site = cursor.next(); site != nullptr; site = cursor.next()) {
    const PathTree::Spot spot = tree_.walk(site->root, path);
    const Candidate* found = firstThatMatches(tree_.exact(spot), asked);
    if (found != nullptr) return found;
    // A target without a path, as "*", is no path that an expression could describe.
    if (site->expression_count != 0 && path.starts_with('/')) {
      if (!is_scanned) expressions_->match(path, scratch.regex_, scratch.matches_);
      is_scanned = true;
      for (uint32_t i = 0; i < site->expression_count; ++i) {
        const ExpressionCandidate& one = expression_candidates_[site->first_expression + i];
        if (scratch.matches_[one.expression] && predicates_.matches(one.candidate.predicate, asked))
          return &one.candidate;
      }
    }
    for (uint32_t node = tree_.firstPrefix(spot); node != PathTree::no_node; node = tree_.nextPrefix(node)) {
      found = firstThatMatches(tree_.prefix(node), asked);
      if (found != nullptr) return found;
    }
  }
  return nullptr;
}

size_t RouteTable::bytes() const {
  return sizeof(*this) + hosts_.bytes() + tree_.bytes() + predicates_.bytes() +
         expression_candidates_.capacity() * sizeof(ExpressionCandidate) + expressionBytes();
}

size_t prefixEnd(std::string_view path, uint32_t elements) {
  size_t at = 0;
  for (; elements != 0 && at < path.size(); --elements) {
    at = path.find('/', at + 1);
    if (at == std::string_view::npos) return path.size();
  }
  return at;
}

}  // namespace plait::route
