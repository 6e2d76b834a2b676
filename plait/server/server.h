// The downstream side of one worker: listeners, client connections, and their exchanges.
#pragma once

#include <array>
#include <memory>
#include <variant>
#include <vector>

#include "plait/base/progress.h"
#include "plait/base/ring.h"
#include "plait/h2/session.h"
#include "plait/http/date.h"
#include "plait/io/sync.h"
#include "plait/limits.h"
#include "plait/server/h1_server.h"
#include "plait/server/h2_server.h"

namespace plait {

struct ServerTimeouts {
  int64_t client_header_ms = 10'000;  // from the first byte of a header block to its last
  int64_t client_idle_ms = 75'000;    // without a request in progress
  // Without a byte of progress that is the client's to make: its window stays closed, it does not read, or its
  // request's body stops before there is an answer. Seen a quarter of it too late at most.
  int64_t stall_ms = 60'000;
  int64_t drain_ms = 30'000;
};

struct ServerCounters {
  uint64_t connections_total = 0;
  uint64_t connections_refused = 0;
  uint64_t requests_h1 = 0;
  uint64_t requests_h2 = 0;
  uint64_t requests_refused = 0;  // no exchange or no memory for its head was free
  uint64_t accept_pauses = 0;     // accepting stopped: every connection in use, or the system out of descriptors
  uint64_t upload_pauses = 0;     // a client was not read because the memory for request bodies was used up
  uint64_t stalled_streams = 0;
  uint64_t stalled_connections = 0;
  uint64_t header_timeouts = 0;
  uint64_t connections_evicted = 0;  // idle ones, to make room for others
  // By Fault: requests that became no exchange, and what ended streams and connections.
  std::array<uint64_t, fault_count> rejections{};
  std::array<uint64_t, fault_count> stream_faults{};
  std::array<uint64_t, fault_count> connection_faults{};
};

// How long a client may take for its FIN once all has been said to it.
inline constexpr int64_t linger_ms = 1000;

// Hears of every fault of a client, however many there are.
class ServerObserver {
 public:
  virtual void onClientFault(const ClientInfo& client, const Error& error, TimeNs now_ns) = 0;

 protected:
  ~ServerObserver() = default;
};

class Server;

// One client's connection: the socket, which protocol it speaks, and nothing of either protocol.
class ServerConnection final : public UltraSock::Owner {
 public:
  explicit ServerConnection(Server& server);
  ~ServerConnection() = default;

  // Takes `fd` over, performs TLS where it is spoken, and waits for the client's first bytes, which tell the protocol:
  // they are in `opening` then. With `tls_by_first_byte` whether the client speaks TLS is told by what it says first.
  // False, with the socket closed, where nothing came.
  Task<bool> greet(int fd, TlsContext* tls, bool tls_by_first_byte, BufferedInput& opening, Io& io);
  // Serves from those bytes on until the connection is over, and then ends it (Server::ended).
  Task<void> converse(BufferedInput&& opening, Io& io);
  // The protocol's task runs. What was read before counts for nothing where the connection has been aborted since.
  void begin(BufferedInput& opening) {
    has_begun_ = true;
    if (sock_.isAborted()) opening.bytes() = {};
  }
  void onOutputDrained() override;
  void onStarved() override { lookSoon(); }
  void onPeerClosed() override;
  // Asks the client to go: two-phase GOAWAY, or "connection: close" with the next response.
  void drain();
  int64_t lostCredit() { return h2() == nullptr ? 0 : h2()->lostCredit(); }

  Server& server() { return server_; }
  UltraSock& sock() { return sock_; }
  const ClientInfo& client() const { return client_; }
  Scope& scope() { return scope_; }
  // The deadline for the client's next sign of life; never_ns for none.
  void expectBy(TimeNs deadline_ns);
  // Output found no block although none of this connection's waits to be sent, so nothing will tell when there is one.
  void lookSoon();
  // Ends the connection at once; whatever waits on it is woken.
  void abort(const Error& error);

  class RoomAwaiter {
   public:
    explicit RoomAwaiter(ServerConnection& connection) : connection_(connection) {}
    bool await_ready() const;
    void await_suspend(std::coroutine_handle<> handle);
    void await_resume();

    ListNode node;

   private:
    friend class ServerConnection;
    friend class Server;
    ServerConnection& connection_;
    std::coroutine_handle<> handle_;
    TimeNs since_ns_ = 0;
  };
  // Waits until there is memory for request bodies again, or the connection is over: look which. One waiter at a time.
  RoomAwaiter uploadRoom() { return RoomAwaiter(*this); }

  // No request is in progress: where connections become scarce this one may have to go.
  void setIdle();
  void setBusy();

  ListNode node;  // among the server's busy or idle ones

 private:
  friend class Server;
  void onTimer();
  void schedule();
  bool isOutputMoving(TimeNs now_ns);
  void evict();
  void wakeForRoom();
  // Null as long as the conversation has not begun: nothing may be said on it before its first words.
  H2Server* h2() { return has_begun_ ? std::get_if<H2Server>(&protocol_) : nullptr; }
  H1Server* h1() { return has_begun_ ? std::get_if<H1Server>(&protocol_) : nullptr; }

