// What is changed in every request on its way, whichever route it takes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plait/plan/identity_fields.h"
#include "plait/plan/trusted_proxies.h"

namespace plait {

// The authority that a backend is asked for. SNI and verification use the backend's name all the same.
struct BackendAuthority {
  std::string fixed;  // sent instead of the client's; empty: the client's is
  std::string own;    // the backend's host and port, for clients that name none (HTTP/1.0)
};

struct ForwardOptions {
  bool x_forwarded = true;
  bool forwarded = false;
  bool via = true;
  // Whether every request goes on with an x-request-id. Unset: where there is an access log, which has the same id.
  std::optional<bool> request_id;
  TrustedProxies trusted_proxies;             // their forwarded fields are kept and added to
  IdentityFields identity;                    // those of anybody else are dropped
  std::vector<BackendAuthority> authorities;  // one for each backend
};

}  // namespace plait
