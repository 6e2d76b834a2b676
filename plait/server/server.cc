#include "plait/server/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>

#include "plait/base/rare.h"
#include "plait/net/address.h"

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
      scratch(std::make_unique<h2::SessionScratch>(server_limits.client_connections,
                                                   H2Conversation::sessionConfig(limits), headers.ofClass(2))),
      request_ids(io.random().next()),
      h2_exchanges(server_limits.exchanges),
      h1_exchanges(server_limits.exchanges),
      early_answers(server_io, std::max<size_t>(server_limits.exchanges / 8, 4)),
      exchange_shares_(2 * size_t{server_limits.exchanges}, server_io.entropy()),
      connection_shares_(server_limits.client_connections, server_io.entropy()),
      connections_(server_limits.client_connections),
      accepted_(max_accepted_waiting),
      crowded_(max_crowded),
      accept_timer_(this, [](void* self) { static_cast<Server*>(self)->resumeAccepting(); }),
      room_timer_(this, [](void* self) { static_cast<Server*>(self)->makeRoom(); }),
      crowd_timer_(this, [](void* self) { static_cast<Server*>(self)->lookAtCrowd(); }),
      upload_timer_(this, [](void* self) { static_cast<Server*>(self)->lookAtUploads(); }) {
  PLAIT_ASSERT(!limits.mistake());
  scratch->lender = &io.buffers();
}

Server::~Server() {
  PLAIT_ASSERT(busy_.empty() && idle_.empty());
}

size_t Server::connectionBytes(const Limits& limits) {
  return Slab<ServerConnection>::bytesFor(limits.client_connections) + SockRoom::bytesFor(limits.client_connections) +
         h2::SessionScratch::lentBytesFor(limits.client_connections) + sizeof(h2::SessionScratch) +
         AddressShares::bytesFor(limits.client_connections) + (max_accepted_waiting + max_crowded) * sizeof(Accepted);
}

size_t Server::exchangeBytes(const Limits& limits) {
  return Slab<H2Exchange>::bytesFor(limits.exchanges) + Slab<H1Exchange>::bytesFor(limits.exchanges) +
         AddressShares::bytesFor(2 * size_t{limits.exchanges});
}

void Server::prefault() {
  upload_blocks.prefault();
  h2_exchanges.prefault();
  h1_exchanges.prefault();
  exchange_shares_.prefault();
  connection_shares_.prefault();
  connections_.prefault();
  sock_room.prefault();
  scratch->prefault();
}

int Server::listen(sockaddr_storage& address, TlsContext* tls, bool tls_by_first_byte, const PortUse& use) {
  auto listener = std::make_unique<Listener>();
  listener->server = this;
  listener->tls = tls;
  listener->tls_by_first_byte = tls_by_first_byte;
  listener->op.kind = OpKind::listen;
  listener->op.address = &address;
  listener->op.share_port = use.share;
  listener->op.only_v6 = use.only_v6;
  io.submit(listener->op);
  if (listener->op.result < 0) return listener->op.result;
  const int fd = listener->op.result;
  listener->op = {};
  listener->op.kind = OpKind::accept;
  listener->op.fd = fd;
  listener->op.single = limits.accepts_one_by_one;
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
         exchange_shares_.reservedBytes() + connection_shares_.reservedBytes() + connections_.reservedBytes() +
         sock_room.reservedBytes() + scratch->lentBytes() + (max_accepted_waiting + max_crowded) * sizeof(Accepted);
}

void Server::noteUploadRoom() {
  // One at a time, first come first served, those that hold little first; each passes the word on.
  if (!little_waiters_.empty()) {
    if (takesUpload(0)) little_waiters_.front()->connection_.wakeForRoom();
  } else if (!large_waiters_.empty()) {
    if (takesUpload(Limits::little_upload)) large_waiters_.front()->connection_.wakeForRoom();
  }
}

