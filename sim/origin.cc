#include "sim/origin.h"

namespace plait::sim {

Origin::Origin(Network& of_network, Ledger& of_ledger, Tls& of_tls, uint32_t number, const OriginOptions& options)
    : sim(of_network.sim), network(of_network), ledger(of_ledger), tls(of_tls), options_(options), number_(number) {
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

void Origin::accept() {
  while (!listener_.pending.empty()) {
    Socket& socket = *listener_.pending.front();
    listener_.pending.pop_front();
    if (options_.uses_tls) {
      secure(socket);
      continue;
    }
    if (options_.speaks_h2 && options_.speaks_h1) {
      // What the other side says first tells its protocol.
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
  converse(socket, is_h2);
}

void Origin::secure(Socket& socket) {
  Tls::Names alpn;
  if (options_.speaks_h2) alpn.push_back("h2");
  if (options_.speaks_h1) alpn.push_back("http/1.1");
  if (sim.strikes(Fault::alpn_mismatch)) {
    // What it speaks, said by nobody, or nothing that the proxy knows.
    alpn = options_.speaks_h1 && sim.oneIn(2) ? Tls::Names() : Tls::Names{"spdy/3"};
  }
  const bool is_stranger = sim.strikes(Fault::wrong_certificate);
  const std::string actor = "backend " + std::to_string(number_) + " TLS #" + std::to_string(secured_.size() + 1);
  secured_.push_back(std::make_unique<TlsStream>(sim, actor, socket, tls, tls.server(alpn, is_stranger), ""));
  TlsStream& stream = *secured_.back();
  stream.start(
      [this, &stream, actor, is_stranger] {
        if (is_stranger) sim.violate("TLS", "%s was believed with another's certificate", actor.c_str());
        if (listening_) return converse(stream, stream.alpn() == "h2");
        stream.close(true);
      },
      [] {});
}

void Origin::converse(Stream& stream, bool is_h2) {
  accepted_ += 1;
  const std::string actor =
      "backend " + std::to_string(number_) + (is_h2 ? " h2 #" : " h1 #") + std::to_string(accepted_);
  connections_.push_back(is_h2 ? makeH2OriginConnection(*this, actor) : makeH1OriginConnection(*this, actor));
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
