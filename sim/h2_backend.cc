#include "sim/h2_backend.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace plait::sim {
namespace {

nghttp2_nv field(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

// One connection of a backend, from the backend's side.
class H2Origin final : public H2Peer {
 public:
  H2Origin(Scene& scene, const std::string& name, End& end) : H2Peer(scene, true, name) {
    adopt(end);
    const uint32_t window = scene.happens(Fault::backend_tiny_window) ? 1 + scene.below(400) : 65'535;
    const uint32_t streams = scene.happens(Fault::backend_max_streams) ? scene.below(4) : 100;
    startSession({{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}, {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams}});
    pump();
    if (streams == 0) restoreStreams();
  }

  void calmDown() override {
    if (session_ == nullptr || !isConnected()) return;
    announce(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 65'535);
    announce(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100);
    pump();
  }

 private:
  struct Job {
    uint64_t id = 0;
    bool has_id = false;
    std::string method;
    uint64_t received = 0;
    uint64_t sent = 0;
    bool is_executed = false;
    bool is_answered = false;
    bool is_deferred = false;
    bool has_trailers = false;
    uint64_t breaks_at = UINT64_MAX;  // of the response's bytes
    bool drops = false;               // … with the connection
  };

  void onHeader(int32_t stream, std::string_view name, std::string_view value) override {
    Job& job = jobs_[stream];
    if (name == ":method") job.method = value;
    if (name != "x-sim-id") return;
    job.has_id = true;
    std::from_chars(value.data(), value.data() + value.size(), job.id);
  }

  void onHeaders(int32_t stream, bool) override {
    Job& job = jobs_[stream];
    if (job.is_executed) return;  // trailers
    if (!job.has_id || !scene_.ledger.isKnown(job.id)) {
      return scene_.trace().violate("forwarding", "%s got a request without its id", name_.c_str());
    }
    if (stream > goaway_last_id_) {
      // It crossed our GOAWAY, unless the PING behind that has come back.
      if (goaway_seen_) {
        scene_.trace().violate("goaway", "%s/%u got stream %d after GOAWAY", name_.c_str(), connectionId(), stream);
      }
      jobs_.erase(stream);
      return;
    }
    if (scene_.happens(Fault::backend_refuse)) {
      jobs_.erase(stream);
      nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, NGHTTP2_REFUSED_STREAM);
      return;
    }
    job.is_executed = true;
    scene_.ledger.execute(job.id, job.method, name_.c_str());
    if (scene_.happens(Fault::backend_goaway)) goAway();
    if (scene_.happens(Fault::backend_window_change)) {
      announce(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
               scene_.below(2) == 0 ? 1 + scene_.below(50) : scene_.below(200'000));
    }
    if (scene_.happens(Fault::backend_table_size)) announce(NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, scene_.below(5000));
    if (scene_.happens(Fault::backend_max_streams)) {
      announce(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, scene_.below(4));
      restoreStreams();
    }
    if (scene_.happens(Fault::backend_early)) answerSoon(stream);
  }

  void onData(int32_t stream, std::string_view bytes) override {
    const auto found = jobs_.find(stream);
    if (found == jobs_.end()) return;
    scene_.ledger.check(found->second.id, Direction::request, found->second.received, bytes, name_.c_str());
    found->second.received += bytes.size();
  }

  void onEndStream(int32_t stream) override {
    const auto found = jobs_.find(stream);
    if (found == jobs_.end()) return;
    scene_.ledger.checkEnd(found->second.id, Direction::request, found->second.received, name_.c_str());
    if (!found->second.is_answered) answerSoon(stream);
  }

  void onStreamClose(int32_t stream, uint32_t) override {
    jobs_.erase(stream);
    if (!jobs_.empty() || !says_goaway_) return;
    scene_.network.after(ns_per_ms, [this, gone = is_gone_] {
      if (!*gone && jobs_.empty()) finish();
    });
  }

  void onGoaway(uint32_t code) override {
    if (code == NGHTTP2_NO_ERROR) return;
    scene_.trace().violate("protocol", "%s/%u did nothing wrong and was told %s", name_.c_str(), connectionId(),
                           nghttp2_http2_strerror(code));
  }
  void onPingAck() override { goaway_seen_ = says_goaway_; }
  void onEnd() override { close(); }
  void onGone() override {}

  void goAway() {
    // At once, so that the id covers what has been executed and nothing else is.
    scene_.network.after(0, [this, gone = is_gone_] {
      if (*gone || session_ == nullptr || says_goaway_) return;
      says_goaway_ = true;
      goaway_last_id_ = nghttp2_session_get_last_proc_stream_id(session_);
      nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, goaway_last_id_, NGHTTP2_NO_ERROR, nullptr, 0);
      nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
      pump();
      if (jobs_.empty()) finish();
    });
  }

  // A limit of few streams, or none, does not stay.
  void restoreStreams() {
    scene_.network.after(scene_.below(1500) * ns_per_ms, [this, gone = is_gone_] {
      if (*gone || session_ == nullptr || !isConnected()) return;
      announce(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100);
      pump();
    });
  }

  void answerSoon(int32_t stream) {
    Job& job = jobs_[stream];
    job.is_answered = true;
    if (scene_.happens(Fault::backend_silent)) return;
    const TimeNs delay_ns =
        scene_.happens(Fault::backend_slow) ? scene_.below(400) * ns_per_ms : scene_.below(3) * ns_per_ms;
    scene_.network.after(delay_ns, [this, gone = is_gone_, stream] {
      if (*gone || session_ == nullptr) return;
      const auto found = jobs_.find(stream);
      if (found != jobs_.end()) answer(stream, found->second);
      pump();
    });
  }

  void answer(int32_t stream, Job& job) {
    const std::string number = std::to_string(job.id);
    const uint64_t size = sizeOf(job.id, Direction::response);
    const std::string length = std::to_string(size);
    if (scene_.happens(Fault::backend_interim)) {
      const nghttp2_nv hints[] = {field(":status", "103"), field("link", "</style.css>; rel=preload")};
      nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream, nullptr, hints, 2, nullptr);
    }
    std::vector<nghttp2_nv> fields = {field(":status", "200"), field("x-sim-id", number), field("server", name_)};
    if (job.id % 3 == 0) fields.push_back(field("content-length", length));
    job.has_trailers = scene_.happens(Fault::backend_trailers);
    job.drops = scene_.happens(Fault::backend_drop);
    if (job.drops || scene_.happens(Fault::backend_reset))
      job.breaks_at = size == 0 ? 0 : scene_.below(static_cast<uint32_t>(size));
    nghttp2_data_provider body{};
    body.read_callback = [](nghttp2_session*, int32_t id, uint8_t* out, size_t room, uint32_t* flags,
                            nghttp2_data_source*, void* self) -> ssize_t {
      return static_cast<H2Origin*>(self)->readBody(id, out, room, *flags);
    };
    nghttp2_submit_response(session_, stream, fields.data(), fields.size(), &body);
  }

  ssize_t readBody(int32_t stream, uint8_t* out, size_t room, uint32_t& flags) {
    const auto found = jobs_.find(stream);
    if (found == jobs_.end()) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    Job& job = found->second;
    const uint64_t size = sizeOf(job.id, Direction::response);
    if (!job.is_deferred && scene_.happens(Fault::backend_slow)) {
      job.is_deferred = true;
      scene_.network.after(scene_.below(400) * ns_per_ms, [this, gone = is_gone_, stream] {
        if (*gone || session_ == nullptr || !jobs_.contains(stream)) return;
        nghttp2_session_resume_data(session_, stream);
        pump();
      });
      return NGHTTP2_ERR_DEFERRED;
    }
    job.is_deferred = false;
    size_t count = std::min<uint64_t>({room, size - job.sent, 4096});
    if (job.sent + count > job.breaks_at || (job.breaks_at == 0 && size == 0)) {
      if (job.drops) {
        scene_.network.after(0, [this, gone = is_gone_] {
          if (!*gone) close(true);
        });
        return NGHTTP2_ERR_DEFERRED;
      }
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // RST_STREAM(INTERNAL_ERROR)
    }
    for (size_t i = 0; i < count; ++i) out[i] = byteOf(job.id, Direction::response, job.sent + i);
    job.sent += count;
    if (job.sent == size) {
      flags |= NGHTTP2_DATA_FLAG_EOF;
      if (job.has_trailers) {
        flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        const nghttp2_nv trailer = field("x-sim-checksum", "ok");
        nghttp2_submit_trailer(session_, stream, &trailer, 1);
      }
    }
    return static_cast<ssize_t>(count);
  }

  std::map<int32_t, Job> jobs_;
  bool says_goaway_ = false;
  bool goaway_seen_ = false;
  int32_t goaway_last_id_ = INT32_MAX;
};

}  // namespace

void Backend::goUp() {
  if (std::exchange(is_up_, true)) return;
  scene_.trace().note("%s goes up", name_.c_str());
  scene_.network.listen(port_, *this);
}

void Backend::goDown() {
  if (!std::exchange(is_up_, false)) return;
  scene_.trace().note("%s goes down", name_.c_str());
  scene_.network.unlisten(port_, *this);
  peers_.clear();
}

void Backend::calmDown() {
  goUp();
  for (auto& peer : peers_) peer->calmDown();
}

bool Backend::onConnection(End& end) {
  std::erase_if(peers_, [](const std::unique_ptr<Peer>& peer) { return !peer->isConnected(); });
  peers_.push_back(makePeer(end));
  return true;
}

std::unique_ptr<Peer> H2Backend::makePeer(End& end) {
  return std::make_unique<H2Origin>(scene(), name(), end);
}

}  // namespace plait::sim
