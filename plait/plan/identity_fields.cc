#include "plait/plan/identity_fields.h"

#include <fmt/format.h>

#include "plait/http/field_rules.h"

namespace plait {
namespace {

using http::FieldName;

constexpr char canonical(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<char>(c + 32);
  return c == '_' || c == '.' ? '-' : c;
}

// `canonical_start` is the beginning of `name`, or all of it, but for how it is spelt.
bool startsWith(std::string_view name, std::string_view canonical_start) {
  if (name.size() < canonical_start.size()) return false;
  for (size_t i = 0; i < canonical_start.size(); ++i) {
    if (canonical(name[i]) != canonical_start[i]) return false;
  }
  return true;
}

bool is(std::string_view name, std::string_view canonical_name) {
  return name.size() == canonical_name.size() && startsWith(name, canonical_name);
}

// A request cannot be read, or not be routed, without them.
constexpr http::FieldNameSet indispensable = {
    FieldName::content_length, FieldName::content_type, FieldName::content_encoding, FieldName::expect, FieldName::host,
    FieldName::trailer,        FieldName::via};

}  // namespace

IdentityFields::IdentityFields() : ids_(numbered) {}

std::string IdentityFields::add(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  if (!http::isToken(lower)) return fmt::format("\"{}\" is no field's name", name);
  const FieldName id = http::fieldNameOf(lower);
  if (http::hop_by_hop_names.contains(id) || indispensable.contains(id)) {
    return fmt::format("{} tells how a message is read, not who sent it", name);
  }
  if (id != FieldName::unknown) ids_.add(id);
  for (char& c : lower) c = canonical(c);
  added_.push_back(std::move(lower));
  return {};
}

bool IdentityFields::claimsByText(std::string_view name) const {
  if (isCandidate(name) && (is(name, "x-forwarded") || startsWith(name, "x-forwarded-") || is(name, "x-real-ip") ||
                            is(name, "true-client-ip") || is(name, "client-cert") || is(name, "client-cert-chain"))) {
    return true;
  }
  for (const std::string& added : added_) {
    if (is(name, added)) return true;
  }
  return false;
}

}  // namespace plait
