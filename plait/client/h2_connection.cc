#include "plait/client/h2_connection.h"

#include <algorithm>

#include "plait/client/pool.h"
#include "plait/http/field_rules.h"

namespace plait {
namespace {

using h2::H2Error;
using http::FieldName;

h2::SessionConfig sessionConfig(const Limits& limits) {
  h2::SessionConfig config;
  config.stream_window = limits.upstream_stream_window;
  config.connection_window = limits.upstream_connection_window;
  config.send_queue_limit = limits.send_queue_bytes;
  return config;
}

// Upstream connections are shared by many clients: what belongs to one of them stays out of the table (DESIGN.md §4).
h2::Indexing indexingOf(const http::Field& field) {
  if (field.never_indexed) return h2::Indexing::never;
  switch (field.id) {
    case FieldName::authorization:
    case FieldName::proxy_authorization:
    case FieldName::cookie:
      return h2::Indexing::never;
    case FieldName::content_length:
    case FieldName::x_forwarded_for:
    case FieldName::forwarded:
    case FieldName::x_request_id:
    case FieldName::traceparent:
    case FieldName::grpc_timeout:
    case FieldName::if_none_match:
    case FieldName::if_modified_since:
    case FieldName::range:
    case FieldName::referer:
      return h2::Indexing::avoid;
    default:
      return h2::Indexing::allow;
  }
}

Error resetError(H2Error code) {
  switch (code) {
    case H2Error::refused_stream:
      return streamError(ErrorCode::refused_stream, "the backend refused the stream (RFC 9113 §8.7)", static_cast<uint32_t>(code));
    case H2Error::http_1_1_required:
      return streamError(ErrorCode::http_1_1_required, "the backend wants HTTP/1.1 (RFC 9113 §7)", static_cast<uint32_t>(code));
    default:
      return streamError(ErrorCode::stream_reset, "the backend reset the stream", static_cast<uint32_t>(code));
  }
}

}  // namespace

H2UpstreamStream::H2UpstreamStream(H2Connection& connection, const UpstreamMemory& memory)
    : UpstreamStream(connection, memory) {
  response_pipe.setProducer(this);
}

H2Connection& H2UpstreamStream::owner() const { return static_cast<H2Connection&>(connection()); }

void H2UpstreamStream::onConsumed(size_t count) {
  // The connection's credit went back on receipt: one slow reader must not hold up the others (DESIGN.md §5).
  if (id == 0 || closed) return;
  owner().session_.creditStream(*this, count);
  owner().sock_.flushLater();
}

void H2UpstreamStream::onConsumerGone(const Error&) {
  if (!closed) owner().reset(*this, H2Error::cancel);
}

size_t H2UpstreamStream::onBody(Bytes bytes, bool last) {
  if (closed) return 0;
  const size_t taken = owner().session_.sendData(*this, bytes, last);
  owner().sock_.flushLater();
  if (taken != 0) deadline_ns = std::max(deadline_ns, owner().pool_.io().nowNs());
  if (taken != bytes.size()) owner().block(*this);
  if (local_ended) owner().finishIfDone(*this);
  return taken;
}

bool H2UpstreamStream::onBodyEnd(const http::FieldList* trailers) {
  if (closed) return true;
  h2::Session& session = owner().session_;
  if (trailers != nullptr) {
    if (!session.canSendHeaders(trailers->listSize(), trailers->count())) {
      owner().block(*this);
      return false;
    }
    session.beginHeaders();
    for (const http::Field field : *trailers) session.addField(field.name, field.value, field.id, indexingOf(field));
    session.endHeaders(*this, true);
  } else if (!session.sendEnd(*this)) {
    owner().block(*this);
    return false;
  }
  owner().sock_.flushLater();
  owner().finishIfDone(*this);
  return true;
}

void H2UpstreamStream::onBodyAborted(const Error& error) {
  request_pipe = nullptr;
  if (!closed) {
    owner().reset(*this, H2Error::cancel);
    owner().failStream(*this, error);
  }
}

void H2UpstreamStream::abandon(const Error& error) {
  borrowed = false;
  op = nullptr;
  if (request_pipe != nullptr && !request_pipe->isFinished()) request_pipe->detach();
  request_pipe = nullptr;
  response_pipe.setProducer(nullptr);
  response_pipe.cancel(error);
  if (!closed) owner().reset(*this, H2Error::cancel);
  owner().finishIfDone(*this);
}

H2Connection::H2Connection(ConnectionPool& pool, uint32_t backend_idx, Io& io, BlockSlab& send_blocks, BlockSlab& record_blocks)
    : Connection(pool, backend_idx, io, send_blocks, record_blocks),
      session_(h2::Role::client, sessionConfig(pool.limits()), sock_.output(), pool.memory().headers.ofClass(2), pool.scratch()),
      timer_(this, [](void* self) { static_cast<H2Connection*>(self)->onTimer(); }) {
  sock_.setLowWater(pool.limits().send_queue_bytes / 2);
}

uint32_t H2Connection::limit() const {
  const uint32_t peer = session_.peerSettingsReceived() ? session_.peerSettings().max_concurrent_streams
                                                        : pool_.limits().streams_before_settings;
  return std::min(peer, pool_.limits().streams_per_upstream_connection);
}

void H2Connection::request(RequestOp& op) {
  unreserve();
  const http::RequestHead& head = *op.head;
  size_t bytes = head.method.size() + head.scheme.size() + head.authority.size() + head.path.size() + 64;
  bytes += head.fields.listSize();
  if (!isReady() || !session_.canOpenStream()) {
    if (isReady()) retire(connectionError(ErrorCode::shutting_down, "all stream ids are used up (RFC 9113 §5.1.1)"));
    return pool_.finished(op, fail(streamError(ErrorCode::never_sent, "the connection admits no new stream")));
  }
  H2UpstreamStream* stream = nullptr;
  if (session_.canSendHeaders(bytes, head.fields.count() + 5)) stream = pool_.h2Streams().create(*this, pool_.memory());
  if (stream == nullptr) {
    return pool_.finished(op, fail(streamError(ErrorCode::no_memory, "no memory is left for another request")));
  }
  stream->op = &op;
  stream->expects_no_body = head.method == "HEAD";
  stream->deadline_ns = op.options.deadline_ns;
  op.stream = stream;

  session_.beginHeaders();
  session_.addField(FieldName::pseudo_method, head.method);
  if (head.method != "CONNECT") {
    session_.addField(FieldName::pseudo_scheme, head.scheme.empty() ? std::string_view("http") : head.scheme);
    session_.addField(FieldName::pseudo_path, head.path, h2::Indexing::avoid);
  }
  if (!head.authority.empty()) session_.addField(FieldName::pseudo_authority, head.authority);
  for (const http::Field field : head.fields) session_.addField(field.name, field.value, field.id, indexingOf(field));
  session_.endHeaders(*stream, head.end_stream);
  stream->request_sent = true;
  streamStarted();
  sock_.flushLater();
  if (stream->deadline_ns != never_ns) armTimer(stream->deadline_ns);
  if (!head.end_stream && op.options.body != nullptr) {
    stream->request_pipe = op.options.body;
    op.options.body->attach(*stream);
  }
}

void H2Connection::block(H2UpstreamStream& stream) {
  if (!stream.blocked_node.isLinked()) blocked_.pushBack(stream);
}

void H2Connection::pumpBlocked() {
  BlockedList round;
  round.spliceBack(blocked_);
  while (H2UpstreamStream* stream = round.popFront()) {
    // A stream that still cannot go on puts itself into blocked_ again.
    if (stream->request_pipe != nullptr) stream->request_pipe->pump();
  }
}

void H2Connection::onOutputDrained() {
  if (sock_.unsent() == 0) session_.outputFlushed();
  pumpBlocked();
}

void H2Connection::onRetired() {
  if (active_ == 0) {
    sock_.abort(retiredBecause());
  } else {
    armTimer(pool_.io().nowNs() + pool_.timeouts().drain_ms * ns_per_ms);
    retire_at_ns_ = pool_.io().nowNs() + pool_.timeouts().drain_ms * ns_per_ms;
  }
}

void H2Connection::armTimer(TimeNs due) {
  if (!timer_.isArmed() || due < timer_.due()) pool_.io().arm(timer_, due);
}

void H2Connection::onTimer() {
  const TimeNs now = pool_.io().nowNs();
  TimeNs next = never_ns;
  h2::Stream* item = session_.streams().front();
  while (item != nullptr) {
    h2::Stream* following = session_.streams().next(*item);
    auto& stream = static_cast<H2UpstreamStream&>(*item);
    if (!stream.head_received && !stream.closed) {
      if (stream.deadline_ns <= now) {
        reset(stream, H2Error::cancel);
        failStream(stream, streamError(ErrorCode::deadline_exceeded, "the backend did not answer in time"));
      } else {
        next = std::min(next, stream.deadline_ns);
      }
    }
    item = following;
  }
  if (!isReady()) {
    if (retire_at_ns_ <= now) {
      sock_.abort(connectionError(ErrorCode::shutting_down, "the drain deadline has passed"));
      return;
    }
    next = std::min(next, retire_at_ns_);
  }
  if (isReady() && active_ == 0) {
    const TimeNs idle_end = idle_since_ns_ + pool_.timeouts().idle_ms * ns_per_ms;
    if (load() == 0 && idle_end <= now) {
      retire(connectionError(ErrorCode::idle_timeout, "the connection was idle for too long"));
      return;
    }
    next = std::min(next, std::max(idle_end, now + TimerWheel::tick_ns));
  }
  armTimer(next);
}

void H2Connection::reset(H2UpstreamStream& stream, H2Error code) {
  session_.sendReset(stream, code);
  sock_.flushLater();
}

// Reports the stream's end with an error to whoever waits for it, and frees what can be freed.
void H2Connection::failStream(H2UpstreamStream& stream, const Error& error) {
  if (stream.request_pipe != nullptr) std::exchange(stream.request_pipe, nullptr)->detach();
  stream.is_reset = true;
  if (RequestOp* op = std::exchange(stream.op, nullptr)) {
    op->stream = nullptr;
    finishIfDone(stream);
    pool_.finished(*op, fail(error));
    return;
  }
  stream.response_pipe.abort(error);
  finishIfDone(stream);
}

// Leaves the session when the stream is over on the wire, and the slab when nobody borrows it any more.
void H2Connection::finishIfDone(H2UpstreamStream& stream) {
  if (!stream.closed && stream.isClosed()) {
    stream.closed = true;
    stream.blocked_node.unlink();
    session_.release(stream);
    streamEnded();
    if (active_ == 0) {
      idle_since_ns_ = pool_.io().nowNs();
      if (!timer_.isArmed()) armTimer(idle_since_ns_ + pool_.timeouts().idle_ms * ns_per_ms);
      if (!isReady()) sock_.abort(retiredBecause());
    }
  }
  if (stream.closed && !stream.borrowed && stream.op == nullptr) pool_.h2Streams().destroy(&stream);
}

void H2Connection::failAll(const Error& error) {
  while (h2::Stream* item = session_.streams().front()) {
    auto& stream = static_cast<H2UpstreamStream&>(*item);
    Error own = error;
    own.reach = Reach::connection;
    failStream(stream, own);
  }
}

void H2Connection::onResponse(H2UpstreamStream& stream, h2::Event& event) {
  RequestOp* op = stream.op;
  if (op == nullptr) return;
  const size_t needed = event.fields.listSize() + 64;
  if (!stream.head_block.reserve(needed)) {
    reset(stream, H2Error::cancel);
    return failStream(stream, streamError(ErrorCode::no_memory, "no memory is left for the response's fields"));
  }
  stream.head = event.response;
  stream.head.fields = http::FieldList(stream.head_block.memory());
  PLAIT_ASSERT(stream.head.fields.append(event.fields));
  stream.op = nullptr;
  stream.borrowed = true;
  if (event.end_stream) (void)stream.response_pipe.push({}, true);
  finishIfDone(stream);
  op->stream = nullptr;
  pool_.finished(*op, static_cast<UpstreamStream*>(&stream));
}

void H2Connection::onEvent(h2::Event& event) {
  auto* stream = static_cast<H2UpstreamStream*>(event.stream);
  switch (event.kind) {
    case h2::Event::Kind::response:
      return onResponse(*stream, event);
    case h2::Event::Kind::interim:
      if (stream->op != nullptr && stream->op->options.interim != nullptr) {
        event.response.fields = event.fields;
        stream->op->options.interim->onInterim(event.response);
      }
      return;
    case h2::Event::Kind::data:
      session_.credit(nullptr, event.data.size());
      if (!stream->response_pipe.push(event.data, event.end_stream)) {
        reset(*stream, H2Error::cancel);
        return failStream(*stream, streamError(ErrorCode::no_memory, "no block is left for the response's body"));
      }
      return finishIfDone(*stream);
    case h2::Event::Kind::trailers:
      if (!stream->response_pipe.end(&event.fields)) {
        return failStream(*stream, streamError(ErrorCode::no_memory, "no memory is left for the response's trailers"));
      }
      return finishIfDone(*stream);
    case h2::Event::Kind::stream_error: {
      // A complete response followed by RST_STREAM(NO_ERROR) is an early answer: the request's rest is not wanted
      // (RFC 9113 §8.1).
      if (event.by_peer && stream->response_pipe.isEnded()) {
        if (stream->request_pipe != nullptr) {
          std::exchange(stream->request_pipe, nullptr)->cancel(streamError(ErrorCode::cancelled, "the backend answered early"));
        }
        return finishIfDone(*stream);
      }
      return failStream(*stream, event.by_peer ? resetError(event.error_code)
                                               : streamError(ErrorCode::malformed_message, event.reason,
                                                             static_cast<uint32_t>(event.error_code)));
    }
    case h2::Event::Kind::window:
      if (stream == nullptr) return pumpBlocked();
      if (stream->request_pipe != nullptr) stream->request_pipe->pump();
      return;
    case h2::Event::Kind::settings:
      pumpBlocked();
      return pool_.onRoom(*this);
    case h2::Event::Kind::goaway: {
      retire(connectionError(ErrorCode::goaway_unprocessed, "the backend said GOAWAY", static_cast<uint32_t>(event.error_code)));
      h2::Stream* item = session_.streams().front();
      while (item != nullptr) {
        h2::Stream* following = session_.streams().next(*item);
        if (item->id > event.last_stream_id) {
          failStream(static_cast<H2UpstreamStream&>(*item),
                     connectionError(ErrorCode::goaway_unprocessed, "not covered by the backend's GOAWAY (RFC 9113 §6.8)"));
        }
        item = following;
      }
      return;
    }
    default:
      return;
  }
}

void H2Connection::start() {
  session_.start();
  sock_.flushLater();
}

Task<void> H2Connection::run(Io& io) {
  idle_since_ns_ = io.nowNs();
  armTimer(idle_since_ns_ + pool_.timeouts().idle_ms * ns_per_ms);
  Error ended = connectionError(ErrorCode::connection_lost, "the backend closed the connection");
  while (true) {
    auto bytes = co_await sock_.recv();
    if (!bytes) {
      ended = bytes.error();
      break;
    }
    if (bytes->empty()) break;
    Bytes input = *bytes;
    Status status;
    h2::Event event;
    do {
      status = session_.next(input, event, static_cast<uint32_t>(io.nowNs() / ns_per_s));
      if (status && event.kind != h2::Event::Kind::none) onEvent(event);
    } while (status && event.kind != h2::Event::Kind::none);
    if (!sock_.output().empty()) sock_.flushLater();
    if (!status) {
      ended = status.error();
      break;
    }
  }
  retire(ended);
  failAll(ended);
  timer_.cancel();
  // A connection error's GOAWAY is the last thing the peer hears.
  co_await sock_.drain(io.nowNs() + 100 * ns_per_ms, io);
}

}  // namespace plait
