// A connection that speaks HTTP/2 to its backend.
//
// The guarantees that the design note asks of a write lock and a waiter table hold here by structure. A connection
// belongs to one worker; between beginHeaders and the last byte in the send queue nothing suspends, so the frames of
// one request go out whole and in order; the stream slot is linked before its HEADERS are flushed, so no answer can
// find it missing; and one reader runs from connect to close, so the GOAWAY of an idle connection is seen at once.
#pragma once

#include "plait/client/connection.h"
#include "plait/h2/session.h"
#include "plait/io/turn_share.h"
#include "plait/limits.h"

namespace plait {

class H2Connection;

struct H2UpstreamStream final : public h2::Stream, public UpstreamStream {
  H2UpstreamStream(ConnectionPool& pool, H2Connection& connection);

  // http::BodyProducer, of the response
  void onConsumed(size_t count) override;
  void onConsumerGone(const Error& error) override;
  // http::BodyConsumer, of the request
  size_t onBody(Bytes bytes, bool last) override;
  bool onBodyEnd(const http::FieldList* trailers) override;
  void onBodyAborted(const Error& error) override;
  void abandon(const Error& error) override;

  ListNode blocked_node;        // waits for a window or for room in the send queue
  uint64_t start_position = 0;  // of its HEADERS in the socket's output

 private:
  friend class H2Connection;
  void destroyIfDone();
  H2Connection* connection_;  // null once closed
};

class H2Connection final : public Connection {
 public:
  // Queues the preface and SETTINGS, which come before any request.
  H2Connection(ConnectionPool& pool, uint32_t backend_idx, UltraSock& sock);
  // Of every backend's session.
  static h2::SessionConfig sessionConfig(const Limits& limits);
  ~H2Connection() override = default;

  bool isHttp1() const override { return false; }
  bool isCrowded() const override;
  void request(RequestOp& op) override;
  void onOutputDrained() override;
  Task<void> run(Bytes first, Io& io) override;

 private:
  friend struct H2UpstreamStream;
  using BlockedList = List<H2UpstreamStream, &H2UpstreamStream::blocked_node>;

  TimeNs checkStreams(TimeNs now_ns) override;
  TimeNs checkPing(TimeNs now_ns);
  // When a stream that shows no sign of life from now on is given up.
  TimeNs silenceEnd() const;
  void onEvent(h2::Event& event);
  void onResponse(H2UpstreamStream& stream, h2::Event& event);
  void runOut(H2UpstreamStream& stream, const char* reason);
  void failStream(H2UpstreamStream& stream, const Error& error);
  // `is_flushed`: what is still queued will be sent.
  void failAll(const Error& error, bool is_flushed);
  void finishIfDone(H2UpstreamStream& stream);
  void reset(H2UpstreamStream& stream, h2::H2Error code);
  void spendReset();
  void pumpBlocked();
  void block(H2UpstreamStream& stream);
  void allowStreams(uint32_t peer_limit);
  bool hasHadItsTurn() const;
  Status feed(Bytes& input, Io& io);  // leaves what is to be fed after others have gone on

  h2::Session session_;
  BlockedList blocked_;
  TimeNs stalled_since_ns_ = never_ns;  // the connection's send window has been used up since then
  TimeNs heard_ns_;                     // when the backend last said something by itself
  TimeNs pinged_ns_ = never_ns;         // a PING that was not answered left then
  TimeNs ping_after_ns_ = 0;            // no PING before
  TurnShare share_;
  uint32_t reset_tokens_ = resets_at_once;
  TimeNs resets_refilled_ns_;

  // Servers end connections on which too many streams are reset: nghttp2 tolerates 1,000 at once and 33 a second, Envoy
  // 500 young ones. A client that cancels much, or attacks so, must not cost the others a connection that they share:
  // it is retired in good time, and a new one takes over.
  static constexpr uint32_t resets_at_once = 400;
  static constexpr uint32_t resets_per_second = 30;
};

}  // namespace plait
