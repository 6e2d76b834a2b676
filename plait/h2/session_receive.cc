// The receiving half of a session: frames out of bytes, and everything but header blocks.
#include <algorithm>

#include "plait/base/rare.h"
#include "plait/h2/session.h"

namespace plait::h2 {

Status Session::fail(const Error& error) {
  if (!failed_) sendGoaway(last_peer_stream_id_, static_cast<H2Error>(error.detail), error.reason);
  failed_ = true;
  return plait::fail(error);
}

bool Session::isIdle(uint32_t id) const {
  const bool is_ours = (id % 2 == 1) == (role_ == Role::client);
  return is_ours ? id >= next_stream_id_ : id > last_peer_stream_id_;
}

// A frame that a client sends on a stream that both sides have ended may cost it the connection (RFC 9113 §5.1): it
// harms only itself. A backend's connection carries the streams of others, so there the stream alone is answered for.
bool Session::isClosedForClient(const Stream* stream) const {
  if (role_ == Role::client) return false;
  return stream == nullptr || stream->state == StreamState::closed;
}

// The price of the frame whose header was just read.
Status Session::spendFrame() {
  const FrameHeader& frame = reader_.frame();
  uint32_t price = 0;
  switch (frame.type) {
    case FrameType::data:
      if (frame.length != 0) {
        earnFrames(Guards::frames_for_data);
      } else if (!frame.has(flags::end_stream)) {
        price = 1;
      }
      break;
    case FrameType::headers:
    case FrameType::continuation:
      break;  // what they may cost has bounds of its own
    case FrameType::settings:
      price = 1 + frame.length / 6;  // each may have to visit every stream
      break;
    default:
      price = 1;
      break;
  }
  return payFrames(price);
}

Status Session::payFrames(uint32_t price) {
  if (guards_.takeFrames(price)) return {};
  PLAIT_RARE("a flood of frames");
  return fail(H2Error::enhance_your_calm, "too many frames that carry nothing", Fault::frame_flood);
}

Status Session::next(Bytes& input, Event& event, uint32_t now_s) {
  event.kind = Event::Kind::none;
  if (failed_) return plait::fail(connectionError(ErrorCode::protocol_error, "the connection has failed before"));
  event.stream = nullptr;
  event.end_stream = false;
  event.data = {};
  guards_.refill(config_, now_s);
  // A request that the owner neither accepted nor refused is refused: the engine must not keep it.
  if (pending_request_id_ != 0) refuse(pending_request_id_, H2Error::refused_stream);
  event.status = 0;
  while (event.kind == Event::Kind::none) {
    if (input.empty() && reader_.needsInput()) return {};
    Status status;
    switch (reader_.phase()) {
      case FrameReader::Phase::preface:
        status = reader_.takePreface(input);
        if (!status) return fail(status.error());
        break;
      case FrameReader::Phase::header:
        if (!reader_.takeHeader(input)) {
          if (!reader_.isOfAnotherProtocol()) break;
          return fail(H2Error::protocol_error, "the first frame is not SETTINGS (RFC 9113 §3.4)");
        }
        status = onFrame(input, event);
        break;
      case FrameReader::Phase::data_padding:
        status = onDataPadding(input, event);
        break;
      case FrameReader::Phase::data:
        status = onData(input, event);
        break;
      case FrameReader::Phase::skip:
        reader_.skip(input);
        break;
      case FrameReader::Phase::payload:
        status = takePayload(input, event);
        break;
    }
    if (!status) return status;
  }
  return {};
}

// A frame's header is whole, and `input` goes on behind it.
Status Session::onFrame(Bytes input, Event& event) {
  work_ += work_for_frame;
  const FrameHeader& frame = reader_.frame();
  // The stream of the frame behind this one, if it is there already, is fetched while this one is worked on.
  if (input.size() >= size_t{frame.length} + frame_header_size)
    streams_.expect(FrameHeader::parse(input.data() + frame.length).stream_id);
  if (Status status = reader_.check(scratch_, config_); !status) return fail(status.error());
  if (Status status = spendFrame(); !status) return status;
  return frame.type == FrameType::data ? onDataHeader(event) : Status();
}

Status Session::takePayload(Bytes& input, Event& event) {
  Bytes payload;
  const auto part = reader_.takePayload(input, payload, scratch_);
  if (!part) return fail(part.error());
  if (*part == FrameReader::Part::incomplete) return {};
  if (Status status = onPayload(payload, event); !status) return status;
  // No event's view points into the carry, since fields are copied when they are decoded.
  reader_.endPayload(scratch_);
  return {};
}

Status Session::onDataHeader(Event& event) {
  const FrameHeader& frame = reader_.frame();
  const uint32_t length = frame.length;
  const uint32_t id = frame.stream_id;
  if (isIdle(id)) return fail(H2Error::protocol_error, "DATA on an idle stream (RFC 9113 §5.1)");
  if (length > receive_window_.available()) {
    return fail(H2Error::flow_control_error, "DATA exceeds the connection's window (RFC 9113 §6.9.1)");
  }
  receive_window_.consume(length);
  if (frame.has(flags::padded) && length == 0) {
    return fail(H2Error::frame_size_error, "a padded DATA frame without its padding length (RFC 9113 §6.1)");
  }
  reader_.beginData();
  Stream* stream = find(id);
  data_stream_ = nullptr;  // until the stream is known to take it: what it does not take is credited and dropped
  if (stream == nullptr && resets_.mayContain(id)) {
    PLAIT_RARE("DATA crosses a reset");
    return onCrossingData();
  }
  if (isClosedForClient(stream)) return fail(H2Error::stream_closed, "DATA on a closed stream (RFC 9113 §5.1)");
  if (stream == nullptr) {
    return streamFailed(nullptr, id, H2Error::stream_closed, "DATA on a closed stream (RFC 9113 §5.1)", event);
  }
  if (stream->isReset()) {
    if (stream->state == StreamState::reset) return onCrossingData();
    return streamFailed(nullptr, id, H2Error::stream_closed, "DATA after RST_STREAM (RFC 9113 §5.1)", event);
  }
  if (!stream->mayReceive()) {
    return streamFailed(stream, id, H2Error::stream_closed, "DATA after END_STREAM (RFC 9113 §5.1)", event);
  }
  if (!stream->head_received) {
    return streamFailed(stream, id, H2Error::protocol_error, "DATA before the response's HEADERS (RFC 9113 §8.1)",
                        event);
  }
  if (length > stream->receive_window.available()) {
    return streamFailed(stream, id, H2Error::flow_control_error, "DATA exceeds the stream's window (RFC 9113 §6.9.1)",
                        event);
  }
  stream->receive_window.consume(length);
  data_stream_ = stream;
  Bytes nothing;
  return length == 0 ? onData(nothing, event) : Status();
}

// DATA on a stream that we have reset is dropped. There can be no more of it than the stream's window allowed at that
// time; a peer that sends it pays for it, and one that goes on beyond that observes no windows.
Status Session::onCrossingData() {
  if (!resets_.takeCrossing(reader_.frame().length))
    return fail(H2Error::flow_control_error, "DATA exceeds the window of a stream that was reset (RFC 9113 §6.9.1)");
  return payFrames(Guards::frames_for_data + 1);
}

// The first byte of a padded DATA frame. Padding is credited at once: nobody else will do it (RFC 9113 §6.9.1).
Status Session::onDataPadding(Bytes& input, Event& event) {
  const auto padding = reader_.takePaddingLength(input);
  if (!padding) return fail(padding.error());
  credit(data_stream_, *padding);
  Bytes nothing;
  return reader_.contentLeft() == 0 ? onData(nothing, event) : Status();
}

// Delivers what is there of the DATA frame under way. Bytes for a stream that is gone are credited and dropped.
Status Session::onData(Bytes& input, Event& event) {
  const uint32_t content_left = reader_.contentLeft();
  const Bytes content = reader_.takeContent(input);
  const auto count = static_cast<uint32_t>(content.size());
  Stream* stream = data_stream_;
  if (stream == nullptr || stream->isReset()) {
    credit(nullptr, count);
    return {};
  }
  const bool ends_stream = reader_.frame().has(flags::end_stream);
  const bool end = ends_stream && count == content_left;
  // The whole frame is measured, so that nothing is delivered of one that says too much, however it arrives.
  const char* fault = nullptr;
  if (stream->content == Content::none && content_left != 0) {
    fault = "DATA in a response that has no content (RFC 9110 §6.4.1)";
  } else if (stream->content_left != http::unknown_length) {
    if (content_left > stream->content_left || (ends_stream && content_left != stream->content_left)) {
      fault = "DATA does not add up to Content-Length (RFC 9113 §8.1.1)";
    } else {
      stream->content_left -= count;
    }
  }
  if (fault != nullptr) {
    credit(nullptr, count);
    return streamFailed(stream, stream->id, H2Error::protocol_error, fault, event);
  }
  if (end) stream->endRemote();
  if (count == 0 && !end) return {};
  event.kind = Event::Kind::data;
  event.stream = stream;
  event.stream_id = stream->id;
  event.data = content;
  event.end_stream = end;
  return {};
}

Status Session::onPayload(Bytes payload, Event& event) {
  const FrameHeader& frame = reader_.frame();
  switch (frame.type) {
    case FrameType::headers: {
      const auto part = reader_.beginBlock(payload, scratch_);
      if (!part) return fail(part.error());
      return *part == FrameReader::Part::whole ? onHeaderBlock(payload, event) : Status();
    }
    case FrameType::continuation: {
      const auto part = reader_.continueBlock(payload, config_);
      if (!part) return fail(part.error());
      return *part == FrameReader::Part::whole ? onHeaderBlock(payload, event) : Status();
    }
    case FrameType::priority: {
      // Priorities are ignored (RFC 9113 §5.3.2), faults in them are not.
      const uint32_t id = frame.stream_id;
      if (payload.size() != 5) {
        // RST_STREAM must not be sent on an idle stream, so there the stream error becomes one of the connection.
        if (isIdle(id)) return fail(H2Error::frame_size_error, "PRIORITY is not 5 bytes long (RFC 9113 §6.3)");
        return streamFailed(find(id), id, H2Error::frame_size_error, "PRIORITY is not 5 bytes long (RFC 9113 §6.3)",
                            event);
      }
      if ((loadBe32(payload.data()) & max_stream_id) != id) return {};
      if (isIdle(id)) return fail(H2Error::protocol_error, "a stream depends on itself (RFC 7540 §5.3.1)");
      return streamFailed(find(id), id, H2Error::protocol_error, "a stream depends on itself (RFC 7540 §5.3.1)", event);
    }
    case FrameType::rst_stream:
      return onReset(payload, event);
    case FrameType::settings:
      return onSettings(payload, event);
    case FrameType::ping:
      if (frame.has(flags::ack)) {
        event.kind = Event::Kind::ping_ack;
        event.opaque = loadBe64(payload.data());
      } else {
        appendFrame(FrameType::ping, flags::ack, 0, payload, true);
      }
      return {};
    case FrameType::goaway:
      return onGoaway(payload, event);
    case FrameType::window_update:
      return onWindowUpdate(payload, event);
    default:
      return {};
  }
}

Status Session::onSettings(Bytes payload, Event& event) {
  if (reader_.frame().has(flags::ack)) return onSettingsAcknowledged();
  for (; !payload.empty(); payload = payload.subspan(6)) {
    const uint32_t value = loadBe32(payload.data() + 2);
    switch (static_cast<SettingId>(loadBe16(payload.data()))) {
      case SettingId::header_table_size:
        encoder_.setPeerTableSize(value);
        break;
      case SettingId::enable_push:
        if (value > 1 || (role_ == Role::client && value == 1))
          return fail(H2Error::protocol_error, "SETTINGS_ENABLE_PUSH has a wrong value (RFC 9113 §6.5.2)");
        break;
      case SettingId::max_concurrent_streams:
        peer_.max_concurrent_streams = value;
        break;
      case SettingId::initial_window_size: {
        if (value > FlowWindow::max_size)
          return fail(H2Error::flow_control_error, "SETTINGS_INITIAL_WINDOW_SIZE is above 2^31-1 (RFC 9113 §6.5.2)");
        const int64_t delta = int64_t{value} - peer_.initial_window_size;
        for (Stream* stream = streams_.list().front(); stream != nullptr; stream = streams_.list().next(*stream)) {
          // A stream that is over has no window that could overflow, though its owner may not have let go of it yet.
          if (stream->isClosed()) continue;
          if (!stream->send_window.grow(delta))
            return fail(H2Error::flow_control_error,
                        "SETTINGS_INITIAL_WINDOW_SIZE overflows a window (RFC 9113 §6.9.2)");
        }
        peer_.initial_window_size = value;
        break;
      }
      case SettingId::max_frame_size:
        if (value < default_max_frame_size || value > 0xffffff)
          return fail(H2Error::protocol_error, "SETTINGS_MAX_FRAME_SIZE is out of range (RFC 9113 §6.5.2)");
        peer_.max_frame_size = value;
        break;
      case SettingId::enable_connect_protocol:
        if (value > 1 || value < peer_.enable_connect_protocol) {
          return fail(H2Error::protocol_error, "SETTINGS_ENABLE_CONNECT_PROTOCOL has a wrong value (RFC 8441 §3)");
        }
        peer_.enable_connect_protocol = value == 1;
        break;
      default:
        break;  // unknown settings are ignored (RFC 9113 §6.5.2)
    }
  }
  appendFrame(FrameType::settings, flags::ack, 0, {}, true);
  event.kind = Event::Kind::settings;
  return {};
}

// From here on the client knows the window that we announced; what it was granted until then is taken back.
Status Session::onSettingsAcknowledged() {
  if (settings_acknowledged_) return {};
  settings_acknowledged_ = true;
  if (role_ == Role::client || config_.stream_window >= default_window) return {};
  const int64_t delta = int64_t{config_.stream_window} - default_window;
  for (Stream* stream = streams_.list().front(); stream != nullptr; stream = streams_.list().next(*stream)) {
    PLAIT_ASSERT(stream->receive_window.grow(delta));
  }
  return {};
}

Status Session::onWindowUpdate(Bytes payload, Event& event) {
  const uint32_t increment = loadBe32(payload.data()) & max_stream_id;
  const uint32_t id = reader_.frame().stream_id;
  if (id == 0) {
    if (increment == 0) return fail(H2Error::protocol_error, "WINDOW_UPDATE of 0 (RFC 9113 §6.9)");
    if (!send_window_.grow(increment))
      return fail(H2Error::flow_control_error, "the connection's window exceeds 2^31-1 (RFC 9113 §6.9.1)");
    event.kind = Event::Kind::window;
    event.stream = nullptr;
    return {};
  }
  if (isIdle(id)) return fail(H2Error::protocol_error, "WINDOW_UPDATE on an idle stream (RFC 9113 §5.1)");
  Stream* stream = find(id);
  if (stream == nullptr || stream->isReset()) return {};
  if (increment == 0) {
    return streamFailed(stream, stream->id, H2Error::protocol_error, "WINDOW_UPDATE of 0 (RFC 9113 §6.9)", event);
  }
  if (!stream->send_window.grow(increment)) {
    return streamFailed(stream, stream->id, H2Error::flow_control_error,
                        "the stream's window exceeds 2^31-1 (RFC 9113 §6.9.1)", event);
  }
  event.kind = Event::Kind::window;
  event.stream = stream;
  event.stream_id = stream->id;
  return {};
}

// Every reset that a client sends or provokes costs it a token: both make us start work and throw it away. A backend's
// do not, because a backend that refuses streams is overloaded rather than hostile.
Status Session::spendReset(Fault fault) {
  if (role_ == Role::client) return {};
  if (guards_.takeReset()) return {};
  return fail(H2Error::enhance_your_calm,
              fault == Fault::reset_flood ? "too many streams end by a reset" : "too many streams at once", fault);
}

void Session::chargeForFields(size_t list_size) {
  guards_.takeResets(static_cast<uint32_t>(list_size / config_.max_header_list_size));
}

Status Session::onReset(Bytes payload, Event& event) {
  const uint32_t id = reader_.frame().stream_id;
  if (isIdle(id)) return fail(H2Error::protocol_error, "RST_STREAM on an idle stream (RFC 9113 §6.4)");
  if (Status status = spendReset(); !status) return status;
  Stream* stream = find(id);
  if (stream == nullptr || stream->isReset()) return {};
  stream->state = StreamState::reset_by_peer;
  event.kind = Event::Kind::stream_error;
  event.stream = stream;
  event.stream_id = stream->id;
  event.by_peer = true;
  event.error_code = static_cast<H2Error>(loadBe32(payload.data()));
  event.reason = "the peer reset the stream";
  return {};
}

Status Session::onGoaway(Bytes payload, Event& event) {
  goaway_received_ = true;
  // A peer must not raise the id (RFC 9113 §6.8): what was once declared unprocessed may have been repeated elsewhere.
  goaway_last_id_ = std::min(goaway_last_id_, loadBe32(payload.data()) & max_stream_id);
  event.kind = Event::Kind::goaway;
  event.last_stream_id = goaway_last_id_;
  event.error_code = static_cast<H2Error>(loadBe32(payload.data() + 4));
  // A frame that came in pieces lies in the carry, which is given back; fields' memory is free now.
  const Bytes text = payload.subspan(8).first(std::min(payload.size() - 8, sizeof(scratch_.fields)));
  if (!text.empty()) std::memcpy(scratch_.fields, text.data(), text.size());
  event.data = {scratch_.fields, text.size()};
  return {};
}

// The stream is over because of what the peer did: RST_STREAM goes out, and the owner is told if it knows the stream.
Status Session::streamFailed(Stream* stream, uint32_t id, H2Error code, const char* reason, Event& event) {
  if (Status status = spendReset(); !status) return status;
  if (stream != nullptr && stream->isReset()) return {};
  sendResetById(id, code, stream);
  if (stream != nullptr) stream->reset();
  setStreamError(stream, id, code, reason, event);
  return {};
}

void Session::setStreamError(Stream* stream, uint32_t id, H2Error code, const char* reason, Event& event) {
  event.kind = Event::Kind::stream_error;
  event.stream = stream;
  event.stream_id = id;
  event.by_peer = false;
  event.error_code = code;
  event.reason = reason;
  event.fault = code == H2Error::protocol_error ? Fault::malformed_message
                : code == H2Error::enhance_your_calm
                    ? Fault::message_too_large
                    : faultOf(connectionError(ErrorCode::protocol_error, reason, static_cast<uint32_t>(code)));
}

// A request that becomes no stream of the usual kind.
void Session::reject(uint32_t id, H2Error code, Fault fault, const char* reason, Event& event) {
  event.kind = Event::Kind::rejected;
  event.stream_id = id;
  event.error_code = code;
  event.fault = fault;
  event.reason = reason;
  event.request.version = http::Version::http_2;
  event.request.fields = event.fields;
}

}  // namespace plait::h2
