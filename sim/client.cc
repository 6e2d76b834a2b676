#include "sim/client.h"

namespace plait::sim {

Client::Client(Network& of_network, Ledger& of_ledger, uint32_t number, const sockaddr_storage& proxy,
               const ClientOptions& options)
    : sim(of_network.sim), network(of_network), ledger(of_ledger), options_(options), number_(number), proxy_(proxy) {}

Client::~Client() = default;

void Client::start() {
  sim.after(options_.start_ns, [this] { issue(); });
}

void Client::connect() {
  connecting_ = true;
  connections_made_ += 1;
  const uint32_t host = 0x0a000001 + number_;
  auto socket = std::make_shared<Socket*>(nullptr);
  *socket = network.connect(
      addressOf(host, static_cast<uint16_t>(20'000 + connections_made_)), proxy_, [this, socket](int result) {
        connecting_ = false;
        if (result < 0) {
          failures_ += 1;
          if (failures_ > 30) return stop();
          sim.after(sim.between(10, 500) * ns_per_ms, [this] { issue(); });
          return;
        }
        failures_ = 0;
        const std::string actor = "client " + std::to_string(number_) + (options_.speaks_h2 ? " h2 #" : " h1 #") +
                                  std::to_string(connections_made_);
        connections_.push_back(options_.speaks_h2 ? makeH2ClientConnection(*this, actor)
                                                  : makeH1ClientConnection(*this, actor));
        current_ = connections_.back().get();
        on_connection_ = 0;
        current_->start(**socket);
        issue();
      });
}

void Client::issue() {
  if (waiting_ || leaving_ || sim.isViolated()) return;
  while (issued_ < options_.requests) {
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
    Entry& entry = *ledger.find(ledger.draw(options_.is_calm).id);
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

void Client::leave() {
  leaving_ = true;
  for (auto& connection : connections_) connection->leave();
}

}  // namespace plait::sim
