// The backend of ./dev bench --wire: it sends as many bytes as the path says and takes whatever is sent, over HTTP/1.1
// and HTTP/2, plain or with TLS, with windows that hold nobody up. plait's own server, embedded.
//
//   plait_wire_origin [--cert FILE --key FILE]     says the port that it listens on
#include <arpa/inet.h>
#include <netinet/in.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>

#include "plait/plait.h"

namespace {

using namespace plait;

// A body of so many zeros, a few of which wait at any time.
class Zeros final : public http::BodyProducer {
 public:
  Zeros(http::Pipe& pipe, uint64_t size) : pipe_(pipe), left_(size) {
    pipe.setProducer(this);
    fill();
  }
  void onConsumed(size_t) override { fill(); }
  void onConsumerGone(const Error&) override { left_ = 0; }

 private:
  void fill() {
    if (fills_) return;
    fills_ = true;
    static const uint8_t zeros[16 << 10] = {};
    while (left_ != 0 && pipe_.bufferedBytes() < 4 * sizeof(zeros)) {
      const size_t count = std::min<uint64_t>(left_, sizeof(zeros));
      left_ -= count;
      if (!pipe_.push({zeros, count}, left_ == 0)) {
        left_ = 0;
        pipe_.abort(streamError(ErrorCode::no_memory, "no block is left"));
      }
    }
    fills_ = false;
  }
  http::Pipe& pipe_;
  uint64_t left_;
  bool fills_ = false;
};

// Takes a whole body and forgets it.
class Drain final : public http::BodyConsumer {
 public:
  Drain(http::Pipe& pipe, Io& io) : pipe_(pipe), io_(io) {}
  bool await_ready() {
    pipe_.attach(*this);
    return is_over_;
  }
  void await_suspend(std::coroutine_handle<> handle) { waiter_ = handle; }
  void await_resume() const {}
  size_t onBody(Bytes bytes, bool last) override {
    if (last) end();
    return bytes.size();
  }
  bool onBodyEnd(const http::FieldList*) override {
    end();
    return true;
  }
  void onBodyAborted(const Error&) override { end(); }

 private:
  void end() {
    is_over_ = true;
    if (waiter_) io_.ready(std::exchange(waiter_, nullptr));
  }
  http::Pipe& pipe_;
  Io& io_;
  std::coroutine_handle<> waiter_;
  bool is_over_ = false;
};

class WireHandler final : public Handler {
 public:
  explicit WireHandler(Runtime*& runtime) : runtime_(runtime) {}
  Task<void> handle(Exchange& exchange, Io& io) override {
    if (http::Pipe* body = exchange.requestBody()) co_await Drain(*body, io);
    const std::string_view path = exchange.request().path;
    uint64_t size = 0;
    std::from_chars(path.data() + 1, path.data() + path.size(), size);
    if (size == 0) {
      exchange.respond(200, "text/plain", "taken\n");
    } else {
      alignas(8) uint8_t memory[256];
      http::ResponseHead head;
      head.status = 200;
      head.fields = http::FieldList(memory);
      head.content_length = size;
      char text[24];
      const auto end = std::to_chars(text, text + sizeof(text), size).ptr;
      PLAIT_ASSERT(head.fields.add("content-length", {text, end}, http::FieldName::content_length));
      http::Pipe pipe(runtime_->streamBlocks(), runtime_->headers());
      const Zeros zeros(pipe, size);
      if (exchange.sendHead(head, false)) (void)co_await exchange.relay(pipe);
      pipe.setProducer(nullptr);
    }
    exchange.end();
  }

 private:
  Runtime*& runtime_;
};

Task<void> serve(Runtime& runtime, Server& server, Io& io) {
  co_await runtime.stopRequested();
  co_await server.drain(io);
}

}  // namespace

int main(int argc, char** argv) {
  std::string cert;
  std::string key;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--cert") == 0) cert = argv[i + 1];
    if (std::strcmp(argv[i], "--key") == 0) key = argv[i + 1];
  }
  std::unique_ptr<TlsContext> tls;
  if (!cert.empty()) {
    auto made = TlsContext::makeServer({.cert_file = cert, .key_file = key, .client_ca_file = {}});
    if (!made) {
      std::fprintf(stderr, "plait_wire_origin: %s\n", made.error().c_str());
      return 1;
    }
    tls = std::move(*made);
  }
  RuntimeOptions options;
  options.limits.exchanges = 1024;
  options.limits.client_connections = 1024;
  ServerLimits limits;
  limits.client_stream_window = 32 << 20;
  limits.client_connection_window = 256 << 20;
  limits.upload_pool_bytes = 1 << 30;
  auto runtime = Runtime::make(options);
  if (!runtime) {
    std::fprintf(stderr, "plait_wire_origin: %s\n", runtime.error().reason);
    return 1;
  }
  Runtime* loop = runtime->get();
  WireHandler handler(loop);
  auto server = makeServer(*loop, handler, {}, limits);
  sockaddr_storage address{};
  auto& v4 = reinterpret_cast<sockaddr_in&>(address);
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (const Status opened = server->listen(address, tls.get()); !opened) {
    std::fprintf(stderr, "plait_wire_origin: %s\n", std::strerror(static_cast<int>(opened.error().detail)));
    return 1;
  }
  std::printf("%u\n", ntohs(v4.sin_port));
  std::fflush(stdout);
  loop->run(serve(*loop, *server, loop->io()));
}
