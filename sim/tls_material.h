// The parts that differ between the two programs that run the simulation. plait_sim has TLS above the record layer
// (tls_simulated.cc implements net/tls.h by messages in the clear), plait_sim_openssl has the real one (net/tls.cc).
#pragma once

#include "plait/net/tls.h"

namespace plait::sim {

// Ciphertext and its sizes depend on the process; content is then no part of a run's hash.
extern const bool tls_is_real;

// Once, before anything else.
void prepareTls();
// OpenSSL's randomness comes from the seed, too (tls_random.cc).
void prepareRandomness();
void seedTls(uint64_t seed);

// Proves any name under example.test, or none that anybody asks for.
TlsServerOptions tlsServer(bool is_stranger);
// One of several certificates that prove the proxy's name.
inline constexpr uint32_t tls_sites = 4;
TlsServerOptions tlsSite(uint32_t number);
// The file of the certificate that this client has been shown; empty where TLS is real, which keeps that to itself.
std::string certificateShown(const TlsSession& session);
// Trusts the one that issued the certificates.
TlsClientOptions tlsClient();

}  // namespace plait::sim
