#include "plait/h2/frame_reader.h"

#include "plait/base/rare.h"

namespace plait::h2 {
namespace {

std::unexpected<Error> fail(H2Error code, const char* reason, Fault fault = Fault::none) {
  return plait::fail(frameError(code, reason, fault));
}

}  // namespace

Status FrameReader::takePreface(Bytes& input) {
  const size_t count = std::min(input.size(), client_preface.size() - header_filled_);
  if (asText(input.first(count)) != client_preface.substr(header_filled_, count)) {
    return fail(H2Error::protocol_error, "the client preface is wrong (RFC 9113 §3.4)");
  }
  header_filled_ += static_cast<uint8_t>(count);
  input = input.subspan(count);
  if (header_filled_ == client_preface.size()) {
    header_filled_ = 0;
    phase_ = Phase::header;
  }
  return {};
}

Status FrameReader::checkWithCare(const SessionScratch& scratch, const SessionConfig& config) {
  const uint32_t length = frame_.length;
  const uint32_t id = frame_.stream_id;
  if (length > default_max_frame_size)
    return fail(H2Error::frame_size_error, "a frame is longer than our SETTINGS_MAX_FRAME_SIZE (RFC 9113 §4.2)");
  if (awaits_continuation_ && (frame_.type != FrameType::continuation || id != block_stream_id_)) {
    return fail(H2Error::protocol_error, "a header block is interrupted by another frame (RFC 9113 §6.10)");
  }
  if (awaits_continuation_ && size_t{block_size_} + length > scratch.carry_blocks.blockSize()) {
    PLAIT_RARE("CONTINUATIONs without end");
    return fail(H2Error::enhance_your_calm, "a header block is too large", Fault::continuation_flood);
  }
  if (is_first_frame_ && (frame_.type != FrameType::settings || frame_.has(flags::ack))) {
    return fail(H2Error::protocol_error, "the first frame is not SETTINGS (RFC 9113 §3.4)");
  }
  is_first_frame_ = false;
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
      break;
    case FrameType::rst_stream:
      if (id == 0) return fail(H2Error::protocol_error, "RST_STREAM on stream 0 (RFC 9113 §6.4)");
      if (length != 4) return fail(H2Error::frame_size_error, "RST_STREAM is not 4 bytes long (RFC 9113 §6.4)");
      break;
    case FrameType::settings:
      if (id != 0) return fail(H2Error::protocol_error, "SETTINGS on a stream (RFC 9113 §6.5)");
      if (length % 6 != 0 || (frame_.has(flags::ack) && length != 0)) {
        return fail(H2Error::frame_size_error, "SETTINGS has a wrong length (RFC 9113 §6.5)");
      }
      if (length / 6 > config.max_settings_entries)
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
      break;
    case FrameType::continuation:
      if (!awaits_continuation_)
        return fail(H2Error::protocol_error, "CONTINUATION without a header block (RFC 9113 §6.10)");
      break;
    default:
      phase_ = left_ == 0 ? Phase::header : Phase::skip;  // unknown frames are ignored (RFC 9113 §4.1)
      break;
  }
  return {};
}

Result<FrameReader::Part> FrameReader::collect(Bytes& input, Bytes& payload, SessionScratch& scratch) {
  if (!takeCarry(size_t{carry_filled_} + left_, scratch)) {
    return fail(H2Error::enhance_your_calm, "no memory is left for a partial frame", Fault::no_memory);
  }
  const size_t count = std::min<size_t>(input.size(), left_);
  if (count != 0) std::memcpy(carry_ + carry_filled_, input.data(), count);
  carry_filled_ += static_cast<uint32_t>(count);
  left_ -= static_cast<uint32_t>(count);
  input = input.subspan(count);
  if (left_ != 0) return Part::incomplete;
  payload = {carry_ + block_size_, carry_filled_ - block_size_};
  phase_ = Phase::header;
  return Part::whole;
}

Result<FrameReader::Part> FrameReader::beginBlockWithCare(Bytes& payload, SessionScratch& scratch) {
  uint32_t padding = 0;
  if (frame_.has(flags::padded)) {
    if (payload.empty())
      return fail(H2Error::frame_size_error, "padded HEADERS without a padding length (RFC 9113 §6.2)");
    padding = payload[0];
    payload = payload.subspan(1);
  }
  if (frame_.has(flags::priority)) {
    if (payload.size() < 5)
      return fail(H2Error::frame_size_error, "HEADERS is too short for its priority (RFC 9113 §6.2)");
    block_depends_on_itself_ = (loadBe32(payload.data()) & max_stream_id) == frame_.stream_id;
    payload = payload.subspan(5);
  }
  if (padding > payload.size())
    return fail(H2Error::protocol_error, "padding is longer than its HEADERS frame (RFC 9113 §6.2)");
  payload = payload.first(payload.size() - padding);
  if (frame_.has(flags::end_headers)) return Part::whole;
  continuations_ = 0;
  awaits_continuation_ = true;
  // A payload that came in pieces lies in the carry, which may be about to move.
  const bool is_carried = carry_filled_ != 0;
  const size_t offset = is_carried ? static_cast<size_t>(payload.data() - carry_) : 0;
  if (!takeCarry(scratch.carry_blocks.blockSize(), scratch))
    return fail(H2Error::enhance_your_calm, "no memory is left for a header block", Fault::no_memory);
  if (is_carried) payload = {carry_ + offset, payload.size()};
  if (!payload.empty()) std::memmove(carry_, payload.data(), payload.size());
  block_size_ = static_cast<uint32_t>(payload.size());
  return Part::incomplete;
}

Result<FrameReader::Part> FrameReader::continueBlock(Bytes& payload, const SessionConfig& config) {
  if (++continuations_ > config.max_continuations) {
    return fail(H2Error::enhance_your_calm, "a header block of too many CONTINUATION frames",
                Fault::continuation_flood);
  }
  if (!payload.empty()) std::memmove(carry_ + block_size_, payload.data(), payload.size());
  block_size_ += static_cast<uint32_t>(payload.size());
  if (!frame_.has(flags::end_headers)) return Part::incomplete;
  awaits_continuation_ = false;
  payload = {carry_, block_size_};
  return Part::whole;
}

bool FrameReader::takeCarry(size_t needed, SessionScratch& scratch) {
  if (needed > scratch.carry_blocks.blockSize()) return false;
  const bool is_small = needed <= small_carry_size;
  if (carry_ != nullptr && (is_small || !has_small_carry_)) return true;
  auto* block = static_cast<uint8_t*>((is_small ? scratch.small_carries : scratch.carry_blocks).take());
  if (block == nullptr) return false;
  if (carry_filled_ != 0) std::memcpy(block, carry_, carry_filled_);
  if (carry_ != nullptr) scratch.small_carries.give(carry_);
  carry_ = block;
  has_small_carry_ = is_small;
  return true;
}

void FrameReader::giveCarry(SessionScratch& scratch) {
  if (carry_ != nullptr) (has_small_carry_ ? scratch.small_carries : scratch.carry_blocks).give(carry_);
  carry_ = nullptr;
  carry_filled_ = block_size_ = 0;
}

}  // namespace plait::h2
