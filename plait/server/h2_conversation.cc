#include "plait/server/h2_conversation.h"

#include <algorithm>

#include "plait/base/rare.h"
#include "plait/server/head_room.h"
#include "plait/server/server.h"

namespace plait {
namespace {

using h2::H2Error;
using http::FieldName;

// So many requests are handed to their handlers before those go on, as far as they can without waiting: few enough that
// what was written about them is still in the nearest cache.
constexpr uint32_t requests_at_once = 4;

// A method that is longer is not looked at.
constexpr size_t longest_method = 32;

std::string_view textOf(uint16_t status) {
  return status == 414 ? "the request's target is too long\n" : "the request's fields are too large\n";
}

}  // namespace

h2::SessionConfig H2Conversation::sessionConfig(const LoopLimits& loop_limits, const ServerLimits& limits) {
  h2::SessionConfig config;
  config.max_concurrent_streams = limits.streams_per_client;
  config.max_header_list_size = loop_limits.header_bytes;
  config.max_fields = loop_limits.header_fields;
  config.max_target_size = limits.target_bytes;
  config.stream_window = limits.client_stream_window;
  // It grows for who uploads (creditConnection).
  config.connection_window = h2::default_window;
  config.send_queue_limit = loop_limits.send_queue_bytes;
  config.reset_burst = limits.reset_burst;
  config.resets_per_second = limits.resets_per_second;
  config.idle_frame_burst = loop_limits.idle_frame_burst;
  config.idle_frames_per_second = loop_limits.idle_frames_per_second;
  return config;
}

H2Conversation::H2Conversation(ServerConnection& connection)
    : connection_(connection),
      session_(h2::Role::server, connection.sock().output(), *connection.server().scratch,
               connection.server().h2_config),
      window_(h2::default_window) {
  connection.sock().setLowWater(connection.server().loop_limits.send_queue_bytes / 2);
}

void H2Conversation::finishIfDone(H2Exchange& exchange) {
  if (!exchange.handler_done_) return;
  Server& server = connection_.server();
  exchange.creditRest();
  exchange.blocked_node_.unlink();
  server.early_answers.remove(exchange);
  session_.release(exchange);
  server.h2_exchanges.destroy(&exchange);
  connection_.noteUploadTaken();
  server.uploads.noteFreed();
  if (session_.streamCount() != 0) return;
  connection_.setIdle();
  if (!awaits_rest_) restartDeadline();
  updateDeadline();
  if (goaway_final_) connection_.sock().stopReading();
}

void H2Conversation::block(H2Exchange& exchange) {
  if (!exchange.blocked_node_.isLinked()) blocked_.pushBack(exchange);
  if (connection_.sock().unsent() == 0 && session_.isQueueFull()) connection_.lookSoon();
}

void H2Conversation::pumpBlocked() {
  BlockedList round;
  BlockedList kept;
  BlockedList had_turn;
  round.spliceBack(blocked_);
  while (!session_.isQueueFull()) {
    H2Exchange* exchange = round.popFront();
    if (exchange == nullptr) break;
    // A connection's window that opens by little is used up by the first: nobody else is tried for nothing.
    if (exchange->waits_for_window_ && session_.sendWindow() == 0) {
      kept.pushBack(*exchange);
      continue;
    }
    const uint64_t sent = exchange->response_bytes_;
    if (exchange->relayed_ != nullptr) exchange->relayed_->pump();
    // A stream that got nothing through keeps its place before those that did: else the first would always be served
    // first.
    if (exchange->blocked_node_.isLinked() && exchange->response_bytes_ != sent) {
      exchange->blocked_node_.unlink();
      had_turn.pushBack(*exchange);
    }
  }
  blocked_.spliceBack(kept);
  blocked_.spliceBack(round);
  blocked_.spliceBack(had_turn);
  if (!blocked_.empty() && connection_.sock().unsent() == 0 && session_.isQueueFull()) connection_.lookSoon();
}

void H2Conversation::updateDeadline() {
  if (awaits_rest_ != session_.isReceivingHeaders()) {
    awaits_rest_ = !awaits_rest_;
    restartDeadline();
  }
  connection_.expectBy(awaits_rest_ || session_.streamCount() == 0 ? say_by_ns_ : never_ns);
}

void H2Conversation::restartDeadline() {
  const Server& server = connection_.server();
  // A client that is idle and does not answer the PING of a drain is not waited for long.
  const int64_t idle_ms = draining_ ? 1000 : server.timeouts.client_idle_ms;
  say_by_ns_ = server.io.nowNs() + (awaits_rest_ ? server.timeouts.client_header_ms : idle_ms) * ns_per_ms;
}

void H2Conversation::onDeadline() {
  if (session_.isReceivingHeaders()) {
    PLAIT_RARE("a header block does not come to its end");
    connection_.server().counters_.header_timeouts += 1;
    return connection_.abort(connectionError(ErrorCode::stalled, "the client did not finish a header block in time")
                                 .as(Fault::header_timeout));
  }
  // An idle client is told which of its requests were seen: those that cross this may be repeated (RFC 9113 §6.8).
  endIdle();
}

void H2Conversation::endIdle() {
  draining_ = true;
  finishDraining();
}

void H2Conversation::stall(H2Exchange& exchange, Fault fault, const char* reason) {
  PLAIT_RARE("a stream stalls");
  connection_.server().counters_.stalled_streams += 1;
  session_.sendReset(exchange, H2Error::cancel);
  connection_.sock().flushLater();
  const Error error = streamError(ErrorCode::stalled, reason).as(fault);
  connection_.server().noteFault(connection_.client(), error);
  exchange.clientGone(error);
}

void H2Conversation::resetStalled(TimeNs now_ns) {
  const StallWatch watch = connection_.server().stallWatch(now_ns);
  const bool is_open = session_.sendWindow() > 0;
  bool is_connection_slow = false;
  if (is_open || blocked_.empty()) {
    window_progress_.rest();
  } else {
    is_connection_slow = watch.isTakingTooLittle(window_progress_, connection_.sock().bytesSent());
  }
  h2::Stream* next = nullptr;
  for (h2::Stream* stream = session_.streams().front(); stream != nullptr; stream = next) {
    next = session_.streams().next(*stream);
    auto& exchange = *static_cast<H2Exchange*>(stream);
    if (exchange.isReset() || exchange.handler_done_) continue;
    if (exchange.waits_since_ns_ == 0) {
      exchange.window_progress_.rest();
    } else if (watch.isWindowStalled(exchange.send_window.available() != 0, is_open, exchange.response_bytes_,
                                     exchange.window_progress_, exchange.waits_since_ns_) ||
               is_connection_slow) {
      stall(exchange, Fault::window_timeout, "the client's window stayed closed, or opened by a trickle");
      continue;
    }
    const bool may_send =
        exchange.mayReceive() && exchange.receive_window.available() != 0 && session_.receiveWindow() > 0;
    if (watch.isBodyStalled(exchange, may_send, exchange.received_ns_, exchange.received_bytes_,
                            exchange.body_progress_)) {
      stall(exchange, Fault::body_timeout, "the request's body stopped, or trickled");
    }
  }
}

void H2Conversation::onOutputDrained() {
  if (connection_.sock().unsent() == 0) session_.outputFlushed();
  pumpBlocked();
}

void H2Conversation::drain() {
  // First a GOAWAY that refuses nothing, so that requests on their way are still served (RFC 9113 §6.8); the final one
  // when the PING behind it has come back.
  if (draining_) return;
  draining_ = true;
  session_.sendGoaway(h2::max_stream_id, H2Error::no_error);
  session_.sendPing(0);
  connection_.sock().flushLater();
  // Nor is one that is idle already.
  if (!awaits_rest_) say_by_ns_ = std::min(say_by_ns_, connection_.server().io.nowNs() + ns_per_s);
  updateDeadline();
}

void H2Conversation::finishDraining() {
  if (!goaway_final_) {
    goaway_final_ = true;
    // The id tells which requests a client may safely repeat elsewhere.
    session_.refuseAbove(session_.lastPeerStreamId());
    session_.sendGoaway(session_.lastPeerStreamId(), H2Error::no_error);
    connection_.sock().flushLater();
  }
  if (session_.streamCount() == 0) connection_.sock().stopReading();
}

void H2Conversation::onRequest(h2::Event& event, Io& io) {
  Server& server = connection_.server();
  const char* const why_not = server.whyNoExchange(event.request, connection_.client());
  const bool has_room = why_not == nullptr && leavesBlocksToFragments(server.headers, event.fields.heldBytes());
  if (server.h2_exchanges.available() == 0) server.early_answers.endFirst();
  H2Exchange* exchange = has_room ? server.h2_exchanges.create(*this, connection_) : nullptr;
  // The handler begins later in this turn, when all is ready for it.
  const bool is_begun = exchange != nullptr &&
                        exchange->adoptRequest(event.request, event.fields, server.uploads.blocks) &&
                        connection_.scope().spawn(server.handler.handle(*exchange, io), io);
  if (!is_begun) {
    if (exchange != nullptr) server.h2_exchanges.destroy(exchange);
    PLAIT_RARE("a request is refused");
    server.counters_.requests_refused += 1;
    session_.refuse(event.stream_id, H2Error::refused_stream);
    const Error error =
        streamError(ErrorCode::no_memory, why_not != nullptr ? why_not : "no room is left for a request");
    server.noteRejected({connection_.client(), event.request, 0, io.nowNs(), error, {}});
    return;
  }
  session_.accept(*exchange);
  server.countExchange(*exchange);
  connection_.setBusy();
  exchange->received_ns_ = exchange->startedNs();
  server.counters_.requests_h2 += 1;
  if (!event.end_stream &&
      http::equalsIgnoreCase(exchange->request().fields.value(FieldName::expect), "100-continue")) {
    // After the handler has begun, which may answer at once: then the body is not wanted.
    if (!connection_.scope().spawn(inviteBody(event.stream_id, io), io)) exchange->sendContinue();
  }
}

Task<void> H2Conversation::inviteBody(uint32_t stream_id, Io&) {
  auto* const exchange = static_cast<H2Exchange*>(session_.find(stream_id));
  if (exchange != nullptr && !exchange->handler_done_ && !exchange->isHeadSent()) exchange->sendContinue();
  co_return;
}

void H2Conversation::onRejected(h2::Event& event) {
  const ErrorCode code =
      event.fault == Fault::message_too_large ? ErrorCode::message_too_large : ErrorCode::malformed_message;
  const Error error = streamError(code, event.reason, static_cast<uint32_t>(event.error_code)).as(event.fault);
  Server& server = connection_.server();
  if (event.status != 0 && answerTooLarge(event, error)) return;
  server.noteRejected({connection_.client(), event.request, 0, server.io.nowNs(), error, {}});
}

// Answers a request whose head is too large without troubling a handler. False where there was no room for an answer,
// and the stream is reset.
bool H2Conversation::answerTooLarge(const h2::Event& event, const Error& error) {
  Server& server = connection_.server();
  // The fields that an answer depends on, of those that were kept of the head.
  alignas(8) uint8_t memory[256];
  http::RequestHead head;
  head.fields = http::FieldList(memory);
  head.version = http::Version::http_2;
  head.end_stream = event.end_stream;
  if (event.request.method.size() <= longest_method) head.method = event.request.method;
  const std::string_view type = event.fields.value(FieldName::content_type);
  if (!type.empty()) (void)head.fields.add("content-type", type, FieldName::content_type);
  H2Exchange* const exchange = server.h2_exchanges.create(*this, connection_);
  if (exchange == nullptr || !exchange->adoptRequest(head, head.fields, server.uploads.blocks)) {
    if (exchange != nullptr) server.h2_exchanges.destroy(exchange);
    session_.refuse(event.stream_id, H2Error::enhance_your_calm);
    return false;
  }
  session_.accept(*exchange);
  connection_.setBusy();
  exchange->respondError({.status = event.status, .text = textOf(event.status), .error = "http_request_error"});
  server.noteRejected({connection_.client(), event.request, exchange->status(), exchange->startedNs(), error,
                       exchange->requestId(), exchange->responseBytes()});
  exchange->end();
  return true;
}

void H2Conversation::noteStreamFault(const h2::Event& event) {
  if (event.by_peer) return;
  connection_.server().noteFault(connection_.client(),
                                 streamError(ErrorCode::malformed_message, event.reason).as(event.fault));
}

void H2Conversation::onEventAfterAnswer(H2Exchange& exchange, const h2::Event& event) {
  // The connection's part alone: what follows a complete response is not needed.
  if (event.kind == h2::Event::Kind::data) session_.credit(nullptr, event.data.size());
  if (event.kind == h2::Event::Kind::stream_error) noteStreamFault(event);
  if (exchange.isClosed()) finishIfDone(exchange);
}

void H2Conversation::onEvent(h2::Event& event, Io& io) {
  auto* exchange = static_cast<H2Exchange*>(event.stream);
  if (exchange != nullptr && exchange->handler_done_) return onEventAfterAnswer(*exchange, event);
  switch (event.kind) {
    case h2::Event::Kind::request:
      return onRequest(event, io);
    case h2::Event::Kind::rejected:
      return onRejected(event);
    case h2::Event::Kind::data:
      if (exchange->request_pipe_->isAborted() || exchange->request_pipe_->isFinished()) {
        session_.credit(exchange->hasSentEnd() ? nullptr : exchange, event.data.size());
        return;
      }
      exchange->received_ns_ = io.nowNs();
      exchange->received_bytes_ += event.data.size();
      onReceived(*exchange, static_cast<uint32_t>(event.data.size()));
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
      noteStreamFault(event);
      if (exchange == nullptr) return;
      if (event.status != 0) {
        if (exchange->isHeadSent() || exchange->cancelToken().isCancelled()) {
          session_.sendReset(*exchange, event.error_code);
        } else {
          exchange->respondError({.status = event.status, .text = textOf(event.status), .error = "http_request_error"});
        }
      }
      exchange->clientGone(streamError(ErrorCode::cancelled, event.reason, static_cast<uint32_t>(event.error_code)));
      return;
    case h2::Event::Kind::window:
      if (exchange == nullptr) return pumpBlocked();
      if (exchange->relayed_ != nullptr) exchange->relayed_->pump();
      return;
    case h2::Event::Kind::settings:
      return pumpBlocked();
    case h2::Event::Kind::ping_ack:
      if (round_trip_.take(event.opaque, io.nowNs())) return;
      // The client has seen the first GOAWAY: what it sent before has arrived.
      if (draining_) finishDraining();
      return;
    default:
      return;
  }
}

bool H2Conversation::hasHadItsTurn() const {
  return share_.isUsedUp(connection_.server().loop_limits.work_per_turn);
}

Status H2Conversation::feed(Bytes& input, Io& io) {
  h2::Event event;
  Status status;
  uint32_t requests = 0;
  gives_way_ = false;
  share_.enter(io);
  const size_t input_size = input.size();
  const auto now_s = static_cast<uint32_t>(io.nowNs() / ns_per_s);
  do {
    if (mustPause()) break;
    status = session_.next(input, event, now_s);
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
  // A client that uses up what the guards tolerate is asked to come again on another connection, before it is cut off.
  if (status && session_.isNearItsLimits()) {
    PLAIT_RARE("a client is near its limits");
    drain();
  }
  if (!connection_.sock().output().empty()) connection_.sock().flushLater();
  updateDeadline();
  return status;
}

Task<void> H2Conversation::run(BufferedInput opening, Io& io) {
  connection_.begin(opening);
  Bytes& first = opening.bytes();
  if (connection_.sock().isTls()) session_.copyData();
  session_.start();
  connection_.sock().flushLater();
  restartDeadline();
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
      PLAIT_RARE("input is held until there is memory");
      opening.park();
      co_await connection_.uploadRoom();
      if (connection_.sock().isAborted()) break;
      continue;
    }
    if (session_.isControlBacklogged()) {
      opening.park();
      PLAIT_RARE("control frames wait to be sent");
      Task<void> draining =
          connection_.sock().drain(io.nowNs() + connection_.server().timeouts.stall_ms * ns_per_ms, io);
      if (!draining) break;
      co_await std::move(draining);
    }
    opening.start({});
    auto bytes = co_await connection_.sock().recv();
    if (!bytes || bytes->empty()) break;
    opening.start(*bytes);
  }
  first = {};
  opening.park();
  const Error gone = connectionError(ErrorCode::cancelled, "the client's connection is over");
  for (h2::Stream* stream = session_.streams().front(); stream != nullptr;) {
    h2::Stream* next = session_.streams().next(*stream);
    stream->reset();
    auto& exchange = *static_cast<H2Exchange*>(stream);
    if (exchange.handler_done_) {
      finishIfDone(exchange);
    } else {
      exchange.clientGone(gone);
    }
    stream = next;
  }
  co_await connection_.scope().join();
  co_await connection_.sayFarewell(io, session_.unreadLimit());
  connection_.server().ended(connection_);
}

}  // namespace plait
