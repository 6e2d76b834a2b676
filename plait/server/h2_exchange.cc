// One request of a client that speaks HTTP/2, and the frames of its response.
#include "plait/http/field_rules.h"
#include "plait/server/h2_conversation.h"
#include "plait/server/server.h"

namespace plait {
namespace {

using h2::H2Error;
using http::FieldName;

// Fields that differ from one response to the next would only push useful entries out of the client's table.
constexpr h2::IndexingRules indexing_rules = {
    {h2::Indexing::repeated,
     {FieldName::etag, FieldName::content_length, FieldName::last_modified, FieldName::location}},
    {h2::Indexing::avoid,
     {FieldName::set_cookie, FieldName::content_range, FieldName::x_request_id, FieldName::x_correlation_id,
      FieldName::server_timing}}};

// TE, even of "trailers", is for requests alone (RFC 9113 §8.2.2).
[[gnu::noinline]] bool concernsOneHop(http::Field field) {
  return field.id == FieldName::te || http::isHopByHop(field, http::ConnectionTokens());
}

}  // namespace

H2Exchange::H2Exchange(H2Conversation& server, ServerConnection& connection)
    : Exchange(connection.server().io, connection.client(), connection.server().headers,
               connection.server().request_ids),
      server_(server) {}

const TlsSession* H2Exchange::tls() const {
  return server_.connection_.sock().tls();
}

void H2Exchange::drainConnection() {
  server_.connection_.drain();
}

size_t H2Exchange::onBody(Bytes bytes, bool last) {
  if (isClosed()) return 0;
  const size_t taken = server_.session_.sendData(*this, bytes, last);
  response_bytes_ += taken;
  server_.connection_.sock().flushLater();
  if (taken != 0) waits_since_ns_ = 0;
  if (taken != bytes.size() && waits_since_ns_ == 0) waits_since_ns_ = io_.nowNs();
  if (taken != bytes.size()) {
    waits_for_window_ = true;
    server_.block(*this);
  } else if (hasSentEnd()) {
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
    waits_for_window_ = false;
    server_.block(*this);
    return false;
  }
  server_.connection_.sock().flushLater();
  if (trailers != nullptr) noteGrpcStatus(*trailers);
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
  if (id == 0 || !maySend() || !session.canSendHeaders(head.fields.listSize() + 64, head.fields.count() + 2))
    return false;
  session.beginHeaders();
  const char digits[3] = {static_cast<char>('0' + head.status / 100), static_cast<char>('0' + head.status / 10 % 10),
                          static_cast<char>('0' + head.status % 10)};
  session.addField(FieldName::pseudo_status, {digits, 3},
                   head.is_status_never_indexed ? h2::Indexing::never : h2::Indexing::allow);
  bool has_date = false;
  for (const http::Field field : head.fields) {
    if (http::hop_by_hop_names.contains(field.id) && concernsOneHop(field)) continue;
    // Responses that cannot have content must not say how long it is (RFC 9110 §8.6).
    if (field.id == FieldName::content_length && (head.status < 200 || head.status == 204)) continue;
    has_date |= field.id == FieldName::date;
    session.addField(field.name, field.value, field.id, indexing_rules.of(field));
  }
  // A response that came without a date gets that of its arrival (RFC 9110 §6.6.1).
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

bool H2Exchange::hasRoomFor(size_t bytes) const {
  // The head takes its part of the queue before.
  constexpr size_t most_head = 4096;
  return server_.session_.sendable(*this) >= bytes + most_head;
}

void H2Exchange::sendShortBody(std::string_view text) {
  if (server_.session_.sendData(*this, asBytes(text), true) != text.size()) {
    abort(streamError(ErrorCode::no_memory, "no room for the error's text"));
  } else {
    response_bytes_ += text.size();
  }
  bodyDone();
}

void H2Exchange::abort(const Error& error) {
  if (id == 0 || isClosed()) return;
  const H2Error code = error.code == ErrorCode::cancelled        ? H2Error::cancel
                       : error.code == ErrorCode::refused_stream ? H2Error::refused_stream
                                                                 : H2Error::internal_error;
  server_.session_.sendReset(*this, code);
  server_.connection_.sock().flushLater();
}

void H2Exchange::end() {
  handler_done_ = true;
  server_.connection_.server().uncountExchange(*this);
  if (!isClosed() && hasSentEnd()) {
    creditRest();
    dropRequest();
    answered_at_ = server_.connection_.sock().position();
    return server_.connection_.server().early_answers.add(*this);
  }
  if (!isClosed()) {
    server_.session_.sendReset(*this, H2Error::internal_error);
    server_.connection_.sock().flushLater();
  }
  server_.finishIfDone(*this);
}

bool H2Exchange::hasResponseLeft() const {
  const UltraSock& sock = server_.connection_.sock();
  // With TLS what has been encrypted has not left yet.
  return sock.isTls() ? sock.unsent() == 0 : sock.offered() >= answered_at_;
}

void H2Exchange::stopRequest() {
  server_.session_.sendReset(*this, H2Error::no_error);
  server_.connection_.sock().flushLater();
  server_.finishIfDone(*this);
}

}  // namespace plait
