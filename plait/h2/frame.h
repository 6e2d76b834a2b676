// Frames of HTTP/2 (RFC 9113 §4, §6): numbers, flags, and the nine bytes in front of each.
#pragma once

#include <string_view>

#include "plait/base/bytes.h"

namespace plait::h2 {

inline constexpr std::string_view client_preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";  // RFC 9113 §3.4
inline constexpr size_t frame_header_size = 9;
inline constexpr uint32_t default_max_frame_size = 16'384;
inline constexpr uint32_t default_window = 65'535;
inline constexpr uint32_t max_stream_id = 0x7fffffff;

enum class FrameType : uint8_t {
  data = 0,
  headers = 1,
  priority = 2,
  rst_stream = 3,
  settings = 4,
  push_promise = 5,
  ping = 6,
  goaway = 7,
  window_update = 8,
  continuation = 9,
};

namespace flags {
inline constexpr uint8_t end_stream = 0x1;
inline constexpr uint8_t ack = 0x1;
inline constexpr uint8_t end_headers = 0x4;
inline constexpr uint8_t padded = 0x8;
inline constexpr uint8_t priority = 0x20;
}  // namespace flags

// RFC 9113 §7.
enum class H2Error : uint32_t {
  no_error = 0,
  protocol_error = 1,
  internal_error = 2,
  flow_control_error = 3,
  settings_timeout = 4,
  stream_closed = 5,
  frame_size_error = 6,
  refused_stream = 7,
  cancel = 8,
  compression_error = 9,
  connect_error = 10,
  enhance_your_calm = 11,
  inadequate_security = 12,
  http_1_1_required = 13,
};
// Those above and, as one more, every other.
inline constexpr uint32_t error_code_count = 15;
constexpr uint32_t errorIndex(H2Error code) {
  return static_cast<uint32_t>(code) < error_code_count - 1 ? static_cast<uint32_t>(code) : error_code_count - 1;
}
// The RFC's name for the code with that index.
constexpr const char* errorName(uint32_t index) {
  constexpr const char* names[error_code_count] = {"NO_ERROR",
                                                   "PROTOCOL_ERROR",
                                                   "INTERNAL_ERROR",
                                                   "FLOW_CONTROL_ERROR",
                                                   "SETTINGS_TIMEOUT",
                                                   "STREAM_CLOSED",
                                                   "FRAME_SIZE_ERROR",
                                                   "REFUSED_STREAM",
                                                   "CANCEL",
                                                   "COMPRESSION_ERROR",
                                                   "CONNECT_ERROR",
                                                   "ENHANCE_YOUR_CALM",
                                                   "INADEQUATE_SECURITY",
                                                   "HTTP_1_1_REQUIRED",
                                                   "UNKNOWN_ERROR"};
  return names[index];
}

struct FrameHeader {
  uint32_t length;
  FrameType type;
  uint8_t flags;
  uint32_t stream_id;

  bool has(uint8_t flag) const { return (flags & flag) != 0; }

  static FrameHeader parse(const uint8_t* p) {
    return {loadBe24(p), static_cast<FrameType>(p[3]), p[4], loadBe32(p + 5) & max_stream_id};
  }
  void write(uint8_t* p) const {
    storeBe24(p, length);
    p[3] = static_cast<uint8_t>(type);
    p[4] = flags;
    storeBe32(p + 5, stream_id);
  }
};

enum class SettingId : uint16_t {
  header_table_size = 1,
  enable_push = 2,
  max_concurrent_streams = 3,
  initial_window_size = 4,
  max_frame_size = 5,
  max_header_list_size = 6,
  enable_connect_protocol = 8,
};

// The settings of one side that the other looks at later, with the values that hold before they are announced (RFC 9113
// §6.5.2).
struct Settings {
  uint32_t max_concurrent_streams = UINT32_MAX;
  uint32_t initial_window_size = default_window;
  uint32_t max_frame_size = default_max_frame_size;
  bool enable_connect_protocol = false;
};

}  // namespace plait::h2
