// Peers that speak HTTP/1.1, read by the distribution's http_parser: another implementation's idea of where a message
// ends.
#pragma once

#include <http_parser.h>

#include "sim/peer.h"

namespace plait::sim {

// What a message says by itself, as the parser reports it.
class H1Peer : public Peer {
 protected:
  H1Peer(Scene& scene, http_parser_type type, std::string name);
  void startMessages();

  void onBytes(std::string_view bytes) override;
  // Feeds the end of the stream, which may be the end of a message.
  void feedEnd();

  virtual void onField(std::string_view name, std::string_view value) = 0;
  virtual void onHead() = 0;
  virtual void onBody(std::string_view bytes) = 0;
  virtual void onMessage() = 0;
  virtual void onBroken(const char* why) = 0;  // the bytes are no HTTP/1.1

  http_parser parser_{};
  const std::string name_;

 private:
  static const http_parser_settings& callbacks();
  void flushField();
  http_parser_type type_;
  std::string field_;
  std::string value_;
  bool in_value_ = false;
};

// A client that sends one request after the other, sometimes two at once.
class H1Client final : public H1Peer {
 public:
  H1Client(Scene& scene, std::string name);
  void start(uint32_t count);
  void calmDown() override;
  bool isDone() const { return left_ == 0 && waiting_.empty(); }
  void disconnect();

 private:
  struct Exchange {
    uint64_t id = 0;
    uint64_t received = 0;
    bool is_answered = false;
    bool is_cancelled = false;
  };
  void onField(std::string_view name, std::string_view value) override;
  void onHead() override {}
  void onBody(std::string_view bytes) override;
  void onMessage() override;
  void onBroken(const char* why) override;
  void onEnd() override;
  void onGone() override;
  void connect();
  void sendNext();
  void scheduleNext();
  void oneRequest();
  void failAll(const char* how);

  std::deque<Exchange> waiting_;
  uint32_t left_ = 0;
  bool is_connecting_ = false;
  bool is_slow_;
  bool half_closed_ = false;
};

}  // namespace plait::sim
