#include "sim/h2_peer.h"

#include <algorithm>

#include "sim/hostile.h"

namespace plait::sim {
namespace {

H2Peer& self(void* user_data) {
  return *static_cast<H2Peer*>(user_data);
}

std::vector<nghttp2_nv> toNv(const Fields& fields) {
  std::vector<nghttp2_nv> made;
  for (const auto& [name, value] : fields) {
    const auto bytes = [](const std::string& text) {
      return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data()));
    };
    const bool is_secret = name == "authorization";
    made.push_back({bytes(name), bytes(value), name.size(), value.size(),
                    static_cast<uint8_t>(is_secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE)});
  }
  return made;
}

}  // namespace

H2Peer::H2Peer(Simulation& simulation, std::string actor, Role role, const H2PeerOptions& options)
    : Peer(simulation, std::move(actor)), options_(options), role_(role) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks,
                                                          [](nghttp2_session*, const nghttp2_frame*, void* user) {
                                                            self(user).fields_.clear();
                                                            return 0;
                                                          });
  nghttp2_session_callbacks_set_on_begin_frame_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame_hd* header, void* user) {
        if (header->type == NGHTTP2_HEADERS) self(user).onHeadersBegin(header->stream_id);
        return 0;
      });
  nghttp2_session_callbacks_set_on_header_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t name_size, const uint8_t* value,
                    size_t value_size, uint8_t, void* user) {
        self(user).fields_.emplace_back(std::string(reinterpret_cast<const char*>(name), name_size),
                                        std::string(reinterpret_cast<const char*>(value), value_size));
        return 0;
      });
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks, [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t size, void* user) {
        self(user).onData(id, {data, size});
        self(user).consume(id, size);
        return 0;
      });
  nghttp2_session_callbacks_set_on_frame_recv_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* user) { return self(user).onFrame(*frame); });
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks,
                                                       [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
                                                         self(user).sayFrame("sends", *frame);
                                                         self(user).checkSent(*frame);
                                                         return 0;
                                                       });
  nghttp2_session_callbacks_set_on_stream_close_callback(
      callbacks, [](nghttp2_session*, int32_t id, uint32_t error_code, void* user) {
        self(user).closed_id_ = id;
        self(user).onStreamClosed(id, error_code);
        return 0;
      });
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame* frame, int code, void* user) {
        H2Peer& peer = self(user);
        peer.sayFrame("refuses", *frame);
        // A stream that was opened before our smaller limit was known there.
        if (code == NGHTTP2_ERR_REFUSED_STREAM || peer.is_hostile_) return 0;
        peer.sim.violate("HTTP/2", "%s got a frame of type %d that is invalid: %s", peer.actor(), int{frame->hd.type},
                         nghttp2_strerror(code));
        return 0;
      });
  nghttp2_session_callbacks_set_error_callback2(
      callbacks, [](nghttp2_session*, int, const char* text, size_t size, void* user) {
        self(user).sim.say(self(user).actor(), "nghttp2 says: %.*s", static_cast<int>(size), text);
        return 0;
      });
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  // Heads may be longer than anybody takes.
  nghttp2_option_set_max_send_header_block_length(option, 1 << 20);
  if (role == Role::client) {
    nghttp2_session_client_new2(&session_, callbacks, this, option);
  } else {
    nghttp2_session_server_new2(&session_, callbacks, this, option);
  }
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  std::vector<nghttp2_settings_entry> entries;
  const auto add = [&](int32_t id, uint32_t value, uint32_t usual) {
    if (value != usual) entries.push_back({id, value});
  };
  add(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options.stream_window, 65'535);
  add(NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, options.header_table_size, 4096);
  add(NGHTTP2_SETTINGS_MAX_FRAME_SIZE, options.max_frame_size, 16'384);
  if (role == Role::client) {
    add(NGHTTP2_SETTINGS_ENABLE_PUSH, 0, 1);
  } else {
    add(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams, UINT32_MAX);
  }
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries.data(), entries.size());
  if (options.connection_window > 65'535) {
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                          static_cast<int32_t>(options.connection_window));
  }
}

