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
    case ErrorCode::pool_exhausted:
      return "pool_exhausted";
    case ErrorCode::no_memory:
      return "no_memory";
    case ErrorCode::invalid_argument:
      return "invalid_argument";
  }
  return "unknown";
}

}  // namespace plait
