// A client that speaks HTTP/2.
#pragma once

#include "plait/base/progress.h"
#include "plait/h2/session.h"
#include "plait/io/scope.h"
#include "plait/io/turn_share.h"
#include "plait/limits.h"
#include "plait/net/buffered_input.h"
#include "plait/server/exchange.h"

namespace plait {

class ServerConnection;
class H2Server;

struct H2Exchange final : public h2::Stream, public Exchange {
  H2Exchange(H2Server& server, ServerConnection& connection);

  void onConsumed(size_t count) override;
  void onConsumerGone(const Error& error) override;
  size_t onBody(Bytes bytes, bool last) override;
  bool onBodyEnd(const http::FieldList* trailers) override;
  void onBodyAborted(const Error& error) override;
  bool sendInterim(const http::ResponseHead& head) override;
  bool sendHead(const http::ResponseHead& head, bool end_stream) override;
  void sendShortBody(std::string_view text) override;
  void abort(const Error& error) override;
  void end() override;

 private:
  friend class H2Server;
  bool writeHead(const http::ResponseHead& head, bool end_stream);
  void creditRest();
  H2Server& server_;
  ListNode blocked_node_;
  size_t uncredited_ = 0;      // bytes of the request's body that the client has no credit for yet
  uint32_t drained_ = 0;       // bytes that the backend took since the stream's window last grew
  TimeNs received_ns_ = 0;     // when the request's body last moved
  TimeNs waits_since_ns_ = 0;  // the response waits for the client's window; 0 while it does not
  Progress body_progress_;
  Progress window_progress_;
  uint64_t received_bytes_ = 0;  // of the request's body
  bool handler_done_ = false;
};

class H2Server {
 public:
  explicit H2Server(ServerConnection& connection);
  // Of every client's session.
  static h2::SessionConfig sessionConfig(const Limits& limits);

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
  // Ends the streams on which the client has made no progress for stall_ms.
  void resetStalled(TimeNs now_ns);

 private:
  friend struct H2Exchange;
  using BlockedList = List<H2Exchange, &H2Exchange::blocked_node_>;
  Status feed(Bytes& input, Io& io);
  void onEvent(h2::Event& event, Io& io);
  void onRequest(h2::Event& event, Io& io);
  void finishIfDone(H2Exchange& exchange);
  void block(H2Exchange& exchange);
  void pumpBlocked();
  void finishDraining();
  void onCredit(H2Exchange& exchange, size_t count);
  bool mustPause();
  void holdInput(Bytes& input);
  void updateDeadline();
  bool hasHadItsTurn() const;
  void onRejected(h2::Event& event);
  bool isWindowStalled(H2Exchange& exchange, TimeNs now_ns, bool is_connection_slow);
  bool isBodyStalled(H2Exchange& exchange, TimeNs now_ns);
  void stall(H2Exchange& exchange, Fault fault, const char* reason);

  ServerConnection& connection_;
  h2::Session session_;
  BlockedList blocked_;
  uint8_t* held_ = nullptr;   // input that waits for upload room, so that it holds no receive buffer
  uint32_t window_;           // what the client may have under way on all streams
  uint32_t drained_ = 0;      // bytes that backends took since it last grew
  Progress window_progress_;  // of the connection's window
  TimeNs idle_by_ns_ = never_ns;
  TimeNs headers_by_ns_ = never_ns;
  TurnShare share_;
  bool gives_way_ = false;  // feed() left input, for the handlers to go first
  bool draining_ = false;
  bool goaway_final_ = false;
};

}  // namespace plait
