// The certificate that a client has shown, in the forms in which it is handed on. A view, as long as its TlsSession.
//
// Each function writes into `out` and returns what it has written. Without room, or without a certificate, that is
// empty and its data() is null; a subject without a name is empty as well. Nothing of it holds a control character or
// breaks out of its quotes: what stands in a certificate is its holder's text, even though an authority has signed it.
#pragma once

#include <span>
#include <string_view>

struct x509_st;

namespace plait::net {

class ClientCertificate {
 public:
  explicit ClientCertificate(x509_st* certificate = nullptr) : certificate_(certificate) {}
  explicit operator bool() const { return certificate_ != nullptr; }

  // Client-Cert's value: DER in base64 between colons (RFC 9440 §2.1, §2.2).
  std::string_view clientCert(std::span<char> out) const;
  // X-Forwarded-Client-Cert's element, as Envoy writes it: Hash=…;Subject="…";URI=…;DNS=…. Hash is SHA-256 of the DER
  // in hexadecimal, Subject as below; URI and DNS are there once for each such name.
  std::string_view forwardedClientCert(std::span<char> out) const;
  // The distinguished name, "CN=…,O=…" (RFC 2253).
  std::string_view subject(std::span<char> out) const;
  // SHA-256 of the DER, in hexadecimal.
  std::string_view fingerprint(std::span<char> out) const;

 private:
  x509_st* certificate_;
};

}  // namespace plait::net
