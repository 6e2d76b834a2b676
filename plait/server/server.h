// The downstream side of one worker: listeners, client connections, and their exchanges.
#pragma once

#include <memory>
#include <vector>

#include "plait/h2/session.h"
#include "plait/limits.h"
#include "plait/server/h1_server.h"
#include "plait/server/h2_server.h"

namespace plait {

struct ServerTimeouts {
  int64_t client_header_ms = 10'000;
  int64_t client_idle_ms = 75'000;
  int64_t stall_ms = 60'000;
  int64_t drain_ms = 30'000;
};

struct ServerCounters {
  uint64_t connections_total = 0;
  uint64_t connections_refused = 0;
  uint64_t requests_h1 = 0;
  uint64_t requests_h2 = 0;
};

class Server;

// One client's connection: the socket, which protocol it speaks, and nothing of either protocol.
class ServerConnection final : public UltraSock::Owner {
 public:
  ServerConnection(Server& server, TlsContext* tls);
  ~ServerConnection() = default;

  Task<void> run(int fd, Io& io);
  void onOutputDrained() override;
  void onPeerClosed() override;
  // Asks the client to go: two-phase GOAWAY, or "connection: close" with the next response.
  void drain();

  Server& server() { return server_; }
  UltraSock& sock() { return sock_; }
  const ClientInfo& client() const { return client_; }
  Scope& scope() { return scope_; }
  // The deadline for the client's next sign of life; never_ns for none.
  void expectBy(TimeNs deadline_ns);

  ListNode node;

 private:
  Server& server_;
  TlsContext* tls_;
  UltraSock sock_;
  ClientInfo client_;
  Scope scope_;
  Timer timer_;
  std::optional<H2Server> h2_;
  std::optional<H1Server> h1_;
};

class Server {
 public:
  Server(Io& io, const Limits& limits, const ServerTimeouts& timeouts, Handler& handler, BlockSlab& send_blocks,
         BlockSlab& record_blocks, BlockSlab& stream_blocks, http::HeaderSlab& headers);
  ~Server();

  // Listens on `address`, which becomes the bound one. `tls` null: plain. 0 or -errno.
  int listen(sockaddr_storage& address, TlsContext* tls);
  // Stops accepting and asks every client to go; returns when all are gone or the drain deadline has passed.
  Task<void> drain(Io& io);

  bool isDraining() const { return draining_; }
  size_t connectionCount() const { return connections_.used(); }
  const ServerCounters& counters() const { return counters_; }

  Io& io;
  const Limits limits;
  const ServerTimeouts timeouts;
  Handler& handler;
  BlockSlab& send_blocks;
  BlockSlab& record_blocks;
  BlockSlab& stream_blocks;
  http::HeaderSlab& headers;
  std::unique_ptr<h2::SessionScratch> scratch;
  Slab<H2Exchange> h2_exchanges;
  Slab<H1Exchange> h1_exchanges;
  ServerCounters counters_;

 private:
  friend class ServerConnection;
  struct Listener {
    Server* server;
    Op op;
    TlsContext* tls;
  };
  void onAccept(Listener& listener, const Completion& completion);
  Task<void> serve(ServerConnection& connection, int fd, Io& task_io);

  Slab<ServerConnection> connections_;
  List<ServerConnection, &ServerConnection::node> all_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  Scope scope_;
  bool draining_ = false;
};

}  // namespace plait
