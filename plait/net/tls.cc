#include "plait/net/tls.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <time.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "plait/net/tls_arena.h"
#include "plait/net/tls_files.h"
#include "plait/net/tls_warm_up.h"

namespace plait {
namespace {

constexpr size_t max_record_plaintext = 16 * 1024;
// A peer that lets TLS answer this much without reading any of it is not after a connection.
constexpr size_t max_own_answers = 16 * 1024;

}  // namespace

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
    if (session.context_.isServer() &&
        !session.hello_guard_.admits(session.input_.first(count), SSL_version(session.ssl_) == TLS1_3_VERSION)) {
      return -1;
    }
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
    if (session.is_reading_) session.own_answers_ += static_cast<size_t>(size);
    return size;
  }

  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

  static int create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }

  static BIO_METHOD* make() {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "plait");
    if (method == nullptr) return nullptr;
    BIO_meth_set_read(method, read);
    BIO_meth_set_write(method, write);
    BIO_meth_set_ctrl(method, control);
    BIO_meth_set_create(method, create);
    return method;
  }

  // Made with the first context, so at start, and kept until the process ends.
  static BIO_METHOD* method() {
    static BIO_METHOD* const made = make();
    return made;
  }
};

struct TlsCallbacks {
  static int selectAlpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                        unsigned in_size, void* argument) {
    const auto& context = *static_cast<const TlsContext*>(argument);
    unsigned char* chosen = nullptr;
    if (SSL_select_next_proto(&chosen, out_size, context.alpn_list_.data(),
                              static_cast<unsigned>(context.alpn_list_size_), in, in_size) != OPENSSL_NPN_NEGOTIATED) {
      // Old clients that name HTTP/1.0 speak HTTP/1.1 as well. Any other has come to the wrong server, which must not
      // lend it our certificate's name (RFC 7301 §3.2).
      static constexpr unsigned char http_1_0[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '0'};
      const bool is_old =
          SSL_select_next_proto(&chosen, out_size, http_1_0, sizeof(http_1_0), in, in_size) == OPENSSL_NPN_NEGOTIATED;
      return is_old ? SSL_TLSEXT_ERR_NOACK : SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
  }

  // The name in a ClientHello (RFC 6066 §3); "" where there is none, and for one that OpenSSL is going to refuse.
  static std::string_view serverNameOf(SSL* ssl) {
    const std::string_view list = asText(extensionOf(ssl, TLSEXT_TYPE_server_name, 2));
    if (list.size() < 3 || list[0] != TLSEXT_NAMETYPE_host_name) return {};
    const size_t size = static_cast<uint8_t>(list[1]) << 8 | static_cast<uint8_t>(list[2]);
    return list.size() - 3 < size ? std::string_view() : list.substr(3, size);
  }

  // The list that an extension is, without its length, which has so many bytes.
  static Bytes extensionOf(SSL* ssl, unsigned type, size_t length_size) {
    const unsigned char* bytes = nullptr;
    size_t size = 0;
    if (SSL_client_hello_get0_ext(ssl, type, &bytes, &size) != 1 || size < length_size) return {};
    return {bytes + length_size, size - length_size};
  }

  static net::ClientOffer offerOf(SSL* ssl, const net::TlsSettings& settings) {
    net::ClientOffer offer;
    offer.signature_algorithms = extensionOf(ssl, TLSEXT_TYPE_signature_algorithms, 2);
    offer.groups = extensionOf(ssl, TLSEXT_TYPE_supported_groups, 2);
    const Bytes versions = extensionOf(ssl, TLSEXT_TYPE_supported_versions, 1);
    for (size_t i = 0; i + 1 < versions.size() && settings.max_version >= TLS1_3_VERSION; i += 2) {
      if ((versions[i] << 8 | versions[i + 1]) == TLS1_3_VERSION) offer.speaks_tls_1_3 = true;
    }
    if (offer.speaks_tls_1_3) return offer;
    offer.has_ecdsa_suite = offer.has_rsa_suite = false;
    const unsigned char* suites = nullptr;
    const size_t size = SSL_client_hello_get0_ciphers(ssl, &suites);
    for (size_t i = 0; i + 1 < size; i += 2) {
      const SSL_CIPHER* suite = SSL_CIPHER_find(ssl, suites + i);
      if (suite == nullptr || SSL_CIPHER_is_aead(suite) != 1) continue;
      const int proof = SSL_CIPHER_get_auth_nid(suite);
      if (proof == NID_auth_ecdsa) offer.has_ecdsa_suite = true;
      if (proof == NID_auth_rsa) offer.has_rsa_suite = true;
    }
    return offer;
  }

  // Chooses a connection's site, and sets its certificate and policy, before OpenSSL looks at anything else of the
  // hello.
  static int onHello(SSL* ssl, int* alert, void*) {
    auto& owner = *static_cast<TlsSession*>(SSL_get_app_data(ssl));
    const TlsContext& context = owner.context_;
    net::CertificateStore& certificates = *context.certificates_;
    const std::string_view name = serverNameOf(ssl);
    if (owner.key_ != nullptr) {
      // The hello that follows HelloRetryRequest may not name another site (RFC 8446 §4.1.2).
      if (certificates.couldSelect(owner.site_, name)) return SSL_CLIENT_HELLO_SUCCESS;
      *alert = SSL_AD_ILLEGAL_PARAMETER;
      return SSL_CLIENT_HELLO_ERROR;
    }
    if (!owner.has_chosen_) {
      net::ClientOffer offer;
      if (certificates.isChoice(name)) offer = offerOf(ssl, context.policyOf(certificates.siteFor(name)).settings());
      owner.site_ = certificates.select(name, offer);
      owner.has_chosen_ = true;
    }
    *alert = SSL_AD_INTERNAL_ERROR;
    if (owner.is_keyless_) return SSL_CLIENT_HELLO_ERROR;
    owner.key_ = certificates.use(owner.site_);
    if (owner.key_ == nullptr) return SSL_CLIENT_HELLO_RETRY;
    const net::LoadedKey& key = *owner.key_;
    if (!context.policyOf(owner.site_).use(ssl, context.policies_.front())) return SSL_CLIENT_HELLO_ERROR;
    if (SSL_use_cert_and_key(ssl, key.certificate, key.key, key.chain, 1) != 1) return SSL_CLIENT_HELLO_ERROR;
    return SSL_CLIENT_HELLO_SUCCESS;
  }

  // Without this OpenSSL keeps no name with a session, which then has none when TLS 1.2 resumes it.
  static int takeName(SSL*, int*, void*) { return SSL_TLSEXT_ERR_OK; }

  static int useTicketKey(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
                          int seals) {
    auto& owner = *static_cast<TlsSession*>(SSL_get_app_data(ssl));
    const int result = owner.context_.ticket_keys_->use(name, iv, cipher, mac, seals == 1);
    // A ticket of TLS 1.3 is used once, so its client gets another (RFC 8446 §C.4).
    const bool is_used_up = seals == 0 && result == 1 && SSL_version(ssl) >= TLS1_3_VERSION;
    return is_used_up ? 2 : result;
  }

  // A ticket says when the full handshake was that its chain of resumptions began with. OpenSSL takes that over into
  // the session of each resumed connection, and from there into its ticket.
  static int sealTicket(SSL* ssl, void*) {
    auto& owner = *static_cast<TlsSession*>(SSL_get_app_data(ssl));
    SSL_SESSION* session = SSL_get_session(ssl);
    void* known = nullptr;
    size_t size = 0;
    if (SSL_SESSION_get0_ticket_appdata(session, &known, &size) != 1) return 0;
    if (size == sizeof(TimeNs)) return 1;
    const TimeNs now_ns = owner.context_.ticket_keys_->nowNs();
    return SSL_SESSION_set1_ticket_appdata(session, &now_ns, sizeof(now_ns));
  }

  // A resumed connection shows no certificate, so the one of its full handshake must still be valid. Without that a
  // chain of tickets would keep an access for ever that a full handshake refuses.
  static SSL_TICKET_RETURN openTicket(SSL* ssl, SSL_SESSION* session, const unsigned char*, size_t,
                                      SSL_TICKET_STATUS status, void*) {
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) return SSL_TICKET_RETURN_IGNORE_RENEW;
    auto& owner = *static_cast<TlsSession*>(SSL_get_app_data(ssl));
    void* known = nullptr;
    size_t size = 0;
    TimeNs begun_ns = 0;
    if (SSL_SESSION_get0_ticket_appdata(session, &known, &size) != 1 || size != sizeof(begun_ns)) {
      return SSL_TICKET_RETURN_IGNORE_RENEW;
    }
    std::memcpy(&begun_ns, known, size);
    if (owner.context_.ticket_keys_->nowNs() - begun_ns >= TicketKeys::lifetime_ns)
      return SSL_TICKET_RETURN_IGNORE_RENEW;
    // A ticket belongs to the name that it was given for (RFC 6066 §3).
    const char* named = SSL_SESSION_get0_hostname(session);
    if (serverNameOf(ssl) != std::string_view(named == nullptr ? "" : named)) return SSL_TICKET_RETURN_IGNORE_RENEW;
    X509* certificate = SSL_SESSION_get0_peer(session);
    // Below zero: its end lies behind us; zero: it cannot be read.
    if (certificate != nullptr && X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0) {
      return SSL_TICKET_RETURN_IGNORE_RENEW;
    }
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
  }

  // The server gave a ticket. Returning 1 keeps the reference that comes with the call.
  static int newSession(SSL* ssl, SSL_SESSION* session) {
    auto& owner = *static_cast<TlsSession*>(SSL_get_app_data(ssl));
    const char* name = X509_VERIFY_PARAM_get0_host(SSL_get0_param(ssl), 0);
    if (name == nullptr || SSL_SESSION_is_resumable(session) != 1) return 0;
    owner.context_.keepSession(name, session);
    return 1;
  }

  // Without this OpenSSL would ask for a passphrase on the terminal.
  static int noPassphrase(char*, int, int, void*) { return -1; }
};

