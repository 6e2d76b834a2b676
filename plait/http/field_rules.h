// Rules for what a field, a target or an authority may contain, and which fields stop at this hop. Everything here is a
// table look-up or a single pass; nothing allocates.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "plait/base/error.h"
#include "plait/http/field_list.h"

namespace plait::http {

// -- bytes

enum ByteClass : uint8_t {
  class_token = 1,        // tchar, RFC 9110 §5.6.2
  class_field_value = 2,  // VCHAR, obs-text, SP and HTAB, RFC 9110 §5.5
  class_target = 4,       // printable ASCII without '#', and bytes above 0x7f, which clients do send in paths
  class_reg_name = 8,     // unreserved / sub-delims, RFC 3986 §3.2.2; '%' needs its two digits checked
  class_digit = 16,
  class_hex = 32,
};
extern const std::array<uint8_t, 256> byte_classes;
// A token byte in lower case, 0 for a byte that no token contains.
extern const std::array<uint8_t, 256> lower_token_bytes;

inline bool isOfClass(char c, uint8_t classes) {
  return (byte_classes[static_cast<uint8_t>(c)] & classes) != 0;
}

// ASCII only, as everything in HTTP that ignores case.
bool equalsIgnoreCase(std::string_view a, std::string_view b);
// Without leading and trailing SP and HTAB (OWS, RFC 9110 §5.6.3).
std::string_view trimWhitespace(std::string_view text);

// Takes the next non-empty element off a comma-separated list (RFC 9110 §5.6.1) into `element`, trimmed; false at the
// end. Commas within quoted strings do not separate.
bool nextListElement(std::string_view& list, std::string_view& element);

// -- names and values

// token, RFC 9110 §5.6.2; not empty.
bool isToken(std::string_view text);
// A token without upper-case letters: a name as HTTP/2 sends it (RFC 9113 §8.2.1). Pseudo-header names are not tokens.
bool isLowerCaseToken(std::string_view text);
// No control characters but HTAB, and no whitespace at either end (RFC 9110 §5.5, RFC 9113 §8.2.1). May be empty.
bool isFieldValue(std::string_view text);
// Only what RFC 9113 §8.2.1 calls for at least: no NUL, CR or LF.
bool isFreeOfLineBreaks(std::string_view text);

// -- hop by hop

// The options that the Connection fields of a message named (RFC 9110 §7.6.1).
struct ConnectionTokens {
  static constexpr size_t max_nominated = 8;
  bool close = false;
  bool keep_alive = false;
  bool upgrade = false;
  uint8_t nominated_count = 0;
  // Names to be removed besides the usual ones, in the sender's spelling. The views live as long as the field values.
  std::array<std::string_view, max_nominated> nominated;

  bool nominates(std::string_view name) const;
};

// Adds the options of one Connection value. Names of framing, routing, authentication and caching are never recorded:
// they are meant for all recipients (RFC 9110 §7.6.1), and nominating Authorization or X-Forwarded-For would strip what
// the backend relies upon. False when a token is malformed or more than max_nominated names are given.
bool parseConnectionValue(std::string_view value, ConnectionTokens& tokens);

// Connection, Keep-Alive, Proxy-Connection, Transfer-Encoding, Upgrade and HTTP2-Settings, which concern one hop only.
bool isConnectionSpecific(FieldName name);
// True when the field makes an HTTP/2 message malformed: connection-specific (HTTP2-Settings is not among those that
// RFC 9113 §8.2.2 names), or TE with anything but "trailers".
bool isForbiddenInHttp2(FieldName name, std::string_view value);
// True when a forwarder must remove the field (RFC 9110 §7.6.1): connection-specific, nominated by Connection, TE other
// than exactly "trailers", or Proxy-Authenticate and Proxy-Authorization, which are addressed to a proxy.
bool isHopByHop(const Field& field, const ConnectionTokens& tokens);
// All others are hop by hop only if Connection nominates them: most fields are told by this alone.
inline constexpr FieldNameSet hop_by_hop_names = {
    FieldName::connection,    FieldName::keep_alive, FieldName::proxy_connection,   FieldName::transfer_encoding,
    FieldName::upgrade,       FieldName::te,         FieldName::proxy_authenticate, FieldName::proxy_authorization,
    FieldName::http2_settings};
inline bool mayBeHopByHop(FieldName name, const ConnectionTokens& tokens) {
  return hop_by_hop_names.contains(name) || tokens.nominated_count != 0;
}
// True for fields of framing, routing, authentication and content format, which never count in a trailer section
// (RFC 9110 §6.5.1), and for pseudo-header fields. Forwarders drop them.
bool isForbiddenInTrailers(FieldName name);

// -- lengths and methods

// 1*DIGIT, or a list of identical ones (RFC 9110 §8.6). Nothing when malformed, differing, or 2^63 and above.
std::optional<uint64_t> parseContentLength(std::string_view value);

// RFC 9110 §9.2.2 and §9.2.1; methods are case-sensitive, unknown ones count as neither.
bool isIdempotent(std::string_view method);
bool isSafe(std::string_view method);

// -- targets

struct Authority {
  std::string_view host;  // a literal IPv6 address without its brackets
  uint16_t port = 0;      // 0 when none was given
  bool is_ipv6 = false;
};
// host[:port] (RFC 3986 §3.2 without userinfo, which RFC 9110 §4.2.4 deprecates). Nothing when malformed or when the
// host is empty. The views point into `text`.
std::optional<Authority> parseAuthority(std::string_view text);
inline bool isAuthority(std::string_view text) {
  return parseAuthority(text).has_value();
}
// Whether two authorities name the same host and port for a URI of that scheme: case does not count, and neither does
// the scheme's own port (RFC 3986 §6.2.3). Both are valid, or empty.
bool isSameAuthority(std::string_view a, std::string_view b, std::string_view scheme);
// A literal IPv6 address without brackets and zone (RFC 4291 §2.2).
bool isIpv6Address(std::string_view text);

// origin-form (RFC 9112 §3.2.1): starts with '/', no controls, spaces or fragment.
bool isOriginForm(std::string_view path);
// A :path as a request may carry it: origin-form, or "*" with OPTIONS (RFC 9113 §8.3.1).
bool isPath(std::string_view path, std::string_view method);

}  // namespace plait::http
