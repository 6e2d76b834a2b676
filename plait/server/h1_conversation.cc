#include "plait/server/h1_conversation.h"

#include "plait/base/rare.h"
#include "plait/server/head_room.h"
#include "plait/server/server.h"

namespace plait {
namespace {

// Bytes of one request's body that may wait in the pipe before reading pauses; TCP's window then slows the client.
constexpr size_t max_buffered_body = 64 * 1024;

}  // namespace

H1Exchange::H1Exchange(H1Conversation& server, ServerConnection& connection)
    : Exchange(connection.server().io, connection.client(), connection.server().headers,
               connection.server().request_ids),
      server_(server) {}

void H1Exchange::onConsumed(size_t) {
  stuck_since_ns_ = io_.nowNs();
  server_.wake();
  server_.connection_.noteUploadTaken();
  server_.connection_.server().noteUploadRoom();
}

void H1Exchange::onConsumerGone(const Error& error) {
  server_.wake();
  server_.connection_.noteUploadTaken();
  server_.connection_.server().noteUploadRoom();
  onRequestOver(error);
}

void H1Exchange::onRequestOver(const Error& error) {
  if (is_half_open_) bodyDone(error);
}

size_t H1Exchange::onBody(Bytes bytes, bool last) {
  UltraSock& sock = server_.connection_.sock();
  const size_t limit = server_.connection_.server().limits.send_queue_bytes;
  if (sock.output().size() >= limit) return 0;
  auto taken = writer_.write(sock.output(), bytes, limit - sock.output().size());
  if (!taken) {
    abort(taken.error());
    bodyDone(taken.error());
    return is_replaced_ ? 0 : bytes.size();
  }
  response_bytes_ += *taken;
  sock.flushLater();
  if (*taken != bytes.size() && sock.unsent() == 0) server_.connection_.lookSoon();
  if (last && *taken == bytes.size() && !onBodyEnd(nullptr)) {
    // A byte that was not taken would be sent again, so a last chunk that does not fit behind its data cannot wait.
    const Error error = connectionError(ErrorCode::no_memory, "no block is left for the end of a response");
    abort(error);
    bodyDone(error);
  }
  return *taken;
}

bool H1Exchange::onBodyEnd(const http::FieldList* trailers) {
  UltraSock& sock = server_.connection_.sock();
  if (Status status = writer_.finish(sock.output(), trailers); !status) {
    if (status.error().code == ErrorCode::no_memory) {
      if (sock.unsent() == 0) server_.connection_.lookSoon();
      return false;
    }
    abort(status.error());
    bodyDone(status.error());
    return true;
  }
  sock.flushLater();
  if (trailers != nullptr) noteGrpcStatus(*trailers);
  if (is_tunnel_ && !request_pipe_->isFinished() && !request_pipe_->isAborted()) {
    // The client learns that its backend has ended its direction, and may still send.
    sock.endOutput();
    is_half_open_ = true;
    return true;
  }
  bodyDone();
  return true;
}

void H1Exchange::onBodyAborted(const Error& error) {
  abort(error);
  bodyDone(error);
}

bool H1Exchange::sendInterim(const http::ResponseHead& head) {
  if (head_sent_ || request_.version == http::Version::http_1_0) return false;
  UltraSock& sock = server_.connection_.sock();
  if (!h1::writeInterimHead(sock.output(), head.status, head.fields)) return false;
  sock.flushLater();
  return true;
}

bool H1Exchange::sendHead(const http::ResponseHead& head, bool end_stream) {
  if (head_sent_ || cancel_.isCancelled()) return false;
  UltraSock& sock = server_.connection_.sock();
  http::ResponseHead own = head;
  own.end_stream = end_stream;
  // A request body that nobody reads to its end cannot be told from the next request.
  is_tunnel_ = head.status == 101 && !request_.protocol.empty();
  const bool unread = !request_.end_stream && request_.protocol.empty() && !request_pipe_->isEnded();
  if (!parse_.keep_alive || unread || server_.connection_.server().isDraining()) server_.close_after_ = true;
  head_position_ = sock.position();
  auto framing = h1::writeResponseHead(sock.output(), own,
                                       {.request_method = request_.method,
                                        .request_version = request_.version,
                                        .close = server_.close_after_,
                                        .protocol = request_.protocol,
                                        .date = server_.connection_.server().date()});
  if (!framing) return false;
  if (is_tunnel_) framing = h1::BodyFraming::until_close;
  if (*framing == h1::BodyFraming::until_close) server_.close_after_ = true;
  noteHead(head.status);
  writer_.start(*framing, is_tunnel_ ? http::unknown_length : head.content_length);
  sock.flushLater();
  if (is_tunnel_) server_.wake();
  if (end_stream || *framing == h1::BodyFraming::none) {
    if (!writer_.isDone()) {
      if (Status status = writer_.finish(sock.output()); !status) abort(status.error());
    }
    bodyDone();
  }
  return true;
}

void H1Exchange::sendShortBody(std::string_view text) {
  UltraSock& sock = server_.connection_.sock();
  auto taken = writer_.write(sock.output(), asBytes(text));
  if (!taken || *taken != text.size() || !writer_.finish(sock.output())) {
    abort(streamError(ErrorCode::no_memory, "no room for the error's text"));
  } else {
    response_bytes_ += text.size();
  }
  bodyDone();
}

void H1Exchange::abort(const Error& error) {
  // HTTP/1.1 can say "broken off" only by closing before the end (RFC 9112 §8).
  server_.close_after_ = true;
  UltraSock& sock = server_.connection_.sock();
  const bool is_unseen =
      head_sent_ && !is_tunnel_ && !cancel_.isCancelled() && !sock.isAborted() && head_position_ >= sock.offered();
  const bool looks_whole = writer_.looksWhole();
  if (is_unseen && (error.isGibberish() || looks_whole) && answerInstead()) return;
  // Else the response is sent as far as it goes: a client that gets nothing at all could not tell what has happened.
  if (head_sent_ && (!is_unseen || looks_whole)) {
    // Where closing is what ends the body, only a reset says that it is not whole.
    if (writer_.framing() == h1::BodyFraming::until_close) sock.resetOnClose();
    sock.abort(error);
  }
  server_.wake();
}

bool H1Exchange::answerInstead() {
  if (is_replaced_) return false;
  is_replaced_ = true;
  if (relayed_ != nullptr) {
    std::exchange(relayed_, nullptr)->cancel(streamError(ErrorCode::body_aborted, "another response takes its place"));
  }
  server_.connection_.sock().takeBack(head_position_);
  head_sent_ = false;
  response_bytes_ = 0;
  respondError({.status = 502, .text = "the backend's response broke off", .error = "http_response_incomplete"});
  return head_sent_;
}

void H1Exchange::end() {
  server_.connection_.server().uncountExchange(*this);
  if (!body_done_) abort(connectionError(ErrorCode::body_aborted, "the response was not completed"));
  // With its exchange the tunnel is over: nothing more is read from the client.
  if (is_tunnel_) server_.connection_.sock().stopReading();
  server_.exchange_ = nullptr;
  server_.wake();
  server_.connection_.noteUploadTaken();
  Server& server = server_.connection_.server();
  server.h1_exchanges.destroy(this);
  server.noteUploadRoom();
}

H1Conversation::H1Conversation(ServerConnection& connection)
    : connection_(connection), input_(connection.sock(), connection.server().headers.classes()) {
  const Limits& limits = connection.server().limits;
  limits_.fields_size = limits.header_bytes;
  limits_.field_count = limits.header_fields;
  limits_.target_size = limits.target_bytes;
  limits_.start_line_size = limits.target_bytes + 64;  // with a method and a version
}

// Waits until the exchange ended, its body moved on, or the connection is drained.
struct H1Conversation::ChangeAwaiter {
  H1Conversation& server;
  explicit ChangeAwaiter(H1Conversation& waiting) : server(waiting) {}
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> handle) { server.waiter_ = handle; }
  void await_resume() const {}
};

