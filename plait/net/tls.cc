#include "plait/net/tls.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>

namespace plait {

// The BIO under OpenSSL: its data pointer is the TlsSession.
struct TlsBio {
  static int read(BIO* bio, char* data, int size) {
    auto& session = *static_cast<TlsSession*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (session.input_.empty()) {
      BIO_set_retry_read(bio);
      return -1;
    }
    const size_t count = std::min(session.input_.size(), static_cast<size_t>(size));
    std::memcpy(data, session.input_.data(), count);
    session.input_ = session.input_.subspan(count);
    return static_cast<int>(count);
  }
  static int write(BIO* bio, const char* data, int size) {
    auto& session = *static_cast<TlsSession*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (!session.cipher_out_.append({reinterpret_cast<const uint8_t*>(data), static_cast<size_t>(size)})) {
      BIO_set_retry_write(bio);
      return -1;
    }
    return size;
  }
  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }
  static int create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }

  static BIO_METHOD* method() {
    static BIO_METHOD* const made = [] {
      BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "plait");
      BIO_meth_set_read(m, read);
      BIO_meth_set_write(m, write);
      BIO_meth_set_ctrl(m, control);
      BIO_meth_set_create(m, create);
      return m;
    }();
    return made;
  }
};

namespace {

constexpr unsigned char alpn_offer[] = "\x02h2\x08http/1.1";
constexpr unsigned alpn_offer_size = sizeof(alpn_offer) - 1;
// Room a record needs besides its plaintext: header, nonce, tag, content type, and padding of TLS 1.2's block ciphers.
constexpr size_t record_overhead = 128;
constexpr size_t max_record = 16 * 1024;

std::string reasonOf() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  std::string text = reason == nullptr ? "unknown reason" : reason;
  ERR_clear_error();
  return text;
}

int selectAlpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned in_size, void*) {
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, alpn_offer, alpn_offer_size, in, in_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

std::expected<void, std::string> useCertificate(SSL_CTX* context, const std::string& cert, const std::string& key) {
  if (SSL_CTX_use_certificate_chain_file(context, cert.c_str()) != 1) {
    return std::unexpected("cannot read the certificate " + cert + ": " + reasonOf());
  }
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return std::unexpected("cannot read the private key " + key + ": " + reasonOf());
  }
  if (SSL_CTX_check_private_key(context) != 1) {
    return std::unexpected("the private key " + key + " does not belong to the certificate " + cert);
  }
  return {};
}

void setPolicy(SSL_CTX* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
}

bool isAddress(const std::string& text) {
  uint8_t binary[16];
  return ::inet_pton(AF_INET, text.c_str(), binary) == 1 || ::inet_pton(AF_INET6, text.c_str(), binary) == 1;
}

}  // namespace

std::expected<std::unique_ptr<TlsContext>, std::string> TlsContext::makeServer(const TlsServerOptions& options) {
  std::unique_ptr<TlsContext> made(new TlsContext(SSL_CTX_new(TLS_server_method()), true));
  setPolicy(made->context_);
  if (auto used = useCertificate(made->context_, options.cert_file, options.key_file); !used) return std::unexpected(used.error());
  SSL_CTX_set_alpn_select_cb(made->context_, selectAlpn, nullptr);
  return made;
}

std::expected<std::unique_ptr<TlsContext>, std::string> TlsContext::makeClient(const TlsClientOptions& options) {
  std::unique_ptr<TlsContext> made(new TlsContext(SSL_CTX_new(TLS_client_method()), false));
  setPolicy(made->context_);
  SSL_CTX_set_verify(made->context_, options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (!options.ca_file.empty()) {
    if (SSL_CTX_load_verify_locations(made->context_, options.ca_file.c_str(), nullptr) != 1) {
      return std::unexpected("cannot read the CA file " + options.ca_file + ": " + reasonOf());
    }
  } else {
    SSL_CTX_set_default_verify_paths(made->context_);
  }
  if (!options.cert_file.empty()) {
    if (auto used = useCertificate(made->context_, options.cert_file, options.key_file); !used) return std::unexpected(used.error());
  }
  SSL_CTX_set_alpn_protos(made->context_, alpn_offer, alpn_offer_size);
  return made;
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

TlsSession::TlsSession(TlsContext& context, ByteQueue& cipher_out, std::string_view server_name)
    : ssl_(SSL_new(context.context_)), cipher_out_(cipher_out) {
  // Out of memory shows as a failed handshake: with no SSL every call below answers tls_failed.
  if (ssl_ == nullptr) return;
  BIO* bio = BIO_new(TlsBio::method());
  if (bio == nullptr) {
    SSL_free(std::exchange(ssl_, nullptr));
    return;
  }
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_, bio, bio);
  if (context.is_server_) {
    SSL_set_accept_state(ssl_);
    return;
  }
  SSL_set_connect_state(ssl_);
  const std::string name(server_name);
  if (name.empty()) return;
  if (isAddress(name)) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), name.c_str());
  } else {
    SSL_set_tlsext_host_name(ssl_, name.c_str());
    SSL_set1_host(ssl_, name.c_str());
  }
}

TlsSession::~TlsSession() {
  if (ssl_ != nullptr) SSL_free(ssl_);
}

Error TlsSession::lastError(const char* reason) {
  const long verified = ssl_ == nullptr ? 0 : SSL_get_verify_result(ssl_);
  ERR_clear_error();
  if (verified != X509_V_OK) reason = X509_verify_cert_error_string(verified);
  return {ErrorCode::tls_failed, Reach::connection, static_cast<uint32_t>(verified), reason};
}

Result<TlsSession::Step> TlsSession::handshake() {
  if (ssl_ == nullptr) return fail(lastError("no memory for a TLS session"));
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) return Step::done;
  if (SSL_get_error(ssl_, result) == SSL_ERROR_WANT_READ) return Step::want_read;
  return fail(lastError("the TLS handshake failed"));
}

void TlsSession::feed(Bytes ciphertext) {
  PLAIT_ASSERT(input_.empty());
  input_ = ciphertext;
}

Result<size_t> TlsSession::read(MutableBytes plaintext) {
  ERR_clear_error();
  const int result = SSL_read(ssl_, plaintext.data(), static_cast<int>(plaintext.size()));
  if (result > 0) return static_cast<size_t>(result);
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return size_t{0};
    case SSL_ERROR_ZERO_RETURN:
      at_end_ = true;
      return size_t{0};
    default:
      return fail(lastError("a TLS record is broken"));
  }
}

Result<size_t> TlsSession::write(Bytes plaintext) {
  // The whole record must find room, since OpenSSL wants the same bytes again after a refused write.
  const size_t count = std::min(plaintext.size(), max_record);
  if (cipher_out_.room() < count + record_overhead) return size_t{0};
  ERR_clear_error();
  const int result = SSL_write(ssl_, plaintext.data(), static_cast<int>(count));
  if (result > 0) return static_cast<size_t>(result);
  const int error = SSL_get_error(ssl_, result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return size_t{0};
  return fail(lastError("TLS could not encrypt"));
}

void TlsSession::closeNotify() {
  if (ssl_ == nullptr || SSL_in_init(ssl_)) return;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

std::string_view TlsSession::alpn() const {
  if (ssl_ == nullptr) return {};
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_, &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

}  // namespace plait
