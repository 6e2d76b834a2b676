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
class H1Server;

struct H1Exchange final : public Exchange {
  H1Exchange(H1Server& server, ServerConnection& connection);

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
  friend class H1Server;
  H1Server& server_;
  h1::BodyWriter writer_;
  h1::HeadParse parse_;
  bool is_tunnel_ = false;  // 101 was sent: what follows is no HTTP
};

class H1Server {
 public:
  explicit H1Server(ServerConnection& connection);

  // Serves until the connection is over. `opening` has the bytes already read.
  Task<void> run(BufferedInput opening, Io& io);
  void onOutputDrained();
  void onPeerClosed();
  // The connection was ended by this side: whoever works for its client is told.
  void onAborted(const Error& error);
  void drain() {
    close_after_ = true;
    wake();
  }
  // The time for a head or a piece of a body is over. False when it was not waited for.
  bool onDeadline();
  // Ends a request whose body trickles.
  void checkBody(TimeNs now_ns);
  // Between two requests, with no byte of the next.
  bool isIdle() const { return exchange_ == nullptr && input_.empty(); }

 private:
  friend struct H1Exchange;
  enum class Outcome : uint8_t { next, close };

  Task<Outcome> serveOne(Io& io);
  Task<bool> readBody(Io& io);
  // Carries the client's bytes to the backend until either side is done.
  Task<void> readTunnel(Io& io);
  void refuse(uint16_t status);
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
  bool had_request_ = false;
  bool reads_head_ = false;
  bool waits_for_body_ = false;
  bool timed_out_ = false;
  bool close_after_ = false;
  bool peer_closed_ = false;
};

}  // namespace plait
