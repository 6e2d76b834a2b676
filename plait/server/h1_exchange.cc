// One request of a client that speaks HTTP/1.1, and how its response is written.
#include "plait/server/h1_conversation.h"
#include "plait/server/server.h"

namespace plait {

H1Exchange::H1Exchange(H1Conversation& server, ServerConnection& connection)
    : Exchange(connection.server().io, connection.client(), connection.server().headers,
               connection.server().request_ids),
      server_(server) {}

const TlsSession* H1Exchange::tls() const {
  return server_.connection_.sock().tls();
}

void H1Exchange::drainConnection() {
  server_.connection_.drain();
}

void H1Exchange::onConsumed(size_t) {
  stuck_since_ns_ = io_.nowNs();
  server_.wake();
  server_.connection_.noteUploadTaken();
  server_.connection_.server().uploads.noteFreed();
}

void H1Exchange::onConsumerGone(const Error& error) {
  server_.wake();
  server_.connection_.noteUploadTaken();
  server_.connection_.server().uploads.noteFreed();
  onRequestOver(error);
}

void H1Exchange::onRequestOver(const Error& error) {
  if (is_half_open_) bodyDone(error);
}

size_t H1Exchange::onBody(Bytes bytes, bool last) {
  UltraSock& sock = server_.connection_.sock();
  const size_t limit = server_.connection_.server().loop_limits.send_queue_bytes;
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
  server.uploads.noteFreed();
}

}  // namespace plait
