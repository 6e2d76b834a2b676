#include "plait/server/listener.h"

#include <cerrno>
#include <utility>

#include "plait/base/rare.h"

namespace plait {

Listener::Listener(Owner& owner, Io& io, ListenerTls tls, const TrustedProxies* proxies, bool redirects_https,
                   bool one_by_one)
    : owner_(owner), io_(io), tls_(tls), proxies_(proxies), redirects_https_(redirects_https), one_by_one_(one_by_one) {
  if (tls_.context != nullptr) tls_.context->addUser();
}

void Listener::setTls(TlsContext* tls) {
  if (tls != nullptr) tls->addUser();
  if (TlsContext* const before = std::exchange(tls_.context, tls)) before->removeUser();
}

void Listener::tell(int fd) {
  if (tls_.context != nullptr) tls_.context->addUser();
  owner_.onAccepted({tls_, proxies_ != nullptr, redirects_https_, fd}, *this);
}

Status Listener::open(sockaddr_storage& address, const PortUse& use) {
  op_.kind = OpKind::listen;
  op_.address = &address;
  op_.share_port = use.share;
  op_.only_v6 = use.only_v6;
  io_.submit(op_);
  if (op_.result < 0)
    return fail(backendError(ErrorCode::listen_failed, "cannot listen", static_cast<uint32_t>(-op_.result)));
  const int fd = op_.result;
  op_ = {};
  op_.kind = OpKind::accept;
  op_.fd = fd;
  op_.single = one_by_one_;
  op_.owner = this;
  op_.on_complete = [](void* self, const Completion& completion) {
    static_cast<Listener*>(self)->onAccept(completion);
  };
  state_ = State::accepting;
  io_.submit(op_);
  return {};
}

void Listener::pause() {
  if (state_ != State::accepting) return;
  state_ = State::paused;
  io_.cancel(op_);
}

void Listener::resume() {
  if (state_ != State::paused) return;
  state_ = State::accepting;
  // Where the cancelled accept has not come back yet, it is armed again when it does.
  if (!op_.armed) io_.submit(op_);
}

void Listener::close() {
  if (state_ == State::closed || state_ == State::closing) return;
  state_ = State::closing;
  io_.cancel(op_);
  if (!op_.armed) finish();
}

void Listener::onAccept(const Completion& completion) {
  if (completion.result >= 0) {
    tell(completion.result);
  } else if (completion.result != -ECANCELED && completion.result != -EINTR) {
    PLAIT_RARE("accept fails");
    owner_.onAcceptFailed();
  }
  if (completion.more) return;
  if (state_ == State::accepting) {
    io_.submit(op_);
  } else if (state_ == State::closing) {
    finish();
  }
}

void Listener::finish() {
  Op waiting;
  waiting.kind = OpKind::accept_waiting;
  waiting.fd = op_.fd;
  for (io_.submit(waiting); waiting.result >= 0; io_.submit(waiting)) tell(waiting.result);
  Op close;
  close.kind = OpKind::close;
  close.fd = op_.fd;
  io_.submit(close);
  state_ = State::closed;
  setTls(nullptr);
  owner_.onListenerClosed();
}

}  // namespace plait
