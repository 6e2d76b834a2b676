// Operating errors are values: what happened (code), how far it reaches, and a sentence for the reader of the log.
// The reach decides what the pool does with the connection; the code decides whether a retry is safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>

namespace plait {

enum class ErrorCode : uint8_t {
  none,
  // The request itself.
  cancelled,          // the side that asked no longer wants the answer
  deadline_exceeded,  // the response head or the body did not come in time
  malformed_message,  // the peer's message breaks RFC 9113 §8 or RFC 9112; only this stream is affected
  message_too_large,  // a configured bound on fields was exceeded
  body_aborted,       // the side that produces the body gave up before its end
  not_served,         // a method that plait does not serve
  forwarding_loop,    // it comes round to plait again and again
  bad_target,         // its host or path has no meaning here, or several
  no_route,           // no route matches it
  misdirected,        // it came over a connection for another site, which asks its clients for something else
  access_denied,      // its route is not open to its client
  body_too_large,     // for its route
  fields_too_large,   // of a response, with those that its route adds
  // The stream, proven unprocessed: safe to repeat with any method (RFC 9113 §8.7).
  refused_stream,
  goaway_unprocessed,  // our stream id is above the last one the peer's GOAWAY covers
  never_sent,          // no byte of our HEADERS left this machine
  http_1_1_required,
  // The stream, fate unknown or known to be processed.
  stream_reset,  // RST_STREAM with any other code; `detail` is the HTTP/2 error code
  // The connection.
  connection_lost,   // EOF or a socket error; `detail` is errno, 0 for EOF
  connection_stale,  // likewise, of a kept-alive connection before the first byte of an answer: it had ended unseen
  protocol_error,    // the peer broke the protocol; `detail` is the HTTP/2 error code we answered with
  idle_timeout,
  stalled,  // a peer made no progress within the stall timeout
  shutting_down,
  // The backend.
  connect_failed,  // `detail` is errno
  connect_timeout,
  resolve_failed,
  tls_failed,  // `detail` is the X.509 verification result, 0 for any other failure of the handshake
  ejected,     // it is left out for a while because of what it answered
  // The pool or this machine.
  listen_failed,   // `detail` is errno
  pool_exhausted,  // no stream became free before the queue's deadline
  no_memory,       // a slab or a block pool is at its configured end
  no_descriptor,   // no file descriptor is left, to the process or to the machine
  no_local_port,   // no address and port of this machine is free for a connection
  invalid_argument,
};
inline constexpr size_t error_code_count = static_cast<size_t>(ErrorCode::invalid_argument) + 1;

enum class Reach : uint8_t { stream, connection, backend };

// A peer's fault, as it is counted and logged: the operator's view of an Error, independent of its wording.
enum class Fault : uint8_t {
  none,  // nothing, or what the code says already: see faultOf
  // RFC 9113 §7's errors of a connection, and a message that breaks §8 or RFC 9112.
  protocol_error,
  flow_control_error,
  frame_size_error,
  compression_error,
  stream_closed,
  malformed_message,
  message_too_large,
  // Guards.
  reset_flood,         // streams that end by a reset, too many of them
  frame_flood,         // frames that are allowed and carry nothing
  continuation_flood,  // a header block in too many pieces, or too large a one
  settings_size,       // too many entries in one SETTINGS
  stream_flood,        // more streams at once than were announced
  interim_flood,       // 1xx responses without end
  // Time.
  header_timeout,     // a header block, or the first byte of a connection that must say something, came too slowly
  handshake_timeout,  // TLS
  body_timeout,       // a request's body stopped, or trickled
  window_timeout,     // a window stayed closed, or opened by a trickle
  stuck_upload,       // a backend took nothing of it while the memory for uploads was short
  not_reading,        // nothing of what was sent is taken
  ping_timeout,
  // The rest.
  tls_failed,
  no_memory,        // for this peer: what it may hold is used up
  evicted,          // idle while every connection was in use: no fault, but worth knowing
  address_share,    // its address holds its share of the connections
  proxy_header,     // in front of its connection: none, or one that is malformed
  proxy_untrusted,  // nobody from whom such a header is taken
};
inline constexpr size_t fault_count = static_cast<size_t>(Fault::proxy_untrusted) + 1;

struct [[nodiscard]] Error {
  ErrorCode code = ErrorCode::none;
  Reach reach = Reach::stream;
  Fault fault = Fault::none;
  uint32_t detail = 0;      // meaning depends on `code`, see above
  const char* reason = "";  // a static string: a phrase for the log, with the RFC section where one applies

  // The peer's bytes make no sense, by the rules of its protocol: nobody can tell what they were meant to be.
  bool isGibberish() const {
    return code == ErrorCode::malformed_message || (code == ErrorCode::protocol_error && reach == Reach::connection);
  }
  // Something of this process or machine has run out: that says nothing about the peer.
  bool isOwnShortage() const {
    return code == ErrorCode::no_memory || code == ErrorCode::no_descriptor || code == ErrorCode::no_local_port ||
           fault == Fault::no_memory;
  }
  // True when the connection that reported this can carry no further request.
  bool reachesConnection() const { return reach != Reach::stream; }
  Error as(Fault what) const {
    Error copy = *this;
    copy.fault = what;
    return copy;
  }
};

inline Error streamError(ErrorCode code, const char* reason, uint32_t detail = 0) {
  return {code, Reach::stream, Fault::none, detail, reason};
}
inline Error connectionError(ErrorCode code, const char* reason, uint32_t detail = 0) {
  return {code, Reach::connection, Fault::none, detail, reason};
}
inline Error backendError(ErrorCode code, const char* reason, uint32_t detail = 0) {
  return {code, Reach::backend, Fault::none, detail, reason};
}

// One word, for logs and metrics.
const char* errorCodeName(ErrorCode code);
// The fault that an error stands for: its own, or what its code and HTTP/2's say. Fault::none where the peer did
// nothing wrong: it went away, or was idle.
Fault faultOf(const Error& error);
// One word, for metrics.
const char* faultName(Fault fault);

// A value, or why there is none. Classes of their own, since libstdc++ 12's std::expected may be ignored unnoticed.
template <class T>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
};

// Done, or why not.
class [[nodiscard]] Status : public std::expected<void, Error> {
 public:
  using std::expected<void, Error>::expected;
};

inline std::unexpected<Error> fail(Error error) {
  return std::unexpected<Error>(error);
}

}  // namespace plait
