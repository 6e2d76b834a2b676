// One request and its response, as the handler sees them, whatever the client speaks. An Exchange produces the
// request's body and consumes the response's; it lives in its server connection until the handler has called end() and
// the client side is over.
#pragma once

#include <optional>

#include "plait/base/client_key.h"
#include "plait/http/message.h"
#include "plait/http/pipe.h"
#include "plait/http/request_id.h"
#include "plait/io/cancel.h"
#include "plait/io/task.h"
#include "plait/server/own_answer.h"

namespace plait {

class TlsSession;

// The facts that a server connection knows about its client.
struct ClientInfo {
  uint64_t address_number = 0;  // as in ClientKey
  uint32_t connection = 0;      // likewise
  uint8_t address_size = 0;
  bool is_tls = false;
  bool redirects_https = false;  // its listener is there to name the URL over HTTPS
  bool holds_share = false;      // counted among the connections of its address
  char address_text[40] = {};    // an IPv6 address takes 39; mapped IPv4 addresses are written as IPv4
  ClientKey key() const { return {address_number, connection}; }
  std::string_view address() const { return {address_text, address_size}; }
  std::string_view scheme() const { return is_tls ? "https" : "http"; }
};

// A request that never became an exchange: no head could be made of it, or there was no room.
struct Rejection {
  const ClientInfo& client;
  const http::RequestHead& request;  // as far as it could be read; its views may be empty
  uint16_t status;                   // that was answered; 0: a reset
  TimeNs started_ns;
  const Error& error;
  std::string_view request_id;  // as the answer said it; empty for a reset
  uint64_t bytes = 0;           // of the answer's body
};

class Exchange : public http::BodyProducer, public http::BodyConsumer {
 public:
  Exchange(Io& io, const ClientInfo& client, http::HeaderSlab& headers, http::RequestIds& ids)
      : headers_(headers), head_block_(headers), outgrown_block_(headers), io_(io), client_(client), ids_(ids) {}

  const http::RequestHead& request() const { return request_; }
  // For a handler that turns it into the request that it sends on. Fields that it adds must have been given room.
  http::RequestHead& mutableRequest() { return request_; }
  // Makes sure that `bytes` more of fields fit into the request's (FieldList::bytesFor); false when there is no memory.
  // The views of its head may move; those that somebody had before are good as long as the exchange.
  bool makeRoom(size_t bytes);
  // The request's body; null when there is none.
  http::Pipe* requestBody() { return request_pipe_ ? &*request_pipe_ : nullptr; }
  const http::Pipe* requestBody() const { return request_pipe_ ? &*request_pipe_ : nullptr; }
  const ClientInfo& client() const { return client_; }
  // The TLS of the client's connection; null where that is plain, or has been closed.
  virtual const TlsSession* tls() const = 0;
  // The client is asked to make a new connection for what follows; what is under way on this one runs on.
  virtual void drainConnection() = 0;
  TimeNs startedNs() const { return started_ns_; }
  // The request's id, for messages and logs: one that somebody else has made, or its own, which is made when it is
  // first asked for. Good as long as the exchange.
  std::string_view requestId() { return request_id_.empty() ? request_id_ = ids_.next(made_id_) : request_id_; }
  bool hasRequestId() const { return !request_id_.empty(); }
  // `id` must live as long as the exchange, as what the client sent does.
  void setRequestId(std::string_view id) { request_id_ = id; }

  // Fires when the client gives up: RST_STREAM, a lost connection, or a stall. The handler's waits end with its error.
  CancelToken& cancelToken() { return cancel_; }

  // -- the response, in this order; each is refused (false) when the client is gone or memory for it has run out
  virtual bool sendInterim(const http::ResponseHead& head) = 0;
  // 100 to a client that waits for it with its body (RFC 9110 §10.1.1).
  void sendContinue();
  // Fields are filtered as a forwarder must (RFC 9110 §7.6.1). With `end_stream` the response is complete.
  virtual bool sendHead(const http::ResponseHead& head, bool end_stream) = 0;
  bool isHeadSent() const { return head_sent_; }

  class RelayAwaiter {
   public:
    RelayAwaiter(Exchange& exchange, http::Pipe& pipe) : exchange_(exchange), pipe_(pipe) {}
    bool await_ready() {
      exchange_.relayed_ = &pipe_;
      pipe_.attach(exchange_);
      return exchange_.body_done_;
    }
    void await_suspend(std::coroutine_handle<> handle) { exchange_.relay_waiter_ = handle; }
    Status await_resume() {
      exchange_.relayed_ = nullptr;
      if (exchange_.relay_error_.code != ErrorCode::none) return fail(exchange_.relay_error_);
      return {};
    }

