// Handshakes: how many TLS handshakes of clients are under way at once. Each takes three times the memory that is left
// of it afterwards. Where all places are taken the next clients wait in line, and
// handshakes that take long make way for them. Of the last eighth of the places an address has its share
// (AddressShares), so that one which sends many hellos does not hold up the others.
#pragma once

#include "plait/base/address_shares.h"
#include "plait/io/io.h"
#include "plait/server/room_wait.h"

namespace plait {

class Handshakes;
class Server;

// One handshake, in the coroutine that makes it: it waits for its place, and gives it back in the end.
class Handshake final : public RoomWait {
 public:
  explicit Handshake(ServerConnection& connection) : RoomWait(connection) {}
  Handshake(const Handshake&) = delete;
  Handshake& operator=(const Handshake&) = delete;
  ~Handshake() { end(); }

  // co_await: returns when it has its place, or the connection is over: look which.
  bool await_ready();
  void await_suspend(std::coroutine_handle<> handle);
  void await_resume() const {}
  void end();

 private:
  friend class Handshakes;
  uint64_t address_ = 0;  // as in ClientKey; 0 has no share
  TimeNs begun_ns_ = 0;
  bool has_place_ = false;
};

class Handshakes {
 public:
  // When others wait a handshake ends after so long. A distant client needs a second round trip, or loses a packet.
  static constexpr int64_t patience_ms = 2000;

  // `seed` keys the table of addresses.
  Handshakes(Server& server, Io& io, uint32_t most, uint64_t seed);

  size_t count() const { return count_; }
  void stop() { timer_.cancel(); }
  static size_t bytesFor(uint32_t most) { return AddressShares::bytesFor(most); }
  size_t reservedBytes() const { return shares_.reservedBytes(); }

 private:
  friend class Handshake;
  // So many are looked at for one whose address may have a place, and are ended at once.
  static constexpr size_t most_looked_at = 64;
  static constexpr int64_t look_ms = 100;

  bool mayBegin(uint64_t address) const;
  void begin(Handshake& one);
  void wait(Handshake& one);
  void end(Handshake& one);
  void admit();
  void look();

  Server& server_;
  Io& io_;
  const size_t most_;
  size_t count_ = 0;
  AddressShares shares_;
  using Line = List<RoomWait, &RoomWait::node>;  // of Handshake
  Line waiting_;
  Line running_;  // the first has begun first; but for those that are being ended
  Timer timer_;
};

}  // namespace plait
