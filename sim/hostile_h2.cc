// HTTP/2: frames that are wrong by themselves or where they come, header blocks that cannot be decoded, and messages
// that are malformed. A case of a table is drawn by its weight.
#include <iterator>
#include <span>

#include "sim/hostile.h"
#include "sim/hostile_text.h"

namespace plait::sim {
namespace {

enum : uint8_t {
  data,
  headers,
  priority,
  rst_stream,
  settings,
  push_promise,
  ping,
  goaway,
  window_update,
  continuation
};
enum : uint8_t { end_stream = 1, ack = 1, end_headers = 4, padded = 8, has_priority = 32 };
constexpr uint32_t idle_id = 0x7fff'fff1;

std::string be32(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

std::string frame(uint8_t type, uint8_t flags, uint32_t id, std::string_view payload) {
  const auto size = static_cast<uint32_t>(payload.size());
  std::string made = be32(size).substr(1);
  made += static_cast<char>(type);
  made += static_cast<char>(flags);
  made += be32(id);
  made += payload;
  return made;
}

std::string setting(uint16_t id, uint32_t value) {
  return be32(id).substr(2) + be32(value);
}

// A string of HPACK, not compressed (RFC 7541 §5.2).
std::string text(std::string_view bytes) {
  std::string made;
  if (bytes.size() < 127) {
    made += static_cast<char>(bytes.size());
  } else {
    made += 127;
    size_t rest = bytes.size() - 127;
    for (; rest >= 128; rest >>= 7) made += static_cast<char>(rest % 128 + 128);
    made += static_cast<char>(rest);
  }
  made += bytes;
  return made;
}

std::string field(std::string_view name, std::string_view value) {
  return hpackField(name, value);
}

std::string request(std::string_view path, std::string_view method = "GET") {
  return field(":method", method) + field(":scheme", "http") + field(":path", path) +
         field(":authority", "hostile.test");
}

// Sound as far as its fields go, and for a path that must not leave the proxy.
std::string soundRequest() {
  return request(malformed_path);
}

std::string status200() {
  return field(":status", "200");
}

std::string block(uint32_t id, std::string_view bytes) {
  return frame(headers, end_headers | end_stream, id, bytes);
}

// Where a case is said.
struct Scene {
  Simulation& sim;
  const H2Place& place;
  uint32_t id;  // the stream that frames of either side name
};

enum class Needs : uint8_t { nothing, open_stream, closed_stream };

struct Traits {
  Needs needs = Needs::nothing;
  uint32_t new_streams = 0;
  bool is_last = false;
  uint32_t weight = 1;
};

struct Case {
  const char* name;
  std::string (*make)(const Scene& scene);
  Traits traits{};
};

// A head that must not be believed; with END_STREAM unless the flags say otherwise.
struct Head {
  const char* name;
  std::string (*make)();
  uint8_t flags = end_headers | end_stream;
};

// The n-th request of many that are said at once.
std::string get(const Scene& s, uint32_t n) {
  return frame(headers, end_headers | end_stream, s.place.next_id + 2 * n, request(hostile_path));
}

// RFC 9113 §8.1.1 and §8.3.1.
constexpr Head malformed_requests[] = {
    {"no :method", [] { return field(":scheme", "http") + field(":path", malformed_path) + field(":authority", "a"); }},
    {"no :scheme", [] { return field(":method", "GET") + field(":path", malformed_path) + field(":authority", "a"); }},
    {"no :path", [] { return field(":method", "GET") + field(":scheme", "http") + field(":authority", "a"); }},
    {"an empty :path",
     [] { return field(":method", "GET") + field(":scheme", "http") + field(":path", "") + field(":authority", "a"); }},
    {"a name in upper case", [] { return soundRequest() + field("X-Upper", "a"); }},
    {"connection", [] { return soundRequest() + field("connection", "close"); }},
    {"te: gzip", [] { return soundRequest() + field("te", "gzip"); }},
    {"a pseudo-header field behind a field", [] { return field("x-first", "a") + soundRequest(); }},
    {"two :paths", [] { return soundRequest() + field(":path", malformed_path); }},
    {"an unknown pseudo-header field", [] { return soundRequest() + field(":unknown", "a"); }},
    {":status in a request", [] { return soundRequest() + field(":status", "200"); }},
    {"NUL in a value", [] { return soundRequest() + field("x-a", std::string_view("a\0b", 3)); }},
    {"CR and LF in a value", [] { return soundRequest() + field("x-a", "a\r\nx-b: c"); }},
    {"a blank before a value", [] { return soundRequest() + field("x-a", " a"); }},
    {"a length and no body", [] { return soundRequest() + field("content-length", "5"); }},
    {"two lengths", [] { return soundRequest() + field("content-length", "5") + field("content-length", "6"); },
     end_headers},
    {"transfer-encoding", [] { return soundRequest() + field("transfer-encoding", "chunked"); }},
    {"a blank in :path", [] { return request("/malformed a"); }},
    {"a host that is another", [] { return soundRequest() + field("host", "another.test"); }},
    {"CONNECT with :path and :scheme", [] { return request(malformed_path, "CONNECT"); }},
    {"a field without a name", [] { return soundRequest() + field("", "a"); }},
    {"a blank in a name", [] { return soundRequest() + field("x a", "a"); }},
    {"a blank in :method",
     [] {
       return field(":method", "G T") + field(":scheme", "http") + field(":path", malformed_path) +
              field(":authority", "a");
     }},
    {"a blank in :authority",
     [] {
       return field(":method", "GET") + field(":scheme", "http") + field(":path", malformed_path) +
              field(":authority", "a b");
     }},
    {"a :protocol with GET", [] { return soundRequest() + field(":protocol", "websocket"); }},
    {"a length of -1", [] { return soundRequest() + field("content-length", "-1"); }, end_headers},
    {"a :protocol with a blank",
     [] {
       return field(":method", "CONNECT") + field(":scheme", "http") + field(":path", malformed_path) +
              field(":protocol", "a b") + field(":authority", "a");
     }},
    {"CONNECT without :authority", [] { return field(":method", "CONNECT"); }},
    {"no :authority and no host",
     [] { return field(":method", "GET") + field(":scheme", "http") + field(":path", malformed_path); }},
    {"an extended CONNECT without :authority",
     [] {
       return field(":method", "CONNECT") + field(":scheme", "http") + field(":path", malformed_path) +
              field(":protocol", "websocket");
     }},
    {"120 fields", [] { return soundRequest() + times(120, field("x-many", "a")); }},
};

// And what may not come instead of a response's head.
constexpr Head malformed_responses[] = {
    {"no :status", [] { return field("x-a", "b"); }},
    {"a status of two digits", [] { return field(":status", "20"); }},
    {"a status that is no number", [] { return field(":status", "abc"); }},
    {"101", [] { return field(":status", "101"); }},
    {"an interim response that is the end", [] { return field(":status", "103"); }},
    {"a name in upper case", [] { return status200() + field("X-Upper", "a"); }},
    {"connection", [] { return status200() + field("connection", "close"); }},
    {":path in a response", [] { return status200() + field(":path", "/"); }},
    {"two :statuses", [] { return status200() + status200(); }},
    {"a field before :status", [] { return field("x-a", "b") + status200(); }},
    {"LF in a value", [] { return status200() + field("x-a", "a\nb"); }},
    {"two lengths", [] { return status200() + field("content-length", "5") + field("content-length", "6"); },
     end_headers},
    {"transfer-encoding", [] { return status200() + field("transfer-encoding", "chunked"); }},
    {"a field without a name", [] { return status200() + field("", "a"); }},
    {"120 fields", [] { return status200() + times(120, field("x-many", "a")); }},
    {"nothing", [] { return std::string(); }},
};

// Wrong by themselves, from a client as from a backend.
constexpr Case wrong_frames[] = {
    {"DATA on stream 0", [](const Scene&) { return frame(data, 0, 0, "x"); }},
    {"HEADERS on stream 0", [](const Scene&) { return frame(headers, end_headers, 0, ""); }},
    {"PRIORITY on stream 0", [](const Scene&) { return frame(priority, 0, 0, "12345"); }},
    {"RST_STREAM on stream 0", [](const Scene&) { return frame(rst_stream, 0, 0, be32(8)); }},
    {"RST_STREAM on an idle stream", [](const Scene&) { return frame(rst_stream, 0, idle_id, be32(8)); }},
    {"RST_STREAM of three bytes", [](const Scene& s) { return frame(rst_stream, 0, s.id, "123"); }},
    {"SETTINGS on a stream", [](const Scene&) { return frame(settings, 0, 1, ""); }},
    {"SETTINGS of five bytes", [](const Scene&) { return frame(settings, 0, 0, "12345"); }},
    {"SETTINGS that acknowledges and sets", [](const Scene&) { return frame(settings, ack, 0, setting(4, 100)); }},
    {"SETTINGS with many entries", [](const Scene&) { return frame(settings, 0, 0, times(200, setting(0x77, 1))); }},
    {"SETTINGS_ENABLE_PUSH 2", [](const Scene&) { return frame(settings, 0, 0, setting(2, 2)); }},
    {"SETTINGS_INITIAL_WINDOW_SIZE 2^31", [](const Scene&) { return frame(settings, 0, 0, setting(4, 0x8000'0000)); }},
    {"SETTINGS_MAX_FRAME_SIZE 100", [](const Scene&) { return frame(settings, 0, 0, setting(5, 100)); }},
    {"SETTINGS_MAX_FRAME_SIZE 2^24", [](const Scene&) { return frame(settings, 0, 0, setting(5, 1 << 24)); }},
    {"PUSH_PROMISE",
     [](const Scene& s) {
       return frame(push_promise, end_headers, s.id == 0 ? 1 : s.id, be32(2) + request(malformed_path));
     }},
    {"PING on a stream", [](const Scene&) { return frame(ping, 0, 1, "12345678"); }},
    {"PING of seven bytes", [](const Scene&) { return frame(ping, 0, 0, "1234567"); }},
    {"GOAWAY on a stream", [](const Scene&) { return frame(goaway, 0, 1, be32(0) + be32(0)); }},
    {"GOAWAY of four bytes", [](const Scene&) { return frame(goaway, 0, 0, be32(0)); }},
    {"WINDOW_UPDATE of three bytes", [](const Scene&) { return frame(window_update, 0, 0, "123"); }},
    {"WINDOW_UPDATE on an idle stream", [](const Scene&) { return frame(window_update, 0, idle_id, be32(1)); }},
    {"WINDOW_UPDATE of nothing", [](const Scene&) { return frame(window_update, 0, 0, be32(0)); }},
    {"WINDOW_UPDATE of nothing on a stream", [](const Scene& s) { return frame(window_update, 0, s.id, be32(0)); }},
    {"a connection's window of more than 2^31 - 1",
     [](const Scene&) { return times(2, frame(window_update, 0, 0, be32(0x7fff'ffff))); }},
    {"a stream's window of more than 2^31 - 1",
     [](const Scene& s) { return times(2, frame(window_update, 0, s.id, be32(0x7fff'ffff))); }},
    {"CONTINUATION of nothing", [](const Scene& s) { return frame(continuation, end_headers, s.id, ""); }},
    {"a frame that is too long", [](const Scene&) { return frame(ping, 0, 0, std::string(16'385, 'x')); }},
    {"DATA that is too long", [](const Scene& s) { return frame(data, 0, s.id, std::string(16'385, 'x')); }},
    {"DATA on an idle stream", [](const Scene&) { return frame(data, 0, idle_id, "x"); }},
    {"padded DATA without a length", [](const Scene& s) { return frame(data, padded, s.id, ""); }},
    {"DATA with more padding than there is", [](const Scene& s) { return frame(data, padded, s.id, "\x05xx"); }},
    {"many PINGs", [](const Scene&) { return times(12'000, frame(ping, 0, 0, "12345678")); }},
    {"much SETTINGS", [](const Scene&) { return times(6000, frame(settings, 0, 0, setting(3, 100))); }},
    {"many frames nobody knows", [](const Scene& s) { return times(12'000, frame(0x77, 0, s.id, "x")); }},
    {"many PRIORITYs", [](const Scene&) { return times(12'000, frame(priority, 0, 1, be32(3) + "x")); }},
    {"many WINDOW_UPDATEs", [](const Scene&) { return times(12'000, frame(window_update, 0, 0, be32(1))); }},
    {"a frame nobody knows", [](const Scene& s) { return frame(0x77, 0xff, s.id, "what is this"); }},
    {"a setting nobody knows", [](const Scene&) { return frame(settings, 0, 0, setting(0x77, 7)); }},
    {"PRIORITY of a stream on itself", [](const Scene&) { return frame(priority, 0, 1, be32(1) + "x"); }},
    {"PRIORITY of four bytes", [](const Scene&) { return frame(priority, 0, 1, be32(0)); }},
    {"PRIORITY of four bytes on an idle stream", [](const Scene&) { return frame(priority, 0, idle_id, be32(0)); }},
    {"a PING that answers none", [](const Scene&) { return frame(ping, ack, 0, "12345678"); }},
    {"SETTINGS that answers none", [](const Scene&) { return frame(settings, ack, 0, ""); }},
    {"GOAWAY behind GOAWAY",
     [](const Scene& s) {
       // A backend that takes back what it has done is not hostile but a liar, and nobody can tell.
       if (!s.place.is_client) return times(2, frame(goaway, 0, 0, be32(0x7fff'ffff) + be32(0)));
       return frame(goaway, 0, 0, be32(1) + be32(0)) + frame(goaway, 0, 0, be32(99) + be32(0));
     }},
    {"half a frame",
     [](const Scene& s) { return frame(ping, 0, 0, "12345678").substr(0, s.sim.between(1, 16)); },
     {.is_last = true}},
    {"SETTINGS_ENABLE_CONNECT_PROTOCOL 2", [](const Scene&) { return frame(settings, 0, 0, setting(8, 2)); }},
    {"SETTINGS_MAX_HEADER_LIST_SIZE",
     [](const Scene&) { return frame(settings, 0, 0, setting(6, 1 << 20) + setting(8, 1)); }},
    {"a window that the setting makes too large",
     [](const Scene& s) {
       return frame(window_update, 0, s.id, be32(0x7000'0000)) + frame(settings, 0, 0, setting(4, 0x7fff'ffff));
     }},
    {"padded HEADERS without a length", [](const Scene& s) { return frame(headers, end_headers | padded, s.id, ""); }},
    {"DATA that is all padding", [](const Scene& s) { return frame(data, padded, s.id, std::string("\x04pppp")); }},
    {"a table that is smaller for a while",
     [](const Scene&) { return frame(settings, 0, 0, setting(1, 0)) + frame(settings, 0, 0, setting(1, 4096)); }},
    {"RST_STREAM and DATA behind it",
     [](const Scene& s) { return frame(rst_stream, 0, s.id, be32(8)) + frame(data, 0, s.id, "x"); }},
    {"20 MiB of DATA behind RST_STREAM",
     [](const Scene& s) {
       // Nothing is taken of it, so that the window is used up at last.
       std::string all;
       for (uint32_t i = 0; i < 1200; ++i) all += frame(data, 0, s.id, std::string(16'384, 'x'));
       return frame(rst_stream, 0, s.id, be32(8)) + all;
     }},
    {"noise", [](const Scene& s) { return noise(s.sim, 9); }},
};

// Header blocks that cannot be decoded, or are not let come to their end.
constexpr Case wrong_blocks[] = {
    {"a field of index 0", [](const Scene& s) { return block(s.id, "\x80"); }},
    {"a field of an index that is not there", [](const Scene& s) { return block(s.id, "\xff\xff\x7f"); }},
    {"an index of more than 32 bits", [](const Scene& s) { return block(s.id, "\xff\xff\xff\xff\xff\xff\x7f"); }},
    {"a string that is cut off", [](const Scene& s) { return block(s.id, std::string_view("\0\x05x", 3)); }},
    {"Huffman code with EOS",
     [](const Scene& s) {
       return block(s.id, std::string_view("\0\x84\xff\xff\xff\xff\x01"
                                           "a",
                                           8));
     }},
    {"a header table that is too large", [](const Scene& s) { return block(s.id, "\x3f\xff\xff\x7f"); }},
    {"a change of the header table between fields",
     [](const Scene& s) { return block(s.id, soundRequest() + "\x20"); }},
    {"an integer that is cut off", [](const Scene& s) { return block(s.id, "\xff\x80"); }},
    {"a header block that another frame interrupts",
     [](const Scene& s) { return frame(headers, 0, s.id, soundRequest()) + frame(ping, 0, 0, "12345678"); }},
    {"a header block that another stream's interrupts",
     [](const Scene& s) {
       return frame(headers, 0, s.id, soundRequest()) + frame(continuation, end_headers, s.id + 2, "");
     }},
    {"many CONTINUATIONs of nothing",
     [](const Scene& s) {
       return frame(headers, 0, s.id, soundRequest()) + times(100, frame(continuation, 0, s.id, ""));
     }},
    {"CONTINUATIONs without end",
     [](const Scene& s) {
       return frame(headers, 0, s.id, soundRequest()) +
              times(8, frame(continuation, 0, s.id, std::string(16'384, '\x82')));
     }},
    {"a header block that never ends",
     [](const Scene& s) { return frame(headers, 0, s.id, soundRequest()); },
     {.is_last = true}},
    {"HEADERS with more padding than there is",
     [](const Scene& s) { return frame(headers, end_headers | padded, s.id, "\x40x"); }},
    {"HEADERS too short for its priority",
     [](const Scene& s) { return frame(headers, end_headers | has_priority, s.id, "123"); }},
    {"HEADERS that depends on itself",
     [](const Scene& s) {
       return frame(headers, end_headers | end_stream | has_priority, s.id, be32(s.id) + "x" + soundRequest());
     }},
    {"fields of 40 KiB",
     [](const Scene& s) {
       return frame(headers, end_stream, s.id, soundRequest()) +
              frame(continuation, 0, s.id, field("x-a", std::string(16'000, 'a'))) +
              frame(continuation, 0, s.id, field("x-b", std::string(16'000, 'b'))) +
              frame(continuation, end_headers, s.id, field("x-c", std::string(8'000, 'c')));
     }},
    {"an HPACK bomb",
     [](const Scene& s) {
       // Small on the wire, large when it is decoded.
       const std::string bomb = '\x40' + text("x-bomb") + text(std::string(4000, 'a')) + times(200, "\xbe");
       return block(s.id, soundRequest() + bomb);
     },
     // It has filled the header table with what the rest of the conversation knows nothing of.
     {.is_last = true}},
    {"an empty header block", [](const Scene& s) { return block(s.id, ""); }},
};

constexpr Case client_frames[] = {
    {"HEADERS on an even stream",
     [](const Scene&) { return frame(headers, end_headers | end_stream, 2, request(malformed_path)); }},
    {"1300 requests that are reset at once",
     [](const Scene& s) {
       std::string all;
       for (uint32_t i = 0; i < 1300; ++i) all += get(s, i) + frame(rst_stream, 0, s.place.next_id + 2 * i, be32(8));
       return all;
     },
     {.new_streams = 1300}},
    {"1300 requests that must be reset",
     [](const Scene& s) {
       std::string all;
       for (uint32_t i = 0; i < 1300; ++i) all += get(s, i) + frame(window_update, 0, s.place.next_id + 2 * i, be32(0));
       return all;
     },
     {.new_streams = 1300}},
    {"1300 requests at once that never end",
     [](const Scene& s) {
       std::string all;
       for (uint32_t i = 0; i < 1300; ++i)
         all += frame(headers, end_headers, s.place.next_id + 2 * i, request(hostile_path, "POST"));
       return all;
     },
     {.new_streams = 1300}},
    {"trailers with a pseudo-header field",
     [](const Scene& s) { return frame(headers, end_headers | end_stream, s.place.open_id, field(":path", "/")); },
     {.needs = Needs::open_stream}},
    {"trailers that are not the end",
     [](const Scene& s) { return frame(headers, end_headers, s.place.open_id, field("x-a", "b")); },
     {.needs = Needs::open_stream}},
    {"empty DATA without end",
     [](const Scene& s) { return times(12'000, frame(data, 0, s.place.open_id, "")); },
     {.needs = Needs::open_stream}},
    {"HEADERS on a closed stream",
     [](const Scene& s) { return frame(headers, end_headers | end_stream, s.place.closed_id, request(hostile_path)); },
     {.needs = Needs::closed_stream}},
    {"DATA on a closed stream",
     [](const Scene& s) { return frame(data, 0, s.place.closed_id, "x"); },
     {.needs = Needs::closed_stream}},
    {"a request that expects 100",
     [](const Scene& s) {
       return frame(headers, end_headers, s.place.next_id,
                    request(hostile_path, "POST") + field("expect", "100-continue")) +
              frame(data, end_stream, s.place.next_id, "");
     },
     {.new_streams = 1}},
    {"a request in two, padded and with priority",
     [](const Scene& s) {
       return frame(headers, end_stream | padded | has_priority, s.place.next_id,
                    "\x04" + be32(0) + "x" + request(hostile_path).substr(0, 10) + "pppp") +
              frame(continuation, end_headers, s.place.next_id, request(hostile_path).substr(10));
     },
     {.new_streams = 1}},
    {"a request whose client reads nothing",
     [](const Scene& s) { return frame(settings, 0, 0, setting(4, 0)) + get(s, 0); },
     {.new_streams = 1, .is_last = true}},
    {"a body that is longer than it says",
     [](const Scene& s) {
       return frame(headers, end_headers, s.place.next_id,
                    request(hostile_path, "POST") + field("content-length", "1")) +
              frame(data, end_stream, s.place.next_id, "xy");
     },
     {.new_streams = 1}},
    {"more DATA than the window allows",
     [](const Scene& s) {
       return frame(headers, end_headers, s.place.next_id, request(hostile_path, "POST")) +
              times(5, frame(data, 0, s.place.next_id, std::string(16'384, 'x')));
     },
     {.new_streams = 1}},
    {"CONNECT",
     [](const Scene& s) {
       return frame(headers, end_headers, s.place.next_id,
                    field(":method", "CONNECT") + field(":authority", "hostile.test:443"));
     },
     {.new_streams = 1}},
    {"a body with padding",
     [](const Scene& s) {
       return frame(headers, end_headers, s.place.next_id, request(hostile_path, "POST")) +
              frame(data, padded, s.place.next_id, "\x03xyppp") +
              frame(data, padded | end_stream, s.place.next_id, std::string_view("\0x", 2));
     },
     {.new_streams = 1}},
    {"a header block that never ends",
     [](const Scene& s) { return frame(headers, end_stream, s.place.next_id, request(hostile_path)); },
     {.new_streams = 1, .is_last = true, .weight = 2}},
};

constexpr Case backend_frames[] = {
    {"a response to nothing",
     [](const Scene&) { return frame(headers, end_headers | end_stream, idle_id, status200()); }},
    {"HEADERS on a stream of its own",
     [](const Scene&) { return frame(headers, end_headers | end_stream, 2, status200()); }},
    {"SETTINGS_ENABLE_PUSH from a server", [](const Scene&) { return frame(settings, 0, 0, setting(2, 1)); }},
    {"DATA on a closed stream",
     [](const Scene& s) { return frame(data, 0, s.place.closed_id, "x"); },
     {.needs = Needs::closed_stream}},
    {"HEADERS on a closed stream",
     [](const Scene& s) { return frame(headers, end_headers | end_stream, s.place.closed_id, status200()); },
     {.needs = Needs::closed_stream}},
    {"DATA before the response",
     [](const Scene& s) { return frame(data, end_stream, s.place.open_id, "x"); },
     {.needs = Needs::open_stream}},
    {"interim responses without end",
     [](const Scene& s) { return times(300, frame(headers, end_headers, s.place.open_id, field(":status", "102"))); },
     {.needs = Needs::open_stream}},
    {"a response of 5 bytes without one",
     [](const Scene& s) {
       return frame(headers, end_headers | end_stream, s.place.open_id, status200() + field("content-length", "5"));
     },
     {.needs = Needs::open_stream}},
    {"RST_STREAM, twice",
     [](const Scene& s) { return times(2, frame(rst_stream, 0, s.place.open_id, be32(2))); },
     {.needs = Needs::open_stream}},
    {"a stream's window that grows too large",
     [](const Scene& s) {
       return frame(settings, 0, 0, setting(4, 0x7fff'ffff)) +
              frame(window_update, 0, s.place.open_id == 0 ? 1 : s.place.open_id, be32(0x7fff'ffff));
     }},
    {"a body that is not as long as it says",
     [](const Scene& s) {
       // Too short, or too long by a byte where that fits into a frame.
       const bool is_long = s.place.honest_bytes < 16'000 && (s.place.honest_bytes == 0 || s.sim.oneIn(2));
       const std::string body(is_long ? s.place.honest_bytes + 1 : 0, 'x');
       return frame(headers, end_headers, s.place.open_id,
                    s.place.honest_head + field("content-length", std::to_string(s.place.honest_bytes))) +
              frame(data, end_stream, s.place.open_id, body);
     },
     {.needs = Needs::open_stream, .weight = 2}},
    {"a second response",
     [](const Scene& s) { return times(2, frame(headers, end_headers, s.place.open_id, s.place.honest_head)); },
     {.needs = Needs::open_stream}},
    {"trailers with a pseudo-header field",
     [](const Scene& s) {
       return frame(headers, end_headers, s.place.open_id, s.place.honest_head) +
              frame(headers, end_headers | end_stream, s.place.open_id, status200());
     },
     {.needs = Needs::open_stream}},
    {"more DATA than the window allows",
     [](const Scene& s) {
       return frame(headers, end_headers, s.place.open_id, s.place.honest_head) +
              frame(data, padded, s.place.open_id, "\x02pp") +
              times(200, frame(data, padded, s.place.open_id, "\xff" + std::string(255, 'p')));
     },
     {.needs = Needs::open_stream, .is_last = true}},
};
// A malformed response is said that often beside those.
constexpr uint32_t malformed_weight = 3;

Hostility make(const Case& drawn, const Scene& scene) {
  return {drawn.name, drawn.make(scene), drawn.traits.is_last};
}

Hostility anyOf(std::span<const Case> cases, const Scene& scene) {
  return make(cases[scene.sim.below(static_cast<uint32_t>(cases.size()))], scene);
}

Hostility anyOf(std::span<const Head> heads, const Scene& scene) {
  const Head& drawn = heads[scene.sim.below(static_cast<uint32_t>(heads.size()))];
  return {drawn.name, frame(headers, drawn.flags, scene.id, drawn.make())};
}

// Null where something else was drawn, or a case that needs a stream which is not there.
const Case* drawOf(std::span<const Case> cases, uint32_t others, const Scene& scene) {
  uint32_t sum = others;
  for (const Case& one : cases) sum += one.traits.weight;
  uint32_t at = scene.sim.below(sum);
  for (const Case& one : cases) {
    if (at >= one.traits.weight) {
      at -= one.traits.weight;
      continue;
    }
    const bool lacks = (one.traits.needs == Needs::open_stream && scene.place.open_id == 0) ||
                       (one.traits.needs == Needs::closed_stream && scene.place.closed_id == 0);
    return lacks ? nullptr : &one;
  }
  return nullptr;
}

Hostility clientFrames(H2Place& place, const Scene& scene) {
  if (const Case* drawn = drawOf(client_frames, 0, scene)) {
    place.new_streams = drawn->traits.new_streams;
    return make(*drawn, scene);
  }
  place.new_streams = 1;
  const Scene next{scene.sim, place, place.next_id};
  return scene.sim.oneIn(3) ? anyOf(wrong_blocks, next) : anyOf(malformed_requests, next);
}

Hostility backendFrames(const Scene& scene) {
  if (const Case* drawn = drawOf(backend_frames, malformed_weight, scene)) return make(*drawn, scene);
  if (scene.place.open_id == 0) return anyOf(wrong_frames, {scene.sim, scene.place, 1});
  const Scene open{scene.sim, scene.place, scene.place.open_id};
  return scene.sim.oneIn(3) ? anyOf(wrong_blocks, open) : anyOf(malformed_responses, open);
}

}  // namespace

std::string hpackField(std::string_view name, std::string_view value) {
  return std::string(1, '\0') + text(name) + text(value);
}

Hostility hostileFrames(Simulation& sim, H2Place& place) {
  const Scene scene{sim, place, place.open_id != 0 ? place.open_id : place.closed_id != 0 ? place.closed_id : 1};
  if (sim.oneIn(3)) return anyOf(wrong_frames, scene);
  return place.is_client ? clientFrames(place, scene) : backendFrames(scene);
}

}  // namespace plait::sim
