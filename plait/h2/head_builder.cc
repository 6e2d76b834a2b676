#include "plait/h2/head_builder.h"

#include "plait/http/field_rules.h"

namespace plait::h2 {
namespace {

using http::FieldName;

// RFC 3986 §3.1. The value reaches fields like X-Forwarded-Proto, so nothing else may pass.
bool isScheme(std::string_view text) {
  if (text.empty() || http::isOfClass(text[0], http::class_digit)) return false;
  for (const char c : text) {
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!is_letter && !http::isOfClass(c, http::class_digit) && c != '+' && c != '-' && c != '.') return false;
  }
  return text[0] != '+' && text[0] != '-' && text[0] != '.';
}

}  // namespace

void HeadBuilder::add(const DecodedField& field) {
  if (fault_ != nullptr || is_too_large_) return;
  if (!field.name.empty() && field.name[0] == ':') return addPseudo(field);
  regular_seen_ = true;
  // A name that has a number is one of ours and lower case.
  if (field.id == FieldName::unknown && !http::isLowerCaseToken(field.name))
    return reject("a malformed field name (RFC 9113 §8.2.1)");
  if (!http::isFieldValue(field.value)) return reject("a malformed field value (RFC 9113 §8.2.1)");
  if (http::isForbiddenInHttp2(field.id, field.value)) return reject("a connection-specific field (RFC 9113 §8.2.2)");
  if (field.id == FieldName::content_length && kind_ != Kind::trailers) {
    const auto length = http::parseContentLength(field.value);
    if (!length) return reject("a malformed Content-Length (RFC 9110 §8.6)");
    if (content_length_ == *length) return;  // the same twice is sent on once
    if (content_length_ != http::unknown_length) return reject("two values of Content-Length (RFC 9110 §8.6)");
    content_length_ = *length;
  }
  if (field.id == FieldName::host && kind_ == Kind::request) return addHost(field);
  if (!fields_.add(field.name, field.value, field.id, field.never_indexed)) is_too_large_ = true;
}

void HeadBuilder::addPseudo(const DecodedField& field) {
  if (kind_ == Kind::trailers) return reject("a pseudo-header field in trailers (RFC 9113 §8.1)");
  if (regular_seen_) return reject("a pseudo-header field behind a regular one (RFC 9113 §8.3)");
  std::string_view* target = nullptr;
  switch (field.id) {
    case FieldName::pseudo_method:
      target = &request_.method;
      break;
    case FieldName::pseudo_scheme:
      target = &request_.scheme;
      break;
    case FieldName::pseudo_path:
      target = &request_.path;
      break;
    case FieldName::pseudo_authority:
      target = &request_.authority;
      break;
    case FieldName::pseudo_protocol:
      target = admits_protocol_ ? &request_.protocol : nullptr;
      break;
    default:
      break;
  }
  const bool is_known = kind_ == Kind::request ? target != nullptr : field.id == FieldName::pseudo_status;
  if (!is_known) return reject("a pseudo-header field that does not belong here (RFC 9113 §8.3)");
  static_assert(static_cast<uint32_t>(FieldName::pseudo_status) < 31, "the numbers of the first five are bits");
  const uint32_t bit = field.id == FieldName::pseudo_protocol ? 1u << 31 : 1u << static_cast<uint32_t>(field.id);
  if ((pseudo_seen_ & bit) != 0) return reject("a pseudo-header field comes twice (RFC 9113 §8.3)");
  pseudo_seen_ |= bit;
  if (kind_ == Kind::response) return addStatus(field.value);
  PLAIT_ASSERT(target != nullptr);
  *target = fields_.keep(field.value);
  if (target->size() != field.value.size()) is_too_large_ = true;
}

void HeadBuilder::addStatus(std::string_view value) {
  const auto isDigit = [](char c) { return c >= '0' && c <= '9'; };
  if (value.size() != 3 || value[0] < '1' || value[0] > '5' || !isDigit(value[1]) || !isDigit(value[2])) {
    return reject("a malformed :status (RFC 9113 §8.3.2)");
  }
  response_.status = static_cast<uint16_t>((value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0'));
}

// :authority and Host must agree, and only the former is kept: two truths about the target are how requests are
// smuggled (RFC 9113 §8.3.1).
void HeadBuilder::addHost(const DecodedField& field) {
  if (!request_.authority.empty()) {
    if (!http::equalsIgnoreCase(request_.authority, field.value))
      reject("Host differs from :authority (RFC 9113 §8.3.1)");
    return;
  }
  request_.authority = fields_.keep(field.value);
  if (request_.authority.size() != field.value.size()) is_too_large_ = true;
}

void HeadBuilder::finish(bool ends_stream) {
  if (fault_ != nullptr || is_too_large_) return;
  if (kind_ == Kind::trailers) {
    if (!ends_stream) reject("trailers without END_STREAM (RFC 9113 §8.1)");
    return;
  }
  if (kind_ == Kind::request) return finishRequest(ends_stream);
  if (response_.status == 0) return reject("a response without :status (RFC 9113 §8.3.2)");
  if (response_.status == 101) return reject("101 does not exist in HTTP/2 (RFC 9113 §8.6)");
  if (response_.status < 200 && ends_stream) reject("an interim response that ends the stream (RFC 9113 §8.1)");
}

void HeadBuilder::finishRequest(bool ends_stream) {
  const bool has_protocol = (pseudo_seen_ & 1u << 31) != 0;
  if (!http::isToken(request_.method)) return reject("a missing or malformed :method (RFC 9113 §8.3.1)");
  if (!request_.authority.empty() && !http::isAuthority(request_.authority)) {
    return reject("a malformed :authority or Host (RFC 9113 §8.3.1)");
  }
  if (has_protocol) {
    if (!isConnect()) return reject(":protocol without CONNECT (RFC 8441 §4)");
    if (!http::isToken(request_.protocol)) return reject("a malformed :protocol (RFC 8441 §4)");
    if (request_.authority.empty()) return reject("an extended CONNECT without :authority (RFC 8441 §4)");
  } else if (isConnect()) {
    const uint32_t others =
        1u << static_cast<uint32_t>(FieldName::pseudo_scheme) | 1u << static_cast<uint32_t>(FieldName::pseudo_path);
    if ((pseudo_seen_ & others) != 0) return reject("CONNECT with :scheme or :path (RFC 9113 §8.5)");
    if (request_.authority.empty()) return reject("CONNECT without :authority (RFC 9113 §8.5)");
  }
  if (isConnect()) content_length_ = http::unknown_length;  // what follows is no content
  if (isConnect() && !has_protocol) return;
  if (!isScheme(request_.scheme)) return reject("a missing or malformed :scheme (RFC 9113 §8.3.1)");
  if (!http::isPath(request_.path, request_.method)) return reject("a missing or malformed :path (RFC 9113 §8.3.1)");
  if (ends_stream && content_length_ != http::unknown_length && content_length_ != 0) {
    reject("a Content-Length without content (RFC 9113 §8.1.1)");
  }
}

}  // namespace plait::h2
