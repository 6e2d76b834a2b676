// A client that speaks HTTP/2.
#pragma once

#include "plait/h2/session.h"
#include "plait/io/scope.h"
#include "plait/net/ultra_sock.h"
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
  H2Server& server_;
  ListNode blocked_node_;
  bool handler_done_ = false;
};

class H2Server {
 public:
  explicit H2Server(ServerConnection& connection);

  // Serves until the connection is over and every exchange has ended. `first` are bytes already read.
  Task<void> run(Bytes first, Io& io);
  void onOutputDrained();
  void drain();

 private:
  friend struct H2Exchange;
  using BlockedList = List<H2Exchange, &H2Exchange::blocked_node_>;
  Status feed(Bytes input, Io& io);
  void onEvent(h2::Event& event, Io& io);
  void onRequest(h2::Event& event, Io& io);
  void finishIfDone(H2Exchange& exchange);
  void pumpBlocked();

  ServerConnection& connection_;
  h2::Session session_;
  BlockedList blocked_;
  bool draining_ = false;
  bool goaway_final_ = false;
};

}  // namespace plait
