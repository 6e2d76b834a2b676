#include "bench/load/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace plait::load {

using h2::Event;
using http::FieldName;

int64_t nowNs() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000ll + time.tv_nsec;
}

namespace {

h2::SessionConfig sessionConfig(const Options& options) {
  h2::SessionConfig config;
  config.stream_window = 1 << 20;
  config.connection_window = 64 << 20;
  config.max_concurrent_streams = options.streams;
  config.reset_burst = UINT32_MAX / 2;
  return config;
}

}  // namespace

Shared::Shared(const Options& given, Observer& told)
    : options(given),
      observer(told),
      epoll(::epoll_create1(EPOLL_CLOEXEC)),
      blocks(16 * 1024, given.connections * 4 + 64),
      carry_blocks(64 * 1024, 256),
      session_config(sessionConfig(given)),
      scratch(given.connections, carry_blocks) {
  if (!given.tls) return;
  TlsClientOptions tls_options;
  tls_options.verify = false;
  tls_options.alpn = {"h2"};
  auto made = TlsContext::makeClient(tls_options);
  if (!made) {
    std::fprintf(stderr, "%s\n", made.error().c_str());
    std::exit(1);
  }
  tls = std::move(*made);
}

Shared::~Shared() {
  ::close(epoll);
}

struct Connection::Transport {
  explicit Transport(Shared& shared)
      : output(shared.blocks),
        cipher(shared.blocks),
        session(h2::Role::client, output, shared.scratch, shared.session_config) {
    if (shared.tls) tls.emplace(*shared.tls, cipher, shared.options.server_name);
  }
  ByteQueue output;
  ByteQueue cipher;
  std::optional<TlsSession> tls;
  bool tls_done = false;
  h2::Session session;
};

Connection::Connection(Shared& shared) : shared_(shared), requests_(shared.options.streams) {
  for (Request& request : requests_) {
    request.next_free = free_;
    free_ = &request;
  }
}

Connection::~Connection() {
  close();
}

void Connection::open() {
  PLAIT_ASSERT(fd_ < 0);
  fd_ = ::socket(shared_.options.to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const socklen_t size = shared_.options.to.ss_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&shared_.options.to), size) != 0 && errno != EINPROGRESS) {
    std::perror("connect");
    std::exit(1);
  }
  connecting_ = true;
  wants_write_ = true;
  sent_ = 0;
  epoll_event event{.events = EPOLLIN | EPOLLOUT, .data = {.ptr = this}};
  ::epoll_ctl(shared_.epoll, EPOLL_CTL_ADD, fd_, &event);
  transport_ = std::make_unique<Transport>(shared_);
}

void Connection::close() {
  if (fd_ < 0) return;
  // Without TIME_WAIT, of which the thousands of connections that come and go would leave too many.
  const linger abortive{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &abortive, sizeof(abortive));
  ::close(std::exchange(fd_, -1));
  ready_ = leaving_ = connecting_ = false;
  for (Request& request : requests_) {
    if (request.id == 0) continue;
    transport_->session.release(request);
    request.next_free = free_;
    free_ = &request;
  }
  in_flight_ = 0;
  transport_.reset();
}

void Connection::fail() {
  const uint32_t lost = in_flight_;
  close();
  for (uint32_t i = 0; i < lost; ++i) shared_.observer.onAnswer(*this, false, nowNs());
  shared_.observer.onClosed(*this);
}

void Connection::begin() {
  transport_->session.start();
  ready_ = true;
  markDirty();
  shared_.observer.onReady(*this);
}

bool Connection::handshake() {
  const auto step = transport_->tls->handshake();
  markDirty();
  if (!step) {
    std::fprintf(stderr, "TLS: %s\n", step.error().reason);
    fail();
    return false;
  }
  if (*step == TlsSession::Step::done) {
    transport_->tls_done = true;
    shared_.handshakes += 1;
    shared_.resumed += transport_->tls->isResumed() ? 1 : 0;
    begin();
  }
  return fd_ >= 0;
}

bool Connection::canSend() const {
  return ready_ && !leaving_ && free_ != nullptr && transport_->session.canOpenStream() &&
         in_flight_ < transport_->session.peerSettings().max_concurrent_streams;
}

