// The body of an HTTP/1.x message out of the bytes behind its head (RFC 9112 §6, §7). Data is handed out in place.
//
//   content_length:  data … data(last)
//   chunked:         size ─▶ [extension] ─▶ data ─▶ CRLF ─▶ size … 0 ─▶ [trailers] ─▶ end
//   until_close:     data … finish()
#pragma once

#include "plait/h1/parser.h"

namespace plait::h1 {

struct BodyEvent {
  enum class Kind : uint8_t {
    need_more,  // present what is left of the input again, with more bytes behind it
    data,       // `data` is a run of body bytes within the input, valid as long as that
    end,        // the body is complete; `has_trailers` tells whether the trailer list holds any
  };
  Kind kind = Kind::need_more;
  bool last = false;  // with data: these bytes complete the body and no trailers follow
  bool has_trailers = false;
  Bytes data;
};

class BodyDecoder {
 public:
  BodyDecoder() = default;

  // Starts over for the message whose head was just parsed. `content_length` is only looked at with that framing.
  // `limits` must outlive the decoder. So must what the message's Connection nominated, if it is given: trailers of
  // those names are dropped as fields are (RFC 9110 §7.6.1).
  void start(BodyFraming framing, uint64_t content_length, const Limits& limits,
             const http::ConnectionTokens* connection = nullptr);

  // Takes bytes off the front of `input` and says what they are. Only an unfinished trailer section is left unconsumed
  // with need_more; everything else is taken as it comes, also byte by byte. `trailers` may have no memory when they
  // are not wanted; they are validated all the same. Fields that may not be trailers are dropped (RFC 9110 §6.5.1).
  // Trailers that exceed their memory are an error with status 431.
  ParseResult<BodyEvent> next(Bytes& input, http::FieldList& trailers);

  // The peer has closed its side. An error when the body is not complete (RFC 9112 §8).
  Status finish();

  bool isDone() const { return state_ == State::done; }
  // Bytes of the body still to come; http::unknown_length unless the framing is content_length.
  uint64_t remaining() const { return framing_ == BodyFraming::content_length ? remaining_ : http::unknown_length; }

 private:
  enum class State : uint8_t {
    done,
    counted,     // remaining_ bytes of a body of known length
    open_ended,  // until the connection closes
    size_first,  // the first digit of a chunk's size
    size_more,
    size_space,  // whitespace that only an extension may follow
    extension,
    extension_quoted,   // within a quoted string
    extension_escaped,  // behind its backslash
    size_lf,
    chunk_data,  // remaining_ bytes of a chunk
    data_cr,
    data_lf,
    trailers,
  };
  ParseResult<BodyEvent> nextChunked(Bytes& input, http::FieldList& trailers);
  ParseResult<BodyEvent> nextTrailers(Bytes& input, http::FieldList& trailers);

  const Limits* limits_ = nullptr;
  const http::ConnectionTokens* connection_ = nullptr;
  State state_ = State::done;
  BodyFraming framing_ = BodyFraming::none;
  uint8_t digits_ = 0;
  uint32_t extension_size_ = 0;
  uint64_t extension_total_ = 0;
  uint64_t data_total_ = 0;
  uint64_t remaining_ = 0;
  size_t scanned_ = 0;
};

}  // namespace plait::h1