// The largest holder of stuck uploads, by address and within it by connection, loses the one that is stuck for the
// longest.
void Server::lookAtUploads() {
  if (!uploadsAreAmple()) {
    for (uint32_t i = 0; i < most_ended && !uploadsAreAmple() && endStuckUpload(); ++i) {
    }
  }
  if (!uploadsAreAmple()) return watchUploads();
  forEach([](ServerConnection& one) {
    if (H2Conversation* const h2 = one.h2()) h2->creditWaiting();
  });
  noteUploadRoom();
}

bool Server::endStuckUpload() {
  const TimeNs before_ns = io.nowNs() - timeouts.stuck_upload_ms * ns_per_ms;
  // Addresses that fall into one place are looked at as one.
  std::array<uint64_t, 256> stuck{};
  const auto placeOf = [](const ServerConnection& one) {
    return static_cast<size_t>(one.client_.key.address * 0x9e3779b97f4a7c15 >> 56);
  };
  forEach([&](ServerConnection& one) { stuck[placeOf(one)] += one.stuckUpload(before_ns); });
  const auto most = static_cast<size_t>(std::ranges::max_element(stuck) - stuck.begin());
  ServerConnection* largest = nullptr;
  size_t held = 0;
  forEach([&](ServerConnection& one) {
    if (placeOf(one) != most) return;
    const size_t own = one.stuckUpload(before_ns);
    if (own <= held) return;
    held = own;
    largest = &one;
  });
  if (largest == nullptr) return false;
  largest->endStuckUpload();
  return true;
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

const char* Server::whyNoExchange(const http::RequestHead& request, const ClientInfo& client) {
  const size_t left = exchangesLeft();
  if (left * 8 > limits.exchanges) return nullptr;
  if (left == 0) return "no room is left for a request";
  if (!std::exchange(counts_exchanges_, true)) {
    PLAIT_RARE("shares of exchanges begin to count");
    forEach([this](ServerConnection& one) { one.forEachExchange([this](Exchange& its) { addExchange(its); }); });
  }
  const uint64_t address = handler.addressOf(request, client);
  if (address == 0 || exchange_shares_.mayTake(address, limits.exchanges, left)) return nullptr;
  PLAIT_RARE("an address has its share of the exchanges");
  return "the client's address has its share of exchanges";
}

void Server::addExchange(Exchange& exchange) {
  exchange.counted_address = handler.addressOf(exchange.request(), exchange.client());
  if (exchange.counted_address != 0) exchange_shares_.add(exchange.counted_address);
}

void Server::removeExchange(Exchange& exchange) {
  exchange_shares_.remove(std::exchange(exchange.counted_address, 0));
  // With so many free the counting is not worth its cost.
  if (exchangesLeft() * 4 <= limits.exchanges) return;
  counts_exchanges_ = false;
  forEach([this](ServerConnection& one) {
    one.forEachExchange([this](Exchange& its) {
      if (its.counted_address != 0) exchange_shares_.remove(std::exchange(its.counted_address, 0));
    });
  });
}

uint32_t Server::uploadFloor(const Exchange& exchange) const {
  const size_t available = std::min(h2_exchanges.available(), h1_exchanges.available());
  const bool is_ample = available >= limits.exchanges / 2;
  const bool is_grpc = exchange.request().fields.value(http::FieldName::content_type).starts_with("application/grpc");
  return is_grpc && is_ample ? 0 : limits.upload_bytes_per_second;
}

// A client that hoards connections without using them must not keep others out. A few are kept free, so that a client
// that comes need not wait until one has left in good order.
void Server::makeRoom() {
  const size_t wanted = std::clamp<size_t>(limits.client_connections / 64, 1, 64);
  while (!draining_ && connections_.available() + leaving_ < wanted + accepted_.size()) {
    ServerConnection* longest = idle_.front();
    if (longest == nullptr) return;
    if (!isIdleForLong(*longest)) {
      const TimeNs due_ns = longest->idle_since_ns_ + min_idle_ms * ns_per_ms;
      if (connections_.available() == 0 && !room_timer_.isArmed()) io.arm(room_timer_, due_ns);
      return;
    }
    idleToGo()->evict();
  }
}

ServerConnection* Server::idleAt(uint64_t address) {
  ServerConnection* one = idle_.front();
  for (size_t i = 0; i < idle_per_look && one != nullptr && isIdleForLong(*one); ++i, one = idle_.next(*one)) {
    if (handler.addressOf(one->client_) == address) return one;
  }
  return nullptr;
}

ServerConnection* Server::idleToGo() {
  if (connection_shares_.addresses() > 1) {
    ServerConnection* one = idle_.front();
    for (size_t i = 0; i < idle_per_look && one != nullptr && isIdleForLong(*one); ++i, one = idle_.next(*one)) {
      const uint64_t address = handler.addressOf(one->client_);
      if (address != 0 && connection_shares_.isAbove(address, limits.client_connections)) return one;
    }
  }
  return idle_.front();
}

int64_t Server::lostCredit() {
  int64_t lost = 0;
  forEach([&](ServerConnection& one) { lost += one.lostCredit(); });
  return lost;
}

TimeNs Server::longestFarewell() {
  TimeNs longest = 0;
  forEach([&](ServerConnection& one) {
    if (one.is_ending_) longest = std::max(longest, io.nowNs() - one.deadline_ns_);
  });
  return longest;
}

size_t Server::buffersOfWaiting() {
  size_t held = 0;
  if (send_blocks.available() <= limits.blocksLeftByClients()) return held;
  for (RoomWaiters* waiters : {&little_waiters_, &large_waiters_}) {
    for (auto* waiter = waiters->front(); waiter != nullptr; waiter = waiters->next(*waiter)) {
      const UltraSock& sock = waiter->connection_.sock_;
      if (!sock.isTls() && sock.holdsBuffer()) held += 1;
    }
  }
  return held;
}

void Server::closeNow(int fd) {
  Op close;
  close.kind = OpKind::close;
  close.fd = fd;
  io.submit(close);
}

ClientInfo Server::clientAt(int fd) {
  ClientInfo client;
  sockaddr_storage address{};
  Op peer;
  peer.kind = OpKind::peer;
  peer.fd = fd;
  peer.address = &address;
  io.submit(peer);
  if (peer.result != 0) return client;
  unmapV4(address);
  const void* binary = address.ss_family == AF_INET6
                           ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr)
                           : &reinterpret_cast<const sockaddr_in&>(address).sin_addr;
  uint8_t bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (address.ss_family == AF_INET6) {
    std::memcpy(bytes, binary, 16);
  } else {
    std::memcpy(bytes + 12, binary, 4);
  }
  client.key.address = ClientKey::ofBytes(bytes);
  if (::inet_ntop(address.ss_family, binary, client.address_text, sizeof(client.address_text)) != nullptr)
    client.address_size = static_cast<uint8_t>(std::strlen(client.address_text));
  return client;
}

