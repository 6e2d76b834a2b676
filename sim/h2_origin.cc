#include <map>

#include "sim/hostile.h"
#include "sim/origin.h"

namespace plait::sim {
namespace {

class H2OriginConnection final : public OriginConnection, public H2Peer {
 public:
  H2OriginConnection(Origin& origin, std::string name, const From& from)
      : H2Peer(origin.sim, std::move(name), Role::server, origin.options().h2), origin_(origin), from_(from) {
    reaction_ns = origin.options().reaction_ns;
    read_pause_ns = origin.options().read_pause_ns;
    read_size = origin.options().read_size;
    const Limits& limits = origin.options().limits;
    first_connection_grant = largest_connection_grant = limits.upstream_connection_window;
    first_stream_grant = limits.upstream_stream_window;
    // The blocks of an eighth of the pool for windows beside those of a stream's own.
    const uint32_t payload = limits.streamBlockPayload();
    largest_stream_grant = (limits.burstBlocks() / 8 + first_stream_grant / payload + 1) * payload - 1;
    learns_grants = true;
    if (sim.strikes(Fault::cut_at_byte)) {
      cut_after = sim.below(sim.oneIn(2) ? 200 : 20'000);
      cut_by_reset = sim.oneIn(2);
    }
    if (sim.faults.exists(Fault::settings_change)) planSettingsChange();
    if (sim.faults.exists(Fault::goaway) && sim.oneIn(3)) {
      sim.after(sim.below(10'000) * ns_per_ms, [this] {
        if (!isOver() && !sim.faults.areOver()) sayGoaway();
      });
    }
  }

  void start(Stream& stream) override {
    Peer::start(stream);
    if (origin_.isSick(Fault::backend_says_goaway_at_once)) turnAway();
    if (origin_.isSick(Fault::backend_leaves_politely)) {
      sim.after(sim.between(50, 1500) * ns_per_ms, [this] { turnAway(); });
    }
  }
  void drop(bool reset) override { end(reset, "goes down"); }
  void turnAway() override;
  void thaw() override {
    if (isOver()) return;
    takeAll();
    wake();
  }
  void checkAbandoned() override {
    for (const auto& [id, stream] : streams_) {
      if (isReading()) origin_.ledger.checkNotAbandoned(*stream.entry, actor());
    }
  }

 private:
  struct Stream {
    Entry* entry;
    uint64_t received = 0;
    uint64_t sent = 0;
    Fields trailers;
    bool is_whole = false;
    bool is_planned = false;
    bool is_answered = false;
    bool pauses = false;
    uint64_t resets_at = UINT64_MAX;  // of the response's body: RST_STREAM
    uint64_t breaks_at = UINT64_MAX;  // the connection ends
    uint64_t silent_at = UINT64_MAX;  // nothing more comes
  };

  void onHeadersBegin(int32_t id) override;
  void onHeaders(int32_t id, Fields& fields, bool end_stream) override;
  void onData(int32_t id, Bytes bytes) override;
  void onEndOfStream(int32_t id) override;
  void onStreamClosed(int32_t id, uint32_t) override { streams_.erase(id); }
  void onGoaway() override {}
  void onGoawaySent(int32_t) override {
    goaway_left_ = true;
    sendPing();
  }
  void onPingAck() override { goaway_known_ = goaway_left_; }
  size_t onSendBody(int32_t id, uint8_t* to, size_t room, bool& ends, bool& has_trailers) override;
  Fields trailersOf(int32_t id) override { return {{"x-sum", std::to_string(streams_.at(id).entry->plan.id)}}; }
  void onEnd(const char*) override {
    origin_.noteDisturbed();
    for (const auto& [id, stream] : streams_) {
      stream.entry->is_broken_off = stream.is_answered;
      if (!stream.is_answered && isOwnEnd() && !isHostile()) origin_.ledger.onLost(*stream.entry);
    }
    streams_.clear();
  }
  bool isFrozen() const override { return origin_.isFrozen(); }
  bool takesNothing(int32_t id) const override {
    const auto found = streams_.find(id);
    return origin_.isSick(Fault::uploads_stuck) && found != streams_.end() && found->second.entry->plan.is_stuck;
  }

  int32_t openStream() const override {
    for (const auto& [id, stream] : streams_) {
      if (!stream.is_answered && !stream.entry->plan.isHead()) return id;
    }
    return 0;
  }
  std::string honestHead(int32_t id, uint32_t& bytes) const override {
    const Plan& plan = streams_.at(id).entry->plan;
    bytes = plan.response_bytes;
    std::string head = hpackField(":status", std::to_string(plan.status));
    for (const auto& [name, value] : responseFields(plan)) {
      if (name != "content-length") head += hpackField(name, value);
    }
    return head;
  }
  bool isRefused(int32_t id, const Plan& plan);
  void sayGoaway();
  void sayFinalGoaway(uint32_t error_code);
  void planAnswer(int32_t id);
  void answer(int32_t id);
  void planSettingsChange();

  Origin& origin_;
  From from_;
  std::map<int32_t, Stream> streams_;
  int32_t highest_seen_ = 0;
  int32_t highest_executed_ = 0;
  int32_t last_served_ = INT32_MAX;  // what the last GOAWAY names
  bool goaway_sent_ = false;
  bool goaway_left_ = false;
  bool goaway_known_ = false;  // the proxy has answered what was sent behind GOAWAY
};

void H2OriginConnection::onHeadersBegin(int32_t id) {
  if (id <= highest_seen_) return;
  highest_seen_ = id;
  if (goaway_sent_) origin_.noteDisturbed();
  if (goaway_known_)
    sim.violate("dead connection", "%s got a new request on stream %d after its GOAWAY was known", actor(), id);
}

// Streams above the id that the last GOAWAY names are never worked on, also those that arrive before it has left.
void H2OriginConnection::sayFinalGoaway(uint32_t error_code) {
  last_served_ = highest_executed_;
  stays_ = false;
  sendGoaway(last_served_, error_code);
}

void H2OriginConnection::sayGoaway() {
  if (std::exchange(goaway_sent_, true)) return;
  const bool has_error = !sim.faults.areGraceful() && sim.oneIn(4);
  if (!has_error && sim.oneIn(3)) {
    // First a warning, as polite servers do.
    sendGoaway(INT32_MAX, NGHTTP2_NO_ERROR);
    stays_ = true;
    sim.after(sim.between(1, 200) * ns_per_ms, [this] {
      if (!isOver()) sayFinalGoaway(NGHTTP2_NO_ERROR);
    });
    return;
  }
  sayFinalGoaway(has_error ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_NO_ERROR);
  if (has_error || (!sim.faults.areGraceful() && sim.oneIn(3))) {
    sim.after(sim.below(20'000) * ns_per_us, [this, is_reset = sim.oneIn(2)] { end(is_reset, "after GOAWAY"); });
  }
}

void H2OriginConnection::turnAway() {
  if (isOver() || std::exchange(goaway_sent_, true)) return;
  if (origin_.isSick(Fault::backend_says_goaway_at_once)) return sayFinalGoaway(NGHTTP2_NO_ERROR);
  sendGoaway(INT32_MAX, NGHTTP2_NO_ERROR);
  stays_ = true;
  sim.after(sim.between(1, 200) * ns_per_ms, [this] {
    if (!isOver()) sayFinalGoaway(NGHTTP2_NO_ERROR);
  });
}

bool H2OriginConnection::isRefused(int32_t id, const Plan& plan) {
  if (origin_.refusesAll()) {
    reset(id, NGHTTP2_REFUSED_STREAM);
    return true;
  }
  if (sim.strikes(Fault::refuse_stream)) {
    sim.say(actor(), "refuses request %u", plan.id);
    reset(id, NGHTTP2_REFUSED_STREAM);
    return true;
  }
  if (origin_.options().speaks_h1 && sim.strikes(Fault::http_1_1_required)) {
    sim.say(actor(), "wants HTTP/1.1 for request %u", plan.id);
    reset(id, NGHTTP2_HTTP_1_1_REQUIRED);
    return true;
  }
  if (sim.strikes(Fault::goaway)) sayGoaway();
  return id > last_served_;
}

void H2OriginConnection::onHeaders(int32_t id, Fields& fields, bool end_stream) {
  if (const auto known = streams_.find(id); known != streams_.end()) {
    known->second.trailers = fields;
    return;
  }
  const auto path = valueOf(fields, ":path");
  if (!path) return;  // trailers of a request that was refused
  Entry* entry = origin_.ledger.findByPath(*path, actor());
  if (entry == nullptr) return submitResponse(id, {{":status", "404"}, {"content-length", "0"}}, false);
  // Requests behind nonsense of its own were sent before plait had read that, and may have been repeated meanwhile.
  const TimeNs asked_ns = isHostile() ? never_ns : from_.asked_ns;
  origin_.ledger.onAttempt(*entry, actor(), {from_.worker, origin_.number()}, asked_ns);
  if (isRefused(id, entry->plan)) return;
  highest_executed_ = std::max(highest_executed_, id);
  sim.say(actor(), "takes request %u on stream %d%s", entry->plan.id, id, end_stream ? ", whole" : "");
  origin_.ledger.onExecuted(*entry, actor(), valueOf(fields, ":method").value_or(""),
                            valueOf(fields, ":authority").value_or(""), fields);
  if (sim.strikes(Fault::backend_stops_reading)) stopReading(30);
  Stream& stream = streams_.emplace(id, Stream{.entry = entry, .trailers = {}}).first->second;
  const uint32_t size = entry->plan.response_bytes + 1;
  if (sim.strikes(Fault::reset_stream)) stream.resets_at = sim.below(size);
  if (sim.strikes(Fault::broken_body)) stream.breaks_at = sim.below(size);
  if (sim.strikes(Fault::silent_response)) stream.silent_at = sim.below(size);
  if (entry->plan.breaks) stream.resets_at = 0;
  if (origin_.isSick(Fault::backend_breaks_bodies)) stream.breaks_at = 1;
  if (origin_.isSick(Fault::backend_breaks_requests)) {
    sim.after(sim.below(2000) * ns_per_us, [this] { end(true, "breaks when a request has come"); });
  }
  if (entry->plan.echoes_early && !end_stream) planAnswer(id);
}

void H2OriginConnection::onData(int32_t id, Bytes bytes) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  origin_.ledger.onRequestBody(*found->second.entry, actor(), found->second.received, bytes);
  found->second.received += bytes.size();
}

void H2OriginConnection::onEndOfStream(int32_t id) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  found->second.is_whole = true;
  origin_.ledger.onRequestEnd(*found->second.entry, actor(), found->second.received, found->second.trailers);
  planAnswer(id);
}

void H2OriginConnection::planAnswer(int32_t id) {
  Stream& stream = streams_.at(id);
  if (std::exchange(stream.is_planned, true)) return;
  if (sim.strikes(Fault::backend_hang) || origin_.isSick(Fault::backend_never_answers))
    return sim.say(actor(), "never answers request %u", stream.entry->plan.id);
  sim.after(stream.entry->plan.think_us * ns_per_us, [this, id] {
    if (!isOver() && streams_.contains(id)) answer(id);
  });
}

void H2OriginConnection::answer(int32_t id) {
  Stream& stream = streams_.at(id);
  const Plan& plan = stream.entry->plan;
  if (origin_.isSick(Fault::backend_answers_5xx)) {
    constexpr const char* statuses[] = {"500", "502", "503", "504"};
    stream.is_answered = true;
    return submitResponse(id, {{":status", statuses[sim.below(4)]}, {"content-length", "0"}, {sick_field, "1"}}, false);
  }
  if (stream.resets_at == 0 || (stream.resets_at != UINT64_MAX && !plan.hasResponseBody())) {
    constexpr uint32_t codes[] = {NGHTTP2_INTERNAL_ERROR, NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM};
    return reset(id, codes[sim.below(3)]);
  }
  for (uint32_t i = 0; i < plan.interims; ++i) submitInterim(id, {{":status", "103"}, {"link", "</style.css>"}});
  Fields fields = {{":status", std::to_string(plan.status)}};
  const Fields more = responseFields(plan);
  fields.insert(fields.end(), more.begin(), more.end());
  sim.say(actor(), "answers request %u with %u and %u bytes", plan.id, plan.status, plan.response_bytes);
  stream.is_answered = true;
  const bool is_bare = !plan.hasResponseBody() || (plan.response_bytes == 0 && !plan.response_trailers && sim.oneIn(2));
  submitResponse(id, fields, !is_bare);
}

size_t H2OriginConnection::onSendBody(int32_t id, uint8_t* to, size_t room, bool& ends, bool& has_trailers) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return 0;
  Stream& stream = found->second;
  const Plan& plan = stream.entry->plan;
  if (stream.sent >= stream.silent_at) return 0;
  if (stream.sent >= stream.breaks_at) {
    sim.after(0, [this, is_reset = sim.oneIn(2)] { end(is_reset, "breaks off a response"); });
    return 0;
  }
  if (stream.sent >= stream.resets_at) {
    sim.after(0, [this, id] {
      if (!isOver()) reset(id, NGHTTP2_INTERNAL_ERROR);
    });
    return 0;
  }
  if (!plan.is_bulk && !std::exchange(stream.pauses, !stream.pauses) && (plan.tick_us != 0 || sim.oneIn(4))) {
    const TimeNs pause_ns = (plan.tick_us != 0 ? plan.tick_us : sim.below(5000)) * ns_per_us;
    sim.after(pause_ns, [this, id] {
      if (!isOver() && streams_.contains(id)) resume(id);
    });
    return 0;
  }
  size_t size = std::min<size_t>(room, plan.response_bytes - stream.sent);
  for (const uint64_t stop : {stream.silent_at, stream.breaks_at, stream.resets_at}) {
    size = static_cast<size_t>(std::min<uint64_t>(size, stop - stream.sent));
  }
  if (plan.tick_us != 0) size = std::min<size_t>(size, 10);
  if (size > 1 && !plan.is_bulk && sim.oneIn(3)) size = sim.between(1, static_cast<uint32_t>(size));
  fillBody(plan.id, Direction::response, stream.sent, to, size);
  stream.sent += size;
  ends = stream.sent == plan.response_bytes;
  has_trailers = plan.response_trailers;
  // An end before the whole request is here: the rest is not wanted.
  if (ends && !stream.is_whole && !has_trailers) {
    sim.after(sim.below(1000) * ns_per_us, [this, id] {
      const auto early = streams_.find(id);
      if (!isOver() && early != streams_.end() && !early->second.is_whole) reset(id, NGHTTP2_NO_ERROR);
    });
  }
  return size;
}

void H2OriginConnection::planSettingsChange() {
  sim.after(sim.between(1, 2000) * ns_per_ms, [this] {
    if (isOver() || sim.faults.areOver()) return;
    constexpr uint32_t streams[] = {0, 1, 2, 10, 100};
    constexpr uint32_t windows[] = {0, 1, 100, 16'384, 65'535, 1 << 20};
    constexpr uint32_t tables[] = {0, 100, 4096, 65'536};
    sendSettings({{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams[sim.below(5)]},
                  {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, windows[sim.below(6)]},
                  {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, tables[sim.below(4)]}});
    // Settings that were closed are opened again, whatever the phase of the run.
    sim.after(sim.between(1, 1500) * ns_per_ms, [this] {
      if (isOver()) return;
      sendSettings({{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 65'535}});
      planSettingsChange();
    });
  });
}

}  // namespace

std::unique_ptr<OriginConnection> makeH2OriginConnection(Origin& origin, std::string actor, const From& from) {
  return std::make_unique<H2OriginConnection>(origin, std::move(actor), from);
}

}  // namespace plait::sim
