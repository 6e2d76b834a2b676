// A session fed with anything: whole and in pieces must agree, in events and in answers, and no memory stays behind.
#pragma once

#include <map>
#include <set>

#include "fuzz/target.h"
#include "plait/h2/wire_test.h"

namespace plait::fuzz {

// The events that a session reported, and the bytes that it sent.
struct Heard {
  std::string log;
  h2::wire::Wire output;
  bool operator==(const Heard&) const = default;
};

// Every frame that we send is one that a peer must accept by its form (RFC 9113 §4, §6), and header blocks are whole.
inline void requireSound(const h2::wire::Wire& output, h2::Role role) {
  using namespace h2;
  size_t at = 0;
  if (role == Role::client) {
    require(asText(output).starts_with(client_preface));
    at = client_preface.size();
  }
  uint32_t open_block = 0;
  bool is_first = true;
  while (at < output.size()) {
    require(output.size() - at >= frame_header_size);
    const FrameHeader header = FrameHeader::parse(output.data() + at);
    at += frame_header_size;
    require(header.length <= output.size() - at);
    const uint8_t* const payload = output.data() + at;
    at += header.length;
    require(!is_first || header.type == FrameType::settings);
    is_first = false;
    require((open_block != 0) == (header.type == FrameType::continuation));
    if (open_block != 0) require(header.stream_id == open_block);
    switch (header.type) {
      case FrameType::headers:
      case FrameType::continuation:
        require(header.stream_id != 0 && header.length <= default_max_frame_size);
        open_block = header.has(flags::end_headers) ? 0 : header.stream_id;
        break;
      case FrameType::data:
        require(header.stream_id != 0);
        break;
      case FrameType::rst_stream:
        require(header.stream_id != 0 && header.length == 4);
        break;
      case FrameType::settings:
        require(header.stream_id == 0 && header.length % 6 == 0);
        require(!header.has(flags::ack) || header.length == 0);
        break;
      case FrameType::ping:
        require(header.stream_id == 0 && header.length == 8);
        break;
      case FrameType::goaway:
        require(header.stream_id == 0 && header.length >= 8);
        break;
      case FrameType::window_update:
        require(header.length == 4);
        require(loadBe32(payload) != 0 && loadBe32(payload) <= max_stream_id);
        break;
      default:
        require(false);
    }
  }
  require(open_block == 0);
}

// Feeds `bytes` in pieces of `step`. A client has six requests under way before.
inline Heard hear(h2::Role role, Bytes bytes, size_t step) {
  using namespace h2;
  wire::End end(role);
  end.answers = true;
  end.session.start();
  for (int i = 0; i < 6 && role == Role::client; ++i)
    end.open(i % 2 == 0, i == 3 ? "HEAD" : i == 4 ? "CONNECT" : "GET");
  (void)end.feed(bytes, step);
  require(end.session.receiveWindow() <= FlowWindow::max_size && end.session.sendWindow() <= FlowWindow::max_size);
  for (const auto& stream : end.streams) {
    require(stream->receive_window.size() <= FlowWindow::max_size);
    if (!stream->isClosed()) end.session.sendReset(*stream, H2Error::cancel);
  }
  Heard heard{end.log, end.takeOutput()};
  requireSound(heard.output, role);
  return heard;
}

// The opening of the peer, so that every input gets behind it.
inline h2::wire::Wire openingTo(h2::Role role) {
  using namespace h2;
  return wire::operator+(role == Role::server ? wire::text(client_preface) : wire::Wire(),
                         wire::frame(FrameType::settings, 0, 0));
}

// Takes the WINDOW_UPDATEs out and returns what they grant, by stream: when half of a window is reached within a frame,
// a piece of it is enough to say so.
inline std::map<uint32_t, uint64_t> takeGrants(h2::wire::Wire& output, h2::Role role) {
  using namespace h2;
  std::map<uint32_t, uint64_t> granted;
  size_t at = role == Role::client ? client_preface.size() : 0;
  while (at < output.size()) {
    const FrameHeader header = FrameHeader::parse(output.data() + at);
    const size_t size = frame_header_size + header.length;
    if (header.type != FrameType::window_update) {
      at += size;
      continue;
    }
    granted[header.stream_id] += loadBe32(output.data() + at + frame_header_size);
    output.erase(output.begin() + static_cast<ptrdiff_t>(at), output.begin() + static_cast<ptrdiff_t>(at + size));
  }
  return granted;
}

inline void requireSameInPieces(h2::Role role, Bytes bytes, size_t step) {
  Heard whole = hear(role, bytes, SIZE_MAX);
  Heard pieces = hear(role, bytes, step);
  const auto in_whole = takeGrants(whole.output, role);
  const auto in_pieces = takeGrants(pieces.output, role);
  if (in_whole == in_pieces) {
    requireEqual(whole.log, pieces.log);
    require(whole.output == pieces.output);
  }
  // A peer that was granted more may send more until that is an error, and then nothing need be alike.
  if (whole != pieces) return;
  std::set<uint32_t> ids;
  for (const auto& [id, granted] : in_whole) ids.insert(id);
  for (const auto& [id, granted] : in_pieces) ids.insert(id);
  for (const uint32_t id : ids) {
    const uint64_t granted = in_whole.contains(id) ? in_whole.at(id) : 0;
    const uint64_t other = in_pieces.contains(id) ? in_pieces.at(id) : 0;
    // The last grant may be missing, where the frame ended the stream: what made it more than half a window is in it.
    require(std::max(granted, other) - std::min(granted, other) <= h2::default_window / 2 + h2::default_max_frame_size);
  }
}

}  // namespace plait::fuzz
