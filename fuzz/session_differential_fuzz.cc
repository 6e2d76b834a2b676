// One reading: of any bytes, each message that plait takes from beginning to end libnghttp2 takes too, with the same
// head, body and trailers. plait may refuse more. Both roles; the first byte chooses.
#include <cstdlib>
#include <string_view>

#include "fuzz/nghttp2_session.h"
#include "fuzz/session_feed.h"

using namespace plait;
using namespace plait::h2;
using namespace plait::fuzz;

namespace {

constexpr std::string_view methods[] = {"GET", "GET", "GET", "HEAD", "CONNECT", "GET"};

std::string textOf(const http::FieldList& fields) {
  std::string text;
  for (const http::Field field : fields) text += " " + std::string(field.name) + "=" + std::string(field.value);
  return text;
}

// libnghttp2 drops the Content-Length of what has no content (RFC 9110 §8.6); `head` begins with its status.
std::string withoutIdleLength(const std::string& head, bool is_connect) {
  constexpr std::string_view name = " content-length=";
  const bool has_none = head.starts_with('1') || head.starts_with("204") || (is_connect && head.starts_with('2'));
  const size_t at = head.find(name);
  if (!has_none || at == std::string::npos) return head;
  return head.substr(0, at) + head.substr(std::min(head.find(' ', at + 1), head.size()));
}

// The messages that our session understands, until it finds a fault with the connection. Streams that the peer's GOAWAY
// does not cover are the owner's to end, as libnghttp2 does by itself.
Messages read(wire::End& end, Bytes bytes) {
  Messages messages;
  uint32_t covered = max_stream_id;
  const std::vector<uint8_t> copy = exact(bytes);
  Bytes input = copy;
  Event event;
  while (end.session.next(input, event, 1)) {
    Message& message = messages[event.stream_id];
    if (event.stream_id > covered) message.is_reset = true;
    switch (event.kind) {
      case Event::Kind::none:
        return messages;
      case Event::Kind::goaway:
        covered = event.last_stream_id;
        for (auto& [id, begun] : messages) begun.is_reset |= id > covered;
        continue;
      case Event::Kind::request:
        message.has_head = true;
        message.head = std::string(event.request.method) + " " + std::string(event.request.scheme) + " " +
                       std::string(event.request.authority) + " " + std::string(event.request.path) +
                       textOf(event.fields);
        end.streams.push_back(std::make_unique<Stream>());
        end.session.accept(*end.streams.back());
        break;
      case Event::Kind::response:
      case Event::Kind::interim:
        message.has_head = true;
        message.head = std::to_string(event.response.status) + textOf(event.fields);
        break;
      case Event::Kind::trailers:
        message.trailers = textOf(event.fields);
        break;
      case Event::Kind::data:
        message.body += asText(event.data);
        end.session.credit(event.stream, event.data.size());
        break;
      case Event::Kind::stream_error:
        message.is_reset = true;
        break;
      default:
        continue;
    }
    if (event.end_stream) message.ended = true;
  }
  return messages;
}

// There is a Content-Length, and the body is as long: a reset is not for a length that is wrong.
bool saysItsLength(const Message& message) {
  constexpr std::string_view name = " content-length=";
  const size_t at = message.head.find(name);
  return at != std::string::npos &&
         std::strtoull(message.head.c_str() + at + name.size(), nullptr, 10) == message.body.size();
}

// plait takes a message for whole before the padding of its last frame has come, so that must not be missing.
void completeLastFrame(wire::Wire& bytes, size_t first_frame) {
  size_t at = first_frame;
  while (at + frame_header_size <= bytes.size()) at += frame_header_size + FrameHeader::parse(bytes.data() + at).length;
  if (at > bytes.size() && at - bytes.size() <= default_max_frame_size) bytes.resize(at);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const Role role = (input.byte() & 1) != 0 ? Role::client : Role::server;
  wire::Wire bytes = openingTo(role);
  const size_t first_frame = bytes.size() - frame_header_size;  // SETTINGS, the last of the opening
  const Bytes rest = input.rest();
  bytes.insert(bytes.end(), rest.begin(), rest.end());
  completeLastFrame(bytes, first_frame);

  wire::End end(role);
  end.session.start();
  OracleSession oracle(role, {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 128}});
  if (role == Role::client) {
    for (size_t i = 0; i < std::size(methods); ++i) {
      end.open(i % 2 == 0, methods[i]);
      const bool is_connect = methods[i] == "CONNECT";
      std::vector<nghttp2_nv> head = {OracleSession::field(":method", methods[i]),
                                      OracleSession::field(":authority", "a")};
      if (!is_connect) {
        head.push_back(OracleSession::field(":scheme", "http"));
        head.push_back(OracleSession::field(":path", "/"));
      }
      nghttp2_data_provider never{};
      never.read_callback = [](nghttp2_session*, int32_t, uint8_t*, size_t, uint32_t*, nghttp2_data_source*,
                               void*) -> ssize_t { return NGHTTP2_ERR_DEFERRED; };
      const nghttp2_data_provider* const body = i % 2 == 0 ? nullptr : &never;
      require(nghttp2_submit_request(oracle.session, nullptr, head.data(), head.size(), body, nullptr) > 0);
    }
    (void)oracle.takeOutput();
  }
  const Messages ours = read(end, bytes);
  (void)oracle.feed(bytes);
  (void)oracle.takeOutput();
  for (const auto& [id, message] : ours) {
    if (!message.ended || message.is_reset) continue;
    const auto found = oracle.messages.find(id);
    // Where it gave the connection up it may not have come so far.
    if (oracle.has_failed && (found == oracle.messages.end() || !found->second.ended)) continue;
    require(found != oracle.messages.end());
    const Message& theirs = found->second;
    const bool is_connect = role == Role::client && methods[(id - 1) / 2 % std::size(methods)] == "CONNECT";
    // Content-Length in a 204 is an error to libnghttp2; RFC 9113 §8.1.1 lets a response that has no content name any
    // length, and a client of CONNECT must ignore it (RFC 9110 §9.3.6).
    if (theirs.is_reset && message.head.starts_with("204")) continue;
    // Nor does it take a length twice. Where both are the same RFC 9110 §8.6 lets us, and in trailers none means
    // anything: forwarders drop it (§6.5.1).
    if (theirs.is_reset && saysItsLength(message)) continue;
    if (theirs.is_reset && message.trailers.find("content-length=") != std::string::npos) continue;
    requireEqual(withoutIdleLength(message.head, is_connect), withoutIdleLength(theirs.head, is_connect));
    requireEqual(message.body, theirs.body);
    requireEqual(message.trailers, theirs.trailers);
    require(theirs.ended);
  }
  return 0;
}
