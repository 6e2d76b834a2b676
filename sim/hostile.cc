#include "sim/hostile.h"

#include <iterator>

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

std::string times(uint32_t count, std::string_view piece) {
  std::string made;
  for (uint32_t i = 0; i < count; ++i) made += piece;
  return made;
}

// Heads of requests that are malformed (RFC 9113 §8.1.1).
std::string malformedRequest(Simulation& sim, bool& ends) {
  const std::string sound = request(malformed_path);
  const std::string_view path = malformed_path;
  ends = true;
  switch (sim.below(31)) {
    case 0:
      return field(":scheme", "http") + field(":path", path) + field(":authority", "a");
    case 1:
      return field(":method", "GET") + field(":path", path) + field(":authority", "a");
    case 2:
      return field(":method", "GET") + field(":scheme", "http") + field(":authority", "a");
    case 3:
      return field(":method", "GET") + field(":scheme", "http") + field(":path", "") + field(":authority", "a");
    case 4:
      return sound + field("X-Upper", "a");
    case 5:
      return sound + field("connection", "close");
    case 6:
      return sound + field("te", "gzip");
    case 7:
      return field("x-first", "a") + sound;
    case 8:
      return sound + field(":path", path);
    case 9:
      return sound + field(":unknown", "a");
    case 10:
      return sound + field(":status", "200");
    case 11:
      return sound + field("x-a", std::string_view("a\0b", 3));
    case 12:
      return sound + field("x-a", "a\r\nx-b: c");
    case 13:
      return sound + field("x-a", " a");
    case 14:
      return sound + field("content-length", "5");
    case 15:
      ends = false;
      return sound + field("content-length", "5") + field("content-length", "6");
    case 16:
      return sound + field("transfer-encoding", "chunked");
    case 17:
      return request("/malformed a");
    case 18:
      return sound + field("host", "another.test");
    case 19:
      return request(path, "CONNECT");
    case 20:
      return sound + field("", "a");
    case 21:
      return sound + field("x a", "a");
    case 22:
      return field(":method", "G T") + field(":scheme", "http") + field(":path", path) + field(":authority", "a");
    case 23:
      return field(":method", "GET") + field(":scheme", "http") + field(":path", path) + field(":authority", "a b");
    case 24:
      return sound + field(":protocol", "websocket");
    case 26:
      return field(":method", "CONNECT") + field(":scheme", "http") + field(":path", path) + field(":protocol", "a b") +
             field(":authority", "a");
    case 27:
      return field(":method", "CONNECT");
    case 28:
      return field(":method", "GET") + field(":scheme", "http") + field(":path", path);
    case 29:
      return field(":method", "CONNECT") + field(":scheme", "http") + field(":path", path) +
             field(":protocol", "websocket");
    case 25:
      ends = false;
      return sound + field("content-length", "-1");
    default:
      return sound + times(120, field("x-many", "a"));
  }
}

// Heads of responses that are malformed, and what may not come instead of one.
std::string malformedResponse(Simulation& sim, uint8_t& flags) {
  const std::string sound = field(":status", "200");
  flags = end_headers | end_stream;
  switch (sim.below(16)) {
    case 0:
      return field("x-a", "b");
    case 1:
      return field(":status", "20");
    case 2:
      return field(":status", "abc");
    case 3:
      return field(":status", "101");
    case 4:
      return field(":status", "103");  // with END_STREAM
    case 5:
      return sound + field("X-Upper", "a");
    case 6:
      return sound + field("connection", "close");
    case 7:
      return sound + field(":path", "/");
    case 8:
      return sound + sound;
    case 9:
      return field("x-a", "b") + sound;
    case 10:
      return sound + field("x-a", "a\nb");
    case 11:
      flags = end_headers;
      return sound + field("content-length", "5") + field("content-length", "6");
    case 12:
      return sound + field("transfer-encoding", "chunked");
    case 13:
      return sound + field("", "a");
    case 14:
      return sound + times(120, field("x-many", "a"));
    default:
      return {};
  }
}

