// A client that speaks HTTP/1.1 (or 1.0): one request at a time; pipelined ones wait in the receive buffers.
#pragma once

#include "plait/h1/body_decoder.h"
#include "plait/h1/parser.h"
#include "plait/h1/writer.h"
#include "plait/net/ultra_sock.h"
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
};

class H1Server {
 public:
  explicit H1Server(ServerConnection& connection);
  ~H1Server();

  // Serves until the connection is over. `first` are bytes already read.
  Task<void> run(Bytes first, Io& io);
  void onOutputDrained();
  void onPeerClosed();
  void drain() { close_after_ = true; wake(); }

 private:
  friend struct H1Exchange;
  enum class Outcome : uint8_t { next, close };

  // Waits for more bytes, which input_ then holds behind what it held; false at the end.
  Task<bool> more(Io& io);
  Task<Outcome> serveOne(Io& io);
  Task<bool> readBody(Io& io);
  void refuse(uint16_t status);
  void wake();
  struct ChangeAwaiter;

  ServerConnection& connection_;
  h1::Limits limits_;
  h1::BodyDecoder decoder_;
  uint8_t* carry_ = nullptr;     // unread bytes that span receive buffers, from a large header block
  size_t carry_size_ = 0;
  Bytes input_;                  // unread bytes: in the carry or in the receive buffer
  H1Exchange* exchange_ = nullptr;
  std::coroutine_handle<> waiter_;
  bool close_after_ = false;
  bool peer_closed_ = false;
};

}  // namespace plait
