#include "plait/client/lease.h"

#include <algorithm>
#include <charconv>

#include "plait/base/rare.h"
#include "plait/client/pool.h"

namespace plait {

bool LeaseAwaiter::await_ready() {
  Endpoint* endpoint = pool_.endpoints_.find(endpoint_);
  if (endpoint == nullptr) {
    result_ = fail(ConnectionPool::goneError());
    return true;
  }
  if (options_.own) return false;
  Connection* connection = pool_.reserveNow(*endpoint, endpoint->laneFor(options_.needs_http_1_1), options_.claim);
  if (connection == nullptr) return false;
  result_ = connection;
  return true;
}

bool LeaseAwaiter::await_suspend(std::coroutine_handle<> handle) {
  Waiting& waiting = waiting_.emplace(*this);
  pool_.waitInLine(*pool_.endpoints_.find(endpoint_), waiting.op);
  if (waiting.op.done) return false;
  waiting.op.waiter = handle;
  io_.arm(waiting.timer, io_.nowNs() + pool_.timeouts_.queue_ms * ns_per_ms);
  if (options_.cancel != nullptr) options_.cancel->link(waiting.cancel_node);
  return true;
}

LeaseAwaiter::Waiting::Waiting(LeaseAwaiter& awaiter)
    : timer(this, [](void* self) {
        static_cast<Waiting*>(self)->giveUp(backendError(ErrorCode::pool_exhausted, "no stream became free in time"));
      }) {
  op.endpoint = awaiter.endpoint_;
  op.owner = &awaiter;
  op.needs_http_1_1 = awaiter.options_.needs_http_1_1;
  op.needs_own = awaiter.options_.own;
  op.failed_ns = op.sent_ns = awaiter.io_.nowNs();
  op.on_leased = [](RequestOp& leased, Result<Connection*> connection) {
    auto* owner = static_cast<LeaseAwaiter*>(leased.owner);
    owner->result_ = connection;
    leased.done = true;
    owner->waiting_->timer.cancel();
    owner->waiting_->cancel_node.node.unlink();
    if (leased.waiter) owner->io_.ready(leased.waiter);
  };
  cancel_node.owner = this;
  cancel_node.on_cancel = [](void* self, const Error& error) {
    auto* cancelled = static_cast<Waiting*>(self);
    if (!cancelled->op.done) cancelled->giveUp(error);
  };
}

void LeaseAwaiter::Waiting::giveUp(const Error& error) {
  PLAIT_RARE("a request waits in vain for a stream");
  op.queue_node.unlink();
  op.on_leased(op, fail(error));
}

Result<Lease> LeaseAwaiter::await_resume() {
  if (!result_) return fail(result_.error());
  return Lease(pool_, **result_, endpoint_);
}

Lease::RequestAwaiter Lease::request(const http::RequestHead& head, const RequestOptions& options, Io& io) {
  return RequestAwaiter(*this, head, options, io);
}

Lease::RequestAwaiter::RequestAwaiter(Lease& lease, const http::RequestHead& head, const RequestOptions& options,
                                      Io& io)
    : lease_(lease), io_(io), timer_(this, [](void* self) { static_cast<RequestAwaiter*>(self)->onTimer(); }) {
  op_.head = &head;
  op_.options = &options;
  op_.attempts = options.attempts != nullptr ? options.attempts : &own_attempts_;
  op_.endpoint = lease.endpoint_;
  op_.owner = this;
  cancel_node_.owner = this;
  cancel_node_.on_cancel = [](void* self, const Error& error) {
    auto* awaiter = static_cast<RequestAwaiter*>(self);
    RequestOp& op = awaiter->op_;
    if (op.done) return;
    op.queue_node.unlink();
    op.awaiting_node.unlink();
    // A cancellation comes from the client's side: it reaches this stream, never the backend's connection.
    Error own = error;
    own.reach = Reach::stream;
    if (UpstreamStream* stream = std::exchange(op.stream, nullptr)) stream->abandon(own);
    awaiter->complete(fail(own));
  };
}

Lease::PlainRequestAwaiter Lease::request(std::string_view method, std::string_view path, std::string_view host,
                                          http::Pipe* body, Io& io) {
  return PlainRequestAwaiter(*this, method, path, host, body, io);
}

Lease::PlainRequestAwaiter::PlainRequestAwaiter(Lease& lease, std::string_view method, std::string_view path,
                                                std::string_view host, http::Pipe* body, Io& io)
    : options_{.body = body}, awaiter_(lease, head_, options_, io) {
  const Endpoint* endpoint = lease.pool_->find(lease.endpoint_);
  const bool is_tls = endpoint != nullptr && endpoint->options->protocol == BackendProtocol::https;
  head_.method = method;
  head_.scheme = is_tls ? "https" : "http";
  head_.authority = host;
  head_.path = path;
  head_.fields = http::FieldList(memory_);
  head_.end_stream = body == nullptr;
  if (body == nullptr || !body->isEnded() || body->trailers() != nullptr) return;
  head_.content_length = body->totalBytes();
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof(digits), head_.content_length).ptr;
  PLAIT_ASSERT(head_.fields.add("content-length", {digits, end}, http::FieldName::content_length));
}

bool Lease::RequestAwaiter::await_suspend(std::coroutine_handle<> handle) {
  ConnectionPool& pool = *lease_.pool_;
  // A repetition at another endpoint is the same request, and was counted before.
  if (!std::exchange(op_.attempts->is_counted, true)) {
    pool.counters_.requests += 1;
    pool.budgetOf(*op_.attempts).onRequest();
  }
  pool.budgetOf(*op_.attempts).onTry(io_.nowNs());
  op_.attempts->begun_ns = io_.nowNs();
  Connection* connection = std::exchange(lease_.connection_, nullptr);
  PLAIT_ASSERT(connection != nullptr);
  op_.connection = pool.handleOf(*connection);
  op_.deadline_ns = op_.options->deadlineFrom(io_.nowNs());
  connection->request(op_);
  if (op_.done) return false;
  if (op_.options->cancel != nullptr) op_.options->cancel->link(cancel_node_);
  if (op_.done) return false;
  op_.waiter = handle;
  return true;
}

void Lease::RequestAwaiter::tryAgain() {
  if (op_.attempts->travels_alone) {
    op_.needs_own = true;
    op_.failed_ns = io_.nowNs();
  }
  lease_.pool_->startTry(op_);
  if (op_.queue_node.isLinked()) io_.arm(timer_, io_.nowNs() + lease_.pool_->timeouts_.queue_ms * ns_per_ms);
}

void Lease::RequestAwaiter::onTimer() {
  if (op_.done || op_.stream != nullptr || !op_.queue_node.isLinked()) return;
  op_.queue_node.unlink();
  PLAIT_RARE("a repeated request waits in vain");
  complete(fail(backendError(ErrorCode::pool_exhausted, "no stream became free in time")));
}

void Lease::RequestAwaiter::complete(const Result<UpstreamStream*>& result) {
  PLAIT_ASSERT(!op_.done);
  op_.done = true;
  op_.result = result;
  // Only an error that reaches the connection is a reason to retire it.
  if (result || result.error().reach == Reach::connection) lease_.answered_by_ = op_.connection;
  timer_.cancel();
  cancel_node_.node.unlink();
  if (op_.waiter) io_.ready(op_.waiter);
}

Result<Response> Lease::RequestAwaiter::await_resume() {
  if (!op_.result) return fail(op_.result.error());
  return Response(**op_.result);
}

}  // namespace plait
