// A client that speaks HTTP/1.1 (or 1.0): one request at a time; pipelined ones wait in the receive buffers.
#pragma once

#include "plait/base/progress.h"
#include "plait/h1/body_decoder.h"
#include "plait/h1/parser.h"
#include "plait/h1/writer.h"
#include "plait/net/buffered_input.h"
#include "plait/server/exchange.h"

namespace plait {

class ServerConnection;
class H1Conversation;

struct H1Exchange final : public Exchange {
  H1Exchange(H1Conversation& server, ServerConnection& connection);

  void onConsumed(size_t count) override;
  void onConsumerGone(const Error& error) override;
  size_t onBody(Bytes bytes, bool last) override;
  bool onBodyEnd(const http::FieldList* trailers) override;
  void onBodyAborted(const Error& error) override;
  bool sendInterim(const http::ResponseHead& head) override;
  bool sendHead(const http::ResponseHead& head, bool end_stream) override;
  void sendShortBody(std::string_view text) override;
  bool hasRoomFor(size_t) const override { return true; }
  void abort(const Error& error) override;
  void end() override;
  const TlsSession* tls() const override;
  void drainConnection() override;

 private:
  friend class H1Conversation;
  // An error takes the place of a response of which nothing can have left.
  bool answerInstead();
  // Nothing more goes from a tunnel's client to its backend.
  void onRequestOver(const Error& error = {});

  H1Conversation& server_;
  h1::BodyWriter writer_;
  h1::HeadParse parse_;
  uint64_t head_position_ = 0;  // of the response's head in the socket's output
  TimeNs stuck_since_ns_ = 0;   // the backend has taken nothing of the request's body that waits since then
  bool is_replaced_ = false;
  bool is_tunnel_ = false;     // 101 was sent: what follows is no HTTP
  bool is_half_open_ = false;  // a tunnel whose backend has ended its direction
};

class H1Conversation {
 public:
  explicit H1Conversation(ServerConnection& connection);

  // Serves until the connection is over. `opening` has the bytes already read.
  Task<void> run(BufferedInput opening, Io& io);
  void onOutputDrained();
  void onPeerClosed();
  // This side has ended the connection: the handler that works for its client is told.
  void onAborted(const Error& error);
  template <class Use>
  void forEachExchange(Use use) {
    if (exchange_ != nullptr) use(*exchange_);
  }
  void drain() {
    close_after_ = true;
    wake();
  }
  // The time for a head or a piece of a body is over. False when it was not waited for.
  bool onDeadline();
  // Hears of a client that leaves while it waits for its answer.
  void watchEnd();
  // Ends a request whose body trickles.
  void checkBody(TimeNs now_ns);
  // As H2Conversation's.
  size_t heldUpload() const;
  size_t stuckUpload(TimeNs before_ns) const;
  void endStuckUpload();
  // Between two requests, with no byte of the next.
  bool isIdle() const { return exchange_ == nullptr && input_.empty(); }

 private:
  friend struct H1Exchange;
  enum class Outcome : uint8_t { close, next };

  Task<Outcome> serveOne(Io& io);
  Task<bool> readBody(Io& io);
  template <class T>
  Task<T> orAborted(Task<T> reading);
  // Carries the client's bytes to the backend until either side is done.
  Task<void> readTunnel(Io& io);
  // Bytes for the backend are about to be handed on.
  void noteUpload();
  // The client's direction has ended while a request waits for its answer: tells how, and acts upon it (decision 7).
  Task<void> readEnd(Io& io);
  // The client wants no answer any more.
  void leave();
  // Returns how many bytes of text it has said.
  size_t refuse(uint16_t status, const http::RequestHead& request, const Error& why, std::string_view id);
  // The request cannot be completed: its client is told, where it has no response yet, and nothing more is read.
  void failRequest(uint16_t status, std::string_view text, const Error& error);
  void wake();
  struct ChangeAwaiter;

  ServerConnection& connection_;
  h1::Limits limits_;
  h1::BodyDecoder decoder_;
  BufferedInput input_;
  H1Exchange* exchange_ = nullptr;
  std::coroutine_handle<> waiter_;
  Progress body_progress_;
  uint64_t body_bytes_ = 0;
  uint64_t half_closed_at_ = 0;  // where the socket's output was when the client was last seen to get something
  bool had_request_ = false;
  bool reads_head_ = false;
  bool waits_for_body_ = false;
  bool timed_out_ = false;
  bool close_after_ = false;
  bool peer_closed_ = false;
};

}  // namespace plait
