#include <cstring>

#include "sim/client.h"

namespace plait::sim {
namespace {

class H2ClientConnection final : public ClientConnection, public H2Peer {
 public:
  H2ClientConnection(Client& client, std::string name)
      : H2Peer(client.sim, std::move(name), Role::client, client.options().h2), client_(client) {
    reaction_ns = client.options().reaction_ns;
    read_pause_ns = client.options().read_pause_ns;
    read_size = client.options().read_size;
    const Limits& limits = client.options().limits;
    first_stream_grant = limits.client_stream_window;
    largest_connection_grant = std::min(limits.client_connection_window, limits.upload_pool_bytes / 4);
    largest_stream_grant = std::min(largest_connection_grant, limits.uploadBlocks() / 8 * limits.streamBlockPayload());
  }

  void start(Stream& stream) override { Peer::start(stream); }
  bool hasRoom() const override {
    // Until the proxy has said how many streams it takes, a client that wants no refusal sends one.
    const bool knows = hasSettings() || !(client_.options().is_calm || client_.options().is_careful);
    return streams_.size() + answered_.size() < (knows ? client_.options().parallel : 1);
  }
  bool isSpent() const override { return isOver() || hasGoaway() || leaving_; }
  void request(Entry& entry) override;
  void leave() override {
    if (leaving_ || isOver()) return;
    leaving_ = true;
    if (!streams_.empty()) return;
    sendGoaway(0, NGHTTP2_NO_ERROR);
  }
  void checkAtRest() override {
    if (streams_.empty() && !isOver()) checkConnectionWindow();
  }

 private:
  struct Stream {
    Entry* entry;
    Ledger::Answer answer;
    uint64_t sent = 0;
    bool has_head = false;
    bool ended = false;
    uint64_t breaks_at = UINT64_MAX;
    uint64_t stops_at = UINT64_MAX;
    bool is_waiting = false;
  };

  // A request that was answered before all of it had been sent, and that this client goes on sending.
  struct Answered {
    uint64_t left = 0;
    uint64_t read = 0;  // by which the end of the response came
  };

  void onHeaders(int32_t id, Fields& fields, bool end_stream) override;
  void onData(int32_t id, Bytes bytes) override;
  void onEndOfStream(int32_t id) override;
  void onStreamClosed(int32_t id, uint32_t error_code) override;
  void onGoaway() override { client_.issue(); }
  void onSettings() override { client_.issue(); }
  void onWindowUpdate(int32_t id) override {
    if (answered_.contains(id) && !isHostile())
      sim.violate("credit", "%s was granted more on stream %d, whose response is complete", actor(), id);
  }
  bool onBytes(Bytes bytes) override {
    reads_ += 1;
    return H2Peer::onBytes(bytes);
  }
  size_t onSendBody(int32_t id, uint8_t* to, size_t room, bool& ends, bool& has_trailers) override;
  Fields trailersOf(int32_t id) override { return {{"x-sum", std::to_string(streams_.at(id).entry->plan.id)}}; }
  int32_t openStream() const override {
    for (const auto& [id, stream] : streams_) {
      if (stream.entry->plan.has_request_body && stream.sent != stream.entry->plan.request_bytes) return id;
    }
    return 0;
  }
  void onEnd(const char* reason) override;
  void finish(int32_t id, Outcome outcome, const char* reason);
  void planMischief(int32_t id);

