#include "plait/server/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>

#include "plait/base/rare.h"
#include "plait/net/address.h"

namespace plait {
namespace {

uint32_t mostHandshakes(const LoopLimits& loop_limits, const ServerLimits& limits) {
  return std::min(limits.tls_handshakes, loop_limits.client_connections);
}

}  // namespace

Server::Server(Io& server_io, const LoopLimits& server_loop_limits, const ServerLimits& server_limits,
               const ServerTimeouts& server_timeouts, Handler& server_handler, BlockSlab& server_send_blocks,
               BlockSlab& server_record_blocks, BlockSlab& server_stream_blocks, http::HeaderSlab& server_headers)
    : io(server_io),
      loop_limits(server_loop_limits),
      limits(server_limits),
      timeouts(server_timeouts),
      handler(server_handler),
      send_blocks(server_send_blocks),
      sock_room(server_record_blocks, server_loop_limits.client_connections),
      stream_blocks(server_stream_blocks),
      headers(server_headers),
      uploads(*this, server_io, loop_limits.stream_block_size,
              limits.upload_pool_bytes / loop_limits.stream_block_size),
      scratch(std::make_unique<h2::SessionScratch>(server_loop_limits.client_connections, headers.ofClass(2))),
      h2_config(H2Conversation::sessionConfig(loop_limits, limits)),
      request_ids(io.random().next()),
      h2_exchanges(server_loop_limits.exchanges),
      h1_exchanges(server_loop_limits.exchanges),
      early_answers(server_io, std::max<size_t>(server_loop_limits.exchanges / 8, 4)),
      exchange_shares_(2 * size_t{server_loop_limits.exchanges}, server_io.entropy()),
      places_(loop_limits, server_io.entropy()),
      handshakes_(*this, server_io, mostHandshakes(loop_limits, limits), places_.seed()),
      connections_(server_loop_limits.client_connections),
      accepted_(max_accepted_waiting),
      accept_timer_(this, [](void* self) { static_cast<Server*>(self)->resumeAccepting(); }),
      room_timer_(this, [](void* self) { static_cast<Server*>(self)->makeRoom(); }),
      crowd_timer_(this, [](void* self) { static_cast<Server*>(self)->lookAtCrowd(); }) {
  PLAIT_ASSERT(!loop_limits.defect() && !limits.defect());
  static_assert(LoopLimits::cipher_queue_bytes == TlsPump::max_cipher_bytes);
  scratch->lender = &io.buffers();
}

Server::~Server() {
  PLAIT_ASSERT(busy_.empty() && idle_.empty());
}

size_t Server::connectionBytes(const LoopLimits& loop_limits, const ServerLimits& limits) {
  return Slab<ServerConnection>::bytesFor(loop_limits.client_connections) +
         SockRoom::bytesFor(loop_limits.client_connections) +
         h2::SessionScratch::lentBytesFor(loop_limits.client_connections) + sizeof(h2::SessionScratch) +
         PlaceShares::bytesFor(loop_limits) + Handshakes::bytesFor(mostHandshakes(loop_limits, limits)) +
         max_accepted_waiting * sizeof(AcceptedClient);
}

size_t Server::exchangeBytes(const LoopLimits& loop_limits) {
  return Slab<H2Exchange>::bytesFor(loop_limits.exchanges) + Slab<H1Exchange>::bytesFor(loop_limits.exchanges) +
         AddressShares::bytesFor(2 * size_t{loop_limits.exchanges});
}

void Server::prefault() {
  uploads.blocks.prefault();
  h2_exchanges.prefault();
  h1_exchanges.prefault();
  exchange_shares_.prefault();
  places_.prefault();
  connections_.prefault();
  sock_room.prefault();
  scratch->prefault();
}

Status Server::listen(sockaddr_storage& address, TlsContext* tls, bool tls_by_first_byte, const PortUse& use,
                      const TrustedProxies* proxies, bool redirects_https) {
  // It would not be closed again.
  if (draining_) return fail(backendError(ErrorCode::shutting_down, "cannot listen: the server is draining"));
  for (Place& place : listeners_) {
    if (place.listener && !place.listener->isClosed()) continue;
    place.listener.emplace(*this, io, ListenerTls{tls, tls_by_first_byte}, proxies, redirects_https,
                           loop_limits.accepts_one_by_one);
    const Status opened = place.listener->open(address, use);
    place.address = address;
    place.opened = ++listeners_opened_;
    if (!opened) place.listener.reset();
    return opened;
  }
  return fail(backendError(ErrorCode::no_memory, "cannot listen: every place for a listener is taken"));
}

Listener* Server::listenerAt(const sockaddr_storage& address, bool is_newest) {
  Place* found = nullptr;
  for (Place& place : listeners_) {
    if (!place.listener || place.listener->isClosing()) continue;
    char own[address_text_size];
    char asked[address_text_size];
    if (formatAddress(place.address, own) != formatAddress(address, asked)) continue;
    if (found == nullptr || (place.opened > found->opened) == is_newest) found = &place;
  }
  return found == nullptr ? nullptr : &*found->listener;
}

void Server::closeListener(const sockaddr_storage& address, bool is_newest) {
  if (Listener* listener = listenerAt(address, is_newest)) listener->close();
}

void Server::setListenerTls(const sockaddr_storage& address, TlsContext* tls) {
  if (Listener* listener = listenerAt(address, true)) listener->setTls(tls);
}

void Server::setListenerProxies(const sockaddr_storage& address, const TrustedProxies* proxies) {
  if (Listener* listener = listenerAt(address, true)) listener->setProxies(proxies);
}

void Server::setListenerRedirect(const sockaddr_storage& address, bool redirects_https) {
  if (Listener* listener = listenerAt(address, true)) listener->setRedirectsHttps(redirects_https);
}

std::string_view Server::date() {
  if (io.nowNs() >= date_until_ns_) {
    http::formatImfDate(io.epochSeconds(), date_);
    date_until_ns_ = io.nowNs() + ns_per_s / 4;
  }
  return {date_, sizeof(date_)};
}

size_t Server::reservedBytes() const {
  return uploads.blocks.reservedBytes() + h2_exchanges.reservedBytes() + h1_exchanges.reservedBytes() +
         exchange_shares_.reservedBytes() + places_.reservedBytes() + connections_.reservedBytes() +
         sock_room.reservedBytes() + scratch->lentBytes() + handshakes_.reservedBytes() +
         max_accepted_waiting * sizeof(AcceptedClient);
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

const char* Server::whyNoneOfFew(const http::RequestHead& request, const ClientInfo& client) {
  const size_t left = exchangesLeft();
  if (left == 0) return "no room is left for a request";
  if (!std::exchange(counts_exchanges_, true)) {
    PLAIT_RARE("shares of exchanges begin to count");
    forEach([this](ServerConnection& one) { one.forEachExchange([this](Exchange& its) { addExchange(its); }); });
  }
  const uint64_t address = handler.addressOf(request, client);
  if (address == 0 || exchange_shares_.mayTake(address, loop_limits.exchanges, left)) return nullptr;
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
  if (exchangesLeft() * 4 <= loop_limits.exchanges) return;
  counts_exchanges_ = false;
  forEach([this](ServerConnection& one) {
    one.forEachExchange([this](Exchange& its) {
      if (its.counted_address != 0) exchange_shares_.remove(std::exchange(its.counted_address, 0));
    });
  });
}

StallWatch Server::stallWatch(TimeNs now_ns) const {
  const size_t available = std::min(h2_exchanges.available(), h1_exchanges.available());
  return StallWatch({.stall_ns = timeouts.stall_ms * ns_per_ms,
                     .upload_bytes_per_second = limits.upload_bytes_per_second,
                     .download_bytes_per_second = limits.download_bytes_per_second,
                     .has_ample_exchanges = available >= loop_limits.exchanges / 2},
                    now_ns);
}

// A client that hoards connections without using them must not keep others out. A few are kept free, so that a client
// that comes need not wait until one has left in good order.
void Server::makeRoom() {
  const size_t wanted = std::clamp<size_t>(loop_limits.client_connections / 64, 1, 64);
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
    if (shareOf(one->client_) == address) return one;
  }
  return nullptr;
}

ServerConnection* Server::idleToGo() {
  if (places_.hasSeveral()) {
    ServerConnection* one = idle_.front();
    for (size_t i = 0; i < idle_per_look && one != nullptr && isIdleForLong(*one); ++i, one = idle_.next(*one)) {
      if (places_.isAbove(shareOf(one->client_))) return one;
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
  return send_blocks.available() <= loop_limits.blocksLeftByClients() ? 0 : uploads.buffersOfWaiting();
}

void Server::letGo(const AcceptedClient& accepted) {
  if (accepted.tls.context != nullptr) accepted.tls.context->removeUser();
}

void Server::refuse(const AcceptedClient& accepted) {
  letGo(accepted);
  closeNow(accepted.fd);
}

void Server::closeNow(int fd) {
  Op close;
  close.kind = OpKind::close;
  close.fd = fd;
  io.submit(close);
}

ClientInfo Server::clientAt(int fd) {
  sockaddr_storage address{};
  Op peer;
  peer.kind = OpKind::peer;
  peer.fd = fd;
  peer.address = &address;
  io.submit(peer);
  return peer.result == 0 ? clientAt(address) : ClientInfo();
}

ClientInfo Server::clientAt(sockaddr_storage address) {
  ClientInfo client;
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
  client.address_number = ClientKey::ofBytes(bytes);
  if (::inet_ntop(address.ss_family, binary, client.address_text, sizeof(client.address_text)) != nullptr)
    client.address_size = static_cast<uint8_t>(std::strlen(client.address_text));
  return client;
}

// Until a balancer's header has said whose a connection is, it is nobody's: neither of the balancer's address, which
// would look like one client with far too many, nor of another.
ClientInfo Server::clientOf(const AcceptedClient& accepted) {
  ClientInfo client = clientAt(accepted.fd);
  if (accepted.has_proxy_header) client.address_number = 0;
  client.redirects_https = accepted.redirects_https;
  return client;
}

void Server::onAccepted(const AcceptedClient& accepted, const Listener& listener) {
  if (listener.proxies() != nullptr) {
    const ClientInfo peer = clientAt(accepted.fd);
    // A health check that has reset its connection already is at no address any more.
    if (peer.address().empty()) return refuse(accepted);
    if (!listener.proxies()->contains(peer.address())) {
      counters_.connections_refused += 1;
      noteFault(peer, connectionError(ErrorCode::access_denied, "it is not among the listener's proxy_trusted")
                          .as(Fault::proxy_untrusted));
      return refuse(accepted);
    }
  }
  admit(accepted);
}

void Server::admit(const AcceptedClient& accepted) {
  if (connections_.available() == 0) {
    // Connections that had been accepted before accepting stopped wait for their turn.
    if (accepted_.full()) {
      counters_.connections_refused += 1;
      return refuse(accepted);
    }
    PLAIT_RARE("a client waits for a place");
    return accepted_.push(accepted);
  }
  const ClientInfo client = clientOf(accepted);
  if (!places_.mayTake(handler.addressOf(client), connections_.available())) return wait(accepted, client);
  place(accepted, client);
}

void Server::wait(const AcceptedClient& accepted, const ClientInfo& client) {
  if (!places_.mayWait()) {
    PLAIT_RARE("a client is refused, since its address holds its share of connections");
    counters_.connections_refused += 1;
    noteFault(client, connectionError(ErrorCode::no_memory, "the client's address has its share of connections")
                          .as(Fault::address_share));
    return refuse(accepted);
  }
  PLAIT_RARE("a client waits for its address's share of connections");
  places_.push(accepted);
  if (ServerConnection* const longest = idleAt(handler.addressOf(client)); longest != nullptr) longest->evict();
  if (!crowd_timer_.isArmed()) io.arm(crowd_timer_, io.nowNs() + crowd_look_ms * ns_per_ms);
}

// Each that is looked at is admitted, or goes to the back: so none is in the way of another address's.
void Server::lookAtCrowd() {
  for (size_t i = std::min(places_.waiting(), crowded_per_look); i != 0 && connections_.available() != 0; --i) {
    const AcceptedClient next = places_.pop();
    const ClientInfo client = clientOf(next);
    if (places_.mayTake(handler.addressOf(client), connections_.available())) {
      place(next, client);
      continue;
    }
    places_.push(next);
    if (leaving_ >= places_.waiting()) continue;
    if (ServerConnection* const longest = idleAt(handler.addressOf(client)); longest != nullptr) longest->evict();
  }
  if (places_.waiting() != 0 && !crowd_timer_.isArmed()) io.arm(crowd_timer_, io.nowNs() + crowd_look_ms * ns_per_ms);
}

void Server::place(const AcceptedClient& accepted, const ClientInfo& client) {
  ServerConnection* const connection = connections_.create(*this);
  counters_.connections_total += 1;
  connection->client_ = client;
  // Never 0, which is nobody's.
  connection->client_.connection = static_cast<uint32_t>((counters_.connections_total - 1) % UINT32_MAX + 1);
  if (!scope_.spawn(serve(*connection, accepted, io), io)) {
    counters_.connections_refused += 1;
    connections_.destroy(connection);
    return refuse(accepted);
  }
  takeShare(*connection, handler.addressOf(client));
  connection->setIdle();
  if (connections_.available() == 0) pauseAccepting();
  makeRoom();
}

bool Server::become(ServerConnection& connection, const ClientInfo& client) {
  const uint64_t address = handler.addressOf(client);
  // Its own place is one of those that are left.
  if (!places_.mayTake(address, connections_.available() + 1)) {
    ServerConnection* const longest = idleAt(address);
    if (longest == nullptr) {
      counters_.connections_refused += 1;
      noteFault(client, connectionError(ErrorCode::no_memory, "the client's address has its share of connections")
                            .as(Fault::address_share));
      return false;
    }
    longest->evict();
  }
  connection.client_.address_number = client.address_number;
  connection.client_.address_size = client.address_size;
  std::ranges::copy(client.address_text, connection.client_.address_text);
  takeShare(connection, address);
  return true;
}

void Server::takeShare(ServerConnection& connection, uint64_t address) {
  connection.client_.holds_share = address != 0;
  places_.add(address);
}

void Server::onAcceptFailed() {
  // Out of descriptors or memory: asking again at once would fail again at once.
  pauseAccepting();
  io.arm(accept_timer_, io.nowNs() + 100 * ns_per_ms);
  // An idle connection holds a descriptor, which may be what is short.
  if (ServerConnection* longest = idle_.front();
      longest != nullptr && longest->idle_since_ns_ + min_idle_ms * ns_per_ms <= io.nowNs()) {
    longest->evict();
  }
}

void Server::pauseAccepting() {
  if (accept_paused_) return;
  PLAIT_RARE("accepting pauses");
  accept_paused_ = true;
  counters_.accept_pauses += 1;
  forEachListener([](Listener& listener) { listener.pause(); });
}

void Server::resumeAccepting() {
  if (!accept_paused_ || draining_ || connections_.available() == 0) return;
  accept_paused_ = false;
  accept_timer_.cancel();
  forEachListener([](Listener& listener) { listener.resume(); });
}

void Server::admitWaiting() {
  while (!accepted_.empty() && connections_.available() != 0) admit(accepted_.pop());
  if (!accepted_.empty()) return;
  resumeAccepting();
  lookAtCrowd();
}

// Memory that only the greeting needs is not held any more when the conversation has begun, except for the bytes read.
Task<void> Server::serve(ServerConnection& connection, AcceptedClient accepted, Io& task_io) {
  BufferedInput opening(connection.sock(), headers.classes());
  connection.sock().adopt(accepted.fd);
  const bool is_greeted = co_await connection.greet(accepted, opening, task_io);
  // From here on its session speaks for itself.
  letGo(accepted);
  if (is_greeted) {
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
  places_.remove(shareOf(connection.client_));
  connections_.destroy(&connection);
  admitWaiting();
  changed_.notifyAll(io);
}

Task<void> Server::drain(Io& drain_io, LastFrame) {
  draining_ = true;
  accept_timer_.cancel();
  room_timer_.cancel();
  forEachListener([](Listener& listener) { listener.close(); });
  for (Place& place : listeners_) {
    while (place.listener && !place.listener->isClosed()) co_await changed_.wait();
  }
  forEach([](ServerConnection& connection) { connection.drain(); });
  const TimeNs deadline_ns = drain_io.nowNs() + timeouts.drain_ms * ns_per_ms;
  Timer deadline(this, [](void* self) {
    auto* server = static_cast<Server*>(self);
    server->changed_.notifyAll(server->io);
  });
  drain_io.arm(deadline, deadline_ns);
  while (!(busy_.empty() && idle_.empty() && accepted_.empty() && places_.waiting() == 0) &&
         drain_io.nowNs() < deadline_ns)
    co_await changed_.wait();
  deadline.cancel();
  while (!accepted_.empty()) refuse(accepted_.pop());
  while (places_.waiting() != 0) refuse(places_.pop());
  crowd_timer_.cancel();
  counters_.requests_cut = requestCount();
  forEach([](ServerConnection& connection) {
    connection.abort(connectionError(ErrorCode::shutting_down, "the drain deadline has passed"));
  });
  co_await scope_.join();
  uploads.stop();
  handshakes_.stop();
}

}  // namespace plait
