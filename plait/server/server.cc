#include "plait/server/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cerrno>

#include "plait/io/sync.h"

namespace plait {

ServerConnection::ServerConnection(Server& server, TlsContext* tls)
    : server_(server),
      tls_(tls),
      sock_(server.io, server.send_blocks, server.record_blocks, this),
      timer_(this, [](void* self) {
        static_cast<ServerConnection*>(self)->sock_.abort(connectionError(ErrorCode::idle_timeout, "the client was silent for too long"));
      }) {}

void ServerConnection::expectBy(TimeNs deadline_ns) { server_.io.arm(timer_, deadline_ns); }

void ServerConnection::onOutputDrained() {
  if (h2_) h2_->onOutputDrained();
  if (h1_) h1_->onOutputDrained();
}

void ServerConnection::onPeerClosed() {
  if (h1_) h1_->onPeerClosed();
}

void ServerConnection::drain() {
  if (h2_) {
    h2_->drain();
  } else if (h1_) {
    h1_->drain();
    // An idle connection has no response to say "close" with.
    if (scope_.running() == 0) expectBy(server_.io.nowNs());
  }
}

Task<void> ServerConnection::run(int fd, Io& io) {
  sock_.adopt(fd);
  sockaddr_storage address{};
  if (sock_.peerAddress(address)) {
    const void* binary = address.ss_family == AF_INET6
                             ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr)
                             : &reinterpret_cast<const sockaddr_in&>(address).sin_addr;
    if (::inet_ntop(address.ss_family, binary, client_.address_text, sizeof(client_.address_text)) != nullptr) {
      client_.address_size = static_cast<uint8_t>(std::strlen(client_.address_text));
    }
  }
  const TimeNs hello_by_ns = io.nowNs() + server_.timeouts.client_header_ms * ns_per_ms;
  bool speaks_h2 = false;
  if (tls_ != nullptr) {
    client_.is_tls = true;
    if (!co_await sock_.startTls(*tls_, {}, hello_by_ns, io)) {
      co_await sock_.drain(io.nowNs() + 100 * ns_per_ms, io);
      co_await sock_.close(io);
      co_return;
    }
    speaks_h2 = sock_.alpn() == "h2";
  }
  expectBy(hello_by_ns);
  auto first = co_await sock_.recv();
  expectBy(never_ns);
  if (!first || first->empty()) {
    co_await sock_.close(io);
    co_return;
  }
  // "PRI" is no method of HTTP/1.1: whoever starts with it speaks HTTP/2 with prior knowledge (RFC 9113 §3.3).
  const std::string_view start = asText(*first).substr(0, h2::client_preface.size());
  if (!speaks_h2) speaks_h2 = start.size() >= 3 && h2::client_preface.starts_with(start);
  if (speaks_h2) {
    h2_.emplace(*this);
    if (server_.isDraining()) h2_->drain();
    co_await h2_->run(*first, io);
    h2_.reset();
  } else {
    h1_.emplace(*this);
    co_await h1_->run(*first, io);
    h1_.reset();
  }
  timer_.cancel();
}

Server::Server(Io& server_io, const Limits& server_limits, const ServerTimeouts& server_timeouts, Handler& server_handler,
               BlockSlab& server_send_blocks, BlockSlab& server_record_blocks, BlockSlab& server_stream_blocks,
               http::HeaderSlab& server_headers)
    : io(server_io),
      limits(server_limits),
      timeouts(server_timeouts),
      handler(server_handler),
      send_blocks(server_send_blocks),
      record_blocks(server_record_blocks),
      stream_blocks(server_stream_blocks),
      headers(server_headers),
      scratch(std::make_unique<h2::SessionScratch>()),
      h2_exchanges(server_limits.exchanges),
      h1_exchanges(server_limits.exchanges),
      connections_(server_limits.client_connections) {}

Server::~Server() { PLAIT_ASSERT(all_.empty()); }

int Server::listen(sockaddr_storage& address, TlsContext* tls) {
  auto listener = std::make_unique<Listener>();
  listener->server = this;
  listener->tls = tls;
  listener->op.kind = OpKind::listen;
  listener->op.address = &address;
  io.submit(listener->op);
  if (listener->op.result < 0) return listener->op.result;
  const int fd = listener->op.result;
  listener->op = {};
  listener->op.kind = OpKind::accept;
  listener->op.fd = fd;
  listener->op.owner = listener.get();
  listener->op.on_complete = [](void* owner, const Completion& completion) {
    auto* self = static_cast<Listener*>(owner);
    self->server->onAccept(*self, completion);
  };
  io.submit(listener->op);
  listeners_.push_back(std::move(listener));
  return 0;
}

void Server::onAccept(Listener& listener, const Completion& completion) {
  if (completion.result >= 0) {
    ServerConnection* connection = connections_.create(*this, listener.tls);
    if (connection == nullptr) {
      // The slab is the bound on clients: one more is turned away at once rather than left without an answer.
      counters_.connections_refused += 1;
      Op close;
      close.kind = OpKind::close;
      close.fd = completion.result;
      io.submit(close);
    } else {
      counters_.connections_total += 1;
      all_.pushBack(*connection);
      scope_.spawn(serve(*connection, completion.result, io), io);
    }
  }
  if (!completion.more && !draining_) io.submit(listener.op);
}

Task<void> Server::serve(ServerConnection& connection, int fd, Io& task_io) {
  co_await connection.run(fd, task_io);
  connection.node.unlink();
  connections_.destroy(&connection);
}

Task<void> Server::drain(Io& drain_io) {
  draining_ = true;
  for (auto& listener : listeners_) io.cancel(listener->op);
  for (ServerConnection* connection = all_.front(); connection != nullptr; connection = all_.next(*connection)) connection->drain();
  const TimeNs deadline_ns = drain_io.nowNs() + timeouts.drain_ms * ns_per_ms;
  while (!all_.empty() && drain_io.nowNs() < deadline_ns) co_await sleepUntil(drain_io.nowNs() + 10 * ns_per_ms, drain_io);
  for (ServerConnection* connection = all_.front(); connection != nullptr; connection = all_.next(*connection)) {
    connection->sock().abort(connectionError(ErrorCode::shutting_down, "the drain deadline has passed"));
  }
  co_await scope_.join();
  for (auto& listener : listeners_) {
    while (listener->op.armed) co_await sleepUntil(drain_io.nowNs() + ns_per_ms, drain_io);
    Op close;
    close.kind = OpKind::close;
    close.fd = listener->op.fd;
    io.submit(close);
  }
}

}  // namespace plait
