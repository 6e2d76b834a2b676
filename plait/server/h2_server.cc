#include "plait/server/h2_server.h"

#include <algorithm>

#include "plait/base/rare.h"
#include "plait/http/field_rules.h"
#include "plait/server/head_room.h"
#include "plait/server/server.h"

namespace plait {
namespace {

using h2::H2Error;
using http::FieldName;

// So many requests are handed to their handlers before those go on, as far as they can without waiting: few enough that
// what was written about them is still in the nearest cache.
constexpr uint32_t requests_at_once = 4;

// What differs from one response to the next would only push useful entries out of the client's table.
constexpr h2::IndexingRules indexing_rules = {
    {h2::Indexing::repeated,
     {FieldName::etag, FieldName::content_length, FieldName::last_modified, FieldName::location}},
    {h2::Indexing::avoid,
     {FieldName::set_cookie, FieldName::content_range, FieldName::x_request_id, FieldName::x_correlation_id,
      FieldName::server_timing}}};

}  // namespace

h2::SessionConfig H2Server::sessionConfig(const Limits& limits) {
  h2::SessionConfig config;
  config.max_concurrent_streams = limits.streams_per_client;
  config.stream_window = limits.client_stream_window;
  // It grows for who uploads (onCredit).
  config.connection_window = h2::default_window;
  config.send_queue_limit = limits.send_queue_bytes;
  config.reset_burst = limits.reset_burst;
  config.resets_per_second = limits.resets_per_second;
  config.idle_frame_burst = limits.idle_frame_burst;
  config.idle_frames_per_second = limits.idle_frames_per_second;
  return config;
}

H2Exchange::H2Exchange(H2Server& server, ServerConnection& connection)
    : Exchange(connection.server().io, connection.client(), connection.server().headers), server_(server) {}

void H2Exchange::onConsumed(size_t count) {
  uncredited_ -= count;
  received_ns_ = io_.nowNs();
  server_.onCredit(*this, count);
}

// Bytes that nobody will take any more still count against the connection's window.
void H2Exchange::creditRest() {
  if (uncredited_ == 0) return;
  server_.session_.credit(nullptr, std::exchange(uncredited_, 0));
  server_.connection_.sock().flushLater();
}

void H2Exchange::onConsumerGone(const Error&) {
  creditRest();
  server_.connection_.server().noteUploadRoom();
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
  if (taken != 0) waits_since_ns_ = 0;
  if (taken != bytes.size() && waits_since_ns_ == 0) waits_since_ns_ = io_.nowNs();
  if (taken != bytes.size()) {
    server_.block(*this);
  } else if (local_ended) {
    bodyDone();
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
      if (!http::isForbiddenInTrailers(field.id))
        session.addField(field.name, field.value, field.id, indexing_rules.of(field));
    }
    session.endHeaders(*this, true);
    sent = true;
  }
  if (!sent) {
    server_.block(*this);
    return false;
  }
  server_.connection_.sock().flushLater();
  bodyDone();
  return true;
}

void H2Exchange::onBodyAborted(const Error& error) {
  abort(error);
  bodyDone(error);
}

bool H2Exchange::writeHead(const http::ResponseHead& head, bool end_stream) {
  h2::Session& session = server_.session_;
  // A status and a date come on top.
  if (id == 0 || isClosed() || local_ended ||
      !session.canSendHeaders(head.fields.listSize() + 64, head.fields.count() + 2))
    return false;
  session.beginHeaders();
  const char digits[3] = {static_cast<char>('0' + head.status / 100), static_cast<char>('0' + head.status / 10 % 10),
                          static_cast<char>('0' + head.status % 10)};
  session.addField(FieldName::pseudo_status, {digits, 3},
                   head.is_status_never_indexed ? h2::Indexing::never : h2::Indexing::allow);
  http::ConnectionTokens none;
  bool has_date = false;
  for (const http::Field field : head.fields) {
    // TE, even of "trailers", is for requests alone (RFC 9113 §8.2.2).
    if (http::mayBeHopByHop(field.id, none) && (field.id == FieldName::te || http::isHopByHop(field, none))) continue;
    // Responses that cannot have content must not say how long it is (RFC 9110 §8.6).
    if (field.id == FieldName::content_length && (head.status < 200 || head.status == 204)) continue;
    has_date |= field.id == FieldName::date;
    session.addField(field.name, field.value, field.id, indexing_rules.of(field));
  }
  // What came without a date gets that of its arrival (RFC 9110 §6.6.1).
  if (!has_date && head.status >= 200) session.addField(FieldName::date, server_.connection_.server().date());
  session.endHeaders(*this, end_stream);
  server_.connection_.sock().flushLater();
  return true;
}

