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
// The mistake in a certificate's file that could not be read, as a phrase. `reason` is for what has no better words.
std::string certificateFault(const std::string& file, const std::string& reason);
// "2026-03-04 05:06:07 UTC".
std::string timeText(int64_t epoch_s);

// An operator has so long to renew a certificate, once warned.
inline constexpr int64_t warn_before_end_s = 21 * 86400;
// A sentence about `which` where it has ended at `now_s`, or is going to within warn_before_end_s; else empty. Seconds
// since 1970.
std::string endSentence(const std::string& which, int64_t not_after_s, int64_t now_s);

// A certificate with its chain, and the private key of the first.
std::string useCertificate(ssl_ctx_st* context, const std::string& cert, const std::string& key);
// The authorities that a peer's certificate is verified against: a file, or the system's store where it has no name.
std::string useAuthorities(ssl_ctx_st* context, const std::string& file);
// The same for clients, who are told the authorities' names as well.
std::string useClientAuthorities(ssl_ctx_st* context, const std::string& file);
// A sentence for each certificate of the context's chain that has expired, is about to, or is not valid yet, `now_s`
// seconds after 1970. `cert` is the name of the file.
std::vector<std::string> certificateWarnings(ssl_ctx_st* context, const std::string& cert, int64_t now_s);

// Seconds since 1970 at which the context's own certificate ends.
int64_t certificateEnd(ssl_ctx_st* context);

}  // namespace plait
