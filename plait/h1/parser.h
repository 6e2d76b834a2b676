// Heads of HTTP/1.x messages, both roles (RFC 9112). Stateless over contiguous bytes:
//
//   bytes ──▶ parseRequestHead ──▶ need more: present the same bytes again, with more behind them
//                              ──▶ complete:  drop `consumed` bytes, read the body with BodyDecoder
//                              ──▶ ParseError: answer with its status and close
//
// Strict where leniency lets two implementations disagree about where a message ends: bare LF or CR, obs-fold,
// whitespace before a colon, Transfer-Encoding together with Content-Length, and differing lengths are errors (RFC 9112
// §11.2).
#pragma once

#include <expected>

#include "plait/base/bytes.h"
#include "plait/base/error.h"
#include "plait/http/field_rules.h"
#include "plait/http/message.h"

namespace plait::h1 {

struct Limits {
  uint32_t start_line_size = 8 * 1024;  // bytes; above it 414
  uint32_t target_size = 8 * 1024;      // bytes of a request's target; above it 414
  // Bytes of the field section as sent, and of HTTP/2's measure of it (RFC 9113 §6.5.2); above it 431.
  uint32_t fields_size = 32 * 1024;
  uint32_t field_count = 100;           // above it 431
  uint32_t chunk_extension_size = 256;  // bytes for one chunk
  uint32_t trailers_size = 8 * 1024;    // bytes of a trailer section as sent; the caller's buffer must hold them
  uint32_t trailer_count = 32;
};

// Where the body ends (RFC 9112 §6.3).
enum class BodyFraming : uint8_t { none, content_length, chunked, until_close };

// `status` is what a server answers with; in a response it is 502. `error` always reaches the connection: nobody knows
// where the next message would start. `is_foreign`: a request line of three words whose second is no target and whose
// third does not begin with "HTTP", so that it was written for some other protocol.
struct ParseError {
  uint16_t status = 400;
  Error error;
  bool is_foreign = false;
};

template <class T>
using ParseResult = std::expected<T, ParseError>;

struct HeadParse {
  bool complete = false;  // false: more bytes are needed and nothing else here means anything
  size_t consumed = 0;    // bytes of the input that the head took, its empty line included
  BodyFraming framing = BodyFraming::none;
  bool keep_alive = false;       // the connection may carry another message after this one (RFC 9112 §9.3)
  bool expect_continue = false;  // a request that waits for 100 (Continue) before its body (RFC 9110 §10.1.1)
  bool tunnel = false;           // a response after which the connection is no longer HTTP: 101, or 2xx to CONNECT
  // The options that Connection named; its fields themselves stay in the list, and forwarders leave them out by
  // http::isHopByHop.
  http::ConnectionTokens connection;
};

// Parses a request head at the start of `input`. `scanned` is 0 at first and then kept by the caller between calls that
// present the same bytes again: no byte is searched twice. It is 0 again when the head is complete. `out.fields` must
// have been given memory and is cleared first; every view in `out` points into that memory (or at static text), none
// into `input`.
//
// Names are lower-cased. Host becomes out.authority, where the authority of an absolute-form target takes precedence
// (RFC 9112 §3.2.2), and is not among the fields. Content-Length stays among the fields once, as a single number.
// out.path is origin-form, "*", or empty for CONNECT. out.protocol is the token of an upgrade that may be
// tunnelled: any but HTTP's own and TLS.
//
// Errors: 400, 414, 417, 431, 501, 505. When the fields do not fit into their memory the status is 431 and the code
// no_memory: the caller may present the same bytes with larger memory instead of giving up.
ParseResult<HeadParse> parseRequestHead(Bytes input, size_t& scanned, http::RequestHead& out, const Limits& limits);

// Likewise for a response; interim (1xx) responses come out one by one as heads with framing `none`.
// `request_method` decides whether there is a body: HEAD and CONNECT.
ParseResult<HeadParse> parseResponseHead(Bytes input, size_t& scanned, http::ResponseHead& out,
                                         std::string_view request_method, const Limits& limits);

// The protocol that a tunnel may carry: the first that the Upgrade fields name that is neither a version of HTTP nor
// TLS, which would begin a conversation that nobody behind us has checked (RFC 9110 §7.8). Empty when there is none.
std::string_view tunnelProtocol(const http::FieldList& fields);

}  // namespace plait::h1
