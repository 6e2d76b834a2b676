// The downstream side of one worker: listeners, client connections, and their exchanges.
#pragma once

#include <array>
#include <memory>
#include <variant>
#include <vector>

#include "plait/base/address_shares.h"
#include "plait/base/progress.h"
#include "plait/base/ring.h"
#include "plait/h2/session.h"
#include "plait/http/date.h"
#include "plait/io/sync.h"
#include "plait/limits.h"
#include "plait/server/early_answers.h"
#include "plait/server/h1_conversation.h"
#include "plait/server/h2_conversation.h"

namespace plait {

struct ServerTimeouts {
  bool operator==(const ServerTimeouts&) const = default;

  int64_t client_header_ms = 10'000;  // from the first byte of a header block to its last
  int64_t client_idle_ms = 75'000;    // without a request in progress
  // Without a byte of progress that is the client's to make: its window stays closed, it does not read, or its
  // request's body stops before there is an answer. Seen a quarter of it too late at most.
  int64_t stall_ms = 60'000;
  int64_t drain_ms = 25'000;
  // A client of HTTP/1.1 whose FIN does not tell whether it still wants its answer gets so long without a byte of it.
  // 0: it has left.
  int64_t half_close_ms = 0;
  // An upload is stuck when its backend has taken nothing of it for so long. While memory for uploads is short some are
  // ended for that.
  int64_t stuck_upload_ms = 1000;
};

struct ServerCounters {
  uint64_t connections_total = 0;
  uint64_t connections_refused = 0;  // no place was free, or the client's address holds its share
  uint64_t requests_h1 = 0;
  uint64_t requests_h2 = 0;
  uint64_t requests_refused = 0;  // no exchange or no memory for its head was free
  uint64_t accept_pauses = 0;     // accepting stopped: every connection in use, or the system out of descriptors
  uint64_t upload_pauses = 0;     // a client was not read because the memory for request bodies was used up
  uint64_t stalled_streams = 0;
  uint64_t stalled_connections = 0;
  uint64_t header_timeouts = 0;
  uint64_t connections_evicted = 0;  // idle ones, to make room for others
  uint64_t requests_cut = 0;         // under way at the drain deadline
  // By Fault: requests that became no exchange, and what ended streams and connections.
  std::array<uint64_t, fault_count> rejections{};
  std::array<uint64_t, fault_count> stream_faults{};
  std::array<uint64_t, fault_count> connection_faults{};
};

// The answer to an upload that is ended for want of memory, and the error that is logged (Server::lookAtUploads).
inline constexpr std::string_view stuck_upload_text =
    "the backend takes nothing of this request, and memory is short\n";
inline Error stuckUploadError() {
  return streamError(ErrorCode::stalled, "the backend takes nothing of an upload, and memory for uploads is short")
      .as(Fault::stuck_upload);
}

// How long a client may take for its FIN once all has been said to it.
inline constexpr int64_t linger_ms = 1000;
// How long after a drain began an idle client of HTTP/1.1 is still heard: a request of its may be on its way, and
// HTTP/1.1 has no other way to tell it beforehand.
inline constexpr int64_t drain_linger_ms = 200;

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

