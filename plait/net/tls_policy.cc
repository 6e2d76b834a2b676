#include "plait/net/tls_policy.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

#include <utility>

#include "plait/net/tls_files.h"

namespace plait::net {
namespace {

// OpenSSL's own order, for a connection that comes from a policy with other groups.
constexpr const char* default_groups =
    "X25519:P-256:X448:P-521:P-384:ffdhe2048:ffdhe3072:ffdhe4096:ffdhe6144:ffdhe8192";

int verifyMode(ClientAuth auth) {
  if (auth == ClientAuth::off) return SSL_VERIFY_NONE;
  return SSL_VERIFY_PEER | (auth == ClientAuth::require ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
}

std::string quoted(const std::string& text) {
  return '"' + text + '"';
}

// RFC 9113 §9.2.2 allows ephemeral keys and AEAD alone.
std::string forbiddenCipher(SSL_CTX* context) {
  const STACK_OF(SSL_CIPHER)* ciphers = SSL_CTX_get_ciphers(context);
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); ++i) {
    const SSL_CIPHER* cipher = sk_SSL_CIPHER_value(ciphers, i);
    const int exchange = SSL_CIPHER_get_kx_nid(cipher);
    const bool is_ephemeral = exchange == NID_kx_any || exchange == NID_kx_ecdhe || exchange == NID_kx_dhe;
    if (!is_ephemeral || SSL_CIPHER_is_aead(cipher) != 1) return SSL_CIPHER_get_name(cipher);
  }
  return {};
}

std::string apply(SSL_CTX* context, const TlsSettings& settings) {
  if (settings.min_version > settings.max_version) return "the least version of TLS is above the greatest";
  if (SSL_CTX_set_min_proto_version(context, settings.min_version) != 1 ||
      SSL_CTX_set_max_proto_version(context, settings.max_version) != 1) {
    return "OpenSSL does not speak that version of TLS";
  }
  if (SSL_CTX_set_cipher_list(context, settings.ciphers.c_str()) != 1)
    return "OpenSSL knows none of the ciphers " + quoted(settings.ciphers);
  if (const std::string name = forbiddenCipher(context); !name.empty())
    return "the cipher " + name + " is forbidden for HTTP/2 (RFC 9113 §9.2.2)";
  if (!settings.suites.empty() && SSL_CTX_set_ciphersuites(context, settings.suites.c_str()) != 1)
    return "OpenSSL does not know the suites " + quoted(settings.suites);
  if (!settings.groups.empty() && SSL_CTX_set1_groups_list(context, settings.groups.c_str()) != 1)
    return "OpenSSL does not know the groups " + quoted(settings.groups);
  return {};
}

class Hash {
 public:
  Hash() { ok_ = context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1; }
  ~Hash() { EVP_MD_CTX_free(context_); }
  Hash(const Hash&) = delete;
  Hash& operator=(const Hash&) = delete;
  // The length goes in front, so that texts cannot run into each other.
  void add(const void* data, size_t size) {
    const auto length = static_cast<uint64_t>(size);
    ok_ =
        ok_ && EVP_DigestUpdate(context_, &length, sizeof(length)) == 1 && EVP_DigestUpdate(context_, data, size) == 1;
  }
  void add(const std::string& text) { add(text.data(), text.size()); }
  bool end(std::array<uint8_t, 32>& out) { return ok_ && EVP_DigestFinal_ex(context_, out.data(), nullptr) == 1; }

 private:
  EVP_MD_CTX* context_ = EVP_MD_CTX_new();
  bool ok_;
};

// The store is sorted by then, so the order in the file does not count.
void addAuthorities(SSL_CTX* context, Hash& hash) {
  const STACK_OF(X509_OBJECT)* objects = X509_STORE_get0_objects(SSL_CTX_get_cert_store(context));
  for (int i = 0; i < sk_X509_OBJECT_num(objects); ++i) {
    const X509* certificate = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (certificate != nullptr && X509_digest(certificate, EVP_sha256(), digest, &size) == 1) hash.add(digest, size);
  }
}

}  // namespace

TlsPolicy::TlsPolicy(SSL_CTX* context) : context_(context) {
  SSL_CTX_up_ref(context);
}

TlsPolicy::TlsPolicy(TlsPolicy&& other) noexcept
    : context_(std::exchange(other.context_, nullptr)),
      settings_(std::move(other.settings_)),
      client_auth_(other.client_auth_),
      id_(other.id_),
      clients_id_(other.clients_id_) {}

TlsPolicy::~TlsPolicy() {
  SSL_CTX_free(context_);
}

std::string TlsPolicy::set(const TlsSettings& settings, const std::string& authorities, ClientAuth client_auth) {
  if (std::string wrong = apply(context_, settings); !wrong.empty()) {
    ERR_clear_error();
    return wrong;
  }
  settings_ = settings;
  client_auth_ = authorities.empty() ? ClientAuth::off : client_auth;
  if (client_auth_ != ClientAuth::off) {
    if (std::string wrong = useClientAuthorities(context_, authorities); !wrong.empty()) return wrong;
  }
  SSL_CTX_set_verify(context_, verifyMode(client_auth_), nullptr);
  Hash of_clients;
  of_clients.add(&client_auth_, sizeof(client_auth_));
  if (client_auth_ != ClientAuth::off) addAuthorities(context_, of_clients);
  Hash hash;
  hash.add(&settings.min_version, sizeof(settings.min_version));
  hash.add(&settings.max_version, sizeof(settings.max_version));
  for (const std::string* text : {&settings.ciphers, &settings.suites, &settings.groups}) hash.add(*text);
  if (!of_clients.end(clients_id_)) return "cannot set up TLS: " + tlsReason();
  hash.add(clients_id_.data(), clients_id_.size());
  if (!hash.end(id_) || SSL_CTX_set_session_id_context(context_, id_.data(), static_cast<unsigned>(id_.size())) != 1)
    return "cannot set up TLS: " + tlsReason();
  return {};
}

bool TlsPolicy::use(SSL* ssl, const TlsPolicy& before) const {
  if (this == &before) return true;
  // OpenSSL takes authorities and ciphers from the context then, and keeps what the connection has copied of the old.
  if (SSL_set_SSL_CTX(ssl, context_) == nullptr) return false;
  SSL_set_verify(ssl, verifyMode(client_auth_), nullptr);
  bool ok = SSL_set_session_id_context(ssl, id_.data(), static_cast<unsigned>(id_.size())) == 1 &&
            SSL_set_min_proto_version(ssl, settings_.min_version) == 1 &&
            SSL_set_max_proto_version(ssl, settings_.max_version) == 1;
  if (settings_.groups != before.settings_.groups) {
    ok = ok && SSL_set1_groups_list(ssl, settings_.groups.empty() ? default_groups : settings_.groups.c_str()) == 1;
  }
  return ok;
}

}  // namespace plait::net
