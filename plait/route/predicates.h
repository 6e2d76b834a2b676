// What a route asks beyond host and path: method, fields and query. Flat; equal sets of conditions are one predicate.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "plait/route/match.h"

namespace plait::route {

// A route that may get a request, and what is still to be asked.
struct Candidate {
  uint32_t route = 0;
  uint32_t predicate = 0;
  // What a lookup answers, so that it need not be looked for.
  uint32_t policy = 0;
  uint32_t elements : 31 = 0;
  uint32_t replaces_prefix : 1 = 0;  // RouteSpec::replaces_prefix
};

// One request while its routes are looked for; what was found out about it is not asked twice.
struct Asked {
  const RequestView& request;
  uint64_t method = 0;  // its bit; 0: no route names it
  bool is_method_known = false;
};

class Predicates {
 public:
  static constexpr uint32_t always = 0;  // asks nothing
  static constexpr size_t max_methods = 64;

  Predicates();

  // The predicate of a route; the same for routes that ask the same. Only while a table is built.
  uint32_t add(const Match& match);
  // One that asks for another method than max_methods allow is refused: false.
  bool addMethods(const Match& match);
  // Forgets what only add() needs.
  void finish();

  bool matches(uint32_t predicate, Asked& asked) const {
    return predicate == always || matchesConditions(records_[predicate], asked);
  }
  // Whether one request can fulfil both.
  bool areCompatible(uint32_t a, uint32_t b) const;

  size_t bytes() const;

 private:
  struct Text {
    uint32_t offset = 0;
    uint32_t size = 0;
  };
  struct Entry {
    Text name;
    Text value;
    http::FieldName id = http::FieldName::unknown;
  };
  struct Record {
    uint64_t methods = 0;  // bits; 0: any
    uint32_t first = 0;    // in entries_: first those of fields, then those of the query
    uint16_t fields = 0;
    uint16_t query = 0;
  };
  bool matchesConditions(const Record& record, Asked& asked) const;
  uint64_t bitOf(std::string_view method) const;
  std::string_view view(Text text) const { return {texts_.data() + text.offset, text.size}; }
  Text keep(std::string_view text);
  bool areAtOdds(uint32_t a, uint32_t a_count, uint32_t b, uint32_t b_count) const;

  std::vector<Record> records_;
  std::vector<Entry> entries_;
  std::string texts_;
  std::vector<std::string> methods_;
  std::unordered_map<std::string, uint32_t> known_;  // while a table is built
};

// Whether the raw query's first parameter of that name, both decoded, has that value.
bool hasParameter(std::string_view query, std::string_view name, std::string_view value);
// Whether the lines of a field, joined, are that value. `name` is in lower case.
bool hasField(const http::FieldList& fields, http::FieldName id, std::string_view name, std::string_view value);

}  // namespace plait::route