  // Performs TLS where it is spoken, and waits for the client's first bytes, which tell the protocol: they are in
  // `opening` then. With `tls_by_first_byte` whether the client speaks TLS is told by what it says first. False where
  // nothing came, with the socket closed, or where there was no frame.
  Task<bool> greet(TlsContext* tls, bool tls_by_first_byte, BufferedInput& opening, Io& io);
  // Serves from those bytes on until the connection is over, and then ends it (Server::ended).
  Task<void> converse(BufferedInput&& opening, Io& io);
  // The protocol's task runs. Bytes that were read before count for nothing where the connection has been aborted
  // since.
  void begin(BufferedInput& opening) {
    has_begun_ = true;
    if (sock_.isAborted()) opening.bytes() = {};
  }
  void onOutputDrained() override;
  void onPeerClosed() override;
  template <class Use>
  void forEachExchange(Use use) {
    if (H2Conversation* const its = h2()) its->forEachExchange(use);
    if (H1Conversation* const its = h1()) its->forEachExchange(use);
  }
  // Asks the client to go: two-phase GOAWAY, or "connection: close" with the next response.
  void drain();
  int64_t lostCredit() { return h2() == nullptr ? 0 : h2()->lostCredit(); }
  // Bytes of request bodies that backends have not taken yet; and of those of which nothing was taken since then.
  size_t heldUpload();
  size_t stuckUpload(TimeNs before_ns);
  // Ends the upload of which nothing was taken for the longest.
  void endStuckUpload();
  // A backend has taken something of an upload.
  void noteUploadTaken() {
    if (room_waiter_ != nullptr) [[unlikely]]
      sortRoomWaiter();
  }

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
  // The conversation is over: says its last words (UltraSock::closeGracefully). From here on that, and nothing else,
  // says when the client has had its time.
  Task<void> sayFarewell(Io& io, uint32_t unread_limit = UINT32_MAX);

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
    bool holds_little_ = false;
  };
  // Waits until there is memory for this connection's request bodies again, or it is over: look which. One waiter at a
  // time.
  RoomAwaiter uploadRoom() { return RoomAwaiter(*this); }

  // No request is in progress: where connections become scarce this one may have to go.
  void setIdle();
  void setBusy();

  ListNode node;  // among the server's busy or idle ones

 private:
  friend class Server;
  // A client that is refused before its first request may send so much until it has heard that.
  static constexpr uint32_t refused_unread_limit = 256 * 1024;

  void onTimer();
  void schedule();
  void evict();
  void answerText(const Error& why);
  void wakeForRoom();
  // Puts its waiter where those are that hold as much.
  void sortRoomWaiter();
  // Null as long as the conversation has not begun: nothing may be said on it before its first words.
  H2Conversation* h2() { return has_begun_ ? std::get_if<H2Conversation>(&protocol_) : nullptr; }
  H1Conversation* h1() { return has_begun_ ? std::get_if<H1Conversation>(&protocol_) : nullptr; }

  Server& server_;
  // These lie in the padding at the socket's end: idle clients are many.
  [[no_unique_address]] UltraSock sock_;
  bool is_idle_ = false;
  bool is_leaving_ = false;  // evicted
  bool has_begun_ = false;
  bool is_ending_ = false;
  ClientInfo client_;
  Scope scope_;
  // The connection's only timer. It is not moved with every request: it fires, looks, and is armed for the rest.
  Timer timer_;
  TimeNs deadline_ns_ = never_ns;  // while it ends: since when
  OutputWatch output_;
  TimeNs idle_since_ns_ = 0;
  RoomAwaiter* room_waiter_ = nullptr;
  std::variant<std::monostate, H2Conversation, H1Conversation> protocol_;
};

// How a listener has its port.
struct PortUse {
  // Beside sockets of this user that listen there already, as those of other workers do, or those of a process that is
  // to be relieved. Otherwise nobody may have the port.
  bool share = false;
  bool only_v6 = false;  // [::] does not take IPv4
};

class Server {
 public:
  // `limits` must be without a mistake. References must outlive the server.
  Server(Io& io, const Limits& limits, const ServerTimeouts& timeouts, Handler& handler, BlockSlab& send_blocks,
         BlockSlab& record_blocks, BlockSlab& stream_blocks, http::HeaderSlab& headers);
  ~Server();

  // Listens on `address`, which becomes the bound one. `tls` null: plain. With `tls_by_first_byte` each client chooses:
  // a connection that begins with a TLS handshake is TLS, any other plain. 0 or -errno.
  int listen(sockaddr_storage& address, TlsContext* tls, bool tls_by_first_byte = false, const PortUse& use = {});
  // Takes what already waits to be accepted, stops listening, and asks every client to go; returns when all are gone,
  // at the latest a moment after the drain deadline, when those that are left are cut off.
  Task<void> drain(Io& io, LastFrame = {});

