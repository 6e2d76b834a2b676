// The pool of connections to all endpoints of one worker. The whole upstream side is two calls and a release:
//
//   auto lease = co_await pool.getOrCreate(endpoint, io);
//   auto response = co_await lease->request(head, options, io);
//   pool.release(*lease, response || !response.error().reachesConnection(), io);
//
// Slots count ready connections: 8 for each endpoint over HTTP/2, 256 over HTTP/1.1. Retired ones hold none, and a
// place each. Places are bounded for all endpoints together, so that nobody waits for another's retired ones:
//
//   all places    a quarter    for endpoints that have no ready connection
//                 a half       at most for tunnels, each of which is a retired connection
//   an endpoint   32           retired with requests on them, before age and superfluity only pass connections over
#pragma once

#include <memory>
#include <vector>

#include "plait/client/endpoint_orders.h"
#include "plait/client/endpoint_table.h"
#include "plait/client/h1_connection.h"
#include "plait/client/h2_connection.h"
#include "plait/client/lease.h"
#include "plait/client/pool_limits.h"
#include "plait/client/pool_options.h"
#include "plait/client/retry.h"
#include "plait/client/shares.h"
#include "plait/client/window_pool.h"

namespace plait {

class ConnectionPool {
 public:
  // Everything is reserved here; resolvers are reached through the Io. The limits must be without a defect, and
  // references must outlive the pool. The endpoints of `backends` are endpoint(0), endpoint(1), …, in their order.
  ConnectionPool(Io& io, const LoopLimits& loop_limits, const PoolLimits& limits, const PoolTimeouts& timeouts,
                 std::vector<BackendOptions> backends, const UpstreamMemory& memory, BlockSlab& send_blocks,
                 BlockSlab& record_blocks);
  ~ConnectionPool();

  // An endpoint more. Errors: no_memory, where `limits.endpoints` are there.
  Result<EndpointId> add(const BackendOptions& options) { return add(std::make_shared<const BackendOptions>(options)); }
  // The same without allocating: what is held is given back when nothing of the endpoint is left.
  Result<EndpointId> add(std::shared_ptr<const BackendOptions> options);
  // Other settings for the same backend, from the next connection on: its name, timeouts and number of connections.
  // `options` have the endpoint's number and identity.
  void update(EndpointId id, std::shared_ptr<const BackendOptions> options);
  void setTimeouts(const PoolTimeouts& timeouts) { timeouts_ = timeouts; }
  // From now on the id finds nothing: what waits for the endpoint fails with an error that reaches the backend, its
  // connections are retired, and what runs on them runs on. False where the id is stale.
  bool remove(EndpointId id);
  // The same from any thread, for a pool of Runtime::makePool. On other threads than its loop's they return when the
  // loop has done it or the pool is closed, so the loop's thread must not wait for one that has called them. The pool
  // must outlive the calls. Errors: no_memory as above; invalid_argument where the id is stale; shutting_down from
  // close() on.
  Result<EndpointId> addFromAnyThread(BackendOptions options);
  Status removeFromAnyThread(EndpointId id);
  // Makes that possible. On the loop's thread, once; the mailbox is that of the Io and must outlive the pool.
  void takeOrders(Mailbox& mailbox);

  // A stream on the least loaded ready connection of that endpoint, or on the one that a request of the same turn has
  // just been given; dials where there is none and waits in line where all are full, for queue_ms at most. Errors:
  // connect_failed, connect_timeout, resolve_failed, tls_failed (the endpoint cannot be reached, or is down), all of
  // which reach the backend; pool_exhausted (no room in time); the token's error; invalid_argument (the endpoint has
  // gone), which reaches the backend.
  LeaseAwaiter getOrCreate(EndpointId endpoint, Io& io, const LeaseOptions& options = {}) {
    return LeaseAwaiter(*this, endpoint, options, io);
  }
  // The same without a wait: pool_exhausted where no stream is free now.
  Result<Lease> leaseNow(EndpointId endpoint, bool needs_http_1_1, const Claim& claim);
  // Ends a lease. Not `success`: its connection, or the one that had its request last, is retired; what still runs on
  // it runs on.
  void release(Lease& lease, bool success, Io& io);

