// Simulated clients of the proxy. A client issues its requests over one connection after another; what it is like
// (protocol, pace, how many at once, how patient) is drawn once.
#pragma once

#include <map>

#include "plait/limits.h"
#include "sim/h1_text.h"
#include "sim/h2_peer.h"
#include "sim/tls_stream.h"

namespace plait::sim {

struct ClientOptions {
  bool is_calm = false;     // its requests must all succeed
  bool is_careful = false;  // no more streams than the proxy has said that it takes
  bool speaks_h2 = true;
  bool uses_tls = false;
  bool asks_tls_port = false;  // with TLS, or in plain text where the first byte tells them apart
  uint32_t requests = 10;
  uint32_t parallel = 4;  // HTTP/2: streams at once; HTTP/1.1: pipelined requests
  TimeNs gap_ns = 0;      // between two requests, at most
  TimeNs start_ns = 0;
  TimeNs reaction_ns = 20 * ns_per_us;
  TimeNs read_pause_ns = 0;
  uint32_t read_size = 64 << 10;
  bool stops_reading = false;  // sooner or later
  H2PeerOptions h2;
  uint32_t per_connection = UINT32_MAX;  // requests, then it opens another one
  Taste taste = Taste::any;
  bool leaves = false;   // gives up every other request of its own, mostly before its answer
  uint32_t host = 0;     // the address that it comes from; 0: one of its own
  bool has_one = false;  // request at a time, whichever connection it is on
  Limits limits;         // the proxy's
};

// A way to the proxy: one of its listeners. With a header, a balancer stands there and says by the PROXY protocol whose
// each connection is.
struct Way {
  sockaddr_storage address{};
  bool has_header = false;
};

// Where clients may connect.
class Ways {
 public:
  virtual ~Ways() = default;
  virtual Way choose(bool asks_tls_port) = 0;
  // A client was shown that certificate, on a connection that it asked for then.
  virtual void onCertificate(const char* actor, const Way& way, const std::string& certificate, TimeNs asked_ns) = 0;
};

class ClientConnection;

class Client {
 public:
  Client(Network& network, Ledger& ledger, Tls& tls, uint32_t number, Ways& ways, const ClientOptions& options);
  ~Client();

  void start();
  // Everything was issued, and has ended.
  bool isDone() const { return issued_ == options_.requests && open_ == 0; }
  // Closes what is open, politely.
  void leave();
  void checkAtRest();
  // No further request is issued.
  void stop() { options_.requests = issued_; }

  // -- for its connections
  // Issues requests while the connection takes some.
  void issue();
  void onEnded() {
    open_ -= 1;
    issue();
  }
  void onConnectionOver(ClientConnection& connection);

  Simulation& sim;
  Network& network;
  Ledger& ledger;
  Tls& tls;
  const ClientOptions& options() const { return options_; }

 private:
  void connect();
  void onConnected(Socket& socket);
  // A balancer's words go first, in two parts.
  void sayHeader(Socket& socket);
  void onUsable(Stream& stream, std::string actor);
  void onConnectFailed();

  ClientOptions options_;
  uint32_t number_;
  Ways& ways_;
  Way way_;  // of the present connection,
  TimeNs asked_ns_ = 0;
  std::string header_;
  std::string from_;  // and the address that backends hear of
  uint32_t issued_ = 0;
  uint32_t open_ = 0;
  uint32_t on_connection_ = 0;
  uint32_t connections_made_ = 0;
  uint32_t failures_ = 0;
  bool connecting_ = false;
  bool waiting_ = false;
  bool leaving_ = false;
  ClientConnection* current_ = nullptr;
  std::vector<std::unique_ptr<TlsStream>> secured_;
  std::vector<std::unique_ptr<ClientConnection>> connections_;
};

class ClientConnection {
 public:
  virtual ~ClientConnection() = default;
  virtual void start(Stream& stream) = 0;
  // Whether another request may be sent now; false for ever when `isSpent`.
  virtual bool hasRoom() const = 0;
  virtual bool isSpent() const = 0;
  virtual void request(Entry& entry) = 0;
  virtual void leave() = 0;
  // Oracle: nothing of an idle connection's windows is lost.
  virtual void checkAtRest() {}
};

std::unique_ptr<ClientConnection> makeH2ClientConnection(Client& client, std::string actor);
std::unique_ptr<ClientConnection> makeH1ClientConnection(Client& client, std::string actor);

}  // namespace plait::sim
