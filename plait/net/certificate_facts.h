// Certificate facts: the part of a certificate that the start needs, which is its names, its dates and the kind of its
// key. OpenSSL 3.0 decodes the public key with every certificate that it parses, for some 0.1 ms; with 10,000
// certificates that would be a second. So the few elements are read here, and OpenSSL parses a certificate when its key
// is loaded.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace plait::net {

// In the order in which they are preferred where a client can verify several: an RSA signature costs the most.
enum class KeyKind : uint8_t { p256, ed25519, p384, p521, ed448, rsa, rsa_pss, other };
const char* keyKindName(KeyKind kind);

struct CertificateFacts {
  // DNS names of subjectAltName in lower case and without a trailing dot; "*.example" covers one label (RFC 6125
  // §6.4.3). Names that no client can ask for are left out, wildcards within a label among them.
  std::vector<std::string> names;
  int64_t not_before_s = 0;  // seconds since 1970
  int64_t not_after_s = 0;
  KeyKind kind = KeyKind::other;
};

// One certificate (RFC 5280 §4.1); nothing where it is damaged.
std::optional<CertificateFacts> readCertificate(std::string_view der);

// All certificates of a PEM file, the site's own first. The error is a phrase.
std::expected<std::vector<CertificateFacts>, std::string> readCertificates(std::string_view pem);

// The host name as it is compared: in lower case, without a trailing dot. Empty where it is none (RFC 1123 §2.1; the
// underscore is allowed, as everybody does).
std::string_view hostName(std::string_view given, std::array<char, 256>& room);

}  // namespace plait::net
