// The routes of one plan, and the one function that chooses among them. A table is built once, off the request path,
// and is immutable and flat; a lookup allocates nothing, looks at each element of the path once, and at the hosts'
// table once for each label of a wildcard.
//
// Without any route there is no need of a table: paths then go as they came, with all that is refused here.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "plait/base/sip_hash.h"
#include "plait/route/host_table.h"
#include "plait/route/match.h"
#include "plait/route/path_readings.h"
#include "plait/route/path_tree.h"
#include "plait/route/predicates.h"
#include "plait/route/regex_set.h"

namespace plait::route {

enum class Verdict : uint8_t {
  found,
  none,     // no route matches
  refused,  // 400: the path is malformed, or its readings belong to different routes
};

struct Choice {
  Verdict verdict = Verdict::none;
  uint32_t route = 0;       // found: its index among the specs
  uint32_t policy = 0;      // found: RouteSpec::policy
  uint32_t elements = 0;    // found: how many elements of the path as it came a prefix has matched, else 0
  const char* reason = "";  // refused: a static phrase, for the answer and the log
};

class RouteTable;

// What one lookup at a time works in: a worker's own, for one table. Made and destroyed where memory may be allocated.
class RouteScratch {
 public:
  explicit RouteScratch(const RouteTable& table);
  size_t bytes() const { return PathReadings::buffer_bytes + sizeof(*this) + regex_.bytes(); }

 private:
  friend class RouteTable;
  std::unique_ptr<uint8_t[]> buffer_;
  PathReadings readings_;
  RegexScratch regex_;
  RegexSet::Matches matches_;
};

class RouteTable {
 public:
  struct Built {
    std::shared_ptr<const RouteTable> table;  // null if there are mistakes
    std::vector<Mistake> mistakes;            // at most max_mistakes, the first in the order of the specs
  };
  static constexpr size_t max_mistakes = 100;

  // `key` is the process's. Expressions are compiled anew only if they differ from those of `before`, which may be
  // null.
  static Built build(std::span<const RouteSpec> specs, const SipKey& key, const RouteTable* before = nullptr);

  // Which route gets the request. Equal requests get equal answers, whatever the scratch has seen.
  Choice lookup(const RequestView& request, RouteScratch& scratch) const;

  // The same for one reading of the request's path, as if there were no other: to say why a path is refused.
  Choice lookupReading(const RequestView& request, std::string_view reading, RouteScratch& scratch) const;

  size_t count() const { return count_; }
  // All memory of the table, expressions included; they may be shared with another table.
  size_t bytes() const;
  bool sharesExpressions(const RouteTable& other) const { return expressions_ == other.expressions_; }
  size_t expressionBytes() const { return expressions_ ? expressions_->bytes() : 0; }

 private:
  friend class RouteScratch;
  friend class RouteTableBuilder;
  RouteTable() = default;
  // In the order of precedence.
  struct ExpressionCandidate {
    uint32_t expression = 0;
    Candidate candidate;
  };
  // Of one reading of the request's path; `host` is normal. Null: no route matches.
  const Candidate* candidateOf(std::string_view host, std::string_view path, Asked& asked, RouteScratch& scratch) const;
  // Among those that ask nothing of the path but what the spot or the expression has shown.
  const Candidate* firstThatMatches(std::span<const Candidate> candidates, Asked& asked) const;

  HostTable hosts_;
  PathTree tree_;
  Predicates predicates_;
  size_t count_ = 0;
  std::vector<ExpressionCandidate> expression_candidates_;
  std::shared_ptr<const RegexSet> expressions_;
};

// Where in the raw path a prefix of so many elements ends: what is behind it begins with "/", or is empty.
size_t prefixEnd(std::string_view path, uint32_t elements);

}  // namespace plait::route