   private:
    Exchange& exchange_;
    http::Pipe& pipe_;
  };
  // Sends the body of `pipe` and its trailers behind the head; returns when the client's side has taken all of it, or
  // with the error that stopped it. A body that breaks off is made visible to the client, never ended as if complete.
  RelayAwaiter relay(http::Pipe& pipe) { return RelayAwaiter(*this, pipe); }

  // Answers by itself, if no head was sent yet; else the response is aborted. For gRPC it is a trailers-only response
  // with the grpc-status that stands for the status (http::grpcStatusOf). Where the client's window has no room for a
  // text, the status goes without one.
  void respondError(const OwnAnswer& answer);
  void respondError(uint16_t status, std::string_view text) { respondError({.status = status, .text = text}); }
  // A whole small response. `text` must fit into what the client's windows and the send queue have room for.
  void respond(uint16_t status, std::string_view content_type, std::string_view text);
  // A whole response that is made here: its head, and a body that is empty or has room (hasRoomForBody). False where it
  // was refused.
  bool respondWith(const http::ResponseHead& head, std::string_view body);
  bool hasRoomForBody(size_t bytes) const { return hasRoomFor(bytes); }
  // The head that was sent, and the body that follows, are made here (isOwnAnswer).
  void noteOwnAnswer() { is_own_answer_ = true; }
  // The response cannot be completed: RST_STREAM, or the connection is closed.
  virtual void abort(const Error& error) = 0;
  // The same in the middle of relay(), which ends with `error`; the body's producer is told.
  void breakOff(const Error& error);
  http::HeaderSlab& headerSlab() { return headers_; }
  // The handler's last call; the exchange may be gone when it returns.
  virtual void end() = 0;

  // The memory that sending the response will use.
  Bytes hotMemory() const { return {reinterpret_cast<const uint8_t*>(this), hot_size}; }

  // The address by which it is counted among the exchanges; 0 while it is not.
  uint64_t counted_address = 0;

  uint64_t responseBytes() const { return response_bytes_; }
  uint16_t status() const { return status_; }
  // The response was made here (respond, respondError), and not passed on.
  bool isOwnAnswer() const { return is_own_answer_; }
  // The response's grpc-status (http::parseGrpcStatus); nothing where there was none.
  std::optional<uint8_t> grpcStatus() const { return grpc_status_; }
  // The code that sends a response calls it: with the head where there is no body, else with the trailers.
  void noteGrpcStatus(const http::FieldList& fields);

 protected:
  ~Exchange() = default;

  static constexpr size_t hot_size = 640;
  virtual void sendShortBody(std::string_view text) = 0;
  // Whether sendShortBody can take so much behind a head.
  virtual bool hasRoomFor(size_t bytes) const = 0;
  // Copies a head into this exchange's memory, and makes the pipe of its body, if it has one, over `body_blocks`; false
  // when there is no memory.
  bool adoptRequest(const http::RequestHead& head, const http::FieldList& fields, BlockSlab& body_blocks);
  // Gives back the request's memory; nobody looks at it any more.
  void dropRequest();
  // The response's head is on its way.
  void noteHead(uint16_t status);
  // `error`: none where it was taken whole.
  void bodyDone(const Error& error = {});
  void clientGone(const Error& error);

  http::RequestHead request_;
  http::HeaderSlab& headers_;
  http::HeaderBlock head_block_;
  http::HeaderBlock outgrown_block_;
  CancelToken cancel_;
  Io& io_;
  const ClientInfo& client_;
  TimeNs started_ns_ = 0;
  uint64_t response_bytes_ = 0;
  uint16_t status_ = 0;
  std::optional<uint8_t> grpc_status_;
  bool head_sent_ = false;
  bool is_own_answer_ = false;
  bool body_done_ = false;
  http::Pipe* relayed_ = nullptr;
  Error relay_error_;
  std::coroutine_handle<> relay_waiter_;
  // Most requests have no body, and its memory is not touched then.
  std::optional<http::Pipe> request_pipe_;
  http::RequestIds& ids_;
  std::string_view request_id_;
  char made_id_[http::RequestIds::size];
};

// Answers requests or forwards them. The returned task ends with exchange.end().
class Handler {
 public:
  virtual Task<void> handle(Exchange& exchange, Io& io) = 0;
  // The client's address, as in ClientKey, for shares: that of the connection, unless the handler knows better.
  virtual uint64_t addressOf(const http::RequestHead&, const ClientInfo& client) const { return client.address_number; }
  // The address whose share of the connections one takes, address_number; or 0 where it speaks for many clients, and
  // takes nobody's. It is asked when the connection begins, and the answer holds until it ends.
  virtual uint64_t addressOf(const ClientInfo& client) const { return client.address_number; }
  // For handlers that count and log requests.
  virtual void onRejected(const Rejection&) {}

 protected:
  ~Handler() = default;
};

}  // namespace plait
