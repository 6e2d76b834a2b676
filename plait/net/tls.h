// TLS as a filter: ciphertext in → plaintext out, and back. It knows no socket; a custom BIO reads from the lent
// receive buffer and writes into the connection's cipher queue, so OpenSSL neither copies into buffers of its own nor
// grows any.
//
//   feed() → [ view of the lent buffer ] → handshake() / read() → plaintext
//   plaintext → write() / handshake() / closeNotify() → [ cipher_out ] → the kernel
#pragma once

#include <array>
#include <atomic>
#include <expected>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "plait/base/byte_queue.h"
#include "plait/base/error.h"
#include "plait/net/certificate_store.h"
#include "plait/net/client_certificate.h"
#include "plait/net/hello_guard.h"
#include "plait/net/tls_policy.h"
#include "plait/net/tls_tickets.h"

struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;

namespace plait {

class TlsSession;

struct TlsServerOptions {
  std::string cert_file;                            // PEM, the chain in order
  std::string key_file;                             // PEM, not encrypted
  std::vector<std::string> alpn{"h2", "http/1.1"};  // the server's order decides
  std::string client_ca_file;  // PEM; where set, clients must show a certificate that it vouches for
  net::ClientAuth client_auth = net::ClientAuth::require;
  net::TlsSettings settings;
};

// One of several sites that a server has on one port, see net::CertificateStore.
struct TlsSite {
  std::string cert_file;
  std::string key_file;
  std::string client_ca_file;
  net::ClientAuth client_auth = net::ClientAuth::require;  // where there is a client_ca_file
  net::TlsSettings settings;
};

struct TlsSitesOptions {
  std::vector<TlsSite> sites;  // the first is for clients that name none, or another
  std::vector<std::string> alpn{"h2", "http/1.1"};
};

struct TlsClientOptions {
  bool verify = true;
  std::string ca_file;    // PEM; the system's store where empty
  std::string cert_file;  // the client's own certificate, where the backend asks for one
  std::string key_file;
  std::vector<std::string> alpn{"h2", "http/1.1"};
};

// Certificates, keys and policy, shared by the sessions made from it on any thread; must outlive them. TLS 1.2 and 1.3;
// for TLS 1.2 only what RFC 9113 §9.2 allows. Made at start, on a thread without a TlsArena: it
// reads files, and sets up what OpenSSL shares in the process (net/tls_warm_up.h).
class TlsContext {
 public:
  // The error is a sentence for the operator that names the file and says why.
  static std::expected<std::unique_ptr<TlsContext>, std::string> makeServer(const TlsServerOptions& options);
  // Each connection gets the certificate of the site that its client names (SNI). Reads names and dates alone: keys are
  // for certificates()->setLoader(), or load(). Every mistake is in the error, with its site's place.
  static std::expected<std::unique_ptr<TlsContext>, std::vector<net::SiteMistake>> makeSites(
      const TlsSitesOptions& options);
  static std::expected<std::unique_ptr<TlsContext>, std::string> makeClient(const TlsClientOptions& options);
  ~TlsContext();
  // Server: changes the keys of session tickets where it is time to. From any thread.
  void rotateTicketKeys(TimeNs now_ns) {
    if (is_server_) ticket_keys_->rotate(now_ns);
  }
  // Server: tickets that `before` has given can be used here, and its keys need not be loaded again. Before the first
  // session, on the loading thread. Both may live on.
  void goOnFrom(TlsContext& before);
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  bool isServer() const { return is_server_; }
  // A sentence for each of its own certificates that had expired, was about to, or was not valid yet, when it was made.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Those of makeSites(); else null.
  net::CertificateStore* certificates() const { return certificates_.get(); }
  // Seconds since 1970 at which the first of its own certificates ends; 0 where it has none.
  int64_t notAfterS() const {
    return certificates_ == nullptr ? not_after_s_ : certificates_->notAfterS(certificates_->soonest());
  }
  // The site for a request's host. A connection to another one may carry it where both have the same settings; else it
  // is misdirected (RFC 9110 §15.5.20).
  // The host comes without a port.
  uint32_t siteFor(std::string_view host) const { return certificates_ == nullptr ? 0 : certificates_->siteFor(host); }
  bool sameTlsSettings(uint32_t site, uint32_t other) const {
    return site == other || policy_of_site_[site] == policy_of_site_[other];
  }
  // Whether that connection may not carry a request for the host, by the sites that this context has. A connection of a
  // context before it goes on for the hosts that it was made for, as long as they ask for the same certificates.
  bool isMisdirected(const TlsSession& session, std::string_view host) const;
  // Whoever may still use it says so: sessions by themselves, listeners, and clients that have no session yet. From any
  // thread; who is not among the users must know by other means that it stays.
  void addUser() { users_.fetch_add(1, std::memory_order_relaxed); }
  void removeUser() { users_.fetch_sub(1, std::memory_order_release); }
  bool isUsed() const { return users_.load(std::memory_order_acquire) != 0; }
  // Server: some of its clients are asked for certificates.
  bool asksForCertificates() const { return is_server_ && verifies_; }

