// A connection to a backend as the pool sees it.
//
//   ready ──▶ dead        one truth, changed by retire() alone
//
// ready: admits requests while it has room (capacity is computed, not a state). dead: admits none; running streams run
// on, however long they take, and with the last of them the connection closes. GOAWAY, end of stream, errors, age,
// used-up stream ids and release(lease, false) all lead there. "Connecting" is no state of a connection: until it is
// ready it is the pool's. A ready connection that is passed over is given requests only where no other has room.
#pragma once

#include <memory>

#include "plait/client/pool_options.h"
#include "plait/client/upstream_stream.h"
#include "plait/io/scope.h"
#include "plait/net/ultra_sock.h"

namespace plait {

class ConnectionPool;
struct Endpoint;
struct VersionLane;

class Connection : public UltraSock::Owner {
 public:
  enum class State : uint8_t { ready, dead };

  // `sock` is open and outlives the connection, which becomes its owner.
  Connection(ConnectionPool& pool, Endpoint& endpoint, UltraSock& sock, bool is_http1);
  virtual ~Connection() = default;

  State state() const { return state_; }
  bool isReady() const { return state_ == State::ready; }
  EndpointId endpointId() const { return endpoint_id_; }
  bool isHttp1() const { return is_http1_; }
  // Streams that run or are reserved, and how many there may be.
  uint32_t load() const { return active_ + reserved_; }
  uint32_t limit() const { return limit_; }
  bool hasRoom() const { return isReady() && load() < limit(); }
  // True when the next request should find another connection: this one is three quarters full, or its peer's window
  // has been closed for a while. One request is all that a connection over HTTP/1.1 carries.
  bool isCrowded() const {
    return !is_http1_ && (load() * 4 >= limit() * 3 || (stalled_since_ns_ != never_ns && isStalled()));
  }

  // reserve() sets a stream aside for a lease. unreserve() gives it back: for request() to open it, or unused.
  void reserve();
  void unreserve();
  // Waits until no lease stands for this connection any more; afterwards it may be destroyed.
  struct ReleasedAwaiter {
    Connection& connection;
    explicit ReleasedAwaiter(Connection& awaited) : connection(awaited) {}
    bool await_ready() const { return connection.reserved_ == 0; }
    void await_suspend(std::coroutine_handle<> handle) { connection.released_waiter_ = handle; }
    void await_resume() const {}
  };
  ReleasedAwaiter released() { return ReleasedAwaiter(*this); }

  // Sends `op`'s request on a stream of this connection; its end arrives at ConnectionPool::answered or failed. Head
  // and options must stay until then. The entry point behind Lease::request.
  virtual void request(RequestOp& op) = 0;
  // Reads until the connection is over; then no stream is left. `first` are bytes already read. The caller closes the
  // socket.
  virtual Task<void> run(Bytes first, Io& io) = 0;

  // ready → dead. The first reason counts. Running streams run on.
  void retire(const Error& reason);
  // The reason is a failure of the connection, and not an end in good order.
  static bool isBreak(const Error& reason);
  // No new request while another connection has room; retired when it is empty.
  void passOver();
  const Error& retiredBecause() const { return retired_because_; }
  // Streams that still run at the deadline are cut: the process ends.
  void drainBy(TimeNs deadline_ns);
  virtual bool isTunnel() const { return false; }
  // The blocks for bytes that its streams may still bring, beyond the window that each has for itself
  // (ConnectionPool::windows).
  virtual size_t promisedBlocks() { return 0; }