void H1Conversation::wake() {
  if (waiter_) connection_.server().io.ready(std::exchange(waiter_, nullptr));
}

void H1Conversation::onOutputDrained() {
  if (exchange_ != nullptr && exchange_->relayed_ != nullptr) exchange_->relayed_->pump();
}

void H1Conversation::onPeerClosed() {
  peer_closed_ = true;
  if (exchange_ != nullptr && !exchange_->is_tunnel_) {
    // A client that closes while it waits for an answer has gone: HTTP/1.1 has no other way to say so. It may be a
    // half-close all the same (readEnd), and who has sent more requests may still want the answers. A reset is neither.
    const UltraSock& sock = connection_.sock();
    const bool may_wait = !exchange_->parse_.keep_alive || sock.isTls() ||
                          connection_.server().timeouts.half_close_ms != 0 || !input_.empty() || sock.hasUnread();
    if (sock.isReset() || !may_wait) leave();
  }
  wake();
}

void H1Conversation::leave() {
  PLAIT_RARE("a client of HTTP/1.1 has gone");
  close_after_ = true;
  exchange_->clientGone(connectionError(ErrorCode::cancelled, "the client closed its connection"));
}

Task<void> H1Conversation::readEnd(Io& io) {
  const UltraSock& sock = connection_.sock();
  bool is_notified = false;
  if (sock.isTls() && input_.empty()) {
    // Whether close_notify came before the FIN is in records that nobody has read yet.
    const auto more = co_await input_.more();
    is_notified = more && !*more;
  }
  if (exchange_ == nullptr || !input_.empty()) co_return;
  if (sock.isReset()) co_return leave();
  // It has sent another request, and may still want both answers.
  if (sock.hasUnread()) co_return;
  // The client has said that nothing more comes: its FIN means no more than that.
  if (is_notified || !exchange_->parse_.keep_alive) co_return;
  const int64_t half_close_ms = connection_.server().timeouts.half_close_ms;
  if (half_close_ms == 0) co_return leave();
  PLAIT_RARE("a client of HTTP/1.1 is half-closed");
  half_closed_at_ = sock.position();
  connection_.expectBy(io.nowNs() + half_close_ms * ns_per_ms);
}

