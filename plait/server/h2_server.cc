#include "plait/server/h2_server.h"

#include "plait/http/field_rules.h"
#include "plait/server/server.h"

namespace plait {
namespace {

using h2::H2Error;
using http::FieldName;

h2::SessionConfig sessionConfig(const Limits& limits) {
  h2::SessionConfig config;
  config.max_concurrent_streams = limits.streams_per_client;
  config.stream_window = limits.client_stream_window;
  config.connection_window = limits.client_connection_window;
  config.send_queue_limit = limits.send_queue_bytes;
  return config;
}

// What differs from one response to the next would only push useful entries out of the client's table.
h2::Indexing indexingOf(const http::Field& field) {
  if (field.never_indexed) return h2::Indexing::never;
  switch (field.id) {
    case FieldName::set_cookie:
    case FieldName::etag:
    case FieldName::content_length:
    case FieldName::last_modified:
    case FieldName::location:
    case FieldName::content_range:
    case FieldName::x_request_id:
      return h2::Indexing::avoid;
    default:
      return h2::Indexing::allow;
  }
}

}  // namespace

H2Exchange::H2Exchange(H2Server& server, ServerConnection& connection)
    : Exchange(connection.server().io, connection.client(), connection.server().stream_blocks, connection.server().headers),
      server_(server) {
  request_pipe_.setProducer(this);
}

void H2Exchange::onConsumed(size_t count) {
  if (id == 0) return;
  server_.session_.credit(this, count);
  server_.connection_.sock().flushLater();
}

void H2Exchange::onConsumerGone(const Error&) {
  // The rest of the request is not wanted. If the response is complete the client is told so without an error
  // (RFC 9113 §8.1); else what still comes is taken and dropped until the response is.
  if (id != 0 && local_ended && !remote_ended) {
    server_.session_.sendReset(*this, H2Error::no_error);
    server_.connection_.sock().flushLater();
  }
}

size_t H2Exchange::onBody(Bytes bytes, bool last) {
  if (isClosed()) return 0;
  const size_t taken = server_.session_.sendData(*this, bytes, last);
  response_bytes_ += taken;
  server_.connection_.sock().flushLater();
  if (taken != bytes.size()) {
    if (!blocked_node_.isLinked()) server_.blocked_.pushBack(*this);
  } else if (local_ended) {
    bodyDone(std::nullopt);
  }
  return taken;
}

bool H2Exchange::onBodyEnd(const http::FieldList* trailers) {
  if (isClosed()) return true;
  h2::Session& session = server_.session_;
  bool sent = false;
  if (trailers == nullptr) {
    sent = session.sendEnd(*this);
  } else if (session.canSendHeaders(trailers->listSize(), trailers->count())) {
    session.beginHeaders();
    for (const http::Field field : *trailers) {
      if (!http::isForbiddenInTrailers(field.id)) session.addField(field.name, field.value, field.id, indexingOf(field));
    }
    session.endHeaders(*this, true);
    sent = true;
  }
  if (!sent) {
    if (!blocked_node_.isLinked()) server_.blocked_.pushBack(*this);
    return false;
  }
  server_.connection_.sock().flushLater();
  bodyDone(std::nullopt);
  return true;
}

void H2Exchange::onBodyAborted(const Error& error) {
  abort(error);
  bodyDone(error);
}

bool H2Exchange::writeHead(const http::ResponseHead& head, bool end_stream) {
  h2::Session& session = server_.session_;
  if (id == 0 || isClosed() || local_ended || !session.canSendHeaders(head.fields.listSize() + 16, head.fields.count() + 1)) return false;
  session.beginHeaders();
  const char digits[3] = {static_cast<char>('0' + head.status / 100), static_cast<char>('0' + head.status / 10 % 10),
                          static_cast<char>('0' + head.status % 10)};
  session.addField(FieldName::pseudo_status, {digits, 3});
  http::ConnectionTokens none;
  for (const http::Field field : head.fields) {
    if (field.id != FieldName::unknown && http::isHopByHop(field, none)) continue;
    session.addField(field.name, field.value, field.id, indexingOf(field));
  }
  session.endHeaders(*this, end_stream);
  server_.connection_.sock().flushLater();
  return true;
}

bool H2Exchange::sendInterim(const http::ResponseHead& head) { return !head_sent_ && writeHead(head, false); }

bool H2Exchange::sendHead(const http::ResponseHead& head, bool end_stream) {
  if (head_sent_ || !writeHead(head, end_stream)) return false;
  head_sent_ = true;
  status_ = head.status;
  if (end_stream) bodyDone(std::nullopt);
  return true;
}

void H2Exchange::sendShortBody(std::string_view text) {
  if (server_.session_.sendData(*this, asBytes(text), true) != text.size()) {
    abort(streamError(ErrorCode::no_memory, "no room for the error's text"));
  }
  bodyDone(std::nullopt);
}

void H2Exchange::abort(const Error& error) {
  if (id == 0 || isClosed()) return;
  server_.session_.sendReset(*this, error.code == ErrorCode::cancelled ? H2Error::cancel : H2Error::internal_error);
  server_.connection_.sock().flushLater();
}

void H2Exchange::end() {
  handler_done_ = true;
  if (!isClosed()) {
    // An early answer: the client is told that the rest of its request is not needed (RFC 9113 §8.1).
    server_.session_.sendReset(*this, local_ended ? H2Error::no_error : H2Error::internal_error);
    server_.connection_.sock().flushLater();
  }
  server_.finishIfDone(*this);
}

H2Server::H2Server(ServerConnection& connection)
    : connection_(connection),
      session_(h2::Role::server, sessionConfig(connection.server().limits), connection.sock().output(),
               connection.server().headers.ofClass(2), *connection.server().scratch) {
  connection.sock().setLowWater(connection.server().limits.send_queue_bytes / 2);
}

void H2Server::finishIfDone(H2Exchange& exchange) {
  if (!exchange.handler_done_) return;
  exchange.blocked_node_.unlink();
  session_.release(exchange);
  connection_.server().h2_exchanges.destroy(&exchange);
  if (session_.streamCount() == 0) {
    if (draining_) {
      drain();
    } else {
      connection_.expectBy(connection_.server().io.nowNs() + connection_.server().timeouts.client_idle_ms * ns_per_ms);
    }
  }
}

void H2Server::pumpBlocked() {
  BlockedList round;
  round.spliceBack(blocked_);
  while (H2Exchange* exchange = round.popFront()) {
    if (exchange->relayed_ != nullptr) exchange->relayed_->pump();
  }
}

void H2Server::onOutputDrained() {
  if (connection_.sock().unsent() == 0) session_.outputFlushed();
  pumpBlocked();
}

void H2Server::drain() {
  // First a GOAWAY that refuses nothing, so that requests on their way are still served (RFC 9113 §6.8); the final one
  // when the streams have ended. Its id tells which requests a client may safely repeat elsewhere.
  if (!draining_) {
    draining_ = true;
    session_.sendGoaway(h2::max_stream_id, H2Error::no_error);
    session_.sendPing(0);
    connection_.sock().flushLater();
    return;
  }
  if (goaway_final_ || session_.streamCount() != 0) return;
  goaway_final_ = true;
  session_.refuseAbove(session_.lastPeerStreamId());
  session_.sendGoaway(session_.lastPeerStreamId(), H2Error::no_error);
  connection_.expectBy(connection_.server().io.nowNs());
  connection_.sock().flushLater();
}

void H2Server::onRequest(h2::Event& event, Io& io) {
  Server& server = connection_.server();
  H2Exchange* exchange = server.h2_exchanges.create(*this, connection_);
  if (exchange == nullptr || !exchange->adoptRequest(event.request, event.fields)) {
    if (exchange != nullptr) server.h2_exchanges.destroy(exchange);
    session_.refuse(event.stream_id, H2Error::refused_stream);
    return;
  }
  session_.accept(*exchange);
  server.counters_.requests_h2 += 1;
  connection_.expectBy(never_ns);
  connection_.scope().spawn(server.handler.handle(*exchange, io), io);
}

void H2Server::onEvent(h2::Event& event, Io& io) {
  auto* exchange = static_cast<H2Exchange*>(event.stream);
  switch (event.kind) {
    case h2::Event::Kind::request:
      return onRequest(event, io);
    case h2::Event::Kind::data:
      if (exchange->request_pipe_.isAborted() || exchange->request_pipe_.isFinished()) {
        session_.credit(exchange, event.data.size());
      } else if (!exchange->request_pipe_.push(event.data, event.end_stream)) {
        session_.sendReset(*exchange, H2Error::enhance_your_calm);
        exchange->clientGone(streamError(ErrorCode::no_memory, "no block is left for the request's body"));
      }
      return;
    case h2::Event::Kind::trailers:
      if (!exchange->request_pipe_.end(&event.fields)) {
        session_.sendReset(*exchange, H2Error::enhance_your_calm);
        exchange->clientGone(streamError(ErrorCode::no_memory, "no memory is left for the request's trailers"));
      }
      return;
    case h2::Event::Kind::stream_error:
      if (exchange != nullptr) exchange->clientGone(streamError(ErrorCode::cancelled, event.reason, static_cast<uint32_t>(event.error_code)));
      return;
    case h2::Event::Kind::window:
      if (exchange == nullptr) return pumpBlocked();
      if (exchange->relayed_ != nullptr) exchange->relayed_->pump();
      return;
    case h2::Event::Kind::settings:
      return pumpBlocked();
    case h2::Event::Kind::ping_ack:
      // The client has seen the first GOAWAY: what it sent before has arrived.
      if (draining_) drain();
      return;
    default:
      return;
  }
}

Status H2Server::feed(Bytes input, Io& io) {
  h2::Event event;
  Status status;
  do {
    status = session_.next(input, event, static_cast<uint32_t>(io.nowNs() / ns_per_s));
    if (status && event.kind != h2::Event::Kind::none) onEvent(event, io);
  } while (status && event.kind != h2::Event::Kind::none);
  if (!connection_.sock().output().empty()) connection_.sock().flushLater();
  return status;
}

Task<void> H2Server::run(Bytes first, Io& io) {
  session_.start();
  connection_.sock().flushLater();
  connection_.expectBy(io.nowNs() + connection_.server().timeouts.client_idle_ms * ns_per_ms);
  Status status = feed(first, io);
  while (status) {
    if (session_.isControlBacklogged()) co_await connection_.sock().drain(io.nowNs() + connection_.server().timeouts.stall_ms * ns_per_ms, io);
    auto bytes = co_await connection_.sock().recv();
    if (!bytes || bytes->empty()) break;
    status = feed(*bytes, io);
  }
  const Error gone = connectionError(ErrorCode::cancelled, "the client's connection is over");
  for (h2::Stream* stream = session_.streams().front(); stream != nullptr;) {
    h2::Stream* next = session_.streams().next(*stream);
    stream->is_reset = true;
    static_cast<H2Exchange*>(stream)->clientGone(gone);
    stream = next;
  }
  co_await connection_.scope().join();
  co_await connection_.sock().closeGracefully(io.nowNs() + ns_per_s, io);
}

}  // namespace plait
