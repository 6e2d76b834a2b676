#include "plait/base/error.h"

namespace plait {

const char* errorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::none:
      return "none";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::deadline_exceeded:
      return "deadline_exceeded";
    case ErrorCode::malformed_message:
      return "malformed_message";
    case ErrorCode::message_too_large:
      return "message_too_large";
    case ErrorCode::body_aborted:
      return "body_aborted";
    case ErrorCode::not_served:
      return "not_served";
    case ErrorCode::forwarding_loop:
      return "forwarding_loop";
    case ErrorCode::bad_target:
      return "bad_target";
    case ErrorCode::misdirected:
      return "misdirected";
    case ErrorCode::no_route:
      return "no_route";
    case ErrorCode::access_denied:
      return "access_denied";
    case ErrorCode::body_too_large:
      return "body_too_large";
    case ErrorCode::fields_too_large:
      return "fields_too_large";
    case ErrorCode::refused_stream:
      return "refused_stream";
    case ErrorCode::goaway_unprocessed:
      return "goaway_unprocessed";
    case ErrorCode::never_sent:
      return "never_sent";
    case ErrorCode::http_1_1_required:
      return "http_1_1_required";
    case ErrorCode::stream_reset:
      return "stream_reset";
    case ErrorCode::connection_lost:
      return "connection_lost";
    case ErrorCode::connection_stale:
      return "connection_stale";
    case ErrorCode::protocol_error:
      return "protocol_error";
    case ErrorCode::idle_timeout:
      return "idle_timeout";
    case ErrorCode::stalled:
      return "stalled";
    case ErrorCode::shutting_down:
      return "shutting_down";
    case ErrorCode::connect_failed:
      return "connect_failed";
    case ErrorCode::connect_timeout:
      return "connect_timeout";
    case ErrorCode::resolve_failed:
      return "resolve_failed";
    case ErrorCode::tls_failed:
      return "tls_failed";
    case ErrorCode::ejected:
      return "ejected";
    case ErrorCode::pool_exhausted:
      return "pool_exhausted";
    case ErrorCode::no_memory:
      return "no_memory";
    case ErrorCode::listen_failed:
      return "listen_failed";
    case ErrorCode::no_descriptor:
      return "no_descriptor";
    case ErrorCode::no_local_port:
      return "no_local_port";
    case ErrorCode::invalid_argument:
      return "invalid_argument";
  }
  return "unknown";
}

Fault faultOf(const Error& error) {
  if (error.fault != Fault::none) return error.fault;
  switch (error.code) {
    case ErrorCode::protocol_error:
      // RFC 9113 §7's numbers; base knows nothing of HTTP/2 but these.
      switch (error.detail) {
        case 3:
          return Fault::flow_control_error;
        case 5:
          return Fault::stream_closed;
        case 6:
          return Fault::frame_size_error;
        case 9:
          return Fault::compression_error;
        default:
          return Fault::protocol_error;
      }
    case ErrorCode::malformed_message:
      return Fault::malformed_message;
    case ErrorCode::message_too_large:
      return Fault::message_too_large;
    case ErrorCode::stalled:
      return Fault::not_reading;
    case ErrorCode::tls_failed:
      return Fault::tls_failed;
    case ErrorCode::no_memory:
      return Fault::no_memory;
    default:
      return Fault::none;
  }
}

const char* faultName(Fault fault) {
  switch (fault) {
    case Fault::none:
      return "none";
    case Fault::protocol_error:
      return "protocol_error";
    case Fault::flow_control_error:
      return "flow_control_error";
    case Fault::frame_size_error:
      return "frame_size_error";
    case Fault::compression_error:
      return "compression_error";
    case Fault::stream_closed:
      return "stream_closed";
    case Fault::malformed_message:
      return "malformed_message";
    case Fault::message_too_large:
      return "message_too_large";
    case Fault::reset_flood:
      return "reset_flood";
    case Fault::frame_flood:
      return "frame_flood";
    case Fault::continuation_flood:
      return "continuation_flood";
    case Fault::settings_size:
      return "settings_size";
    case Fault::stream_flood:
      return "stream_flood";
    case Fault::interim_flood:
      return "interim_flood";
    case Fault::header_timeout:
      return "header_timeout";
    case Fault::handshake_timeout:
      return "handshake_timeout";
    case Fault::body_timeout:
      return "body_timeout";
    case Fault::window_timeout:
      return "window_timeout";
    case Fault::stuck_upload:
      return "stuck_upload";
    case Fault::not_reading:
      return "not_reading";
    case Fault::ping_timeout:
      return "ping_timeout";
    case Fault::tls_failed:
      return "tls_failed";
    case Fault::no_memory:
      return "no_memory";
    case Fault::evicted:
      return "evicted";
    case Fault::address_share:
      return "address_share";
    case Fault::proxy_header:
      return "proxy_header";
    case Fault::proxy_untrusted:
      return "proxy_untrusted";
  }
  return "unknown";
}

}  // namespace plait