// A request whose body nobody can read is over.
template <class T>
Task<T> H1Conversation::orAborted(Task<T> reading) {
  if (!reading) onAborted(connectionError(ErrorCode::no_memory, "no memory is left for another task"));
  return reading;
}

void H1Conversation::onAborted(const Error& error) {
  close_after_ = true;
  if (exchange_ != nullptr) exchange_->clientGone(error);
  wake();
}

size_t H1Conversation::refuse(uint16_t status, const http::RequestHead& request, const Error& why,
                              std::string_view id) {
  const WrittenAnswer written(
      {.status = status, .text = why.reason, .error = status == 503 ? "proxy_internal_error" : "http_request_error"},
      request, id);
  UltraSock& sock = connection_.sock();
  if (!h1::writeResponseHead(sock.output(), written.head(),
                             {.request_method = request.method, .close = true, .date = connection_.server().date()}))
    return 0;
  sock.flushLater();
  // The connection ends behind it: a text for which there is no block is seen to be missing.
  return sock.output().append(asBytes(written.body())) ? written.body().size() : 0;
}

void H1Conversation::failRequest(uint16_t status, std::string_view text, const Error& error) {
  close_after_ = true;
  Server& server = connection_.server();
  server.noteFault(connection_.client(), error);
  if (exchange_ == nullptr) return;
  H1Exchange& exchange = *exchange_;
  if (!exchange.isHeadSent() && !exchange.cancel_.isCancelled()) {
    exchange.respondError({.status = status, .text = text, .error = "http_request_error"});
  }
  exchange.clientGone(error);
}

