#include "sim/h2_peer.h"

#include <utility>

namespace plait::sim {

H2Peer::H2Peer(Scene& scene, bool is_server, std::string name)
    : Peer(scene), name_(std::move(name)), is_server_(is_server) {}

H2Peer::~H2Peer() {
  endSession();
}

nghttp2_session_callbacks* H2Peer::makeCallbacks() {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                    const uint8_t* value, size_t value_size, uint8_t, void* self) {
        static_cast<H2Peer*>(self)->onHeader(frame->hd.stream_id, asText({name, name_size}),
                                             asText({value, value_size}));
        return 0;
      });
  nghttp2_session_callbacks_set_on_frame_recv_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
        auto& peer = *static_cast<H2Peer*>(self);
        const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
        peer.scene_.trace().note("%s/%u <- frame %d on %d, %zu bytes%s", peer.name_.c_str(), peer.connectionId(),
                                 frame->hd.type, frame->hd.stream_id, frame->hd.length, ends ? ", end" : "");
        if (frame->hd.type == NGHTTP2_HEADERS) peer.onHeaders(frame->hd.stream_id, ends);
        if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) peer.onPingAck();
        if (frame->hd.type == NGHTTP2_GOAWAY) peer.onGoaway(frame->goaway.error_code);
        if (ends && (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)) {
          peer.onEndStream(frame->hd.stream_id);
        }
        return 0;
      });
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks, [](nghttp2_session*, uint8_t, int32_t stream, const uint8_t* data, size_t size, void* self) {
        static_cast<H2Peer*>(self)->onData(stream, asText({data, size}));
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(
      callbacks, [](nghttp2_session*, int32_t stream, uint32_t code, void* self) {
        static_cast<H2Peer*>(self)->onStreamClose(stream, code);
        return 0;
      });
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame* frame, int code, void* self) {
        auto& peer = *static_cast<H2Peer*>(self);
        // A stream that crosses a lower MAX_CONCURRENT_STREAMS on the way is refused, and nobody is to blame.
        if (code == NGHTTP2_ERR_REFUSED_STREAM) return 0;
        peer.scene_.trace().violate("protocol", "%s/%u takes frame %d on stream %d for invalid: %s", peer.name_.c_str(),
                                    peer.connectionId(), frame->hd.type, frame->hd.stream_id, nghttp2_strerror(code));
        return 0;
      });
  nghttp2_session_callbacks_set_on_frame_send_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
        auto& peer = *static_cast<H2Peer*>(self);
        peer.scene_.trace().note("%s/%u -> frame %d on %d, %zu bytes", peer.name_.c_str(), peer.connectionId(),
                                 frame->hd.type, frame->hd.stream_id, frame->hd.length);
        if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
          peer.scene_.trace().violate("protocol", "%s/%u found a connection error of plait's: %s", peer.name_.c_str(),
                                      peer.connectionId(), nghttp2_http2_strerror(frame->goaway.error_code));
        }
        return 0;
      });
  return callbacks;
}

void H2Peer::startSession(std::initializer_list<nghttp2_settings_entry> settings) {
  endSession();
  nghttp2_session_callbacks* callbacks = makeCallbacks();
  if (is_server_) {
    nghttp2_session_server_new(&session_, callbacks, this);
  } else {
    nghttp2_session_client_new(&session_, callbacks, this);
  }
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.begin(), settings.size());
}

void H2Peer::endSession() {
  if (session_ != nullptr) nghttp2_session_del(std::exchange(session_, nullptr));
}

void H2Peer::announce(int32_t setting, uint32_t value) {
  const nghttp2_settings_entry entry{setting, value};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &entry, 1);
}

void H2Peer::pump() {
  if (session_ == nullptr || is_pumping_ || is_feeding_) return;
  is_pumping_ = true;
  while (session_ != nullptr && isConnected()) {
    const uint8_t* bytes = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
    if (size <= 0) break;
    send(asText({bytes, static_cast<size_t>(size)}));
  }
  is_pumping_ = false;
}

void H2Peer::onBytes(std::string_view bytes) {
  if (session_ == nullptr) return;
  is_feeding_ = true;
  const ssize_t taken =
      nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  is_feeding_ = false;
  if (taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC && is_server_) {
    // A silence was taken for HTTP/1.1; the connection is of no use, and the proxy has to find that out.
    scene_.trace().note("%s/%u is spoken to in HTTP/1.1", name_.c_str(), connectionId());
    return close();
  }
  if (taken < 0) {
    scene_.trace().violate("protocol", "%s/%u cannot go on: %s", name_.c_str(), connectionId(),
                           nghttp2_strerror(static_cast<int>(taken)));
  }
  pump();
}

}  // namespace plait::sim
