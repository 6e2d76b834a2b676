// Heads of messages as every version of HTTP sees them (RFC 9110). Views point into the FieldList's memory.
#pragma once

#include <cstdint>
#include <string_view>

#include "plait/http/field_list.h"

namespace plait::http {

enum class Version : uint8_t { http_1_0, http_1_1, http_2 };

// A content length that was not said.
inline constexpr uint64_t unknown_length = UINT64_MAX;

struct RequestHead {
  std::string_view method;
  std::string_view scheme;     // "http" or "https"; empty where an HTTP/1.1 message did not say
  std::string_view authority;  // host[:port], without userinfo; empty when absent
  std::string_view path;       // origin-form with query, or "*", or empty for CONNECT
  std::string_view protocol;   // the token of Upgrade that may be tunnelled (as "websocket"), else empty
  FieldList fields;            // without pseudo-header fields and without Host
  uint64_t content_length = unknown_length;
  Version version = Version::http_2;
  bool end_stream = false;  // the message has no body and no trailers
  // The pseudo-header fields that may not be indexed on their way (RFC 7541 §6.2.3), each a bit.
  uint8_t never_indexed = 0;

  static constexpr uint8_t bitOf(FieldName pseudo) { return static_cast<uint8_t>(1u << static_cast<uint32_t>(pseudo)); }
  bool isNeverIndexed(FieldName pseudo) const { return (never_indexed & bitOf(pseudo)) != 0; }
};
static_assert(static_cast<uint32_t>(FieldName::pseudo_authority) < 8 &&
              static_cast<uint32_t>(FieldName::pseudo_method) < 8 &&
              static_cast<uint32_t>(FieldName::pseudo_path) < 8 && static_cast<uint32_t>(FieldName::pseudo_scheme) < 8);

struct ResponseHead {
  uint16_t status = 0;
  FieldList fields;
  uint64_t content_length = unknown_length;
  Version version = Version::http_2;
  bool end_stream = false;
  bool is_status_never_indexed = false;  // RFC 7541 §6.2.3
};

}  // namespace plait::http