bool H2Exchange::sendInterim(const http::ResponseHead& head) {
  return !head_sent_ && writeHead(head, false);
}

bool H2Exchange::sendHead(const http::ResponseHead& head, bool end_stream) {
  if (head_sent_ || !writeHead(head, end_stream)) return false;
  noteHead(head.status);
  if (end_stream) bodyDone();
  return true;
}

void H2Exchange::sendShortBody(std::string_view text) {
  if (server_.session_.sendData(*this, asBytes(text), true) != text.size()) {
    abort(streamError(ErrorCode::no_memory, "no room for the error's text"));
  }
  bodyDone();
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
      session_(h2::Role::server, connection.sock().output(), *connection.server().scratch),
      window_(h2::default_window) {
  connection.sock().setLowWater(connection.server().limits.send_queue_bytes / 2);
}

void H2Server::finishIfDone(H2Exchange& exchange) {
  if (!exchange.handler_done_) return;
  Server& server = connection_.server();
  exchange.creditRest();
  exchange.blocked_node_.unlink();
  session_.release(exchange);
  server.h2_exchanges.destroy(&exchange);
  server.noteUploadRoom();
  if (session_.streamCount() != 0) return;
  connection_.setIdle();
  idle_by_ns_ = server.io.nowNs() + server.timeouts.client_idle_ms * ns_per_ms;
  updateDeadline();
  if (goaway_final_) connection_.sock().stopReading();
}

void H2Server::block(H2Exchange& exchange) {
  if (!exchange.blocked_node_.isLinked()) blocked_.pushBack(exchange);
  if (connection_.sock().unsent() == 0 && session_.isQueueFull()) connection_.lookSoon();
}

void H2Server::pumpBlocked() {
  BlockedList round;
  BlockedList had_turn;
  round.spliceBack(blocked_);
  while (!session_.isQueueFull()) {
    H2Exchange* exchange = round.popFront();
    if (exchange == nullptr) break;
    const uint64_t sent = exchange->response_bytes_;
    if (exchange->relayed_ != nullptr) exchange->relayed_->pump();
    // Whoever got nothing through keeps its place before those that did: else the first would always be served first.
    if (exchange->blocked_node_.isLinked() && exchange->response_bytes_ != sent) {
      exchange->blocked_node_.unlink();
      had_turn.pushBack(*exchange);
    }
  }
  blocked_.spliceBack(round);
  blocked_.spliceBack(had_turn);
  if (!blocked_.empty() && connection_.sock().unsent() == 0 && session_.isQueueFull()) connection_.lookSoon();
}

void H2Server::onCredit(H2Exchange& exchange, size_t count) {
  Server& server = connection_.server();
  session_.credit(&exchange, count);
  // Windows are promises of memory: they grow for clients whose backends keep up, while most of it is free.
  drained_ += static_cast<uint32_t>(count);
  exchange.drained_ += static_cast<uint32_t>(count);
  const bool is_ample = server.upload_blocks.available() * 2 >= server.upload_blocks.capacity();
  if (drained_ >= window_) {
    drained_ = 0;
    if (is_ample && window_ < server.limits.client_connection_window) {
      window_ = std::min(window_ * 2, server.limits.client_connection_window);
      session_.growConnectionWindow(window_);
    }
  }
  if (exchange.drained_ >= exchange.receive_window_size) {
    exchange.drained_ = 0;
    if (is_ample) session_.growStreamWindow(exchange, std::min(exchange.receive_window_size * 2, window_));
  }
  connection_.sock().flushLater();
  server.noteUploadRoom();
}

// No DATA is taken that could not be kept. Who uploads nothing is not concerned.
bool H2Server::mustPause() {
  if (!connection_.server().uploadsAreShort()) return false;
  for (h2::Stream* stream = session_.streams().front(); stream != nullptr; stream = session_.streams().next(*stream)) {
    const auto& exchange = *static_cast<H2Exchange*>(stream);
    const http::Pipe* const body = exchange.requestBody();
    if (body != nullptr && !exchange.remote_ended && !exchange.is_reset && !body->isAborted() && !body->isFinished())
      return true;
  }
  return false;
}

void H2Server::holdInput(Bytes& input) {
  PLAIT_RARE("input is held until there is memory");
  BlockSlab& blocks = connection_.server().send_blocks;
  if (held_ != nullptr || input.size() > blocks.blockSize()) return;
  if (blocks.available() <= connection_.server().limits.blocksLeftByClients()) return;
  held_ = static_cast<uint8_t*>(blocks.take());
  if (held_ == nullptr) return;
  std::memcpy(held_, input.data(), input.size());
  input = {held_, input.size()};
  connection_.sock().doneReading();
}

void H2Server::updateDeadline() {
  const TimeNs now_ns = connection_.server().io.nowNs();
  if (!session_.isReceivingHeaders()) {
    headers_by_ns_ = never_ns;
  } else if (headers_by_ns_ == never_ns) {
    headers_by_ns_ = now_ns + connection_.server().timeouts.client_header_ms * ns_per_ms;
  }
  connection_.expectBy(std::min(headers_by_ns_, session_.streamCount() == 0 ? idle_by_ns_ : never_ns));
}

void H2Server::onDeadline() {
  if (session_.isReceivingHeaders()) {
    PLAIT_RARE("a header block does not come to its end");
    connection_.server().counters_.header_timeouts += 1;
    return connection_.abort(connectionError(ErrorCode::stalled, "the client did not finish a header block in time")
                                 .as(Fault::header_timeout));
  }
  // An idle client is told which of its requests were seen: those that cross this may be repeated (RFC 9113 §6.8).
  endIdle();
}

void H2Server::endIdle() {
  draining_ = true;
  finishDraining();
}

void H2Server::stall(H2Exchange& exchange, Fault fault, const char* reason) {
  PLAIT_RARE("a stream stalls");
  connection_.server().counters_.stalled_streams += 1;
  session_.sendReset(exchange, H2Error::cancel);
  connection_.sock().flushLater();
  const Error error = streamError(ErrorCode::stalled, reason).as(fault);
  connection_.server().noteFault(connection_.client(), error);
  exchange.clientGone(error);
}

bool H2Server::isWindowStalled(H2Exchange& exchange, TimeNs now_ns, bool is_connection_slow) {
  const bool is_stream_closed = exchange.send_window.available() == 0;
  // Waiting for one's turn on a slow but moving connection is no stall.
  if (!is_stream_closed && session_.sendWindow() > 0) exchange.waits_since_ns_ = now_ns;
  // Whose own window is open is held up by the connection's, which all streams share.
  if (!is_stream_closed) exchange.window_progress_.rest();
  const Server& server = connection_.server();
  const TimeNs stall_ns = server.timeouts.stall_ms * ns_per_ms;
  const bool is_too_slow =
      is_stream_closed && exchange.window_progress_.isTooSlow(now_ns, exchange.response_bytes_, stall_ns,
                                                              server.limits.download_bytes_per_second);
  return is_too_slow || is_connection_slow || now_ns - exchange.waits_since_ns_ >= stall_ns;
}

bool H2Server::isBodyStalled(H2Exchange& exchange, TimeNs now_ns) {
  // After the response's head both sides may take their time: a stream of messages is silent for as long as it likes.
  const bool client_may_send = exchange.receive_window.available() != 0 && session_.receiveWindow() > 0;
  if (exchange.remote_ended || exchange.head_sent_ || exchange.request_pipe_->bufferedBytes() != 0 ||
      !client_may_send) {
    exchange.body_progress_.rest();
    return false;
  }
  const Server& server = connection_.server();
  const TimeNs stall_ns = server.timeouts.stall_ms * ns_per_ms;
  if (now_ns - exchange.received_ns_ >= stall_ns) return true;
  return exchange.body_progress_.isTooSlow(now_ns, exchange.received_bytes_, stall_ns, server.uploadFloor(exchange));
}

void H2Server::resetStalled(TimeNs now_ns) {
  const Server& server = connection_.server();
  bool is_connection_slow = false;
  if (session_.sendWindow() > 0 || blocked_.empty()) {
    window_progress_.rest();
  } else {
    is_connection_slow =
        window_progress_.isTooSlow(now_ns, connection_.sock().bytesSent(), server.timeouts.stall_ms * ns_per_ms,
                                   server.limits.download_bytes_per_second);
  }
  h2::Stream* next = nullptr;
  for (h2::Stream* stream = session_.streams().front(); stream != nullptr; stream = next) {
    next = session_.streams().next(*stream);
    auto& exchange = *static_cast<H2Exchange*>(stream);
    if (exchange.is_reset) continue;
    if (exchange.waits_since_ns_ == 0) {
      exchange.window_progress_.rest();
    } else if (isWindowStalled(exchange, now_ns, is_connection_slow)) {
      stall(exchange, Fault::window_timeout, "the client's window stayed closed, or opened by a trickle");
      continue;
    }
    if (isBodyStalled(exchange, now_ns)) {
      stall(exchange, Fault::body_timeout, "the request's body stopped, or trickled");
    }
  }
}

void H2Server::onOutputDrained() {
  if (connection_.sock().unsent() == 0) session_.outputFlushed();
  pumpBlocked();
}

void H2Server::drain() {
  // First a GOAWAY that refuses nothing, so that requests on their way are still served (RFC 9113 §6.8); the final one
  // when the PING behind it has come back.
  if (draining_) return;
  draining_ = true;
  session_.sendGoaway(h2::max_stream_id, H2Error::no_error);
  session_.sendPing(0);
  connection_.sock().flushLater();
  // A client that is idle and does not answer is not waited for long.
  idle_by_ns_ = std::min(idle_by_ns_, connection_.server().io.nowNs() + ns_per_s);
  updateDeadline();
}

void H2Server::finishDraining() {
  if (!goaway_final_) {
    goaway_final_ = true;
    // The id tells which requests a client may safely repeat elsewhere.
    session_.refuseAbove(session_.lastPeerStreamId());
    session_.sendGoaway(session_.lastPeerStreamId(), H2Error::no_error);
    connection_.sock().flushLater();
  }
  if (session_.streamCount() == 0) connection_.sock().stopReading();
}

void H2Server::onRequest(h2::Event& event, Io& io) {
  Server& server = connection_.server();
  const bool has_room = leavesBlocksToFragments(server.headers, event.fields.heldBytes());
  H2Exchange* exchange = has_room ? server.h2_exchanges.create(*this, connection_) : nullptr;
  if (exchange == nullptr || !exchange->adoptRequest(event.request, event.fields, server.upload_blocks)) {
    if (exchange != nullptr) server.h2_exchanges.destroy(exchange);
    PLAIT_RARE("a request is refused");
    server.counters_.requests_refused += 1;
    session_.refuse(event.stream_id, H2Error::refused_stream);
    const Error error = streamError(ErrorCode::no_memory, "no room is left for a request");
    server.noteRejected({connection_.client(), event.request, 0, io.nowNs(), error});
    return;
  }
  session_.accept(*exchange);
  connection_.setBusy();
  exchange->received_ns_ = exchange->startedNs();
  server.counters_.requests_h2 += 1;
  const std::string_view expectation = exchange->request().fields.value(FieldName::expect);
  if (!expectation.empty() && !event.end_stream && http::equalsIgnoreCase(expectation, "100-continue")) {
    exchange->sendContinue();
  }
  connection_.scope().spawn(server.handler.handle(*exchange, io), io);
}

void H2Server::onRejected(h2::Event& event) {
  const Error error =
      streamError(ErrorCode::malformed_message, event.reason, static_cast<uint32_t>(event.error_code)).as(event.fault);
  Server& server = connection_.server();
  server.noteRejected({connection_.client(), event.request, 0, server.io.nowNs(), error});
}

void H2Server::onEvent(h2::Event& event, Io& io) {
  auto* exchange = static_cast<H2Exchange*>(event.stream);
  switch (event.kind) {
    case h2::Event::Kind::request:
      return onRequest(event, io);
    case h2::Event::Kind::rejected:
      return onRejected(event);
    case h2::Event::Kind::data:
      if (exchange->request_pipe_->isAborted() || exchange->request_pipe_->isFinished()) {
        session_.credit(exchange, event.data.size());
        return;
      }
      exchange->received_ns_ = io.nowNs();
      exchange->received_bytes_ += event.data.size();
      exchange->uncredited_ += event.data.size();
      if (!exchange->request_pipe_->push(event.data, event.end_stream)) {
        session_.sendReset(*exchange, H2Error::enhance_your_calm);
        exchange->clientGone(streamError(ErrorCode::no_memory, "no block is left for the request's body"));
      }
      return;
    case h2::Event::Kind::trailers:
      if (!exchange->request_pipe_->end(&event.fields)) {
        session_.sendReset(*exchange, H2Error::enhance_your_calm);
        exchange->clientGone(streamError(ErrorCode::no_memory, "no memory is left for the request's trailers"));
      }
      return;
    case h2::Event::Kind::stream_error:
      if (!event.by_peer) {
        connection_.server().noteFault(connection_.client(),
                                       streamError(ErrorCode::malformed_message, event.reason).as(event.fault));
      }
      if (exchange != nullptr)
        exchange->clientGone(streamError(ErrorCode::cancelled, event.reason, static_cast<uint32_t>(event.error_code)));
      return;
    case h2::Event::Kind::window:
      if (exchange == nullptr) return pumpBlocked();
      if (exchange->relayed_ != nullptr) exchange->relayed_->pump();
      return;
    case h2::Event::Kind::settings:
      return pumpBlocked();
    case h2::Event::Kind::ping_ack:
      // The client has seen the first GOAWAY: what it sent before has arrived.
      if (draining_) finishDraining();
      return;
    default:
      return;
  }
}

bool H2Server::hasHadItsTurn() const {
  return share_.isUsedUp(connection_.server().limits.work_per_turn);
}

Status H2Server::feed(Bytes& input, Io& io) {
  h2::Event event;
  Status status;
  uint32_t requests = 0;
  gives_way_ = false;
  share_.enter(io);
  const size_t input_size = input.size();
  do {
    if (mustPause()) break;
    status = session_.next(input, event, static_cast<uint32_t>(io.nowNs() / ns_per_s));
    if (status && event.kind != h2::Event::Kind::none) onEvent(event, io);
    share_.add(session_.takeWork());
    if (hasHadItsTurn()) break;
    // Of a client that resets much, what it takes back at once need not even begin.
    if (event.kind == h2::Event::Kind::request && ++requests >= requests_at_once && !session_.hasManyResets()) {
      gives_way_ = !input.empty();
      break;
    }
  } while (status && event.kind != h2::Event::Kind::none);
  share_.add(static_cast<uint32_t>((input_size - input.size()) / h2::bytes_for_work));
  if (!status) connection_.server().noteFault(connection_.client(), status.error());
  // Whoever uses up what the guards tolerate is asked to come again on another connection, before it is cut off.
  if (status && session_.isNearItsLimits()) {
    PLAIT_RARE("a client is near its limits");
    drain();
  }
  if (!connection_.sock().output().empty()) connection_.sock().flushLater();
  updateDeadline();
  return status;
}

Task<void> H2Server::run(BufferedInput opening, Io& io) {
  connection_.begin(opening);
  Bytes& first = opening.bytes();
  if (connection_.sock().isTls()) session_.copyData();
  session_.start();
  connection_.sock().flushLater();
  idle_by_ns_ = io.nowNs() + connection_.server().timeouts.client_idle_ms * ns_per_ms;
  if (connection_.server().isDraining()) drain();
  while (feed(first, io)) {
    if (hasHadItsTurn()) {
      PLAIT_RARE("a client has had its turn");
      co_await io.nextTurn();
      if (connection_.sock().isAborted()) break;
      if (!first.empty()) continue;
    } else if (gives_way_) {
      co_await io.yield();
      if (connection_.sock().isAborted()) break;
      continue;
    }
    if (!first.empty()) {
      holdInput(first);
      co_await connection_.uploadRoom();
      if (connection_.sock().isAborted()) break;
      continue;
    }
    if (held_ != nullptr) connection_.server().send_blocks.give(std::exchange(held_, nullptr));
    if (session_.isControlBacklogged()) {
      connection_.sock().doneReading();
      PLAIT_RARE("control frames wait to be sent");
      co_await connection_.sock().drain(io.nowNs() + connection_.server().timeouts.stall_ms * ns_per_ms, io);
    }
    auto bytes = co_await connection_.sock().recv();
    if (!bytes || bytes->empty()) break;
    first = *bytes;
  }
  if (held_ != nullptr) connection_.server().send_blocks.give(std::exchange(held_, nullptr));
  const Error gone = connectionError(ErrorCode::cancelled, "the client's connection is over");
  for (h2::Stream* stream = session_.streams().front(); stream != nullptr;) {
    h2::Stream* next = session_.streams().next(*stream);
    stream->is_reset = true;
    static_cast<H2Exchange*>(stream)->clientGone(gone);
    stream = next;
  }
  co_await connection_.scope().join();
  // A slow client may take its time for what has been said, as long as it takes something.
  co_await connection_.sock().closeGracefully(never_ns, linger_ms, io, session_.unreadLimit());
  connection_.server().ended(connection_);
}

}  // namespace plait
