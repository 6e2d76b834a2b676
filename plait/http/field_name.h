// The field names that plait acts upon, or that many messages have, as small integers: comparing one costs one
// instruction, and their text is copied nowhere.
// The names of HPACK's static table come first and in its order (RFC 7541 Appendix A), so that a table indexed by
// FieldName is dense where the encoder looks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace plait::http {

// X(enumerator, name as it stands on the wire in lower case)
#define PLAIT_FIELD_NAMES(X)                                              \
  X(pseudo_authority, ":authority")                                       \
  X(pseudo_method, ":method")                                             \
  X(pseudo_path, ":path")                                                 \
  X(pseudo_scheme, ":scheme")                                             \
  X(pseudo_status, ":status")                                             \
  X(accept_charset, "accept-charset")                                     \
  X(accept_encoding, "accept-encoding")                                   \
  X(accept_language, "accept-language")                                   \
  X(accept_ranges, "accept-ranges")                                       \
  X(accept, "accept")                                                     \
  X(access_control_allow_origin, "access-control-allow-origin")           \
  X(age, "age")                                                           \
  X(allow, "allow")                                                       \
  X(authorization, "authorization")                                       \
  X(cache_control, "cache-control")                                       \
  X(content_disposition, "content-disposition")                           \
  X(content_encoding, "content-encoding")                                 \
  X(content_language, "content-language")                                 \
  X(content_length, "content-length")                                     \
  X(content_location, "content-location")                                 \
  X(content_range, "content-range")                                       \
  X(content_type, "content-type")                                         \
  X(cookie, "cookie")                                                     \
  X(date, "date")                                                         \
  X(etag, "etag")                                                         \
  X(expect, "expect")                                                     \
  X(expires, "expires")                                                   \
  X(from, "from")                                                         \
  X(host, "host")                                                         \
  X(if_match, "if-match")                                                 \
  X(if_modified_since, "if-modified-since")                               \
  X(if_none_match, "if-none-match")                                       \
  X(if_range, "if-range")                                                 \
  X(if_unmodified_since, "if-unmodified-since")                           \
  X(last_modified, "last-modified")                                       \
  X(link, "link")                                                         \
  X(location, "location")                                                 \
  X(max_forwards, "max-forwards")                                         \
  X(proxy_authenticate, "proxy-authenticate")                             \
  X(proxy_authorization, "proxy-authorization")                           \
  X(range, "range")                                                       \
  X(referer, "referer")                                                   \
  X(refresh, "refresh")                                                   \
  X(retry_after, "retry-after")                                           \
  X(server, "server")                                                     \
  X(set_cookie, "set-cookie")                                             \
  X(strict_transport_security, "strict-transport-security")               \
  X(transfer_encoding, "transfer-encoding")                               \
  X(user_agent, "user-agent")                                             \
  X(vary, "vary")                                                         \
  X(via, "via")                                                           \
  X(www_authenticate, "www-authenticate")                                 \
  X(pseudo_protocol, ":protocol")                                         \
  X(alt_svc, "alt-svc")                                                   \
  X(authentication_info, "authentication-info")                           \
  X(connection, "connection")                                             \
  X(early_data, "early-data")                                             \
  X(forwarded, "forwarded")                                               \
  X(grpc_encoding, "grpc-encoding")                                       \
  X(grpc_message, "grpc-message")                                         \
  X(grpc_status, "grpc-status")                                           \
  X(grpc_timeout, "grpc-timeout")                                         \
  X(http2_settings, "http2-settings")                                     \
  X(keep_alive, "keep-alive")                                             \
  X(origin, "origin")                                                     \
  X(pragma, "pragma")                                                     \
  X(priority, "priority")                                                 \
  X(proxy_authentication_info, "proxy-authentication-info")               \
  X(proxy_connection, "proxy-connection")                                 \
  X(sec_websocket_accept, "sec-websocket-accept")                         \
  X(sec_websocket_extensions, "sec-websocket-extensions")                 \
  X(sec_websocket_key, "sec-websocket-key")                               \
  X(sec_websocket_protocol, "sec-websocket-protocol")                     \
  X(sec_websocket_version, "sec-websocket-version")                       \
  X(te, "te")                                                             \
  X(traceparent, "traceparent")                                           \
  X(tracestate, "tracestate")                                             \
  X(trailer, "trailer")                                                   \
  X(upgrade, "upgrade")                                                   \
  X(x_forwarded_for, "x-forwarded-for")                                   \
  X(x_forwarded_host, "x-forwarded-host")                                 \
  X(x_forwarded_port, "x-forwarded-port")                                 \
  X(x_forwarded_proto, "x-forwarded-proto")                               \
  X(x_real_ip, "x-real-ip")                                               \
  X(x_request_id, "x-request-id")                                         \
  X(access_control_allow_credentials, "access-control-allow-credentials") \
  X(access_control_allow_headers, "access-control-allow-headers")         \
  X(access_control_allow_methods, "access-control-allow-methods")         \
  X(access_control_expose_headers, "access-control-expose-headers")       \
  X(access_control_max_age, "access-control-max-age")                     \
  X(access_control_request_headers, "access-control-request-headers")     \
  X(access_control_request_method, "access-control-request-method")       \
  X(content_security_policy, "content-security-policy")                   \
  X(cross_origin_opener_policy, "cross-origin-opener-policy")             \
  X(cross_origin_resource_policy, "cross-origin-resource-policy")         \
  X(dnt, "dnt")                                                           \
  X(permissions_policy, "permissions-policy")                             \
  X(referrer_policy, "referrer-policy")                                   \
  X(sec_ch_ua, "sec-ch-ua")                                               \
  X(sec_ch_ua_mobile, "sec-ch-ua-mobile")                                 \
  X(sec_ch_ua_platform, "sec-ch-ua-platform")                             \
  X(sec_fetch_dest, "sec-fetch-dest")                                     \
  X(sec_fetch_mode, "sec-fetch-mode")                                     \
  X(sec_fetch_site, "sec-fetch-site")                                     \
  X(sec_fetch_user, "sec-fetch-user")                                     \
  X(sec_gpc, "sec-gpc")                                                   \
  X(server_timing, "server-timing")                                       \
  X(timing_allow_origin, "timing-allow-origin")                           \
  X(upgrade_insecure_requests, "upgrade-insecure-requests")               \
  X(x_cache, "x-cache")                                                   \
  X(x_content_type_options, "x-content-type-options")                     \
  X(x_correlation_id, "x-correlation-id")                                 \
  X(x_frame_options, "x-frame-options")                                   \
  X(x_powered_by, "x-powered-by")                                         \
  X(x_requested_with, "x-requested-with")                                 \
  X(x_xss_protection, "x-xss-protection")                                 \
  X(client_cert, "client-cert")                                           \
  X(client_cert_chain, "client-cert-chain")                               \
  X(x_forwarded_client_cert, "x-forwarded-client-cert")