namespace {

bool isAddress(const char* text) {
  uint8_t binary[16];
  return ::inet_pton(AF_INET, text, binary) == 1 || ::inet_pton(AF_INET6, text, binary) == 1;
}

}  // namespace

TlsContext::TlsContext(bool is_server) : is_server_(is_server) {
  warmUpTls();
  ERR_clear_error();
  if (TlsBio::method() == nullptr || (is_server && !ticket_keys_->start())) return;
  context_ = makeContext(is_server);
}

SSL_CTX* TlsContext::makeContext(bool is_server) {
  SSL_CTX* context = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
  if (context == nullptr) return nullptr;
  const net::TlsSettings defaults;
  SSL_CTX_set_min_proto_version(context, defaults.min_version);
  SSL_CTX_set_cipher_list(context, defaults.ciphers.c_str());
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_clear_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_default_passwd_cb(context, TlsCallbacks::noPassphrase);
  if (is_server) {
    // Among 10,000 clients most are idle: their record buffers are better given back than kept.
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    // Tickets carry the state; a cache of sessions would be memory shared by the workers that clients can fill.
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_tlsext_servername_callback(context, TlsCallbacks::takeName);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(context, TlsCallbacks::useTicketKey);
    SSL_CTX_set_session_ticket_cb(context, TlsCallbacks::sealTicket, TlsCallbacks::openTicket, nullptr);
    SSL_CTX_set_timeout(context, TicketKeys::lifetime_ns / ns_per_s);
  } else {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, TlsCallbacks::newSession);
  }
  return context;
}

