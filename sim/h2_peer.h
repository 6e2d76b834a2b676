// HTTP/2 peers on libnghttp2: another implementation, which checks by itself that what plait sends keeps the windows,
// the stream states, the header compression and RFC 9113 §8.
#pragma once

#include <nghttp2/nghttp2.h>

#include <map>

#include "sim/peer.h"

namespace plait::sim {

class H2Peer : public Peer {
 public:
  ~H2Peer() override;

 protected:
  H2Peer(Scene& scene, bool is_server, std::string name);
  // A new session, with these settings.
  void startSession(std::initializer_list<nghttp2_settings_entry> settings);
  void endSession();
  // Sends what the session has to say.
  void pump();
  void announce(int32_t setting, uint32_t value);

  void onBytes(std::string_view bytes) override;

  virtual void onHeader(int32_t stream, std::string_view name, std::string_view value) = 0;
  virtual void onHeaders(int32_t stream, bool end_stream) = 0;
  virtual void onData(int32_t stream, std::string_view bytes) = 0;
  virtual void onEndStream(int32_t stream) = 0;
  virtual void onStreamClose(int32_t stream, uint32_t code) = 0;
  virtual void onGoaway(uint32_t code) = 0;
  virtual void onPingAck() {}

  nghttp2_session* session_ = nullptr;
  const std::string name_;

 private:
  static nghttp2_session_callbacks* makeCallbacks();
  bool is_server_;
  bool is_pumping_ = false;
  bool is_feeding_ = false;
};

// A client with a list of requests, on one connection at a time.
class H2Client final : public H2Peer {
 public:
  H2Client(Scene& scene, std::string name);
  // Sends `count` requests in its own time.
  void start(uint32_t count);
  void calmDown() override;
  bool isDone() const { return left_ == 0 && exchanges_.empty(); }
  void disconnect();

 private:
  struct Exchange {
    uint64_t id = 0;
    uint64_t sent = 0;
    uint64_t received = 0;
    int status = 0;
    bool is_answered = false;  // by a backend, as the id in the response says
    bool response_ended = false;
    bool is_cancelled = false;
  };
  void onHeader(int32_t stream, std::string_view name, std::string_view value) override;
  void onHeaders(int32_t stream, bool end_stream) override;
  void onData(int32_t stream, std::string_view bytes) override;
  void onEndStream(int32_t stream) override;
  void onStreamClose(int32_t stream, uint32_t code) override;
  void onGoaway(uint32_t code) override;
  void onEnd() override;
  void onGone() override;
  void connect();
  void sendNext();
  void scheduleNext();
  void oneRequest();
  void failAll(const char* how);
  void breathe();

  std::map<int32_t, Exchange> exchanges_;
  uint32_t left_ = 0;
  bool is_connecting_ = false;
  bool is_leaving_ = false;  // the connection takes no new request
  bool is_slow_ = false;
  bool stalls_ = false;
  bool bursts_ = false;
};

}  // namespace plait::sim
