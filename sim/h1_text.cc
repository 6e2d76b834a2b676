#include "sim/h1_text.h"

#include <algorithm>
#include <charconv>

namespace plait::sim {
namespace {

std::string lower(std::string_view text) {
  std::string made(text);
  std::ranges::transform(made, made.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return made;
}

bool parseNumber(std::string_view text, uint64_t& value, int base) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

}  // namespace

bool H1Head::keepsAlive() const {
  const auto connection = valueOf(fields, "connection");
  const bool closes = connection && lower(*connection).find("close") != std::string::npos;
  return !closes && start[0] != "HTTP/1.0" && start[2] != "HTTP/1.0";
}

void H1Reader::begin(bool has_no_body) {
  state_ = State::head;
  has_no_body_ = has_no_body;
  is_chunked_ = false;
  text_.clear();
  head_ = {};
  trailers_.clear();
  piece_ = {};
}

bool H1Reader::takeLine(std::string_view& input, bool& complete) {
  const size_t end = input.find('\n');
  const size_t size = end == input.npos ? input.size() : end + 1;
  text_ += input.substr(0, size);
  input.remove_prefix(size);
  complete = end != input.npos;
  if (text_.size() > 100'000) return fail("a line without end");
  if (!complete) return true;
  if (text_.size() < 2 || text_[text_.size() - 2] != '\r') return fail("a line that ends without CR");
  text_.resize(text_.size() - 2);
  return true;
}

bool H1Reader::parseField(std::string_view line, Fields& fields) {
  const size_t colon = line.find(':');
  if (colon == line.npos || colon == 0) return fail("a field without a name");
  const std::string_view name = line.substr(0, colon);
  if (name.find_first_of(" \t") != name.npos) return fail("a name with a space");
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  while (!value.empty() && value.back() == ' ') value.remove_suffix(1);
  if (value.find('\r') != value.npos || value.find('\0') != value.npos) return fail("a control character in a value");
  fields.emplace_back(lower(name), std::string(value));
  return true;
}

bool H1Reader::parseHead() {
  std::string_view line = head_.start[0].empty() ? std::string_view(text_) : std::string_view();
  if (!line.empty()) {
    const size_t first = line.find(' ');
    const size_t second = first == line.npos ? first : line.find(' ', first + 1);
    if (second == line.npos) return fail("a start line without its parts");
    head_.start[0] = line.substr(0, first);
    head_.start[1] = line.substr(first + 1, second - first - 1);
    head_.start[2] = line.substr(second + 1);
    const std::string& version = kind_ == Kind::request ? head_.start[2] : head_.start[0];
    if (version != "HTTP/1.1" && version != "HTTP/1.0" && head_.start[0] != "PRI") return fail("another version");
    return true;
  }
  return parseField(text_, head_.fields);
}

bool H1Reader::startBody() {
  uint64_t length = 0;
  bool has_length = false;
  for (const auto& [name, value] : head_.fields) {
    if (name == "content-length") {
      if (has_length || !parseNumber(value, length, 10)) return fail("a wrong Content-Length");
      has_length = true;
    }
    if (name == "transfer-encoding") {
      if (value != "chunked" || is_chunked_) return fail("a wrong Transfer-Encoding");
      is_chunked_ = true;
    }
  }
  if (is_chunked_ && has_length) return fail("Content-Length next to Transfer-Encoding");
  const std::string& status = head_.start[1];
  const bool is_bare =
      kind_ == Kind::response && (has_no_body_ || status[0] == '1' || status == "204" || status == "304");
  if (is_bare) {
    state_ = State::done;
  } else if (is_chunked_) {
    state_ = State::chunk_size;
  } else if (has_length) {
    left_ = length;
    state_ = length == 0 ? State::done : State::length;
  } else {
    state_ = kind_ == Kind::request ? State::done : State::until_close;
  }
  return true;
}

bool H1Reader::feed(std::string_view& input) {
  piece_ = {};
  while (!input.empty() && state_ != State::done) {
    switch (state_) {
      case State::length:
      case State::chunk:
        piece_ = input.substr(0, static_cast<size_t>(std::min<uint64_t>(left_, input.size())));
        input.remove_prefix(piece_.size());
        left_ -= piece_.size();
        if (left_ == 0) state_ = state_ == State::length ? State::done : State::chunk_end;
        return true;
      case State::until_close:
        piece_ = std::exchange(input, {});
        return true;
      default:
        break;
    }
    bool complete = false;
    if (!takeLine(input, complete)) return false;
    if (!complete) return true;
    const std::string line = text_;
    switch (state_) {
      case State::head:
        if (line.empty() && !head_.start[0].empty()) {
          text_.clear();
          return startBody();
        }
        if (!parseHead()) return false;
        break;
      case State::chunk_size:
        if (!parseNumber(line, left_, 16)) return fail("a wrong chunk size");
        state_ = left_ == 0 ? State::trailers : State::chunk;
        break;
      case State::chunk_end:
        if (!line.empty()) return fail("a chunk that does not end");
        state_ = State::chunk_size;
        break;
      default:
        if (line.empty()) {
          state_ = State::done;
        } else if (!parseField(line, trailers_)) {
          return false;
        }
    }
    text_.clear();
  }
  return true;
}

bool H1Reader::finish() {
  if (state_ != State::until_close) return false;
  state_ = State::done;
  return true;
}

std::string h1Head(std::string_view start, const Fields& fields) {
  std::string text(start);
  text += "\r\n";
  for (const auto& [name, value] : fields) text += name + ": " + value + "\r\n";
  return text + "\r\n";
}

void appendBody(std::string& out, std::string_view piece, bool chunked) {
  if (piece.empty()) return;
  if (!chunked) {
    out += piece;
    return;
  }
  char size[24];
  std::snprintf(size, sizeof(size), "%zx\r\n", piece.size());
  out += size;
  out += piece;
  out += "\r\n";
}

void appendLastChunk(std::string& out, const Fields& trailers) {
  out += h1Head("0", trailers);
}

}  // namespace plait::sim