TlsContext::~TlsContext() {
  for (Resumable& kept : resumable_) SSL_SESSION_free(kept.session);
  SSL_CTX_free(context_);
}

std::string TlsContext::setCertificate(const std::string& cert, const std::string& key) {
  std::string wrong = useCertificate(context_, cert, key);
  if (wrong.empty()) {
    warnings_ = certificateWarnings(context_, cert, ::time(nullptr));
    not_after_s_ = certificateEnd(context_);
  }
  return wrong;
}

std::string TlsContext::setAlpn(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (name.empty() || name.size() > 255) return "an ALPN name has 1 to 255 bytes, which \"" + name + "\" has not";
    if (alpn_list_size_ + 1 + name.size() > max_alpn_list) return "the ALPN names are longer than 256 bytes together";
    alpn_list_[alpn_list_size_] = static_cast<uint8_t>(name.size());
    std::memcpy(alpn_list_.data() + alpn_list_size_ + 1, name.data(), name.size());
    alpn_list_size_ += 1 + name.size();
  }
  if (alpn_list_size_ == 0) return {};
  if (is_server_) {
    SSL_CTX_set_alpn_select_cb(context_, TlsCallbacks::selectAlpn, this);
  } else if (SSL_CTX_set_alpn_protos(context_, alpn_list_.data(), static_cast<unsigned>(alpn_list_size_)) != 0) {
    return "cannot set the ALPN names: " + tlsReason();
  }
  return {};
}