 protected:
  void setLimit(uint32_t streams);
  // The request of `op` is on `stream`, and the endpoint owes it a head.
  void streamStarted(RequestOp& op, UpstreamStream& stream);
  void streamEnded(UpstreamStream& stream);
  // Bytes have come from the endpoint.
  void noteHeard();
  // The connection breaks, and owes answers. A shortage of plait's own (isOwnShortage) does not count against the
  // endpoint.
  void noteBroken(const Error& error);
  // The endpoint closes this connection when it has been idle for so long: it is given up before that.
  void limitIdle(int64_t idle_ms) { idle_ms_ = std::min(idle_ms_, idle_ms); }
  // A final head has come on this connection, for that request.
  void noteAnswered(const RequestOp& op, uint16_t status);
  // Calls `use` for each stream that runs.
  virtual void forEachStream(void (*use)(void* context, UpstreamStream& stream), void* context) = 0;
  // The endpoint has proven that it answers, which a dial may have waited for.
  void noteProven();
  bool isProving() const { return is_proving_; }
  // The dial has its connection, which looks after itself from now on.
  virtual void onEstablished() {}
  // The dial waits for noteProven(): SETTINGS have come and, `with_ping`, the answer to a PING that is sent now (RFC
  // 9113 §6.7). Else the connection ends.
  virtual void prove(bool) {}

  // Looks at the streams' deadlines; returns when to look again.
  virtual TimeNs checkStreams(TimeNs now_ns) = 0;
  // The socket has been aborted: a coroutine that waits for something else must be woken.
  virtual void onBrokenOff() {}
  // The one coarse timer of the connection: asks to be looked at no later than `due_ns`.
  void armTimer(TimeNs due_ns) {
    if (due_ns != never_ns && (!timer_.isArmed() || due_ns < timer_.due())) [[unlikely]]
      rearmTimer(due_ns);
  }
  void stopTimer() { timer_.cancel(); }
  // No send block is free, and nothing of this connection's will free one: asks for onOutputDrained() in a moment.
  void lookSoon();
  // Called by run() after its last read. From now on run() closes the connection; retire() must not.
  void hasRun() { has_run_ = true; }
  // Ends the connection at once; run() then fails what is left.
  void breakOff(const Error& error);
  // The form of `error` that a stream of this connection reports. It is never_sent, and thus safe to repeat, if no byte
  // of the request can have left, which began at `start_position` of the socket's output (RFC 9113 §8.7).
  Error errorFor(const Error& error, uint64_t start_position) const;

  ConnectionPool& pool_;
  UltraSock& sock_;
  // Null once the endpoint leaves: the connection then is the pool's alone.
  // Its backend's own, else the pool's.
  const PoolTimeouts& timeouts() const { return *timeouts_; }

  Endpoint* endpoint_;
  EndpointId endpoint_id_;
  uint32_t active_ = 0;
  uint32_t reserved_ = 0;
  TimeNs stalled_since_ns_ = never_ns;  // the connection's send window has been used up since then

 private:
  uint32_t limit_ = 1;
  friend class ConnectionPool;
  friend struct VersionLane;
  void rearmTimer(TimeNs due_ns);
  void onTimer();
  void abort(const Error& error);
  // Nothing runs on this dead connection any more.
  void endIdle();
  // Says to the backend that the connection ends, and lets run() close it; false where there is nothing to say.
  virtual bool sayEnd() { return false; }

  bool isStalled() const;

  // Where it is ready; null before that, and afterwards.
  VersionLane* lane_ = nullptr;
  const bool is_http1_;
  State state_ = State::ready;
  bool is_starved_ = false;
  bool has_run_ = false;
  bool is_admitted_ = false;  // it is in the lane's list, or has been
  bool is_proving_ = false;   // its dial waits for noteProven()
  bool is_own_ = false;       // made for one repetition, and without an answer so far
  bool has_answered_any_ = false;
  bool has_had_request_ = false;
  bool is_passed_over_ = false;
  bool counts_as_retired_ = false;  // among the endpoint's retired_running
  Error retired_because_;
  Timer timer_;
  std::coroutine_handle<> released_waiter_;
  TimeNs idle_since_ns_;
  std::shared_ptr<const BackendOptions> options_;  // which outlive the endpoint
  const PoolTimeouts* timeouts_;
  int64_t idle_ms_;     // how long it may be idle
  TimeNs made_ns_ = 0;  // when its dial began
  TimeNs expires_ns_;
  TimeNs drained_by_ns_ = never_ns;
  ListNode node_;      // in the lane's list of ready connections exactly while ready
  ListNode all_node_;  // in the pool's list of all
};

}  // namespace plait
