#include "sim/listeners.h"

#include <cerrno>

#include "sim/draw.h"
#include "sim/hostile.h"
#include "sim/proxy_header.h"
#include "sim/world.h"

namespace plait::sim {
namespace {

struct Port {
  uint16_t number;
  bool is_secure;
  bool has_header;
};
constexpr std::array<Port, Listeners::port_count> ports = {{{8080, false, false},
                                                            {8443, true, false},
                                                            {8081, false, false},
                                                            {8444, true, false},
                                                            {7080, false, true},
                                                            {7443, true, true}}};

// Workers that do not run close a listener so much later at most.
constexpr TimeNs closing_ns = 30 * ns_per_s;

// So long after one has begun to close there are clients who do not know.
constexpr TimeNs unknown_ns = 100 * ns_per_ms;

sockaddr_storage addressAt(size_t port) {
  return addressOf(proxy_host, ports[port].number);
}

// Somebody who connects and says nothing.
void knock(Network& network, uint16_t port, const sockaddr_storage& address) {
  const auto socket = std::make_shared<Socket*>(nullptr);
  *socket = network.connect(addressOf(0x0a00fd01, port), address, [&network, socket](int result) {
    if (result == 0) network.sim.after(ns_per_s, [socket] { (*socket)->close(false); });
  });
}

}  // namespace

Listeners::Listeners(Network& network, Tls& tls, uint64_t seed, bool tls_by_first_byte)
    : sim(network.sim), network_(network), tls_(tls), random_(seed ^ 0x115e), tls_by_first_byte_(tls_by_first_byte) {
  PLAIT_ASSERT(balancers_.add("10.0.251.0/24").empty());
  PLAIT_ASSERT(more_balancers_.add("10.0.251.0/24").empty() && more_balancers_.add("10.0.252.0/24").empty());
}

Listeners::Setting Listeners::first() {
  present_.is_open[0] = present_.is_open[1] = true;
  for (size_t port = 2; port < port_count; ++port) present_.is_open[port] = random_.below(3) == 0;
  shown_.push_back({present_.certificate, 0, never_ns});
  was_served_ = 1;
  before_ = present_;
  return present_;
}

void Listeners::draw(Setting& setting) {
  switch (random_.below(4)) {
    case 0:
      setting.certificate = random_.below(tls_sites);
      return;
    case 1:
      setting.has_more_balancers = !setting.has_more_balancers;
      return;
    default: {
      const size_t port = random_.below(port_count);
      bool has_other = false;
      for (size_t i = 0; i < port_count; ++i)
        has_other = has_other || (i != port && setting.is_open[i] && ports[i].is_secure == ports[port].is_secure);
      setting.is_open[port] = !setting.is_open[port] || !has_other;
    }
  }
}

const TrustedProxies* Listeners::balancers(size_t port, const Setting& setting) const {
  if (!ports[port].has_header) return nullptr;
  return setting.has_more_balancers ? &more_balancers_ : &balancers_;
}

TlsContext* Listeners::contextOf(size_t port, const Setting& setting) {
  return ports[port].is_secure ? &tls_.site(setting.certificate) : nullptr;
}

// -- at one worker

bool Listeners::openAt(SimWorker& worker, size_t port, const Setting& setting) {
  sockaddr_storage address = addressAt(port);
  return worker.core()
      .server()
      .listen(address, contextOf(port, setting), ports[port].is_secure && tls_by_first_byte_, {},
              balancers(port, setting))
      .has_value();
}

void Listeners::openFirst(SimWorker& worker) {
  for (size_t port = 0; port < port_count; ++port) {
    if (present_.is_open[port]) PLAIT_ASSERT(openAt(worker, port, present_));
  }
}

bool Listeners::open(SimWorker& worker, const Setting& next) {
  if (worker.isDrained()) return false;
  for (size_t port = 0; port < port_count; ++port) {
    if (!next.is_open[port] || before_.is_open[port]) continue;
    // As where somebody else has the port.
    if (random_.below(20) != 0 && openAt(worker, port, next)) continue;
    for (size_t i = 0; i < port; ++i) {
      if (next.is_open[i] && !before_.is_open[i]) worker.core().server().closeListener(addressAt(i), true);
    }
    return false;
  }
  return true;
}

void Listeners::takeBack(SimWorker& worker, const Setting& next) {
  for (size_t port = 0; port < port_count && !worker.isDrained(); ++port) {
    if (next.is_open[port] && !before_.is_open[port]) worker.core().server().closeListener(addressAt(port), true);
  }
}

void Listeners::change(SimWorker& worker, const Setting& next) {
  if (worker.isDrained()) return;
  Server& server = worker.core().server();
  for (size_t port = 0; port < port_count; ++port) {
    if (!before_.is_open[port]) continue;
    const sockaddr_storage address = addressAt(port);
    if (!next.is_open[port]) {
      server.closeListener(address);
      continue;
    }
    if (next.certificate != before_.certificate) server.setListenerTls(address, contextOf(port, next));
    if (next.has_more_balancers != before_.has_more_balancers)
      server.setListenerProxies(address, balancers(port, next));
  }
}

// -- a reload as a whole

void Listeners::begin(const Setting& next) {
  before_ = present_;
  if (next.has_more_balancers) more_until_ns_ = never_ns;
  if (next.certificate == before_.certificate) return;
  shown_.push_back({next.certificate, sim.now(), never_ns});
  const uint32_t bit = 1u << next.certificate;
  if ((was_served_ & bit) == 0) tls_.site(next.certificate).goOnFrom(tls_.site(before_.certificate));
  was_served_ |= bit;
}

void Listeners::giveUp() {
  if (!present_.has_more_balancers && more_until_ns_ == never_ns) more_until_ns_ = sim.now();
  if (shown_.back().certificate != present_.certificate) shown_.pop_back();
}

void Listeners::publish(const Setting& next) {
  present_ = next;
  for (size_t port = 0; port < port_count; ++port) {
    if (!before_.is_open[port] || next.is_open[port]) continue;
    closed_ns_[port] = sim.now();
    for (uint32_t i = random_.below(20); i != 0; --i) {
      sim.after(random_.below(40'000) * ns_per_us,
                [this, port] { knock(network_, static_cast<uint16_t>(40'000 + pretenders_++), addressAt(port)); });
    }
  }
}

void Listeners::end() {
  if (!present_.has_more_balancers && more_until_ns_ == never_ns) more_until_ns_ = sim.now();
  if (shown_.size() > 1 && shown_[shown_.size() - 2].until_ns == never_ns)
    shown_[shown_.size() - 2].until_ns = sim.now();
  for (size_t port = 0; port < port_count; ++port) {
    if (present_.is_open[port] && ports[port].has_header && random_.below(2) == 0) pretend({addressAt(port), true});
  }
}

void Listeners::checkOpen(size_t workers) const {
  for (size_t port = 0; port < port_count; ++port) {
    if (present_.is_open[port] && network_.listening(addressAt(port)) < workers)
      sim.violate("listeners", "not all of %zu workers listen on port %u", workers, ports[port].number);
  }
}

void Listeners::checkAtRest(size_t workers) const {
  for (size_t port = 0; port < port_count; ++port) {
    const size_t count = network_.listening(addressAt(port));
    if (count != (present_.is_open[port] ? workers : 0))
      sim.violate("listeners", "%zu sockets of %zu workers listen on port %u", count, workers, ports[port].number);
  }
}

// -- for clients

Way Listeners::choose(bool asks_tls_port) {
  std::vector<size_t> there;
  for (size_t port = 0; port < port_count; ++port) {
    const bool seems_open =
        present_.is_open[port] || (closed_ns_[port] != 0 && closed_ns_[port] + unknown_ns > sim.now());
    if (seems_open && ports[port].is_secure == asks_tls_port) there.push_back(port);
  }
  const size_t port = there[random_.below(static_cast<uint32_t>(there.size()))];
  return {addressAt(port), ports[port].has_header};
}

void Listeners::onCertificate(const char* actor, const Way& way, const std::string& certificate, TimeNs asked_ns) {
  // The real TLS does not say.
  if (certificate.empty()) return;
  for (size_t port = 0; port < port_count; ++port) {
    // A listener that closes has the certificate that it had.
    const bool may_close = closed_ns_[port] != 0 && closed_ns_[port] + closing_ns >= asked_ns;
    if (may_close && keyOf(addressAt(port)) == keyOf(way.address)) return;
  }
  for (const Shown& one : shown_) {
    if (tlsSite(one.certificate).cert_file == certificate && one.from_ns <= sim.now() && one.until_ns >= asked_ns)
      return;
  }
  sim.violate("certificates", "%s is shown %s, which no listener had since it asked for the connection", actor,
              certificate.c_str());
}

void Listeners::pretend(const Way& way) {
  const auto port = static_cast<uint16_t>(30'000 + pretenders_++);
  // One who has been a balancer, or may become one, or somebody else.
  const bool is_former = random_.below(2) == 0;
  const uint32_t host = is_former ? 0x0a00fc01 : 0x0a00fe01;
  const auto socket = std::make_shared<Socket*>(nullptr);
  const auto heard = [this, is_former, asked_ns = sim.now()](Socket& own) {
    uint8_t bytes[256];
    const int got = own.read(bytes, sizeof(bytes));
    const bool may_answer = is_former && more_until_ns_ >= asked_ns;
    if (got > 0 && !may_answer)
      sim.violate("PROXY protocol", "somebody is answered of whose headers the listener takes none");
    if (got == 0 || got == -ECONNRESET) sim.after(0, [&own] { own.close(false); });
  };
  *socket = network_.connect(addressOf(host, port), way.address, [this, socket, host, port, heard](int result) {
    if (result < 0) return;
    Socket& own = **socket;
    own.on_change = [&own, heard] { heard(own); };
    const std::string said = proxyWords(sim, 0x0a000001, port, host).bytes + "GET " + std::string(hostile_path) +
                             " HTTP/1.1\r\nHost: site-0.test\r\nConnection: close\r\n\r\n";
    (void)own.write(asBytes(said));
    sim.after(5 * ns_per_s, [&own] { own.close(true); });
  });
}

}  // namespace plait::sim
