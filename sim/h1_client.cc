#include "sim/client.h"
#include "sim/hostile.h"

namespace plait::sim {
namespace {

class H1ClientConnection final : public ClientConnection, public Peer {
 public:
  H1ClientConnection(Client& client, std::string name) : Peer(client.sim, std::move(name)), client_(client) {
    reaction_ns = client.options().reaction_ns;
    read_pause_ns = client.options().read_pause_ns;
    read_size = client.options().read_size;
  }

  void start(Stream& stream) override { Peer::start(stream); }
  bool hasRoom() const override {
    // Behind a request whose body may break off, nothing is pipelined.
    return waiting_.size() < client_.options().parallel && (waiting_.empty() || waiting_.back().is_sent);
  }
  bool isSpent() const override { return isOver() || leaving_ || is_last_ || half_closes_; }
  void request(Entry& entry) override;
  void leave() override {
    if (leaving_ || isOver()) return;
    leaving_ = true;
    if (waiting_.empty()) finishOutput();
    wake();
  }

 private:
  struct Waiting {
    Entry* entry;
    Ledger::Answer answer;
    uint64_t sent = 0;
    bool is_sent = false;
    uint64_t breaks_at = UINT64_MAX;
    uint64_t stops_at = UINT64_MAX;
  };

  bool onBytes(Bytes bytes) override;
  void onPeerEnd() override;
  void onEnd(const char* reason) override;
  void produce() override;
  bool onHead();
  void onWhole();
  void endAll(Outcome outcome, const char* reason);
  bool isPaused();
  void sayHostile();
  void produceTunnel();

