// The simulated network: TCP as its users see it. Bytes of one direction of one connection arrive in order, after a
// latency that is the connection's own; connections overtake each other. The bytes that a sender may have under way are
// bounded, a closed receiver answers with a reset, unread bytes turn a close into one.
#pragma once

#include <netinet/in.h>

#include <deque>
#include <memory>

#include "plait/base/bytes.h"
#include "sim/simulation.h"

namespace plait::sim {

class Network;

sockaddr_storage addressOf(uint32_t host, uint16_t port);  // IPv4, host byte order
uint64_t keyOf(const sockaddr_storage& address);

// Bytes both ways, as a peer uses them: a socket, or TLS on one. Its owner sets on_change and looks what has changed
// when it is called.
class Stream {
 public:
  virtual ~Stream() = default;
  // How much was taken, or -EAGAIN, -EPIPE, -ECONNRESET.
  virtual int write(Bytes bytes) = 0;
  // How much was read, 0 at the end of the stream, or -EAGAIN, -ECONNRESET.
  virtual int read(uint8_t* to, size_t size) = 0;
  virtual size_t unread() const = 0;
  virtual void shutdown() = 0;
  // Afterwards nothing is reported any more.
  virtual void close(bool reset) = 0;
  // Closes so that nobody can take it for the regular end of what was being said.
  virtual void breakOff() { close(true); }

  std::function<void()> on_change;
};

// One end of a connection.
class Socket final : public Stream {
 public:
  Socket(Network& network, uint32_t number) : network_(network), number_(number) {}

  int write(Bytes bytes) override;
  int read(uint8_t* to, size_t size) override;
  bool isReadable() const { return inbox_.size() != taken_ || fin_in_ || reset_in_; }
  bool isWritable() const { return room() != 0 || reset_in_ || fin_out_; }
  size_t untaken() const { return in_flight_; }
  size_t room() const { return in_flight_ < capacity_ ? capacity_ - in_flight_ : 0; }
  size_t unread() const override { return inbox_.size() - taken_; }
  std::string_view peek() const { return std::string_view(inbox_).substr(taken_); }
  void shutdown() override;
  // Bytes that were not read make a reset of it.
  void close(bool reset) override;
  bool isClosed() const { return closed_; }
  // Everything that the peer had to say has come.
  bool hasPeerEnded() const { return fin_in_ || reset_in_; }
  uint32_t number() const { return number_; }
  const sockaddr_storage& remote() const { return remote_; }
  // When it was asked for; the same at both ends.
  TimeNs asked() const { return asked_ns_; }

 private:
  friend class Network;
  struct Packet {
    std::string bytes;
    bool fin = false;
    bool reset = false;
  };
  void send(Packet packet);
  void arrive();
  void changed() {
    if (!closed_ && on_change) on_change();
  }

  Network& network_;
  uint32_t number_;
  Socket* peer_ = nullptr;
  sockaddr_storage remote_{};
  std::string inbox_;
  size_t taken_ = 0;
  std::deque<Packet> coming_;  // on their way here, in order
  TimeNs last_arrival_ns_ = 0;
  TimeNs asked_ns_ = 0;
  TimeNs latency_ns_ = 0;
  uint64_t bytes_per_second_ = 0;  // 0: no bound but the capacity
  TimeNs busy_until_ns_ = 0;       // what has been written has left by then
  size_t capacity_ = 0;            // bytes that may be on their way, or unread at the other end
  size_t in_flight_ = 0;
  bool fin_in_ = false;
  bool fin_out_ = false;
  bool reset_in_ = false;
  bool reset_told_ = false;
  bool closed_ = false;
};

struct Listener {
  std::deque<Socket*> pending;
  size_t backlog = 128;
  bool swallows = false;  // nobody hears from it
  std::function<void()> on_change;
  uint64_t key = 0;
};

class Network {
 public:
  explicit Network(Simulation& simulation) : sim(simulation) {}

  // Several may listen on one address; each connection goes to one of them.
  void listen(const sockaddr_storage& address, Listener& listener);
  // Connections that wait to be accepted are reset.
  void unlisten(Listener& listener);
  size_t listening(const sockaddr_storage& address) const;
  // `on_result` is called once, later: 0 or -errno. After giveUp() it is not.
  Socket* connect(const sockaddr_storage& from, const sockaddr_storage& to, std::function<void(int)> on_result);
  void giveUp(Socket& connecting);

  Simulation& sim;
  // Ranges from which each connection draws.
  uint32_t max_latency_us = 300;
  uint32_t min_capacity = 64 << 10;
  uint32_t max_packet = 64 << 10;
  // The way to an address for which `is_far` is true; a connection there draws nothing.
  struct LongWire {
    std::function<bool(const sockaddr_storage& to)> is_far;
    TimeNs latency_ns = 0;  // one way
    uint64_t bytes_per_second = 0;
    size_t capacity = 0;
  };
  LongWire long_wire;
  // Whether what the bytes are is part of the run's hash, or their number alone.
  bool hashes_content = true;

 private:
  friend class Socket;
  Socket* make();
  void tryConnect(Socket& socket, sockaddr_storage from, uint32_t tries, std::function<void(int)> on_result);

  std::vector<Listener*> listeners_;
  std::deque<std::unique_ptr<Socket>> sockets_;
};

}  // namespace plait::sim
