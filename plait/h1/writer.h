// HTTP/1.1 messages into a send queue, both roles (RFC 9112). Everything is all-or-nothing: a bound is computed while
// the fields are validated, and only then is anything appended. Framing is plait's own: Content-Length,
// Transfer-Encoding and connection-specific fields among those given are left out and written anew.
#pragma once

#include "plait/base/byte_queue.h"
#include "plait/h1/parser.h"

namespace plait::h1 {

struct RequestOptions {
  bool absolute_form = false;  // the target with scheme and authority, as a forward proxy wants it (RFC 9112 §3.2.2)
  bool close = false;          // "connection: close"
  // The fields that Connection nominated in a forwarded HTTP/1.1 message; null when there are none.
  const http::ConnectionTokens* connection = nullptr;
};

// Appends a request head: request line, Host, fields, framing. With head.protocol set it is an upgrade (RFC 9110 §7.8),
// written as GET whichever method the head has, because an extended CONNECT (RFC 8441) becomes one. Cookie crumbs are
// joined by "; " (RFC 9113 §8.2.3). "TE: trailers" is nominated by Connection, as RFC 9110 §10.1.4 wants.
// Returns the framing of the body that the caller must now write: none if head.end_stream, content_length if it is
// known, else chunked. Errors (nothing is written): no_memory when the queue has no room; invalid_argument for a
// method, target, authority, name or value that would break the message's lines.
Result<BodyFraming> writeRequestHead(ByteQueue& out, const http::RequestHead& head, const RequestOptions& options = {});

struct ResponseOptions {
  std::string_view request_method = "GET";  // HEAD and CONNECT decide about the body
  http::Version request_version = http::Version::http_1_1;
  bool close = false;         // "connection: close"; implied by the framing until_close
  std::string_view protocol;  // for 101: the token of Upgrade
  std::string_view date;      // the Date of a head that has none; empty: it stays without
  const http::ConnectionTokens* connection = nullptr;
};

// Appends the head of a final response or of 101. Returns the framing: none for HEAD, 204, 304, 101 and 2xx to CONNECT;
// until_close for a body of unknown length to an HTTP/1.0 client, after which the connection must be closed. Errors as
// with writeRequestHead.
Result<BodyFraming> writeResponseHead(ByteQueue& out, const http::ResponseHead& head,
                                      const ResponseOptions& options = {});

// Appends an interim response (1xx but 101) with its fields, which may be empty. Never to an HTTP/1.0 client
// (RFC 9110 §15.2), which the caller checks.
Status writeInterimHead(ByteQueue& out, uint16_t status, const http::FieldList& fields);

// The phrase of a status, empty when it has none: it carries no meaning (RFC 9112 §4).
std::string_view reasonPhrase(uint16_t status);

// The bytes a chunk may need besides its data: up to 16 digits and two CRLF.
inline constexpr size_t max_chunk_overhead = 20;

// Writes one body after a head, keeping the promise that the head made.
class BodyWriter {
 public:
  BodyWriter() = default;
  // `framing` as the head's writer returned it; `content_length` is only looked at with that framing.
  void start(BodyFraming framing, uint64_t content_length);

  // Appends as much of `data` as fits, at most `limit` bytes of it, as one chunk if the body is chunked. Returns how
  // much; 0 when there is no room. An error (invalid_argument) when that would exceed the content length or follow the
  // end.
  Result<size_t> write(ByteQueue& out, Bytes data, size_t limit = SIZE_MAX);

  // Ends the body: the last chunk and `trailers` (may be null; dropped unless chunked). Fields that are not allowed as
  // trailers are left out. Errors: no_memory (call again when there is room), body_aborted when bytes that the content
  // length promised are missing: the connection must then be closed. Nothing is written on an error.
  Status finish(ByteQueue& out, const http::FieldList* trailers = nullptr);

  BodyFraming framing() const { return framing_; }
  bool isDone() const { return done_; }
  // Were the connection closed now, what was written would pass for the whole body.
  bool looksWhole() const {
    return done_ || framing_ == BodyFraming::until_close ||
           (framing_ == BodyFraming::content_length && remaining_ == 0);
  }

 private:
  BodyFraming framing_ = BodyFraming::none;
  bool done_ = true;
  uint64_t remaining_ = 0;
};

}  // namespace plait::h1