bool H1Conversation::onDeadline() {
  Server& server = connection_.server();
  if (reads_head_ && !input_.empty()) {
    PLAIT_RARE("a head does not come to its end");
    server.counters_.header_timeouts += 1;
    timed_out_ = true;
  } else if (waits_for_body_ && exchange_ != nullptr && exchange_->isHeadSent()) {
    // Both sides may take their time then: a stream of messages is silent for as long as it likes.
    connection_.expectBy(server.io.nowNs() + server.timeouts.stall_ms * ns_per_ms);
    return true;
  } else if (peer_closed_ && exchange_ != nullptr && !waits_for_body_) {
    if (const uint64_t position = connection_.sock().position(); position != half_closed_at_) {
      half_closed_at_ = position;
      connection_.expectBy(server.io.nowNs() + server.timeouts.half_close_ms * ns_per_ms);
    } else {
      leave();
    }
    return true;
  } else if (waits_for_body_) {
    PLAIT_RARE("a body stops");
    server.counters_.stalled_streams += 1;
    failRequest(408, "the request's body stopped\n",
                streamError(ErrorCode::stalled, "the request's body stopped, or trickled").as(Fault::body_timeout));
  } else if (!server.isDraining() || !isIdle()) {
    return false;
  }
  connection_.sock().stopReading();
  return true;
}

// Its end is all that a client has left to say once its request is whole.
void H1Conversation::watchEnd() {
  if (exchange_ != nullptr && !exchange_->is_tunnel_ && decoder_.isDone() && input_.empty())
    connection_.sock().watchEnd();
}

void H1Conversation::checkBody(TimeNs now_ns) {
  if (!waits_for_body_ || exchange_ == nullptr || exchange_->isHeadSent() ||
      exchange_->request_pipe_->bufferedBytes() != 0) {
    return body_progress_.rest();
  }
  const Server& server = connection_.server();
  const int64_t stall_ns = server.timeouts.stall_ms * ns_per_ms;
  if (body_progress_.isTooSlow(now_ns, body_bytes_, stall_ns, server.uploadFloor(*exchange_))) onDeadline();
}

void H1Conversation::noteUpload() {
  Server& server = connection_.server();
  if (exchange_->request_pipe_->bufferedBytes() == 0) exchange_->stuck_since_ns_ = server.io.nowNs();
  if (!server.uploadsAreAmple()) [[unlikely]]
    server.watchUploads();
}

size_t H1Conversation::heldUpload() const {
  const http::Pipe* const body = exchange_ == nullptr ? nullptr : exchange_->requestBody();
  return body == nullptr ? 0 : body->bufferedBytes();
}

size_t H1Conversation::stuckUpload(TimeNs before_ns) const {
  const size_t held = heldUpload();
  return held != 0 && exchange_->stuck_since_ns_ <= before_ns ? held : 0;
}

void H1Conversation::endStuckUpload() {
  const Error error = stuckUploadError();
  if (exchange_->isHeadSent()) {
    // Only the end of the connection says that nothing more of the request is wanted.
    Error reaching = error;
    reaching.reach = Reach::connection;
    return connection_.abort(reaching);
  }
  failRequest(408, stuck_upload_text, error);
  connection_.sock().stopReading();
}

Task<bool> H1Conversation::readBody(Io& io) {
  alignas(8) uint8_t memory[2048];
  while (!decoder_.isDone()) {
    // No byte of a body is read for which there is no memory.
    while (!connection_.server().takesUpload(heldUpload()) && exchange_ != nullptr && !connection_.sock().isAborted()) {
      input_.park();
      co_await connection_.uploadRoom();
    }
    if (exchange_ == nullptr) co_return false;  // answered early: the rest is not read, the connection closes
    http::FieldList trailers(memory);
    auto event = decoder_.next(input_.bytes(), trailers);
    if (!event) {
      failRequest(event.error().status, "the request's body is malformed\n",
                  streamError(event.error().error.code, event.error().error.reason));
      co_return false;
    }
    if (event->kind == h1::BodyEvent::Kind::need_more) {
      connection_.expectBy(io.nowNs() + connection_.server().timeouts.stall_ms * ns_per_ms);
      waits_for_body_ = true;
      const auto more = co_await input_.more();
      waits_for_body_ = false;
      if (!more || !*more) {
        if (exchange_ != nullptr)
          exchange_->clientGone(connectionError(ErrorCode::cancelled, "the client's request broke off"));
        co_return false;
      }
      connection_.expectBy(never_ns);
      continue;
    }
    http::Pipe& pipe = *exchange_->request_pipe_;
    const bool wanted = !pipe.isAborted() && !pipe.isFinished();
    if (event->kind == h1::BodyEvent::Kind::end) {
      if (wanted) (void)pipe.end(event->has_trailers ? &trailers : nullptr);
      co_return true;
    }
    body_bytes_ += event->data.size();
    noteUpload();
    if (wanted && !pipe.push(event->data, event->last)) {
      exchange_->clientGone(connectionError(ErrorCode::no_memory, "no block is left for the request's body"));
      co_return false;
    }
    if (event->last) co_return true;
    while (exchange_ != nullptr && exchange_->request_pipe_->bufferedBytes() > max_buffered_body &&
           !exchange_->request_pipe_->isAborted()) {
      input_.park();
      co_await ChangeAwaiter(*this);
    }
  }
  co_return true;
}