std::expected<std::unique_ptr<TlsContext>, std::string> TlsContext::makeServer(const TlsServerOptions& options) {
  std::unique_ptr<TlsContext> made(new TlsContext(true));
  if (made->context_ == nullptr) return std::unexpected("cannot set up TLS: " + tlsReason());
  if (options.cert_file.empty()) return std::unexpected("a TLS server needs a certificate and none is named");
  if (auto error = made->setCertificate(options.cert_file, options.key_file); !error.empty()) {
    return std::unexpected(std::move(error));
  }
  if (auto error = made->setAlpn(options.alpn); !error.empty()) return std::unexpected(std::move(error));
  auto policy = made->policyFor(
      {.client_ca_file = options.client_ca_file, .client_auth = options.client_auth, .settings = options.settings});
  if (!policy) return std::unexpected(std::move(policy.error()));
  made->policy_of_site_.push_back(*policy);
  return made;
}

// The policy that the site asks for, which another one may have brought.
std::expected<uint32_t, std::string> TlsContext::policyFor(const TlsSite& site) {
  // The first policy is that of the context that there is already.
  SSL_CTX* context = policies_.empty() ? context_ : makeContext(true);
  if (context == nullptr) return std::unexpected("cannot set up TLS: " + tlsReason());
  net::TlsPolicy policy(context);
  if (!policies_.empty()) SSL_CTX_free(context);
  if (alpn_list_size_ != 0) SSL_CTX_set_alpn_select_cb(context, TlsCallbacks::selectAlpn, this);
  if (std::string wrong = policy.set(site.settings, site.client_ca_file, site.client_auth); !wrong.empty())
    return std::unexpected(std::move(wrong));
  verifies_ = verifies_ || policy.verifies();
  for (size_t i = 0; i < policies_.size(); ++i) {
    if (policies_[i].isSame(policy)) return static_cast<uint32_t>(i);
  }
  policies_.push_back(std::move(policy));
  return static_cast<uint32_t>(policies_.size() - 1);
}

std::expected<std::unique_ptr<TlsContext>, std::vector<net::SiteMistake>> TlsContext::makeSites(
    const TlsSitesOptions& options) {
  using Mistakes = std::vector<net::SiteMistake>;
  if (options.sites.empty())
    return std::unexpected(Mistakes{{0, "a TLS server needs a certificate and none is named"}});
  std::unique_ptr<TlsContext> made(new TlsContext(true));
  if (made->context_ == nullptr) return std::unexpected(Mistakes{{0, "cannot set up TLS: " + tlsReason()}});
  if (auto error = made->setAlpn(options.alpn); !error.empty()) return std::unexpected(Mistakes{{0, std::move(error)}});
  Mistakes mistakes;
  std::vector<net::SiteFiles> files;
  std::vector<std::pair<const TlsSite*, uint32_t>> known;
  for (size_t i = 0; i < options.sites.size(); ++i) {
    const TlsSite& site = options.sites[i];
    // Most of 10,000 sites ask the same, so their authorities are read once.
    const auto found = std::ranges::find_if(known, [&](const auto& other) {
      return other.first->client_ca_file == site.client_ca_file && other.first->client_auth == site.client_auth &&
             other.first->settings == site.settings;
    });
    uint32_t policy = 0;
    if (found != known.end()) {
      policy = found->second;
    } else if (auto fresh = made->policyFor(site)) {
      policy = *fresh;
      known.emplace_back(&site, policy);
    } else {
      mistakes.push_back({i, std::move(fresh.error())});
      if (made->policies_.empty()) made->policies_.emplace_back(made->context_);
    }
    files.push_back({site.cert_file, site.key_file, policy});
    made->policy_of_site_.push_back(policy);
  }
  auto certificates = net::CertificateStore::make(files);
  if (!certificates) std::ranges::move(certificates.error(), std::back_inserter(mistakes));
  if (!mistakes.empty()) return std::unexpected(std::move(mistakes));
  made->certificates_ = std::move(*certificates);
  for (const net::SiteMistake& one : made->certificates_->warnings()) made->warnings_.push_back(one.sentence);
  for (net::SiteMistake& one : made->certificates_->dateWarnings(::time(nullptr)))
    made->warnings_.push_back(std::move(one.sentence));
  // A connection that has changed its policy may see a second hello.
  for (const net::TlsPolicy& policy : made->policies_)
    SSL_CTX_set_client_hello_cb(policy.context(), TlsCallbacks::onHello, nullptr);
  return made;
}

