#include "plait/client/h2_connection.h"

#include <algorithm>

#include "plait/base/rare.h"
#include "plait/client/pool.h"
#include "plait/http/field_rules.h"

namespace plait {
namespace {

using h2::H2Error;
using http::FieldName;

// Upstream connections are shared by many clients: fields that belong to one of them stay out of the table. So do those
// whose names nobody here knows, for they may.
constexpr h2::IndexingRules indexing_rules = {
    {h2::Indexing::never,
     {FieldName::authorization, FieldName::proxy_authorization, FieldName::cookie, FieldName::client_cert,
      FieldName::client_cert_chain, FieldName::x_forwarded_client_cert, FieldName::x_request_id,
      FieldName::x_correlation_id}},
    {h2::Indexing::avoid,
     {FieldName::unknown, FieldName::content_length, FieldName::x_forwarded_for, FieldName::forwarded,
      FieldName::traceparent, FieldName::grpc_timeout, FieldName::if_none_match, FieldName::if_modified_since,
      FieldName::range, FieldName::referer}}};

// Browsers send each cookie as a field of its own (RFC 9113 §8.2.3), up to 180 of them, and servers bound the number of
// fields (node: 128). More than a few are sent as the one field that they are; cookies enter no table, so nothing is
// lost.
constexpr size_t crumbs_sent_apart = 16;

// All cookies in one, written into `out`; empty where there are few, or no room.
std::string_view joinCrumbs(const http::FieldList& fields, MutableBytes out) {
  size_t crumbs = 0;
  for (const http::Field field : fields) crumbs += field.id == FieldName::cookie ? 1 : 0;
  if (crumbs <= crumbs_sent_apart) return {};
  size_t size = 0;
  bool is_first = true;
  for (const http::Field field : fields) {
    if (field.id != FieldName::cookie) continue;
    if (size + field.value.size() + 2 > out.size()) return {};
    if (!std::exchange(is_first, false)) {
      std::memcpy(out.data() + size, "; ", 2);
      size += 2;
    }
    copyShort(out.data() + size, field.value.data(), field.value.size());
    size += field.value.size();
  }
  return asText(out.first(size));
}

// The op lies in the frame of the coroutine that waits for it. So many bytes behind it, which the coroutine touches
// next, are prefetched with it.
constexpr size_t op_surroundings = 256;
// The options lie in the frame of the coroutine that owns the request. It touches memory before and behind them when
// the request is over.
constexpr size_t options_before = cache_line_size;
constexpr size_t options_behind = 448;

// The number of responses that are delivered before the requests that waited for them go on: few enough that their
// heads are still in the nearest cache then.
constexpr uint32_t responses_at_once = 4;

// gRPC's servers take PINGs that come within five minutes of silence for an attack.
constexpr int64_t repeated_ping_ms = 301'000;

Error resetError(H2Error code) {
  switch (code) {
    case H2Error::refused_stream:
      return streamError(ErrorCode::refused_stream, "the backend refused the stream (RFC 9113 §8.7)",
                         static_cast<uint32_t>(code));
    case H2Error::http_1_1_required:
      return streamError(ErrorCode::http_1_1_required, "the backend wants HTTP/1.1 (RFC 9113 §7)",
                         static_cast<uint32_t>(code));
    default:
      return streamError(ErrorCode::stream_reset, "the backend reset the stream", static_cast<uint32_t>(code));
  }
}

}  // namespace

H2UpstreamStream::H2UpstreamStream(ConnectionPool& pool, H2Connection& connection)
    : UpstreamStream(pool, connection.endpointId(), pool.memory()), connection_(&connection) {
  response_pipe.setProducer(this);
}

H2UpstreamStream::~H2UpstreamStream() {
  if (lent_blocks != 0) pool_.windows().shrink(0, lent_blocks);
}

inline void H2Connection::onTaken(H2UpstreamStream& stream, size_t count) {
  if (pool_.io().nowNs() >= learns_from_ns_ || stream.lent_blocks != 0) [[unlikely]]
    return learn(stream, count);
  session_.creditStream(stream, count);
  sock_.flushLater();
}

void H2UpstreamStream::onConsumed(size_t count) {
  const bool may_receive = mayReceive();
  if (!may_receive || connection_ == nullptr) giveWindowBack();
  // The connection's credit went back on receipt: one slow reader must not hold up the others.
  if (id == 0 || connection_ == nullptr) return;
  if (may_receive) connection_->onTaken(*this, count);
  // The backend could not go on while the client did not read: its time begins anew.
  if (head_received) deadline_ns = connection_->silenceEnd(*this);
}

void H2UpstreamStream::onConsumerGone(const Error&) {
  if (connection_ != nullptr) connection_->reset(*this, H2Error::cancel);
}

size_t H2UpstreamStream::onBody(Bytes bytes, bool last) {
  if (connection_ == nullptr) return 0;
  H2Connection& connection = *connection_;
  const size_t taken = connection.session_.sendData(*this, bytes, last);
  connection.sock_.flushLater();
  if (taken != 0) {
    // A backend that still takes the request's body is not late with its answer.
    if (head_received) {
      deadline_ns = connection.silenceEnd(*this);
    } else if (op != nullptr) {
      deadline_ns = op->options->deadlineAfterProgress(pool_.io().nowNs(), deadline_ns);
    }
  }
  if (taken != bytes.size()) connection.block(*this);
  if (hasSentEnd()) connection.finishIfDone(*this);
  return taken;
}

bool H2UpstreamStream::onBodyEnd(const http::FieldList* trailers) {
  if (connection_ == nullptr) return true;
  H2Connection& connection = *connection_;
  h2::Session& session = connection.session_;
  if (trailers != nullptr) {
    if (!session.canSendHeaders(trailers->listSize(), trailers->count())) {
      connection.block(*this);
      return false;
    }
    session.beginHeaders();
    for (const http::Field field : *trailers) {
      if (http::isForbiddenInTrailers(field.id)) continue;
      session.addField(field.name, field.value, field.id, indexing_rules.of(field));
    }
    session.endHeaders(*this, true);
  } else if (!session.sendEnd(*this)) {
    connection.block(*this);
    return false;
  }
  connection.sock_.flushLater();
  connection.finishIfDone(*this);
  return true;
}

void H2UpstreamStream::onBodyAborted(const Error& error) {
  request_pipe = nullptr;
  if (connection_ == nullptr) return;
  H2Connection& connection = *connection_;
  connection.reset(*this, H2Error::cancel);
  // A client that breaks off its upload, by leaving or otherwise, reaches this stream, never the backend's connection.
  connection.failStream(*this, streamError(error.code, error.reason, error.detail));
}

void H2UpstreamStream::abandon(const Error& error) {
  borrowed = false;
  op = nullptr;
  if (request_pipe != nullptr && !request_pipe->isFinished()) request_pipe->detach();
  request_pipe = nullptr;
  response_pipe.setProducer(nullptr);
  response_pipe.cancel(error);
  if (connection_ == nullptr) return destroyIfDone();
  H2Connection& connection = *connection_;
  connection.reset(*this, H2Error::cancel);
  connection.finishIfDone(*this);
}

void H2UpstreamStream::destroyIfDone() {
  if (closed && !borrowed && op == nullptr) pool_.h2Streams().destroy(this);
}

h2::SessionConfig H2Connection::sessionConfig(const LoopLimits& loop_limits, const PoolLimits& limits) {
  h2::SessionConfig config;
  config.max_header_list_size = loop_limits.header_bytes;
  config.max_fields = loop_limits.header_fields;
  config.stream_window = loop_limits.upstream_stream_window;
  config.connection_window = limits.upstream_connection_window;
  config.send_queue_limit = loop_limits.send_queue_bytes;
  config.idle_frame_burst = loop_limits.idle_frame_burst;
  config.idle_frames_per_second = loop_limits.idle_frames_per_second;
  return config;
}

H2Connection::H2Connection(ConnectionPool& pool, Endpoint& endpoint, UltraSock& sock)
    : Connection(pool, endpoint, sock, false),
      session_(h2::Role::client, sock.output(), pool.scratch(), pool.sessionConfig()),
      heard_ns_(pool.io().nowNs()),
      resets_(resets_at_once, resets_per_second, heard_ns_) {
  sock.setLowWater(pool.loopLimits().send_queue_bytes / 2);
  if (pool.windows().capacity() == 0) learns_from_ns_ = never_ns;
  // Until SETTINGS come the limit is the remembered one.
  allowStreams(endpoint.remembered_streams);
  if (sock.isTls()) session_.copyData();
  session_.start();
  sock.flushLater();
}

void H2Connection::onEstablished() {
  settings_by_ns_ = pool_.io().nowNs() + timeouts().connect_ms * ns_per_ms;
  armTimer(settings_by_ns_);
}

void H2Connection::allowStreams(uint32_t peer_limit) {
  setLimit(std::min(peer_limit, pool_.limits().streams_per_upstream_connection));
}

void H2Connection::request(RequestOp& op) {
  unreserve();
  const http::RequestHead& head = *op.head;
  if (!head.protocol.empty() && endpoint_ != nullptr && endpoint_->takesTunnels()) {
    PLAIT_RARE("a tunnel needs HTTP/1.1");
    return pool_.failed(op, streamError(ErrorCode::http_1_1_required, "a tunnel needs HTTP/1.1 (RFC 9110 §7.8)"));
  }
  size_t bytes = head.method.size() + head.scheme.size() + head.authority.size() + head.path.size() + 64;
  bytes += head.fields.listSize();
  // The backend may have lowered its limit since the stream was leased, to 0 even (RFC 9113 §5.1.2).
  if (isReady() && session_.canOpenStream() && active_ >= limit()) return pool_.waitAgain(op);
  if (!isReady() || !session_.canOpenStream()) {
    if (isReady())
      retire(connectionError(ErrorCode::shutting_down, "the connection opens no more streams (RFC 9113 §5.1.1)"));
    return pool_.failed(op, streamError(ErrorCode::never_sent, "the connection admits no new stream"));
  }
  H2UpstreamStream* stream = nullptr;
  if (session_.canSendHeaders(bytes, head.fields.count() + 5)) stream = pool_.h2Streams().create(pool_, *this);
  if (stream == nullptr) {
    return pool_.failed(op, streamError(ErrorCode::no_memory, "no memory is left for another request"));
  }
  stream->op = &op;
  stream->client = op.options->claim.client;
  stream->deadline_ns = op.deadline_ns;
  stream->idle_ms = static_cast<uint32_t>(op.options->idle_ms);
  stream->start_position = sock_.position();
  stream->wanted[0] = {reinterpret_cast<const uint8_t*>(&op), sizeof(op) + op_surroundings};
  stream->wanted[1] = op.options->wanted_with_head;
  stream->wanted[2] = {reinterpret_cast<const uint8_t*>(op.options) - options_before,
                       options_before + sizeof(RequestOptions) + options_behind};
  op.stream = stream;
  // A request for an upgrade that this backend cannot do goes without it (RFC 9110 §7.8).
  const bool end_stream = head.end_stream || !head.protocol.empty();

  const auto indexing = [&head](FieldName pseudo, h2::Indexing usual) {
    return head.isNeverIndexed(pseudo) ? h2::Indexing::never : usual;
  };
  const h2::Indexing allow = h2::Indexing::allow;
  session_.beginHeaders();
  session_.addField(FieldName::pseudo_method, head.method, indexing(FieldName::pseudo_method, allow));
  if (head.method != "CONNECT") {
    session_.addField(FieldName::pseudo_scheme, head.scheme.empty() ? std::string_view("http") : head.scheme,
                      indexing(FieldName::pseudo_scheme, allow));
    session_.addField(FieldName::pseudo_path, head.path, indexing(FieldName::pseudo_path, h2::Indexing::avoid));
  }
  if (!head.authority.empty()) {
    session_.addField(FieldName::pseudo_authority, head.authority, indexing(FieldName::pseudo_authority, allow));
  }
  std::string_view cookies;
  if (head.fields.count() > crumbs_sent_apart) cookies = joinCrumbs(head.fields, pool_.scratch().hpack.text);
  for (const http::Field field : head.fields) {
    if (field.id == FieldName::cookie && !cookies.empty()) continue;
    session_.addField(field.name, field.value, field.id, indexing_rules.of(field));
  }
  if (!cookies.empty()) session_.addField("cookie", cookies, FieldName::cookie, h2::Indexing::never);
  session_.endHeaders(*stream, end_stream);
  if (learnt_window_ != 0) beginWithLearntWindow(*stream);
  streamStarted(op, *stream);
  sock_.flushLater();
  armTimer(stream->deadline_ns);
  // The backend's silence is watched from the first of its requests on.
  if (active_ == 1) armTimer(checkPing(pool_.io().nowNs()));
  if (!end_stream && op.options->body != nullptr) {
    stream->request_pipe = op.options->body;
    op.options->body->attach(*stream);
  }
}

void H2Connection::block(H2UpstreamStream& stream) {
  if (!stream.blocked_node.isLinked()) blocked_.pushBack(stream);
  if (session_.sendWindow() == 0 && stalled_since_ns_ == never_ns) stalled_since_ns_ = pool_.io().nowNs();
  if (sock_.unsent() == 0 && session_.isQueueFull()) lookSoon();
}

void H2Connection::pumpBlocked() {
  BlockedList round;
  BlockedList had_turn;
  round.spliceBack(blocked_);
  while (!session_.isQueueFull()) {
    H2UpstreamStream* stream = round.popFront();
    if (stream == nullptr) break;
    const uint32_t stream_id = stream->id;
    const int64_t window = stream->send_window.size();
    // A stream that still cannot go on puts itself into blocked_ again; one that is over may be gone.
    if (stream->request_pipe != nullptr) stream->request_pipe->pump();
    if (session_.find(stream_id) != stream || !stream->blocked_node.isLinked() || stream->send_window.size() == window)
      continue;
    // A stream that got nothing through keeps its place before those that did: else the first would always be served
    // first.
    stream->blocked_node.unlink();
    had_turn.pushBack(*stream);
  }
  blocked_.spliceBack(round);
  blocked_.spliceBack(had_turn);
  if (!blocked_.empty() && sock_.unsent() == 0 && session_.isQueueFull()) lookSoon();
}

void H2Connection::onOutputDrained() {
  if (sock_.unsent() == 0) session_.outputFlushed();
  pumpBlocked();
}

// A connection that says nothing while streams wait on it, or was silent for long when a request is sent on it, must
// show that it is alive. Returns when to look again.
TimeNs H2Connection::checkPing(TimeNs now_ns) {
  const PoolTimeouts& limits = timeouts();
  if (limits.ping_ms == 0 || active_ == 0) return never_ns;
  if (pinged_ns_ != never_ns) return pinged_ns_ + limits.ping_answer_ms * ns_per_ms;
  const TimeNs silent_until_ns = std::max(heard_ns_ + limits.ping_ms * ns_per_ms, ping_after_ns_);
  if (silent_until_ns > now_ns) return silent_until_ns;
  // A lack of receive buffers before the PING leaves says nothing about its answer: it is forgotten here.
  excuseSilence(now_ns);
  pinged_ns_ = now_ns;
  ping_after_ns_ = now_ns + repeated_ping_ms * ns_per_ms;
  session_.sendPing(static_cast<uint64_t>(now_ns));
  sock_.flushLater();
  return pinged_ns_ + limits.ping_answer_ms * ns_per_ms;
}

// The backend's answer may have come and found no receive buffer: its time starts again when there is one.
void H2Connection::excuseSilence(TimeNs now_ns) {
  if (!sock_.tookNoBuffer()) return;
  PLAIT_RARE("a backend is not heard for want of a buffer");
  if (pinged_ns_ != never_ns) pinged_ns_ = now_ns;
  if (settings_by_ns_ != never_ns) settings_by_ns_ = now_ns + timeouts().connect_ms * ns_per_ms;
}

TimeNs H2Connection::checkStreams(TimeNs now_ns) {
  excuseSilence(now_ns);
  if (pinged_ns_ != never_ns && pinged_ns_ + timeouts().ping_answer_ms * ns_per_ms <= now_ns) {
    PLAIT_RARE("a PING is not answered");
    pool_.onUnanswered(
        *this, pinged_ns_,
        connectionError(ErrorCode::stalled, "the backend did not answer a PING").as(Fault::ping_timeout));
    return never_ns;
  }
  if (settings_by_ns_ <= now_ns) {
    PLAIT_RARE("no SETTINGS come");
    const TimeNs since_ns = std::exchange(settings_by_ns_, never_ns) - timeouts().connect_ms * ns_per_ms;
    pool_.onUnanswered(*this, since_ns,
                       connectionError(ErrorCode::stalled,
                                       "the backend sent no SETTINGS, or did not answer the first "
                                       "PING (RFC 9113 §3.4)")
                           .as(Fault::ping_timeout));
    return never_ns;
  }
  TimeNs next_ns = std::min(checkPing(now_ns), settings_by_ns_);
  h2::Stream* item = session_.streams().front();
  while (item != nullptr) {
    h2::Stream* following = session_.streams().next(*item);
    auto& stream = static_cast<H2UpstreamStream&>(*item);
    item = following;
    if (stream.closed) continue;
    if (stream.deadline_ns <= now_ns) {
      if (!stream.head_received) {
        reset(stream, H2Error::cancel);
        PLAIT_RARE("a response does not begin in time");
        failStream(stream, streamError(ErrorCode::deadline_exceeded, "the backend did not answer in time"));
        continue;
      }
      // A response that waits for its client is no fault of the backend.
      if (stream.response_pipe.bufferedBytes() == 0) {
        reset(stream, H2Error::cancel);
        PLAIT_RARE("a response stops");
        failStream(stream, streamError(ErrorCode::deadline_exceeded, "the backend sent nothing for too long"));
        continue;
      }
      PLAIT_RARE("a client does not read its response");
      stream.deadline_ns = silenceEnd(stream);
    }
    next_ns = std::min(next_ns, stream.deadline_ns);
  }
  return next_ns;
}

void H2Connection::reset(H2UpstreamStream& stream, H2Error code) {
  if (stream.id == 0 || stream.isReset()) return;
  session_.sendReset(stream, code);
  sock_.flushLater();
  spendReset();
}

void H2Connection::spendReset() {
  const TimeNs now_ns = pool_.io().nowNs();
  (void)resets_.take(now_ns);
  if (resets_.left(now_ns) != 0 || !isReady()) return;
  PLAIT_RARE("a connection has had many resets");
  pool_.retireOrPassOver(*this, connectionError(ErrorCode::cancelled, "many of its streams were reset"));
}

void H2Connection::forEachStream(void (*use)(void* context, UpstreamStream& stream), void* context) {
  for (h2::Stream* item = session_.streams().front(); item != nullptr; item = session_.streams().next(*item))
    use(context, static_cast<H2UpstreamStream&>(*item));
}

// The answer to a PING shows that somebody reads what is sent, which SETTINGS out of a listen queue's greeting do not.
void H2Connection::prove(bool with_ping) {
  if (!with_ping) return;
  session_.sendPing(static_cast<uint64_t>(pool_.io().nowNs()));
  pinged_ns_ = pool_.io().nowNs();
  sock_.flushLater();
}

void H2Connection::lookWhetherProven() {
  if (!has_settings_ || (isProving() && pinged_ns_ != never_ns)) return;
  settings_by_ns_ = never_ns;
  noteProven();
}

// Reports the stream's end with an error to the request or the response that waits for it, and frees what can be freed.
void H2Connection::failStream(H2UpstreamStream& stream, const Error& error) {
  if (stream.request_pipe != nullptr) std::exchange(stream.request_pipe, nullptr)->detach();
  stream.reset();
  if (RequestOp* op = std::exchange(stream.op, nullptr)) {
    op->stream = nullptr;
    finishIfDone(stream);
    pool_.failed(*op, error);
    return;
  }
  // A response that is whole stays so, whatever becomes of its request.
  if (!stream.response_pipe.isEnded()) stream.response_pipe.abort(error);
  finishIfDone(stream);
}

// Memory for a response has run out. That is no fault of the backend, and yet it is counted and told with its faults.
void H2Connection::runOut(H2UpstreamStream& stream, const char* reason) {
  const Error error = streamError(ErrorCode::no_memory, reason);
  pool_.noteFault(endpointId(), error);
  failStream(stream, error);
}

// The stream is over on the wire, and leaves the session; and the slab when nobody borrows it any more.
void H2Connection::finish(H2UpstreamStream& stream) {
  if (!stream.closed) {
    stream.closed = true;
    stream.blocked_node.unlink();
    stream.connection_ = nullptr;
    session_.release(stream);
    streamEnded(stream);
  }
  stream.destroyIfDone();
}

void H2Connection::failAll(const Error& error, bool is_flushed) {
  if (session_.streams().front() != nullptr) noteBroken(error);
  while (h2::Stream* item = session_.streams().front()) {
    auto& stream = static_cast<H2UpstreamStream&>(*item);
    Error own = is_flushed ? error : errorFor(error, stream.start_position);
    own.reach = Reach::connection;
    failStream(stream, own);
  }
}

void H2Connection::onResponse(H2UpstreamStream& stream, h2::Event& event) {
  RequestOp* op = stream.op;
  if (op == nullptr) return;
  if (!stream.head_block.reserve(event.fields.heldBytes() + 64)) {
    reset(stream, H2Error::cancel);
    return runOut(stream, "no memory is left for the response's fields");
  }
  stream.head = event.response;
  stream.head.fields = http::FieldList(stream.head_block.memory());
  PLAIT_ASSERT(stream.head.fields.copyFrom(event.fields));
  stream.op = nullptr;
  stream.borrowed = true;
  noteAnswered(*op, stream.head.status);
  stream.deadline_ns = silenceEnd(stream);
  armTimer(stream.deadline_ns);
  if (event.end_stream) (void)stream.response_pipe.push({}, true);
  finishIfDone(stream);
  op->stream = nullptr;
  pool_.answered(*op, stream);
}

void H2Connection::onEvent(h2::Event& event) {
  auto* stream = static_cast<H2UpstreamStream*>(event.stream);
  switch (event.kind) {
    case h2::Event::Kind::response:
      return onResponse(*stream, event);
    case h2::Event::Kind::interim:
      if (stream->op != nullptr && stream->op->options->interim != nullptr) {
        event.response.fields = event.fields;
        stream->op->options->interim->onInterim(event.response);
      }
      return;
    case h2::Event::Kind::data:
      session_.credit(nullptr, event.data.size());
      round_trip_.noteData();
      stream->deadline_ns = silenceEnd(*stream);
      if (!stream->response_pipe.push(event.data, event.end_stream)) {
        reset(*stream, H2Error::cancel);
        return runOut(*stream, "no block is left for the response's body");
      }
      return finishIfDone(*stream);
    case h2::Event::Kind::trailers:
      if (!stream->response_pipe.end(&event.fields)) {
        return runOut(*stream, "no memory is left for the response's trailers");
      }
      return finishIfDone(*stream);
    case h2::Event::Kind::stream_error: {
      if (!event.by_peer) {
        pool_.noteFault(endpointId(), streamError(ErrorCode::malformed_message, event.reason).as(event.fault));
      }
      if (stream == nullptr) return;
      // A complete response followed by RST_STREAM(NO_ERROR) is an early answer: the request's rest is not wanted
      // (RFC 9113 §8.1).
      if (event.by_peer && stream->response_pipe.isEnded()) {
        if (stream->request_pipe != nullptr) {
          PLAIT_RARE("an early response ends its request");
          std::exchange(stream->request_pipe, nullptr)
              ->cancel(streamError(ErrorCode::cancelled, "the backend answered early"));
        }
        return finishIfDone(*stream);
      }
      if (event.by_peer) return failStream(*stream, resetError(event.error_code));
      // A response that is too large is so for what this request asked.
      const bool is_too_large = event.fault == Fault::message_too_large;
      return failStream(*stream, streamError(is_too_large ? ErrorCode::message_too_large : ErrorCode::malformed_message,
                                             event.reason, static_cast<uint32_t>(event.error_code)));
    }
    case h2::Event::Kind::window:
      if (session_.sendWindow() != 0) stalled_since_ns_ = never_ns;
      if (stream == nullptr) return pumpBlocked();
      if (stream->request_pipe != nullptr) stream->request_pipe->pump();
      return;
    case h2::Event::Kind::settings:
      has_settings_ = true;
      if (endpoint_ != nullptr) {
        endpoint_->is_foreign = false;
        endpoint_->remembered_streams = session_.peerSettings().max_concurrent_streams;
      }
      allowStreams(session_.peerSettings().max_concurrent_streams);
      lookWhetherProven();
      pumpBlocked();
      return pool_.onRoom(*this);
    case h2::Event::Kind::ping_ack:
      if (takeRoundTrip(event.opaque)) return;
      pinged_ns_ = never_ns;
      return lookWhetherProven();
    case h2::Event::Kind::goaway: {
      pool_.noteGoaway(endpointId(), event.error_code, event.data);
      retire(connectionError(ErrorCode::goaway_unprocessed, "the backend said GOAWAY",
                             static_cast<uint32_t>(event.error_code)));
      h2::Stream* item = session_.streams().front();
      while (item != nullptr) {
        h2::Stream* following = session_.streams().next(*item);
        if (item->id > event.last_stream_id) {
          PLAIT_RARE("GOAWAY does not cover a stream");
          failStream(
              static_cast<H2UpstreamStream&>(*item),
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

bool H2Connection::hasHadItsTurn() const {
  return share_.isUsedUp(pool_.loopLimits().work_per_turn);
}

Status H2Connection::feed(Bytes& input, Io& io) {
  Status status;
  h2::Event event;
  uint32_t responses = 0;
  share_.enter(io);
  noteHeard();
  // The answer to a PING may wait behind a frame that takes long on a slow wire.
  if (pinged_ns_ != never_ns && !isProving()) pinged_ns_ = io.nowNs();
  const Bytes said = input;
  const auto now_s = static_cast<uint32_t>(io.nowNs() / ns_per_s);
  while (true) {
    status = session_.next(input, event, now_s);
    share_.add(session_.takeWork());
    if (!status || event.kind == h2::Event::Kind::none) break;
    if (event.kind != h2::Event::Kind::ping_ack) {
      heard_ns_ = io.nowNs();
      ping_after_ns_ = 0;
    }
    onEvent(event);
    if (hasHadItsTurn()) break;
    if (event.kind == h2::Event::Kind::response && ++responses == responses_at_once) break;
  }
  share_.add(static_cast<uint32_t>((said.size() - input.size()) / h2::bytes_for_work));
  if (!sock_.output().empty()) sock_.flushLater();
  if (status) return status;
  // SETTINGS begin with a zero byte, no other protocol's greeting does.
  if (has_settings_ || said.front() == 0) {
    pool_.noteFault(endpointId(), status.error());
    return status;
  }
  Error foreign = status.error();
  foreign.reason = "the backend does not speak HTTP/2";
  // A dial that begins before this connection has come to its end must know.
  if (endpoint_ != nullptr) endpoint_->is_doubted = endpoint_->is_foreign = true;
  pool_.noteFault(endpointId(), foreign, said);
  return fail(foreign);
}

Task<void> H2Connection::run(Bytes first, Io& io) {
  Error ended = connectionError(ErrorCode::connection_lost, "the backend closed the connection");
  Status status = first.empty() ? Status() : feed(first, io);
  while (status) {
    const bool gives_way = hasHadItsTurn();
    if (gives_way) {
      PLAIT_RARE("a backend has had its turn");
      co_await io.nextTurn();
    }
    if (!first.empty()) {
      if (!gives_way) co_await io.yield();
      if (sock_.isAborted()) {
        first = {};  // recv() reports the reason
      } else {
        status = feed(first, io);
      }
      continue;
    }
    auto bytes = co_await sock_.recv();
    if (!bytes) {
      ended = bytes.error();
      break;
    }
    if (bytes->empty()) break;
    first = *bytes;
    status = feed(first, io);
  }
  if (!status) {
    ended = status.error();
  } else if (active_ != 0) {
    sock_.dropUnoffered();
  }
  hasRun();
  retire(ended);
  // The GOAWAY of a connection error leaves together with the output that is queued before it.
  failAll(ended, !status);
  stopTimer();
  // A connection error's GOAWAY is the last thing the backend hears (RFC 9113 §5.4.1). Bytes that it sends meanwhile
  // are read and dropped: left unread they would turn the close into a reset, which can overtake the GOAWAY.
  co_await sock_.closeGracefully({.stall_ms = 100, .linger_ms = 100, .unread_limit = session_.unreadLimit()}, io);
}

// RFC 9113 §6.8: the backend learns that the end is meant, and that no stream of its own was worked on.
bool H2Connection::sayEnd() {
  session_.sendGoaway(0, H2Error::no_error);
  sock_.flushLater();
  sock_.stopReading();
  return true;
}

TimeNs H2Connection::silenceEnd(const UpstreamStream& stream) const {
  return pool_.io().nowNs() + (stream.idle_ms != 0 ? stream.idle_ms : timeouts().stream_idle_ms) * ns_per_ms;
}

}  // namespace plait
