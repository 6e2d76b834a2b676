// The part of gRPC that a proxy has to know: its status codes, and how plait's own answers are said in them.
#pragma once

#include <cstdint>
#include <string_view>

#include "plait/base/bytes.h"

namespace plait::http {

// 0 to 16, those that gRPC defines, and one for any other.
inline constexpr uint8_t grpc_status_other = 17;
inline constexpr uint8_t grpc_status_count = 18;

// The code that stands for an HTTP status of plait's own. Clients repeat UNAVAILABLE, so only what another try may
// change is that.
uint8_t grpcStatusOf(uint16_t http_status);
// Of a grpc-status field; grpc_status_other where it is none of gRPC's.
uint8_t parseGrpcStatus(std::string_view value);
// "UNAVAILABLE"; "OTHER".
const char* grpcStatusName(uint8_t status);

// True for a request or response of gRPC, gRPC-Web among them, by its content-type.
bool isGrpc(std::string_view content_type);
// The content-type of a response without messages to a request of that content-type: without parameters, since
// gRPC-Web's own types are answered in kind.
std::string_view grpcContentType(std::string_view content_type);
// `text` as a grpc-message: percent-encoded, as far as `buffer` reaches. A last line break is left out.
std::string_view grpcMessage(std::string_view text, MutableBytes buffer);

}  // namespace plait::http
