// Frames out of bytes (RFC 9113 §4): the preface, frame headers, payloads, and header blocks put together from HEADERS
// and CONTINUATION. The reader knows what is wrong with a frame by its header alone, and nothing of streams, windows,
// or what a frame means. Its errors are connection errors, for which nothing has been sent yet.
//
//   preface ─▶ header ─┬─▶ payload ──────────────▶ header      whole, in place or in the carry
//                      ├─▶ data_padding ─▶ data ─▶ header      as it comes; padding is skipped
//                      └─▶ skip ─────────────────▶ header      unknown frames (§4.1)
//
// The carry is the part of a frame that waits for the rest. It lies behind the part of a header block that waits for
// its CONTINUATIONs. A small carry, as of every control frame, lies in a block that each session may have: a peer that
// leaves frames unfinished on many connections must not use up the others.
#pragma once

#include <algorithm>
#include <cstring>

#include "plait/base/error.h"
#include "plait/h2/frame.h"
#include "plait/h2/session_scratch.h"

namespace plait::h2 {

inline Error frameError(H2Error code, const char* reason, Fault fault = Fault::none) {
  return connectionError(ErrorCode::protocol_error, reason, static_cast<uint32_t>(code)).as(fault);
}

class FrameReader {
 public:
  enum class Phase : uint8_t { preface, header, payload, data_padding, data, skip };
  // How far a payload, or a header block, is.
  enum class Part : uint8_t { incomplete, whole };
  static constexpr size_t small_carry_size = 128;

  explicit FrameReader(bool expects_preface) : phase_(expects_preface ? Phase::preface : Phase::header) {}

  Phase phase() const { return phase_; }
  // The frame that is being read; valid from takeHeader() on.
  const FrameHeader& frame() const { return frame_; }
  // The stream of the header block that is being put together, or was last.
  uint32_t blockStreamId() const { return block_stream_id_; }
  bool blockEndsStream() const { return block_ends_stream_; }
  bool blockDependsOnItself() const { return block_depends_on_itself_; }
  // A header block has begun and is not complete: no frame of another stream may come in between (RFC 9113 §6.2).
  bool isInBlock() const {
    return awaits_continuation_ || (phase_ == Phase::payload && frame_.type == FrameType::headers);
  }

  // Whether there is nothing to do without another byte. An empty payload at the end of the input is complete.
  bool needsInput() {
    if (phase_ == Phase::data && left_ == 0) phase_ = Phase::header;
    return phase_ != Phase::payload || left_ != 0;
  }

  Status takePreface(Bytes& input);
  // True when the header is whole, and frame() is new. The frame has to be checked next.
  bool takeHeader(Bytes& input) {
    const size_t count = std::min<size_t>(input.size(), frame_header_size - header_filled_);
    std::memcpy(header_ + header_filled_, input.data(), count);
    header_filled_ += static_cast<uint8_t>(count);
    input = input.subspan(count);
    if (header_filled_ < frame_header_size) return false;
    header_filled_ = 0;
    frame_ = FrameHeader::parse(header_);
    left_ = frame_.length;
    padding_left_ = 0;
    return true;
  }
  // The first byte of a header already shows that it is none: no SETTINGS are as long as a byte of text would say, and
  // a peer of another protocol may send no more.
  bool isOfAnotherProtocol() const { return is_first_frame_ && header_filled_ != 0 && header_[0] != 0; }
  // Checks a frame by its header alone; the phase is then that of its payload.
  Status check(const SessionScratch& scratch, const SessionConfig& config) {
    // Nearly all frames are DATA, or a header block in one piece.
    const bool is_plain = frame_.type <= FrameType::headers && frame_.stream_id != 0 && !awaits_continuation_ &&
                          !is_first_frame_ && frame_.length <= default_max_frame_size;
    if (!is_plain) [[unlikely]]
      return checkWithCare(scratch, config);
    phase_ = frame_.type == FrameType::data ? Phase::data : Phase::payload;
    return {};
  }

