// A connection that speaks HTTP/2 to its backend.
//
// The guarantees that the design note asks of a write lock and a waiter table hold here by structure. A connection
// belongs to one worker; between beginHeaders and the last byte in the send queue nothing suspends, so the frames of one
// request go out whole and in order; the stream slot is linked before its HEADERS are flushed, so no answer can find it
// missing; and one reader runs from connect to close, so the GOAWAY of an idle connection is seen at once.
#pragma once

#include "plait/client/connection.h"
#include "plait/h2/session.h"

namespace plait {

class H2Connection;

struct H2UpstreamStream final : public h2::Stream, public UpstreamStream {
  H2UpstreamStream(H2Connection& connection, const UpstreamMemory& memory);
  H2Connection& owner() const;

  // http::BodyProducer, of the response
  void onConsumed(size_t count) override;
  void onConsumerGone(const Error& error) override;
  // http::BodyConsumer, of the request
  size_t onBody(Bytes bytes, bool last) override;
  bool onBodyEnd(const http::FieldList* trailers) override;
  void onBodyAborted(const Error& error) override;
  void abandon(const Error& error) override;

  ListNode blocked_node;  // waits for a window or for room in the send queue
};

class H2Connection final : public Connection {
 public:
  H2Connection(ConnectionPool& pool, uint32_t backend_idx, Io& io, BlockSlab& send_blocks, BlockSlab& record_blocks);
  ~H2Connection() override = default;

  uint32_t limit() const override;
  void request(RequestOp& op) override;
  void onOutputDrained() override;

  // Queues the preface and SETTINGS, which must come before any request.
  void start();
  // Reads until the connection is over; then no stream is left. The caller closes the socket.
  Task<void> run(Io& io);

  ListNode all_node;

 private:
  friend struct H2UpstreamStream;
  using BlockedList = List<H2UpstreamStream, &H2UpstreamStream::blocked_node>;

  void onRetired() override;
  void onEvent(h2::Event& event);
  void onResponse(H2UpstreamStream& stream, h2::Event& event);
  void failStream(H2UpstreamStream& stream, const Error& error);
  void failAll(const Error& error);
  void finishIfDone(H2UpstreamStream& stream);
  void reset(H2UpstreamStream& stream, h2::H2Error code);
  void pumpBlocked();
  void block(H2UpstreamStream& stream);
  void armTimer(TimeNs due);
  void onTimer();

  h2::Session session_;
  BlockedList blocked_;
  Timer timer_;
  TimeNs idle_since_ns_ = 0;
  TimeNs retire_at_ns_ = never_ns;
};

}  // namespace plait
