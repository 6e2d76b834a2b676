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

  Connection(ConnectionPool& pool, uint32_t backend_idx, Io& io, BlockSlab& send_blocks, BlockSlab& record_blocks)
      : pool_(pool), sock_(io, send_blocks, record_blocks, *this), backend_idx_(backend_idx) {}
  virtual ~Connection() = default;

  State state() const { return state_; }
  bool isReady() const { return state_ == State::ready; }
  uint32_t backendIdx() const { return backend_idx_; }
  // Streams that run or are reserved, and how many there may be.
  uint32_t load() const { return active_ + reserved_; }
  virtual uint32_t limit() const = 0;
  bool hasRoom() const { return isReady() && load() < limit(); }

  void reserve() { reserved_ += 1; }
  void unreserve() {
    PLAIT_ASSERT(reserved_ != 0);
    reserved_ -= 1;
  }

  // Sends `op`'s request on a stream of this connection; its result arrives through ConnectionPool::finished. Head and
  // options must stay until then. The entry point behind Lease::request.
  virtual void request(RequestOp& op) = 0;

  // ready → dead. The first reason is kept for the log. Running streams finish within the drain deadline.
  void retire(const Error& reason);
  const Error& retiredBecause() const { return retired_because_; }

  UltraSock& sock() { return sock_; }

 protected:
  virtual void onRetired() = 0;
  void streamStarted() { active_ += 1; }
  void streamEnded();

  ConnectionPool& pool_;
  UltraSock sock_;
  uint32_t backend_idx_;
  uint32_t active_ = 0;
  uint32_t reserved_ = 0;

 private:
  friend class ConnectionPool;
  State state_ = State::ready;
  Error retired_because_;
  ListNode node_;  // in the backend's list of ready connections exactly while ready
};

}  // namespace plait
