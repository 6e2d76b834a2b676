#include "sim/network.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace plait::sim {

sockaddr_storage addressOf(uint32_t host, uint16_t port) {
  sockaddr_storage address{};
  auto& in = reinterpret_cast<sockaddr_in&>(address);
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  in.sin_addr.s_addr = htonl(host);
  return address;
}

uint64_t keyOf(const sockaddr_storage& address) {
  const auto& in = reinterpret_cast<const sockaddr_in&>(address);
  return uint64_t{ntohl(in.sin_addr.s_addr)} << 16 | ntohs(in.sin_port);
}

// -- one end

int Socket::write(Bytes bytes) {
  if (reset_in_ && !reset_told_) {
    reset_told_ = true;
    return -ECONNRESET;
  }
  if (reset_in_ || fin_out_) return -EPIPE;
  size_t size = std::min(bytes.size(), room());
  if (size == 0) return -EAGAIN;
  Simulation& sim = network_.sim;
  in_flight_ += size;
  const auto* from = reinterpret_cast<const char*>(bytes.data());
  for (size_t sent = 0; sent < size;) {
    const uint32_t packet = sim.strikes(Fault::tiny_packets) ? sim.between(1, 20) : network_.max_packet;
    const size_t part = std::min<size_t>(size - sent, packet);
    send({std::string(from + sent, part)});
    sent += part;
  }
  return static_cast<int>(size);
}

void Socket::send(Packet packet) {
  if (peer_ == nullptr) return;
  Simulation& sim = network_.sim;
  TimeNs arrival_ns = sim.now() + latency_ns_;
  if (bytes_per_second_ != 0) {
    const auto takes_ns = static_cast<TimeNs>(packet.bytes.size() * ns_per_s / bytes_per_second_);
    busy_until_ns_ = std::max(busy_until_ns_, sim.now()) + takes_ns;
    arrival_ns = busy_until_ns_ + latency_ns_;
  } else {
    arrival_ns += sim.below(static_cast<uint32_t>(latency_ns_ / 4 + 2));
  }
  if (sim.strikes(Fault::link_stall)) arrival_ns += sim.between(1, 3000) * ns_per_ms;
  peer_->last_arrival_ns_ = std::max(peer_->last_arrival_ns_, arrival_ns);
  peer_->coming_.push_back(std::move(packet));
  sim.at(peer_->last_arrival_ns_, [to = peer_] { to->arrive(); });
}

void Socket::arrive() {
  if (coming_.empty()) return;  // a reset has overtaken it
  const Packet packet = std::move(coming_.front());
  coming_.pop_front();
  if (reset_in_) return;
  if (packet.reset) {
    reset_in_ = true;
    return changed();
  }
  if (closed_) {
    // Nobody is there to read: the sender is told, once.
    if (!packet.bytes.empty() && !reset_told_) {
      reset_told_ = true;
      peer_->coming_.clear();
      send({{}, false, true});
    }
    return;
  }
  network_.sim.trace.mix(uint64_t{number_} << 32 | packet.bytes.size());
  if (network_.hashes_content) network_.sim.trace.mix(packet.bytes.data(), packet.bytes.size());
  inbox_ += packet.bytes;
  fin_in_ = fin_in_ || packet.fin;
  changed();
}

int Socket::read(uint8_t* to, size_t size) {
  const size_t part = std::min(size, unread());
  if (part == 0) {
    // Told once, as by Linux: where a write has heard of it, what had come ends as if in good order.
    if (reset_in_) return std::exchange(reset_told_, true) ? 0 : -ECONNRESET;
    return fin_in_ ? 0 : -EAGAIN;
  }
  std::memcpy(to, inbox_.data() + taken_, part);
  taken_ += part;
  if (taken_ == inbox_.size()) {
    inbox_.clear();
    taken_ = 0;
  }
  const bool was_short = peer_->room() < peer_->capacity_ / 3;
  peer_->in_flight_ -= std::min(peer_->in_flight_, part);
  if (was_short && peer_->room() >= peer_->capacity_ / 3) {
    // The news that there is room travels, too.
    network_.sim.after(latency_ns_, [sender = peer_] { sender->changed(); });
  }
  return static_cast<int>(part);
}

