// Simulated backends of the proxy. An Origin has an address, speaks HTTP/2, HTTP/1.1 or both, and does to requests what
// the faults of the run allow.
#pragma once

#include "plait/limits.h"
#include "sim/h1_text.h"
#include "sim/h2_peer.h"
#include "sim/tls_stream.h"

namespace plait::sim {

struct OriginOptions {
  uint32_t host = 0;
  uint16_t port = 0;
  bool speaks_h2 = true;
  bool speaks_h1 = false;
  bool uses_tls = false;             // then ALPN says what is spoken
  bool may_change_protocol = false;  // when it comes back after a restart
  H2PeerOptions h2;
  TimeNs reaction_ns = 20 * ns_per_us;
  TimeNs read_pause_ns = 0;
  uint32_t read_size = 64 << 10;
  Limits limits;  // the proxy's
};

class Origin;

// The worker that has made a connection, and the time at which it asked for it.
struct From {
  uint32_t worker = 0;
  TimeNs asked_ns = 0;
};

// One connection of a backend.
class OriginConnection {
 public:
  virtual ~OriginConnection() = default;
  virtual void start(Stream& stream) = 0;
  virtual void drop(bool reset) = 0;
  // Takes no new request from now on, in good order or as a sick one does it.
  virtual void turnAway() = 0;
  // Its process runs again.
  virtual void thaw() = 0;
  // Oracle: nothing is still done for clients that have long gone.
  virtual void checkAbandoned() = 0;
};

class Origin {
 public:
  Origin(Network& network, Ledger& ledger, Tls& tls, uint32_t number, const OriginOptions& options);
  ~Origin();

  void start();
  void checkAbandoned();
  const OriginOptions& options() const { return options_; }
  // It speaks another version of HTTP than at first.
  bool hasChanged() const { return changed_; }
  // Goes down with all its connections, and comes back.
  void restart();
  // From now on it is sick in that way (Fault), until recover(); never comes back where it must not.
  void fallSick(Fault kind);
  void recover();
  // Falls sick again and again, while there are faults.
  void planSickness(Fault kind);
  bool isSick(Fault kind) const { return sick_ == kind; }
  bool refusesAll() const { return isSick(Fault::backend_refuses_all) || isSick(Fault::all_refuse); }
  bool isFrozen() const { return isSick(Fault::backend_is_stopped); }
  uint32_t number() const { return number_; }
  // A connection of it has ended, or a request on it was not looked at.
  void noteDisturbed() { disturbed_ns_ = sim.now(); }
  TimeNs disturbed() const { return disturbed_ns_; }

  Simulation& sim;
  Network& network;
  Ledger& ledger;
  Tls& tls;

 private:
  void listen();
  void accept();
  void greet(Socket& socket);
  void secure(Socket& socket);
  void converse(Stream& stream, bool is_h2, const From& from);
  static From fromOf(const Socket& socket);

  OriginOptions options_;
  uint32_t number_;
  std::string actor_;
  Fault sick_ = Fault::count;
  TimeNs disturbed_ns_ = 0;
  std::vector<Socket*> unheard_;  // accepted by one that says nothing
  Listener listener_;
  bool listening_ = false;
  bool changed_ = false;
  uint32_t accepted_ = 0;
  std::vector<std::unique_ptr<TlsStream>> secured_;
  std::vector<std::unique_ptr<OriginConnection>> connections_;
};

std::unique_ptr<OriginConnection> makeH2OriginConnection(Origin& origin, std::string actor, const From& from);
std::unique_ptr<OriginConnection> makeH1OriginConnection(Origin& origin, std::string actor, const From& from);

// The first address of the workers.
inline constexpr uint32_t first_worker_host = 0x0a010001;

// The fields of a response as planned.
Fields responseFields(const Plan& plan);

}  // namespace plait::sim