 private:
  friend class TlsSession;
  friend struct TlsCallbacks;
  static constexpr size_t max_name = 256;  // longer than any DNS name, with its terminator
  static constexpr size_t max_alpn_list = 256;

  // A session that the server of that name let us resume. Kept by name, because a resumed handshake shows no
  // certificate whose name could be checked again.
  struct Resumable {
    std::array<char, max_name> name{};
    ssl_session_st* session = nullptr;
  };

  explicit TlsContext(bool is_server);
  static ssl_ctx_st* makeContext(bool is_server);
  std::string setCertificate(const std::string& cert, const std::string& key);
  std::string setAlpn(const std::vector<std::string>& names);
  std::expected<uint32_t, std::string> policyFor(const TlsSite& site);
  const net::TlsPolicy& policyOf(uint32_t site) const { return policies_[policy_of_site_[site]]; }
  void keepSession(const char* name, ssl_session_st* session);
  ssl_session_st* takeSession(const char* name);

  std::atomic<uint32_t> users_{0};
  ssl_ctx_st* context_ = nullptr;
  std::shared_ptr<TicketKeys> ticket_keys_ = std::make_shared<TicketKeys>();
  bool is_server_;
  bool verifies_ = false;
  // Server: the first one is that of new connections.
  std::vector<net::TlsPolicy> policies_;
  std::vector<uint32_t> policy_of_site_;
  std::unique_ptr<net::CertificateStore> certificates_;
  int64_t not_after_s_ = 0;  // of the one certificate where there are no others
  std::vector<std::string> warnings_;
  std::array<uint8_t, max_alpn_list> alpn_list_{};  // as on the wire: each name behind its length
  size_t alpn_list_size_ = 0;
  std::mutex resumable_mutex_;  // met once a handshake
  std::array<Resumable, 32> resumable_;
  size_t resumable_next_ = 0;
};

// The protocols that a client offers by ALPN: those of its context, or HTTP/1.1 alone, for requests that HTTP/2 cannot
// carry.
enum class AlpnOffer : uint8_t { all, http_1_1 };

// One connection's TLS, made in place. Belongs to one thread at a time; does not allocate outside OpenSSL. After an
// error only the destructor and alpn() may follow, and what is in `cipher_out` (the alert) is still worth sending.
class TlsSession {
 public:
  enum class Step : uint8_t {
    want_read,
    want_key,  // of site(), see net::KeyWait; then handshake() again
    done,
  };
  // A record takes so much besides its plaintext: header, explicit nonce or content type, and tag are at most 29 bytes
  // in the cipher suites offered; the rest is for a KeyUpdate that TLS puts in front of it.
  static constexpr size_t record_overhead = 128;

