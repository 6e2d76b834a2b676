// A peer's TLS on its socket, by the same filter as the proxy's; what goes wrong with it is this file's.
#pragma once

#include <map>

#include "sim/network.h"
#include "sim/tls_material.h"

namespace plait::sim {

// The contexts and the memory of all peers of a run, and the proxy's contexts.
class Tls {
 public:
  using Names = std::vector<std::string>;  // of ALPN
  TlsContext& server(const Names& alpn, bool is_stranger = false);
  TlsContext& client(const Names& alpn);
  // The proxy's, with one of its certificates.
  TlsContext& site(uint32_t number);

  BlockSlab blocks{16 << 10, 8192};

 private:
  std::map<std::string, std::unique_ptr<TlsContext>> contexts_;
};

class TlsStream final : public Stream {
 public:
  TlsStream(Simulation& simulation, std::string actor, Socket& socket, Tls& tls, TlsContext& context,
            std::string_view server_name);

  // Shakes hands; exactly one of the two follows.
  void start(std::function<void()> on_secured, std::function<void()> on_failed);
  std::string_view alpn() const { return session_.alpn(); }
  std::string certificate() const { return certificateShown(session_); }

  int write(Bytes bytes) override;
  // Also -EPROTO, where the end came without close_notify.
  int read(uint8_t* to, size_t size) override;
  size_t unread() const override { return socket_.unread() + session_.unread(); }
  void shutdown() override;
  void close(bool reset) override;
  void breakOff() override;

 private:
  enum class Mischief : uint8_t { none, closes, alerts, garbage, silence, chatter };

  void onChange();
  void shakeHands();
  void misbehave();
  void chatter(uint32_t left);
  void failed(const char* reason);
  // Reads ciphertext and gives it to the session; what Socket::read says.
  int feed();
  // Sends what ciphertext there is. False when the socket is broken.
  bool flush();
  void notify();
  void finishClosing();

  Simulation& sim;
  std::string actor_;
  Socket& socket_;
  ByteQueue cipher_;
  TlsSession session_;
  std::function<void()> on_secured_;
  std::function<void()> on_failed_;
  uint8_t input_[16 << 10];
  Mischief mischief_ = Mischief::none;
  int write_error_ = 0;
  bool secured_ = false;
  bool over_ = false;
  bool closing_ = false;
  bool notified_ = false;
  bool shutdown_wanted_ = false;
  bool change_planned_ = false;
};

}  // namespace plait::sim
