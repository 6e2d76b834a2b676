// A simulated peer's end of a connection: it reads and writes its socket in steps of its own pace, which the seed
// draws. Protocols derive from it and say what the bytes mean.
#pragma once

#include "sim/ledger.h"
#include "sim/network.h"

namespace plait::sim {

class Peer {
 public:
  Peer(Simulation& simulation, std::string actor) : sim(simulation), actor_(std::move(actor)) {}
  virtual ~Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  // Takes the stream over; it is connected.
  void start(Stream& stream);
  // Something is to be sent, or to be looked at: soon.
  void wake();
  // Ends the connection from this side; onEnd follows.
  void end(bool reset, const char* reason);
  bool isOver() const { return over_; }
  // By an end in good order: with TLS, by close_notify.
  bool hasEndedSoftly() const { return is_soft_; }
  // Hears what is said to it.
  bool isReading() const { return !over_ && !reads_no_more_ && !peer_ended_; }
  const char* actor() const { return actor_.c_str(); }

  // How it behaves.
  TimeNs reaction_ns = 20 * ns_per_us;  // from an event to the step that looks at it
  TimeNs read_pause_ns = 0;             // between two reads, for the slow
  uint32_t read_size = 64 << 10;        // the most of one read
  uint64_t cut_after = UINT64_MAX;      // the connection ends after that many bytes of output
  bool cut_by_reset = false;

 protected:
  // Bytes came; false when the peer broke the protocol or nothing more is wanted.
  virtual bool onBytes(Bytes bytes) = 0;
  // The other side has ended its direction.
  virtual void onPeerEnd() = 0;
  // The connection is over; nothing follows.
  virtual void onEnd(const char* reason) = 0;
  // Appends what is to be sent to out_.
  virtual void produce() = 0;
  // Closing now would look like the regular end of what is being said.
  virtual bool mustBreakOff() const { return false; }
  // Its process does not run. The code that lets it run again wakes the peer.
  virtual bool isFrozen() const { return false; }
  // The connection ended from this side, and the other side had no reason to give it up before: it may have gone, have
  // found that nobody reads, or have said so in what was not read.
  bool isOwnEnd() const { return !ended_by_peer_ && !reads_no_more_ && !leaves_unread_; }
  // Everything has left and nothing more is to come: half-closes.
  void finishOutput() { finishing_ = true; }
  // Reads no more, and after so long at most it goes.
  void stopReading(uint32_t longest_s);
  // Sends what there is, as far as it can be.
  void writeSome();

  Simulation& sim;
  std::string out_;

 private:
  void step();
  void readSome();

  std::string actor_;
  Stream* stream_ = nullptr;
  uint64_t written_ = 0;
  bool step_planned_ = false;
  bool read_planned_ = false;
  bool reads_no_more_ = false;
  bool leaves_unread_ = false;  // at its end
  bool peer_ended_ = false;
  bool ended_by_peer_ = false;
  bool finishing_ = false;
  bool finished_ = false;
  bool over_ = false;
  bool is_soft_ = false;
};

}  // namespace plait::sim
