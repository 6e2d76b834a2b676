// libnghttp2's session as the other opinion: it keeps what it understood of each stream.
#pragma once

#include <nghttp2/nghttp2.h>

#include <map>

#include "fuzz/target.h"
#include "plait/h2/wire_test.h"

namespace plait::fuzz {

// One message as its receiver understood it.
struct Message {
  std::string head;  // of the last head: pseudo-header fields in a fixed order, then the others as they came
  std::string body;
  std::string trailers;
  bool has_head = false;
  bool ended = false;
  bool is_reset = false;  // by either side, or malformed
};
using Messages = std::map<uint32_t, Message>;

class OracleSession {
 public:
  explicit OracleSession(h2::Role role, const std::vector<nghttp2_settings_entry>& settings = {}) {
    nghttp2_session_callbacks* callbacks = nullptr;
    require(nghttp2_session_callbacks_new(&callbacks) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks,
                                                            [](nghttp2_session*, const nghttp2_frame*, void* self) {
                                                              self_(self).fields_.clear();
                                                              return 0;
                                                            });
    nghttp2_session_callbacks_set_on_header_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t name_size,
                      const uint8_t* value, size_t value_size, uint8_t, void* self) {
          self_(self).fields_.emplace_back(asText({name, name_size}), asText({value, value_size}));
          return 0;
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks,
                                                         [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
                                                           self_(self).onFrame(*frame);
                                                           return 0;
                                                         });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        callbacks, [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t size, void* self) {
          self_(self).messages[static_cast<uint32_t>(id)].body += asText({data, size});
          return 0;
        });
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame* frame, int, void* self) {
          self_(self).fault(frame->hd.stream_id);
          return 0;
        });
    // A regular field that is not well formed would else be left out silently.
    nghttp2_session_callbacks_set_on_invalid_header_callback(
        callbacks,
        [](nghttp2_session*, const nghttp2_frame*, const uint8_t*, size_t, const uint8_t*, size_t, uint8_t,
           void*) -> int { return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; });
    nghttp2_session_callbacks_set_on_frame_send_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
          if (frame->hd.type == NGHTTP2_RST_STREAM) self_(self).fault(frame->hd.stream_id);
          if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != 0) self_(self).has_failed = true;
          return 0;
        });
    if (role == h2::Role::server) {
      nghttp2_session_server_new(&session, callbacks, this);
    } else {
      nghttp2_session_client_new(&session, callbacks, this);
    }
    nghttp2_session_callbacks_del(callbacks);
    require(nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) == 0);
  }
  ~OracleSession() { nghttp2_session_del(session); }
  OracleSession(const OracleSession&) = delete;
  OracleSession& operator=(const OracleSession&) = delete;

  // False when the connection has failed by its own judgement.
  bool feed(Bytes bytes) {
    if (!has_failed && nghttp2_session_mem_recv(session, bytes.data(), bytes.size()) < 0) has_failed = true;
    return !has_failed;
  }
  h2::wire::Wire takeOutput() {
    h2::wire::Wire bytes;
    const uint8_t* data = nullptr;
    for (ssize_t count; (count = nghttp2_session_mem_send(session, &data)) > 0;)
      bytes.insert(bytes.end(), data, data + count);
    return bytes;
  }
  static nghttp2_nv field(std::string_view name, std::string_view value) {
    return {const_cast<uint8_t*>(asBytes(name).data()), const_cast<uint8_t*>(asBytes(value).data()), name.size(),
            value.size(), NGHTTP2_NV_FLAG_NONE};
  }

  nghttp2_session* session = nullptr;
  Messages messages;
  bool has_failed = false;
  bool goaway_received = false;

 private:
  static OracleSession& self_(void* self) { return *static_cast<OracleSession*>(self); }

  void fault(int32_t id) { messages[static_cast<uint32_t>(id)].is_reset = true; }

  void onFrame(const nghttp2_frame& frame) {
    Message& message = messages[static_cast<uint32_t>(frame.hd.stream_id)];
    if (frame.hd.type == NGHTTP2_RST_STREAM) message.is_reset = true;
    if (frame.hd.type == NGHTTP2_GOAWAY) goaway_received = true;
    if (frame.hd.type == NGHTTP2_HEADERS) {
      std::string text = takeFields();
      if (frame.headers.cat == NGHTTP2_HCAT_HEADERS && is_final(message)) {
        message.trailers = std::move(text);
      } else {
        message.head = std::move(text);
        message.has_head = true;
      }
    }
    const bool has_end = frame.hd.type == NGHTTP2_HEADERS || frame.hd.type == NGHTTP2_DATA;
    if (has_end && (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) message.ended = true;
  }
  // Behind a 1xx head comes another head, not trailers.
  static bool is_final(const Message& message) { return message.has_head && !message.head.starts_with("1"); }

  // As plait tells a head: one authority, of :authority or Host.
  std::string takeFields() {
    std::string method, scheme, authority, path, status, others;
    for (const auto& [name, value] : fields_) {
      if (name == ":method") {
        method = value;
      } else if (name == ":scheme") {
        scheme = value;
      } else if (name == ":authority") {
        authority = value;
      } else if (name == ":path") {
        path = value;
      } else if (name == ":status") {
        status = value;
      } else if (name == "host" && !method.empty()) {
        if (authority.empty()) authority = value;
      } else {
        others += " " + name + "=" + value;
      }
    }
    fields_.clear();
    if (!status.empty()) return status + others;
    return method.empty() ? others : method + " " + scheme + " " + authority + " " + path + others;
  }

  std::vector<std::pair<std::string, std::string>> fields_;
};

}  // namespace plait::fuzz
