// What is changed in every request on its way, whichever route it takes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plait/net/trusted_proxies.h"
#include "plait/plan/identity_fields.h"

namespace plait {

// How a backend hears of the certificate that a client has shown: not at all, or by Client-Cert (RFC 9440) and
// X-Forwarded-Client-Cert (Envoy's form).
enum class ClientCertHint : uint8_t { off, fields };

struct ForwardOptions {
  bool x_forwarded = true;
  bool forwarded = false;
  bool via = true;
  ClientCertHint client_cert = ClientCertHint::fields;
  // Whether every request goes on with an x-request-id. Unset: where there is an access log, which has the same id.
  std::optional<bool> request_id;
  TrustedProxies trusted_proxies;  // their forwarded fields are kept and added to
  // All of it, for comparing.
  std::string text() const;
  IdentityFields identity;  // those of anybody else are dropped
};

}  // namespace plait
