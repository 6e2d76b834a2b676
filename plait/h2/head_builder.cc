#include "plait/h2/head_builder.h"

#include "plait/http/field_rules.h"

namespace plait::h2 {

using http::FieldName;

void HeadBuilder::addWithCare(const DecodedField& field) {
  if (isPseudo(field)) {
    if (field.id == FieldName::pseudo_path && field.value.size() > max_target_size_)
      is_target_too_long_ = is_too_large_ = true;
    if (isWanted()) addPseudo(field);
    return;
  }
  (field.id == FieldName::cookie ? crumb_count_ : field_count_) += 1;
  if (!isWanted()) return;
  regular_seen_ = true;
  if (!field.is_sound) {
    const bool is_name = field.id != FieldName::unknown || http::isLowerCaseToken(field.name);
    return reject(is_name ? "a malformed field value (RFC 9113 §8.2.1)" : "a malformed field name (RFC 9113 §8.2.1)");
  }
  // TE has its exception in requests alone.
  const bool is_te_of_response = field.id == FieldName::te && kind_ == Kind::response;
  if (is_te_of_response || http::isForbiddenInHttp2(field.id, field.value))
    return reject("a connection-specific field (RFC 9113 §8.2.2)");
  if (field.id == FieldName::content_length && kind_ != Kind::trailers) {
    const auto length = http::parseContentLength(field.value);
    if (!length) return reject("a malformed Content-Length (RFC 9110 §8.6)");
    if (content_length_ == *length) return;  // the same twice is sent on once
    if (content_length_ != http::unknown_length) return reject("two values of Content-Length (RFC 9110 §8.6)");
    content_length_ = *length;
    // Of a list of identical values one is sent on (RFC 9110 §8.6).
    const std::string_view one = http::trimWhitespace(field.value.substr(0, field.value.find(',')));
    if (!fields_.add(field.name, one, field.id, field.never_indexed)) is_too_large_ = true;
    return;
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
  static_assert(static_cast<uint32_t>(FieldName::pseudo_status) < 30, "the numbers of the first five are bits");
  const uint32_t bit = field.id == FieldName::pseudo_protocol ? 1u << 31 : 1u << static_cast<uint32_t>(field.id);
  if ((pseudo_seen_ & bit) != 0) return reject("a pseudo-header field comes twice (RFC 9113 §8.3)");
  pseudo_seen_ |= bit;
  if (!field.is_sound) unsound_ |= bit;
  if (kind_ == Kind::response) {
    if (!field.is_sound) return reject("a malformed :status (RFC 9113 §8.3.2)");
    const std::string_view digits = field.value;
    response_.is_status_never_indexed = field.never_indexed;
    response_.status = static_cast<uint16_t>((digits[0] - '0') * 100 + (digits[1] - '0') * 10 + (digits[2] - '0'));
    return;
  }
  PLAIT_ASSERT(target != nullptr);
  if (field.never_indexed && field.id != FieldName::pseudo_protocol)
    request_.never_indexed |= http::RequestHead::bitOf(field.id);
  *target = fields_.keep(field.value);
  if (target->size() != field.value.size()) is_too_large_ = true;
}

// :authority and Host must agree, and only the former is kept: two truths about the target are how requests are
// smuggled (RFC 9113 §8.3.1).
void HeadBuilder::addHost(const DecodedField& field) {
  constexpr uint32_t host_bit = 1u << 30;
  if ((pseudo_seen_ & host_bit) != 0) return reject("Host comes twice (RFC 9110 §7.2)");
  pseudo_seen_ |= host_bit;
  if (!request_.authority.empty()) {
    // Pseudo-header fields come first, so the scheme is known.
    if (!http::isSameAuthority(request_.authority, field.value, request_.scheme))
      reject("Host differs from :authority (RFC 9113 §8.3.1)");
    return;
  }
  if (!field.value.empty() && !http::isAuthority(field.value))
    unsound_ |= 1u << static_cast<uint32_t>(FieldName::pseudo_authority);
  if (field.never_indexed) request_.never_indexed |= http::RequestHead::bitOf(FieldName::pseudo_authority);
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
  const auto isUnsound = [this](FieldName id) { return (unsound_ & 1u << static_cast<uint32_t>(id)) != 0; };
  // A pseudo-header field that is absent is empty, which is no token, no scheme and no path.
  if (request_.method.empty() || isUnsound(FieldName::pseudo_method))
    return reject("a missing or malformed :method (RFC 9113 §8.3.1)");
  if (isUnsound(FieldName::pseudo_authority)) return reject("a malformed :authority or Host (RFC 9113 §8.3.1)");
  if (has_protocol) {
    if (!isConnect()) return reject(":protocol without CONNECT (RFC 8441 §4)");
    if ((unsound_ & 1u << 31) != 0) return reject("a malformed :protocol (RFC 8441 §4)");
    if (request_.authority.empty()) return reject("an extended CONNECT without :authority (RFC 8441 §4)");
  } else if (isConnect()) {
    const uint32_t others =
        1u << static_cast<uint32_t>(FieldName::pseudo_scheme) | 1u << static_cast<uint32_t>(FieldName::pseudo_path);
    if ((pseudo_seen_ & others) != 0) return reject("CONNECT with :scheme or :path (RFC 9113 §8.5)");
    if (request_.authority.empty()) return reject("CONNECT without :authority (RFC 9113 §8.5)");
  }
  if (isConnect()) content_length_ = http::unknown_length;  // what follows is no content
  if (isConnect() && !has_protocol) return;
  if (request_.scheme.empty() || isUnsound(FieldName::pseudo_scheme))
    return reject("a missing or malformed :scheme (RFC 9113 §8.3.1)");
  if (request_.authority.empty() &&
      (http::equalsIgnoreCase(request_.scheme, "http") || http::equalsIgnoreCase(request_.scheme, "https")))
    return reject("neither :authority nor Host (RFC 9113 §8.3.1)");
  if ((request_.path.empty() || isUnsound(FieldName::pseudo_path)) && !http::isPath(request_.path, request_.method))
    return reject("a missing or malformed :path (RFC 9113 §8.3.1)");
  if (ends_stream && content_length_ != http::unknown_length && content_length_ != 0) {
    reject("a Content-Length without content (RFC 9113 §8.1.1)");
  }
}

}  // namespace plait::h2
