#include "sim/hostile.h"
#include "sim/origin.h"

namespace plait::sim {
namespace {

class H1OriginConnection final : public OriginConnection, public Peer {
 public:
  H1OriginConnection(Origin& origin, std::string name, const From& from)
      : Peer(origin.sim, std::move(name)), origin_(origin), from_(from) {
    reaction_ns = origin.options().reaction_ns;
    read_pause_ns = origin.options().read_pause_ns;
    read_size = origin.options().read_size;
    reader_.begin();
    if (sim.strikes(Fault::cut_at_byte)) {
      cut_after = sim.below(sim.oneIn(2) ? 200 : 20'000);
      cut_by_reset = true;
    }
    if (sim.faults.exists(Fault::close_after_response) && !sim.faults.areGraceful()) planIdleClose();
  }

  void start(Stream& stream) override { Peer::start(stream); }
  void drop(bool reset) override { end(reset, "goes down"); }
  void turnAway() override {
    closes_ = true;
    // Which may cross a request.
    if (entry_ == nullptr && reader_.isIdle() && !sim.faults.areGraceful()) end(false, "is idle, and leaves");
  }
  void thaw() override { wake(); }
  void checkAbandoned() override {
    if (entry_ != nullptr && isReading()) origin_.ledger.checkNotAbandoned(*entry_, actor());
  }

 private:
  enum class Framing : uint8_t { none, length, chunked, until_close };

  bool onBytes(Bytes bytes) override;
  void onPeerEnd() override {
    // In a tunnel the client may have said all and still wants the rest.
    const bool wants_more = is_tunnel_ && entry_ != nullptr && received_ == entry_->plan.tunnel_bytes;
    if (!wants_more) return end(false, "the proxy has closed");
    wake();
  }
  void onEnd(const char*) override {
    origin_.noteDisturbed();
    if (entry_ != nullptr) entry_->is_broken_off = is_answering_;
    if (entry_ != nullptr && !is_answering_ && isOwnEnd()) origin_.ledger.onLost(*entry_);
    entry_ = nullptr;
  }
  bool isFrozen() const override {
    const bool is_stuck = entry_ != nullptr && entry_->plan.is_stuck && origin_.isSick(Fault::uploads_stuck);
    return is_stuck || origin_.isFrozen();
  }
  void produce() override;
  bool mustBreakOff() const override {
    const bool is_unfinished = (entry_ != nullptr && is_answering_) || !out_.empty();
    return is_unfinished && framing_ == Framing::until_close;
  }
  bool onHead();
  void onWhole();
  void planAnswer();
  void answer();
  void finish();
  void planIdleClose();
  bool isPaused();
  void sayHostile(const std::string& start);
  void produceTunnel();

  Origin& origin_;
  From from_;
  H1Reader reader_{H1Reader::Kind::request};
  Entry* entry_ = nullptr;
  Entry* drained_ = nullptr;  // has been answered, and its request still comes
  uint64_t received_ = 0;
  uint64_t sent_ = 0;
  uint64_t breaks_at_ = UINT64_MAX;
  uint64_t silent_at_ = UINT64_MAX;
  Framing framing_ = Framing::none;
  bool is_whole_ = false;
  bool is_planned_ = false;
  bool is_answering_ = false;
  bool closes_ = false;
  bool pause_planned_ = false;
  bool has_ticked_ = false;
  bool is_tunnel_ = false;
  bool deaf_ = false;  // what still comes is not looked at
};

// A server that has had enough of an idle connection closes it, whatever is just coming.
void H1OriginConnection::planIdleClose() {
  sim.after(sim.between(1, 3000) * ns_per_ms, [this] {
    if (isOver() || sim.faults.areOver()) return;
    if (entry_ == nullptr && reader_.isIdle()) return end(false, "was idle");
    planIdleClose();
  });
}

bool H1OriginConnection::onHead() {
  const H1Head& head = reader_.head();
  if (head.start[1] == "*" && head.start[0] == "PRI") {
    // The preface of HTTP/2, to somebody who does not speak it.
    switch (sim.below(3)) {
      case 0:
        out_ += h1Head("HTTP/1.1 400 Bad Request", {{"Content-Length", "0"}, {"Connection", "close"}});
        finishOutput();
        wake();
        break;
      case 1:
        end(sim.oneIn(2), "does not know HTTP/2");
        break;
      default:
        sim.say(actor(), "does not know HTTP/2 and says nothing");
        deaf_ = true;
    }
    return false;
  }
  entry_ = origin_.ledger.findByPath(head.start[1], actor());
  if (entry_ == nullptr) {
    out_ += h1Head("HTTP/1.1 404 Not Found", {{"Content-Length", "0"}, {"Connection", "close"}});
    deaf_ = true;
    finishOutput();
    wake();
    return false;
  }
  received_ = sent_ = 0;
  is_whole_ = is_planned_ = is_answering_ = false;
  origin_.ledger.onAttempt(*entry_, actor(), {from_.worker, origin_.number()}, from_.asked_ns);
  if (origin_.refusesAll() || origin_.isSick(Fault::backend_says_goaway_at_once)) {
    end(false, "closes before it looks at a request");
    return false;
  }
  if (!sim.faults.areGraceful() && sim.strikes(Fault::close_after_response) && sim.oneIn(4)) {
    // It had already decided to close.
    end(false, "closes before it looks at a request");
    return false;
  }
  sim.say(actor(), "takes request %u", entry_->plan.id);
  if (sim.strikes(Fault::backend_stops_reading)) stopReading(30);
  origin_.ledger.onExecuted(*entry_, actor(), head.start[0], valueOf(head.fields, "host").value_or(""), head.fields);
  if (!head.keepsAlive() || origin_.isSick(Fault::backend_leaves_politely)) closes_ = true;
  if (origin_.isSick(Fault::backend_breaks_requests)) {
    end(true, "breaks when a request has come");
    return false;
  }
  const uint32_t size = entry_->plan.response_bytes + 1;
  breaks_at_ = sim.strikes(Fault::broken_body) || sim.strikes(Fault::reset_stream) ? sim.below(size) : UINT64_MAX;
  silent_at_ = sim.strikes(Fault::silent_response) ? sim.below(size) : UINT64_MAX;
  if (origin_.isSick(Fault::backend_breaks_bodies)) breaks_at_ = 1;
  if (entry_->plan.echoes_early && !reader_.isComplete()) planAnswer();
  if (entry_->plan.upgrades && valueOf(head.fields, "upgrade") == "sim" && !sim.oneIn(4)) {
    is_tunnel_ = true;
    planAnswer();
    wake();
  }
  return true;
}

bool H1OriginConnection::onBytes(Bytes bytes) {
  std::string_view input = asText(bytes);
  while (!input.empty()) {
    if (deaf_) return true;
    if (is_whole_ && entry_ != nullptr) {
      sim.violate("HTTP/1.1", "%s got a request while it answers another", actor());
      return false;
    }
    if (is_tunnel_) {
      origin_.ledger.onRequestBody(*entry_, actor(), received_, asBytes(input));
      received_ += std::exchange(input, {}).size();
      wake();
      return !sim.isViolated();
    }
    if (!reader_.feed(input)) {
      sim.violate("HTTP/1.1", "%s cannot read what came: %s", actor(), reader_.error());
      return false;
    }
    if (drained_ == nullptr && reader_.hasHead() && entry_ == nullptr && !onHead()) return !isOver();
    Entry* const body_of = drained_ != nullptr ? drained_ : entry_;
    if (body_of != nullptr && !reader_.piece().empty()) {
      origin_.ledger.onRequestBody(*body_of, actor(), received_, asBytes(reader_.piece()));
      received_ += reader_.piece().size();
    }
    if (drained_ != nullptr) {
      if (!reader_.isComplete()) continue;
      drained_ = nullptr;
      reader_.begin();
      continue;
    }
    if (reader_.isComplete() && !is_tunnel_) onWhole();
    if (isOver() || sim.isViolated()) return false;
  }
  return !isOver();
}

void H1OriginConnection::onWhole() {
  is_whole_ = true;
  origin_.ledger.onRequestEnd(*entry_, actor(), received_, reader_.trailers());
  planAnswer();
}

void H1OriginConnection::planAnswer() {
  if (std::exchange(is_planned_, true)) return;
  if (sim.strikes(Fault::backend_hang) || origin_.isSick(Fault::backend_never_answers))
    return sim.say(actor(), "never answers request %u", entry_->plan.id);
  sim.after(entry_->plan.think_us * ns_per_us, [this, entry = entry_] {
    if (!isOver() && entry_ == entry) answer();
  });
}

void H1OriginConnection::answer() {
  const Plan& plan = entry_->plan;
  if (plan.breaks) return end(true, "breaks off an answer, as it was asked to");
  if (origin_.isSick(Fault::backend_answers_5xx) && !is_tunnel_) {
    constexpr const char* lines[] = {"HTTP/1.1 500 Sick", "HTTP/1.1 502 Sick", "HTTP/1.1 503 Sick",
                                     "HTTP/1.1 504 Sick"};
    closes_ = closes_ || !is_whole_;
    framing_ = Framing::none;
    out_ += h1Head(lines[sim.below(4)],
                   {{"Content-Length", "0"}, {sick_field, "1"}, {"Connection", closes_ ? "close" : "keep-alive"}});
    is_answering_ = true;
    return wake();
  }
  for (uint32_t i = 0; i < plan.interims; ++i) out_ += h1Head("HTTP/1.1 103 Early Hints", {{"Link", "</style.css>"}});
  Fields fields = responseFields(plan);
  if (!plan.hasResponseBody()) {
    framing_ = Framing::none;
  } else if (plan.response_length_known) {
    framing_ = Framing::length;
  } else if (plan.response_trailers || !sim.oneIn(4)) {
    framing_ = Framing::chunked;
    fields.emplace_back("Transfer-Encoding", "chunked");
  } else {
    framing_ = Framing::until_close;
    closes_ = true;
  }
  // An answer before the request's end leaves a connection that is of no further use.
  if (!is_whole_ && sim.oneIn(2)) closes_ = true;
  if (sim.strikes(Fault::close_after_response)) closes_ = true;
  if (closes_) fields.emplace_back("Connection", "close");
  if (!closes_ && sim.oneIn(4)) {
    fields.emplace_back("Connection", "x-hop");
    fields.emplace_back("X-Hop", "for the proxy alone");
  }
  if (is_tunnel_) {
    fields = {{"x-sim-id", std::to_string(plan.id)}, {"Connection", "upgrade"}, {"Upgrade", "sim"}};
    for (const auto& field : plan.response_fields) fields.push_back(field);
    framing_ = Framing::none;
  }
  const std::string start = is_tunnel_ ? "HTTP/1.1 101 Switching" : "HTTP/1.1 " + std::to_string(plan.status) + " Fine";
  if (sim.strikes(Fault::hostile_backend)) return sayHostile(start);
  sim.say(actor(), "answers request %u with %u and %u bytes", plan.id, plan.status, plan.response_bytes);
  out_ += h1Head(start, fields);
  is_answering_ = true;
  wake();
}

void H1OriginConnection::sayHostile(const std::string& start) {
  std::string lines;
  for (const auto& [name, value] : responseFields(entry_->plan)) {
    if (name != "content-length") lines += name + ": " + value + "\r\n";
  }
  const Hostility hostility = hostileResponse(sim, start, lines);
  sim.say(actor(), "is hostile: %s", hostility.name);
  out_ += hostility.bytes;
  entry_ = nullptr;
  deaf_ = true;
  sim.after(sim.below(hostility.is_last ? 30'000 : 2000) * ns_per_ms,
            [this] { end(sim.oneIn(2), "has been hostile"); });
  wake();
}

bool H1OriginConnection::isPaused() {
  if (pause_planned_) return true;
  const uint32_t tick_us = entry_->plan.tick_us;
  if (tick_us != 0 ? std::exchange(has_ticked_, !has_ticked_) : !sim.oneIn(6)) return false;
  pause_planned_ = true;
  sim.after((tick_us != 0 ? tick_us : sim.below(5000)) * ns_per_us, [this] {
    pause_planned_ = false;
    wake();
  });
  return true;
}

// The tunnel is over for us when both of its bodies are whole.
void H1OriginConnection::produceTunnel() {
  const Plan& plan = entry_->plan;
  if (sent_ >= std::min<uint64_t>(silent_at_, plan.response_bytes)) {
    if (sent_ == plan.response_bytes && received_ == plan.tunnel_bytes) finishOutput();
    return;
  }
  if (sent_ >= breaks_at_) return end(sim.oneIn(2), "breaks off a tunnel");
  if (isPaused()) return;
  uint64_t left = plan.response_bytes - sent_;
  for (const uint64_t stop : {silent_at_, breaks_at_}) left = std::min(left, stop - sent_);
  if (plan.tick_us != 0) left = std::min<uint64_t>(left, 10);
  std::string piece(static_cast<size_t>(std::min<uint64_t>(left, sim.between(1, 16'384))), '\0');
  fillBody(plan.id, Direction::response, sent_, reinterpret_cast<uint8_t*>(piece.data()), piece.size());
  sent_ += piece.size();
  out_ += piece;
}

void H1OriginConnection::produce() {
  if (!is_answering_ || entry_ == nullptr || out_.size() > 16'384) return;
  if (is_tunnel_) return produceTunnel();
  const Plan& plan = entry_->plan;
  if (framing_ != Framing::none && plan.response_bytes != 0) {
    if (sent_ >= silent_at_) return;
    // Where closing would end the body, it takes more to say that it is not whole.
    if (sent_ >= breaks_at_) return end(sim.oneIn(2), "breaks off a response");
    if (!plan.is_bulk && isPaused()) return;
    size_t size = std::min<size_t>(plan.response_bytes - sent_, sim.between(1, 16'384));
    for (const uint64_t stop : {silent_at_, breaks_at_})
      size = static_cast<size_t>(std::min<uint64_t>(size, stop - sent_));
    if (plan.tick_us != 0) size = std::min<size_t>(size, 10);
    std::string piece(size, '\0');
    fillBody(plan.id, Direction::response, sent_, reinterpret_cast<uint8_t*>(piece.data()), size);
    sent_ += size;
    appendBody(out_, piece, framing_ == Framing::chunked);
    if (sent_ != plan.response_bytes) return;
  }
  finish();
}

void H1OriginConnection::finish() {
  const Plan& plan = entry_->plan;
  Fields trailers;
  if (plan.response_trailers) trailers.emplace_back("X-Sum", std::to_string(plan.id));
  if (framing_ == Framing::chunked) appendLastChunk(out_, trailers);
  is_answering_ = false;
  if (closes_) {
    // Bytes that still come of the request are not looked at. Nor does every backend that announced it close at once;
    // where only that ends the body, it is not delayed.
    deaf_ = true;
    if (framing_ == Framing::until_close || sim.oneIn(4)) {
      finishOutput();
    } else {
      sim.after(sim.below(200'000) * ns_per_us, [this] {
        finishOutput();
        wake();
      });
    }
    entry_ = nullptr;
    return;
  }
  if (!is_whole_) {
    drained_ = std::exchange(entry_, nullptr);
    return;
  }
  entry_ = nullptr;
  reader_.begin();
  if (sim.strikes(Fault::hostile_backend)) out_ += "\x01 is no response\r\n\r\n";
}

}  // namespace

std::unique_ptr<OriginConnection> makeH1OriginConnection(Origin& origin, std::string actor, const From& from) {
  return std::make_unique<H1OriginConnection>(origin, std::move(actor), from);
}

}  // namespace plait::sim