H2Peer::~H2Peer() {
  nghttp2_session_del(session_);
}

int H2Peer::onFrame(const nghttp2_frame& frame) {
  sayFrame("gets", frame);
  const bool end_stream = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS:
      onHeaders(frame.hd.stream_id, fields_, end_stream);
      if (end_stream) onEndOfStream(frame.hd.stream_id);
      break;
    case NGHTTP2_DATA:
      if (end_stream) onEndOfStream(frame.hd.stream_id);
      break;
    case NGHTTP2_GOAWAY:
      goaway_received_ = true;
      if (frame.goaway.error_code != NGHTTP2_NO_ERROR && !is_hostile_ &&
          !(options_.may_be_calmed && frame.goaway.error_code == NGHTTP2_ENHANCE_YOUR_CALM)) {
        sim.violate("HTTP/2", "%s was told GOAWAY with error %u", actor(), frame.goaway.error_code);
      }
      onGoaway();
      break;
    case NGHTTP2_SETTINGS:
      if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) break;
      settings_received_ = true;
      onSettings();
      break;
    case NGHTTP2_PING:
      if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) onPingAck();
      break;
    case NGHTTP2_WINDOW_UPDATE:
      checkWindows(frame.hd.stream_id);
      onWindowUpdate(frame.hd.stream_id);
      break;
    default:
      break;
  }
  return 0;
}

void H2Peer::checkWindows(int32_t stream_id) {
  if (is_hostile_) return;
  // A window grows to at most twice its size when all of it has been used.
  const auto mayBe = [](uint64_t window, uint32_t first, uint32_t largest, uint64_t sent) {
    if (window > std::max(first, largest)) return false;
    uint64_t needed = 0;
    while (window > first) {
      window = std::max<uint64_t>((window + 1) / 2, first);
      needed += window;
    }
    return needed <= sent;
  };
  const int32_t whole = nghttp2_session_get_remote_window_size(session_);
  if (whole > 0 && !mayBe(static_cast<uint32_t>(whole), first_connection_grant, largest_connection_grant, sent_[0])) {
    sim.violate("credit", "%s was granted %d bytes on the connection, after %llu", actor(), whole,
                static_cast<unsigned long long>(sent_[0]));
  }
  if (stream_id == 0) return;
  const int32_t window = nghttp2_session_get_stream_remote_window_size(session_, stream_id);
  const uint64_t sent = sent_[learns_grants ? 0 : stream_id];
  if (window > 0 && !mayBe(static_cast<uint32_t>(window), first_stream_grant, largest_stream_grant, sent)) {
    sim.violate("credit", "%s was granted %d bytes on stream %d, after %llu", actor(), window, stream_id,
                static_cast<unsigned long long>(sent));
  }
}

void H2Peer::checkSent(const nghttp2_frame& frame) {
  // libnghttp2 gives the connection up; what we end ourselves we call an internal error.
  if (frame.hd.type != NGHTTP2_GOAWAY || is_hostile_) return;
  const uint32_t code = frame.goaway.error_code;
  if (code == NGHTTP2_NO_ERROR || code == NGHTTP2_INTERNAL_ERROR) return;
  sim.violate("HTTP/2", "%s ends the connection with %s", actor(), nghttp2_http2_strerror(code));
}

void H2Peer::checkConnectionWindow() {
  const int32_t window = nghttp2_session_get_remote_window_size(session_);
  if (is_hostile_ || window >= static_cast<int32_t>(first_connection_grant / 2)) return;
  sim.violate("credit", "%s is left with a window of %d bytes although nothing is under way", actor(), window);
}

void H2Peer::takeAll() {
  for (const auto& [id, bytes] : std::exchange(untaken_, {})) nghttp2_session_consume_stream(session_, id, bytes);
  wake();
}

