// A backend that speaks HTTP/2: a port, and a session for each connection.
#pragma once

#include <list>

#include "sim/h2_peer.h"

namespace plait::sim {

class Backend : private Acceptor {
 public:
  Backend(Scene& scene, uint16_t port, std::string name) : scene_(scene), port_(port), name_(std::move(name)) {}
  virtual ~Backend() { goDown(); }
  void goUp();
  // The port refuses; connections break, or say GOAWAY where they can.
  void goDown();
  void calmDown();
  const std::string& name() const { return name_; }
  uint16_t port() const { return port_; }
  Scene& scene() { return scene_; }

 protected:
  virtual std::unique_ptr<Peer> makePeer(End& end) = 0;

 private:
  bool onConnection(End& end) override;

  Scene& scene_;
  uint16_t port_;
  std::string name_;
  bool is_up_ = false;
  std::list<std::unique_ptr<Peer>> peers_;
};

class H2Backend final : public Backend {
 public:
  using Backend::Backend;

 private:
  std::unique_ptr<Peer> makePeer(End& end) override;
};

class H1Backend final : public Backend {
 public:
  using Backend::Backend;

 private:
  std::unique_ptr<Peer> makePeer(End& end) override;
};

}  // namespace plait::sim
