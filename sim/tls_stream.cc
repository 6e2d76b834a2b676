#include "sim/tls_stream.h"

#include <algorithm>
#include <cerrno>

namespace plait::sim {

namespace {

TlsContext& must(std::map<std::string, std::unique_ptr<TlsContext>>& contexts, const std::string& key,
                 std::expected<std::unique_ptr<TlsContext>, std::string> made) {
  PLAIT_ASSERT(made.has_value());
  return *(contexts[key] = std::move(*made));
}

std::string keyFor(const char* role, const Tls::Names& alpn) {
  std::string key = role;
  for (const std::string& name : alpn) key += " " + name;
  return key;
}

}  // namespace

TlsContext& Tls::server(const Names& alpn, bool is_stranger) {
  const std::string key = keyFor(is_stranger ? "stranger" : "server", alpn);
  if (const auto found = contexts_.find(key); found != contexts_.end()) return *found->second;
  TlsServerOptions options = tlsServer(is_stranger);
  options.alpn = alpn;
  return must(contexts_, key, TlsContext::makeServer(options));
}

TlsContext& Tls::client(const Names& alpn) {
  const std::string key = keyFor("client", alpn);
  if (const auto found = contexts_.find(key); found != contexts_.end()) return *found->second;
  TlsClientOptions options = tlsClient();
  options.alpn = alpn;
  return must(contexts_, key, TlsContext::makeClient(options));
}

TlsContext& Tls::site(uint32_t number) {
  const std::string key = "site " + std::to_string(number);
  if (const auto found = contexts_.find(key); found != contexts_.end()) return *found->second;
  return must(contexts_, key, TlsContext::makeServer(tlsSite(number)));
}

TlsStream::TlsStream(Simulation& simulation, std::string actor, Socket& socket, Tls& tls, TlsContext& context,
                     std::string_view server_name)
    : sim(simulation),
      actor_(std::move(actor)),
      socket_(socket),
      cipher_(tls.blocks),
      session_(context, cipher_, server_name) {}

void TlsStream::start(std::function<void()> on_secured, std::function<void()> on_failed) {
  on_secured_ = std::move(on_secured);
  on_failed_ = std::move(on_failed);
  if (sim.strikes(Fault::handshake_failure)) mischief_ = static_cast<Mischief>(sim.between(1, 5));
  socket_.on_change = [this] {
    if (change_planned_) return;
    change_planned_ = true;
    sim.after(sim.below(20'000), [this] {
      change_planned_ = false;
      onChange();
    });
  };
  shakeHands();
}

void TlsStream::onChange() {
  if (closing_) return finishClosing();
  if (over_) return;
  if (!secured_) return shakeHands();
  flush();
  if (on_change) on_change();
}

void TlsStream::shakeHands() {
  while (true) {
    const auto step = session_.handshake();
    flush();
    if (!step) {
      // A proxy that asks a backend of HTTP/2 for a tunnel finds out that it has none.
      const bool is_mismatch = std::string_view(step.error().reason).contains("application protocol");
      if (sim.faults.areGraceful() && !is_mismatch)
        sim.violate("TLS", "%s cannot shake hands: %s", actor_.c_str(), step.error().reason);
      return failed(step.error().reason);
    }
    if (*step == TlsSession::Step::done) break;
    const int got = feed();
    if (got == -EAGAIN) return;
    if (got <= 0) return failed("the connection ended in the handshake");
    if (mischief_ != Mischief::none) return misbehave();
  }
  secured_ = true;
  sim.say(actor_.c_str(), "is secured, ALPN \"%.*s\"", static_cast<int>(alpn().size()), alpn().data());
  on_secured_();
  // Behind the handshake there may be something to read already.
  if (on_change) on_change();
}

void TlsStream::misbehave() {
  static constexpr uint8_t alert[] = {21, 3, 3, 0, 2, 2, 40};
  constexpr std::string_view text = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
  switch (mischief_) {
    case Mischief::alerts:
      socket_.write(alert);
      return failed("says an alert");
    case Mischief::garbage:
      socket_.write(asBytes(text));
      return failed("speaks no TLS");
    case Mischief::silence:
      over_ = true;
      sim.say(actor_.c_str(), "does not go on with its handshake");
      sim.after(sim.between(1, 20'000) * ns_per_ms, [this] { failed("had enough of it"); });
      return;
    case Mischief::chatter:
      over_ = true;
      sim.say(actor_.c_str(), "speaks broken TLS, and does not stop for an alert");
      return chatter(sim.between(1, 10));
    default:
      return failed("closes in the handshake");
  }
}

void TlsStream::chatter(uint32_t left) {
  static constexpr uint8_t wrong[] = {22, 3, 3, 0, 5, 'w', 'r', 'o', 'n', 'g'};
  socket_.write(wrong);
  if (left == 0) return failed("had enough of it");
  sim.after(sim.between(1, 60) * ns_per_ms, [this, left] { chatter(left - 1); });
}

void TlsStream::failed(const char* reason) {
  over_ = true;
  sim.say(actor_.c_str(), "gives up its handshake: %s", reason);
  socket_.close(mischief_ != Mischief::none && sim.oneIn(2));
  on_failed_();
}

int TlsStream::feed() {
  const int got = socket_.read(input_, sizeof(input_));
  if (got > 0) session_.feed({input_, static_cast<size_t>(got)});
  return got;
}

bool TlsStream::flush() {
  while (!cipher_.empty() && write_error_ == 0) {
    const int taken = socket_.write(cipher_.front());
    if (taken == -EAGAIN) return true;
    if (taken < 0) {
      write_error_ = taken;
      cipher_.clear();
      return false;
    }
    cipher_.consume(static_cast<size_t>(taken));
  }
  if (std::exchange(shutdown_wanted_, false)) socket_.shutdown();
  return write_error_ == 0;
}

int TlsStream::write(Bytes bytes) {
  if (!flush()) return write_error_;
  // Little at a time, as a socket would.
  if (!cipher_.empty()) return -EAGAIN;
  const auto taken = session_.write(bytes.first(std::min<size_t>(bytes.size(), 64 << 10)));
  if (!taken) {
    sim.violate("TLS", "%s cannot encrypt: %s", actor_.c_str(), taken.error().reason);
    return -EPIPE;
  }
  flush();
  return *taken == 0 ? -EAGAIN : static_cast<int>(*taken);
}

int TlsStream::read(uint8_t* to, size_t size) {
  while (!session_.atEnd()) {
    const auto got = session_.read({to, size});
    flush();
    if (!got) {
      sim.violate("TLS", "%s cannot decrypt: %s", actor_.c_str(), got.error().reason);
      return -ECONNRESET;
    }
    if (*got != 0) return static_cast<int>(*got);
    if (session_.atEnd()) break;
    const int fed = feed();
    if (fed <= 0) return fed == 0 ? -EPROTO : fed;
  }
  return 0;
}

void TlsStream::notify() {
  if (std::exchange(notified_, true)) return;
  if (!sim.strikes(Fault::no_close_notify)) session_.closeNotify();
}

void TlsStream::shutdown() {
  notify();
  shutdown_wanted_ = true;
  flush();
}

void TlsStream::close(bool reset) {
  if (std::exchange(over_, true)) return;
  on_change = nullptr;
  if (reset) return socket_.close(true);
  notify();
  closing_ = true;
  finishClosing();
}

// Bytes that were written before leave before the end.
void TlsStream::finishClosing() {
  if (!flush()) return socket_.close(true);
  if (cipher_.empty()) socket_.close(false);
}

void TlsStream::breakOff() {
  if (std::exchange(over_, true)) return;
  on_change = nullptr;
  // Without close_notify an end is none (RFC 8446 §6.1).
  socket_.close(sim.oneIn(2));
}

}  // namespace plait::sim