bool TlsContext::isMisdirected(const TlsSession& session, std::string_view host) const {
  const TlsContext& its = session.context();
  const net::TlsPolicy& given = its.policyOf(session.site());
  const net::TlsPolicy& wanted = policyOf(siteFor(host));
  if (given.isSame(wanted)) return false;
  return !its.sameTlsSettings(session.site(), its.siteFor(host)) || !given.asksForTheSame(wanted);
}

void TlsContext::goOnFrom(TlsContext& before) {
  PLAIT_ASSERT(is_server_ && before.is_server_);
  // A context that returns has them still, and handshakes may be looking at them.
  if (ticket_keys_ != before.ticket_keys_) ticket_keys_ = before.ticket_keys_;
  if (certificates_ != nullptr && before.certificates_ != nullptr) certificates_->takeOver(*before.certificates_);
}

std::expected<std::unique_ptr<TlsContext>, std::string> TlsContext::makeClient(const TlsClientOptions& options) {
  std::unique_ptr<TlsContext> made(new TlsContext(false));
  if (made->context_ == nullptr) return std::unexpected("cannot set up TLS: " + tlsReason());
  made->verifies_ = options.verify;
  SSL_CTX_set_verify(made->context_, options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (!options.ca_file.empty() || options.verify) {
    if (auto error = useAuthorities(made->context_, options.ca_file); !error.empty()) {
      return std::unexpected(std::move(error));
    }
  }
  if (!options.cert_file.empty() || !options.key_file.empty()) {
    if (auto error = made->setCertificate(options.cert_file, options.key_file); !error.empty()) {
      return std::unexpected(std::move(error));
    }
  }
  if (auto error = made->setAlpn(options.alpn); !error.empty()) return std::unexpected(std::move(error));
  return made;
}

void TlsContext::keepSession(const char* name, SSL_SESSION* session) {
  const size_t size = std::strlen(name) + 1;
  if (size > max_name) {
    SSL_SESSION_free(session);
    return;
  }
  const std::lock_guard lock(resumable_mutex_);
  Resumable& kept = resumable_[resumable_next_++ % resumable_.size()];
  SSL_SESSION_free(kept.session);
  std::memcpy(kept.name.data(), name, size);
  kept.session = session;
}

// Each session is used once: a ticket used twice lets an onlooker link the two connections (RFC 8446 §C.4).
SSL_SESSION* TlsContext::takeSession(const char* name) {
  const std::lock_guard lock(resumable_mutex_);
  // The newest first, which the server is the likeliest to remember.
  for (size_t i = 0; i < resumable_.size(); ++i) {
    Resumable& kept = resumable_[(resumable_next_ - 1 - i) % resumable_.size()];
    if (kept.session == nullptr || std::strcmp(kept.name.data(), name) != 0) continue;
    SSL_SESSION* session = std::exchange(kept.session, nullptr);
    if (SSL_SESSION_is_resumable(session) == 1) return session;
    SSL_SESSION_free(session);  // its connection failed after the ticket had come
  }
  return nullptr;
}

TlsSession::TlsSession(TlsContext& context, ByteQueue& cipher_out, std::string_view server_name, AlpnOffer offer)
    : context_(context), cipher_out_(cipher_out), refusals_(TlsArena::refusalsHere()) {
  context.addUser();
  ERR_clear_error();
  ssl_ = SSL_new(context.context_);
  BIO* bio = ssl_ == nullptr ? nullptr : BIO_new(TlsBio::method());
  if (bio == nullptr) {
    SSL_free(std::exchange(ssl_, nullptr));
    ERR_clear_error();
    return;
  }
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_, bio, bio);
  if (SSL_set_app_data(ssl_, this) != 1) {
    SSL_free(std::exchange(ssl_, nullptr));
    ERR_clear_error();
    return;
  }
  if (context.is_server_) {
    SSL_set_accept_state(ssl_);
  } else {
    SSL_set_connect_state(ssl_);
    setServerName(server_name);
    static constexpr uint8_t http_1_1[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    if (offer == AlpnOffer::http_1_1 && SSL_set_alpn_protos(ssl_, http_1_1, sizeof(http_1_1)) != 0) {
      setup_error_ = "OpenSSL has no memory for the ALPN offer";
    }
  }
  ran_out_ = TlsArena::refusalsHere() != refusals_;
  ERR_clear_error();
}

TlsSession::~TlsSession() {
  // OpenSSL would spoil the session for resumption where close_notify is missing, which TLS since 1.1 does not ask for
  // (RFC 5246 §7.2.1); a session that failed is not to be resumed.
  if (ssl_ != nullptr && !failed_) SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(ssl_);
  releaseKey();
  context_.removeUser();
}

void TlsSession::releaseKey() {
  if (key_ != nullptr) std::exchange(key_, nullptr)->release();
}

void TlsSession::setServerName(std::string_view given) {
  if (given.size() > 2 && given.front() == '[' && given.back() == ']') given = given.substr(1, given.size() - 2);
  // SNI has no trailing dot (RFC 6066 §3), and certificates have none.
  if (given.ends_with('.')) given.remove_suffix(1);
  char name[TlsContext::max_name];
  if (given.empty()) {
    if (context_.verifies_) setup_error_ = "there is no server name to verify the certificate by";
    return;
  }
  if (given.size() >= sizeof(name) || given.find('\0') != given.npos) {
    setup_error_ = "the server name is no host name";
    return;
  }
  std::memcpy(name, given.data(), given.size());
  name[given.size()] = '\0';
  // The handshake must not go on unverified because a small allocation failed: each of these is checked.
  if (isAddress(name)) {
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), name) != 1)
      setup_error_ = "the server's address cannot be verified";
    return;
  }
  if (SSL_set_tlsext_host_name(ssl_, name) != 1 || SSL_set1_host(ssl_, name) != 1) {
    setup_error_ = "the server name is no host name";
    return;
  }
  SSL_set_hostflags(ssl_, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (SSL_SESSION* session = context_.takeSession(name); session != nullptr) {
    SSL_set_session(ssl_, session);
    SSL_SESSION_free(session);
  }
}

