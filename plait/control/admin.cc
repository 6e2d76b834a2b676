#include "plait/control/admin.h"

#include <algorithm>

#include "plait/base/alloc_guard.h"

namespace plait {

Task<bool> AdminHandler::collect(Io& io) {
  backends_ = names_.present();
  for (WorkerSnapshot& snapshot : snapshots_) {
    snapshot.backends.clear();
    snapshot.backends.resize(backends_->size());
  }
  for (size_t i = 0; i < workers_.size(); ++i) {
    // The wait must be known before the answer can come: so the op is armed first, and the question asked between.
    struct Question {
      Worker& worker;
      WorkerSnapshot& snapshot;
      Mailbox& mailbox;
      Op op;
      OpAwaiter awaiter;
      Question(Worker& asked, WorkerSnapshot& out, Mailbox& box, Io& question_io)
          : worker(asked), snapshot(out), mailbox(box), awaiter(op, question_io) {}
      bool await_ready() const { return false; }
      void await_suspend(std::coroutine_handle<> handle) {
        awaiter.await_suspend(handle);
        worker.requestSnapshot(snapshot, mailbox, op);
      }
      void await_resume() const {}
    };
    co_await Question(*workers_[i], snapshots_[i], mailbox_, io);
  }
  co_return true;
}

// A demo origin has no backends to wait for.
bool AdminHandler::isReady() const {
  if (is_draining_.load(std::memory_order_relaxed)) return false;
  for (size_t i = 0; i < backends_->size(); ++i) {
    if (!(*backends_)[i].empty() && isBackendUp(snapshots_, i)) return true;
  }
  const auto isPanic = [](const WorkerSnapshot& worker) { return worker.is_panic; };
  return backends_->empty() || std::ranges::any_of(snapshots_, isPanic);
}

Task<void> AdminHandler::answer(Exchange& exchange, uint16_t status, std::string_view type, std::string_view text,
                                Io&) {
  alignas(8) uint8_t memory[512];
  http::ResponseHead head;
  head.status = status;
  head.fields = http::FieldList(memory);
  head.content_length = text.size();
  head.fields.add("content-type", type, http::FieldName::content_type);
  head.fields.add("content-length", std::to_string(text.size()), http::FieldName::content_length);
  const bool has_body = exchange.request().method != "HEAD";
  http::Pipe body(stream_blocks_, headers_);
  if (!body.push(asBytes(text), true)) {
    exchange.respondError(503, "no memory is left for the answer\n");
  } else if (exchange.sendHead(head, !has_body) && has_body) {
    // A client that goes away before it has everything is its own affair.
    (void)co_await exchange.relay(body);
  }
}

Task<void> AdminHandler::handle(Exchange& exchange, Io& io) {
  static constexpr std::string_view plain = "text/plain; charset=utf-8";
  const http::RequestHead& request = exchange.request();
  const std::string_view path = request.path.substr(0, request.path.find('?'));
  if (request.method != "GET" && request.method != "HEAD") {
    co_await answer(exchange, 405, plain, "only GET is answered here\n", io);
  } else if (path == "/healthz") {
    co_await answer(exchange, 200, plain, "ok\n", io);
  } else if (path == "/ready" || path == "/metrics") {
    co_await mutex_.lock();
    const bool is_collected = co_await collect(io);
    const bool is_ready = is_collected && isReady();
    const std::shared_ptr<const CertificateDates::Ends> certificates = dates_.get();
    const ProcessFigures process{.serving_allocations = AllocGuard::servingAllocations(),
                                 .log_failed_lines = log_ == nullptr ? 0 : log_->failedLines(),
                                 .log_failed_reopenings = failed_reopenings_.load(std::memory_order_relaxed),
                                 .generation = reloads_.generation.load(std::memory_order_relaxed),
                                 .reloads = reloads_.successes.load(std::memory_order_relaxed),
                                 .failed_reloads = reloads_.failures.load(std::memory_order_relaxed),
                                 .last_success_s = reloads_.last_success_s.load(std::memory_order_relaxed),
                                 .last_failure_s = reloads_.last_failure_s.load(std::memory_order_relaxed),
                                 .tls_contexts = reloads_.tls_contexts.load(std::memory_order_relaxed),
                                 .is_draining = is_draining_.load(std::memory_order_relaxed),
                                 .certificates = *certificates};
    const std::string text = path == "/metrics" ? formatMetrics(snapshots_, process, *backends_) : std::string();
    mutex_.unlock(io);
    if (!is_collected) {
      exchange.respondError(503, "no memory is left for the answer\n");
    } else if (path == "/metrics") {
      co_await answer(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", text, io);
    } else if (is_ready) {
      co_await answer(exchange, 200, plain, "ready\n", io);
    } else {
      co_await answer(exchange, 503, plain, process.is_draining ? "draining\n" : "no backend can be reached\n", io);
    }
  } else {
    co_await answer(exchange, 404, plain, "there are /metrics, /healthz and /ready\n", io);
  }
  if (http::Pipe* body = exchange.requestBody())
    body->cancel(streamError(ErrorCode::cancelled, "no body is read here"));
  exchange.end();
}

}  // namespace plait