  Server& server_;
  UltraSock sock_;
  ClientInfo client_;
  Scope scope_;
  // The connection's only timer. It is not moved with every request: it fires, looks, and is armed for the rest.
  Timer timer_;
  TimeNs deadline_ns_ = never_ns;
  uint64_t taken_seen_ = 0;  // what had been taken at the last look,
  TimeNs moved_ns_ = 0;      // and when output had last been seen to move
  Progress output_progress_;
  TimeNs idle_since_ns_ = 0;
  RoomAwaiter* room_waiter_ = nullptr;
  bool had_unsent_ = false;
  bool is_idle_ = false;
  bool is_leaving_ = false;  // evicted
  bool has_begun_ = false;
  std::variant<std::monostate, H2Server, H1Server> protocol_;
};

class Server {
 public:
  Server(Io& io, const Limits& limits, const ServerTimeouts& timeouts, Handler& handler, BlockSlab& send_blocks,
         BlockSlab& record_blocks, BlockSlab& stream_blocks, http::HeaderSlab& headers);
  ~Server();

  // Listens on `address`, which becomes the bound one. `tls` null: plain. With `tls_by_first_byte` each client chooses:
  // a connection that begins with a TLS handshake is TLS, any other plain. 0 or -errno.
  int listen(sockaddr_storage& address, TlsContext* tls, bool tls_by_first_byte = false);
  // Takes what already waits to be accepted, stops listening, and asks every client to go; returns when all are gone,
  // at the latest a moment after the drain deadline, when those that are left are cut off.
  Task<void> drain(Io& io);

  bool isDraining() const { return draining_; }
  size_t connectionCount() const { return connections_.used(); }
  // Of all clients (H2Server::lostCredit).
  int64_t lostCredit();
  size_t connectionPeak() const { return connections_.peak(); }
  const ServerCounters& counters() const { return counters_; }
  // Null for none; must outlive the server.
  void setObserver(ServerObserver* observer) { observer_ = observer; }
  // What a client did wrong is counted by the error's reach and told; errors that are nobody's fault are not.
  void noteFault(const ClientInfo& client, const Error& error);
  void noteRejected(const Rejection& rejection);
  // The rate that a request's body must keep up. gRPC's messages come when they come, so as long as there are exchanges
  // enough only silence counts there.
  uint32_t uploadFloor(const Exchange& exchange) const;
  // What a server with these limits reserves: for connections, and for requests.
  static size_t connectionBytes(const Limits& limits);
  static size_t exchangeBytes(const Limits& limits);
  void prefault();

  Io& io;
  const Limits limits;
  const ServerTimeouts timeouts;
  Handler& handler;
  BlockSlab& send_blocks;
  SockRoom sock_room;
  BlockSlab& stream_blocks;
  http::HeaderSlab& headers;
  // Request bodies that backends have not taken yet.
  BlockSlab upload_blocks;
  // Less is left than one receive buffer of DATA may need: who uploads is not read further.
  bool uploadsAreShort() const { return upload_blocks.available() < upload_reserve; }
  // The connection is closed and nothing uses it any more.
  void ended(ServerConnection& connection);
  // Some of upload_blocks may have come back.
  void noteUploadRoom();
  // The present moment as a Date field says it, valid until the next call. A quarter of a second late at most.
  std::string_view date();
  size_t reservedBytes() const;
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
    bool tls_by_first_byte;
  };
  struct Accepted {
    int fd;
    Listener* listener;
  };
  static constexpr size_t upload_reserve = 6;
  // A listen queue of 4,096, which io_uring accepts whole before it hears that accepting pauses, and what fills it
  // again meanwhile, over several listeners.
  static constexpr size_t max_accepted_waiting = 16'384;
  // Whoever has just come or just got an answer is about to ask: it is not evicted yet.
  static constexpr int64_t min_idle_ms = 1000;

  void onAccept(Listener& listener, const Completion& completion);
  void adopt(Listener& listener, int fd);
  void admitWaiting();
  void pauseAccepting();
  void resumeAccepting();
  void closeNow(int fd);
  // Idle connections leave, the longest idle first, so that some are free again.
  void makeRoom();
  Task<void> serve(ServerConnection& connection, Listener& listener, int fd, Io& task_io);
  // `use` may move the connection it is called with to the other list.
  template <class Use>
  void forEach(Use use) {
    for (auto* list : {&busy_, &idle_}) {
      for (ServerConnection *one = list->front(), *next; one != nullptr; one = next) {
        next = list->next(*one);
        use(*one);
      }
    }
  }

  char date_[http::imf_date_size];
  TimeNs date_until_ns_ = 0;
  Slab<ServerConnection> connections_;
  Ring<Accepted> accepted_;  // accepted while every connection was in use
  List<ServerConnection::RoomAwaiter, &ServerConnection::RoomAwaiter::node> upload_waiters_;
  // Every connection is in one of them.
  List<ServerConnection, &ServerConnection::node> busy_;
  List<ServerConnection, &ServerConnection::node> idle_;  // the longest idle first
  size_t leaving_ = 0;                                    // evicted, and not gone yet
  ServerObserver* observer_ = nullptr;
  std::vector<std::unique_ptr<Listener>> listeners_;
  Scope scope_;
  IoCondition changed_;  // a connection ended, or a listener stopped
  Timer accept_timer_;   // looks again whether descriptors can be had
  Timer room_timer_;     // looks again whether a connection has been idle for long enough to go
  bool accept_paused_ = false;
  bool draining_ = false;
};

}  // namespace plait