  bool isDraining() const { return draining_; }
  size_t connectionCount() const { return connections_.used(); }
  // Under way now, tunnels among them.
  size_t requestCount() const { return h1_exchanges.used() + h2_exchanges.used(); }
  // For how long last words have been said to the client that takes longest; what it does not take has an end.
  TimeNs longestFarewell();
  // How many that wait for memory for their uploads hold a receive buffer meanwhile, although there are other blocks.
  // (Over TLS some may, while buffers are not short.)
  size_t buffersOfWaiting();
  // Of all clients (H2Conversation::lostCredit).
  int64_t lostCredit();
  size_t connectionPeak() const { return connections_.peak(); }
  const ServerCounters& counters() const { return counters_; }
  // Null for none; must outlive the server.
  void setObserver(ServerObserver* observer) { observer_ = observer; }
  // A client's faults are counted by the error's reach and told; errors that are nobody's fault are not.
  void noteFault(const ClientInfo& client, const Error& error);
  void noteRejected(const Rejection& rejection);
  // The rate that a request's body must keep up. gRPC's messages come when they come, so as long as there are exchanges
  // enough only silence counts there.
  uint32_t uploadFloor(const Exchange& exchange) const;
  // The bytes that a server with these limits reserves: for connections, and for requests.
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
  // Half of them are free: what waits in them is in nobody's way.
  bool uploadsAreAmple() const { return upload_blocks.available() * 2 >= upload_blocks.capacity(); }
  // Whether a connection that holds so many bytes of uploads is read further. The last blocks are for those that hold
  // little; what one receive buffer of DATA may need is left in any case.
  bool takesUpload(size_t held) const {
    const size_t available = upload_blocks.available();
    if (available < upload_reserve) return false;
    return held < Limits::little_upload || available >= limits.blocksForSmallUploads();
  }
  // Memory for uploads is no longer ample: looks every now and then for those that are stuck, until it is.
  void watchUploads() {
    if (!upload_timer_.isArmed()) io.arm(upload_timer_, io.nowNs() + upload_watch_ms * ns_per_ms);
  }
  // The connection is closed and nothing uses it any more.
  void ended(ServerConnection& connection);
  // Some of upload_blocks may have come back.
  void noteUploadRoom();
  // Of both protocols together; those that wait for the end of a request that is answered count as free.
  size_t exchangesLeft() const {
    const size_t used = h1_exchanges.used() + h2_exchanges.used() - early_answers.count();
    return limits.exchanges - std::min<size_t>(used, limits.exchanges);
  }
  // Null where one more exchange may go to that request, else why not. Where few are left one address must not hold
  // what others want (AddressShares).
  const char* whyNoExchange(const http::RequestHead& request, const ClientInfo& client);
  // An exchange begins or ends.
  void countExchange(Exchange& exchange) {
    if (counts_exchanges_) [[unlikely]]
      addExchange(exchange);
  }
  void uncountExchange(Exchange& exchange) {
    if (exchange.counted_address != 0) [[unlikely]]
      removeExchange(exchange);
  }
  // The present moment as a Date field says it, valid until the next call. A quarter of a second late at most.
  std::string_view date();
  size_t reservedBytes() const;
  std::unique_ptr<h2::SessionScratch> scratch;
  http::RequestIds request_ids;
  Slab<H2Exchange> h2_exchanges;
  Slab<H1Exchange> h1_exchanges;
  EarlyAnswers early_answers;
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
  static constexpr int64_t upload_watch_ms = 250;
  static constexpr uint32_t most_ended = 8;  // with each look
  // A listen queue of 4,096, which io_uring accepts whole before it hears that accepting pauses, and what fills it
  // again meanwhile, over several listeners.
  static constexpr size_t max_accepted_waiting = 16'384;
  // Clients whose address holds its share wait for one of its connections to end: as many as a listen queue has.
  static constexpr size_t max_crowded = 4096;
  static constexpr size_t crowded_per_look = 16;
  static constexpr size_t idle_per_look = 256;
  static constexpr int64_t crowd_look_ms = 250;
  // A client that has just come or just got an answer is about to ask: it is not evicted yet.
  static constexpr int64_t min_idle_ms = 1000;

  void onAccept(Listener& listener, const Completion& completion);
  void adopt(Listener& listener, int fd);
  // Gives the client a place, which must be free.
  void place(Listener& listener, int fd, const ClientInfo& client);
  // Where few places are left: the client's address holds less than its share of them (AddressShares).
  bool mayTakePlace(const ClientInfo& client);
  // The client's address holds its share: an idle connection of its own gives way, and the client waits for that.
  void wait(Listener& listener, int fd, const ClientInfo& client);
  void admitWaiting();
  // Some of those that wait for their address's share.
  void lookAtCrowd();
  ClientInfo clientAt(int fd);
  void pauseAccepting();
  void resumeAccepting();
  void closeNow(int fd);
  void addExchange(Exchange& exchange);
  void removeExchange(Exchange& exchange);
  // Idle connections leave, so that some are free again: of addresses above their share first, and the longest idle.
  void makeRoom();
  // The longest idle one of that address that may go; null for none among those that are looked at.
  ServerConnection* idleAt(uint64_t address);
  // The longest idle one, or the first of an address that holds more than its share.
  ServerConnection* idleToGo();
  bool isIdleForLong(const ServerConnection& one) const {
    return one.idle_since_ns_ + min_idle_ms * ns_per_ms <= io.nowNs();
  }
  void lookAtUploads();
  bool endStuckUpload();
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

  AddressShares exchange_shares_;
  AddressShares connection_shares_;
  bool counts_exchanges_ = false;
  char date_[http::imf_date_size];
  TimeNs date_until_ns_ = 0;
  Slab<ServerConnection> connections_;
  Ring<Accepted> accepted_;  // accepted while every connection was in use
  Ring<Accepted> crowded_;   // accepted while their address held its share
  using RoomWaiters = List<ServerConnection::RoomAwaiter, &ServerConnection::RoomAwaiter::node>;
  RoomWaiters little_waiters_;  // of connections that hold little
  RoomWaiters large_waiters_;
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
  Timer crowd_timer_;    // and whether one has ended for those that wait for their address's share
  Timer upload_timer_;
  bool accept_paused_ = false;
  bool draining_ = false;
};

}  // namespace plait