bool Server::mayTakePlace(const ClientInfo& client) {
  // Where descriptors are short nobody can wait here. As long as all clients are at one address, the listen queue of
  // the kernel is their line.
  if (limits.accepts_one_by_one && connection_shares_.addresses() <= 1) return true;
  const uint64_t address = handler.addressOf(client);
  return address == 0 || connection_shares_.mayTake(address, limits.client_connections, connections_.available());
}

void Server::adopt(Listener& listener, int fd) {
  if (connections_.available() == 0) {
    // Connections that had been accepted before accepting stopped wait for their turn.
    if (accepted_.full()) {
      counters_.connections_refused += 1;
      return closeNow(fd);
    }
    PLAIT_RARE("a client waits for a place");
    return accepted_.push({fd, &listener});
  }
  const ClientInfo client = clientAt(fd);
  if (!mayTakePlace(client)) return wait(listener, fd, client);
  place(listener, fd, client);
}

void Server::wait(Listener& listener, int fd, const ClientInfo& client) {
  if (crowded_.full() || limits.accepts_one_by_one) {
    PLAIT_RARE("a client is refused, since its address holds its share of connections");
    counters_.connections_refused += 1;
    noteFault(client, connectionError(ErrorCode::no_memory, "the client's address has its share of connections")
                          .as(Fault::address_share));
    return closeNow(fd);
  }
  PLAIT_RARE("a client waits for its address's share of connections");
  crowded_.push({fd, &listener});
  if (ServerConnection* const longest = idleAt(handler.addressOf(client)); longest != nullptr) longest->evict();
  if (!crowd_timer_.isArmed()) io.arm(crowd_timer_, io.nowNs() + crowd_look_ms * ns_per_ms);
}