void H2Peer::consume(int32_t stream_id, size_t bytes) {
  if (takesNothing(stream_id)) {
    nghttp2_session_consume_connection(session_, bytes);
    untaken_[stream_id] += bytes;
    return;
  }
  if (!options_.consumes_late) {
    nghttp2_session_consume(session_, stream_id, bytes);
    return;
  }
  // In pieces, some time later.
  const size_t first = bytes / 2;
  for (const size_t part : {first, bytes - first}) {
    if (part == 0) continue;
    sim.after(sim.between(1, 30) * ns_per_ms, [this, stream_id, part] {
      if (isOver()) return;
      nghttp2_session_consume(session_, stream_id, part);
      wake();
    });
  }
}

nghttp2_data_provider H2Peer::bodyProvider() {
  nghttp2_data_provider provider{};
  provider.read_callback = [](nghttp2_session* session, int32_t id, uint8_t* to, size_t room, uint32_t* flags,
                              nghttp2_data_source*, void* user) -> ssize_t {
    bool ends = false;
    bool has_trailers = false;
    const size_t size = self(user).onSendBody(id, to, room, ends, has_trailers);
    if (size == 0 && !ends) return NGHTTP2_ERR_DEFERRED;
    self(user).sent_[id] += size;
    self(user).sent_[0] += size;
    if (ends) *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (ends && has_trailers) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const Fields trailers = self(user).trailersOf(id);
      const auto nv = toNv(trailers);
      nghttp2_submit_trailer(session, id, nv.data(), nv.size());
    }
    return static_cast<ssize_t>(size);
  };
  return provider;
}

int32_t H2Peer::submitRequest(const Fields& fields, bool has_body) {
  const auto nv = toNv(fields);
  const nghttp2_data_provider provider = bodyProvider();
  wake();
  return nghttp2_submit_request(session_, nullptr, nv.data(), nv.size(), has_body ? &provider : nullptr, nullptr);
}

void H2Peer::submitResponse(int32_t stream_id, const Fields& fields, bool has_body) {
  const auto nv = toNv(fields);
  const nghttp2_data_provider provider = bodyProvider();
  nghttp2_submit_response(session_, stream_id, nv.data(), nv.size(), has_body ? &provider : nullptr);
  wake();
}

void H2Peer::submitInterim(int32_t stream_id, const Fields& fields) {
  const auto nv = toNv(fields);
  nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream_id, nullptr, nv.data(), nv.size(), nullptr);
  wake();
}

void H2Peer::reset(int32_t stream_id, uint32_t error_code) {
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream_id, error_code);
  owes_reset_ = true;
  wake();
}

void H2Peer::resume(int32_t stream_id) {
  nghttp2_session_resume_data(session_, stream_id);
  wake();
}

void H2Peer::sendSettings(std::initializer_list<nghttp2_settings_entry> entries) {
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries.begin(), entries.size());
  wake();
}

void H2Peer::sendGoaway(int32_t last_stream_id, uint32_t error_code) {
  goaway_sent_ = true;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, last_stream_id, error_code, nullptr, 0);
  wake();
}

void H2Peer::sendPing() {
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  wake();
}

bool H2Peer::onBytes(Bytes bytes) {
  // Until RST_STREAM has left, libnghttp2 overlooks that the other side ends the stream, and counts it.
  if (owes_reset_) produce();
  const ssize_t taken = nghttp2_session_mem_recv(session_, bytes.data(), bytes.size());
  if (taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC && options_.may_meet_http1) {
    // A server says its SETTINGS first, whatever the client says (RFC 9113 §3.4).
    writeSome();
    end(false, "this is no HTTP/2");
    return false;
  }
  if (taken < 0 && is_hostile_) {
    end(sim.oneIn(2), "has heard enough");
    return false;
  }
  if (taken != static_cast<ssize_t>(bytes.size())) {
    sim.violate("HTTP/2", "%s cannot read what came: %s", actor(), nghttp2_strerror(static_cast<int>(taken)));
    return false;
  }
  return !isOver();
}

void H2Peer::onPeerEnd() {
  // RFC 9113 §6.8: who closes in good order says so first.
  if (role_ == Role::server && sim.faults.areGraceful() && settings_received_ && !goaway_received_ && !goaway_sent_)
    sim.violate("HTTP/2", "%s: the connection is closed without GOAWAY", actor());
  end(false, "the other side has closed");
}

