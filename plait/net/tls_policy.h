// TlsPolicy: the demands of a server on its clients: versions, cipher suites, groups, and a certificate. Sites that ask
// the same share a policy, and so one context of OpenSSL; their certificates are set for each connection.
#pragma once

#include <array>
#include <cstdint>
#include <string>

struct ssl_ctx_st;
struct ssl_st;

namespace plait::net {

// Whether a client is asked for a certificate. One that it shows must be vouched for by the authorities in either case.
enum class ClientAuth : uint8_t { off, request, require };

struct TlsSettings {
  static constexpr uint16_t tls_1_2 = 0x0303;
  static constexpr uint16_t tls_1_3 = 0x0304;

  uint16_t min_version = tls_1_2;
  uint16_t max_version = tls_1_3;
  // For TLS 1.2, as OpenSSL writes them; what RFC 9113 §9.2.2 forbids is a mistake.
  std::string ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20";
  std::string suites;  // for TLS 1.3, "TLS_AES_128_GCM_SHA256:…"; OpenSSL's where empty
  std::string groups;  // "X25519:P-256:…"; OpenSSL's where empty

  bool operator==(const TlsSettings&) const = default;
};

// Made once for a context of OpenSSL; used by any thread.
class TlsPolicy {
 public:
  TlsPolicy(const TlsPolicy&) = delete;
  TlsPolicy& operator=(const TlsPolicy&) = delete;
  // Shares `context`.
  explicit TlsPolicy(ssl_ctx_st* context);
  TlsPolicy(TlsPolicy&& other) noexcept;
  ~TlsPolicy();

  // Applies everything to the context. Returns a sentence about what is wrong. `authorities` is a PEM file; where it
  // has none, `client_auth` counts as off.
  std::string set(const TlsSettings& settings, const std::string& authorities, ClientAuth client_auth);
  // The same asks the same: settings, authorities by their content, and whether a certificate is asked for.
  bool isSame(const TlsPolicy& other) const { return id_ == other.id_; }
  // The same certificates are asked for, and vouched for by the same authorities; the rest may differ.
  bool asksForTheSame(const TlsPolicy& other) const { return clients_id_ == other.clients_id_; }
  // Goes on with this policy on a connection that was made with `before`, while its ClientHello is looked at. False
  // where OpenSSL has no memory.
  bool use(ssl_st* ssl, const TlsPolicy& before) const;

  ssl_ctx_st* context() const { return context_; }
  const TlsSettings& settings() const { return settings_; }
  bool verifies() const { return client_auth_ != ClientAuth::off; }

 private:
  ssl_ctx_st* context_;
  TlsSettings settings_;
  ClientAuth client_auth_ = ClientAuth::off;
  // A hash, which is the session id context too: tickets that were given under another policy mean a full handshake.
  std::array<uint8_t, 32> id_{};
  std::array<uint8_t, 32> clients_id_{};  // a hash of the part that concerns clients' certificates
};

}  // namespace plait::net
