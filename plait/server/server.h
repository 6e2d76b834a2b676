// The downstream side of one worker: listeners, client connections, and their exchanges.
#pragma once

#include <memory>
#include <vector>

#include "plait/base/address_shares.h"
#include "plait/base/ring.h"
#include "plait/h2/session.h"
#include "plait/http/date.h"
#include "plait/io/sync.h"
#include "plait/server/early_answers.h"
#include "plait/server/handshakes.h"
#include "plait/server/listener.h"
#include "plait/server/place_shares.h"
#include "plait/server/server_connection.h"
#include "plait/server/server_counters.h"
#include "plait/server/server_options.h"
#include "plait/server/stall_watch.h"
#include "plait/server/upload_room.h"

namespace plait {

class Server final : public Listener::Owner {
 public:
  // The limits must be without a defect. References must outlive the server.
  Server(Io& io, const LoopLimits& loop_limits, const ServerLimits& limits, const ServerTimeouts& timeouts,
         Handler& handler, BlockSlab& send_blocks, BlockSlab& record_blocks, BlockSlab& stream_blocks,
         http::HeaderSlab& headers);
  ~Server();

  // Listens on `address`, which becomes the bound one. `tls` null: plain. With `tls_by_first_byte` each client chooses:
  // a connection that begins with a TLS handshake is TLS, any other plain. `proxies` and `redirects_https` as for
  // Listener. Errors: listen_failed, whose detail is errno; no_memory where most_listeners are open; shutting_down from
  // drain() on.
  static constexpr size_t most_listeners = 64;
  Status listen(sockaddr_storage& address, TlsContext* tls = nullptr, bool tls_by_first_byte = false,
                const PortUse& use = {}, const TrustedProxies* proxies = nullptr, bool redirects_https = false);
  // The listener that is bound to that address takes what waits there and closes; its clients stay.
  // Of several, which differ in how they take TLS, the one that was opened first, or with `is_newest` last.
  void closeListener(const sockaddr_storage& address, bool is_newest = false);
  // Its next clients speak TLS by that context.
  void setListenerTls(const sockaddr_storage& address, TlsContext* tls);
  // Its next clients come by those.
  void setListenerProxies(const sockaddr_storage& address, const TrustedProxies* proxies);
  // Its next clients are sent to HTTPS, or not any more.
  void setListenerRedirect(const sockaddr_storage& address, bool redirects_https);
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
  // For a connection that is looked at now.
  StallWatch stallWatch(TimeNs now_ns) const;
  // The bytes that a server with these limits reserves: for connections, and for requests.
  static size_t connectionBytes(const LoopLimits& loop_limits, const ServerLimits& limits);
  static size_t exchangeBytes(const LoopLimits& loop_limits);
  void prefault();

  Io& io;
  const LoopLimits loop_limits;
  const ServerLimits limits;
  ServerTimeouts timeouts;  // which may be changed while it runs
  Handler& handler;
  BlockSlab& send_blocks;
  SockRoom sock_room;
  BlockSlab& stream_blocks;
  http::HeaderSlab& headers;
  // Request bodies that backends have not taken yet.
  UploadRoom uploads;
  Handshakes& handshakes() { return handshakes_; }
  // The connection is closed and nothing uses it any more.
  void ended(ServerConnection& connection);
  // Of both protocols together; those that wait for the end of a request that is answered count as free.
  size_t exchangesLeft() const {
    const size_t used = h1_exchanges.used() + h2_exchanges.used() - early_answers.count();
    return loop_limits.exchanges - std::min<size_t>(used, loop_limits.exchanges);
  }
  // Null where one more exchange may go to that request, else why not. Where few are left one address must not hold
  // what others want (AddressShares).
  const char* whyNoExchange(const http::RequestHead& request, const ClientInfo& client) {
    if (exchangesLeft() * 8 > loop_limits.exchanges) [[likely]]
      return nullptr;
    return whyNoneOfFew(request, client);
  }
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
  size_t reservedBytes() const;
  std::unique_ptr<h2::SessionScratch> scratch;
  const h2::SessionConfig h2_config;  // of its clients' sessions
  http::RequestIds request_ids;
  Slab<H2Exchange> h2_exchanges;
  Slab<H1Exchange> h1_exchanges;
  EarlyAnswers early_answers;
  ServerCounters counters_;

