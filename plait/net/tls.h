// TLS as a filter: ciphertext in → plaintext out, and back. It knows no socket; a custom BIO reads from the lent
// receive buffer and writes into the connection's cipher queue, so OpenSSL neither copies into buffers of its own nor
// grows any.
//
//   feed() → [ view of the lent buffer ] → handshake() / read() → plaintext
//   plaintext → write() / handshake() / closeNotify() → [ cipher_out ] → the kernel
#pragma once

#include <array>
#include <expected>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "plait/base/byte_queue.h"
#include "plait/base/error.h"
#include "plait/net/hello_guard.h"
#include "plait/net/tls_tickets.h"

struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;

namespace plait {

struct TlsServerOptions {
  std::string cert_file;                            // PEM, the chain in order
  std::string key_file;                             // PEM, not encrypted
  std::vector<std::string> alpn{"h2", "http/1.1"};  // the server's order decides
  std::string client_ca_file;  // PEM; where set, clients must show a certificate that it vouches for
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
  static std::expected<std::unique_ptr<TlsContext>, std::string> makeClient(const TlsClientOptions& options);
  ~TlsContext();
  // Server: changes the keys of session tickets where it is time to. From any thread.
  void rotateTicketKeys(TimeNs now_ns) {
    if (is_server_) ticket_keys_.rotate(now_ns);
  }
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  bool isServer() const { return is_server_; }
  // A sentence for each of its own certificates that had expired, or was not valid yet, when it was made.
  const std::vector<std::string>& warnings() const { return warnings_; }

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
  std::string setCertificate(const std::string& cert, const std::string& key);
  std::string setAlpn(const std::vector<std::string>& names);
  void keepSession(const char* name, ssl_session_st* session);
  ssl_session_st* takeSession(const char* name);

  ssl_ctx_st* context_ = nullptr;
  TicketKeys ticket_keys_;
  bool is_server_;
  bool verifies_ = false;
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
  enum class Step : uint8_t { want_read, done };
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
  // "TLSv1.3" or "TLSv1.2", for the log.
  const char* version() const;

 private:
  friend struct TlsBio;
  friend struct TlsCallbacks;

  void setServerName(std::string_view name);
  Error lastError(const char* reason);
  std::unexpected<Error> failWith(const Error& error);

  ssl_st* ssl_ = nullptr;
  TlsContext& context_;
  ByteQueue& cipher_out_;
  Bytes input_;
  const char* setup_error_ = nullptr;
  HelloGuard hello_guard_;
  size_t own_answers_ = 0;  // bytes that TLS by itself answered while reading, since the queue was last empty
  bool is_reading_ = false;
  bool at_end_ = false;
  bool failed_ = false;
  bool has_alerted_ = false;
};

}  // namespace plait
