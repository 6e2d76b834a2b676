#include "plait/route/predicates.h"

#include <algorithm>

#include "plait/base/assert.h"

namespace plait::route {
namespace {

constexpr int hexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Whether a name or value of a query is `expected` when it is decoded. A "%" without two digits stands for itself.
bool isDecoded(std::string_view raw, std::string_view expected) {
  size_t matched = 0;
  for (size_t i = 0; i < raw.size(); ++i) {
    char c = raw[i];
    if (c == '+') c = ' ';
    if (c == '%' && raw.size() - i >= 3 && hexDigit(raw[i + 1]) >= 0 && hexDigit(raw[i + 2]) >= 0) {
      c = static_cast<char>(hexDigit(raw[i + 1]) * 16 + hexDigit(raw[i + 2]));
      i += 2;
    }
    if (matched == expected.size() || expected[matched] != c) return false;
    matched += 1;
  }
  return matched == expected.size();
}

// Texts with their sizes, so that no two lists are written alike.
void describe(std::string& out, const std::vector<Condition>& conditions) {
  out += std::to_string(conditions.size()) + ';';
  for (const Condition& condition : conditions) {
    out += std::to_string(condition.name.size()) + ':' + condition.name;
    out += std::to_string(condition.value.size()) + ':' + condition.value;
  }
}

void sortByName(std::vector<Condition>& conditions) {
  std::sort(conditions.begin(), conditions.end(),
            [](const Condition& a, const Condition& b) { return a.name < b.name; });
}

}  // namespace

bool hasParameter(std::string_view query, std::string_view name, std::string_view value) {
  while (!query.empty()) {
    const std::string_view parameter = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(parameter.size() + 1, query.size()));
    const size_t equals = parameter.find('=');
    if (!isDecoded(parameter.substr(0, equals), name)) continue;
    return isDecoded(equals == std::string_view::npos ? std::string_view() : parameter.substr(equals + 1), value);
  }
  return false;
}

bool hasField(const http::FieldList& fields, http::FieldName id, std::string_view name, std::string_view value) {
  const auto find = [&](size_t from) {
    return id == http::FieldName::unknown ? fields.find(name, from) : fields.find(id, from);
  };
  const std::string_view between = id == http::FieldName::cookie ? "; " : ", ";
  bool is_first = true;
  for (size_t i = find(0); i != fields.count(); i = find(i + 1)) {
    if (!is_first) {
      if (!value.starts_with(between)) return false;
      value.remove_prefix(between.size());
    }
    is_first = false;
    const std::string_view line = fields[i].value;
    if (!value.starts_with(line)) return false;
    value.remove_prefix(line.size());
  }
  return !is_first && value.empty();
}

Predicates::Predicates()
    : records_(1), methods_{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"} {}

uint64_t Predicates::bitOf(std::string_view method) const {
  for (size_t i = 0; i < methods_.size(); ++i) {
    if (methods_[i] == method) return uint64_t{1} << i;
  }
  return 0;
}

bool Predicates::addMethods(const Match& match) {
  for (const std::string& method : match.methods) {
    if (bitOf(method) != 0) continue;
    if (methods_.size() == max_methods) return false;
    methods_.push_back(method);
  }
  return true;
}

uint32_t Predicates::add(const Match& match) {
  if (match.methods.empty() && match.fields.empty() && match.query.empty()) return always;
  Record record;
  for (const std::string& method : match.methods) record.methods |= bitOf(method);
  std::vector<Condition> fields = match.fields;
  std::vector<Condition> query = match.query;
  sortByName(fields);
  sortByName(query);
  std::string description = std::to_string(record.methods) + ';';
  describe(description, fields);
  describe(description, query);
  const auto [known, is_new] = known_.emplace(std::move(description), static_cast<uint32_t>(records_.size()));
  if (!is_new) return known->second;
  record.first = static_cast<uint32_t>(entries_.size());
  record.fields = static_cast<uint16_t>(fields.size());
  record.query = static_cast<uint16_t>(query.size());
  for (const Condition& condition : fields)
    entries_.push_back({keep(condition.name), keep(condition.value), http::fieldNameOf(condition.name)});
  for (const Condition& condition : query) entries_.push_back({keep(condition.name), keep(condition.value)});
  records_.push_back(record);
  return known->second;
}

void Predicates::finish() {
  known_ = {};
  records_.shrink_to_fit();
  entries_.shrink_to_fit();
  texts_.shrink_to_fit();
}

Predicates::Text Predicates::keep(std::string_view text) {
  const Text kept{static_cast<uint32_t>(texts_.size()), static_cast<uint32_t>(text.size())};
  texts_ += text;
  return kept;
}

bool Predicates::matchesConditions(const Record& record, Asked& asked) const {
  if (record.methods != 0) {
    if (!asked.is_method_known) {
      asked.method = bitOf(asked.request.method);
      asked.is_method_known = true;
    }
    if ((record.methods & asked.method) == 0) return false;
  }
  const Entry* entry = entries_.data() + record.first;
  for (uint32_t i = 0; i < record.fields; ++i, ++entry) {
    if (asked.request.fields == nullptr) return false;
    if (!hasField(*asked.request.fields, entry->id, view(entry->name), view(entry->value))) return false;
  }
  for (uint32_t i = 0; i < record.query; ++i, ++entry) {
    if (!hasParameter(asked.request.query, view(entry->name), view(entry->value))) return false;
  }
  return true;
}

// Whether two lists of conditions, each sorted by name, name different values for one name.
bool Predicates::areAtOdds(uint32_t a, uint32_t a_count, uint32_t b, uint32_t b_count) const {
  for (uint32_t i = 0, k = 0; i < a_count && k < b_count;) {
    const Entry& left = entries_[a + i];
    const Entry& right = entries_[b + k];
    const int order = view(left.name).compare(view(right.name));
    if (order == 0 && view(left.value) != view(right.value)) return true;
    i += order <= 0;
    k += order >= 0;
  }
  return false;
}

bool Predicates::areCompatible(uint32_t a, uint32_t b) const {
  const Record& left = records_[a];
  const Record& right = records_[b];
  if (left.methods != 0 && right.methods != 0 && (left.methods & right.methods) == 0) return false;
  return !areAtOdds(left.first, left.fields, right.first, right.fields) &&
         !areAtOdds(left.first + left.fields, left.query, right.first + right.fields, right.query);
}

size_t Predicates::bytes() const {
  size_t methods = methods_.capacity() * sizeof(std::string);
  return records_.capacity() * sizeof(Record) + entries_.capacity() * sizeof(Entry) + texts_.capacity() + methods;
}

}  // namespace plait::route
