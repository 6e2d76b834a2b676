// The files of TLS: certificates, private keys and authorities, read into a context of OpenSSL at start. A mistake
// with a file is said in words and with its name. All functions that return a string return an empty one on success.
#pragma once

#include <string>
#include <vector>

#include "plait/base/time.h"

struct ssl_ctx_st;

namespace plait {

// Why the last call of OpenSSL failed. The oldest error is the cause, the later ones say who passed it on.
std::string tlsReason();

// A certificate with its chain, and the private key of the first.
std::string useCertificate(ssl_ctx_st* context, const std::string& cert, const std::string& key);
// The authorities that a peer's certificate is verified against: a file, or the system's store where it has no name.
std::string useAuthorities(ssl_ctx_st* context, const std::string& file);
// The same for clients, who are told the authorities' names as well.
std::string useClientAuthorities(ssl_ctx_st* context, const std::string& file);
// A sentence for each certificate of the context's chain that has expired, or is not valid yet, `now_s` seconds after
// 1970. `cert` is the name of the file.
std::vector<std::string> certificateWarnings(ssl_ctx_st* context, const std::string& cert, int64_t now_s);

}  // namespace plait
