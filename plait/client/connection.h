// A connection to a backend as the pool sees it.
//
//   ready ──▶ dead        one truth, changed by retire() alone
//
// ready: admits requests while it has room (capacity is computed, not a state). dead: admits none; running streams
// finish, and with the last of them the connection closes. GOAWAY, end of stream, errors, age, used-up stream ids and
// release(lease, false) all lead there. "Connecting" is no state of a connection: until it is ready it is the pool's.
#pragma once

#include "plait/client/upstream_stream.h"
#include "plait/io/scope.h"
#include "plait/net/ultra_sock.h"

namespace plait {

class ConnectionPool;

class Connection : public UltraSock::Owner {
 public:
  enum class State : uint8_t { ready, dead };

  // `sock` is open and outlives the connection, which becomes its owner.
  Connection(ConnectionPool& pool, uint32_t backend_idx, UltraSock& sock);
  virtual ~Connection() = default;

  State state() const { return state_; }
  bool isReady() const { return state_ == State::ready; }
  uint32_t backendIdx() const { return backend_idx_; }
  // Tells this connection from every other that its pool ever had.
  uint64_t serial() const { return serial_; }
  virtual bool isHttp1() const = 0;
  // Streams that run or are reserved, and how many there may be.
  uint32_t load() const { return active_ + reserved_; }
  uint32_t limit() const { return limit_; }
  bool hasRoom() const { return isReady() && load() < limit(); }
  // True when the next request should find another connection: this one is three quarters full, or its peer's window
  // has been closed for a while.
  virtual bool isCrowded() const { return load() * 4 >= limit() * 3; }

  void reserve() { reserved_ += 1; }
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

  // Sends `op`'s request on a stream of this connection; its result arrives through ConnectionPool::finished. Head and
  // options must stay until then. The entry point behind Lease::request.
  virtual void request(RequestOp& op) = 0;
  // Reads until the connection is over; then no stream is left. `first` are bytes already read. The caller closes the
  // socket.
  virtual Task<void> run(Bytes first, Io& io) = 0;

  // ready → dead. The first reason is kept for the log. Running streams finish within the drain deadline.
  void retire(const Error& reason);
  const Error& retiredBecause() const { return retired_because_; }

 protected:
  void setLimit(uint32_t streams) { limit_ = streams; }
  void streamStarted() { active_ += 1; }
  void streamEnded();
  // Looks at the streams' deadlines; returns when to look again.
  virtual TimeNs checkStreams(TimeNs now_ns) = 0;
  // The socket has been aborted: whoever waits for something else than the socket must be woken.
  virtual void onBrokenOff() {}
  // The one coarse timer of the connection: asks to be looked at no later than `due_ns`.
  void armTimer(TimeNs due_ns);
  void stopTimer() { timer_.cancel(); }
  // No send block is free, and nothing of this connection's will free one: asks for onOutputDrained() in a moment.
  void lookSoon();
  void onStarved() override { lookSoon(); }
  // run() has read its last: from here on it ends the connection itself, after what it still has to say.
  void hasRun() { has_run_ = true; }
  // Ends the connection at once; run() then fails what is left.
  void breakOff(const Error& error);
  // `error` as a stream of this connection suffers it: safe to repeat if none of its request, which began at
  // `start_position` of the socket's output, can have left (RFC 9113 §8.7).
  Error errorFor(const Error& error, uint64_t start_position) const;

  ConnectionPool& pool_;
  UltraSock& sock_;
  uint32_t backend_idx_;
  uint32_t active_ = 0;
  uint32_t reserved_ = 0;

 private:
  uint32_t limit_ = 1;
  friend class ConnectionPool;
  void onTimer();
  void abort(const Error& error);
  // Nothing runs on this dead connection any more.
  void endIdle();

  const uint64_t serial_;
  State state_ = State::ready;
  bool is_starved_ = false;
  bool has_run_ = false;
  Error retired_because_;
  Timer timer_;
  std::coroutine_handle<> released_waiter_;
  TimeNs idle_since_ns_;
  TimeNs expires_ns_;
  TimeNs drained_by_ns_ = never_ns;
  ListNode node_;      // in the lane's list of ready connections exactly while ready
  ListNode all_node_;  // in the pool's list of all
};

}  // namespace plait
