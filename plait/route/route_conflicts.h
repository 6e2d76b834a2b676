// Pairs of routes that one request can reach and of which neither comes first. A request would get one of them by
// chance, so they are mistakes.
#pragma once

#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "plait/route/match.h"
#include "plait/route/predicates.h"

namespace plait::route {

// "route "api" (plait.toml:3:1)", as sentences name it.
std::string nameInSentence(std::span<const RouteSpec> specs, uint32_t route);

// Of two routes with one host and path the one with the lower number comes first. Neither does where they are equal.
uint64_t precedenceOf(const Match& match);

class RouteConflicts {
 public:
  // Comparisons of pairs in all, which bounds the time that hostile sets of routes take.
  static constexpr size_t max_comparisons = 4'000'000;

  RouteConflicts(std::span<const RouteSpec> specs, const Predicates& predicates, size_t max_mistakes)
      : specs_(specs), predicates_(predicates), max_mistakes_(max_mistakes) {}

  // Routes of one site that have one path, or expressions of one length, by precedence.
  void look(std::span<const Candidate> routes);

  // One for each pair, in the order of the specs.
  std::vector<Mistake> takeMistakes();

 private:
  // Routes of equal precedence.
  void compareAll(std::span<const Candidate> routes);
  bool areAlike(const Candidate& a, const Candidate& b) const;
  bool divideByCondition(std::span<const Candidate> routes);
  bool divideByStart(std::span<const Candidate> routes);
  bool isEnough() const { return pairs_.size() >= max_mistakes_ || comparisons_ > max_comparisons; }

  std::span<const RouteSpec> specs_;
  const Predicates& predicates_;
  size_t max_mistakes_;
  size_t comparisons_ = 0;
  std::set<std::pair<uint32_t, uint32_t>> pairs_;  // the later one first
};

}  // namespace plait::route
