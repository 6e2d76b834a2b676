// The sending half of a session: header blocks, DATA within its windows, and control frames.
#include <algorithm>

#include "plait/base/rare.h"
#include "plait/h2/session.h"

namespace plait::h2 {

Session::Session(Role role, ByteQueue& output, SessionScratch& scratch, const SessionConfig& config)
    : reader_(role == Role::server),
      output_(output),
      scratch_(scratch),
      config_(config),
      decoder_(DynamicTable::max_size, scratch.tables),
      // Backends are near: bytes on the way to them cost less than the work at both ends.
      encoder_(scratch.tables, role == Role::client ? StringCoding::plain : StringCoding::huffman),
      receive_window_(default_window),
      connection_window_(config.connection_window),
      role_(role),
      guards_(config),
      next_stream_id_(role == Role::client ? 1 : 2) {}

Session::~Session() {
  reader_.giveCarry(scratch_);
  while (Stream* stream = streams_.list().front()) release(*stream);
  resets_.giveBlock(scratch_.resets);
}

void Session::start() {
  has_begun_ = role_ == Role::server || output_.append(asBytes(client_preface));
  uint8_t payload[4 * 6];
  size_t size = 0;
  const auto add = [&](SettingId id, uint32_t value) {
    storeBe16(payload + size, static_cast<uint16_t>(id));
    storeBe32(payload + size + 2, value);
    size += 6;
  };
  if (role_ == Role::client) {
    add(SettingId::enable_push, 0);
  } else {
    add(SettingId::max_concurrent_streams, config_.max_concurrent_streams);
  }
  add(SettingId::initial_window_size, config_.stream_window);
  add(SettingId::max_header_list_size, config_.max_header_list_size);
  if (role_ == Role::server && config_.enable_connect_protocol) add(SettingId::enable_connect_protocol, 1);
  appendFrame(FrameType::settings, 0, 0, {payload, size}, false);
  has_begun_ = !failed_;
  if (config_.connection_window > default_window) {
    const uint32_t surplus = config_.connection_window - default_window;
    sendWindowUpdate(0, surplus);
    PLAIT_ASSERT(receive_window_.grow(surplus));
  }
}

void Session::appendFrame(FrameType type, uint8_t frame_flags, uint32_t stream_id, Bytes payload, bool is_control) {
  uint8_t frame[frame_header_size + 64];
  PLAIT_ASSERT(payload.size() <= 64);
  FrameHeader{static_cast<uint32_t>(payload.size()), type, frame_flags, stream_id}.write(frame);
  if (!payload.empty()) std::memcpy(frame + frame_header_size, payload.data(), payload.size());
  // Control frames are few and small. Should even they find no block, the connection cannot go on in step with its
  // peer; the counter makes the owner stop and, with nothing sent, the stall timeout ends it.
  // Nor is anything understood for which the beginning is missing (RFC 9113 §3.4).
  if (!has_begun_ || !output_.append({frame, frame_header_size + payload.size()})) {
    if (!has_begun_) PLAIT_RARE("a connection has no room for its beginning");
    failed_ = true;
  }
  if (is_control) queued_control_ += 1;
}

void Session::link(Stream& stream, uint32_t id) {
  streams_.link(stream, id, scratch_.buckets);
  stream.send_window = FlowWindow(peer_.initial_window_size);
  // A client may have sent before it read our SETTINGS. A server cannot: they went ahead of the request it answers.
  const bool knows_window = role_ == Role::client || settings_acknowledged_;
  stream.receive_window =
      FlowWindow(knows_window ? config_.stream_window : std::max(config_.stream_window, default_window));
  stream.receive_window_size = config_.stream_window;
  stream.credit = 0;
}

void Session::release(Stream& stream) {
  if (stream.id == 0) return;
  streams_.unlink(stream, scratch_.buckets);
  if (data_stream_ == &stream) data_stream_ = nullptr;
  if (stream.state == StreamState::closed && !stream.was_too_large) guards_.giveReset(config_);
}

void Session::accept(Stream& stream) {
  PLAIT_ASSERT(pending_request_id_ != 0);
  link(stream, pending_request_id_);
  stream.head_received = true;
  if (scratch_.pending_request_ended) stream.endRemote();
  stream.content_left = scratch_.pending_content_length;
  stream.was_too_large = scratch_.pending_request_is_too_large;
  pending_request_id_ = 0;
}

void Session::refuse(uint32_t stream_id, H2Error code) {
  pending_request_id_ = 0;
  sendResetById(stream_id, code, nullptr);
}

bool Session::canSendHeaders(size_t fields_bytes, size_t count) const {
  const size_t bound = HpackEncoder::begin_bound + fields_bytes + count * HpackEncoder::bound(0, 0);
  const size_t frames = bound / default_max_frame_size + 1;
  return bound <= SessionScratch::encode_memory && output_.size() <= headLimit() &&
         bound + frames * frame_header_size <= output_.room();
}

// Heads do not wait for windows, so who sends requests and reads no answers could queue any number of them.
size_t Session::headLimit() const {
  if (role_ == Role::client) return SIZE_MAX;
  return output_.isScarce() ? config_.send_queue_limit / 4 : config_.send_queue_limit * 4;
}

void Session::beginHeaders() {
  PLAIT_ASSERT(scratch_.encode_position == nullptr);
  scratch_.encode_position = encoder_.begin(scratch_.encoded);
  scratch_.encodes_head_method = scratch_.encodes_connect_method = false;
}

void Session::endHeaders(Stream& stream, bool end_stream) {
  if (stream.id == 0) {
    PLAIT_ASSERT(role_ == Role::client && canOpenStream());
    link(stream, next_stream_id_);
    next_stream_id_ += 2;
    if (scratch_.encodes_head_method) stream.content = Content::none;
    if (scratch_.encodes_connect_method) stream.content = Content::tunnel;
  }
  PLAIT_ASSERT(stream.maySend());
  if (end_stream) stream.endLocal();
  earnFrames(Guards::frames_for_headers);
  Bytes block(scratch_.encoded, static_cast<size_t>(scratch_.encode_position - scratch_.encoded));
  scratch_.encode_position = nullptr;
  FrameType type = FrameType::headers;
  uint8_t frame_flags = end_stream ? flags::end_stream : 0;
  do {
    const Bytes part = block.first(std::min<size_t>(block.size(), default_max_frame_size));
    block = block.subspan(part.size());
    if (block.empty()) frame_flags |= flags::end_headers;
    uint8_t header[frame_header_size];
    FrameHeader{static_cast<uint32_t>(part.size()), type, frame_flags, stream.id}.write(header);
    PLAIT_ASSERT(output_.append(header) && output_.append(part));
    type = FrameType::continuation;
    frame_flags = 0;
  } while (!block.empty());
}

uint32_t Session::sendWindowOf(const Stream& stream) const {
  return std::min(stream.send_window.available(), send_window_.available());
}

size_t Session::sendable(const Stream& stream) const {
  if (!stream.maySend() || output_.size() >= config_.send_queue_limit) return 0;
  const size_t room = output_.bulkRoom();
  if (room <= frame_header_size) return 0;
  return std::min({size_t{sendWindowOf(stream)}, config_.send_queue_limit - output_.size(), room - frame_header_size});
}

size_t Session::sendData(Stream& stream, Bytes data, bool end_stream) {
  if (data.empty()) {
    if (end_stream) sendEnd(stream);
    return 0;
  }
  size_t taken = 0;
  while (taken < data.size()) {
    const size_t count = std::min({data.size() - taken, sendable(stream), size_t{peer_.max_frame_size}});
    if (count == 0) break;
    const bool last = end_stream && taken + count == data.size();
    uint8_t header[frame_header_size];
    FrameHeader{static_cast<uint32_t>(count), FrameType::data, last ? flags::end_stream : uint8_t{0}, stream.id}.write(
        header);
    PLAIT_ASSERT(output_.append(header));
    // bulkRoom() was counted in blocks, so both appends succeed or neither was tried.
    PLAIT_ASSERT(output_.append(data.subspan(taken, count), copies_data_ ? nullptr : scratch_.lender));
    stream.send_window.consume(static_cast<uint32_t>(count));
    send_window_.consume(static_cast<uint32_t>(count));
    taken += count;
    uint32_t earned = Guards::frames_for_data;
    // A backend may have reasons for small windows, and is one of few.
    if (taken != data.size() && sendWindowOf(stream) == 0 && role_ == Role::server) [[unlikely]]
      earned = std::min(static_cast<uint32_t>(count) / cut_bytes_for_frame, earned);
    earnFrames(earned);
    if (last) stream.endLocal();
  }
  return taken;
}

bool Session::sendEnd(Stream& stream) {
  if (!stream.maySend()) return true;
  if (output_.room() < frame_header_size) return false;
  appendFrame(FrameType::data, flags::end_stream, stream.id, {}, false);
  stream.endLocal();
  return true;
}

void Session::sendResetById(uint32_t id, H2Error code, const Stream* stream) {
  // The bytes that the peer may have sent, or may still send until it reads of the reset: the stream is not marked yet.
  // Without a stream there are none, unless the request that opened it is refused.
  uint32_t window = 0;
  if (stream != nullptr) {
    if (stream->mayReceive()) window = stream->receive_window.available();
  } else if (role_ == Role::server && id == last_peer_stream_id_ && !reader_.blockEndsStream()) {
    window = std::max(config_.stream_window, default_window);
  }
  uint8_t payload[4];
  storeBe32(payload, static_cast<uint32_t>(code));
  appendFrame(FrameType::rst_stream, 0, id, payload, true);
  resets_.add(id, window, scratch_.resets);
}

void Session::sendReset(Stream& stream, H2Error code) {
  if (stream.id == 0 || stream.isReset()) return;
  sendResetById(stream.id, code, &stream);
  stream.reset();
}

void Session::sendPing(uint64_t opaque) {
  uint8_t payload[8];
  storeBe64(payload, opaque);
  appendFrame(FrameType::ping, 0, 0, payload, true);
}

void Session::sendGoaway(uint32_t last_stream_id, H2Error code, std::string_view debug) {
  // The id never rises (RFC 9113 §6.8): streams that came after an earlier GOAWAY and were refused stay unprocessed.
  goaway_sent_id_ = std::min(goaway_sent_id_, last_stream_id);
  uint8_t payload[64];
  storeBe32(payload, goaway_sent_id_);
  storeBe32(payload + 4, static_cast<uint32_t>(code));
  const size_t debug_size = std::min(debug.size(), sizeof(payload) - 8);
  if (debug_size != 0) std::memcpy(payload + 8, debug.data(), debug_size);
  appendFrame(FrameType::goaway, 0, 0, {payload, 8 + debug_size}, false);
}

void Session::sendWindowUpdate(uint32_t stream_id, uint32_t increment) {
  uint8_t payload[4];
  storeBe32(payload, increment);
  appendFrame(FrameType::window_update, 0, stream_id, payload, false);
}

// So much of a window comes together before it is given back: an update for every frame would cost the peer and us more
// than it brings. Of a window that has grown for a long wire it is less. With half, the rest of a full window would
// often stay just below that for a whole round trip, in which the peer then sends only half of what it may.
static uint32_t creditStep(uint32_t window) {
  constexpr uint32_t usual = default_window / 2;
  return std::max(std::min(window / 2, usual), window / 8);
}

void Session::credit(Stream* stream, size_t count) {
  if (count == 0) return;
  connection_credit_ += static_cast<uint32_t>(count);
  if (connection_credit_ >= creditStep(connection_window_)) {
    sendWindowUpdate(0, connection_credit_);
    PLAIT_ASSERT(receive_window_.grow(connection_credit_));
    connection_credit_ = 0;
  }
  if (stream != nullptr) creditStream(*stream, count);
}

void Session::creditStream(Stream& stream, size_t count) {
  if (stream.id == 0 || !stream.mayReceive()) return;
  stream.credit += static_cast<uint32_t>(count);
  if (stream.credit >= creditStep(stream.receive_window_size)) {
    sendWindowUpdate(stream.id, stream.credit);
    PLAIT_ASSERT(stream.receive_window.grow(stream.credit));
    stream.credit = 0;
  }
}

void Session::growStreamWindow(Stream& stream, uint32_t size) {
  PLAIT_RARE("a stream's window grows");
  PLAIT_ASSERT(size <= FlowWindow::max_size);
  if (stream.id == 0 || !stream.mayReceive() || size <= stream.receive_window_size) return;
  const uint32_t increment = size - stream.receive_window_size + stream.credit;
  stream.receive_window_size = size;
  stream.credit = 0;
  sendWindowUpdate(stream.id, increment);
  PLAIT_ASSERT(stream.receive_window.grow(increment));
}

void Session::growConnectionWindow(uint32_t size) {
  PLAIT_RARE("a connection's window grows");
  PLAIT_ASSERT(size <= FlowWindow::max_size);
  if (size <= std::max(connection_window_, default_window)) return;
  const uint32_t increment = size - std::max(connection_window_, default_window) + connection_credit_;
  connection_window_ = size;
  connection_credit_ = 0;
  sendWindowUpdate(0, increment);
  PLAIT_ASSERT(receive_window_.grow(increment));
}

}  // namespace plait::h2