std::unexpected<Error> TlsSession::failWith(const Error& error) {
  failed_ = true;
  ERR_clear_error();
  return fail(error);
}

Error TlsSession::lastError(const char* reason) {
  const unsigned long code = ERR_peek_error();
  // What fails for want of memory is not always reported as such.
  if (TlsArena::refusalsHere() != refusals_ || ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE ||
      ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE) {
    return connectionError(ErrorCode::no_memory, "TLS has no memory left");
  }
  if (context_.verifies_ && ERR_GET_LIB(code) == ERR_LIB_SSL &&
      ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    const long result = SSL_get_verify_result(ssl_);
    return connectionError(ErrorCode::tls_failed, X509_verify_cert_error_string(result), static_cast<uint32_t>(result));
  }
  // OpenSSL's texts are static, and the alerts that peers send are among them.
  const char* known = code == 0 || ERR_SYSTEM_ERROR(code) ? nullptr : ERR_reason_error_string(code);
  return connectionError(ErrorCode::tls_failed, known == nullptr ? reason : known);
}

Result<TlsSession::Step> TlsSession::handshake() {
  if (ssl_ == nullptr) return failWith(connectionError(ErrorCode::no_memory, "TLS has no memory left"));
  if (setup_error_ != nullptr) {
    return failWith(ran_out_ ? connectionError(ErrorCode::no_memory, "TLS has no memory left")
                             : connectionError(ErrorCode::tls_failed, setup_error_));
  }
  if (failed_) return fail(connectionError(ErrorCode::tls_failed, "the TLS handshake failed"));
  ERR_clear_error();
  refusals_ = TlsArena::refusalsHere();
  const size_t said = cipher_out_.size();
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) {
    if (key_ != nullptr) {
      // Nothing is signed any more, and a connection may live longer than the certificate.
      SSL_certs_clear(ssl_);
      releaseKey();
    }
    return Step::done;
  }
  if (hello_guard_.hasRefused()) {
    has_alerted_ = cipher_out_.append(HelloGuard::alert);
    return failWith(connectionError(ErrorCode::tls_failed, "the ClientHello is too long"));
  }
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      return Step::want_read;
    case SSL_ERROR_WANT_CLIENT_HELLO_CB:
      return Step::want_key;
    case SSL_ERROR_WANT_WRITE:
      return failWith(connectionError(ErrorCode::no_memory, "no send block is left for the TLS handshake"));
    default:
      has_alerted_ = cipher_out_.size() != said;
      if (is_keyless_)
        return failWith(connectionError(ErrorCode::tls_failed, "the site's private key could not be loaded"));
      return failWith(lastError("the TLS handshake failed"));
  }
}

