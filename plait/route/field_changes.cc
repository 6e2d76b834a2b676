#include "plait/route/field_changes.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "plait/http/field_rules.h"

namespace plait::route {
namespace {

struct NamedVariable {
  std::string_view name;
  Variable variable;
};
constexpr std::array<NamedVariable, 10> named = {{{"client_address", Variable::client_address},
                                                  {"host", Variable::host},
                                                  {"path", Variable::path},
                                                  {"query", Variable::query},
                                                  {"scheme", Variable::scheme},
                                                  {"method", Variable::method},
                                                  {"request_id", Variable::request_id},
                                                  {"tls_server_name", Variable::tls_server_name},
                                                  {"client_cert_subject", Variable::client_cert_subject},
                                                  {"client_cert_fingerprint", Variable::client_cert_fingerprint}}};

bool isMade(Variable variable) {
  return variable == Variable::client_cert_subject || variable == Variable::client_cert_fingerprint;
}

std::string knownVariables() {
  std::string text;
  for (const NamedVariable& one : named) {
    if (!text.empty()) text += ", ";
    text += one.name;
  }
  return text;
}

}  // namespace

std::string_view Variables::of(Variable variable) const {
  switch (variable) {
    case Variable::none:
      return {};
    case Variable::client_address:
      return client_address;
    case Variable::host:
      return host;
    case Variable::path:
      return path;
    case Variable::query:
      return query;
    case Variable::scheme:
      return scheme;
    case Variable::method:
      return method;
    case Variable::request_id:
      return request_id;
    case Variable::tls_server_name:
      return tls_server_name;
    case Variable::client_cert_subject:
    case Variable::client_cert_fingerprint:
      return {};  // it has to be made
  }
  return {};
}

std::string Template::parse(std::string_view text) {
  parts_.clear();
  text_ = text;
  Part part;
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '$') {
      part.literal += text[i++];
      continue;
    }
    if (text.substr(i + 1).starts_with('$')) {
      part.literal += '$';
      i += 2;
      continue;
    }
    const size_t close = text.find('}', i);
    if (!text.substr(i + 1).starts_with('{') || close == text.npos) {
      return "a dollar sign begins a variable, as in ${host}: write $$ for the sign itself";
    }
    const std::string_view name = text.substr(i + 2, close - i - 2);
    const auto known = std::ranges::find(named, name, &NamedVariable::name);
    if (known == named.end()) {
      return "there is no variable \"" + std::string(name) + "\": there are " + knownVariables();
    }
    part.variable = known->variable;
    parts_.push_back(std::move(part));
    part = {};
    i = close + 1;
  }
  if (!part.literal.empty() || parts_.empty()) parts_.push_back(std::move(part));
  if (parts_.size() > most_parts) return "there are more than " + std::to_string(most_parts) + " variables in it";
  // Whitespace may stand between variables, and not at an end of the value (RFC 9110 §5.5).
  std::string filled;
  for (const Part& one : parts_) filled += one.variable == Variable::none ? one.literal : one.literal + 'x';
  return http::isFieldValue(filled) ? "" : "it has bytes that no field may have";
}

std::string_view Template::fill(const Variables& variables, std::span<char> buffer, bool& ok) const {
  ok = true;
  if (parts_.size() == 1 && parts_[0].variable == Variable::none) return parts_[0].literal;
  size_t size = 0;
  const auto put = [&](std::string_view text) {
    if (text.size() > buffer.size() - size) {
      ok = false;
      return;
    }
    if (!text.empty()) std::memcpy(buffer.data() + size, text.data(), text.size());
    size += text.size();
  };
  for (const Part& part : parts_) {
    put(part.literal);
    if (ok && isMade(part.variable)) {
      if (variables.certificate == nullptr) continue;
      const std::span<char> room = buffer.subspan(size);
      const std::optional<size_t> made = variables.make_text(variables.certificate, part.variable, room);
      ok = made.has_value();
      size += made.value_or(0);
    } else {
      put(variables.of(part.variable));
    }
    if (!ok) return {};
  }
  // An empty variable leaves whitespace at an end that is none of the value (RFC 9110 §5.5).
  const std::string_view value = http::trimWhitespace({buffer.data(), size});
  ok = http::isFieldValue(value);
  return ok ? value : std::string_view();
}

bool FieldChanges::removes(const http::Field& field) const {
  const auto isOne = [&](const std::string& name) { return name == field.name; };
  if (std::ranges::any_of(removed, isOne)) return true;
  return std::ranges::any_of(changes, [&](const FieldChange& change) { return change.replaces && isOne(change.name); });
}

std::string faultOfChangedName(std::string_view name) {
  if (!http::isToken(name)) return "\"" + std::string(name) + "\" is no name of a field";
  static constexpr std::array<std::string_view, 13> fixed = {
      "content-length", "transfer-encoding", "connection",       "upgrade",        "te",  "trailer",     "host",
      "expect",         "keep-alive",        "proxy-connection", "http2-settings", "via", "max-forwards"};
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (std::ranges::find(fixed, std::string_view(lower)) != fixed.end()) {
    return lower + " belongs to the message or to one connection and is not a route's to change" +
           (lower == "host" ? ": use rewrite.host" : "");
  }
  return {};
}

}  // namespace plait::route