  // The id of the n-th of the constructor's backends.
  EndpointId endpoint(size_t n) const { return first_ids_[n]; }
  // Null where the endpoint has gone. Good until it is removed: not to be kept across a suspension.
  Endpoint* find(EndpointId id) const { return endpoints_.find(id); }
  const EndpointTable& endpoints() const { return endpoints_; }

  // -- for the chooser (cluster/), which waits for room itself
  // A stream could be leased now for that claim.
  bool hasRoom(Endpoint& endpoint, bool needs_http_1_1, const Claim& claim);
  // The same, looked at from scratch and without any effect: for those who check the chooser.
  bool isRoomFor(Endpoint& endpoint, bool needs_http_1_1, const Claim& claim);
  // Which limit keeps an endpoint that is up from having room, in a phrase for the operator that names its key.
  const char* whatIsShort(Endpoint& endpoint, bool needs_http_1_1) const;
  // Begins one dial on nobody's behalf, where one more connection is allowed and, over HTTP/2, none is being made. True
  // where a dial was begun, or over HTTP/2 is under way. With `may_displace` an idle connection of another lane is
  // closed where no place is free: that is for requests that wait, not for a better choice next time.
  bool dialAside(Endpoint& endpoint, bool needs_http_1_1, bool may_displace);
  // Takes the endpoint out of use for what it answers, until a trial `for_ms` later.
  void eject(EndpointId id, const Error& cause, int64_t for_ms);
  // The trial request was answered well.
  void endTrial(EndpointId id);
  // The trial request of an endpoint that was guessed to speak HTTP/1.1 has failed: it is down, and probed again.
  void rejectGuess(EndpointId id, const Error& cause);
  // Whether a failed try of a request may be repeated, at any endpoint. If so, the repetition is counted, and the
  // budget charged. `body` is null for none.
  Verdict mayRepeat(Attempts& attempts, const Error& error, const http::RequestHead& head, const http::Pipe* body);
  // A budget as the limits say, for endpoints that can stand for each other.
  RetryBudget makeRetryBudget() const {
    return {limits_.unknown_retry_percent, limits_.unknown_retry_burst, io_.nowNs()};
  }
  uint32_t mostRetries(const Attempts& attempts) const {
    return std::min(attempts.most_retries, limits_.unprocessed_retries);
  }
  // A trial request is repeated elsewhere, which costs nothing of the budget: it was not the request's choice.
  void noteTrialRepeated(Attempts& attempts);
  // The listener hears of states from now on, and between beginWaiting and endWaiting of each stream that becomes free.
  void addRoomListener(RoomListener& listener) { room_listeners_.pushBack(listener); }
  void removeRoomListener(RoomListener& listener) {
    listener.waiting_node.unlink();
    listener.listening_node.unlink();
  }
  void beginWaiting(RoomListener& listener) { waiting_listeners_.pushBack(listener); }
  void endWaiting(RoomListener& listener) { listener.waiting_node.unlink(); }

  const PoolCounters& counters() const { return counters_; }
  const LoopLimits& loopLimits() const { return loop_limits_; }
  const PoolLimits& limits() const { return limits_; }
  const PoolTimeouts& timeouts() const { return timeouts_; }
  const PoolTimeouts& timeoutsOf(const BackendOptions& options) const {
    return options.timeouts ? *options.timeouts : timeouts_;
  }
  Io& io() { return io_; }
  // Bytes that a pool with these limits reserves: for connections, and for requests on them.
  static size_t connectionBytes(const LoopLimits& loop_limits, const PoolLimits& limits);
  static size_t streamBytes(const LoopLimits& loop_limits);
  size_t reservedBytes() const;
  void prefault();
  size_t connectionCount() const { return socks_.used(); }
  size_t connectionPeak() const { return socks_.peak(); }
  // The places for connections, by what holds them. Own connections count as dialling until their first answer. Retired
  // ones still run requests, or are being closed.
  struct Places {
    uint32_t ready = 0;
    uint32_t dialling = 0;
    uint32_t tunnels = 0;
    uint32_t retired = 0;
  };
  Places places() const;
  http::ReplayBudget& replayBudget() { return replay_budget_; }
  // The memory that the windows of streams over HTTP/2 may grow by.
  WindowPool& windows() { return windows_; }
  // The same blocks, counted from scratch by what each stream may still bring: for those who check.
  size_t promisedBlocks();
  // A request waits inside the pool for a connection that could be dialled, and nobody has begun to: for those who
  // check at the end of a turn. Costs a look at all endpoints.
  bool owesDial();

