// Fields by which a request says who its client is and how it came: a backend believes them, so they are taken from
// proxies that are trusted and from nobody else. `_` and `.` count as `-`, since what a backend makes of names (CGI's
// variables, WSGI, PHP) cannot tell them apart.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plait/http/pipe.h"

namespace plait {

class IdentityFields final : public http::TrailerFilter {
 public:
  // X-Forwarded and X-Forwarded-*, Forwarded, X-Real-IP, True-Client-IP, Client-Cert and Client-Cert-Chain (RFC 9440)
  // are there from the start.
  IdentityFields();
  // One more, as "CF-Connecting-IP". Empty on success, else a phrase for the operator.
  std::string add(std::string_view name);
  // Those that were added, for comparing.
  std::string text() const {
    std::string text;
    for (const std::string& name : added_) text += name + ' ';
    return text;
  }
  bool hasAdded() const { return !added_.empty(); }

  bool claims(const http::Field& field) const {
    if (field.id != http::FieldName::unknown) [[likely]]
      return ids_.contains(field.id);
    return (hasAdded() || isCandidate(field.name)) && claimsByText(field.name);
  }
  // Names that have a number and are there from the start.
  static constexpr http::FieldNameSet numbered = {
      http::FieldName::forwarded,        http::FieldName::x_forwarded_for,   http::FieldName::x_forwarded_host,
      http::FieldName::x_forwarded_port, http::FieldName::x_forwarded_proto, http::FieldName::x_forwarded_client_cert,
      http::FieldName::client_cert,      http::FieldName::client_cert_chain, http::FieldName::x_real_ip};

  // In trailers nobody's claims are taken, those of trusted proxies neither.
  bool drops(const http::Field& field) const override { return claims(field); }

 private:
  // Tells nearly all names apart that are none of those from the start.
  static bool isCandidate(std::string_view name) {
    if (name.size() < 9) return false;
    return (name[0] == 'x' && (name[2] == 'f' || name[2] == 'r')) || name[0] == 't' || name[0] == 'c';
  }
  bool claimsByText(std::string_view name) const;

  http::FieldNameSet ids_;
  std::vector<std::string> added_;  // in lower case, with `-` for `_` and `.`
};

}  // namespace plait
