// HTTP/1.1 as the simulated peers write and read it: strict, small, and none of plait's own code, so that plait's
// writer is read by somebody else.
#pragma once

#include "sim/ledger.h"

namespace plait::sim {

struct H1Head {
  // "GET /r/1 HTTP/1.1" or "HTTP/1.1 200 OK", in parts.
  std::string start[3];
  Fields fields;  // names in lower case
  bool keepsAlive() const;
};

// Takes a message's bytes apart as they come. Feed until isComplete(); what follows is the next message's.
class H1Reader {
 public:
  enum class Kind : uint8_t { request, response };
  explicit H1Reader(Kind kind) : kind_(kind) {}

  // For the next message: `has_no_body` for a response to HEAD.
  void begin(bool has_no_body = false);
  // Takes bytes off `input`. Stops when the head is complete, when there is a piece of the body, or at the end; look
  // at what has changed, and call again while there is input. False: this is no HTTP/1.1, see error().
  bool feed(std::string_view& input);
  bool hasHead() const { return state_ > State::head; }
  bool isComplete() const { return state_ == State::done; }
  bool isIdle() const { return state_ == State::head && text_.empty(); }
  // The connection has ended: true if that completes the message.
  bool finish();
  const H1Head& head() const { return head_; }
  // The piece of the body that the last feed() found.
  std::string_view piece() const { return piece_; }
  const Fields& trailers() const { return trailers_; }
  bool isChunked() const { return is_chunked_; }
  const char* error() const { return error_; }

 private:
  enum class State : uint8_t { head, length, chunk_size, chunk, chunk_end, trailers, until_close, done };
  bool fail(const char* reason) {
    error_ = reason;
    return false;
  }
  bool takeLine(std::string_view& input, bool& complete);
  bool parseHead();
  bool parseField(std::string_view line, Fields& fields);
  bool startBody();

  Kind kind_;
  State state_ = State::head;
  bool has_no_body_ = false;
  bool is_chunked_ = false;
  std::string text_;  // the head or line that is not complete yet
  H1Head head_;
  Fields trailers_;
  std::string_view piece_;
  uint64_t left_ = 0;
  const char* error_ = "";
};

std::string h1Head(std::string_view start, const Fields& fields);
// A piece of a body, in a chunk where it is chunked.
void appendBody(std::string& out, std::string_view piece, bool chunked);
void appendLastChunk(std::string& out, const Fields& trailers);

}  // namespace plait::sim
