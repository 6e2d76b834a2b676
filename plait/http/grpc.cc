#include "plait/http/grpc.h"

#include <array>

#include "plait/http/field_rules.h"

namespace plait::http {
namespace {

constexpr std::array<const char*, grpc_status_count> names = {"OK",
                                                              "CANCELLED",
                                                              "UNKNOWN",
                                                              "INVALID_ARGUMENT",
                                                              "DEADLINE_EXCEEDED",
                                                              "NOT_FOUND",
                                                              "ALREADY_EXISTS",
                                                              "PERMISSION_DENIED",
                                                              "RESOURCE_EXHAUSTED",
                                                              "FAILED_PRECONDITION",
                                                              "ABORTED",
                                                              "OUT_OF_RANGE",
                                                              "UNIMPLEMENTED",
                                                              "INTERNAL",
                                                              "UNAVAILABLE",
                                                              "DATA_LOSS",
                                                              "UNAUTHENTICATED",
                                                              "OTHER"};

constexpr uint8_t unknown = 2;
constexpr uint8_t deadline_exceeded = 4;
constexpr uint8_t permission_denied = 7;
constexpr uint8_t resource_exhausted = 8;
constexpr uint8_t unimplemented = 12;
constexpr uint8_t internal = 13;
constexpr uint8_t unavailable = 14;
constexpr uint8_t unauthenticated = 16;

constexpr std::string_view grpc_type = "application/grpc";

}  // namespace

uint8_t grpcStatusOf(uint16_t http_status) {
  switch (http_status) {
    case 400:
    case 508:
      return internal;
    case 401:
      return unauthenticated;
    case 403:
      return permission_denied;
    case 404:
    case 501:
      return unimplemented;
    case 413:
    case 414:
    case 429:
    case 431:
      return resource_exhausted;
    case 408:
    case 504:
      return deadline_exceeded;
    case 421:
    case 502:
    case 503:
      return unavailable;
    default:
      return unknown;
  }
}

uint8_t parseGrpcStatus(std::string_view value) {
  if (value.empty() || value.size() > 2) return grpc_status_other;
  unsigned number = 0;
  for (const char c : value) {
    if (!isOfClass(c, class_digit)) return grpc_status_other;
    number = number * 10 + static_cast<unsigned>(c - '0');
  }
  return number < grpc_status_other ? static_cast<uint8_t>(number) : grpc_status_other;
}

const char* grpcStatusName(uint8_t status) {
  return names[status < grpc_status_other ? status : grpc_status_other];
}

bool isGrpc(std::string_view content_type) {
  if (content_type.size() < grpc_type.size() || !equalsIgnoreCase(content_type.substr(0, grpc_type.size()), grpc_type))
    return false;
  if (content_type.size() == grpc_type.size()) return true;
  const char next = content_type[grpc_type.size()];
  return next == '+' || next == ';' || next == '-' || next == ' ' || next == '\t';
}

std::string_view grpcContentType(std::string_view content_type) {
  const std::string_view type = trimWhitespace(content_type.substr(0, content_type.find(';')));
  return type.size() > grpc_type.size() && type[grpc_type.size()] == '-' ? type : grpc_type;
}

std::string_view grpcMessage(std::string_view text, MutableBytes buffer) {
  static constexpr char digits[] = "0123456789ABCDEF";
  if (text.ends_with('\n')) text.remove_suffix(1);
  size_t size = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    const bool is_plain = byte >= 0x20 && byte < 0x7f && c != '%';
    if (size + (is_plain ? 1 : 3) > buffer.size()) break;
    if (is_plain) {
      buffer[size++] = byte;
    } else {
      buffer[size++] = '%';
      buffer[size++] = static_cast<uint8_t>(digits[byte >> 4]);
      buffer[size++] = static_cast<uint8_t>(digits[byte & 15]);
    }
  }
  return asText(buffer.first(size));
}

}  // namespace plait::http