void H2Peer::produce() {
  // Little at a time: what waits longer in the session can still be changed by what comes.
  while (out_.size() < 32 << 10 && !is_mute_) {
    if (sim.strikes(role_ == Role::client ? Fault::hostile_client : Fault::hostile_backend)) sayHostile();
    const uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size <= 0) {
      if (size < 0)
        sim.violate("simulator", "%s: nghttp2 cannot send: %s", actor(), nghttp2_strerror(static_cast<int>(size)));
      break;
    }
    out_.append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  }
  owes_reset_ = false;
  if (!stays_ && out_.empty() && nghttp2_session_want_read(session_) == 0 &&
      nghttp2_session_want_write(session_) == 0) {
    // A peer that leaves in good order reads what still comes: a reset could overtake the GOAWAY.
    if (sim.faults.areGraceful()) return finishOutput();
    end(false, "the session is over");
  }
}

// Between two frames of what is honestly meant.
void H2Peer::sayHostile() {
  H2Place place;
  place.is_client = role_ == Role::client;
  place.open_id = static_cast<uint32_t>(openStream());
  if (place.open_id != 0) place.honest_head = honestHead(openStream(), place.honest_bytes);
  place.closed_id = static_cast<uint32_t>(closed_id_);
  if (place.is_client) place.next_id = nghttp2_session_get_next_stream_id(session_);
  const Hostility hostility = hostileFrames(sim, place);
  if (place.is_client && place.new_streams != 0) {
    nghttp2_session_set_next_stream_id(session_, static_cast<int32_t>(place.next_id + 2 * place.new_streams));
  }
  sim.say(actor(), "is hostile: %s", hostility.name);
  out_ += hostility.bytes;
  is_mute_ = hostility.is_last;
  if (std::exchange(is_hostile_, true)) return;
  sim.after(sim.below(is_mute_ ? 30'000 : 2000) * ns_per_ms, [this] { end(sim.oneIn(2), "has been hostile"); });
}

void H2Peer::sayFrame(const char* verb, const nghttp2_frame& frame) {
  if (!sim.trace.isWanted()) return;
  static constexpr const char* names[] = {"DATA",         "HEADERS", "PRIORITY", "RST_STREAM",    "SETTINGS",
                                          "PUSH_PROMISE", "PING",    "GOAWAY",   "WINDOW_UPDATE", "CONTINUATION"};
  const char* name = frame.hd.type < std::size(names) ? names[frame.hd.type] : "?";
  char more[96] = "";
  switch (frame.hd.type) {
    case NGHTTP2_RST_STREAM:
      std::snprintf(more, sizeof(more), " %s", nghttp2_http2_strerror(frame.rst_stream.error_code));
      break;
    case NGHTTP2_GOAWAY:
      std::snprintf(more, sizeof(more), " last %d %s", frame.goaway.last_stream_id,
                    nghttp2_http2_strerror(frame.goaway.error_code));
      break;
    case NGHTTP2_WINDOW_UPDATE:
      std::snprintf(more, sizeof(more), " +%d", frame.window_update.window_size_increment);
      break;
    case NGHTTP2_SETTINGS:
      if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) std::snprintf(more, sizeof(more), " ACK");
      for (size_t i = 0, at = 0; i < frame.settings.niv && at < sizeof(more); ++i) {
        at += static_cast<size_t>(std::snprintf(more + at, sizeof(more) - at, " %d=%u",
                                                frame.settings.iv[i].settings_id, frame.settings.iv[i].value));
      }
      break;
    default:
      std::snprintf(
          more, sizeof(more), " %zu bytes%s", frame.hd.length,
          (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && frame.hd.type <= NGHTTP2_HEADERS ? " END_STREAM" : "");
  }
  sim.say(actor(), "%s %s stream %d%s", verb, name, frame.hd.stream_id, more);
}

}  // namespace plait::sim