Task<void> H1Conversation::readTunnel(Io&) {
  while (exchange_ != nullptr) {
    http::Pipe& pipe = *exchange_->request_pipe_;
    if (!input_.empty()) {
      while (!connection_.server().takesUpload(heldUpload()) && !connection_.sock().isAborted()) {
        input_.park();
        co_await connection_.uploadRoom();
      }
      if (exchange_ == nullptr) break;
      const Bytes bytes = std::exchange(input_.bytes(), Bytes());
      noteUpload();
      if (!pipe.push(bytes, false)) {
        exchange_->clientGone(connectionError(ErrorCode::no_memory, "no block is left for a tunnel's bytes"));
      }
      continue;
    }
    if (pipe.bufferedBytes() > max_buffered_body && !pipe.isAborted()) {
      input_.park();
      co_await ChangeAwaiter(*this);
      continue;
    }
    const auto more = co_await input_.more();
    if (more && *more) continue;
    // The client has ended its direction: the backend is told, and may still send. A broken connection ends both ways.
    if (exchange_ == nullptr) break;
    if (more) {
      if (!pipe.isEnded()) (void)pipe.end(nullptr);
      while (exchange_ != nullptr && !pipe.isFinished() && !pipe.isAborted()) co_await ChangeAwaiter(*this);
      if (exchange_ != nullptr) exchange_->onRequestOver();
    } else {
      exchange_->clientGone(more.error());
    }
    break;
  }
}