  Client& client_;
  std::map<int32_t, Stream> streams_;
  std::map<int32_t, Answered> answered_;
  uint64_t reads_ = 0;
  bool leaving_ = false;
};

void H2ClientConnection::request(Entry& entry) {
  const Plan& plan = entry.plan;
  Fields fields = {{":method", plan.method},
                   {":scheme", client_.options().uses_tls ? "https" : "http"},
                   {":path", plan.path()},
                   {":authority", plan.authority()}};
  fields.insert(fields.end(), plan.request_fields.begin(), plan.request_fields.end());
  fields.insert(fields.end(), plan.changed_fields.begin(), plan.changed_fields.end());
  if (plan.has_request_body && plan.request_length_known) {
    fields.emplace_back("content-length", std::to_string(plan.request_bytes));
  }
  const int32_t id = submitRequest(fields, plan.has_request_body);
  sim.say(actor(), "asks for request %u: %s, %u bytes, on stream %d", plan.id, plan.method, plan.request_bytes, id);
  streams_.emplace(id, Stream{.entry = &entry, .answer = {}});
  planMischief(id);
}

// The mischief that this client will do to the request.
void H2ClientConnection::planMischief(int32_t id) {
  Stream& stream = streams_.at(id);
  if (sim.strikes(Fault::client_cancel) || (client_.options().leaves && sim.oneIn(2))) {
    sim.after(sim.below(200'000) * ns_per_us, [this, id] {
      if (isOver() || !streams_.contains(id)) return;
      reset(id, NGHTTP2_CANCEL);
      finish(id, Outcome::cancelled, "cancelled");
    });
  }
  if (sim.strikes(Fault::client_body_breaks)) stream.breaks_at = sim.below(stream.entry->plan.request_bytes + 1);
  if (sim.strikes(Fault::client_stops_sending)) stream.stops_at = sim.below(stream.entry->plan.request_bytes + 1);
  if (sim.strikes(Fault::client_stops_reading) || (client_.options().stops_reading && sim.oneIn(3))) stopReading(200);
  if (sim.strikes(Fault::client_vanish)) {
    sim.after(sim.below(100'000) * ns_per_us, [this, is_reset = sim.oneIn(2)] { end(is_reset, "vanishes"); });
  }
  if (sim.strikes(Fault::client_settings_change)) {
    sim.after(sim.below(20'000) * ns_per_us, [this] {
      if (isOver()) return;
      constexpr uint32_t windows[] = {0, 1, 1000, 65'535, 1 << 20};
      constexpr uint32_t tables[] = {0, 64, 4096, 65'536};
      sendSettings({{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, windows[sim.below(5)]},
                    {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, tables[sim.below(4)]}});
      // A window of nothing is opened again.
      sim.after(sim.between(1, 500) * ns_per_ms, [this] {
        if (!isOver()) sendSettings({{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 65'535}});
      });
    });
  }
}

void H2ClientConnection::onHeaders(int32_t id, Fields& fields, bool end_stream) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  Stream& stream = found->second;
  const auto status = valueOf(fields, ":status");
  if (!status) {
    stream.answer.trailers = fields;
    return;
  }
  if (status->front() == '1') {
    if (*status == "103") stream.answer.interims += 1;
    return;
  }
  stream.has_head = true;
  stream.answer.status = static_cast<uint16_t>(std::stoi(std::string(*status)));
  stream.answer.fields = std::move(fields);
  sim.say(actor(), "gets %u for request %u%s", stream.answer.status, stream.entry->plan.id,
          end_stream ? ", whole" : "");
  client_.ledger.onHead(*stream.entry, actor(), stream.answer);
}

void H2ClientConnection::onData(int32_t id, Bytes bytes) {
  const auto found = streams_.find(id);
  if (found != streams_.end())
    client_.ledger.onResponseBody(*found->second.entry, actor(), found->second.answer, bytes);
}

void H2ClientConnection::onEndOfStream(int32_t id) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  Stream& stream = found->second;
  stream.ended = true;
  // The request may still be on its way: a client that has the whole answer needs no more.
  client_.ledger.onComplete(*stream.entry, actor(), stream.answer);
  const uint64_t left = stream.entry->plan.has_request_body ? stream.entry->plan.request_bytes - stream.sent : 0;
  streams_.erase(found);
  if (left != 0 && sim.oneIn(2)) {
    answered_.emplace(id, Answered{left, reads_});
    resume(id);
  } else if (left != 0) {
    reset(id, NGHTTP2_CANCEL);
  }
  client_.onEnded();
  if (leaving_ && streams_.empty()) sendGoaway(0, NGHTTP2_NO_ERROR);
}

void H2ClientConnection::onStreamClosed(int32_t id, uint32_t error_code) {
  if (const auto found = answered_.find(id); found != answered_.end()) {
    const Answered answered = found->second;
    answered_.erase(found);
    if (error_code != NGHTTP2_NO_ERROR && !isHostile()) {
      sim.violate("answer", "%s was told %s on stream %d, whose response is complete", actor(),
                  nghttp2_http2_strerror(error_code), id);
    }
    // Many clients that find both in one read lose the status. One that reads late cannot be helped.
    const bool reads_at_once = client_.options().is_calm && read_pause_ns == 0;
    if (answered.left != 0 && answered.read == reads_ && reads_at_once) {
      sim.violate("answer", "%s was told in one read that stream %d is answered and that it is reset", actor(), id);
    }
    return client_.issue();
  }
  if (!streams_.contains(id)) return;
  char reason[64];
  std::snprintf(reason, sizeof(reason), "the stream was reset: %s", nghttp2_http2_strerror(error_code));
  finish(id, Outcome::aborted, reason);
}

void H2ClientConnection::finish(int32_t id, Outcome outcome, const char* reason) {
  Entry& entry = *streams_.at(id).entry;
  streams_.erase(id);
  client_.ledger.onOutcome(entry, actor(), outcome, reason);
  client_.onEnded();
  if (leaving_ && streams_.empty() && !isOver()) sendGoaway(0, NGHTTP2_NO_ERROR);
}

size_t H2ClientConnection::onSendBody(int32_t id, uint8_t* to, size_t room, bool& ends, bool& has_trailers) {
  if (const auto answered = answered_.find(id); answered != answered_.end()) {
    const auto size = static_cast<size_t>(std::min<uint64_t>(room, answered->second.left));
    std::memset(to, 0, size);
    answered->second.left -= size;
    ends = answered->second.left == 0;
    return size;
  }
  const auto found = streams_.find(id);
  if (found == streams_.end()) return 0;
  Stream& stream = found->second;
  const Plan& plan = stream.entry->plan;
  if (stream.sent >= stream.breaks_at) {
    sim.after(0, [this, id] {
      if (isOver() || !streams_.contains(id)) return;
      reset(id, NGHTTP2_CANCEL);
      finish(id, Outcome::cancelled, "its body broke off");
    });
    return 0;
  }
  if (stream.sent >= stream.stops_at) return 0;
  const TimeNs held_until_ns = stream.entry->issued_ns + plan.hold_ms * ns_per_ms;
  if (plan.hold_ms != 0 && stream.sent != 0 && sim.now() < held_until_ns && !sim.faults.areOver()) {
    sim.at(held_until_ns, [this, id] {
      if (!isOver() && streams_.contains(id)) resume(id);
    });
    return 0;
  }
  if (!plan.is_bulk && !std::exchange(stream.is_waiting, !stream.is_waiting) && sim.oneIn(4)) {
    sim.after(sim.below(5000) * ns_per_us, [this, id] {
      if (!isOver() && streams_.contains(id)) resume(id);
    });
    return 0;
  }
  size_t size =
      static_cast<size_t>(std::min<uint64_t>({room, plan.request_bytes - stream.sent, stream.stops_at - stream.sent}));
  if (size != 0 && !plan.is_bulk && sim.oneIn(3)) size = sim.between(1, static_cast<uint32_t>(size));
  if (plan.hold_ms != 0 && stream.sent == 0) size = std::min<size_t>(size, 1);
  fillBody(plan.id, Direction::request, stream.sent, to, size);
  stream.sent += size;
  ends = stream.sent == plan.request_bytes;
  has_trailers = plan.request_trailers;
  return size;
}

void H2ClientConnection::onEnd(const char* reason) {
  while (!streams_.empty()) {
    Entry& entry = *streams_.begin()->second.entry;
    entry.is_untold = isHostile();
    streams_.erase(streams_.begin());
    client_.ledger.onOutcome(entry, actor(), Outcome::aborted, reason);
    client_.onEnded();
  }
  client_.onConnectionOver(*this);
}

}  // namespace

std::unique_ptr<ClientConnection> makeH2ClientConnection(Client& client, std::string actor) {
  return std::make_unique<H2ClientConnection>(client, std::move(actor));
}

}  // namespace plait::sim
