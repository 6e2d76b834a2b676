// A reverse proxy of one's own in the terms of plait's public header: what comes in on any version of HTTP goes out
// over few shared HTTP/2 connections. Hidden retries, back-pressure and draining are plait's.
//
//   reverse_proxy LISTEN_PORT BACKEND_HOST BACKEND_PORT
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "plait/plait.h"

using namespace plait;

class ReverseProxy final : public Handler {
 public:
  ReverseProxy(ConnectionPool& pool, Runtime& runtime) : pool_(pool), runtime_(runtime) {}

  Task<void> handle(Exchange& exchange, Io& io) override {
    http::HeaderBlock memory(runtime_.headers());
    http::RequestHead head;
    if (!prepare(exchange, memory, head)) {
      exchange.respondError(503, "no memory is left for this request\n");
    } else if (Status served = co_await serve(exchange, head, io); !served) {
      exchange.respondError(502, "the backend could not be reached or broke off\n");
    }
    if (http::Pipe* body = exchange.requestBody())
      body->cancel(streamError(ErrorCode::cancelled, "the response is complete"));
    exchange.end();
  }

 private:
  Task<Status> serve(Exchange& exchange, const http::RequestHead& head, Io& io) {
    auto lease = co_await pool_.getOrCreate(pool_.endpoint(0), io, {.cancel = &exchange.cancelToken()});
    if (!lease) co_return fail(lease.error());
    auto response =
        co_await lease->request(head, {.body = exchange.requestBody(), .cancel = &exchange.cancelToken()}, io);
    pool_.release(*lease, response || !response.error().reachesConnection(), io);
    if (!response) co_return fail(response.error());
    const bool is_empty = response->head().end_stream || exchange.request().method == "HEAD";
    if (!exchange.sendHead(response->head(), is_empty))
      co_return fail(streamError(ErrorCode::cancelled, "the client is gone"));
    if (is_empty) co_return Status();
    co_return co_await exchange.relay(response->pipe());
  }

  // The client's request without what concerns its own hop (RFC 9110 §7.6.1).
  static bool prepare(Exchange& exchange, http::HeaderBlock& memory, http::RequestHead& head) {
    const http::RequestHead& in = exchange.request();
    if (!memory.reserve(in.fields.listSize() + 256)) return false;
    head = in;
    head.fields = http::FieldList(memory.memory());
    head.scheme = exchange.client().scheme();
    http::ConnectionTokens nominated;
    for (const http::Field field : in.fields) {
      if (field.id == http::FieldName::connection && !http::parseConnectionValue(field.value, nominated)) return false;
    }
    for (const http::Field field : in.fields) {
      if (http::isHopByHop(field, nominated) || field.id == http::FieldName::expect) continue;
      if (!head.fields.add(field.name, field.value, field.id, field.never_indexed)) return false;
    }
    return head.fields.add("x-forwarded-for", exchange.client().address());
  }

  ConnectionPool& pool_;
  Runtime& runtime_;
};

Task<void> serveUntilStopped(Runtime& runtime, Server& server, ConnectionPool& pool, Io& io) {
  co_await runtime.stopRequested();
  co_await server.drain(io);
  co_await pool.close(io);
}

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: reverse_proxy LISTEN_PORT BACKEND_HOST BACKEND_PORT\n");
    return 2;
  }
  // Every thread that is made from here on leaves these signals to the one that waits for them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  auto made = Runtime::make();
  if (!made) {
    std::fprintf(stderr, "reverse_proxy: %s\n", made.error().reason);
    return 1;
  }
  Runtime& runtime = **made;
  BackendOptions backend{.name = "origin",
                         .protocol = BackendProtocol::probe,
                         .host = argv[2],
                         .port = static_cast<uint16_t>(std::atoi(argv[3])),
                         .server_name = "",
                         .tls = nullptr};
  auto pool = runtime.makePool({backend});
  ReverseProxy proxy(*pool, runtime);
  auto server = makeServer(runtime, proxy);
  sockaddr_storage address = *parseLiteral("127.0.0.1", static_cast<uint16_t>(std::atoi(argv[1])));
  if (const Status opened = server->listen(address, nullptr); !opened) {
    std::fprintf(stderr, "reverse_proxy: port %s: %s (%s)\n", argv[1], opened.error().reason,
                 std::strerror(static_cast<int>(opened.error().detail)));
    return 1;
  }
  std::printf("listening on 127.0.0.1:%d\n", portOf(address));
  std::fflush(stdout);
  std::thread waiter([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    runtime.requestStop();
  });
  runtime.run(serveUntilStopped(runtime, *server, *pool, runtime.io()));
  waiter.join();
  return 0;
}
