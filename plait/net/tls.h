// TLS as a filter: ciphertext in → plaintext out, and back. It knows no socket; a custom BIO reads from the lent receive
// buffer and writes into the connection's cipher queue, so OpenSSL neither copies into buffers of its own nor grows any.
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "plait/base/byte_queue.h"
#include "plait/base/error.h"

struct ssl_ctx_st;
struct ssl_st;

namespace plait {

struct TlsServerOptions {
  std::string cert_file;  // PEM, the chain in order
  std::string key_file;   // PEM
};

struct TlsClientOptions {
  bool verify = true;
  std::string ca_file;    // PEM; the system's store where empty
  std::string cert_file;  // the client's own certificate, where the backend asks for one
  std::string key_file;
};

// Certificates, keys and policy, shared by the sessions made from it. TLS 1.2 and 1.3; ALPN "h2", then "http/1.1".
class TlsContext {
 public:
  // The error is a sentence for the operator that names the file.
  static std::expected<std::unique_ptr<TlsContext>, std::string> makeServer(const TlsServerOptions& options);
  static std::expected<std::unique_ptr<TlsContext>, std::string> makeClient(const TlsClientOptions& options);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class TlsSession;
  TlsContext(ssl_ctx_st* context, bool is_server) : context_(context), is_server_(is_server) {}
  ssl_ctx_st* context_;
  bool is_server_;
};

class TlsSession {
 public:
  enum class Step : uint8_t { want_read, done };

  // Ciphertext to be sent is appended to `cipher_out`. `server_name` is for SNI and verification in the client role; an
  // IP address is verified as such and not sent as SNI (RFC 6066 §3).
  TlsSession(TlsContext& context, ByteQueue& cipher_out, std::string_view server_name);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // Goes on with the handshake as far as the fed bytes allow. Errors: tls_failed.
  Result<Step> handshake();
  // Gives ciphertext, which must stay where it is until hasUnread() is false.
  void feed(Bytes ciphertext);
  bool hasUnread() const { return !input_.empty(); }
  // Decrypts up to one record into `plaintext`; 0 means that more ciphertext is needed, or atEnd().
  Result<size_t> read(MutableBytes plaintext);
  // The peer said close_notify.
  bool atEnd() const { return at_end_; }
  // Encrypts as much as the queue has room for; returns how much.
  Result<size_t> write(Bytes plaintext);
  void closeNotify();
  // What was negotiated: "h2", "http/1.1" or "".
  std::string_view alpn() const;

 private:
  friend struct TlsBio;
  Error lastError(const char* reason);

  ssl_st* ssl_ = nullptr;
  ByteQueue& cipher_out_;
  Bytes input_;
  bool at_end_ = false;
};

}  // namespace plait
