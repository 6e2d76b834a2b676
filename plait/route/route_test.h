// Routes and requests for tests, in few words.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "plait/route/naive_test.h"
#include "plait/route/route_table.h"

namespace plait::route {

inline constexpr SipKey test_key{1, 2};

inline RouteSpec named(std::string name, Match match) {
  return {std::move(name), std::move(match), {}, 0};
}

// The fields of a request in memory of their own.
class TestFields {
 public:
  explicit TestFields(const std::vector<Condition>& fields) {
    size_t size = 0;
    for (const Condition& field : fields)
      size += http::FieldList::bytesFor(field.name, field.value, http::FieldName::unknown);
    memory_.resize(size / sizeof(uint64_t) + 1);
    list_ = http::FieldList({reinterpret_cast<uint8_t*>(memory_.data()), memory_.size() * sizeof(uint64_t)});
    for (const Condition& field : fields) list_.add(field.name, field.value);
  }
  const http::FieldList* list() const { return &list_; }

 private:
  std::vector<uint64_t> memory_;
  http::FieldList list_;
};

// A table that has to be without mistakes, with its scratch.
class TestTable {
 public:
  explicit TestTable(std::vector<RouteSpec> specs) : specs_(std::move(specs)) {
    RouteTable::Built built = RouteTable::build(specs_, test_key);
    for (const Mistake& mistake : built.mistakes) mistakes += mistake.text + '\n';
    table_ = std::move(built.table);
    if (table_) scratch_ = std::make_unique<RouteScratch>(*table_);
  }
  Choice choose(const naive::Request& request) {
    const TestFields fields(request.fields);
    return table_->lookup({request.host, request.path, request.query, request.method, fields.list()}, *scratch_);
  }
  // The name of the route that gets the request, "none", or "400".
  std::string nameFor(const naive::Request& request) {
    const Choice choice = choose(request);
    if (choice.verdict == Verdict::refused) return "400";
    return choice.verdict == Verdict::none ? "none" : specs_[choice.route].name;
  }
  std::string get(const std::string& host, const std::string& path) { return nameFor({host, path, "", "GET", {}}); }

  const RouteTable* operator->() const { return table_.get(); }
  const RouteTable& table() const { return *table_; }
  const std::vector<RouteSpec>& specs() const { return specs_; }
  bool isBuilt() const { return table_ != nullptr; }

  std::string mistakes;

 private:
  std::vector<RouteSpec> specs_;
  std::shared_ptr<const RouteTable> table_;
  std::unique_ptr<RouteScratch> scratch_;
};

}  // namespace plait::route
