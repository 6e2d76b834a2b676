// One client's connection of the load generator: plait's own engine and TLS, over a plain non-blocking socket and
// epoll. It has none of plait's runtime, so that what is measured and what measures share no scheduler.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plait/h2/session.h"
#include "plait/net/tls.h"

namespace plait::load {

int64_t nowNs();

struct Options {
  sockaddr_storage to{};
  uint32_t connections = 1;
  uint32_t streams = 1;  // requests in flight on a connection, at most
  bool tls = false;
  std::string server_name;  // SNI; with a name TLS sessions are resumed, without one each handshake is a full one
  std::string authority = "localhost";
  std::string path = "/";
  std::vector<std::pair<std::string, std::string>> fields;
};

class Connection;

// Told of what happens on connections.
class Observer {
 public:
  virtual void onReady(Connection& connection) = 0;  // requests can be sent
  virtual void onAnswer(Connection& connection, bool ok, int64_t scheduled_ns) = 0;
  virtual void onClosed(Connection& connection) = 0;

 protected:
  ~Observer() = default;
};

// The state that all connections share.
struct Shared {
  Shared(const Options& given, Observer& told);
  ~Shared();
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  const Options& options;
  Observer& observer;
  int epoll = -1;
  BlockSlab blocks;
  BlockSlab carry_blocks;
  const h2::SessionConfig session_config;
  h2::SessionScratch scratch;
  std::unique_ptr<TlsContext> tls;
  std::vector<uint8_t> cipher_input = std::vector<uint8_t>(256 * 1024);
  std::vector<uint8_t> plain_input = std::vector<uint8_t>(20 * 1024);
  std::vector<Connection*> dirty;  // have output that is sent at the end of the turn
  uint64_t body_bytes = 0;
  uint64_t handshakes = 0;
  uint64_t resumed = 0;
};

class Connection {
 public:
  explicit Connection(Shared& shared);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void open();
  void close();
  bool isOpen() const { return fd_ >= 0; }
  bool isReady() const { return ready_; }
  bool canSend() const;
  // Sends a request; what it takes is counted from `scheduled_ns`.
  void send(int64_t scheduled_ns);
  uint32_t inFlight() const { return in_flight_; }
  uint32_t sent() const { return sent_; }
  // The server wants no more requests here.
  bool isLeaving() const { return leaving_; }

  void onEvents(uint32_t events);
  void flush();

 private:
  struct Request : h2::Stream {
    int64_t scheduled_ns = 0;
    bool ok = false;
    Request* next_free = nullptr;
  };
  struct Transport;  // what lives as long as one TCP connection

  void begin();
  bool handshake();
  void read();
  bool take(Bytes bytes);
  void finish(Request& request, bool ok);
  void fail();
  void markDirty();

  Shared& shared_;
  int fd_ = -1;
  bool connecting_ = false;
  bool ready_ = false;
  bool leaving_ = false;
  bool dirty_ = false;
  bool wants_write_ = false;
  uint32_t in_flight_ = 0;
  uint32_t sent_ = 0;
  std::vector<Request> requests_;
  Request* free_ = nullptr;
  std::unique_ptr<Transport> transport_;
};

}  // namespace plait::load
