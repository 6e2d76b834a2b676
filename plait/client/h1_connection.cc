#include "plait/client/h1_connection.h"

#include <algorithm>

#include "plait/base/rare.h"
#include "plait/client/pool.h"
#include "plait/http/field_rules.h"

namespace plait {
namespace {

constexpr uint32_t max_interim_responses = 64;  // to one request

// A server names what it switches to, and may choose only among what it was offered (RFC 9110 §7.8): one protocol here.
bool switchesTo(const http::FieldList& fields, std::string_view protocol) {
  return http::equalsIgnoreCase(fields.value(http::FieldName::upgrade), protocol);
}

// How many seconds a server keeps an idle connection by its Keep-Alive field (RFC 2068 §19.7.1.1), which many send
// although no later RFC has it; -1 where it does not say.
int64_t keepAliveSeconds(const http::FieldList& fields) {
  constexpr std::string_view parameter = "timeout=";
  std::string_view list = fields.value(http::FieldName::keep_alive);
  std::string_view element;
  while (http::nextListElement(list, element)) {
    if (element.size() <= parameter.size() || !http::equalsIgnoreCase(element.substr(0, parameter.size()), parameter))
      continue;
    int64_t seconds = 0;
    for (const char digit : element.substr(parameter.size())) {
      if (digit < '0' || digit > '9' || seconds > 1'000'000) return -1;
      seconds = seconds * 10 + (digit - '0');
    }
    return seconds;
  }
  return -1;
}

}  // namespace

H1UpstreamStream::H1UpstreamStream(ConnectionPool& pool, H1Connection& connection)
    : UpstreamStream(pool, connection.endpointId(), pool.memory()), connection_(&connection) {
  response_pipe.setProducer(this);
}

void H1UpstreamStream::onConsumed(size_t) {
  if (connection_ != nullptr) connection_->wakeReader();
}

void H1UpstreamStream::onConsumerGone(const Error& error) {
  if (connection_ == nullptr) return;
  // The client's side has ended this: it is no fault of the backend.
  connection_->breakOff(connectionError(ErrorCode::cancelled, error.reason));
}

size_t H1UpstreamStream::onBody(Bytes bytes, bool last) {
  if (connection_ == nullptr) return 0;
  H1Connection& connection = *connection_;
  ByteQueue& output = connection.sock_.output();
  const size_t limit = pool_.loopLimits().send_queue_bytes;
  if (output.size() >= limit) return 0;
  auto taken = connection.writer_.write(output, bytes, limit - output.size());
  if (!taken) {
    connection.breakOff(connectionError(ErrorCode::body_aborted, taken.error().reason));
    return bytes.size();
  }
  connection.sock_.flushLater();
  if (*taken != 0) connection.showLife();
  if (*taken != bytes.size() && connection.sock_.unsent() == 0) connection.lookSoon();
  if (last && *taken == bytes.size() && !onBodyEnd(nullptr)) {
    // A byte that is not taken would be sent again, so a last chunk that does not fit behind its data cannot wait.
    connection.breakOff(connectionError(ErrorCode::no_memory, "no block is left for the end of a request"));
  }
  return *taken;
}

bool H1UpstreamStream::onBodyEnd(const http::FieldList* trailers) {
  if (connection_ == nullptr) return true;
  H1Connection& connection = *connection_;
  if (connection.phase_ == H1Connection::Phase::tunnel) {
    connection.sock_.endOutput();
    connection.onHalfClosed();
    if (connection.paused_reader_) pool_.io().ready(std::exchange(connection.paused_reader_, nullptr));
    return true;
  }
  if (Status status = connection.writer_.finish(connection.sock_.output(), trailers); !status) {
    if (status.error().code == ErrorCode::no_memory) {
      if (connection.sock_.unsent() == 0) connection.lookSoon();
      return false;
    }
    connection.breakOff(connectionError(status.error().code, status.error().reason));
    return true;
  }
  connection.sock_.flushLater();
  return true;
}

void H1UpstreamStream::onBodyAborted(const Error& error) {
  request_pipe = nullptr;
  if (connection_ == nullptr) return;
  // The request can no longer be completed, and only closing says so (RFC 9112 §8).
  connection_->failStream(streamError(error.code, error.reason, error.detail));
}

void H1UpstreamStream::abandon(const Error& error) {
  borrowed = false;
  op = nullptr;
  if (request_pipe != nullptr && !request_pipe->isFinished()) request_pipe->detach();
  request_pipe = nullptr;
  response_pipe.setProducer(nullptr);
  response_pipe.cancel(error);
  if (connection_ == nullptr) return pool_.h1Streams().destroy(this);
  // The rest of this answer could not be told from the next one.
  H1Connection& connection = *connection_;
  connection.retire(connectionError(ErrorCode::cancelled, "the response was given up"));
  connection.finishStream();
}

H1Connection::H1Connection(ConnectionPool& pool, Endpoint& endpoint, UltraSock& sock)
    : Connection(pool, endpoint, sock, true), input_(sock, pool.memory().headers.classes()) {
  limits_.fields_size = pool.loopLimits().header_bytes;
  limits_.field_count = pool.loopLimits().header_fields;
  sock.setLowWater(pool.loopLimits().send_queue_bytes / 2);
}

void H1Connection::request(RequestOp& op) {
  unreserve();
  const http::RequestHead& head = *op.head;
  if (!isReady() || stream_ != nullptr) {
    return pool_.failed(op, streamError(ErrorCode::never_sent, "the connection admits no request"));
  }
  const bool is_tunnel = !head.protocol.empty();
  if (is_tunnel && !pool_.openTunnel()) {
    PLAIT_RARE("every tunnel that is allowed is open");
    return pool_.failed(op, streamError(ErrorCode::no_memory,
                                        "every tunnel that limits.upstream_connections allows, half of it, is open"));
  }
  H1UpstreamStream* stream = pool_.h1Streams().create(pool_, *this);
  if (stream == nullptr) {
    if (is_tunnel) pool_.closeTunnel();
    return pool_.failed(op, streamError(ErrorCode::no_memory, "no memory is left for another request"));
  }
  start_position_ = sock_.position();
  auto framing = h1::writeRequestHead(sock_.output(), head);
  if (!framing) {
    if (is_tunnel) pool_.closeTunnel();
    pool_.h1Streams().destroy(stream);
    return pool_.failed(op, framing.error());
  }
  stream_ = stream;
  holds_tunnel_ = is_tunnel;
  is_reused_ = has_answered_;
  stream->op = &op;
  stream->client = op.options->claim.client;
  stream->deadline_ns = op.deadline_ns;
  stream->idle_ms = static_cast<uint32_t>(op.options->idle_ms);
  op.stream = stream;
  phase_ = Phase::head;
  scanned_ = 0;
  interim_count_ = 0;
  writer_.start(*framing, head.content_length);
  streamStarted(op, *stream);
  sock_.flushLater();
  armTimer(stream->deadline_ns);
  // A tunnel's bytes begin when the backend has agreed to it.
  if (!head.end_stream && head.protocol.empty() && op.options->body != nullptr) {
    stream->request_pipe = op.options->body;
    op.options->body->attach(*stream);
  }
}

void H1Connection::forEachStream(void (*use)(void* context, UpstreamStream& stream), void* context) {
  if (stream_ != nullptr) use(context, *stream_);
}

void H1Connection::onOutputDrained() {
  if (stream_ != nullptr && stream_->request_pipe != nullptr) stream_->request_pipe->pump();
}

void H1Connection::showLife() {
  if (stream_ == nullptr) return;
  // Until the head comes its own deadline counts, which begins anew while the backend takes the request.
  if (phase_ == Phase::head) {
    stream_->deadline_ns = stream_->op->options->deadlineAfterProgress(pool_.io().nowNs(), stream_->deadline_ns);
    return;
  }
  stream_->deadline_ns = pool_.io().nowNs() + silence_ms_ * ns_per_ms;
}

TimeNs H1Connection::checkStreams(TimeNs now_ns) {
  if (stream_ == nullptr) return never_ns;
  if (phase_ == Phase::tunnel) lookAtTunnel();
  if (stream_->deadline_ns > now_ns) return nextLook(now_ns);
  if (phase_ != Phase::head && stream_->response_pipe.bufferedBytes() != 0) {
    // A response that waits for its client is no fault of the backend.
    showLife();
    return nextLook(now_ns);
  }
  failStream(streamError(ErrorCode::deadline_exceeded, phase_ == Phase::head
                                                           ? "the backend did not answer in time"
                                                           : "the backend sent nothing for too long"));
  return never_ns;
}

// A backend that takes what it is sent is not silent. The kernel holds what a slow one needs long for, and tells nobody
// when it has gone.
void H1Connection::lookAtTunnel() {
  const uint64_t taken = sock_.bytesTaken();
  if (std::exchange(tunnel_taken_, taken) != taken) showLife();
}

TimeNs H1Connection::nextLook(TimeNs now_ns) const {
  if (phase_ != Phase::tunnel) return stream_->deadline_ns;
  return std::min(stream_->deadline_ns, now_ns + silence_ms_ * ns_per_ms / 8);
}

// Ends the stream as far as this connection is concerned; its slot goes when nobody borrows it any more.
void H1Connection::finishStream() {
  H1UpstreamStream* stream = std::exchange(stream_, nullptr);
  phase_ = Phase::idle;
  stream->closed = true;
  stream->connection_ = nullptr;
  stream->response_pipe.setProducer(nullptr);
  if (std::exchange(holds_tunnel_, false)) pool_.closeTunnel();
  const bool is_wanted = stream->borrowed || stream->op != nullptr;
  streamEnded(*stream);
  if (!is_wanted) pool_.h1Streams().destroy(stream);
}

void H1Connection::failStream(const Error& error) {
  H1UpstreamStream* stream = stream_;
  if (stream == nullptr) return;
  if (error.reach == Reach::connection) noteBroken(error);
  http::Pipe* const request = std::exchange(stream->request_pipe, nullptr);
  RequestOp* op = std::exchange(stream->op, nullptr);
  if (op != nullptr) {
    op->stream = nullptr;
  } else if (!stream->response_pipe.isEnded()) {
    stream->response_pipe.abort(error);
  } else if (request != nullptr) {
    // Only the client's direction of a tunnel was left: the backend's had ended in good order.
    request->cancel(error);
  }
  if (request != nullptr) request->detach();
  // The connection is dead before a repeated request looks for one.
  retire(connectionError(error.code, error.reason, error.detail));
  finishStream();
  if (op != nullptr) pool_.failed(*op, error);
}

Status H1Connection::onHead(const h1::HeadParse& parse, http::ResponseHead& head) {
  H1UpstreamStream& stream = *stream_;
  RequestOp& op = *stream.op;
  const bool is_tunnel = head.status == 101;
  if (is_tunnel && op.head->protocol.empty()) {
    return fail(
        connectionError(ErrorCode::protocol_error, "101 to a request that asked for no upgrade (RFC 9110 §15.2.2)"));
  }
  if (is_tunnel && !switchesTo(head.fields, op.head->protocol)) {
    return fail(connectionError(ErrorCode::protocol_error, "101 to another protocol than was offered (RFC 9110 §7.8)"));
  }
  if (!stream.head_block.reserve(head.fields.listSize() + 64)) {
    failStream(streamError(ErrorCode::no_memory, "no memory is left for the response's fields"));
    return fail(connectionError(ErrorCode::no_memory, "no memory is left for the response's fields"));
  }
  stream.head = head;
  stream.head.fields = http::FieldList(stream.head_block.memory());
  for (const http::Field field : head.fields) {
    if (!http::isHopByHop(field, parse.connection)) {
      PLAIT_ASSERT(stream.head.fields.add(field.name, field.value, field.id, field.never_indexed));
    }
  }
  // 426 has to name the protocol that is asked for (RFC 9110 §7.8). Upgrade is hop-by-hop, so plait adds one of its own
  // for a protocol that it would tunnel.
  const std::string_view wanted = head.status == 426 ? h1::tunnelProtocol(head.fields) : std::string_view();
  if (!wanted.empty()) PLAIT_ASSERT(stream.head.fields.add("upgrade", wanted, http::FieldName::upgrade));
  keep_alive_ = parse.keep_alive;
  // A request must not meet the close, so the last second is not used.
  if (const int64_t seconds = keepAliveSeconds(head.fields); seconds >= 0) {
    if (seconds <= 1) keep_alive_ = false;
    limitIdle((seconds - 1) * 1000);
  }
  has_answered_ = true;
  if (holds_tunnel_ && !is_tunnel) pool_.closeTunnel();
  holds_tunnel_ = is_tunnel;
  stream.op = nullptr;
  op.stream = nullptr;
  stream.borrowed = true;
  phase_ = is_tunnel ? Phase::tunnel : Phase::body;
  noteAnswered(op, head.status);
  silence_ms_ = is_tunnel             ? timeouts().tunnel_idle_ms
                : stream.idle_ms != 0 ? stream.idle_ms
                                      : timeouts().stream_idle_ms;
  showLife();
  armTimer(nextLook(pool_.io().nowNs()));
  if (is_tunnel) {
    tunnel_taken_ = sock_.bytesTaken();
    retire(connectionError(ErrorCode::cancelled, "the connection has become a tunnel"));
    writer_.start(h1::BodyFraming::until_close, http::unknown_length);
    stream.request_pipe = op.options->body;
    pool_.answered(op, stream);
    if (stream.request_pipe != nullptr) stream.request_pipe->attach(stream);
    return {};
  }
  // Nominated names concern trailers, too. They are views of the head's bytes, which go, so they are kept beside its
  // fields.
  nominated_ = parse.connection;
  for (size_t i = 0; i < nominated_.nominated_count; ++i) {
    nominated_.nominated[i] = stream.head.fields.keep(parse.connection.nominated[i]);
    // They were part of fields for which there was room, and which have not been copied.
    PLAIT_ASSERT(!nominated_.nominated[i].empty());
  }
  decoder_.start(parse.framing, head.content_length, limits_, &nominated_);
  const bool ends = decoder_.isDone();
  if (ends) (void)stream.response_pipe.push({}, true);
  pool_.answered(op, stream);
  if (ends) onResponseEnd();
  return {};
}

void H1Connection::onResponseEnd() {
  const bool is_request_sent = writer_.isDone();
  if (!is_request_sent && stream_->request_pipe != nullptr) {
    std::exchange(stream_->request_pipe, nullptr)
        ->cancel(streamError(ErrorCode::cancelled, "the backend answered early"));
  }
  if (keep_alive_ && is_request_sent && !input_.empty()) {
    PLAIT_RARE("bytes behind a response");
    pool_.noteFault(endpointId(),
                    connectionError(ErrorCode::protocol_error, "the backend sent bytes that nobody asked for"));
  }
  const bool is_reusable = is_request_sent && keep_alive_ && input_.empty();
  if (!is_reusable) retire(connectionError(ErrorCode::connection_lost, "the backend's connection is not kept alive"));
  finishStream();
}

Status H1Connection::feedHead(bool& needs_more) {
  if (!has_answered_ && !input_.empty() && input_.bytes().front() == 0) {
    // No response begins with a zero byte, but SETTINGS do: a server that speaks HTTP/2 has not read our request.
    const bool insists = stream_ != nullptr && stream_->op->needs_http_1_1;
    if (insists ? pool_.waivesTunnel(*stream_->op) : pool_.doubtHttp1(endpoint_, true)) {
      PLAIT_RARE("an answer over HTTP/1.1 is HTTP/2");
      return fail(connectionError(ErrorCode::refused_stream, "the backend speaks HTTP/2 by now"));
    }
  }
  if (phase_ == Phase::idle) {
    needs_more = input_.empty();
    if (needs_more) return {};
    return fail(connectionError(ErrorCode::protocol_error, "the backend sent bytes that nobody asked for"));
  }
  http::ResponseHead head;
  // Nothing suspends between parsing and copying, so all connections of the worker may share this memory.
  head.fields = http::FieldList(pool_.scratch().fields);
  auto parse = h1::parseResponseHead(input_.bytes(), scanned_, head, stream_->op->head->method, limits_);
  if (!parse) {
    // A head that is too large would be so again.
    const Error& error = parse.error().error;
    const bool is_too_large = error.code == ErrorCode::message_too_large || error.code == ErrorCode::no_memory;
    return fail(connectionError(is_too_large ? ErrorCode::message_too_large : ErrorCode::protocol_error, error.reason));
  }
  needs_more = !parse->complete;
  if (needs_more) return {};
  input_.bytes() = input_.bytes().subspan(parse->consumed);
  if (head.status >= 200 || head.status == 101) return onHead(*parse, head);
  if (interim_count_++ == max_interim_responses) {
    PLAIT_RARE("interim responses without end, over HTTP/1.1");
    return fail(connectionError(ErrorCode::protocol_error, "too many interim responses").as(Fault::interim_flood));
  }
  if (InterimSink* interim = stream_->op->options->interim) {
    http::ResponseHead kept = head;
    uint8_t* rest = pool_.scratch().encoded;
    kept.fields = http::FieldList({rest, sizeof(h2::SessionScratch::encoded)});
    for (const http::Field field : head.fields) {
      if (!http::isHopByHop(field, parse->connection)) (void)kept.fields.add(field.name, field.value, field.id);
    }
    interim->onInterim(kept);
  }
  return {};
}

Status H1Connection::feedBody(bool& needs_more) {
  H1UpstreamStream& stream = *stream_;
  http::FieldList trailers(pool_.scratch().fields);
  auto event = decoder_.next(input_.bytes(), trailers);
  if (!event) return fail(connectionError(ErrorCode::protocol_error, event.error().error.reason));
  switch (event->kind) {
    case h1::BodyEvent::Kind::need_more:
      needs_more = true;
      return {};
    case h1::BodyEvent::Kind::data:
      showLife();
      if (!stream.response_pipe.push(event->data, event->last)) {
        return fail(connectionError(ErrorCode::no_memory, "no block is left for the response's body"));
      }
      if (stream_ != nullptr && event->last) onResponseEnd();
      return {};
    case h1::BodyEvent::Kind::end:
      if (!stream.response_pipe.end(event->has_trailers ? &trailers : nullptr)) {
        return fail(connectionError(ErrorCode::no_memory, "no memory is left for the response's trailers"));
      }
      if (stream_ != nullptr) onResponseEnd();
      return {};
  }
  PLAIT_UNREACHABLE();
}

Status H1Connection::feed() {
  bool needs_more = false;
  if (!input_.empty()) {
    noteHeard();
    is_reused_ = false;
  }
  while (!needs_more && !sock_.isAborted()) {
    Status status;
    switch (phase_) {
      case Phase::idle:
      case Phase::head:
        status = feedHead(needs_more);
        break;
      case Phase::body:
        status = feedBody(needs_more);
        break;
      case Phase::tunnel: {
        needs_more = true;
        if (input_.empty()) break;
        const Bytes bytes = std::exchange(input_.bytes(), Bytes());
        showLife();
        if (!stream_->response_pipe.push(bytes, false)) {
          status = fail(connectionError(ErrorCode::no_memory, "no block is left for a tunnel's bytes"));
        }
        break;
      }
    }
    if (!status) return status;
  }
  return {};
}

// As many bytes may wait for a client as each exchange has blocks for; one whole read must fit as well.
bool H1Connection::isReaderPaused() const {
  return stream_ != nullptr && (phase_ == Phase::body || phase_ == Phase::tunnel) &&
         stream_->response_pipe.bufferedBytes() + pool_.loopLimits().receive_buffer_size >
             pool_.loopLimits().responseBytes();
}

void H1Connection::onBrokenOff() {
  if (paused_reader_) pool_.io().ready(std::exchange(paused_reader_, nullptr));
}

void H1Connection::wakeReader() {
  if (paused_reader_ && !isReaderPaused()) pool_.io().ready(std::exchange(paused_reader_, nullptr));
}

// With one end closed, the other is not kept open for as long as a silent tunnel may be.
void H1Connection::onHalfClosed() {
  silence_ms_ = timeouts().stream_idle_ms;
  tunnel_taken_ = sock_.bytesTaken();
  showLife();
  armTimer(nextLook(pool_.io().nowNs()));
}

bool H1Connection::isHalfOpen() const {
  if (phase_ != Phase::tunnel || sock_.isAborted() || sock_.isReset()) return false;
  return stream_->request_pipe != nullptr && !stream_->request_pipe->isFinished();
}

void H1Connection::onPeerClosed() {
  if (sock_.isReset()) onBrokenOff();
}

Status H1Connection::onEndOfStream() {
  const Error lost = connectionError(ErrorCode::connection_lost, "the backend closed the connection");
  if (phase_ == Phase::tunnel) {
    PLAIT_RARE("a tunnel ends");
    (void)stream_->response_pipe.push({}, true);
    if (stream_ != nullptr) onHalfClosed();
    return {};
  }
  if (phase_ != Phase::body) return fail(lost);
  if (!decoder_.finish()) return fail(lost);
  (void)stream_->response_pipe.push({}, true);
  if (stream_ != nullptr) onResponseEnd();
  return {};
}

struct H1Connection::ResumeAwaiter {
  H1Connection& connection;
  explicit ResumeAwaiter(H1Connection& paused) : connection(paused) {}
  bool await_ready() const { return !connection.isReaderPaused() || connection.sock_.isAborted(); }
  void await_suspend(std::coroutine_handle<> handle) { connection.paused_reader_ = handle; }
  void await_resume() const {}
};

struct H1Connection::ChangeAwaiter {
  H1Connection& connection;
  explicit ChangeAwaiter(H1Connection& waiting) : connection(waiting) {}
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> handle) { connection.paused_reader_ = handle; }
  void await_resume() const {}
};