void Socket::shutdown() {
  if (fin_out_ || closed_) return;
  fin_out_ = true;
  if (!reset_in_) send({{}, true, false});
}

void Socket::close(bool reset) {
  if (closed_) return;
  const bool resets = reset || unread() != 0;
  closed_ = true;
  on_change = nullptr;
  if (reset_in_) return;
  if (resets) {
    reset_told_ = true;
    // Bytes that have not left are dropped; those on their way arrive or are overtaken.
    if (peer_ != nullptr && network_.sim.oneIn(2)) peer_->coming_.clear();
    send({{}, false, true});
  } else if (!fin_out_) {
    fin_out_ = true;
    send({{}, true, false});
  }
}

// -- the network

Socket* Network::make() {
  sockets_.push_back(std::make_unique<Socket>(*this, static_cast<uint32_t>(sockets_.size())));
  return sockets_.back().get();
}

void Network::listen(const sockaddr_storage& address, Listener& listener) {
  listener.key = keyOf(address);
  listeners_.push_back(&listener);
}

size_t Network::listening(const sockaddr_storage& address) const {
  return static_cast<size_t>(
      std::ranges::count_if(listeners_, [&](const Listener* listener) { return listener->key == keyOf(address); }));
}

void Network::unlisten(Listener& listener) {
  std::erase(listeners_, &listener);
  for (Socket* socket : listener.pending) socket->close(true);
  listener.pending.clear();
}

Socket* Network::connect(const sockaddr_storage& from, const sockaddr_storage& to, std::function<void(int)> on_result) {
  Socket* socket = make();
  socket->remote_ = to;
  socket->asked_ns_ = sim.now();
  if (long_wire.is_far && long_wire.is_far(to)) {
    socket->latency_ns_ = long_wire.latency_ns;
    socket->bytes_per_second_ = long_wire.bytes_per_second;
    socket->capacity_ = long_wire.capacity;
  } else {
    socket->latency_ns_ = sim.between(1, max_latency_us) * ns_per_us;
    socket->capacity_ = min_capacity << sim.below(3);
  }
  sim.after(socket->latency_ns_, [this, socket, from, on_result = std::move(on_result)]() mutable {
    tryConnect(*socket, from, 0, std::move(on_result));
  });
  return socket;
}

void Network::tryConnect(Socket& socket, sockaddr_storage from, uint32_t tries, std::function<void(int)> on_result) {
  if (socket.closed_) return;
  if (tries == 0 && sim.strikes(Fault::connect_refused)) return on_result(-ECONNREFUSED);
  const auto lose = [this, &socket, &on_result] {
    sim.after(120 * ns_per_s, [&socket, on_result = std::move(on_result)] {
      if (!socket.closed_) on_result(-ETIMEDOUT);
    });
  };
  if ((tries == 0 && sim.strikes(Fault::connect_blackholed)) || tries > 6) return lose();
  std::vector<Listener*> found;
  for (Listener* listener : listeners_) {
    if (listener->key == keyOf(socket.remote_)) found.push_back(listener);
  }
  if (found.empty()) return on_result(-ECONNREFUSED);
  Listener& listener = *found[sim.below(static_cast<uint32_t>(found.size()))];
  if (listener.swallows) return lose();
  if (listener.pending.size() >= listener.backlog || sim.strikes(Fault::listen_queue_full)) {
    // The first packet is dropped, and sent again as Linux would.
    sim.after(ns_per_s << tries, [this, &socket, from, tries, on_result = std::move(on_result)]() mutable {
      tryConnect(socket, from, tries + 1, std::move(on_result));
    });
    return;
  }
  Socket* accepted = make();
  accepted->remote_ = from;
  accepted->asked_ns_ = socket.asked_ns_;
  accepted->latency_ns_ = socket.latency_ns_;
  accepted->capacity_ = socket.capacity_;
  accepted->bytes_per_second_ = socket.bytes_per_second_;
  accepted->peer_ = &socket;
  socket.peer_ = accepted;
  listener.pending.push_back(accepted);
  if (listener.on_change) listener.on_change();
  sim.after(socket.latency_ns_, [&socket, on_result = std::move(on_result)] {
    if (!socket.closed_) on_result(0);
  });
}

void Network::giveUp(Socket& connecting) {
  connecting.close(true);
}

}  // namespace plait::sim
