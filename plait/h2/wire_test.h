// Frames as bytes, and one end of a conversation with a session. For tests and fuzz targets only.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "plait/h2/session.h"

namespace plait::h2::wire {

using Wire = std::vector<uint8_t>;

inline Wire operator+(Wire a, const Wire& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
inline Wire text(std::string_view t) {
  return {t.begin(), t.end()};
}
inline Wire be32(uint32_t value) {
  Wire bytes(4);
  storeBe32(bytes.data(), value);
  return bytes;
}
inline Wire frame(FrameType type, uint8_t frame_flags, uint32_t id, const Wire& payload = {}) {
  Wire bytes(frame_header_size);
  FrameHeader{static_cast<uint32_t>(payload.size()), type, frame_flags, id}.write(bytes.data());
  return std::move(bytes) + payload;
}
inline Wire settings(SettingId id, uint32_t value) {
  Wire payload(6);
  storeBe16(payload.data(), static_cast<uint16_t>(id));
  storeBe32(payload.data() + 2, value);
  return frame(FrameType::settings, 0, 0, payload);
}
// A literal without indexing and without Huffman, both strings shorter than 127 bytes.
inline Wire field(std::string_view name, std::string_view value) {
  return Wire{0, static_cast<uint8_t>(name.size())} + text(name) + Wire{static_cast<uint8_t>(value.size())} +
         text(value);
}

struct Sent {
  FrameHeader header;
  Wire payload;
};

// A session with its memory and its streams. Requests are accepted; data is credited at once when `credits` is on.
struct End {
  explicit End(Role role, const SessionConfig& given = {}) : config(given), session(role, output, *scratch, config) {}

  // Feeds `bytes` in pieces of `step`; false on a connection error. Each event leaves a line in `log`.
  bool feed(Bytes bytes, size_t step = SIZE_MAX) {
    while (!bytes.empty()) {
      // A copy of its own size: reading behind its end is then seen by ASan.
      const std::vector<uint8_t> piece(bytes.begin(),
                                       bytes.begin() + static_cast<ptrdiff_t>(std::min(step, bytes.size())));
      bytes = bytes.subspan(piece.size());
      Bytes input = piece;
      while (true) {
        Event event;
        const Status status = session.next(input, event, 1);
        if (!status) {
          error = status.error();
          log += "failed: " + std::string(error.reason) + "\n";
          return false;
        }
        if (event.kind == Event::Kind::none) break;
        note(event);
      }
    }
    return true;
  }
  bool feed(const Wire& bytes, size_t step = SIZE_MAX) { return feed(Bytes(bytes), step); }

  void note(const Event& event) {
    last = event;
    const std::string id = std::to_string(event.stream_id);
    switch (event.kind) {
      case Event::Kind::request:
        log += "request " + id + " " + std::string(event.request.method) + " " + std::string(event.request.scheme) +
               " " + std::string(event.request.authority) + " " + std::string(event.request.path) + fieldsOf(event) +
               "\n";
        streams.push_back(std::make_unique<Stream>());
        session.accept(*streams.back());
        break;
      case Event::Kind::response:
      case Event::Kind::interim:
        log += "response " + id + " " + std::to_string(event.response.status) + fieldsOf(event) + "\n";
        break;
      case Event::Kind::trailers:
        log += "trailers " + id + fieldsOf(event) + "\n";
        break;
      case Event::Kind::data:
        // Pieces of one stream's data are one line, however they were cut.
        if (!data_open || data_id != event.stream_id) log += "data " + id + " ";
        log += asText(event.data);
        data_open = !event.end_stream;
        data_id = event.stream_id;
        if (event.end_stream) log += "|end\n";
        if (credits) session.credit(event.stream, event.data.size());
        return;
      case Event::Kind::rejected:
        rejected += 1;
        if (event.status == 0) return;
        last_status = event.status;
        if (!answers) {
          session.refuse(event.stream_id, event.error_code);
          return;
        }
        streams.push_back(std::make_unique<Stream>());
        session.accept(*streams.back());
        answer(*streams.back(), event.status);
        return;
      case Event::Kind::stream_error:
        // An error that concerns no stream of the owner's is for its counters alone.
        if (event.stream == nullptr) return;
        if (event.status != 0) {
          last_status = event.status;
          if (answers) {
            answer(*event.stream, event.status);
          } else {
            session.sendReset(*event.stream, event.error_code);
          }
        }
        log += (event.by_peer ? "reset " : "error ") + id + " " +
               std::to_string(static_cast<uint32_t>(event.error_code)) + "\n";
        break;
      default:
        log += "event " + std::to_string(static_cast<int>(event.kind)) + "\n";
        break;
    }
    data_open = false;
  }
  static std::string fieldsOf(const Event& event) {
    std::string line;
    for (const http::Field one : event.fields) line += " " + std::string(one.name) + "=" + std::string(one.value);
    return line + (event.end_stream ? " |end" : "");
  }

  // A whole response without content; the rest of the request is not wanted.
  void answer(Stream& stream, uint16_t status) {
    session.beginHeaders();
    session.addField(http::FieldName::pseudo_status, std::to_string(status));
    session.endHeaders(stream, true);
    if (!stream.isClosed()) session.sendReset(stream, H2Error::no_error);
  }
  Stream& open(bool end_stream, std::string_view method = "GET") {
    streams.push_back(std::make_unique<Stream>());
    session.beginHeaders();
    session.addField(http::FieldName::pseudo_method, method);
    session.addField(http::FieldName::pseudo_scheme, "http");
    session.addField(http::FieldName::pseudo_path, "/");
    session.addField(http::FieldName::pseudo_authority, "a");
    session.endHeaders(*streams.back(), end_stream);
    return *streams.back();
  }
  Wire takeOutput() {
    Wire bytes;
    while (!output.empty()) {
      const Bytes front = output.front();
      bytes.insert(bytes.end(), front.begin(), front.end());
      output.consume(front.size());
    }
    session.outputFlushed();
    return bytes;
  }
  std::vector<Sent> sent() {
    const Wire bytes = takeOutput();
    std::vector<Sent> frames;
    size_t at = asText(bytes).starts_with(client_preface) ? client_preface.size() : 0;
    while (at < bytes.size()) {
      const FrameHeader header = FrameHeader::parse(bytes.data() + at);
      at += frame_header_size;
      frames.push_back({header, Wire(bytes.begin() + static_cast<ptrdiff_t>(at),
                                     bytes.begin() + static_cast<ptrdiff_t>(at + header.length))});
      at += header.length;
    }
    return frames;
  }

  const SessionConfig config;
  BlockSlab blocks{16 * 1024, 512};
  BlockSlab carry{HpackScratch::max_block_size, 4};
  ByteQueue output{blocks};
  std::unique_ptr<SessionScratch> scratch = std::make_unique<SessionScratch>(1, carry);
  std::vector<std::unique_ptr<Stream>> streams;  // outlives the session, which unlinks them
  Session session;
  Event last;
  Error error;
  std::string log;
  int rejected = 0;
  uint16_t last_status = 0;  // that a request deserved
  bool answers = false;      // with that status; else it is reset
  bool credits = true;
  bool data_open = false;
  uint32_t data_id = 0;
};

}  // namespace plait::h2::wire