  // Ciphertext to be sent is appended to `cipher_out`, which must outlive the session. `server_name` counts in the
  // client role alone, where it is sent as SNI and verified; an IP address (brackets allowed) is verified as such and
  // not sent (RFC 6066 §3). A session that cannot be set up, as with an empty name while the context verifies, is
  // reported by handshake().
  TlsSession(TlsContext& context, ByteQueue& cipher_out, std::string_view server_name,
             AlpnOffer offer = AlpnOffer::all);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // Goes on with the handshake as far as the fed bytes allow; want_read means that all of them are used up. Errors:
  // tls_failed, whose detail is the X.509 verification result; no_memory when `cipher_out` or OpenSSL's memory is at
  // its end.
  Result<Step> handshake();
  // The key that handshake() wanted cannot be had: the next one fails, with an alert.
  void refuseKey() { is_keyless_ = true; }

  // Gives ciphertext, which must stay where it is until hasUnread() is false. Not while there is some unread.
  void feed(Bytes ciphertext);
  // The unread ciphertext, or its beginning, is there now; what is missing of it is fed later.
  void moved(Bytes ciphertext) { input_ = ciphertext; }
  // Ciphertext that was given and is not consumed. Plaintext may be left even where there is none: call read() until it
  // answers 0.
  bool hasUnread() const { return !input_.empty(); }
  size_t unread() const { return input_.size(); }

  // Decrypts at most one record into `plaintext`; 0 means that all ciphertext given is used up, or atEnd(). Errors:
  // tls_failed for a record that is broken or an alert; stalled for a peer that keeps TLS itself answering (key
  // updates) and does not read the answers; no_memory.
  Result<size_t> read(MutableBytes plaintext);
  // The peer said close_notify: nothing follows.
  bool atEnd() const { return at_end_; }
  // After an error: nothing is encrypted or decrypted any more.
  bool hasFailed() const { return failed_; }
  // The error was answered with an alert, which is in `cipher_out` or has left.
  bool hasAlerted() const { return has_alerted_; }

  // Encrypts all of `plaintext`, or as much as the queue has room for; returns how much was taken. Errors: tls_failed,
  // no_memory.
  Result<size_t> write(Bytes plaintext);
  // Says that nothing more will be written. Does nothing before the handshake is done, after an error, and when there
  // is no room.
  void closeNotify();

  // The protocol that was negotiated: "h2", "http/1.1" or "". Lives as long as the session.
  std::string_view alpn() const;
  // True when the handshake took up an earlier session.
  bool isResumed() const;
  // Server, after the handshake: the site that was chosen, and the name by which, "" where the client gave none.
  uint32_t site() const { return site_; }
  std::string_view serverName() const;
  net::ClientCertificate clientCertificate() const;
  TlsContext& context() const { return context_; }
  // "TLSv1.3" or "TLSv1.2", for the log.
  const char* version() const;

 private:
  friend struct TlsBio;
  friend struct TlsCallbacks;

  void setServerName(std::string_view name);
  void releaseKey();
  Error lastError(const char* reason);
  std::unexpected<Error> failWith(const Error& error);

  ssl_st* ssl_ = nullptr;
  TlsContext& context_;
  ByteQueue& cipher_out_;
  Bytes input_;
  const char* setup_error_ = nullptr;
  HelloGuard hello_guard_;
  net::LoadedKey* key_ = nullptr;  // during the handshake
  uint32_t site_ = 0;
  uint64_t refusals_;        // of OpenSSL's memory, when the present call of OpenSSL began
  size_t own_answers_ = 0;   // bytes that TLS by itself answered while reading, since the queue was last empty
  bool has_chosen_ = false;  // its site
  bool is_keyless_ = false;
  bool ran_out_ = false;  // of memory, while it was set up
  bool is_reading_ = false;
  bool at_end_ = false;
  bool failed_ = false;
  bool has_alerted_ = false;
};

}  // namespace plait
