// A peer that speaks HTTP/2 by libnghttp2: an implementation that is not ours. It checks windows, HPACK, stream states
// and the shape of messages in everything that plait sends, and any complaint of it is a violation.
#pragma once

#include <nghttp2/nghttp2.h>

#include <map>

#include "sim/peer.h"

namespace plait::sim {

struct H2PeerOptions {
  uint32_t stream_window = 65'535;
  uint32_t connection_window = 65'535;
  uint32_t max_concurrent_streams = 100;
  uint32_t header_table_size = 4096;
  uint32_t max_frame_size = 16'384;
  bool consumes_late = false;   // gives credit back when it likes
  bool may_meet_http1 = false;  // a server that spoke HTTP/1.1 a while ago
  bool may_be_calmed = false;   // the proxy has so little memory that ENHANCE_YOUR_CALM is an honest answer
};

class H2Peer : public Peer {
 public:
  enum class Role : uint8_t { client, server };
  H2Peer(Simulation& simulation, std::string actor, Role role, const H2PeerOptions& options);
  ~H2Peer() override;

  bool hasGoaway() const { return goaway_received_; }
  bool hasSettings() const { return settings_received_; }
  bool isHostile() const { return is_hostile_; }

 protected:
  // A HEADERS frame begins, also one that will be ignored.
  virtual void onHeadersBegin(int32_t) {}
  // The head of a message, or its trailers; `fields` with the pseudo-header fields.
  virtual void onHeaders(int32_t stream_id, Fields& fields, bool end_stream) = 0;
  virtual void onData(int32_t stream_id, Bytes bytes) = 0;
  virtual void onEndOfStream(int32_t stream_id) = 0;
  virtual void onStreamClosed(int32_t stream_id, uint32_t error_code) = 0;
  virtual void onGoaway() {}
  virtual void onGoawaySent(int32_t) {}
  virtual void onPingAck() {}
  virtual void onSettings() {}
  virtual void onWindowUpdate(int32_t) {}
  // Nothing of what comes on the stream is taken for now.
  virtual bool takesNothing(int32_t) const { return false; }
  // Bytes that were not taken are taken from now on.
  void takeAll();
  // A part of a body of ours: `offset` of it have been sent. Returns how much was put into `to`, 0 to be asked again
  // after resume(); `ends` when nothing follows.
  virtual size_t onSendBody(int32_t stream_id, uint8_t* to, size_t room, bool& ends, bool& has_trailers) = 0;
  virtual Fields trailersOf(int32_t stream_id) = 0;
  // Where something hostile fits best: a request whose body is under way, one that has not been answered; 0: none.
  virtual int32_t openStream() const { return 0; }
  virtual std::string honestHead(int32_t, uint32_t&) const { return {}; }

  // Each sends soon.
  int32_t submitRequest(const Fields& fields, bool has_body);
  void submitResponse(int32_t stream_id, const Fields& fields, bool has_body);
  void submitInterim(int32_t stream_id, const Fields& fields);
  void reset(int32_t stream_id, uint32_t error_code);
  void resume(int32_t stream_id);
  void sendSettings(std::initializer_list<nghttp2_settings_entry> entries);
  void sendGoaway(int32_t last_stream_id, uint32_t error_code);
  void sendPing();

  bool onBytes(Bytes bytes) override;
  void onPeerEnd() override;
  void produce() override;
  // Windows that were granted and never taken back must not be larger than the limits say.
  void checkWindows(int32_t stream_id);
  // At least half of the connection's window is open when nothing is under way.
  void checkConnectionWindow();

  // The windows that plait grants at first, and the size that they may grow to: twice as much each time when all of it
  // has been used.
  uint32_t first_stream_grant = 65'535;
  uint32_t first_connection_grant = 65'535;
  uint32_t largest_stream_grant = 65'535;
  uint32_t largest_connection_grant = 65'535;
  // A stream may begin with what others of the connection have come to be granted.
  bool learns_grants = false;

  nghttp2_session* session_ = nullptr;
  bool stays_ = false;  // more is to be said although the session could end
  H2PeerOptions options_;

 private:
  int onFrame(const nghttp2_frame& frame);
  void consume(int32_t stream_id, size_t bytes);
  void sayFrame(const char* verb, const nghttp2_frame& frame);
  void sayHostile();
  void checkSent(const nghttp2_frame& frame);

  Role role_;
  bool is_hostile_ = false;  // it has broken rules: what it gets for that is no surprise
  bool is_mute_ = false;
  bool owes_reset_ = false;  // RST_STREAM waits to be sent
  int32_t closed_id_ = 0;
  bool goaway_received_ = false;
  bool goaway_sent_ = false;
  bool settings_received_ = false;
  Fields fields_;
  std::map<int32_t, uint64_t> sent_;  // bytes of DATA by stream; 0: on all
  std::map<int32_t, size_t> untaken_;
  static nghttp2_data_provider bodyProvider();
};

}  // namespace plait::sim