Task<H1Conversation::Outcome> H1Conversation::serveOne(Io& io) {
  Server& server = connection_.server();
  http::RequestHead head;
  size_t scanned = 0;
  h1::HeadParse parse;
  connection_.expectBy(
      io.nowNs() + (input_.empty() ? server.timeouts.client_idle_ms : server.timeouts.client_header_ms) * ns_per_ms);
  uint16_t refused = 0;
  bool ended = false;
  bool is_foreign = false;
  const TimeNs begun_ns = io.nowNs();
  Error why = connectionError(ErrorCode::no_memory, "no room is left for a request");
  reads_head_ = true;
  while (true) {
    if (!input_.empty()) {
      // Nothing suspends between parsing and copying, so all connections of the worker may share this memory.
      head.fields = http::FieldList(server.scratch->fields);
      auto parsed = h1::parseRequestHead(input_.bytes(), scanned, head, limits_);
      if (!parsed) {
        refused = parsed.error().status;
        why = parsed.error().error;
        is_foreign = parsed.error().is_foreign;
        break;
      }
      if (parsed->complete) {
        parse = *parsed;
        break;
      }
    }
    const bool was_empty = input_.empty();
    const auto more = co_await input_.more();
    if (!more && more.error().code == ErrorCode::message_too_large) {
      refused = 431;
      why = more.error();
      head = {};
      break;
    }
    // Other connections have used the memory of the fields meanwhile.
    head = {};
    if (timed_out_) {
      refused = 408;
      why = connectionError(ErrorCode::stalled, "the client did not finish a request's head in time")
                .as(Fault::header_timeout);
      break;
    }
    if (!more && more.error().code == ErrorCode::no_memory) {
      refused = 503;
      server.counters_.requests_refused += 1;
      break;
    }
    if (!more || !*more) {
      ended = true;
      break;
    }
    if (was_empty) connection_.expectBy(io.nowNs() + server.timeouts.client_header_ms * ns_per_ms);
  }
  reads_head_ = false;
  connection_.expectBy(never_ns);
  if (refused == 0 && !ended) {
    input_.bytes() = input_.bytes().subspan(parse.consumed);
    if (const char* const reason = server.whyNoExchange(head, connection_.client()); reason != nullptr) {
      why = connectionError(ErrorCode::no_memory, reason);
    } else if (leavesBlocksToFragments(server.headers, head.fields.heldBytes())) {
      exchange_ = server.h1_exchanges.create(*this, connection_);
    }
    // Once a tunnel is open, its bytes to the backend are the request's body.
    head.end_stream = parse.framing == h1::BodyFraming::none && head.protocol.empty();
    // The handler begins later in this turn, when all is ready for it.
    const bool is_begun = exchange_ != nullptr && exchange_->adoptRequest(head, head.fields, server.upload_blocks) &&
                          connection_.scope().spawn(server.handler.handle(*exchange_, io), io);
    if (!is_begun) {
      if (exchange_ != nullptr) server.h1_exchanges.destroy(std::exchange(exchange_, nullptr));
      server.counters_.requests_refused += 1;
      refused = 503;
    } else {
      server.countExchange(*exchange_);
    }
  }
  if (refused != 0) {
    // Where HTTP/2 is spoken as well, a connection that begins like neither version may be a preface gone wrong. Its
    // sender would take a text for a frame, so it gets none (RFC 9113 §3.4, RFC 9112 §2.2).
    const bool is_mute = is_foreign && !had_request_ && connection_.sock().alpn().empty();
    if (head.version == http::Version::http_2) head.version = http::Version::http_1_1;
    // A head that cannot be read to its end still tells whether its client waits for content.
    if (head.method.empty() && asText(input_.bytes()).starts_with("HEAD ")) head.method = "HEAD";
    char id_text[http::RequestIds::size];
    const std::string_view id = is_mute ? std::string_view() : server.request_ids.next(id_text);
    const size_t bytes = is_mute ? 0 : refuse(refused, head, why, id);
    server.noteRejected({connection_.client(), head, is_mute ? uint16_t{0} : refused, begun_ns, why, id, bytes});
  }
  had_request_ = true;
  if (refused != 0 || ended) co_return Outcome::close;

  connection_.setBusy();
  body_bytes_ = 0;
  server.counters_.requests_h1 += 1;
  H1Exchange& exchange = *exchange_;
  exchange.parse_ = parse;
  // The head's own memory is gone: the names that Connection nominated are looked up again in the exchange's copy.
  exchange.parse_.connection = {};
  for (const http::Field field : exchange.request_.fields) {
    if (field.id == http::FieldName::connection)
      (void)http::parseConnectionValue(field.value, exchange.parse_.connection);
  }
  decoder_.start(parse.framing, head.content_length, limits_, &exchange.parse_.connection);
  if (parse.expect_continue && !exchange.request_.end_stream) {
    // plait itself invites the body: waiting for the backend's 100 would cost a round trip, and the retry rules decide
    // how much of the body is sent on.
    exchange.sendContinue();
  }
  if (!exchange.request_.end_stream && !co_await orAborted(readBody(io))) close_after_ = true;
  bool is_end_known = false;
  while (exchange_ != nullptr) {
    if (exchange_->is_tunnel_) {
      co_await orAborted(readTunnel(io));
      input_.bytes() = {};
      input_.park();
      while (exchange_ != nullptr) co_await ChangeAwaiter(*this);
      co_return Outcome::close;
    }
    if (peer_closed_ && !std::exchange(is_end_known, true)) co_await readEnd(io);
    if (exchange_ == nullptr) break;
    input_.park();
    watchEnd();
    co_await ChangeAwaiter(*this);
  }
  co_return close_after_ ? Outcome::close : Outcome::next;
}

Task<void> H1Conversation::run(BufferedInput opening, Io& io) {
  connection_.begin(opening);
  input_.start(opening.bytes());
  while (co_await serveOne(io) == Outcome::next) connection_.setIdle();
  input_.bytes() = {};
  input_.park();
  co_await connection_.scope().join();
  co_await connection_.sayFarewell(io);
  connection_.server().ended(connection_);
}

}  // namespace plait