enum class FieldName : uint8_t {
  unknown = 0,  // any name that is not listed here: compare the text
#define PLAIT_FIELD_NAME_ENUMERATOR(enumerator, text) enumerator,
  PLAIT_FIELD_NAMES(PLAIT_FIELD_NAME_ENUMERATOR)
#undef PLAIT_FIELD_NAME_ENUMERATOR
};

// How many values FieldName has, `unknown` included: the size of a table indexed by it.
inline constexpr size_t field_name_count = 1
#define PLAIT_FIELD_NAME_ONE(enumerator, text) +1
    PLAIT_FIELD_NAMES(PLAIT_FIELD_NAME_ONE)
#undef PLAIT_FIELD_NAME_ONE
    ;
inline constexpr size_t longest_field_name = 32;  // access-control-allow-credentials
static_assert(field_name_count <= 256);

// The name's number; `unknown` when it is not listed or contains upper-case letters. Constant time: one hash of the
// length and of the first and last four bytes, then usually one comparison.
FieldName fieldNameOf(std::string_view lower_case);

// The text of a name, a static string; empty for `unknown`.
extern const std::array<std::string_view, field_name_count> field_name_texts;
inline std::string_view nameOf(FieldName name) {
  return field_name_texts[static_cast<size_t>(name)];
}

// A set of names that is asked with one load: some are asked for every field of every message.
class FieldNameSet {
 public:
  constexpr FieldNameSet(std::initializer_list<FieldName> names) {
    for (const FieldName name : names) is_member_[static_cast<size_t>(name)] = true;
  }
  constexpr FieldNameSet operator|(const FieldNameSet& other) const {
    FieldNameSet either = *this;
    for (size_t i = 0; i < field_name_count; ++i) either.is_member_[i] |= other.is_member_[i];
    return either;
  }
  constexpr void add(FieldName name) { is_member_[static_cast<size_t>(name)] = true; }
  constexpr bool contains(FieldName name) const { return is_member_[static_cast<size_t>(name)]; }

 private:
  bool is_member_[field_name_count] = {};
};

}  // namespace plait::http