 private:
  friend class ServerConnection;
  // A listen queue of 4,096, which io_uring accepts whole before it hears that accepting pauses, and what fills it
  // again meanwhile, over several listeners.
  static constexpr size_t max_accepted_waiting = 16'384;
  static constexpr size_t crowded_per_look = 16;
  static constexpr size_t idle_per_look = 256;
  static constexpr int64_t crowd_look_ms = 250;
  // A client that has just come or just got an answer is about to ask: it is not evicted yet.
  static constexpr int64_t min_idle_ms = 1000;

  void onAccepted(const AcceptedClient& client, const Listener& listener) override;
  void onAcceptFailed() override;
  void onListenerClosed() override { changed_.notifyAll(io); }
  void admit(const AcceptedClient& accepted);
  // Gives the client a place, which must be free.
  void place(const AcceptedClient& accepted, const ClientInfo& client);
  // The client's address holds its share: an idle connection of its own gives way, and the client waits for that.
  void wait(const AcceptedClient& accepted, const ClientInfo& client);
  void admitWaiting();
  // Some of those that wait for their address's share.
  void lookAtCrowd();
  ClientInfo clientAt(int fd);
  static ClientInfo clientAt(sockaddr_storage address);
  ClientInfo clientOf(const AcceptedClient& accepted);
  // The connection, which was nobody's, is that client's from now on. False where the client's address holds its share.
  bool become(ServerConnection& connection, const ClientInfo& client);
  void takeShare(ServerConnection& connection, uint64_t address);
  // The address among whose connections that one is counted; 0 for none.
  static uint64_t shareOf(const ClientInfo& client) { return client.holds_share ? client.address_number : 0; }
  void pauseAccepting();
  void resumeAccepting();
  void closeNow(int fd);
  // The client needs its listener's TLS context no more.
  static void letGo(const AcceptedClient& accepted);
  void refuse(const AcceptedClient& accepted);
  const char* whyNoneOfFew(const http::RequestHead& request, const ClientInfo& client);
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
  Task<void> serve(ServerConnection& connection, AcceptedClient accepted, Io& task_io);

  AddressShares exchange_shares_;
  PlaceShares places_;
  Handshakes handshakes_;
  bool counts_exchanges_ = false;
  char date_[http::imf_date_size];
  TimeNs date_until_ns_ = 0;
  Slab<ServerConnection> connections_;
  Ring<AcceptedClient> accepted_;  // accepted while every connection was in use
  // Every connection is in one of them.
  List<ServerConnection, &ServerConnection::node> busy_;
  List<ServerConnection, &ServerConnection::node> idle_;  // the longest idle first
  size_t leaving_ = 0;                                    // evicted, and not gone yet
  ServerObserver* observer_ = nullptr;
  Listener* listenerAt(const sockaddr_storage& address, bool is_newest);
  template <class Use>
  void forEachListener(Use use) {
    for (Place& place : listeners_) {
      if (place.listener && !place.listener->isClosed()) use(*place.listener);
    }
  }
  struct Place {
    sockaddr_storage address{};  // as bound
    uint64_t opened = 0;         // the how-manieth it was
    std::optional<Listener> listener;
  };
  // Listeners come and go, and each has a place of its own.
  std::vector<Place> listeners_{most_listeners};
  uint64_t listeners_opened_ = 0;
  Scope scope_;
  IoCondition changed_;  // a connection ended, or a listener stopped
  Timer accept_timer_;   // looks again whether descriptors can be had
  Timer room_timer_;     // looks again whether a connection has been idle for long enough to go
  Timer crowd_timer_;    // and whether one has ended for those that wait for their address's share
  bool accept_paused_ = false;
  bool draining_ = false;
};

}  // namespace plait
