#include "sim/client.h"

#include "sim/proxy_header.h"

namespace plait::sim {

Client::Client(Network& of_network, Ledger& of_ledger, Tls& of_tls, uint32_t number, Ways& ways,
               const ClientOptions& options)
    : sim(of_network.sim),
      network(of_network),
      ledger(of_ledger),
      tls(of_tls),
      options_(options),
      number_(number),
      ways_(ways) {}

Client::~Client() = default;

void Client::start() {
  sim.after(options_.start_ns, [this] { issue(); });
}

void Client::connect() {
  connecting_ = true;
  connections_made_ += 1;
  way_ = ways_.choose(options_.asks_tls_port);
  asked_ns_ = sim.now();
  uint32_t host = options_.host != 0 ? options_.host : 0x0a000001 + number_;
  const auto port = static_cast<uint16_t>(20'000 + connections_made_);
  from_ = textOfHost(host);
  header_.clear();
  if (way_.has_header) {
    const uint32_t balancer = 0x0a00fb01 + number_ % 4;
    ProxyWords words = proxyWords(sim, host, port, balancer);
    header_ = std::move(words.bytes);
    from_ = std::move(words.client);
    host = balancer;
  }
  auto socket = std::make_shared<Socket*>(nullptr);
  *socket = network.connect(addressOf(host, port), way_.address, [this, socket](int result) {
    if (result < 0) return onConnectFailed();
    sayHeader(**socket);
  });
}

void Client::sayHeader(Socket& socket) {
  if (header_.empty()) return onConnected(socket);
  const size_t first = sim.oneIn(2) ? header_.size() : sim.below(static_cast<uint32_t>(header_.size()));
  (void)socket.write(asBytes(std::string_view(header_).substr(0, first)));
  sim.after(sim.below(3000) * ns_per_us, [this, &socket, first] {
    // Nobody has read so much meanwhile that there were no room. Where the other end has gone, what follows shows it.
    (void)socket.write(asBytes(std::string_view(header_).substr(first)));
    onConnected(socket);
  });
}

void Client::onConnected(Socket& socket) {
  std::string actor = "client " + std::to_string(number_) + (options_.speaks_h2 ? " h2 #" : " h1 #") +
                      std::to_string(connections_made_);
  if (!options_.uses_tls) return onUsable(socket, std::move(actor));
  Tls::Names alpn;
  if (sim.strikes(Fault::alpn_mismatch)) {
    alpn = {"spdy/3"};
  } else if (options_.speaks_h2) {
    alpn = {"h2", "http/1.1"};
  } else if (sim.oneIn(2)) {
    alpn = {"http/1.1"};
  }
  secured_.push_back(std::make_unique<TlsStream>(sim, actor, socket, tls, tls.client(alpn), "proxy.example.test"));
  TlsStream& stream = *secured_.back();
  stream.start(
      [this, &stream, actor, expected = alpn.empty() ? std::string() : alpn[0]] {
        if (stream.alpn() != expected) sim.violate("ALPN", "%s did not get %s", actor.c_str(), expected.c_str());
        ways_.onCertificate(actor.c_str(), way_, stream.certificate(), asked_ns_);
        onUsable(stream, actor);
      },
      [this] { onConnectFailed(); });
}

void Client::onUsable(Stream& stream, std::string actor) {
  connecting_ = false;
  failures_ = 0;
  connections_.push_back(options_.speaks_h2 ? makeH2ClientConnection(*this, std::move(actor))
                                            : makeH1ClientConnection(*this, std::move(actor)));
  current_ = connections_.back().get();
  on_connection_ = 0;
  current_->start(stream);
  if (leaving_) current_->leave();
  issue();
}

void Client::onConnectFailed() {
  connecting_ = false;
  failures_ += 1;
  if (failures_ > 30) return stop();
  sim.after(sim.between(10, 500) * ns_per_ms, [this] { issue(); });
}

void Client::issue() {
  if (waiting_ || leaving_ || sim.isViolated()) return;
  while (issued_ < options_.requests) {
    if (options_.has_one && open_ != 0) return;
    if (current_ != nullptr && (current_->isSpent() || on_connection_ >= options_.per_connection)) {
      current_->leave();
      current_ = nullptr;
    }
    if (current_ == nullptr) {
      if (!connecting_) connect();
      return;
    }
    if (!current_->hasRoom()) return;
    issued_ += 1;
    open_ += 1;
    on_connection_ += 1;
    Entry& entry = *ledger.find(ledger.draw(options_.is_calm, options_.taste, options_.speaks_h2).id);
    entry.client = number_;
    entry.from = from_;
    current_->request(entry);
    if (options_.gap_ns != 0) {
      waiting_ = true;
      sim.after(sim.below(static_cast<uint32_t>(options_.gap_ns)), [this] {
        waiting_ = false;
        issue();
      });
      return;
    }
  }
}

void Client::onConnectionOver(ClientConnection& connection) {
  if (current_ == &connection) current_ = nullptr;
  sim.after(sim.between(1, 20) * ns_per_ms, [this] { issue(); });
}

void Client::checkAtRest() {
  for (auto& connection : connections_) connection->checkAtRest();
}

void Client::leave() {
  leaving_ = true;
  for (auto& connection : connections_) connection->leave();
}

}  // namespace plait::sim
