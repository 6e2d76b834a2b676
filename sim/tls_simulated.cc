// TLS above the record layer: net/tls.h without cryptography. Records are framed as TLS frames them and hold their
// content in the clear, with a number and a checksum in the place of the tag, so that bytes that are lost, repeated or
// mixed up are found by the side that would fail to decrypt them.
//
//   client                                        server
//   22 hello: ALPN names, server name  ─────────▶
//                    ◀───────── 22 hello: the name chosen, whose name it can prove │ 21 alert
//   22 finished │ 21 alert             ─────────▶
//   23 data, 21 close_notify           ◀────────▶
#include <algorithm>
#include <cstring>

#include "plait/base/alloc_guard.h"
#include "sim/tls_material.h"

// The types that OpenSSL's names stand for in net/tls.h.
struct ssl_ctx_st {
  std::string proves;  // a suffix of host names
};

struct ssl_st {
  enum class State : uint8_t { start, hello_sent, hello_answered, done };
  State state = State::start;
  std::string offer;  // ALPN names as on the wire
  std::string server_name;
  std::string chosen;
  std::string record;   // the one that is under way, with its header
  std::string content;  // of a record that was opened, not read yet
  std::string shown;    // what its server proves, to a client
  uint32_t sealed = 0;  // records
  uint32_t opened = 0;
};

namespace plait {

// Those who may look into a session.
struct TlsCallbacks {
  static const std::string& shown(const TlsSession& session) { return session.ssl_->shown; }
};

namespace {

enum RecordType : uint8_t { alert = 21, hello = 22, data = 23 };
constexpr size_t header_size = 5;
constexpr size_t tag_size = 12;
constexpr size_t max_content = 16 * 1024;
constexpr uint8_t bad_certificate = 42;
constexpr uint8_t no_application_protocol = 120;

uint64_t checksum(std::string_view bytes, uint32_t number) {
  uint64_t sum = 0xcbf29ce484222325 ^ number;
  for (const char byte : bytes) sum = (sum ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  return sum;
}

bool seal(ssl_st& ssl, ByteQueue& out, RecordType type, std::string_view content) {
  const size_t size = content.size() + tag_size;
  std::string record = {static_cast<char>(type), 3, 3, static_cast<char>(size >> 8), static_cast<char>(size & 0xff)};
  record += content;
  const uint32_t number = ssl.sealed;
  const uint64_t sum = checksum(content, number);
  record.append(reinterpret_cast<const char*>(&number), sizeof(number));
  record.append(reinterpret_cast<const char*>(&sum), sizeof(sum));
  if (!out.append(asBytes(record))) return false;
  ssl.sealed += 1;
  return true;
}

enum class Opened : uint8_t { none, record, broken };

// Takes ciphertext until a record is whole; its type and content are then in `type` and `content`.
Opened open(ssl_st& ssl, Bytes& input, RecordType& type, std::string& content) {
  const auto need = [&](size_t size) {
    const size_t part = std::min(input.size(), size - std::min(size, ssl.record.size()));
    ssl.record += asText(input.first(part));
    input = input.subspan(part);
    return ssl.record.size() >= size;
  };
  if (!need(header_size)) return Opened::none;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(ssl.record[i]); };
  const size_t size = static_cast<size_t>(byte(3)) << 8 | byte(4);
  type = static_cast<RecordType>(byte(0));
  if (byte(0) < alert || byte(0) > data || byte(1) != 3 || size > max_content + 256) return Opened::broken;
  if (!need(header_size + size)) return Opened::none;
  // An alert of somebody who has no keys yet is two bytes in the clear.
  if (type == alert && size == 2) {
    content = ssl.record.substr(header_size);
    ssl.record.clear();
    return Opened::record;
  }
  if (size < tag_size) return Opened::broken;
  content = ssl.record.substr(header_size, size - tag_size);
  uint32_t number;
  uint64_t sum;
  std::memcpy(&number, ssl.record.data() + header_size + content.size(), sizeof(number));
  std::memcpy(&sum, ssl.record.data() + header_size + content.size() + sizeof(number), sizeof(sum));
  ssl.record.clear();
  const bool is_sound = number == ssl.opened && sum == checksum(content, number);
  ssl.opened += 1;
  return is_sound ? Opened::record : Opened::broken;
}

// The first of `ours` that is among `theirs`, both as on the wire.
std::string_view choose(std::string_view ours, std::string_view theirs) {
  const auto next = [](std::string_view& list) {
    const std::string_view name = list.substr(1, static_cast<uint8_t>(list[0]));
    list.remove_prefix(1 + name.size());
    return name;
  };
  while (!ours.empty()) {
    const std::string_view name = next(ours);
    for (std::string_view rest = theirs; !rest.empty();) {
      if (next(rest) == name) return name;
    }
  }
  return {};
}

}  // namespace

TlsContext::TlsContext(bool is_server) : context_(new ssl_ctx_st), is_server_(is_server) {}

TlsContext::~TlsContext() {
  delete context_;
}

std::string TlsContext::setAlpn(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    alpn_list_[alpn_list_size_] = static_cast<uint8_t>(name.size());
    std::memcpy(alpn_list_.data() + alpn_list_size_ + 1, name.data(), name.size());
    alpn_list_size_ += 1 + name.size();
  }
  return {};
}