// Wrong by itself, whoever says it.
Hostility wrongFrame(Simulation& sim, const H2Place& place, uint32_t id) {
  switch (sim.below(54)) {
    case 0:
      return {"DATA on stream 0", frame(data, 0, 0, "x")};
    case 1:
      return {"HEADERS on stream 0", frame(headers, end_headers, 0, "")};
    case 2:
      return {"PRIORITY on stream 0", frame(priority, 0, 0, "12345")};
    case 3:
      return {"RST_STREAM on stream 0", frame(rst_stream, 0, 0, be32(8))};
    case 4:
      return {"RST_STREAM on an idle stream", frame(rst_stream, 0, idle_id, be32(8))};
    case 5:
      return {"RST_STREAM of three bytes", frame(rst_stream, 0, id, "123")};
    case 6:
      return {"SETTINGS on a stream", frame(settings, 0, 1, "")};
    case 7:
      return {"SETTINGS of five bytes", frame(settings, 0, 0, "12345")};
    case 8:
      return {"SETTINGS that acknowledges and sets", frame(settings, ack, 0, setting(4, 100))};
    case 9:
      return {"SETTINGS with many entries", frame(settings, 0, 0, times(200, setting(0x77, 1)))};
    case 10:
      return {"SETTINGS_ENABLE_PUSH 2", frame(settings, 0, 0, setting(2, 2))};
    case 11:
      return {"SETTINGS_INITIAL_WINDOW_SIZE 2^31", frame(settings, 0, 0, setting(4, 0x8000'0000))};
    case 12:
      return {"SETTINGS_MAX_FRAME_SIZE 100", frame(settings, 0, 0, setting(5, 100))};
    case 13:
      return {"SETTINGS_MAX_FRAME_SIZE 2^24", frame(settings, 0, 0, setting(5, 1 << 24))};
    case 14:
      return {"PUSH_PROMISE", frame(push_promise, end_headers, id == 0 ? 1 : id, be32(2) + request(malformed_path))};
    case 15:
      return {"PING on a stream", frame(ping, 0, 1, "12345678")};
    case 16:
      return {"PING of seven bytes", frame(ping, 0, 0, "1234567")};
    case 17:
      return {"GOAWAY on a stream", frame(goaway, 0, 1, be32(0) + be32(0))};
    case 18:
      return {"GOAWAY of four bytes", frame(goaway, 0, 0, be32(0))};
    case 19:
      return {"WINDOW_UPDATE of three bytes", frame(window_update, 0, 0, "123")};
    case 20:
      return {"WINDOW_UPDATE on an idle stream", frame(window_update, 0, idle_id, be32(1))};
    case 21:
      return {"WINDOW_UPDATE of nothing", frame(window_update, 0, 0, be32(0))};
    case 22:
      return {"WINDOW_UPDATE of nothing on a stream", frame(window_update, 0, id, be32(0))};
    case 23:
      return {"a connection's window of more than 2^31 - 1", times(2, frame(window_update, 0, 0, be32(0x7fff'ffff)))};
    case 24:
      return {"a stream's window of more than 2^31 - 1", times(2, frame(window_update, 0, id, be32(0x7fff'ffff)))};
    case 25:
      return {"CONTINUATION of nothing", frame(continuation, end_headers, id, "")};
    case 26:
      return {"a frame that is too long", frame(ping, 0, 0, std::string(16'385, 'x'))};
    case 27:
      return {"DATA that is too long", frame(data, 0, id, std::string(16'385, 'x'))};
    case 28:
      return {"DATA on an idle stream", frame(data, 0, idle_id, "x")};
    case 29:
      return {"padded DATA without a length", frame(data, padded, id, "")};
    case 30:
      return {"DATA with more padding than there is", frame(data, padded, id, "\x05xx")};
    case 31:
      return {"many PINGs", times(12'000, frame(ping, 0, 0, "12345678"))};
    case 32:
      return {"much SETTINGS", times(6000, frame(settings, 0, 0, setting(3, 100)))};
    case 33:
      return {"many frames nobody knows", times(12'000, frame(0x77, 0, id, "x"))};
    case 34:
      return {"many PRIORITYs", times(12'000, frame(priority, 0, 1, be32(3) + "x"))};
    case 35:
      return {"many WINDOW_UPDATEs", times(12'000, frame(window_update, 0, 0, be32(1)))};
    case 36:
      return {"a frame nobody knows", frame(0x77, 0xff, id, "what is this")};
    case 37:
      return {"a setting nobody knows", frame(settings, 0, 0, setting(0x77, 7))};
    case 38:
      return {"PRIORITY of a stream on itself", frame(priority, 0, 1, be32(1) + "x")};
    case 39:
      return {"PRIORITY of four bytes", frame(priority, 0, 1, be32(0))};
    case 40:
      return {"PRIORITY of four bytes on an idle stream", frame(priority, 0, idle_id, be32(0))};
    case 41:
      return {"a PING that answers none", frame(ping, ack, 0, "12345678")};
    case 42:
      return {"SETTINGS that answers none", frame(settings, ack, 0, "")};
    case 43:
      // A backend that takes back what it has done is not hostile but a liar, and nobody can tell.
      if (!place.is_client) return {"two GOAWAYs", times(2, frame(goaway, 0, 0, be32(0x7fff'ffff) + be32(0)))};
      return {"GOAWAY whose id rises",
              frame(goaway, 0, 0, be32(1) + be32(0)) + frame(goaway, 0, 0, be32(99) + be32(0))};
    case 45:
      return {"SETTINGS_ENABLE_CONNECT_PROTOCOL 2", frame(settings, 0, 0, setting(8, 2))};
    case 46:
      return {"SETTINGS_MAX_HEADER_LIST_SIZE", frame(settings, 0, 0, setting(6, 1 << 20) + setting(8, 1))};
    case 47:
      return {"a window that the setting makes too large",
              frame(window_update, 0, id, be32(0x7000'0000)) + frame(settings, 0, 0, setting(4, 0x7fff'ffff))};
    case 48:
      return {"padded HEADERS without a length", frame(headers, end_headers | padded, id, "")};
    case 49:
      return {"DATA that is all padding", frame(data, padded, id, std::string("\x04pppp"))};
    case 50:
      return {"a table that is smaller for a while",
              frame(settings, 0, 0, setting(1, 0)) + frame(settings, 0, 0, setting(1, 4096))};
    case 51:
      return {"RST_STREAM and DATA behind it", frame(rst_stream, 0, id, be32(8)) + frame(data, 0, id, "x")};
    case 52: {
      // Nothing is taken of it, so that the window is used up at last.
      std::string all;
      for (uint32_t i = 0; i < 1200; ++i) all += frame(data, 0, id, std::string(16'384, 'x'));
      return {"20 MiB of DATA behind RST_STREAM", frame(rst_stream, 0, id, be32(8)) + all};
    }
    case 44:
      return {"half a frame", frame(ping, 0, 0, "12345678").substr(0, sim.between(1, 16)), true};
    default: {
      std::string noise;
      for (uint32_t i = sim.between(9, 200); i != 0; --i) noise += static_cast<char>(sim.draw());
      return {"noise", noise};
    }
  }
}

// Header blocks that cannot be decoded, or are not let come to their end.
Hostility wrongBlock(Simulation& sim, uint32_t id) {
  const auto block = [id](const char* name, std::string_view bytes) {
    return Hostility{name, frame(headers, end_headers | end_stream, id, bytes)};
  };
  const std::string piece = request(malformed_path);
  switch (sim.below(19)) {
    case 0:
      return block("a field of index 0", "\x80");
    case 1:
      return block("a field of an index that is not there", "\xff\xff\x7f");
    case 2:
      return block("an index of more than 32 bits", "\xff\xff\xff\xff\xff\xff\x7f");
    case 3:
      return block("a string that is cut off", std::string_view("\0\x05x", 3));
    case 4:
      return block("Huffman code with EOS", std::string_view("\0\x84\xff\xff\xff\xff\x01"
                                                             "a",
                                                             8));
    case 5:
      return block("a header table that is too large", "\x3f\xff\xff\x7f");
    case 6:
      return block("a change of the header table between fields", piece + "\x20");
    case 7:
      return block("an integer that is cut off", "\xff\x80");
    case 8:
      return {"a header block that another frame interrupts",
              frame(headers, 0, id, piece) + frame(ping, 0, 0, "12345678")};
    case 9:
      return {"a header block that another stream's interrupts",
              frame(headers, 0, id, piece) + frame(continuation, end_headers, id + 2, "")};
    case 10:
      return {"many CONTINUATIONs of nothing",
              frame(headers, 0, id, piece) + times(100, frame(continuation, 0, id, ""))};
    case 11:
      return {"CONTINUATIONs without end",
              frame(headers, 0, id, piece) + times(8, frame(continuation, 0, id, std::string(16'384, '\x82')))};
    case 12:
      return {"a header block that never ends", frame(headers, 0, id, piece), true};
    case 13:
      return {"HEADERS with more padding than there is", frame(headers, end_headers | padded, id, "\x40x")};
    case 14:
      return {"HEADERS too short for its priority", frame(headers, end_headers | has_priority, id, "123")};
    case 15:
      return {"HEADERS that depends on itself",
              frame(headers, end_headers | end_stream | has_priority, id, be32(id) + "x" + piece)};
    case 16:
      return {"fields of 40 KiB", frame(headers, end_stream, id, piece) +
                                      frame(continuation, 0, id, field("x-a", std::string(16'000, 'a'))) +
                                      frame(continuation, 0, id, field("x-b", std::string(16'000, 'b'))) +
                                      frame(continuation, end_headers, id, field("x-c", std::string(8'000, 'c')))};
    case 17: {
      // Small on the wire, large when it is decoded.
      std::string bomb = '\x40' + text("x-bomb") + text(std::string(4000, 'a'));
      bomb += times(200, "\xbe");
      // It has filled the header table with what the rest of the conversation knows nothing of.
      Hostility made = block("an HPACK bomb", piece + bomb);
      made.is_last = true;
      return made;
    }
    default:
      return block("an empty header block", "");
  }
}

Hostility clientFrames(Simulation& sim, H2Place& place) {
  const uint32_t next = place.next_id;
  const uint32_t open = place.open_id;
  const std::string sound = request(hostile_path);
  const auto get = [&](uint32_t i) { return frame(headers, end_headers | end_stream, next + 2 * i, sound); };
  switch (sim.below(18)) {
    case 0:
      return {"HEADERS on an even stream", frame(headers, end_headers | end_stream, 2, request(malformed_path))};
    case 1: {
      std::string all;
      place.new_streams = 1300;
      for (uint32_t i = 0; i < 1300; ++i) all += get(i) + frame(rst_stream, 0, next + 2 * i, be32(8));
      return {"1300 requests that are reset at once", all};
    }
    case 2: {
      std::string all;
      place.new_streams = 1300;
      for (uint32_t i = 0; i < 1300; ++i) all += get(i) + frame(window_update, 0, next + 2 * i, be32(0));
      return {"1300 requests that must be reset", all};
    }
    case 3: {
      std::string all;
      place.new_streams = 1300;
      for (uint32_t i = 0; i < 1300; ++i)
        all += frame(headers, end_headers, next + 2 * i, request(hostile_path, "POST"));
      return {"1300 requests at once that never end", all};
    }
    case 4:
      if (open == 0) break;
      return {"trailers with a pseudo-header field",
              frame(headers, end_headers | end_stream, open, field(":path", "/"))};
    case 5:
      if (open == 0) break;
      return {"trailers that are not the end", frame(headers, end_headers, open, field("x-a", "b"))};
    case 6:
      if (open == 0) break;
      return {"empty DATA without end", times(12'000, frame(data, 0, open, ""))};
    case 7:
      if (place.closed_id == 0) break;
      return {"HEADERS on a closed stream", frame(headers, end_headers | end_stream, place.closed_id, sound)};
    case 8:
      if (place.closed_id == 0) break;
      return {"DATA on a closed stream", frame(data, 0, place.closed_id, "x")};
    case 9:
      place.new_streams = 1;
      return {"a request that expects 100",
              frame(headers, end_headers, next, request(hostile_path, "POST") + field("expect", "100-continue")) +
                  frame(data, end_stream, next, "")};
    case 10:
      place.new_streams = 1;
      return {"a request in two, padded and with priority",
              frame(headers, end_stream | padded | has_priority, next,
                    "\x04" + be32(0) + "x" + sound.substr(0, 10) + "pppp") +
                  frame(continuation, end_headers, next, sound.substr(10))};
    case 12:
      place.new_streams = 1;
      return {"a body that is longer than it says",
              frame(headers, end_headers, next, request(hostile_path, "POST") + field("content-length", "1")) +
                  frame(data, end_stream, next, "xy")};
    case 13:
      place.new_streams = 1;
      return {"more DATA than the window allows", frame(headers, end_headers, next, request(hostile_path, "POST")) +
                                                      times(5, frame(data, 0, next, std::string(16'384, 'x')))};
    case 14:
      place.new_streams = 1;
      return {"CONNECT",
              frame(headers, end_headers, next, field(":method", "CONNECT") + field(":authority", "hostile.test:443"))};
    case 15:
      place.new_streams = 1;
      return {"a body with padding", frame(headers, end_headers, next, request(hostile_path, "POST")) +
                                         frame(data, padded, next, "\x03xyppp") +
                                         frame(data, padded | end_stream, next, std::string_view("\0x", 2))};
    case 11:
      place.new_streams = 1;
      return {"a request whose client reads nothing", frame(settings, 0, 0, setting(4, 0)) + get(0), true};
    case 16:
    case 17:
      place.new_streams = 1;
      return {"a header block that never ends", frame(headers, end_stream, next, sound), true};
    default:
      break;
  }
  place.new_streams = 1;
  if (sim.oneIn(3)) return wrongBlock(sim, next);
  bool ends = false;
  const std::string block = malformedRequest(sim, ends);
  return {"a malformed request", frame(headers, ends ? end_headers | end_stream : end_headers, next, block)};
}

Hostility backendFrames(Simulation& sim, const H2Place& place) {
  const uint32_t open = place.open_id;
  const std::string sound = field(":status", "200");
  const std::string honest = place.honest_head;
  switch (sim.below(18)) {
    case 0:
      return {"a response to nothing", frame(headers, end_headers | end_stream, idle_id, sound)};
    case 1:
      return {"HEADERS on a stream of its own", frame(headers, end_headers | end_stream, 2, sound)};
    case 2:
      return {"SETTINGS_ENABLE_PUSH from a server", frame(settings, 0, 0, setting(2, 1))};
    case 3:
      if (place.closed_id == 0) break;
      return {"DATA on a closed stream", frame(data, 0, place.closed_id, "x")};
    case 4:
      if (place.closed_id == 0) break;
      return {"HEADERS on a closed stream", frame(headers, end_headers | end_stream, place.closed_id, sound)};
    case 5:
      if (open == 0) break;
      return {"DATA before the response", frame(data, end_stream, open, "x")};
    case 6:
      if (open == 0) break;
      return {"interim responses without end", times(300, frame(headers, end_headers, open, field(":status", "102")))};
    case 7:
      if (open == 0) break;
      return {"a response of 5 bytes without one",
              frame(headers, end_headers | end_stream, open, sound + field("content-length", "5"))};
    case 10:
    case 11: {
      if (open == 0) break;
      // Too short, or too long by a byte where that fits into a frame.
      const bool is_long = place.honest_bytes < 16'000 && (place.honest_bytes == 0 || sim.oneIn(2));
      const std::string body(is_long ? place.honest_bytes + 1 : 0, 'x');
      return {"a body that is not as long as it says",
              frame(headers, end_headers, open, honest + field("content-length", std::to_string(place.honest_bytes))) +
                  frame(data, end_stream, open, body)};
    }
    case 12:
      if (open == 0) break;
      return {"a second response", times(2, frame(headers, end_headers, open, honest))};
    case 13:
      if (open == 0) break;
      return {"trailers with a pseudo-header field",
              frame(headers, end_headers, open, honest) + frame(headers, end_headers | end_stream, open, sound)};
    case 14:
      if (open == 0) break;
      return {"more DATA than the window allows",
              frame(headers, end_headers, open, honest) + frame(data, padded, open, "\x02pp") +
                  times(200, frame(data, padded, open, "\xff" + std::string(255, 'p'))),
              true};
    case 8:
      if (open == 0) break;
      return {"RST_STREAM, twice", times(2, frame(rst_stream, 0, open, be32(2)))};
    case 9:
      return {"a stream's window that grows too large",
              frame(settings, 0, 0, setting(4, 0x7fff'ffff)) +
                  frame(window_update, 0, open == 0 ? 1 : open, be32(0x7fff'ffff))};
    default:
      break;
  }
  if (open == 0) return wrongFrame(sim, place, 1);
  if (sim.oneIn(3)) return wrongBlock(sim, open);
  uint8_t flags = 0;
  const std::string block = malformedResponse(sim, flags);
  return {"a malformed response", frame(headers, flags, open, block)};
}

std::string head(std::string_view start, std::string_view fields) {
  return std::string(start) + "\r\n" + std::string(fields) + "\r\n";
}

}  // namespace

std::string hpackField(std::string_view name, std::string_view value) {
  return std::string(1, '\0') + text(name) + text(value);
}

Hostility hostileFrames(Simulation& sim, H2Place& place) {
  const uint32_t known_id = place.open_id != 0 ? place.open_id : place.closed_id != 0 ? place.closed_id : 1;
  if (sim.oneIn(3)) return wrongFrame(sim, place, known_id);
  return place.is_client ? clientFrames(sim, place) : backendFrames(sim, place);
}

Hostility hostileRequest(Simulation& sim) {
  const std::string get = "GET " + std::string(malformed_path) + " HTTP/1.1";
  const std::string post = "POST " + std::string(malformed_path) + " HTTP/1.1";
  const std::string sound = "POST " + std::string(hostile_path) + " HTTP/1.1";
  const std::string host = "Host: hostile.test\r\n";
  const std::string chunked = host + "Transfer-Encoding: chunked\r\n";
  switch (sim.below(34)) {
    case 0:
      return {"a request without Host", head(get, "")};
    case 1:
      return {"two Hosts", head(get, host + "Host: another.test\r\n")};
    case 2:
      return {"two Content-Lengths", head(post, host + "Content-Length: 5\r\nContent-Length: 6\r\n")};
    case 3:
      return {"Content-Length +5", head(post, host + "Content-Length: +5\r\n")};
    case 4:
      return {"Content-Length and Transfer-Encoding", head(post, chunked + "Content-Length: 5\r\n")};
    case 5:
      return {"a coding that is not chunked", head(post, host + "Transfer-Encoding: gzip\r\n")};
    case 6:
      return {"chunked, twice", head(post, host + "Transfer-Encoding: chunked, chunked\r\n")};
    case 7:
      return {"a field in two lines", head(get, host + "X-A: b\r\n c\r\n")};
    case 8:
      return {"NUL in a field", head(get, host + std::string("X-A: b\0c\r\n", 10))};
    case 9:
      return {"CR in a field", head(get, host + "X-A: b\rc\r\n")};
    case 10:
      return {"a blank before the colon", head(get, host + "X-A : b\r\n")};
    case 11:
      return {"two blanks in the request line", head("GET  /malformed HTTP/1.1", host)};
    case 12:
      return {"a control character in the target", head("GET /malformed\x01 HTTP/1.1", host)};
    case 13:
      return {"HTTP/3.7", head("GET /malformed HTTP/3.7", host)};
    case 14:
      return {"no version", head("GET /malformed", host)};
    case 15:
      return {"a head of 70 KiB", head(get, host + "X-A: " + std::string(70'000, 'a') + "\r\n")};
    case 16:
      return {"200 fields", head(get, host + times(200, "X-A: b\r\n"))};
    case 17:
      return {"a field without a name", head(get, host + ": b\r\n")};
    case 18:
      return {"a head that never ends", get + "\r\n" + host, true};
    case 19:
      return {"nothing", "", true};
    case 20:
      return {"half a method", "PO", true};
    case 21:
      return {"a chunk of no number", head(sound, chunked) + "zz\r\n"};
    case 22:
      return {"a chunk that is longer than it says", head(sound, chunked) + "1\r\nxyz\r\n"};
    case 23:
      return {"a chunk of 2^80 bytes", head(sound, chunked) + "100000000000000000000\r\n"};
    case 24:
      return {"trailers that frame", head(sound, chunked) + "0\r\nContent-Length: 5\r\n\r\n"};
    case 25:
      return {"a chunk's extension of 70 KiB", head(sound, chunked) + "1;" + std::string(70'000, 'a') + "\r\nx\r\n"};
    case 26:
      return {"a body that never ends", head(sound, host + "Content-Length: 100\r\n") + "x", true};
    case 27:
      return {"CONNECT", head("CONNECT hostile.test:443 HTTP/1.1", host)};
    case 28:
      return {"TRACE that goes no further", head("TRACE /malformed HTTP/1.1", host + "Max-Forwards: 0\r\n")};
    case 29:
      return {"OPTIONS that goes no further", head("OPTIONS /malformed HTTP/1.1", host + "Max-Forwards: 0\r\n")};
    case 30:
      return {"HTTP/1.0", head("GET /hostile HTTP/1.0", host)};
    case 31:
      return {"an expectation", head(sound, host + "Content-Length: 1\r\nExpect: 100-continue\r\n") + "x"};
    case 32:
      return {"an upgrade", head("GET /hostile HTTP/1.1", host + "Connection: upgrade\r\nUpgrade: websocket\r\n")};
    default: {
      std::string noise;
      for (uint32_t i = sim.between(1, 200); i != 0; --i) noise += static_cast<char>(sim.draw());
      return {"noise", noise + "\r\n\r\n"};
    }
  }
}

Hostility hostileResponse(Simulation& sim, const std::string& honest_start, const std::string& honest_fields) {
  const std::string ok = "HTTP/1.1 200 OK";
  switch (sim.below(18)) {
    case 0:
      return {"no version", head("200 OK", "Content-Length: 0\r\n")};
    case 1:
      return {"a status of two digits", head("HTTP/1.1 20 OK", "Content-Length: 0\r\n")};
    case 2:
      return {"two Content-Lengths", head(ok, "Content-Length: 5\r\nContent-Length: 6\r\n")};
    case 3:
      return {"Content-Length and Transfer-Encoding", head(ok, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")};
    case 4:
      return {"a field in two lines", head(ok, "Content-Length: 0\r\nX-A: b\r\n c\r\n")};
    case 5:
      return {"NUL in a field", head(ok, std::string("Content-Length: 0\r\nX-A: b\0c\r\n", 29))};
    case 6:
      return {"101 to no upgrade", head("HTTP/1.1 101 Switching", "Upgrade: x\r\nConnection: upgrade\r\n")};
    case 7:
      return {"interim responses without end", times(200, head("HTTP/1.1 102 Processing", ""))};
    case 8:
      return {"a head of 70 KiB", head(ok, "X-A: " + std::string(70'000, 'a') + "\r\n")};
    case 9:
      return {"200 fields", head(ok, times(200, "X-A: b\r\n"))};
    case 10:
      return {"a head that never ends", ok + "\r\nX-A: b\r\n", true};
    case 11:
      return {"a chunk of no number", head(honest_start, honest_fields + "Transfer-Encoding: chunked\r\n") + "zz\r\n"};
    case 12:
      return {"a chunk of 2^80 bytes",
              head(honest_start, honest_fields + "Transfer-Encoding: chunked\r\n") + "100000000000000000000\r\n"};
    case 13:
      return {"a response to nothing", times(2, head(ok, "Content-Length: x\r\n"))};
    case 14:
      return {"Content-Length -1", head(ok, "Content-Length: -1\r\n")};
    case 15:
      return {"HTTP/2.0", head("HTTP/2.0 200 OK", "Content-Length: 0\r\n")};
    case 16:
      return {"a field without a colon", head(ok, "Content-Length 0\r\n")};
    default: {
      std::string noise;
      for (uint32_t i = sim.between(1, 200); i != 0; --i) noise += static_cast<char>(sim.draw());
      return {"noise", noise + "\r\n\r\n"};
    }
  }
}

}  // namespace plait::sim
