#include "sim/peer.h"

#include <algorithm>
#include <cerrno>

namespace plait::sim {

void Peer::start(Stream& stream) {
  stream_ = &stream;
  stream.on_change = [this] { wake(); };
  wake();
}

void Peer::wake() {
  if (step_planned_ || over_) return;
  step_planned_ = true;
  sim.after(reaction_ns / 2 + sim.below(static_cast<uint32_t>(reaction_ns + 1)), [this] {
    step_planned_ = false;
    step();
  });
}

void Peer::end(bool reset, const char* reason) {
  if (over_) return;
  over_ = true;
  const bool breaks_off = mustBreakOff();
  is_soft_ = !breaks_off && !reset;
  leaves_unread_ = stream_ != nullptr && stream_->unread() != 0;
  sim.say(actor(), "%s the connection: %s", breaks_off ? "breaks off" : reset ? "resets" : "closes", reason);
  if (stream_ != nullptr && breaks_off) stream_->breakOff();
  if (stream_ != nullptr && !breaks_off) stream_->close(reset);
  onEnd(reason);
}

void Peer::step() {
  if (over_ || stream_ == nullptr || isFrozen()) return;
  if (sim.strikes(Fault::reset)) return end(true, "a reset");
  if (!read_planned_ && !reads_no_more_) readSome();
  if (over_) return;
  writeSome();
}

void Peer::stopReading(uint32_t longest_s) {
  if (std::exchange(reads_no_more_, true)) return;
  sim.say(actor(), "reads no more");
  sim.after(sim.between(1, longest_s) * ns_per_s, [this] { end(sim.oneIn(2), "has read nothing for long"); });
}

void Peer::readSome() {
  while (!over_ && !peer_ended_ && !isFrozen()) {
    uint8_t bytes[16 << 10];
    const int got = stream_->read(bytes, std::min<size_t>(sizeof(bytes), read_size));
    if (got == -EAGAIN) return;
    if (got < 0) ended_by_peer_ = true;
    if (got < 0) return end(false, got == -EPROTO ? "it ended without close_notify" : "it was reset");
    if (got == 0) {
      peer_ended_ = ended_by_peer_ = true;
      return onPeerEnd();
    }
    if (!onBytes({bytes, static_cast<size_t>(got)})) return;
    if (read_pause_ns != 0) {
      read_planned_ = true;
      sim.after(read_pause_ns, [this] {
        read_planned_ = false;
        if (!over_ && !reads_no_more_) readSome();
        if (!over_) writeSome();
      });
      return;
    }
  }
}

void Peer::writeSome() {
  if (isFrozen()) return;
  if (finished_) {
    // Output that is produced afterwards is dropped.
    out_.clear();
    if (peer_ended_) end(false, "both sides are done");
    return;
  }
  produce();
  if (over_) return;
  while (!out_.empty()) {
    const uint64_t end_at = sim.faults.areOver() ? UINT64_MAX : cut_after;
    const size_t left = static_cast<size_t>(std::min<uint64_t>(end_at - std::min(end_at, written_), out_.size()));
    const int taken = left == 0 ? 0 : stream_->write({reinterpret_cast<const uint8_t*>(out_.data()), left});
    if (taken == -EAGAIN) return;
    if (taken < 0) {
      // The bytes that the other side sent before it went are still read; our own are dropped.
      out_.clear();
      ended_by_peer_ = true;
      if (stream_->unread() == 0) return end(false, "it cannot be written to");
      return;
    }
    written_ += static_cast<uint64_t>(taken);
    out_.erase(0, static_cast<size_t>(taken));
    if (written_ >= end_at) return end(cut_by_reset, "cut at a byte");
    if (out_.empty()) produce();
    if (over_) return;
  }
  if (finishing_ && !finished_) {
    finished_ = true;
    stream_->shutdown();
    sim.say(actor(), "has said all");
  }
  if (finished_ && peer_ended_) end(false, "both sides are done");
}

}  // namespace plait::sim
