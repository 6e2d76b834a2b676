#include "plait/h1/body_decoder.h"

#include <algorithm>

#include "plait/base/assert.h"
#include "plait/h1/field_line.h"
#include "plait/h1/scan.h"

namespace plait::h1 {
namespace {

// Extensions may cost their sender this much over the whole body, plus one byte for each byte of data: signatures on
// large chunks pass, one-byte chunks dressed in extensions do not.
constexpr uint64_t extension_allowance = 8 * 1024;

// 15 digits say more than any body has, and cannot overflow what is added to them.
constexpr uint8_t max_size_digits = 15;

constexpr std::string_view plain_end = "\r\n0\r\n\r\n";

std::unexpected<ParseError> malformed(const char* reason) {
  return std::unexpected(ParseError{400, connectionError(ErrorCode::malformed_message, reason)});
}
std::unexpected<ParseError> tooLarge(const char* reason) {
  return std::unexpected(ParseError{431, connectionError(ErrorCode::message_too_large, reason)});
}

int hexDigit(uint8_t byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  const uint8_t lower = byte | 0x20;
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

void BodyDecoder::start(BodyFraming framing, uint64_t content_length, const Limits& limits,
                        const http::ConnectionTokens* connection) {
  *this = BodyDecoder();
  limits_ = &limits;
  connection_ = connection;
  framing_ = framing;
  switch (framing) {
    case BodyFraming::none:
      break;
    case BodyFraming::content_length:
      PLAIT_ASSERT(content_length != http::unknown_length);
      remaining_ = content_length;
      state_ = remaining_ == 0 ? State::done : State::counted;
      break;
    case BodyFraming::chunked:
      state_ = State::size_first;
      break;
    case BodyFraming::until_close:
      state_ = State::open_ended;
      break;
  }
}

ParseResult<BodyEvent> BodyDecoder::next(Bytes& input, http::FieldList& trailers) {
  if (state_ == State::done) return BodyEvent{BodyEvent::Kind::end};
  if (state_ == State::trailers) return nextTrailers(input, trailers);
  if (input.empty()) return BodyEvent();
  if (framing_ == BodyFraming::chunked) return nextChunked(input, trailers);

  BodyEvent event{BodyEvent::Kind::data};
  event.data = input;
  if (state_ == State::counted) {
    event.data = input.first(std::min<uint64_t>(remaining_, input.size()));
    remaining_ -= event.data.size();
    event.last = remaining_ == 0;
    if (event.last) state_ = State::done;
  }
  input = input.subspan(event.data.size());
  return event;
}

ParseResult<BodyEvent> BodyDecoder::nextChunked(Bytes& input, http::FieldList& trailers) {
  while (!input.empty()) {
    if (state_ == State::chunk_data) {
      BodyEvent event{BodyEvent::Kind::data};
      event.data = input.first(std::min<uint64_t>(remaining_, input.size()));
      remaining_ -= event.data.size();
      data_total_ += event.data.size();
      input = input.subspan(event.data.size());
      if (remaining_ == 0) state_ = State::data_cr;
      // Seeing the end together with the last data saves the receiver a frame or a segment of its own for it.
      if (remaining_ == 0 && asText(input).starts_with(plain_end)) {
        input = input.subspan(plain_end.size());
        event.last = true;
        state_ = State::done;
      }
      return event;
    }

    const uint8_t byte = input.front();
    input = input.subspan(1);
    switch (state_) {
      case State::size_first:
      case State::size_more:
        if (const int digit = hexDigit(byte); digit >= 0) {
          if (++digits_ > max_size_digits) return malformed("a chunk size of too many digits (RFC 9112 section 7.1)");
          remaining_ = remaining_ << 4 | static_cast<uint64_t>(digit);
          state_ = State::size_more;
          break;
        }
        if (state_ == State::size_first) return malformed("no chunk size where one must stand (RFC 9112 section 7.1)");
        if (byte == '\r') {
          state_ = State::size_lf;
          break;
        }
        [[fallthrough]];
      case State::size_space:
        if (byte == ';') {
          state_ = State::extension;
        } else if (byte == ' ' || byte == '\t') {
          state_ = State::size_space;
        } else {
          return malformed("neither an extension nor CRLF behind a chunk size");
        }
        if (++extension_size_ > limits_->chunk_extension_size) return tooLarge("a chunk extension is too large");
        extension_total_ += 1;
        break;
      case State::extension:
      case State::extension_quoted:
      case State::extension_escaped:
        if (byte == '\r') {
          // A reader that knows quoted strings would look for the end behind this line; one that does not, here.
          if (state_ != State::extension) return malformed("a chunk extension whose quotes do not close");
          state_ = State::size_lf;
          break;
        }
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f) return malformed("a control character in a chunk extension");
        if (state_ == State::extension_escaped) {
          state_ = State::extension_quoted;
        } else if (byte == '"') {
          state_ = state_ == State::extension ? State::extension_quoted : State::extension;
        } else if (byte == '\\' && state_ == State::extension_quoted) {
          state_ = State::extension_escaped;
        }
        if (++extension_size_ > limits_->chunk_extension_size) return tooLarge("a chunk extension is too large");
        extension_total_ += 1;
        break;
      case State::size_lf:
        if (byte != '\n') return malformed("a chunk size that does not end in CRLF");
        if (extension_total_ > extension_allowance + data_total_ + remaining_) {
          return tooLarge("more chunk extensions than data");
        }
        extension_size_ = 0;
        digits_ = 0;
        if (remaining_ != 0) {
          state_ = State::chunk_data;
          break;
        }
        state_ = State::trailers;
        scanned_ = 0;
        return nextTrailers(input, trailers);
      case State::data_cr:
        if (byte != '\r') return malformed("chunk data longer than its size");
        state_ = State::data_lf;
        break;
      case State::data_lf:
        if (byte != '\n') return malformed("chunk data that does not end in CRLF");
        state_ = State::size_first;
        break;
      default:
        PLAIT_UNREACHABLE();
    }
  }
  return BodyEvent();
}

ParseResult<BodyEvent> BodyDecoder::nextTrailers(Bytes& input, http::FieldList& trailers) {
  const HeadScan found = scanLines(input, 0, scanned_);
  if (found == HeadScan::malformed) return malformed("a control character or a bare CR or LF in the trailers");
  const size_t known = found == HeadScan::complete ? scanned_ + 2 : input.size();
  if (known > limits_->trailers_size + size_t{2}) {
    return tooLarge("the trailer section is too large");
  }
  if (found == HeadScan::need_more) return BodyEvent();

  const Bytes section = input.first(known);
  const bool wanted = trailers.capacityBytes() != 0;
  BodyEvent event{BodyEvent::Kind::end};
  trailers.clear();
  size_t position = 0;
  size_t count = 0;
  while (section[position] != '\r') {
    const FieldLine line = parseFieldLine(section, position, trailers.freeBytes());
    if (!line.well_formed) return malformed("a trailer without a proper name (RFC 9112 section 5.1)");
    if (++count > limits_->trailer_count) return tooLarge("too many trailers");
    if (!wanted) continue;
    if (!line.fits) return tooLarge("the trailers exceed their memory");
    const http::FieldName id = http::fieldNameOf(line.name);
    if (http::isForbiddenInTrailers(id) || (connection_ != nullptr && connection_->nominates(line.name))) continue;
    trailers.commit(line.name.size(), line.value.size(), id, false);
  }
  event.has_trailers = trailers.count() != 0;
  input = input.subspan(known);
  state_ = State::done;
  return event;
}

Status BodyDecoder::finish() {
  if (state_ == State::done) return {};
  if (state_ == State::open_ended) {
    state_ = State::done;
    return {};
  }
  return fail(connectionError(ErrorCode::connection_lost, "the connection closed within a body (RFC 9112 section 8)"));
}

}  // namespace plait::h1