  // Null for none; must outlive the pool.
  void setObserver(PoolObserver* observer);

  // Retires every connection and waits until the last is closed: for drain_ms at most, when what still runs is cut.
  Task<void> close(Io& io, LastFrame = {});

  // -- for connections Counts and tells a backend's fault; an error that is no fault is ignored.
  void noteFault(EndpointId endpoint, const Error& error, Bytes said = {});
  // Counts a GOAWAY, and tells it where it is more than an end in good order.
  void noteGoaway(EndpointId endpoint, h2::H2Error code, Bytes text);
  void onRetired(Connection& connection);
  void onRoom(Connection& connection);  // a stream ended, or the peer allows more
  // The connection is proven: SETTINGS and an answer to a PING have come.
  void onProven(Connection& connection);
  // A connection that was made for one repetition has brought an answer, and is like any other from now on.
  void onOwnAnswered(Connection& connection);
  // The peer has owed an answer since `since_ns` and given none: this connection ends. The endpoint goes down where it
  // has been silent on every connection since then.
  void onUnanswered(Connection& connection, TimeNs since_ns, const Error& error);
  // The other connections of its lane could carry everything and be less than a quarter full.
  bool isSuperfluous(const Connection& connection) const;
  // Retires the connection, or passes it over where the endpoint has many retired ones on which requests run.
  void retireOrPassOver(Connection& connection, const Error& reason);
  void recountCapacity(Endpoint& endpoint, VersionLane& lane);
  void countShare(Endpoint& endpoint, UpstreamStream& stream);
  void uncountShare(Endpoint& endpoint, UpstreamStream& stream);
  // A connection over HTTP/1.1 ended without an answer in HTTP/1.1. An endpoint that was only probed is probed again by
  // its next connection. `speaks_http2`: an answer in HTTP/2 came instead. False where the configuration names the
  // version.
  bool doubtHttp1(Endpoint* endpoint, bool speaks_http2);
  // A request for a tunnel was answered in HTTP/2: it is to be repeated without the tunnel. False where the request
  // needs HTTP/1.1 for another reason.
  bool waivesTunnel(RequestOp& op);
  // Counts a tunnel, from its request on. False where tunnels hold half of the places already.
  bool openTunnel();
  void closeTunnel() { tunnels_ -= 1; }
  // The end of a try: its head is there.
  void answered(RequestOp& op, UpstreamStream& stream);
  // It has failed: ends the request with that error, or repeats it where nobody else does (retry.h).
  void failed(RequestOp& op, const Error& error);
  // The peer has lowered its limit, and the stream that was reserved for `op` is gone: `op` waits for another one,
  // which is no repetition.
  void waitAgain(RequestOp& op);
  ConnectionHandle handleOf(Connection& connection) const;
  UpstreamMemory& memory() { return memory_; }
  h2::SessionScratch& scratch() { return *scratch_; }
  // Of the sessions with backends.
  const h2::SessionConfig& sessionConfig() const { return h2_config_; }
  Slab<H2UpstreamStream>& h2Streams() { return h2_streams_; }
  const Slab<H2UpstreamStream>& h2Streams() const { return h2_streams_; }
  Slab<H1UpstreamStream>& h1Streams() { return h1_streams_; }
  const Slab<H1UpstreamStream>& h1Streams() const { return h1_streams_; }

 private:
  friend class Lease;
  friend class Lease::RequestAwaiter;
  friend class LeaseAwaiter;

  // The purpose of a dial: requests that wait in the lane, or will; one repetition; or a trial, on nobody's behalf.
  enum class DialFor : uint8_t { lane, own, trial };