std::expected<std::unique_ptr<TlsContext>, std::string> TlsContext::makeServer(const TlsServerOptions& options) {
  std::unique_ptr<TlsContext> made(new TlsContext(true));
  made->context_->proves = options.cert_file;
  made->setAlpn(options.alpn);
  return made;
}

std::expected<std::unique_ptr<TlsContext>, std::vector<net::SiteMistake>> TlsContext::makeSites(
    const TlsSitesOptions& options) {
  auto made = makeServer({.cert_file = options.sites.front().cert_file, .alpn = options.alpn});
  if (!made) return std::unexpected(std::vector<net::SiteMistake>{{0, made.error()}});
  return std::move(*made);
}

void TlsContext::goOnFrom(TlsContext&) {}

bool TlsContext::isMisdirected(const TlsSession&, std::string_view) const {
  return false;
}

std::expected<std::unique_ptr<TlsContext>, std::string> TlsContext::makeClient(const TlsClientOptions& options) {
  std::unique_ptr<TlsContext> made(new TlsContext(false));
  made->verifies_ = options.verify;
  made->setAlpn(options.alpn);
  return made;
}

TlsSession::TlsSession(TlsContext& context, ByteQueue& cipher_out, std::string_view server_name, AlpnOffer offer)
    : context_(context), cipher_out_(cipher_out) {
  const AllocGuard::Pause pause;
  ssl_ = new ssl_st;
  ssl_->offer.assign(reinterpret_cast<const char*>(context.alpn_list_.data()), context.alpn_list_size_);
  if (offer == AlpnOffer::http_1_1) ssl_->offer = "\x08http/1.1";
  ssl_->server_name = server_name;
}

TlsSession::~TlsSession() {
  const AllocGuard::Pause pause;
  delete ssl_;
}

std::unexpected<Error> TlsSession::failWith(const Error& error) {
  failed_ = true;
  return fail(error);
}

Result<TlsSession::Step> TlsSession::handshake() {
  const AllocGuard::Pause pause;
  using State = ssl_st::State;
  if (failed_) return fail(connectionError(ErrorCode::tls_failed, "the TLS handshake failed"));
  const auto no_memory = connectionError(ErrorCode::no_memory, "no send block is left for the TLS handshake");
  const auto refuse = [&](uint8_t description, const char* reason) {
    has_alerted_ = seal(*ssl_, cipher_out_, alert, std::string{2, static_cast<char>(description)});
    return failWith(connectionError(ErrorCode::tls_failed, reason, description));
  };
  if (!context_.is_server_ && ssl_->state == State::start) {
    if (!seal(*ssl_, cipher_out_, hello, ssl_->offer + '\0' + ssl_->server_name)) return failWith(no_memory);
    ssl_->state = State::hello_sent;
  }
  while (ssl_->state != State::done) {
    RecordType type;
    std::string content;
    switch (open(*ssl_, input_, type, content)) {
      case Opened::none:
        return Step::want_read;
      case Opened::broken:
        return refuse(70, "wrong version number");
      case Opened::record:
        break;
    }
    if (type == alert) return failWith(connectionError(ErrorCode::tls_failed, "the peer sent an alert"));
    if (type != hello) return refuse(10, "unexpected message");
    if (context_.is_server_ && ssl_->state == State::start) {
      const std::string_view theirs = std::string_view(content).substr(0, content.find('\0'));
      ssl_->server_name = content.substr(std::min(theirs.size() + 1, content.size()));
      ssl_->chosen = choose(ssl_->offer, theirs);
      if (!theirs.empty() && !ssl_->offer.empty() && ssl_->chosen.empty())
        return refuse(no_application_protocol, "no application protocol");
      if (!seal(*ssl_, cipher_out_, hello, ssl_->chosen + '\0' + context_.context_->proves)) return failWith(no_memory);
      ssl_->state = State::hello_answered;
    } else if (!context_.is_server_) {
      const size_t end = content.find('\0');
      ssl_->shown = content.substr(end + 1);
      const bool is_proven = ssl_->server_name.ends_with(ssl_->shown);
      if (context_.verifies_ && !is_proven) return refuse(bad_certificate, "hostname mismatch");
      ssl_->chosen = content.substr(0, end);
      if (!seal(*ssl_, cipher_out_, hello, "finished")) return failWith(no_memory);
      ssl_->state = State::done;
    } else {
      ssl_->state = State::done;
    }
  }
  return Step::done;
}

