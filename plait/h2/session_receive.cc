// The receiving half of a session: frames out of bytes, and everything but header blocks.
#include <algorithm>

#include "plait/base/prefetch.h"
#include "plait/base/rare.h"
#include "plait/h2/session.h"

namespace plait::h2 {

Status Session::fail(H2Error code, const char* reason, Fault fault) {
  if (!failed_) sendGoaway(last_peer_stream_id_, code, reason);
  failed_ = true;
  return plait::fail(connectionError(ErrorCode::protocol_error, reason, static_cast<uint32_t>(code)).as(fault));
}

bool Session::isIdle(uint32_t id) const {
  const bool is_ours = (id % 2 == 1) == (role_ == Role::client);
  return is_ours ? id >= next_stream_id_ : id > last_peer_stream_id_;
}

void Session::rememberReset(uint32_t id) {
  if (recent_resets_ == nullptr) {
    recent_resets_ = static_cast<uint32_t*>(scratch_.resets.take());
    PLAIT_ASSERT(recent_resets_ != nullptr);  // there is one for every session
    std::fill(recent_resets_, recent_resets_ + remembered_resets, 0);
  }
  uint32_t& slot = recent_resets_[recent_reset_next_++ % remembered_resets];
  forgotten_reset_ = std::max(forgotten_reset_, slot);
  slot = id;
}

// Frames that crossed our RST_STREAM are ignored (RFC 9113 §5.1). Whoever cancels more streams in a round trip than are
// remembered must not lose the connection for it, so ids up to the highest forgotten one get the benefit of the doubt.
// Streams that are over count no longer (RFC 9113 §5.1.2), although their owners may not have let go of them yet; of
// those there may be as many again.
bool Session::isAtLimit() {
  const uint32_t limit = scratch_.config.max_concurrent_streams;
  if (stream_count_ < limit) return false;
  if (stream_count_ >= 2 * limit) return true;
  uint32_t live = 0;
  for (Stream* stream = streams_.front(); stream != nullptr; stream = streams_.next(*stream)) {
    if (!stream->isClosed()) live += 1;
  }
  return live >= limit;
}

bool Session::mayHaveBeenReset(uint32_t id) const {
  if (id <= forgotten_reset_) return true;
  if (recent_resets_ == nullptr) return false;
  const uint32_t* const end = recent_resets_ + remembered_resets;
  return std::find(static_cast<const uint32_t*>(recent_resets_), end, id) != end;
}

// What a client sends on a stream that both sides have ended may cost it the connection (RFC 9113 §5.1): it harms only
// itself. A backend's connection carries the streams of others, so there the stream alone is answered for.
bool Session::isClosedForClient(const Stream* stream) const {
  if (role_ == Role::client) return false;
  return stream == nullptr || (!stream->is_reset && stream->isClosed());
}

void Session::refillTokens(uint32_t now_s) {
  if (now_s == refilled_s_) return;
  const uint64_t passed_s = now_s - refilled_s_;
  const auto refill = [passed_s](uint32_t& tokens, uint32_t burst, uint32_t per_second) {
    tokens = static_cast<uint32_t>(std::min<uint64_t>(burst, tokens + passed_s * per_second));
  };
  refill(reset_tokens_, scratch_.config.reset_burst, scratch_.config.resets_per_second);
  refill(frame_tokens_, scratch_.config.idle_frame_burst, scratch_.config.idle_frames_per_second);
  refilled_s_ = now_s;
}

void Session::earnFrames(uint32_t count) {
  frame_tokens_ = std::min(frame_tokens_ + count, scratch_.config.idle_frame_burst);
}

// The price of the frame whose header was just read.
Status Session::spendFrame() {
  uint32_t price = 0;
  switch (frame_.type) {
    case FrameType::data:
      if (frame_.length != 0) {
        earnFrames(frames_for_data);
      } else if (!frame_.has(flags::end_stream)) {
        price = 1;
      }
      break;
    case FrameType::headers:
    case FrameType::continuation:
      break;  // what they may cost has bounds of its own
    case FrameType::settings:
      price = 1 + frame_.length / 6;  // each may have to visit every stream
      break;
    default:
      price = 1;
      break;
  }
  return payFrames(price);
}

Status Session::payFrames(uint32_t price) {
  if (frame_tokens_ < price) {
    PLAIT_RARE("a flood of frames");
    frame_tokens_ = 0;
    return fail(H2Error::enhance_your_calm, "too many frames that carry nothing", Fault::frame_flood);
  }
  frame_tokens_ -= price;
  return {};
}

Status Session::next(Bytes& input, Event& event, uint32_t now_s) {
  event.kind = Event::Kind::none;
  if (failed_) return plait::fail(connectionError(ErrorCode::protocol_error, "the connection has failed before"));
  event.stream = nullptr;
  event.end_stream = false;
  event.data = {};
  refillTokens(now_s);
  // A request that the owner neither accepted nor refused is refused: the engine must not keep it.
  if (pending_request_id_ != 0) refuse(pending_request_id_, H2Error::refused_stream);
  while (event.kind == Event::Kind::none) {
    if (phase_ == Phase::data && frame_left_ == 0) phase_ = Phase::header;
    // An empty payload at the end of the input is complete all the same.
    if (input.empty() && !(phase_ == Phase::payload && frame_left_ == 0)) return {};
    Status status;
    switch (phase_) {
      case Phase::preface: {
        const size_t count = std::min(input.size(), client_preface.size() - header_filled_);
        if (asText(input.first(count)) != client_preface.substr(header_filled_, count)) {
          return fail(H2Error::protocol_error, "the client preface is wrong (RFC 9113 §3.4)");
        }
        header_filled_ += static_cast<uint32_t>(count);
        input = input.subspan(count);
        if (header_filled_ == client_preface.size()) {
          header_filled_ = 0;
          phase_ = Phase::header;
        }
        break;
      }
      case Phase::header: {
        const size_t count = std::min<size_t>(input.size(), frame_header_size - header_filled_);
        std::memcpy(header_ + header_filled_, input.data(), count);
        header_filled_ += static_cast<uint32_t>(count);
        input = input.subspan(count);
        if (header_filled_ < frame_header_size) break;
        header_filled_ = 0;
        work_ += work_for_frame;
        frame_ = FrameHeader::parse(header_);
        frame_left_ = frame_.length;
        padding_left_ = 0;
        expectNextFrame(input);
        status = onFrameHeader();
        if (status) status = spendFrame();
        if (status && frame_.type == FrameType::data) status = onDataHeader(event);
        break;
      }
      case Phase::data_padding:
        status = onDataPadding(input, event);
        break;
      case Phase::data:
        status = onData(input, event);
        break;
      case Phase::skip: {
        const size_t count = std::min<size_t>(input.size(), frame_left_);
        input = input.subspan(count);
        frame_left_ -= static_cast<uint32_t>(count);
        if (frame_left_ == 0) phase_ = Phase::header;
        break;
      }
      case Phase::payload:
        status = takePayload(input, event);
        break;
    }
    if (!status) return status;
  }
  return {};
}

// The stream of the frame behind this one, if it is there already, is fetched while this one is worked on.
void Session::expectNextFrame(Bytes input) const {
  if (input.size() < size_t{frame_.length} + frame_header_size) return;
  const uint32_t id = FrameHeader::parse(input.data() + frame_.length).stream_id;
  if (const Stream* const next = buckets_[bucketOf(id)]) prefetch(next, sizeof(Stream));
}

// The payload of any frame but DATA, in place where it lies whole in the input, else collected in the carry.
Status Session::takePayload(Bytes& input, Event& event) {
  Bytes payload;
  if (carry_filled_ == block_size_ && input.size() >= frame_left_) {
    payload = input.first(frame_left_);
    input = input.subspan(frame_left_);
  } else {
    if (!takeCarry(size_t{carry_filled_} + frame_left_)) {
      return fail(H2Error::enhance_your_calm, "no memory is left for a partial frame", Fault::no_memory);
    }
    const size_t count = std::min<size_t>(input.size(), frame_left_);
    if (count != 0) std::memcpy(carry_ + carry_filled_, input.data(), count);
    carry_filled_ += static_cast<uint32_t>(count);
    frame_left_ -= static_cast<uint32_t>(count);
    input = input.subspan(count);
    if (frame_left_ != 0) return {};
    payload = {carry_ + block_size_, carry_filled_ - block_size_};
  }
  frame_left_ = 0;
  phase_ = Phase::header;
  if (Status status = onPayload(payload, event); !status) return status;
  // No event's view points into the carry, since fields are copied when they are decoded.
  if (awaiting_continuation_) {
    carry_filled_ = block_size_;
  } else {
    giveCarry();
  }
  return {};
}

// What is wrong with a frame by its header alone.
Status Session::onFrameHeader() {
  const uint32_t length = frame_.length;
  const uint32_t id = frame_.stream_id;
  if (length > default_max_frame_size)
    return fail(H2Error::frame_size_error, "a frame is longer than our SETTINGS_MAX_FRAME_SIZE (RFC 9113 §4.2)");
  if (awaiting_continuation_ && (frame_.type != FrameType::continuation || id != block_stream_id_)) {
    return fail(H2Error::protocol_error, "a header block is interrupted by another frame (RFC 9113 §6.10)");
  }
  if (awaiting_continuation_ && size_t{block_size_} + length > scratch_.carry_blocks.blockSize()) {
    PLAIT_RARE("CONTINUATIONs without end");
    return fail(H2Error::enhance_your_calm, "a header block is too large", Fault::continuation_flood);
  }
  if (!settings_received_ && (frame_.type != FrameType::settings || frame_.has(flags::ack))) {
    return fail(H2Error::protocol_error, "the first frame is not SETTINGS (RFC 9113 §3.4)");
  }
  phase_ = Phase::payload;
  switch (frame_.type) {
    case FrameType::data:
      phase_ = Phase::data;
      if (id == 0) return fail(H2Error::protocol_error, "DATA on stream 0 (RFC 9113 §6.1)");
      break;
    case FrameType::headers:
      if (id == 0) return fail(H2Error::protocol_error, "HEADERS on stream 0 (RFC 9113 §6.2)");
      break;
    case FrameType::priority:
      if (id == 0) return fail(H2Error::protocol_error, "PRIORITY on stream 0 (RFC 9113 §6.3)");
      // RST_STREAM must not be sent on an idle stream, so there the stream error becomes one of the connection.
      if (length != 5 && isIdle(id))
        return fail(H2Error::frame_size_error, "PRIORITY is not 5 bytes long (RFC 9113 §6.3)");
      break;
    case FrameType::rst_stream:
      if (id == 0) return fail(H2Error::protocol_error, "RST_STREAM on stream 0 (RFC 9113 §6.4)");
      if (length != 4) return fail(H2Error::frame_size_error, "RST_STREAM is not 4 bytes long (RFC 9113 §6.4)");
      if (isIdle(id)) return fail(H2Error::protocol_error, "RST_STREAM on an idle stream (RFC 9113 §6.4)");
      break;
    case FrameType::settings:
      if (id != 0) return fail(H2Error::protocol_error, "SETTINGS on a stream (RFC 9113 §6.5)");
      if (length % 6 != 0 || (frame_.has(flags::ack) && length != 0)) {
        return fail(H2Error::frame_size_error, "SETTINGS has a wrong length (RFC 9113 §6.5)");
      }
      if (length / 6 > scratch_.config.max_settings_entries)
        return fail(H2Error::enhance_your_calm, "SETTINGS has too many entries", Fault::settings_size);
      break;
    case FrameType::push_promise:
      return fail(H2Error::protocol_error, "PUSH_PROMISE, which nobody allowed (RFC 9113 §8.4)");
    case FrameType::ping:
      if (id != 0) return fail(H2Error::protocol_error, "PING on a stream (RFC 9113 §6.7)");
      if (length != 8) return fail(H2Error::frame_size_error, "PING is not 8 bytes long (RFC 9113 §6.7)");
      break;
    case FrameType::goaway:
      if (id != 0) return fail(H2Error::protocol_error, "GOAWAY on a stream (RFC 9113 §6.8)");
      if (length < 8) return fail(H2Error::frame_size_error, "GOAWAY is shorter than 8 bytes (RFC 9113 §6.8)");
      break;
    case FrameType::window_update:
      if (length != 4) return fail(H2Error::frame_size_error, "WINDOW_UPDATE is not 4 bytes long (RFC 9113 §6.9)");
      if (id != 0 && isIdle(id))
        return fail(H2Error::protocol_error, "WINDOW_UPDATE on an idle stream (RFC 9113 §5.1)");
      break;
    case FrameType::continuation:
      if (!awaiting_continuation_)
        return fail(H2Error::protocol_error, "CONTINUATION without a header block (RFC 9113 §6.10)");
      break;
    default:
      phase_ = frame_left_ == 0 ? Phase::header : Phase::skip;  // unknown frames are ignored (RFC 9113 §4.1)
      break;
  }
  return {};
}

Status Session::onDataHeader(Event& event) {
  const uint32_t length = frame_.length;
  const uint32_t id = frame_.stream_id;
  if (isIdle(id)) return fail(H2Error::protocol_error, "DATA on an idle stream (RFC 9113 §5.1)");
  if (length > receive_window_.available()) {
    return fail(H2Error::flow_control_error, "DATA exceeds the connection's window (RFC 9113 §6.9.1)");
  }
  receive_window_.consume(length);
  if (frame_.has(flags::padded) && length == 0) {
    return fail(H2Error::frame_size_error, "a padded DATA frame without its padding length (RFC 9113 §6.1)");
  }
  phase_ = frame_.has(flags::padded) ? Phase::data_padding : Phase::data;
  Stream* stream = find(id);
  data_stream_ = nullptr;  // until the stream is known to take it: what it does not take is credited and dropped
  if (stream == nullptr && mayHaveBeenReset(id)) {
    PLAIT_RARE("DATA crosses a reset");
    return onCrossingData();
  }
  if (isClosedForClient(stream)) return fail(H2Error::stream_closed, "DATA on a closed stream (RFC 9113 §5.1)");
  if (stream == nullptr) {
    return streamFailed(nullptr, id, H2Error::stream_closed, "DATA on a closed stream (RFC 9113 §5.1)", event);
  }
  if (stream->is_reset) {
    if (!stream->reset_by_peer) return onCrossingData();
    return streamFailed(nullptr, id, H2Error::stream_closed, "DATA after RST_STREAM (RFC 9113 §5.1)", event);
  }
  if (stream->remote_ended) {
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
// time; who sends it pays for it, and whoever goes on beyond that observes no windows.
Status Session::onCrossingData() {
  if (frame_.length > crossing_bytes_) {
    return fail(H2Error::flow_control_error, "DATA exceeds the window of a stream that was reset (RFC 9113 §6.9.1)");
  }
  crossing_bytes_ -= frame_.length;
  return payFrames(frames_for_data + 1);
}

// The first byte of a padded DATA frame. Padding is credited at once: nobody else will do it (RFC 9113 §6.9.1).
Status Session::onDataPadding(Bytes& input, Event& event) {
  padding_left_ = input[0];
  input = input.subspan(1);
  frame_left_ -= 1;
  if (padding_left_ > frame_left_) {
    return fail(H2Error::protocol_error, "padding is longer than its DATA frame (RFC 9113 §6.1)");
  }
  credit(data_stream_, 1 + padding_left_);
  phase_ = Phase::data;
  Bytes nothing;
  return frame_left_ == padding_left_ ? onData(nothing, event) : Status();
}

// Delivers what is there of the DATA frame under way. Bytes for a stream that is gone are credited and dropped.
Status Session::onData(Bytes& input, Event& event) {
  const uint32_t content_left = frame_left_ - padding_left_;
  const auto count = static_cast<uint32_t>(std::min<size_t>(content_left, input.size()));
  const Bytes content = input.first(count);
  input = input.subspan(count);
  frame_left_ -= count;
  const bool is_complete = frame_left_ == padding_left_;
  // What is left now is padding.
  if (is_complete) phase_ = frame_left_ == 0 ? Phase::header : Phase::skip;
  Stream* stream = data_stream_;
  if (stream == nullptr || stream->is_reset) {
    credit(nullptr, count);
    return {};
  }
  const bool end = is_complete && frame_.has(flags::end_stream);
  // The whole frame is measured, so that nothing is delivered of one that says too much, however it arrives.
  const char* fault = nullptr;
  if (stream->expects_no_body && content_left != 0) {
    fault = "DATA in a response that has no content (RFC 9110 §6.4.1)";
  } else if (stream->content_left != http::unknown_length) {
    if (content_left > stream->content_left ||
        (frame_.has(flags::end_stream) && content_left != stream->content_left)) {
      fault = "DATA does not add up to Content-Length (RFC 9113 §8.1.1)";
    } else {
      stream->content_left -= count;
    }
  }
  if (fault != nullptr) {
    credit(nullptr, count);
    return streamFailed(stream, stream->id, H2Error::protocol_error, fault, event);
  }
  if (end) stream->remote_ended = true;
  if (count == 0 && !end) return {};
  event.kind = Event::Kind::data;
  event.stream = stream;
  event.stream_id = stream->id;
  event.data = content;
  event.end_stream = end;
  return {};
}

Status Session::onPayload(Bytes payload, Event& event) {
  switch (frame_.type) {
    case FrameType::headers:
      return onHeaders(payload, event);
    case FrameType::continuation:
      return onContinuation(payload, event);
    case FrameType::priority: {
      // Priorities are ignored (RFC 9113 §5.3.2), faults in them are not.
      const uint32_t id = frame_.stream_id;
      if (payload.size() != 5) {
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
      if (frame_.has(flags::ack)) {
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
  if (frame_.has(flags::ack)) return onSettingsAcknowledged();
  for (; !payload.empty(); payload = payload.subspan(6)) {
    const uint32_t value = loadBe32(payload.data() + 2);
    switch (static_cast<SettingId>(loadBe16(payload.data()))) {
      case SettingId::header_table_size:
        peer_.header_table_size = value;
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
        for (Stream* stream = streams_.front(); stream != nullptr; stream = streams_.next(*stream)) {
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
      case SettingId::max_header_list_size:
        peer_.max_header_list_size = value;
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
  settings_received_ = true;
  appendFrame(FrameType::settings, flags::ack, 0, {}, true);
  event.kind = Event::Kind::settings;
  return {};
}

// From here on the client knows the window that we announced; what it was granted until then is taken back.
Status Session::onSettingsAcknowledged() {
  if (settings_acknowledged_) return {};
  settings_acknowledged_ = true;
  if (role_ == Role::client || scratch_.config.stream_window >= default_window) return {};
  const int64_t delta = int64_t{scratch_.config.stream_window} - default_window;
  for (Stream* stream = streams_.front(); stream != nullptr; stream = streams_.next(*stream)) {
    PLAIT_ASSERT(stream->receive_window.grow(delta));
  }
  return {};
}

Status Session::onWindowUpdate(Bytes payload, Event& event) {
  const uint32_t increment = loadBe32(payload.data()) & max_stream_id;
  if (frame_.stream_id == 0) {
    if (increment == 0) return fail(H2Error::protocol_error, "WINDOW_UPDATE of 0 (RFC 9113 §6.9)");
    if (!send_window_.grow(increment))
      return fail(H2Error::flow_control_error, "the connection's window exceeds 2^31-1 (RFC 9113 §6.9.1)");
    event.kind = Event::Kind::window;
    event.stream = nullptr;
    return {};
  }
  Stream* stream = find(frame_.stream_id);
  if (stream == nullptr || stream->is_reset) return {};
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
  if (reset_tokens_ == 0) {
    return fail(H2Error::enhance_your_calm,
                fault == Fault::reset_flood ? "too many streams end by a reset" : "too many streams at once", fault);
  }
  reset_tokens_ -= 1;
  return {};
}

void Session::chargeForFields(size_t list_size) {
  reset_tokens_ -= std::min(reset_tokens_, static_cast<uint32_t>(list_size / scratch_.config.max_header_list_size));
}

Status Session::onReset(Bytes payload, Event& event) {
  if (Status status = spendReset(); !status) return status;
  Stream* stream = find(frame_.stream_id);
  if (stream == nullptr || stream->is_reset) return {};
  stream->is_reset = true;
  stream->reset_by_peer = true;
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
  return {};
}

// The stream is over because of what the peer did: RST_STREAM goes out, and the owner is told if it knows the stream.
Status Session::streamFailed(Stream* stream, uint32_t id, H2Error code, const char* reason, Event& event) {
  if (Status status = spendReset(); !status) return status;
  if (stream != nullptr && stream->is_reset) return {};
  sendResetById(id, code, stream);
  if (stream != nullptr) stream->is_reset = true;
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
  return {};
}

// A request that becomes no stream; RST_STREAM for it is on its way.
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
