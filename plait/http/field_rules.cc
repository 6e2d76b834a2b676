#include "plait/http/field_rules.h"

#include <algorithm>
#include <cstring>

namespace plait::http {
namespace {

constexpr bool among(char c, std::string_view set) {
  return set.find(c) != std::string_view::npos;
}

constexpr auto makeClasses() {
  std::array<uint8_t, 256> table{};
  for (int i = 0; i < 256; ++i) {
    const char c = static_cast<char>(i);
    const bool digit = i >= '0' && i <= '9';
    const bool alpha = (i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z');
    uint8_t classes = 0;
    if (digit || alpha || (i != 0 && among(c, "!#$%&'*+-.^_`|~"))) classes |= class_token;
    if ((i >= 0x20 && i != 0x7f) || i == '\t') classes |= class_field_value;
    if (i > 0x20 && i != 0x7f && i != '#') classes |= class_target;
    if (digit || alpha || (i != 0 && among(c, "-._~!$&'()*+,;="))) classes |= class_reg_name;
    if (digit) classes |= class_digit;
    if (digit || (i >= 'a' && i <= 'f') || (i >= 'A' && i <= 'F')) classes |= class_hex;
    table[static_cast<size_t>(i)] = classes;
  }
  return table;
}

constexpr auto makeLowerTokens() {
  std::array<uint8_t, 256> table{};
  const auto classes = makeClasses();
  for (size_t i = 0; i < 256; ++i) {
    if ((classes[i] & class_token) == 0) continue;
    table[i] = static_cast<uint8_t>(i >= 'A' && i <= 'Z' ? i + 32 : i);
  }
  return table;
}

bool isAllOfClass(std::string_view text, uint8_t classes) {
  for (const char c : text) {
    if (!isOfClass(c, classes)) return false;
  }
  return true;
}

constexpr bool isWhitespace(char c) {
  return c == ' ' || c == '\t';
}

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

bool isRegName(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (isOfClass(text[i], class_reg_name)) continue;
    if (text[i] != '%' || text.size() - i < 3) return false;
    if (!isOfClass(text[i + 1], class_hex) || !isOfClass(text[i + 2], class_hex)) return false;
    i += 2;
  }
  return true;
}

bool isIpv4Address(std::string_view text) {
  size_t parts = 0;
  while (true) {
    size_t digits = 0;
    unsigned value = 0;
    while (digits < text.size() && isOfClass(text[digits], class_digit)) {
      value = value * 10 + static_cast<unsigned>(text[digits++] - '0');
      if (value > 255) return false;
    }
    if (digits == 0 || (digits > 1 && text[0] == '0')) return false;
    parts += 1;
    if (digits == text.size()) return parts == 4;
    if (text[digits] != '.' || parts == 4) return false;
    text.remove_prefix(digits + 1);
  }
}

}  // namespace

constinit const std::array<uint8_t, 256> byte_classes = makeClasses();
constinit const std::array<uint8_t, 256> lower_token_bytes = makeLowerTokens();

bool equalsIgnoreCase(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

std::string_view trimWhitespace(std::string_view text) {
  while (!text.empty() && isWhitespace(text.front())) text.remove_prefix(1);
  while (!text.empty() && isWhitespace(text.back())) text.remove_suffix(1);
  return text;
}

bool nextListElement(std::string_view& list, std::string_view& element) {
  while (!list.empty()) {
    size_t end = 0;
    bool quoted = false;
    for (; end < list.size(); ++end) {
      if (quoted && list[end] == '\\') {
        end += 1;
      } else if (list[end] == '"') {
        quoted = !quoted;
      } else if (list[end] == ',' && !quoted) {
        break;
      }
    }
    if (end > list.size()) end = list.size();
    element = trimWhitespace(list.substr(0, end));
    list.remove_prefix(end == list.size() ? end : end + 1);
    if (!element.empty()) return true;
  }
  return false;
}

bool isToken(std::string_view text) {
  return !text.empty() && isAllOfClass(text, class_token);
}

bool isLowerCaseToken(std::string_view text) {
  for (const char c : text) {
    if (lower_token_bytes[static_cast<uint8_t>(c)] != static_cast<uint8_t>(c) || c == '\0') return false;
  }
  return !text.empty();
}

bool isFieldValue(std::string_view text) {
  if (text.empty()) return true;
  if (isWhitespace(text.front()) || isWhitespace(text.back())) return false;
  if (text.size() < sizeof(uint64_t)) return isAllOfClass(text, class_field_value);
  // Eight bytes at a time, the last eight perhaps twice; what is not plain is looked at again byte by byte (a tab is
  // allowed).
  for (size_t i = 0;; i = std::min(i + sizeof(uint64_t), text.size() - sizeof(uint64_t))) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, sizeof(word));
    if (!isFreeOfControls(word)) return isAllOfClass(text, class_field_value);
    if (i + sizeof(uint64_t) == text.size()) return true;
  }
}

