#include "plait/proxy/proxy_status.h"

#include <cerrno>

namespace plait {

std::string_view proxyErrorOf(const Error& error) {
  if (error.isOwnShortage()) return "proxy_internal_error";
  switch (error.code) {
    case ErrorCode::deadline_exceeded:
      return "http_response_timeout";
    case ErrorCode::malformed_message:
    case ErrorCode::protocol_error:
    case ErrorCode::http_1_1_required:
      return "http_protocol_error";
    case ErrorCode::message_too_large:
      return "http_response_header_section_size";
    case ErrorCode::body_aborted:
    case ErrorCode::stream_reset:
      return "http_response_incomplete";
    case ErrorCode::connection_lost:
    case ErrorCode::connection_stale:
      return "connection_terminated";
    case ErrorCode::stalled:
    case ErrorCode::idle_timeout:
      return "connection_read_timeout";
    case ErrorCode::connect_timeout:
      return "connection_timeout";
    case ErrorCode::resolve_failed:
      return "dns_error";
    case ErrorCode::tls_failed:
      return error.detail != 0 ? "tls_certificate_error" : "tls_protocol_error";
    case ErrorCode::connect_failed:
      switch (error.detail) {
        case ECONNREFUSED:
          return "connection_refused";
        case ENETUNREACH:
        case EHOSTUNREACH:
          return "destination_ip_unroutable";
        default:
          return "destination_unavailable";
      }
    case ErrorCode::refused_stream:
    case ErrorCode::goaway_unprocessed:
    case ErrorCode::never_sent:
    case ErrorCode::ejected:
      return "destination_unavailable";
    case ErrorCode::pool_exhausted:
      return "connection_limit_reached";
    case ErrorCode::bad_target:
    case ErrorCode::misdirected:
      return "http_request_error";
    case ErrorCode::no_route:
      return "destination_not_found";
    case ErrorCode::not_served:
    case ErrorCode::access_denied:
    case ErrorCode::body_too_large:
      return "http_request_denied";
    case ErrorCode::forwarding_loop:
      return "proxy_loop_detected";
    case ErrorCode::fields_too_large:
      return "proxy_configuration_error";
    case ErrorCode::none:
      return "proxy_internal_response";
    case ErrorCode::cancelled:
    case ErrorCode::shutting_down:
    case ErrorCode::no_memory:
    case ErrorCode::listen_failed:
    case ErrorCode::no_descriptor:
    case ErrorCode::no_local_port:
    case ErrorCode::invalid_argument:
      break;
  }
  return "proxy_internal_error";
}

}  // namespace plait
