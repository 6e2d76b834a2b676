// A scripted end of a connection: a client or a backend. Unlike the proxy it may hold as much output as it likes.
#pragma once

#include <memory>
#include <string>

#include "sim/ledger.h"
#include "sim/network.h"

namespace plait::sim {

// What the peers of a run share.
struct Scene {
  Network& network;
  Ledger& ledger;
  Random& random() { return network.random(); }
  Trace& trace() { return network.trace(); }
  bool happens(Fault fault) { return network.happens(fault); }
  uint32_t below(uint32_t bound) { return network.random().below(bound); }
};

class Peer : private EndOwner {
 public:
  explicit Peer(Scene& scene) : scene_(scene) {}
  virtual ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  // From now on it does nothing odd, and hurries.
  virtual void calmDown() {}
  bool isConnected() const { return end_ != nullptr; }
  uint32_t connectionId() const { return connection_id_; }

 protected:
  void adopt(End& end);
  void send(std::string_view bytes);
  size_t unsent() const { return backlog_.size(); }
  // Bytes are not taken until resumeReading(): a slow reader.
  void pauseReading() { paused_ = true; }
  void resumeReading();
  bool isPaused() const { return paused_; }
  // FIN once all has been sent.
  void finish();
  // After either onGone() is not called.
  void close(bool reset = false);

  virtual void onBytes(std::string_view bytes) = 0;
  virtual void onEnd() = 0;  // the other side's FIN; by default the connection stays open this way
  // The connection broke. It is closed when this is called.
  virtual void onGone() = 0;

  Scene& scene_;
  // True once this peer is destroyed: for events that may come later.
  std::shared_ptr<bool> is_gone_ = std::make_shared<bool>(false);

 private:
  void onReadable(End& end) override;
  void onWritable(End& end) override;
  void flush();

  End* end_ = nullptr;
  uint32_t connection_id_ = 0;
  std::string backlog_;
  bool paused_ = false;
  bool finishing_ = false;
  bool saw_end_ = false;
};

}  // namespace plait::sim