void TlsSession::feed(Bytes ciphertext) {
  PLAIT_ASSERT(input_.empty());
  input_ = ciphertext;
}

Result<size_t> TlsSession::read(MutableBytes plaintext) {
  if (ssl_ == nullptr || failed_) return fail(connectionError(ErrorCode::tls_failed, "the TLS session failed before"));
  if (at_end_) return size_t{0};
  if (cipher_out_.empty()) own_answers_ = 0;
  ERR_clear_error();
  refusals_ = TlsArena::refusalsHere();
  is_reading_ = true;
  const size_t said = cipher_out_.size();
  size_t count = 0;
  const int result = SSL_read_ex(ssl_, plaintext.data(), plaintext.size(), &count);
  is_reading_ = false;
  if (own_answers_ > max_own_answers) {
    return failWith(connectionError(ErrorCode::stalled, "the peer does not read what TLS answers"));
  }
  if (result == 1) return count;
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      return size_t{0};
    case SSL_ERROR_WANT_WRITE:
      return failWith(connectionError(ErrorCode::no_memory, "no send block is left for an answer of TLS"));
    case SSL_ERROR_ZERO_RETURN:
      at_end_ = true;
      input_ = {};  // nothing after close_notify counts (RFC 8446 §6.1)
      return size_t{0};
    default:
      has_alerted_ = cipher_out_.size() != said;
      return failWith(lastError("a TLS record is broken"));
  }
}

Result<size_t> TlsSession::write(Bytes plaintext) {
  if (ssl_ == nullptr || failed_) return fail(connectionError(ErrorCode::tls_failed, "the TLS session failed before"));
  size_t taken = 0;
  while (taken < plaintext.size()) {
    // Room for the whole record comes first: OpenSSL would keep a record that the queue refused, and demand the same
    // plaintext again.
    const size_t room = cipher_out_.bulkRoom();
    if (room <= record_overhead) break;
    const size_t count = std::min({plaintext.size() - taken, max_record_plaintext, room - record_overhead});
    ERR_clear_error();
    refusals_ = TlsArena::refusalsHere();
    size_t written = 0;
    const int result = SSL_write_ex(ssl_, plaintext.data() + taken, count, &written);
    if (result != 1) {
      const int error = SSL_get_error(ssl_, result);
      if (error == SSL_ERROR_WANT_READ) break;  // the handshake is not done
      if (error == SSL_ERROR_WANT_WRITE)
        return failWith(connectionError(ErrorCode::no_memory, "no send block is left for a TLS record"));
      return failWith(lastError("TLS could not encrypt"));
    }
    taken += written;
  }
  return taken;
}

void TlsSession::closeNotify() {
  if (ssl_ == nullptr || failed_ || SSL_in_init(ssl_) || cipher_out_.lastRoom() < record_overhead) return;
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

std::string_view TlsSession::serverName() const {
  const char* name = ssl_ == nullptr ? nullptr : SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name);
  return name == nullptr ? "" : name;
}

net::ClientCertificate TlsSession::clientCertificate() const {
  return net::ClientCertificate(ssl_ == nullptr || !context_.isServer() ? nullptr : SSL_get0_peer_certificate(ssl_));
}

bool TlsSession::isResumed() const {
  return ssl_ != nullptr && SSL_session_reused(ssl_) == 1;
}

const char* TlsSession::version() const {
  return ssl_ == nullptr ? "" : SSL_get_version(ssl_);
}

}  // namespace plait