  // Null where the connection has been destroyed.
  Connection* find(const ConnectionHandle& handle) const;
  Connection* pick(VersionLane& lane);
  Connection* pickAnew(VersionLane& lane);
  bool mayTake(const Endpoint& endpoint, const VersionLane& lane, const Claim& claim) const;
  // Reserves a stream on a connection that has room; null where there is none, or others wait already.
  Connection* reserveNow(Endpoint& endpoint, VersionLane& lane, const Claim& claim);
  // Reserves a stream for `op` now or later: its on_leased is called once, possibly before this returns.
  void acquire(RequestOp& op);
  // The same for an op for which reserveNow() has found nothing.
  void waitInLine(Endpoint& endpoint, RequestOp& op);
  void serve(Endpoint& endpoint, VersionLane& lane);
  void serveOwn(Endpoint& endpoint);
  void giveOwn(Endpoint& endpoint, Connection& connection);
  void failOwn(Endpoint& endpoint, const VersionLane& lane, TimeNs begun_ns, const Error& error);
  void freeAPlace(const Endpoint& endpoint, const VersionLane& lane);
  void serveWaiting();
  void failQueue(List<RequestOp, &RequestOp::queue_node>& queue, const Error& error);
  uint32_t connectionLimit(const Endpoint& endpoint, const VersionLane& lane) const;
  bool mayHaveAnother(const Endpoint& endpoint, const VersionLane& lane) const;
  bool hasPlace(const Endpoint& endpoint) const;
  bool needsDial(Endpoint& endpoint, VersionLane& lane);
  bool isLeftAlone(const Endpoint& endpoint, const VersionLane& lane) const;
  static Error leftAlone(const Endpoint& endpoint);
  static Error goneError();
  void dialIfNeeded(Endpoint& endpoint, VersionLane& lane);
  // False where there is no memory for it, which fails what waits for this connection.
  bool startDial(Endpoint& endpoint, VersionLane& lane, DialFor purpose);
  Task<void> dial(Endpoint& endpoint, VersionLane& lane, UltraSock& sock, DialFor purpose, Io& io);
  // The task of a connection from its first byte to its last; empty where there is no frame for it.
  Task<void> lifeOf(Connection& connection, UltraSock& sock, Bytes first, Io& io);
  Task<void> runConnection(Connection& connection, UltraSock& sock, Task<void> running, Io& io);
  void establish(Endpoint& endpoint, Connection& connection, DialFor purpose);
  void onReached(Endpoint& endpoint, Connection& connection);
  void admit(Endpoint& endpoint, Connection& connection);
  // No dial for a while, which gets longer with each failure.
  void backOff(Endpoint& endpoint);
  void onDialFailed(Endpoint& endpoint, VersionLane& lane, const Error& error);
  void onDialStarved(Endpoint& endpoint, VersionLane& lane, const Error& error);
  void noteShortage(const Error& error);
  void learnHttp1(Endpoint& endpoint);
  void learnHttp2Only(Endpoint& endpoint, const Error& error);
  void become(Endpoint& endpoint, EndpointState state, const Error& cause);
  void goDown(Endpoint& endpoint, const Error& cause);
  void armTrial(Endpoint& endpoint, TimeNs due_ns);
  void startTrial(Endpoint& endpoint);
  void endBorrowing(Endpoint& endpoint);
  void stopCountingShares(Endpoint& endpoint);
  void tellRoomChanged() {
    if (!waiting_listeners_.empty()) [[unlikely]]
      tellWaiting();
  }
  void tellWaiting();
  void tellStatesChanged();
  void destroy(Connection& connection);
  void startTry(RequestOp& op);

  List<Connection, &Connection::all_node_> all_;
  Io& io_;
  LoopLimits loop_limits_;
  PoolLimits limits_;
  PoolTimeouts timeouts_;
  UpstreamMemory memory_;
  BlockSlab& send_blocks_;
  SockRoom sock_room_;
  Slab<UltraSock> socks_;
  Slab<H2Connection> h2_connections_;
  Slab<H1Connection> h1_connections_;
  Slab<H2UpstreamStream> h2_streams_;
  Slab<H1UpstreamStream> h1_streams_;
  std::unique_ptr<h2::SessionScratch> scratch_;
  const h2::SessionConfig h2_config_;
  EndpointTable endpoints_;
  ShareTable shares_;
  std::vector<EndpointId> first_ids_;
  PoolCounters counters_;
  http::ReplayBudget replay_budget_;
  WindowPool windows_;
  RetryBudget& budgetOf(Attempts& attempts) { return attempts.budget != nullptr ? *attempts.budget : retry_budget_; }
  RetryBudget retry_budget_;
  uint32_t tunnels_ = 0;
  Scope scope_;
  PoolObserver* observer_ = nullptr;
  List<RoomListener, &RoomListener::listening_node> room_listeners_;
  List<RoomListener, &RoomListener::waiting_node> waiting_listeners_;
  std::unique_ptr<EndpointOrders> orders_;  // null where no other thread gives any
  bool closing_ = false;
};

}  // namespace plait