  Client& client_;
  H1Reader reader_{H1Reader::Kind::response};
  std::deque<Waiting> waiting_;
  bool head_seen_ = false;
  bool leaving_ = false;
  bool is_last_ = false;  // the proxy closes behind the present response
  bool pause_planned_ = false;
  bool is_hostile_ = false;
  bool is_tunnel_ = false;
  bool half_closes_ = false;  // behind its request, so that it must be answered
};

void H1ClientConnection::request(Entry& entry) {
  const Plan& plan = entry.plan;
  Fields fields = {{"Host", plan.authority()}};
  fields.insert(fields.end(), plan.request_fields.begin(), plan.request_fields.end());
  fields.insert(fields.end(), plan.changed_fields.begin(), plan.changed_fields.end());
  const bool says_so = !plan.upgrades && waiting_.empty() && sim.oneIn(8);
  half_closes_ = says_so || (!plan.upgrades && waiting_.empty() && client_.options().uses_tls && sim.oneIn(8));
  if (says_so) {
    fields.emplace_back("Connection", "close");
  } else if (sim.oneIn(4)) {
    fields.emplace_back("Connection", "keep-alive, x-hop");
    fields.emplace_back("X-Hop", "for the proxy alone");
  }
  // A tunnel has its connection for itself.
  const bool offers_tunnel = plan.upgrades && waiting_.empty();
  if (offers_tunnel) {
    fields.emplace_back("Connection", "upgrade");
    fields.emplace_back("Upgrade", "sim");
    is_last_ = true;
  }
  if (plan.has_request_body) {
    if (plan.request_length_known) {
      fields.emplace_back("Content-Length", std::to_string(plan.request_bytes));
    } else {
      fields.emplace_back("Transfer-Encoding", "chunked");
    }
  }
  sim.say(actor(), "asks for request %u: %s, %u bytes", plan.id, plan.method, plan.request_bytes);
  out_ += h1Head(std::string(plan.method) + " " + plan.path() + " HTTP/1.1", fields);
  if (waiting_.empty()) reader_.begin(plan.isHead());
  waiting_.push_back({.entry = &entry, .answer = {}, .is_sent = !plan.has_request_body});
  if (sim.strikes(Fault::client_body_breaks) && plan.has_request_body) {
    waiting_.back().breaks_at = sim.below(plan.request_bytes + 1);
  }
  if (plan.has_request_body && sim.strikes(Fault::client_stops_sending)) {
    waiting_.back().stops_at = sim.below(plan.request_bytes + 1);
    sim.after(sim.between(1, 200) * ns_per_s, [this] { end(sim.oneIn(2), "has sent nothing for long"); });
  }
  if (sim.strikes(Fault::client_stops_reading) || (client_.options().stops_reading && sim.oneIn(3))) stopReading(200);
  if (!offers_tunnel && waiting_.back().is_sent && sim.strikes(Fault::hostile_client)) sayHostile();
  const bool vanishes = sim.strikes(Fault::client_vanish) || sim.strikes(Fault::client_cancel) ||
                        (client_.options().leaves && sim.oneIn(2));
  if (vanishes) {
    sim.after(sim.below(100'000) * ns_per_us, [this, is_reset = sim.oneIn(2)] { end(is_reset, "vanishes"); });
  }
  if (half_closes_ && waiting_.back().is_sent) {
    sim.after(sim.below(20'000) * ns_per_us, [this] {
      finishOutput();
      wake();
    });
  }
  if (sim.strikes(Fault::half_close)) {
    // Which a proxy may take for a client that has gone.
    sim.after(sim.below(20'000) * ns_per_us, [this] {
      is_last_ = true;
      // With close_notify it is no more than a half-close, and a reset behind it is met by nobody who does not send.
      half_closes_ = half_closes_ || client_.options().uses_tls;
      finishOutput();
      wake();
    });
  }
  wake();
}

// Behind a request that is honestly meant.
void H1ClientConnection::sayHostile() {
  const Hostility hostility = hostileRequest(sim);
  sim.say(actor(), "is hostile: %s", hostility.name);
  out_ += hostility.bytes;
  is_last_ = is_hostile_ = true;
  sim.after(sim.below(hostility.is_last ? 30'000 : 2000) * ns_per_ms,
            [this] { end(sim.oneIn(2), "has been hostile"); });
}

bool H1ClientConnection::isPaused() {
  if (pause_planned_) return true;
  if (!sim.oneIn(6)) return false;
  pause_planned_ = true;
  sim.after(sim.below(5000) * ns_per_us, [this] {
    pause_planned_ = false;
    wake();
  });
  return true;
}

// Bytes for the tunnel; the other side says when all is done.
void H1ClientConnection::produceTunnel() {
  Waiting& only = waiting_.front();
  const Plan& plan = only.entry->plan;
  if (only.sent >= std::min<uint64_t>(plan.tunnel_bytes, only.breaks_at) || out_.size() > 16'384) return;
  if (isPaused()) return;
  std::string piece(std::min<size_t>(plan.tunnel_bytes - only.sent, sim.between(1, 16'384)), '\0');
  fillBody(plan.id, Direction::request, only.sent, reinterpret_cast<uint8_t*>(piece.data()), piece.size());
  only.sent += piece.size();
  out_ += piece;
  if (only.sent == plan.tunnel_bytes && sim.oneIn(2)) finishOutput();
}

void H1ClientConnection::produce() {
  if (is_tunnel_) return waiting_.empty() ? void() : produceTunnel();
  if (waiting_.empty() || waiting_.back().is_sent || is_last_ || out_.size() > 16'384) return;
  Waiting& last = waiting_.back();
  const Plan& plan = last.entry->plan;
  if (last.sent >= last.breaks_at) return end(sim.oneIn(2), "its body breaks off");
  if (last.sent >= last.stops_at || (!plan.is_bulk && isPaused())) return;
  const bool chunked = !plan.request_length_known;
  const uint64_t left = std::min<uint64_t>(plan.request_bytes, last.stops_at) - last.sent;
  std::string piece(std::min<size_t>(left, sim.between(1, 16'384)), '\0');
  fillBody(plan.id, Direction::request, last.sent, reinterpret_cast<uint8_t*>(piece.data()), piece.size());
  last.sent += piece.size();
  appendBody(out_, piece, chunked);
  if (last.sent != plan.request_bytes) return;
  Fields trailers;
  if (plan.request_trailers) trailers.emplace_back("X-Sum", std::to_string(plan.id));
  if (chunked) appendLastChunk(out_, trailers);
  last.is_sent = true;
  if (half_closes_) finishOutput();
  sim.after(0, [this] { client_.issue(); });
}

bool H1ClientConnection::onHead() {
  Waiting& first = waiting_.front();
  const H1Head& head = reader_.head();
  const int status = std::atoi(head.start[1].c_str());
  is_tunnel_ = status == 101;
  if (status < 200 && !is_tunnel_) {
    if (status == 103) first.answer.interims += 1;
    reader_.begin(first.entry->plan.isHead());
    return false;
  }
  head_seen_ = true;
  first.answer.status = static_cast<uint16_t>(status);
  first.answer.fields = head.fields;
  if (!head.keepsAlive()) is_last_ = true;
  sim.say(actor(), "gets %d for request %u", status, first.entry->plan.id);
  client_.ledger.onHead(*first.entry, actor(), first.answer);
  return true;
}

void H1ClientConnection::onWhole() {
  Waiting done = std::move(waiting_.front());
  waiting_.pop_front();
  done.answer.trailers = reader_.trailers();
  head_seen_ = false;
  client_.ledger.onComplete(*done.entry, actor(), done.answer);
  reader_.begin(!waiting_.empty() && waiting_.front().entry->plan.isHead());
  if (!done.is_sent) is_last_ = true;  // what is left of the request cannot be told from the next one
  client_.onEnded();
  if ((leaving_ || is_last_) && !is_hostile_ && waiting_.empty()) {
    finishOutput();
    wake();
  }
}

bool H1ClientConnection::onBytes(Bytes bytes) {
  std::string_view input = asText(bytes);
  while (!input.empty()) {
    if (waiting_.empty() && is_hostile_) return true;
    if (waiting_.empty()) {
      // Before an idle connection is closed, the proxy may say why; else it has nothing to say.
      sim.violate("HTTP/1.1", "%s got %zu bytes that it asked nothing for", actor(), input.size());
      return false;
    }
    if (is_tunnel_) {
      Waiting& first = waiting_.front();
      client_.ledger.onResponseBody(*first.entry, actor(), first.answer, asBytes(std::exchange(input, {})));
      return !isOver() && !sim.isViolated();
    }
    if (!reader_.feed(input)) {
      sim.violate("HTTP/1.1", "%s cannot read what came: %s", actor(), reader_.error());
      return false;
    }
    if (reader_.hasHead() && !head_seen_ && !onHead()) continue;
    if (!reader_.piece().empty()) {
      Waiting& first = waiting_.front();
      client_.ledger.onResponseBody(*first.entry, actor(), first.answer, asBytes(reader_.piece()));
    }
    if (is_tunnel_) wake();
    if (reader_.isComplete() && !is_tunnel_) onWhole();
    if (isOver() || sim.isViolated()) return false;
  }
  return !isOver();
}

void H1ClientConnection::onPeerEnd() {
  // Of a tunnel only its bytes say whether they are all.
  const bool is_whole_tunnel =
      is_tunnel_ && !waiting_.empty() && waiting_.front().answer.bytes == waiting_.front().entry->plan.response_bytes;
  if (is_whole_tunnel || (!is_tunnel_ && !waiting_.empty() && head_seen_ && reader_.finish())) onWhole();
  end(false, "the proxy has closed");
}

void H1ClientConnection::endAll(Outcome outcome, const char* reason) {
  // A client that has said that nothing follows, or says so by close_notify, may be waiting for an answer as far as a
  // proxy knows.
  const bool looks_half_closed = half_closes_ || (hasEndedSoftly() && client_.options().uses_tls);
  const bool is_untold = waiting_.size() > 1 || is_hostile_ || looks_half_closed;
  while (!waiting_.empty()) {
    Entry& entry = *waiting_.front().entry;
    entry.is_untold = is_untold;
    waiting_.pop_front();
    client_.ledger.onOutcome(entry, actor(), outcome, reason);
    client_.onEnded();
  }
}

void H1ClientConnection::onEnd(const char* reason) {
  endAll(Outcome::aborted, reason);
  client_.onConnectionOver(*this);
}

}  // namespace

std::unique_ptr<ClientConnection> makeH1ClientConnection(Client& client, std::string actor) {
  return std::make_unique<H1ClientConnection>(client, std::move(actor));
}

}  // namespace plait::sim
