#include "sim/origin.h"

namespace plait::sim {

Origin::Origin(Network& of_network, Ledger& of_ledger, Tls& of_tls, uint32_t number, const OriginOptions& options)
    : sim(of_network.sim),
      network(of_network),
      ledger(of_ledger),
      tls(of_tls),
      options_(options),
      number_(number),
      actor_("backend " + std::to_string(number)) {
  listener_.on_change = [this] { sim.after(sim.below(50'000), [this] { accept(); }); };
}

Origin::~Origin() = default;

void Origin::start() {
  listen();
  if (sim.faults.exists(Fault::backend_restart)) {
    sim.after(sim.below(5000) * ns_per_ms, [this] { restart(); });
  }
}

void Origin::checkAbandoned() {
  for (auto& connection : connections_) connection->checkAbandoned();
}

void Origin::listen() {
  network.listen(addressOf(options_.host, options_.port), listener_);
  listening_ = true;
}

void Origin::restart() {
  if (sim.faults.areOver() || !listening_) return;
  sim.say(("backend " + std::to_string(number_)).c_str(), "goes down");
  listening_ = false;
  network.unlisten(listener_);
  for (auto& connection : connections_) connection->drop(sim.oneIn(2));
  sim.after(sim.between(1, 3000) * ns_per_ms, [this] {
    if (options_.may_change_protocol && sim.oneIn(2)) {
      options_.speaks_h2 = !options_.speaks_h2;
      options_.speaks_h1 = !options_.speaks_h2;
      changed_ = true;
    }
    sim.say(("backend " + std::to_string(number_)).c_str(), "comes back, speaks %s",
            options_.speaks_h2 ? "HTTP/2" : "HTTP/1.1");
    listen();
    sim.after(sim.between(500, 20'000) * ns_per_ms, [this] { restart(); });
  });
}

// -- sickness

void Origin::planSickness(Fault kind) {
  sim.after(sim.between(200, 4000) * ns_per_ms, [this, kind] {
    if (sim.faults.areOver()) return;
    fallSick(kind);
    sim.after(sim.between(1000, 8000) * ns_per_ms, [this, kind] {
      if (sim.faults.areOver()) return;
      recover();
      planSickness(kind);
    });
  });
}

void Origin::fallSick(Fault kind) {
  sim.say(actor_.c_str(), "is sick: %s", nameOf(kind));
  sick_ = kind;
  listener_.swallows = kind == Fault::backend_swallows_syn;
  if (kind == Fault::backend_swallows_syn || kind == Fault::backend_says_nothing) {
    for (auto& connection : connections_) connection->drop(sim.oneIn(2));
  }
  if (kind == Fault::backend_says_goaway_at_once || kind == Fault::backend_leaves_politely) {
    for (auto& connection : connections_) connection->turnAway();
  }
}

void Origin::recover() {
  if (sick_ == Fault::count) return;
  sim.say(actor_.c_str(), "is well again");
  sick_ = Fault::count;
  listener_.swallows = false;
  for (Socket* socket : unheard_) socket->close(true);
  unheard_.clear();
  for (auto& connection : connections_) connection->thaw();
  accept();
}

From Origin::fromOf(const Socket& socket) {
  const auto& address = reinterpret_cast<const sockaddr_in&>(socket.remote());
  return {ntohl(address.sin_addr.s_addr) - first_worker_host, socket.asked()};
}

void Origin::accept() {
  while (!listener_.pending.empty() && !isFrozen()) {
    Socket& socket = *listener_.pending.front();
    listener_.pending.pop_front();
    if (isSick(Fault::backend_says_nothing)) {
      unheard_.push_back(&socket);
      continue;
    }
    if (options_.uses_tls) {
      secure(socket);
      continue;
    }
    if (options_.speaks_h2 && options_.speaks_h1) {
      // The first bytes of the other side tell its protocol.
      socket.on_change = [this, &socket] { greet(socket); };
      greet(socket);
      continue;
    }
    greet(socket);
  }
}

void Origin::greet(Socket& socket) {
  bool is_h2 = options_.speaks_h2;
  if (options_.speaks_h2 && options_.speaks_h1) {
    if (socket.unread() < 4) {
      if (socket.isReadable() && socket.unread() == 0) socket.close(false);
      return;
    }
    is_h2 = socket.peek().starts_with("PRI ");
  }
  converse(socket, is_h2, fromOf(socket));
}

void Origin::secure(Socket& socket) {
  Tls::Names alpn;
  if (options_.speaks_h2) alpn.push_back("h2");
  if (options_.speaks_h1) alpn.push_back("http/1.1");
  if (sim.strikes(Fault::alpn_mismatch)) {
    // Either ALPN chooses nothing, or the one protocol offered is unknown to the proxy.
    alpn = options_.speaks_h1 && sim.oneIn(2) ? Tls::Names() : Tls::Names{"spdy/3"};
  }
  const bool is_stranger = sim.strikes(Fault::wrong_certificate);
  const std::string actor = "backend " + std::to_string(number_) + " TLS #" + std::to_string(secured_.size() + 1);
  secured_.push_back(std::make_unique<TlsStream>(sim, actor, socket, tls, tls.server(alpn, is_stranger), ""));
  TlsStream& stream = *secured_.back();
  stream.start(
      [this, &stream, actor, is_stranger, from = fromOf(socket)] {
        if (is_stranger) sim.violate("TLS", "%s was believed with another's certificate", actor.c_str());
        if (listening_) return converse(stream, stream.alpn() == "h2", from);
        stream.close(true);
      },
      [] {});
}

void Origin::converse(Stream& stream, bool is_h2, const From& from) {
  accepted_ += 1;
  const std::string actor =
      "backend " + std::to_string(number_) + (is_h2 ? " h2 #" : " h1 #") + std::to_string(accepted_);
  connections_.push_back(is_h2 ? makeH2OriginConnection(*this, actor, from)
                               : makeH1OriginConnection(*this, actor, from));
  connections_.back()->start(stream);
}

Fields responseFields(const Plan& plan) {
  Fields fields = {{"x-sim-id", std::to_string(plan.id)}, {"server", "sim"}};
  fields.insert(fields.end(), plan.response_fields.begin(), plan.response_fields.end());
  if (plan.hasResponseBody() && plan.response_length_known) {
    fields.emplace_back("content-length", std::to_string(plan.response_bytes));
  }
  return fields;
}

}  // namespace plait::sim