void Connection::send(int64_t scheduled_ns) {
  Request& request = *free_;
  free_ = request.next_free;
  std::destroy_at(&request);
  std::construct_at(&request);
  request.scheduled_ns = scheduled_ns;
  h2::Session& session = transport_->session;
  const Options& options = shared_.options;
  session.beginHeaders();
  session.addField(FieldName::pseudo_method, "GET");
  session.addField(FieldName::pseudo_scheme, options.tls ? "https" : "http");
  session.addField(FieldName::pseudo_authority, options.authority);
  session.addField(FieldName::pseudo_path, options.path);
  session.addField(FieldName::user_agent, "plait_load/1");
  for (const auto& [name, value] : options.fields)
    session.addField(name, value, http::fieldNameOf(name), h2::Indexing::allow);
  session.endHeaders(request, true);
  in_flight_ += 1;
  sent_ += 1;
  markDirty();
}

void Connection::markDirty() {
  if (dirty_) return;
  dirty_ = true;
  shared_.dirty.push_back(this);
}

void Connection::onEvents(uint32_t events) {
  if (connecting_ && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
    int error = 0;
    socklen_t size = sizeof(error);
    ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return fail();
    connecting_ = false;
    if (transport_->tls) {
      if (!handshake()) return;
    } else {
      begin();
    }
  }
  if ((events & EPOLLOUT) != 0) markDirty();
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && fd_ >= 0) read();
}

void Connection::read() {
  uint8_t* const buffer = shared_.cipher_input.data();
  const ssize_t count = ::recv(fd_, buffer, shared_.cipher_input.size(), 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) return fail();
  const Bytes bytes(buffer, static_cast<size_t>(count));
  if (!transport_->tls) {
    take(bytes);
    return;
  }
  transport_->tls->feed(bytes);
  if (!transport_->tls_done && !handshake()) return;
  while (transport_->tls_done) {
    const auto plain = transport_->tls->read(shared_.plain_input);
    if (!plain) return fail();
    if (*plain == 0) {
      if (transport_->tls->atEnd()) fail();
      return;
    }
    if (!take({shared_.plain_input.data(), *plain})) return;
  }
}

bool Connection::take(Bytes bytes) {
  h2::Session& session = transport_->session;
  const auto now_s = static_cast<uint32_t>(nowNs() / 1'000'000'000);
  while (true) {
    Event event;
    if (const auto status = session.next(bytes, event, now_s); !status) {
      std::fprintf(stderr, "HTTP/2: %s\n", status.error().reason);
      fail();
      return false;
    }
    auto* request = static_cast<Request*>(event.stream);
    switch (event.kind) {
      case Event::Kind::none:
        markDirty();
        return true;
      case Event::Kind::response:
        request->ok = event.response.status >= 200 && event.response.status < 300;
        break;
      case Event::Kind::data:
        shared_.body_bytes += event.data.size();
        session.credit(request, event.data.size());
        break;
      case Event::Kind::stream_error:
        if (request != nullptr) finish(*request, false);
        continue;
      case Event::Kind::goaway:
        leaving_ = true;
        continue;
      default:
        break;
    }
    if (event.end_stream && request != nullptr) finish(*request, request->ok);
    if (fd_ < 0) return false;
    if (leaving_ && in_flight_ == 0) {
      fail();
      return false;
    }
  }
}

void Connection::finish(Request& request, bool ok) {
  transport_->session.release(request);
  request.next_free = free_;
  free_ = &request;
  in_flight_ -= 1;
  shared_.observer.onAnswer(*this, ok, request.scheduled_ns);
}

void Connection::flush() {
  dirty_ = false;
  if (fd_ < 0 || connecting_) return;
  ByteQueue* out = &transport_->output;
  if (transport_->tls) {
    while (transport_->tls_done && !transport_->output.empty()) {
      const auto taken = transport_->tls->write(transport_->output.front());
      if (!taken) return fail();
      if (*taken == 0) break;
      transport_->output.consume(*taken);
    }
    out = &transport_->cipher;
  }
  while (!out->empty()) {
    iovec vectors[16];
    msghdr message{};
    message.msg_iov = vectors;
    message.msg_iovlen = out->gather(vectors);
    const ssize_t count = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) return fail();
    if (count < 0) break;
    out->consume(static_cast<size_t>(count));
  }
  if (out->empty()) transport_->session.outputFlushed();
  const bool wants_write = !out->empty();
  if (wants_write == wants_write_) return;
  wants_write_ = wants_write;
  epoll_event event{.events = EPOLLIN | (wants_write ? EPOLLOUT : 0u), .data = {.ptr = this}};
  ::epoll_ctl(shared_.epoll, EPOLL_CTL_MOD, fd_, &event);
}

}  // namespace plait::load
