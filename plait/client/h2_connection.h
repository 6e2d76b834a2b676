// A connection that speaks HTTP/2 to its backend.
//
// The guarantees that the design note asks of a write lock and a waiter table hold here by structure. A connection
// belongs to one worker; between beginHeaders and the last byte in the send queue nothing suspends, so the frames of
// one request go out whole and in order; the stream slot is linked before its HEADERS are flushed, so no answer can
// find it missing; and one reader runs from connect to close, so the GOAWAY of an idle connection is seen at once.
#pragma once

#include "plait/base/token_bucket.h"
#include "plait/client/connection.h"
#include "plait/client/pool_limits.h"
#include "plait/h2/session.h"
#include "plait/h2/window_growth.h"
#include "plait/io/turn_share.h"

namespace plait {

class H2Connection;

struct H2UpstreamStream final : public h2::Stream, public UpstreamStream {
  H2UpstreamStream(ConnectionPool& pool, H2Connection& connection);
  ~H2UpstreamStream();

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
  // Nothing more comes: of what the window has grown by, what waits is still needed.
  void giveWindowBack();
  H2Connection* connection_;  // null once closed
  h2::WindowGrowth growth_;
};

class H2Connection final : public Connection {
 public:
  // Queues the preface and SETTINGS, which come before any request.
  H2Connection(ConnectionPool& pool, Endpoint& endpoint, UltraSock& sock);
  // Of every backend's session.
  static h2::SessionConfig sessionConfig(const LoopLimits& loop_limits, const PoolLimits& limits);
  ~H2Connection() override = default;

  size_t promisedBlocks() override;
  void request(RequestOp& op) override;
  void onOutputDrained() override;
  Task<void> run(Bytes first, Io& io) override;

 private:
  friend struct H2UpstreamStream;
  using BlockedList = List<H2UpstreamStream, &H2UpstreamStream::blocked_node>;

  TimeNs checkStreams(TimeNs now_ns) override;
  void forEachStream(void (*use)(void* context, UpstreamStream& stream), void* context) override;
  void onEstablished() override;
  void prove(bool with_ping) override;
  // SETTINGS, and the answer to a PING of prove(), may have come.
  void lookWhetherProven();
  TimeNs checkPing(TimeNs now_ns);
  void excuseSilence(TimeNs now_ns);
  // When a stream that shows no sign of life from now on is given up.
  bool sayEnd() override;
  TimeNs silenceEnd(const UpstreamStream& stream) const;
  void onEvent(h2::Event& event);
  void onResponse(H2UpstreamStream& stream, h2::Event& event);
  void runOut(H2UpstreamStream& stream, const char* reason);
  void failStream(H2UpstreamStream& stream, const Error& error);
  // `is_flushed`: output that is still queued will be sent.
  void failAll(const Error& error, bool is_flushed);
  void finishIfDone(H2UpstreamStream& stream) {
    if (stream.isClosed()) finish(stream);
  }
  void finish(H2UpstreamStream& stream);
  void reset(H2UpstreamStream& stream, h2::H2Error code);
  void spendReset();
  void pumpBlocked();
  void block(H2UpstreamStream& stream);
  // The client's side has taken `count` bytes of a response that goes on.
  void onTaken(H2UpstreamStream& stream, size_t count);
  // The same where windows may have to grow.
  void learn(H2UpstreamStream& stream, size_t count);
  // The answer to a PING. False where it is none that measures.
  bool takeRoundTrip(uint64_t opaque);
  void beginWithLearntWindow(H2UpstreamStream& stream);
  void growWindow(H2UpstreamStream& stream, uint32_t wanted);
  // The size that a stream's window of `window` bytes may grow to.
  uint32_t mostOf(uint32_t window) const;
  bool isLong() const;
  // How much of `count` bytes is given no credit for: the window shrinks by it.
  size_t withheld(H2UpstreamStream& stream, size_t count);
  void allowStreams(uint32_t peer_limit);
  bool hasHadItsTurn() const;
  Status feed(Bytes& input, Io& io);  // leaves input that is to be fed after others have gone on

  h2::Session session_;
  BlockedList blocked_;
  // SETTINGS, and the answer to prove()'s PING, have to come by then; never_ns while the dial itself waits for them.
  TimeNs settings_by_ns_ = never_ns;
  TimeNs heard_ns_;              // when the backend last said something by itself
  TimeNs pinged_ns_ = never_ns;  // when the PING left that has no answer yet
  TimeNs ping_after_ns_ = 0;     // no PING before
  h2::RoundTrip round_trip_;     // measured by PINGs of its own
  // Until then windows that have not grown stay as they are: the round trip is short, and one or two others have grown;
  // or there is no memory for it at all.
  TimeNs learns_from_ns_ = 0;
  uint32_t learnt_window_ = 0;  // to which a stream of this connection has had reason to grow
  TurnShare share_;
  TokenBucket resets_;
  bool has_settings_ = false;

  // Servers end connections on which too many streams are reset: nghttp2 tolerates 1,000 at once and 33 a second, Envoy
  // 500 young ones. A client that cancels much, or attacks so, must not cost the others a connection that they share:
  // it is retired in good time, and a new one takes over.
  static constexpr uint32_t resets_at_once = 400;
  static constexpr uint32_t resets_per_second = 30;
};

}  // namespace plait
