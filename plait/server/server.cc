#include "plait/server/server.h"

#include <algorithm>
#include <cerrno>

#include "plait/base/rare.h"

namespace plait {

Server::Server(Io& server_io, const Limits& server_limits, const ServerTimeouts& server_timeouts,
               Handler& server_handler, BlockSlab& server_send_blocks, BlockSlab& server_record_blocks,
               BlockSlab& server_stream_blocks, http::HeaderSlab& server_headers)
    : io(server_io),
      limits(server_limits),
      timeouts(server_timeouts),
      handler(server_handler),
      send_blocks(server_send_blocks),
      sock_room(server_record_blocks, server_limits.client_connections),
      stream_blocks(server_stream_blocks),
      headers(server_headers),
      upload_blocks(server_limits.stream_block_size, server_limits.uploadBlocks()),
      scratch(std::make_unique<h2::SessionScratch>(server_limits.client_connections, H2Server::sessionConfig(limits),
                                                   headers.ofClass(2))),
      h2_exchanges(server_limits.exchanges),
      h1_exchanges(server_limits.exchanges),
      connections_(server_limits.client_connections),
      accepted_(max_accepted_waiting),
      accept_timer_(this, [](void* self) { static_cast<Server*>(self)->resumeAccepting(); }),
      room_timer_(this, [](void* self) { static_cast<Server*>(self)->makeRoom(); }) {
  scratch->lender = &io.buffers();
}

Server::~Server() {
  PLAIT_ASSERT(busy_.empty() && idle_.empty());
}

size_t Server::connectionBytes(const Limits& limits) {
  return Slab<ServerConnection>::bytesFor(limits.client_connections) + SockRoom::bytesFor(limits.client_connections) +
         h2::SessionScratch::lentBytesFor(limits.client_connections) + max_accepted_waiting * sizeof(Accepted);
}

size_t Server::exchangeBytes(const Limits& limits) {
  return Slab<H2Exchange>::bytesFor(limits.exchanges) + Slab<H1Exchange>::bytesFor(limits.exchanges);
}

void Server::prefault() {
  upload_blocks.prefault();
  h2_exchanges.prefault();
  h1_exchanges.prefault();
  connections_.prefault();
  sock_room.prefault();
  scratch->prefault();
}

int Server::listen(sockaddr_storage& address, TlsContext* tls, bool tls_by_first_byte) {
  auto listener = std::make_unique<Listener>();
  listener->server = this;
  listener->tls = tls;
  listener->tls_by_first_byte = tls_by_first_byte;
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

std::string_view Server::date() {
  if (io.nowNs() >= date_until_ns_) {
    http::formatImfDate(io.epochSeconds(), date_);
    date_until_ns_ = io.nowNs() + ns_per_s / 4;
  }
  return {date_, sizeof(date_)};
}

size_t Server::reservedBytes() const {
  return upload_blocks.reservedBytes() + h2_exchanges.reservedBytes() + h1_exchanges.reservedBytes() +
         connections_.reservedBytes() + sock_room.reservedBytes() + scratch->lentBytes() +
         max_accepted_waiting * sizeof(Accepted);
}

void Server::noteUploadRoom() {
  if (upload_waiters_.empty() || uploadsAreShort()) return;
  // One at a time, first come first served; each passes the word on.
  upload_waiters_.front()->connection_.wakeForRoom();
}

void Server::noteFault(const ClientInfo& client, const Error& error) {
  const Fault fault = faultOf(error);
  if (fault == Fault::none) return;
  (error.reachesConnection() ? counters_.connection_faults : counters_.stream_faults)[static_cast<size_t>(fault)] += 1;
  if (observer_ != nullptr) observer_->onClientFault(client, error, io.nowNs());
}

void Server::noteRejected(const Rejection& rejection) {
  const Fault fault = faultOf(rejection.error);
  counters_.rejections[static_cast<size_t>(fault)] += 1;
  (rejection.request.version == http::Version::http_2 ? counters_.requests_h2 : counters_.requests_h1) += 1;
  if (observer_ != nullptr && fault != Fault::none)
    observer_->onClientFault(rejection.client, rejection.error, io.nowNs());
  handler.onRejected(rejection);
}

uint32_t Server::uploadFloor(const Exchange& exchange) const {
  const size_t available = std::min(h2_exchanges.available(), h1_exchanges.available());
  const bool is_ample = available >= limits.exchanges / 2;
  const bool is_grpc = exchange.request().fields.value(http::FieldName::content_type).starts_with("application/grpc");
  return is_grpc && is_ample ? 0 : limits.upload_bytes_per_second;
}

// Who hoards connections without using them must not keep others out. A few are kept free, so that a client that comes
// need not wait until one has left in good order.
void Server::makeRoom() {
  const size_t wanted = std::clamp<size_t>(limits.client_connections / 64, 1, 64);
  while (!draining_ && connections_.available() + leaving_ < wanted + accepted_.size()) {
    ServerConnection* longest = idle_.front();
    if (longest == nullptr) return;
    const TimeNs due_ns = longest->idle_since_ns_ + min_idle_ms * ns_per_ms;
    if (due_ns > io.nowNs()) {
      if (connections_.available() == 0 && !room_timer_.isArmed()) io.arm(room_timer_, due_ns);
      return;
    }
    longest->evict();
  }
}

int64_t Server::lostCredit() {
  int64_t lost = 0;
  forEach([&](ServerConnection& one) { lost += one.lostCredit(); });
  return lost;
}

void Server::closeNow(int fd) {
  Op close;
  close.kind = OpKind::close;
  close.fd = fd;
  io.submit(close);
}

void Server::adopt(Listener& listener, int fd) {
  ServerConnection* connection = connections_.create(*this);
  if (connection == nullptr) {
    // What had been accepted before accepting stopped waits for its turn.
    if (accepted_.full()) {
      counters_.connections_refused += 1;
      return closeNow(fd);
    }
    PLAIT_RARE("a client waits for a place");
    return accepted_.push({fd, &listener});
  }
  counters_.connections_total += 1;
  connection->setIdle();
  scope_.spawn(serve(*connection, listener, fd, io), io);
  if (connections_.available() == 0) pauseAccepting();
  makeRoom();
}

void Server::onAccept(Listener& listener, const Completion& completion) {
  if (completion.result >= 0) {
    adopt(listener, completion.result);
  } else if (completion.result != -ECANCELED && completion.result != -EINTR) {
    PLAIT_RARE("accept fails");
    // Out of descriptors or memory: asking again at once would fail again at once.
    pauseAccepting();
    io.arm(accept_timer_, io.nowNs() + 100 * ns_per_ms);
    // Where descriptors are what is short, whoever is idle holds one.
    if (ServerConnection* longest = idle_.front();
        longest != nullptr && longest->idle_since_ns_ + min_idle_ms * ns_per_ms <= io.nowNs()) {
      longest->evict();
    }
  }
  if (completion.more) return;
  if (!draining_ && !accept_paused_) {
    io.submit(listener.op);
  } else {
    changed_.notifyAll(io);
  }
}

void Server::pauseAccepting() {
  if (accept_paused_) return;
  PLAIT_RARE("accepting pauses");
  accept_paused_ = true;
  counters_.accept_pauses += 1;
  for (auto& listener : listeners_) io.cancel(listener->op);
}

void Server::resumeAccepting() {
  if (!accept_paused_ || draining_ || connections_.available() == 0) return;
  accept_paused_ = false;
  accept_timer_.cancel();
  // Where the cancelled accept has not come back yet, it is armed again when it does.
  for (auto& listener : listeners_) {
    if (!listener->op.armed) io.submit(listener->op);
  }
}

void Server::admitWaiting() {
  while (!accepted_.empty() && connections_.available() != 0) {
    const Accepted next = accepted_.pop();
    adopt(*next.listener, next.fd);
  }
  if (accepted_.empty()) resumeAccepting();
}

// What only the greeting needs is not held any more when the conversation has begun, but for what was read.
Task<void> Server::serve(ServerConnection& connection, Listener& listener, int fd, Io& task_io) {
  BufferedInput opening(connection.sock(), headers.classes());
  if (co_await connection.greet(fd, listener.tls, listener.tls_by_first_byte, opening, task_io)) {
    scope_.spawn(connection.converse(std::move(opening), task_io), task_io);
  } else {
    ended(connection);
  }
}

void Server::ended(ServerConnection& connection) {
  connection.node.unlink();
  if (connection.is_leaving_) leaving_ -= 1;
  connections_.destroy(&connection);
  admitWaiting();
  changed_.notifyAll(io);
}

Task<void> Server::drain(Io& drain_io) {
  draining_ = true;
  accept_timer_.cancel();
  room_timer_.cancel();
  for (auto& listener : listeners_) io.cancel(listener->op);
  for (auto& listener : listeners_) {
    while (listener->op.armed) co_await changed_.wait();
    // Clients whose connection the kernel has completed have seen no refusal: they are served before the socket goes.
    Op waiting;
    waiting.kind = OpKind::accept_waiting;
    waiting.fd = listener->op.fd;
    for (io.submit(waiting); waiting.result >= 0; io.submit(waiting)) adopt(*listener, waiting.result);
    closeNow(listener->op.fd);
  }
  forEach([](ServerConnection& connection) { connection.drain(); });
  const TimeNs deadline_ns = drain_io.nowNs() + timeouts.drain_ms * ns_per_ms;
  Timer deadline(this, [](void* self) {
    auto* server = static_cast<Server*>(self);
    server->changed_.notifyAll(server->io);
  });
  drain_io.arm(deadline, deadline_ns);
  while (!(busy_.empty() && idle_.empty() && accepted_.empty()) && drain_io.nowNs() < deadline_ns)
    co_await changed_.wait();
  deadline.cancel();
  while (!accepted_.empty()) closeNow(accepted_.pop().fd);
  forEach([](ServerConnection& connection) {
    connection.abort(connectionError(ErrorCode::shutting_down, "the drain deadline has passed"));
  });
  co_await scope_.join();
}

}  // namespace plait
