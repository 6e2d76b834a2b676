// The real TLS: certificates for net/tls.cc, made at start.
#include "plait/net/tls_arena.h"
#include "plait/net/tls_test_certs.h"
#include "sim/tls_material.h"

namespace plait::sim {
namespace {

const TestCerts& certs() {
  // Their signatures have one size whatever they sign.
  static const TestCerts made("ED25519");
  return made;
}

}  // namespace

const bool tls_is_real = true;

void prepareTls() {
  installTlsArena();
  prepareRandomness();
  // Of the worker's own there is one for each; here one serves them all, and the peers.
  static TlsArena arena(size_t{1} << 30);
  certs();
  TlsArena::bind(&arena);
}

TlsServerOptions tlsServer(bool is_stranger) {
  const std::string name = is_stranger ? "client" : "server";
  return {.cert_file = certs().path(name + ".pem"), .key_file = certs().path(name + ".key"), .client_ca_file = {}};
}

TlsServerOptions tlsSite(uint32_t) {
  return tlsServer(false);
}

std::string certificateShown(const TlsSession&) {
  return {};
}

TlsClientOptions tlsClient() {
  return {.ca_file = certs().path("ca.pem"), .cert_file = {}, .key_file = {}};
}

}  // namespace plait::sim
