#include <algorithm>
#include <charconv>
#include <utility>

#include "sim/h2_peer.h"
#include "sim/sim_backend.h"

namespace plait::sim {
namespace {

constexpr size_t most_at_once = 40;

nghttp2_nv field(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

}  // namespace

H2Client::H2Client(Scene& scene, std::string name)
    : H2Peer(scene, false, std::move(name)),
      is_slow_(scene.happens(Fault::client_slow)),
      stalls_(scene.happens(Fault::client_stall)),
      bursts_(scene.happens(Fault::client_burst)) {}

void H2Client::start(uint32_t count) {
  left_ += count;
  scheduleNext();
}

void H2Client::calmDown() {
  is_slow_ = stalls_ = false;
  if (session_ != nullptr && isConnected()) {
    announce(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 65'535);
    pump();
  }
  resumeReading();
}

void H2Client::connect() {
  if (is_connecting_) return;
  is_connecting_ = true;
  auto given_up = std::make_shared<bool>(false);
  scene_.network.connect(proxy_port, given_up, [this, given_up, gone = is_gone_](End* end, int) {
    if (*gone || *given_up) {
      if (end != nullptr) end->close(true);
      return;
    }
    *given_up = true;
    is_connecting_ = false;
    if (end == nullptr) return scheduleNext();
    adopt(*end);
    is_leaving_ = false;
    const uint32_t window = scene_.happens(Fault::client_tiny_window) ? 1 + scene_.below(400) : 65'535;
    startSession({{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}, {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}});
    pump();
    sendNext();
  });
  // A connection that nobody answers is given up.
  scene_.network.after(15 * ns_per_s, [this, given_up, gone = is_gone_] {
    if (std::exchange(*given_up, true) || *gone) return;
    is_connecting_ = false;
    scheduleNext();
  });
}

void H2Client::scheduleNext() {
  if (left_ == 0) return;
  const TimeNs pause_ns = bursts_ ? 1000 : (1 + scene_.below(30)) * ns_per_ms;
  scene_.network.after(pause_ns, [this, gone = is_gone_] {
    if (!*gone) sendNext();
  });
}

void H2Client::sendNext() {
  if (left_ == 0) return;
  if (!isConnected()) return connect();
  if (is_leaving_) {
    if (exchanges_.empty()) disconnect();
    return scheduleNext();
  }
  do {
    if (exchanges_.size() >= most_at_once) break;
    oneRequest();
  } while (bursts_ && left_ != 0 && isConnected());
  pump();
  breathe();
  scheduleNext();
}

void H2Client::oneRequest() {
  static constexpr std::string_view methods[] = {"GET", "GET", "POST", "PUT", "DELETE", "POST"};
  const std::string method(methods[scene_.below(std::size(methods))]);
  left_ -= 1;
  const uint64_t id = scene_.ledger.open(method, scene_.network.faults().isQuiet());
  const std::string path = "/r/" + std::to_string(id);
  const std::string number = std::to_string(id);
  const uint64_t size = scene_.ledger.record(id).body_size;
  const std::string length = std::to_string(size);
  const std::string cookie = "session=" + std::string(id % 7 * 30, static_cast<char>('a' + id % 26));
  std::vector<nghttp2_nv> fields = {field(":method", method),  field(":scheme", "http"),
                                    field(":path", path),      field(":authority", "sim.test"),
                                    field("x-sim-id", number), field("cookie", cookie)};
  const bool has_body = method == "POST" || method == "PUT";
  if (has_body && id % 2 == 0) fields.push_back(field("content-length", length));
  nghttp2_data_provider body{};
  body.read_callback = [](nghttp2_session*, int32_t stream, uint8_t* out, size_t room, uint32_t* flags,
                          nghttp2_data_source*, void* self) -> ssize_t {
    auto& client = *static_cast<H2Client*>(self);
    const auto found = client.exchanges_.find(stream);
    if (found == client.exchanges_.end()) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    Exchange& exchange = found->second;
    const uint64_t whole = client.scene_.ledger.record(exchange.id).body_size;
    const size_t count = std::min<uint64_t>(room, whole - exchange.sent);
    for (size_t i = 0; i < count; ++i) out[i] = byteOf(exchange.id, Direction::request, exchange.sent + i);
    exchange.sent += count;
    if (exchange.sent == whole) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(count);
  };
  const int32_t stream =
      nghttp2_submit_request(session_, nullptr, fields.data(), fields.size(), has_body ? &body : nullptr, nullptr);
  if (stream < 0) return scene_.ledger.conclude(id, RequestRecord::Outcome::failed, 0, "no stream");
  exchanges_[stream].id = id;
  scene_.trace().note("%s/%u sends request %llu (%s, %llu bytes) on stream %d", name_.c_str(), connectionId(),
                      static_cast<unsigned long long>(id), method.c_str(), static_cast<unsigned long long>(size),
                      stream);
  if (scene_.happens(Fault::client_cancel)) {
    scene_.network.after(scene_.below(60) * ns_per_ms, [this, gone = is_gone_, stream, id] {
      if (*gone) return;
      const auto found = exchanges_.find(stream);
      if (found == exchanges_.end() || found->second.id != id || found->second.is_cancelled) return;
      found->second.is_cancelled = true;
      nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
      pump();
    });
  }
  if (scene_.happens(Fault::client_vanish)) {
    scene_.network.after(scene_.below(60) * ns_per_ms, [this, gone = is_gone_, connection = connectionId()] {
      if (*gone || !isConnected() || connectionId() != connection) return;
      close(true);
      onGone();
    });
  }
}

// A slow reader pauses now and then; one that stalls does not go on before the quiet phase.
void H2Client::breathe() {
  if (isPaused() || (!is_slow_ && !stalls_)) return;
  pauseReading();
  if (stalls_) return;
  scene_.network.after(scene_.below(400) * ns_per_ms, [this, gone = is_gone_] {
    if (!*gone) resumeReading();
  });
}

void H2Client::onHeader(int32_t stream, std::string_view name, std::string_view value) {
  Exchange& exchange = exchanges_[stream];
  int64_t number = -1;
  std::from_chars(value.data(), value.data() + value.size(), number);
  if (name == ":status") exchange.status = static_cast<int>(number);
  if (name != "x-sim-id") return;
  exchange.is_answered = true;
  if (number != static_cast<int64_t>(exchange.id)) {
    scene_.trace().violate("cross-talk", "request %llu got the answer to %lld",
                           static_cast<unsigned long long>(exchange.id), static_cast<long long>(number));
  }
}

void H2Client::onHeaders(int32_t, bool) {}

void H2Client::onData(int32_t stream, std::string_view bytes) {
  Exchange& exchange = exchanges_[stream];
  if (exchange.is_answered) {
    scene_.ledger.check(exchange.id, Direction::response, exchange.received, bytes, name_.c_str());
  }
  exchange.received += bytes.size();
  breathe();
}

void H2Client::onEndStream(int32_t stream) {
  exchanges_[stream].response_ended = true;
}

void H2Client::onStreamClose(int32_t stream, uint32_t code) {
  const auto found = exchanges_.find(stream);
  if (found == exchanges_.end()) return;
  const Exchange exchange = found->second;
  exchanges_.erase(found);
  if (exchange.response_ended) {
    if (exchange.is_answered) {
      scene_.ledger.checkEnd(exchange.id, Direction::response, exchange.received, name_.c_str());
    }
    return scene_.ledger.conclude(exchange.id, RequestRecord::Outcome::complete, exchange.status, "complete");
  }
  if (exchange.is_cancelled) {
    return scene_.ledger.conclude(exchange.id, RequestRecord::Outcome::cancelled, exchange.status, "cancelled");
  }
  scene_.ledger.conclude(exchange.id, RequestRecord::Outcome::failed, exchange.status, nghttp2_http2_strerror(code));
}

void H2Client::onGoaway(uint32_t code) {
  is_leaving_ = true;
  if (code != NGHTTP2_NO_ERROR) {
    scene_.trace().violate("calm", "%s/%u did nothing wrong and was told %s", name_.c_str(), connectionId(),
                           nghttp2_http2_strerror(code));
  }
}

void H2Client::onEnd() {
  close();
  onGone();
}

void H2Client::onGone() {
  failAll("the connection ended");
  scheduleNext();
}

void H2Client::failAll(const char* how) {
  for (const auto& [stream, exchange] : std::exchange(exchanges_, {})) {
    if (exchange.response_ended) {
      if (exchange.is_answered) {
        scene_.ledger.checkEnd(exchange.id, Direction::response, exchange.received, name_.c_str());
      }
      scene_.ledger.conclude(exchange.id, RequestRecord::Outcome::complete, exchange.status, "complete");
      continue;
    }
    scene_.ledger.conclude(exchange.id,
                           exchange.is_cancelled ? RequestRecord::Outcome::cancelled : RequestRecord::Outcome::failed,
                           exchange.status, how);
  }
}

void H2Client::disconnect() {
  close();
  failAll("disconnected");
}

}  // namespace plait::sim