Task<void> H1Connection::run(Bytes first, Io& io) {
  input_.start(first);
  Error ended = connectionError(ErrorCode::connection_lost, "the backend closed the connection");
  while (true) {
    Status status = feed();
    if (status && isReaderPaused() && !sock_.isAborted()) {
      PLAIT_RARE("a response over HTTP/1.1 waits for its client");
      // All of what was read is in the pipe: a client that does not read holds no receive buffer of the worker's.
      input_.park();
      co_await ResumeAwaiter(*this);
      continue;
    }
    if (status) {
      auto more = co_await input_.more();
      if (more && *more) continue;
      status = more ? onEndOfStream() : Status(fail(more.error()));
      // The end of one direction of a tunnel is not the other's.
      while (status && isHalfOpen()) {
        PLAIT_RARE("a tunnel is half open");
        input_.park();
        co_await ChangeAwaiter(*this);
      }
      if (status && phase_ == Phase::tunnel && !sock_.isAborted() && !sock_.isReset()) {
        hasRun();
        finishStream();
        // The client's last bytes still leave.
        co_await sock_.closeGracefully({.stall_ms = timeouts().stream_idle_ms, .linger_ms = 0}, io);
        stopTimer();
        co_return;
      }
    }
    if (!status) {
      ended = status.error();
      pool_.noteFault(endpointId(), ended);
    }
    break;
  }
  sock_.dropUnoffered();
  retire(ended);
  if (stream_ != nullptr) {
    if (!has_answered_) (void)pool_.doubtHttp1(endpoint_, false);
    Error own = errorFor(ended, start_position_);
    own.reach = Reach::connection;
    // The connection had ended before the request came, as far as can be told. That is no strike against the backend.
    if (is_reused_ && own.code == ErrorCode::connection_lost) own.code = ErrorCode::connection_stale;
    failStream(own);
  }
  stopTimer();
  co_await sock_.drain(io.nowNs() + 100 * ns_per_ms, io);
}

}  // namespace plait