  // The payload of any frame but DATA, in place where it lies whole in the input, else collected in the carry.
  Result<Part> takePayload(Bytes& input, Bytes& payload, SessionScratch& scratch) {
    if (carry_filled_ != block_size_ || input.size() < left_) return collect(input, payload, scratch);
    payload = input.first(left_);
    input = input.subspan(left_);
    left_ = 0;
    phase_ = Phase::header;
    return Part::whole;
  }
  // The payload is not needed any longer.
  void endPayload(SessionScratch& scratch) {
    if (awaits_continuation_) {
      carry_filled_ = block_size_;
    } else {
      giveCarry(scratch);
    }
  }
  // The payload of HEADERS. Where END_HEADERS says so, it becomes the block itself, in place.
  Result<Part> beginBlock(Bytes& payload, SessionScratch& scratch) {
    block_stream_id_ = frame_.stream_id;
    block_ends_stream_ = frame_.has(flags::end_stream);
    block_depends_on_itself_ = false;
    const bool is_plain = (frame_.flags & (flags::padded | flags::priority | flags::end_headers)) == flags::end_headers;
    if (!is_plain) [[unlikely]]
      return beginBlockWithCare(payload, scratch);
    return Part::whole;
  }
  // The payload of CONTINUATION becomes the block in the carry when it is the last.
  Result<Part> continueBlock(Bytes& payload, const SessionConfig& config);

  void beginData() { phase_ = frame_.has(flags::padded) ? Phase::data_padding : Phase::data; }
  // The first byte of a padded DATA frame: how much padding it has, this byte included.
  Result<uint32_t> takePaddingLength(Bytes& input) {
    padding_left_ = input[0];
    input = input.subspan(1);
    left_ -= 1;
    if (padding_left_ > left_) {
      return plait::fail(frameError(H2Error::protocol_error, "padding is longer than its DATA frame (RFC 9113 §6.1)"));
    }
    phase_ = Phase::data;
    return 1u + padding_left_;
  }
  // Bytes of the DATA frame under way that are content, and have not been taken.
  uint32_t contentLeft() const { return left_ - padding_left_; }
  Bytes takeContent(Bytes& input) {
    const auto count = static_cast<uint32_t>(std::min<size_t>(contentLeft(), input.size()));
    const Bytes content = input.first(count);
    input = input.subspan(count);
    left_ -= count;
    // The bytes left behind the content are padding.
    if (left_ == padding_left_) phase_ = left_ == 0 ? Phase::header : Phase::skip;
    return content;
  }
  void skip(Bytes& input) {
    const size_t count = std::min<size_t>(input.size(), left_);
    input = input.subspan(count);
    left_ -= static_cast<uint32_t>(count);
    if (left_ == 0) phase_ = Phase::header;
  }

  void giveCarry(SessionScratch& scratch);

 private:
  Status checkWithCare(const SessionScratch& scratch, const SessionConfig& config);
  Result<Part> beginBlockWithCare(Bytes& payload, SessionScratch& scratch);
  Result<Part> collect(Bytes& input, Bytes& payload, SessionScratch& scratch);
  bool takeCarry(size_t needed, SessionScratch& scratch);

  uint8_t* carry_ = nullptr;
  uint32_t carry_filled_ = 0;
  uint32_t block_size_ = 0;  // bytes of the header block at the start of carry_
  FrameHeader frame_{};
  uint32_t left_ = 0;  // payload bytes not taken yet
  uint32_t block_stream_id_ = 0;
  uint16_t continuations_ = 0;
  Phase phase_;
  uint8_t padding_left_ = 0;
  uint8_t header_filled_ = 0;
  uint8_t header_[frame_header_size];
  bool is_first_frame_ = true;  // which has to be SETTINGS
  bool has_small_carry_ = false;
  bool awaits_continuation_ = false;
  bool block_ends_stream_ = false;
  bool block_depends_on_itself_ = false;
};

}  // namespace plait::h2
