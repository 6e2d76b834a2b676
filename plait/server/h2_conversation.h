// A client that speaks HTTP/2.
#pragma once

#include "plait/base/progress.h"
#include "plait/h2/session.h"
#include "plait/h2/window_growth.h"
#include "plait/io/scope.h"
#include "plait/io/turn_share.h"
#include "plait/net/buffered_input.h"
#include "plait/server/exchange.h"
#include "plait/server/server_limits.h"

namespace plait {

class ServerConnection;
class H2Conversation;

struct H2Exchange final : public h2::Stream, public Exchange {
  H2Exchange(H2Conversation& server, ServerConnection& connection);

  void onConsumed(size_t count) override;
  void onConsumerGone(const Error& error) override;
  size_t onBody(Bytes bytes, bool last) override;
  bool onBodyEnd(const http::FieldList* trailers) override;
  void onBodyAborted(const Error& error) override;
  bool sendInterim(const http::ResponseHead& head) override;
  bool sendHead(const http::ResponseHead& head, bool end_stream) override;
  void sendShortBody(std::string_view text) override;
  bool hasRoomFor(size_t bytes) const override;
  void abort(const Error& error) override;
  void end() override;
  const TlsSession* tls() const override;
  void drainConnection() override;

 private:
  friend class H2Conversation;
  friend class EarlyAnswers;
  bool writeHead(const http::ResponseHead& head, bool end_stream);
  void creditRest();
  // RST_STREAM for the rest of the request can no longer share a write with the response.
  bool hasResponseLeft() const;
  // The response is complete and the rest of the request not needed: the exchange is over.
  void stopRequest();
  H2Conversation& server_;
  ListNode blocked_node_;
  ListNode early_node_;
  uint32_t held_ = 0;          // bytes of the request's body that the backend has not taken yet,
  uint32_t uncredited_ = 0;    // of which so many still count against the connection's window
  h2::WindowGrowth growth_;    // by what the backend takes
  TimeNs received_ns_ = 0;     // when the request's body last moved
  TimeNs stuck_since_ns_ = 0;  // the backend has taken nothing of what is held since then
  TimeNs waits_since_ns_ = 0;  // the response waits for the client's window; 0 while it does not
  Progress body_progress_;
  Progress window_progress_;
  uint64_t received_bytes_ = 0;  // of the request's body
  bool handler_done_ = false;
  bool waits_for_window_ = false;  // or the queue, for DATA; else for the queue alone, for the end of the response
  // Once the handler is done, where the client still sends (EarlyAnswers):
  bool has_waited_ = false;   // for the response to leave
  uint64_t answered_at_ = 0;  // where the response ends in the socket's output
  TimeNs told_by_ns_ = 0;
};

class H2Conversation {
 public:
  explicit H2Conversation(ServerConnection& connection);
  // Of every client's session.
  static h2::SessionConfig sessionConfig(const LoopLimits& loop_limits, const ServerLimits& limits);

  // Serves until the connection is over and every exchange has ended. `opening` has the bytes already read.
  Task<void> run(BufferedInput opening, Io& io);
  void onOutputDrained();
  // Says GOAWAY twice, so that no request on its way is lost; the connection ends with its last stream.
  void drain();
  // The client was idle for too long, or did not finish a header block in time.
  void onDeadline();
  // Bytes that count against the connection's window although no request is under way: none, or a window leaks.
  int64_t lostCredit() const { return session_.streamCount() == 0 ? session_.outstandingCredit() : 0; }
  // The idle client has to go, politely.
  void endIdle();
  // Those that handlers still work for.
  template <class Use>
  void forEachExchange(Use use) {
    for (h2::Stream* one = session_.streams().front(); one != nullptr; one = session_.streams().next(*one)) {
      auto& exchange = *static_cast<H2Exchange*>(one);
      if (!exchange.handler_done_) use(exchange);
    }
  }
  // Ends the streams on which the client has made no progress for stall_ms.
  void resetStalled(TimeNs now_ns);
  // Bytes of request bodies that backends have not taken yet.
  size_t heldUpload() const { return held_; }
  // Of uploads of which the backend has taken nothing since `before_ns`.
  size_t stuckUpload(TimeNs before_ns);
  // Ends the one that has been so for the longest.
  void endStuckUpload();
  // Memory for uploads is ample again: nothing that waits counts against the connection's window any more.
  void creditWaiting();

 private:
  friend struct H2Exchange;
  using BlockedList = List<H2Exchange, &H2Exchange::blocked_node_>;
  Status feed(Bytes& input, Io& io);
  void onEvent(h2::Event& event, Io& io);
  void onRequest(h2::Event& event, Io& io);
  Task<void> inviteBody(uint32_t stream_id, Io& io);
  void finishIfDone(H2Exchange& exchange);
  void block(H2Exchange& exchange);
  void pumpBlocked();
  void finishDraining();
  void onReceived(H2Exchange& exchange, uint32_t count);
  void onTaken(H2Exchange& exchange, size_t count);
  void creditConnection(size_t count);
  bool mustPause();
  void updateDeadline();
  // The client has as long from now on to say something.
  void restartDeadline();
  bool hasHadItsTurn() const;
  void onRejected(h2::Event& event);
  bool answerTooLarge(const h2::Event& event, const Error& error);
  void onEventAfterAnswer(H2Exchange& exchange, const h2::Event& event);
  void noteStreamFault(const h2::Event& event);
  void stall(H2Exchange& exchange, Fault fault, const char* reason);

  ServerConnection& connection_;
  h2::Session session_;
  BlockedList blocked_;
  uint32_t window_;          // what the client may have under way on all streams
  uint32_t held_ = 0;        // of all exchanges
  uint32_t uncredited_ = 0;  // likewise
  h2::WindowGrowth growth_;  // by what is received
  h2::RoundTrip round_trip_;
  bool gives_way_ = false;  // feed() left input, for the handlers to go first
  bool draining_ = false;
  bool goaway_final_ = false;
  bool awaits_rest_ = false;  // of a header block
  Progress window_progress_;  // of the connection's window
  // For the rest of that block; else for the next request, while none is under way.
  TimeNs say_by_ns_ = never_ns;
  TurnShare share_;
};

}  // namespace plait
