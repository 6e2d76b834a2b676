#include "plait/server/h1_conversation.h"

#include "plait/base/rare.h"
#include "plait/server/head_room.h"
#include "plait/server/server.h"

namespace plait {
namespace {

// Bytes of one request's body that may wait in the pipe before reading pauses; TCP's window then slows the client.
constexpr size_t max_buffered_body = 64 * 1024;

}  // namespace

H1Conversation::H1Conversation(ServerConnection& connection)
    : connection_(connection), input_(connection.sock(), connection.server().headers.classes()) {
  const LoopLimits& loop_limits = connection.server().loop_limits;
  const ServerLimits& limits = connection.server().limits;
  limits_.fields_size = loop_limits.header_bytes;
  limits_.field_count = loop_limits.header_fields;
  limits_.target_size = limits.target_bytes;
  limits_.start_line_size = limits.target_bytes + 64;  // with a method and a version
}

// Goes on behind what is ready now.
struct HandlerFirst {
  Io& io;
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> handle) { io.ready(handle); }
  void await_resume() const {}
};

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
  if (!waits_for_body_ || exchange_ == nullptr) return body_progress_.rest();
  // Silence has a deadline of its own.
  if (connection_.server().stallWatch(now_ns).isBodyStalled(*exchange_, true, now_ns, body_bytes_, body_progress_))
    onDeadline();
}

void H1Conversation::noteUpload() {
  Server& server = connection_.server();
  if (exchange_->request_pipe_->bufferedBytes() == 0) exchange_->stuck_since_ns_ = server.io.nowNs();
  if (!server.uploads.isAmple()) [[unlikely]]
    server.uploads.watch();
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
    while (!connection_.server().uploads.takes(heldUpload()) && exchange_ != nullptr &&
           !connection_.sock().isAborted()) {
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
      while (!connection_.server().uploads.takes(heldUpload()) && !connection_.sock().isAborted()) {
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
    const bool is_begun = exchange_ != nullptr && exchange_->adoptRequest(head, head.fields, server.uploads.blocks) &&
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
    // how much of the body is sent on. The handler goes first: where it answers at once the body is not wanted.
    co_await HandlerFirst{io};
    if (exchange_ == nullptr) co_return Outcome::close;
    if (!exchange.isHeadSent()) exchange.sendContinue();
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