bool isFreeOfLineBreaks(std::string_view text) {
  for (const char c : text) {
    if (c == '\0' || c == '\r' || c == '\n') return false;
  }
  return true;
}

bool ConnectionTokens::nominates(std::string_view name) const {
  for (size_t i = 0; i < nominated_count; ++i) {
    if (equalsIgnoreCase(nominated[i], name)) return true;
  }
  return false;
}

namespace {

// Fields that every recipient on the way needs, or that a backend relies upon to know who asks.
bool isForAllRecipients(FieldName name) {
  switch (name) {
    case FieldName::age:
    case FieldName::authorization:
    case FieldName::cache_control:
    case FieldName::content_encoding:
    case FieldName::content_length:
    case FieldName::content_range:
    case FieldName::content_type:
    case FieldName::cookie:
    case FieldName::date:
    case FieldName::expires:
    case FieldName::forwarded:
    case FieldName::host:
    case FieldName::origin:
    case FieldName::set_cookie:
    case FieldName::te:  // goes by its value
    case FieldName::via:
    case FieldName::www_authenticate:
    case FieldName::x_forwarded_for:
    case FieldName::x_forwarded_host:
    case FieldName::x_forwarded_port:
    case FieldName::x_forwarded_proto:
    case FieldName::x_real_ip:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool parseConnectionValue(std::string_view value, ConnectionTokens& tokens) {
  std::string_view option;
  while (nextListElement(value, option)) {
    if (!isToken(option)) return false;
    if (equalsIgnoreCase(option, "close")) {
      tokens.close = true;
      continue;
    }
    if (equalsIgnoreCase(option, "keep-alive")) {
      tokens.keep_alive = true;
      continue;
    }
    if (equalsIgnoreCase(option, "upgrade")) {
      tokens.upgrade = true;
      continue;
    }
    if (option.size() <= longest_field_name) {
      char lowered[longest_field_name];
      for (size_t i = 0; i < option.size(); ++i) lowered[i] = lower(option[i]);
      const FieldName id = fieldNameOf({lowered, option.size()});
      if (isConnectionSpecific(id) || isForAllRecipients(id)) continue;
    }
    if (tokens.nominates(option)) continue;
    if (tokens.nominated_count == ConnectionTokens::max_nominated) return false;
    tokens.nominated[tokens.nominated_count++] = option;
  }
  return true;
}

bool isConnectionSpecific(FieldName name) {
  switch (name) {
    case FieldName::connection:
    case FieldName::keep_alive:
    case FieldName::proxy_connection:
    case FieldName::transfer_encoding:
    case FieldName::upgrade:
    case FieldName::http2_settings:
      return true;
    default:
      return false;
  }
}

bool isForbiddenInHttp2(FieldName name, std::string_view value) {
  if (name == FieldName::te) return !equalsIgnoreCase(value, "trailers");
  return isConnectionSpecific(name) && name != FieldName::http2_settings;
}

bool isHopByHop(const Field& field, const ConnectionTokens& tokens) {
  switch (field.id) {
    case FieldName::unknown:
      return tokens.nominated_count != 0 && tokens.nominates(field.name);
    case FieldName::te:
      return !equalsIgnoreCase(field.value, "trailers");
    case FieldName::proxy_authenticate:
    case FieldName::proxy_authorization:
      return true;
    default:
      return isConnectionSpecific(field.id) || (tokens.nominated_count != 0 && tokens.nominates(field.name));
  }
}

bool isForbiddenInTrailers(FieldName name) {
  switch (name) {
    case FieldName::pseudo_authority:
    case FieldName::pseudo_method:
    case FieldName::pseudo_path:
    case FieldName::pseudo_protocol:
    case FieldName::pseudo_scheme:
    case FieldName::pseudo_status:
    // Framing and routing.
    case FieldName::content_length:
    case FieldName::forwarded:
    case FieldName::host:
    case FieldName::te:
    case FieldName::trailer:
    case FieldName::via:
    case FieldName::x_forwarded_for:
    case FieldName::x_forwarded_host:
    case FieldName::x_forwarded_port:
    case FieldName::x_forwarded_proto:
    case FieldName::x_real_ip:
    // Request modifiers and response control.
    case FieldName::age:
    case FieldName::cache_control:
    case FieldName::date:
    case FieldName::expect:
    case FieldName::expires:
    case FieldName::if_match:
    case FieldName::if_modified_since:
    case FieldName::if_none_match:
    case FieldName::if_range:
    case FieldName::if_unmodified_since:
    case FieldName::location:
    case FieldName::max_forwards:
    case FieldName::pragma:
    case FieldName::range:
    case FieldName::retry_after:
    case FieldName::vary:
    // Authentication.
    case FieldName::authorization:
    case FieldName::cookie:
    case FieldName::proxy_authenticate:
    case FieldName::proxy_authorization:
    case FieldName::set_cookie:
    case FieldName::www_authenticate:
    // Content format.
    case FieldName::content_encoding:
    case FieldName::content_range:
    case FieldName::content_type:
      return true;
    default:
      return isConnectionSpecific(name);
  }
}

std::optional<uint64_t> parseContentLength(std::string_view value) {
  // Up to 18 digits cannot overflow, and mostly there is nothing else.
  if (!value.empty() && value.size() <= 18) {
    uint64_t number = 0;
    size_t i = 0;
    for (; i < value.size() && isOfClass(value[i], class_digit); ++i)
      number = number * 10 + static_cast<uint64_t>(value[i] - '0');
    if (i == value.size()) return number;
  }
  std::optional<uint64_t> length;
  // Unlike other lists this one may have no empty elements: "5," is not a number.
  while (true) {
    const size_t comma = value.find(',');
    const std::string_view digits = trimWhitespace(value.substr(0, comma));
    if (digits.empty()) return std::nullopt;
    uint64_t number = 0;
    for (const char c : digits) {
      if (!isOfClass(c, class_digit)) return std::nullopt;
      const auto digit = static_cast<uint64_t>(c - '0');
      if (number > (static_cast<uint64_t>(INT64_MAX) - digit) / 10) return std::nullopt;
      number = number * 10 + digit;
    }
    if (length && *length != number) return std::nullopt;
    length = number;
    if (comma == std::string_view::npos) return length;
    value.remove_prefix(comma + 1);
  }
}

bool isSafe(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "TRACE";
}

bool isIdempotent(std::string_view method) {
  return isSafe(method) || method == "PUT" || method == "DELETE";
}

bool isIpv6Address(std::string_view text) {
  size_t groups = 0;
  bool elided = false;
  size_t i = 0;
  if (text.starts_with("::")) {
    elided = true;
    i = 2;
  }
  while (i < text.size()) {
    if (groups == 8) return false;
    size_t digits = 0;
    while (i + digits < text.size() && isOfClass(text[i + digits], class_hex)) digits += 1;
    if (i + digits < text.size() && text[i + digits] == '.') {
      // The last 32 bits may be written as an IPv4 address.
      groups += 2;
      if (!isIpv4Address(text.substr(i))) return false;
      break;
    }
    if (digits == 0 || digits > 4) return false;
    groups += 1;
    i += digits;
    if (i == text.size()) break;
    if (text[i] != ':') return false;
    i += 1;
    if (i == text.size()) return false;
    if (text[i] == ':') {
      if (elided) return false;
      elided = true;
      i += 1;
    }
  }
  return elided ? groups < 8 : groups == 8;
}

std::optional<Authority> parseAuthority(std::string_view text) {
  Authority authority;
  std::string_view rest;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    authority.host = text.substr(1, end - 1);
    authority.is_ipv6 = true;
    if (!isIpv6Address(authority.host)) return std::nullopt;
    rest = text.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') return std::nullopt;
  } else {
    const size_t colon = text.find(':');
    authority.host = text.substr(0, colon);
    if (authority.host.empty() || !isRegName(authority.host)) return std::nullopt;
    if (colon != std::string_view::npos) rest = text.substr(colon);
  }
  // RFC 3986 §3.2.3 allows a colon with nothing behind it.
  if (rest.size() < 2) return authority;
  unsigned port = 0;
  for (const char c : rest.substr(1)) {
    if (!isOfClass(c, class_digit)) return std::nullopt;
    port = port * 10 + static_cast<unsigned>(c - '0');
    if (port > 65'535) return std::nullopt;
  }
  authority.port = static_cast<uint16_t>(port);
  return authority;
}

namespace {

// Without the port that the scheme has anyway, or a colon with nothing behind it.
std::string_view withoutDefaultPort(std::string_view authority, std::string_view scheme) {
  const std::string_view port = equalsIgnoreCase(scheme, "https") ? ":443" : ":80";
  const bool has_port = equalsIgnoreCase(scheme, "http") || equalsIgnoreCase(scheme, "https");
  if (has_port && authority.ends_with(port)) return authority.substr(0, authority.size() - port.size());
  return authority.ends_with(':') ? authority.substr(0, authority.size() - 1) : authority;
}

}  // namespace

bool isSameAuthority(std::string_view a, std::string_view b, std::string_view scheme) {
  return equalsIgnoreCase(a, b) || equalsIgnoreCase(withoutDefaultPort(a, scheme), withoutDefaultPort(b, scheme));
}

bool isOriginForm(std::string_view path) {
  return path.starts_with('/') && isAllOfClass(path, class_target);
}

bool isPath(std::string_view path, std::string_view method) {
  return isOriginForm(path) || (path == "*" && method == "OPTIONS");
}

}  // namespace plait::http