void TlsSession::feed(Bytes ciphertext) {
  PLAIT_ASSERT(input_.empty());
  input_ = ciphertext;
}

Result<size_t> TlsSession::read(MutableBytes plaintext) {
  const AllocGuard::Pause pause;
  if (failed_) return fail(connectionError(ErrorCode::tls_failed, "the TLS session failed before"));
  if (at_end_) return size_t{0};
  while (ssl_->content.empty()) {
    RecordType type;
    switch (open(*ssl_, input_, type, ssl_->content)) {
      case Opened::none:
        return size_t{0};
      case Opened::broken:
        has_alerted_ = seal(*ssl_, cipher_out_, alert, {"\2\24", 2});  // bad_record_mac
        return failWith(connectionError(ErrorCode::tls_failed, "a TLS record is broken"));
      case Opened::record:
        break;
    }
    if (type == data) continue;
    const bool is_end = type == alert && ssl_->content == std::string_view("\1\0", 2);
    ssl_->content.clear();
    if (!is_end) return failWith(connectionError(ErrorCode::tls_failed, "the peer sent an alert"));
    at_end_ = true;
    input_ = {};
    return size_t{0};
  }
  const size_t count = std::min(plaintext.size(), ssl_->content.size());
  std::memcpy(plaintext.data(), ssl_->content.data(), count);
  ssl_->content.erase(0, count);
  return count;
}

Result<size_t> TlsSession::write(Bytes plaintext) {
  const AllocGuard::Pause pause;
  if (failed_) return fail(connectionError(ErrorCode::tls_failed, "the TLS session failed before"));
  size_t taken = 0;
  while (taken < plaintext.size() && ssl_->state == ssl_st::State::done) {
    const size_t room = cipher_out_.bulkRoom();
    if (room <= record_overhead) break;
    const size_t count = std::min({plaintext.size() - taken, max_content, room - record_overhead});
    if (!seal(*ssl_, cipher_out_, data, asText(plaintext.subspan(taken, count))))
      return failWith(connectionError(ErrorCode::no_memory, "no send block is left for a TLS record"));
    taken += count;
  }
  return taken;
}

void TlsSession::closeNotify() {
  const AllocGuard::Pause pause;
  if (failed_ || ssl_->state != ssl_st::State::done || cipher_out_.lastRoom() < record_overhead) return;
  seal(*ssl_, cipher_out_, alert, {"\1\0", 2});
}

std::string_view TlsSession::alpn() const {
  return ssl_->chosen;
}

bool TlsSession::isResumed() const {
  return false;
}

std::string_view TlsSession::serverName() const {
  return ssl_->server_name;
}

net::ClientCertificate TlsSession::clientCertificate() const {
  return net::ClientCertificate();
}

const char* TlsSession::version() const {
  return "TLSv1.3";
}

namespace sim {

const bool tls_is_real = false;

void prepareTls() {
  prepareRandomness();
}

TlsServerOptions tlsServer(bool is_stranger) {
  return {.cert_file = is_stranger ? "stranger.test" : ".example.test", .key_file = {}, .client_ca_file = {}};
}

TlsServerOptions tlsSite(uint32_t number) {
  constexpr const char* names[tls_sites] = {".example.test", "example.test", "proxy.example.test", "y.example.test"};
  return {.cert_file = names[number], .key_file = {}, .client_ca_file = {}};
}

std::string certificateShown(const TlsSession& session) {
  return TlsCallbacks::shown(session);
}

TlsClientOptions tlsClient() {
  return {};
}

}  // namespace sim
}  // namespace plait
