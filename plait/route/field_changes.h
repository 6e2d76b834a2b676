// What a route does to the fields of a message: some are removed, some set, some added. A value may hold variables,
// which are filled in for each request:
//
//   ${client_address} ${host} ${path} ${query} ${scheme} ${method} ${request_id}
//   ${tls_server_name} ${client_cert_subject} ${client_cert_fingerprint}
//
// `$$` stands for a dollar sign. Variables are the text as it came: nothing is decoded. Those of a certificate are
// empty where the client has shown none.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plait/http/field_list.h"

namespace plait::route {

enum class Variable : uint8_t {
  none,
  client_address,
  host,
  path,
  query,
  scheme,
  method,
  request_id,
  tls_server_name,
  client_cert_subject,
  client_cert_fingerprint,
};

// The values of one request. Views of its head and its client.
struct Variables {
  // Writes the text of a variable of the certificate into `out`, and returns its size: nothing where it does not fit.
  using MakeText = std::optional<size_t> (*)(const void* certificate, Variable variable, std::span<char> out);

  std::string_view client_address;
  std::string_view host;
  std::string_view path;  // without query
  std::string_view query;
  std::string_view scheme;
  std::string_view method;
  std::string_view request_id;
  std::string_view tls_server_name;  // empty without TLS
  // Where the client has shown a certificate: its texts are made for those who use them.
  const void* certificate = nullptr;
  MakeText make_text = nullptr;
  std::string_view of(Variable variable) const;
};

// A text with variables in it.
class Template {
 public:
  static constexpr size_t most_parts = 16;

  // Empty on success, else a phrase for the operator.
  std::string parse(std::string_view text);
  // As it was parsed.
  const std::string& text() const { return text_; }
  // The text for one request, in `buffer` or, where there is no variable, the template's own. Nothing is said where it
  // does not fit, or where a variable holds bytes that no field value may have: then `ok` is false.
  std::string_view fill(const Variables& variables, std::span<char> buffer, bool& ok) const;

 private:
  struct Part {
    std::string literal;  // in front of the variable
    Variable variable = Variable::none;
  };
  std::string text_;
  std::vector<Part> parts_;
};

struct FieldChange {
  std::string name;  // in lower case
  http::FieldName id = http::FieldName::unknown;
  Template value;
  bool replaces = true;  // false: is added to those that are there
};

struct FieldChanges {
  std::vector<FieldChange> changes;
  std::vector<std::string> removed;
  bool empty() const { return changes.empty() && removed.empty(); }
  bool removes(const http::Field& field) const;
};

// What is wrong with a field's name here: fields that frame a message or belong to one hop are not a route's to change
// (RFC 9110 §7.6.1). Empty for none, else a phrase.
std::string faultOfChangedName(std::string_view name);

}  // namespace plait::route
