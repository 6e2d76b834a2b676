// Frames: nine bytes survive being read and written, and a conversation of well-formed envelopes around anything is
// understood alike whole and in pieces. The input chooses type, flags, stream, length and payload of each frame, so
// that it gets deeper into the payloads than bytes that must first become a header.
#include "fuzz/session_feed.h"

using namespace plait;
using namespace plait::h2;
using namespace plait::fuzz;

namespace {

// Header blocks that begin a stream, for the streams that other frames need.
constexpr std::string_view blocks[] = {
    "\x82\x86\x84\x41\x01"
    "a",  // GET http a /
    "\x83\x87\x84\x41\x01"
    "a\x5c\x02"
    "10",    // POST with Content-Length 10
    "\x88",  // :status 200
    "\x88\x5c\x02"
    "10",  // 200 with Content-Length 10
    "\x48\x03"
    "103",  // 103
    "\x0f\x2f\x00\x40\x01"
    "x\x01"
    "y",  // fields alone: trailers
};

wire::Wire payloadFrom(Input& input, uint8_t how) {
  if (how < 96) return wire::text(blocks[how % std::size(blocks)]);
  if (how < 128) return wire::Wire(input.below(17'000), static_cast<uint8_t>(how));
  if (how < 160) return wire::be32(uint32_t{input.byte()} << 24 | input.byte());
  return exact(input.bytes(how - 160u));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  if (size >= frame_header_size) {
    const FrameHeader header = FrameHeader::parse(data);
    uint8_t again[frame_header_size];
    header.write(again);
    // Only the reserved bit may differ (RFC 9113 §4.1).
    for (size_t i = 0; i < frame_header_size; ++i) require(again[i] == (i == 5 ? data[i] & 0x7f : data[i]));
  }
  Input input(data, size);
  const uint8_t plan = input.byte();
  const Role role = (plan & 1) != 0 ? Role::client : Role::server;
  wire::Wire bytes = openingTo(role);
  for (int count = 0; count < 64 && !input.empty(); ++count) {
    const auto type = static_cast<FrameType>(input.byte() % 12);
    const uint8_t flags = input.byte();
    const uint8_t where = input.byte();
    const uint8_t how = input.byte();
    const wire::Wire payload = payloadFrom(input, how);
    // Mostly the streams that the roles use, at times any.
    const uint32_t id = where < 250 ? where % 16u : where * 0x01010101u;
    bytes = wire::operator+(std::move(bytes), wire::frame(type, flags, id, payload));
  }
  requireSameInPieces(role, bytes, plan / 2u + 1);
  return 0;
}
