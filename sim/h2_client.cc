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
    largest_grant = 1 << 20;
  }

  void start(Stream& stream) override { Peer::start(stream); }
  bool hasRoom() const override {
    // Until the proxy has said how many streams it takes, a client that wants no refusal sends one.
    const bool knows = hasSettings() || !client_.options().is_calm;
    return streams_.size() < (knows ? client_.options().parallel : 1);
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

  void onHeaders(int32_t id, Fields& fields, bool end_stream) override;
  void onData(int32_t id, Bytes bytes) override;
  void onEndOfStream(int32_t id) override;
  void onStreamClosed(int32_t id, uint32_t error_code) override;
  void onGoaway() override { client_.issue(); }
  void onSettings() override { client_.issue(); }
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

// What else this client will do to the request.
void H2ClientConnection::planMischief(int32_t id) {
  Stream& stream = streams_.at(id);
  if (sim.strikes(Fault::client_cancel)) {
    sim.after(sim.below(200'000) * ns_per_us, [this, id] {
      if (isOver() || !streams_.contains(id)) return;
      reset(id, NGHTTP2_CANCEL);
      finish(id, Outcome::cancelled, "cancelled");
    });
  }
  if (sim.strikes(Fault::client_body_breaks)) stream.breaks_at = sim.below(stream.entry->plan.request_bytes + 1);
  if (sim.strikes(Fault::client_stops_sending)) stream.stops_at = sim.below(stream.entry->plan.request_bytes + 1);
  if (sim.strikes(Fault::client_stops_reading)) stopReading(200);
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
  // The request may still be on its way: whoever has the whole answer needs no more.
  client_.ledger.onComplete(*stream.entry, actor(), stream.answer);
  const bool is_sent = !stream.entry->plan.has_request_body || stream.sent == stream.entry->plan.request_bytes;
  streams_.erase(found);
  if (!is_sent) reset(id, NGHTTP2_CANCEL);
  client_.onEnded();
  if (leaving_ && streams_.empty()) sendGoaway(0, NGHTTP2_NO_ERROR);
}

void H2ClientConnection::onStreamClosed(int32_t id, uint32_t error_code) {
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
  if (!std::exchange(stream.is_waiting, !stream.is_waiting) && sim.oneIn(4)) {
    sim.after(sim.below(5000) * ns_per_us, [this, id] {
      if (!isOver() && streams_.contains(id)) resume(id);
    });
    return 0;
  }
  size_t size =
      static_cast<size_t>(std::min<uint64_t>({room, plan.request_bytes - stream.sent, stream.stops_at - stream.sent}));
  if (size != 0 && sim.oneIn(3)) size = sim.between(1, static_cast<uint32_t>(size));
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
