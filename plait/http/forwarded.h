// Telling the backend who the client is: X-Forwarded-*, Forwarded (RFC 7239) and Via (RFC 9110 §7.6.3).
//
// A peer that is trusted (another proxy of ours) has its values kept and the next hop appended; the values of any other
// peer are dropped, since it could claim to be anybody. Each function writes into the caller's buffer and returns a
// view of it, or an empty view when it does not fit; a value is never empty.
#pragma once

#include <string_view>

#include "plait/base/bytes.h"
#include "plait/http/field_list.h"
#include "plait/http/message.h"

namespace plait::http {

struct ClientHop {
  std::string_view address;  // numeric IPv4 or IPv6 without brackets or port; empty when unknown (a Unix socket)
  std::string_view scheme;   // "http" or "https", as the client reached us
  std::string_view host;     // the request's authority; may be empty
  bool is_trusted = false;
};

// "203.0.113.7, 198.51.100.2". All existing lines of a trusted peer are joined in order.
std::string_view buildXForwardedFor(MutableBytes buffer, const FieldList& fields, const ClientHop& hop);
// The first value of a trusted peer as it is, since the client nearest to the user knows; else our own.
std::string_view buildXForwardedProto(MutableBytes buffer, const FieldList& fields, const ClientHop& hop);
// Likewise; empty also when the request has no authority.
std::string_view buildXForwardedHost(MutableBytes buffer, const FieldList& fields, const ClientHop& hop);
// for=…;host=…;proto=… with IPv6 addresses in brackets and quotes (RFC 7239 §6), appended to those of a trusted peer.
std::string_view buildForwarded(MutableBytes buffer, const FieldList& fields, const ClientHop& hop);
// "1.1 plait" behind all existing ones, whether the peer is trusted or not: Via is for finding loops, not for trust.
// `version` is the one in which the message was received, `pseudonym` a token.
std::string_view buildVia(MutableBytes buffer, const FieldList& fields, Version version, std::string_view pseudonym);

}  // namespace plait::http