// Each that is looked at is admitted, or goes to the back: so none is in the way of another address's.
void Server::lookAtCrowd() {
  for (size_t i = std::min(crowded_.size(), crowded_per_look); i != 0 && connections_.available() != 0; --i) {
    const Accepted next = crowded_.pop();
    const ClientInfo client = clientAt(next.fd);
    if (mayTakePlace(client)) {
      place(*next.listener, next.fd, client);
      continue;
    }
    crowded_.push(next);
    if (leaving_ >= crowded_.size()) continue;
    if (ServerConnection* const longest = idleAt(handler.addressOf(client)); longest != nullptr) longest->evict();
  }
  if (!crowded_.empty() && !crowd_timer_.isArmed()) io.arm(crowd_timer_, io.nowNs() + crowd_look_ms * ns_per_ms);
}

void Server::place(Listener& listener, int fd, const ClientInfo& client) {
  ServerConnection* const connection = connections_.create(*this);
  counters_.connections_total += 1;
  connection->client_ = client;
  connection->client_.key.connection = counters_.connections_total;
  if (!scope_.spawn(serve(*connection, listener, fd, io), io)) {
    counters_.connections_refused += 1;
    connections_.destroy(connection);
    return closeNow(fd);
  }
  if (const uint64_t address = handler.addressOf(client); address != 0) connection_shares_.add(address);
  connection->setIdle();
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
    // An idle connection holds a descriptor, which may be what is short.
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
  if (!accepted_.empty()) return;
  resumeAccepting();
  lookAtCrowd();
}

// Memory that only the greeting needs is not held any more when the conversation has begun, except for the bytes read.
Task<void> Server::serve(ServerConnection& connection, Listener& listener, int fd, Io& task_io) {
  BufferedInput opening(connection.sock(), headers.classes());
  connection.sock().adopt(fd);
  if (co_await connection.greet(listener.tls, listener.tls_by_first_byte, opening, task_io)) {
    if (scope_.spawn(connection.converse(std::move(opening), task_io), task_io)) co_return;
  }
  if (connection.sock().isOpen()) {
    counters_.connections_refused += 1;
    co_await connection.sock().close(task_io);
  }
  ended(connection);
}

void Server::ended(ServerConnection& connection) {
  connection.node.unlink();
  if (connection.is_leaving_) leaving_ -= 1;
  if (connection.is_ending_ && connection.sock_.error().code == ErrorCode::stalled) {
    counters_.stalled_connections += 1;
    noteFault(connection.client_, connection.sock_.error());
  }
  if (const uint64_t address = handler.addressOf(connection.client_); address != 0) connection_shares_.remove(address);
  connections_.destroy(&connection);
  admitWaiting();
  changed_.notifyAll(io);
}

Task<void> Server::drain(Io& drain_io, LastFrame) {
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
  while (!(busy_.empty() && idle_.empty() && accepted_.empty() && crowded_.empty()) && drain_io.nowNs() < deadline_ns)
    co_await changed_.wait();
  deadline.cancel();
  while (!accepted_.empty()) closeNow(accepted_.pop().fd);
  while (!crowded_.empty()) closeNow(crowded_.pop().fd);
  crowd_timer_.cancel();
  counters_.requests_cut = requestCount();
  forEach([](ServerConnection& connection) {
    connection.abort(connectionError(ErrorCode::shutting_down, "the drain deadline has passed"));
  });
  co_await scope_.join();
  upload_timer_.cancel();
}

}  // namespace plait
