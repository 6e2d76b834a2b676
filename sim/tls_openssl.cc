// The real TLS: certificates for net/tls.cc, made at start, and randomness from the run's seed.
#include <openssl/rand.h>

#include "plait/base/random.h"
#include "plait/net/tls_arena.h"
#include "plait/net/tls_test_certs.h"
#include "sim/tls_material.h"

namespace plait::sim {
namespace {

Random random_bytes(1);

int fill(unsigned char* to, int size) {
  for (int i = 0; i < size; ++i) to[i] = static_cast<unsigned char>(random_bytes.next());
  return 1;
}

int isReady() {
  return 1;
}

const TestCerts& certs() {
  // Their signatures have one size whatever they sign.
  static const TestCerts made("ED25519");
  return made;
}

}  // namespace

const bool tls_is_real = true;

void prepareTls() {
  installTlsArena();
  static RAND_METHOD method = {nullptr, fill, nullptr, nullptr, fill, isReady};
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
  RAND_set_rand_method(&method);
#pragma clang diagnostic pop
  // Of the worker's own there is one for each; here one serves them all, and the peers.
  static TlsArena arena(size_t{1} << 30);
  certs();
  TlsArena::bind(&arena);
}

void seedTls(uint64_t seed) {
  random_bytes = Random(seed ^ 0x7155);
}

TlsServerOptions tlsServer(bool is_stranger) {
  const std::string name = is_stranger ? "client" : "server";
  return {.cert_file = certs().path(name + ".pem"), .key_file = certs().path(name + ".key"), .client_ca_file = {}};
}

TlsClientOptions tlsClient() {
  return {.ca_file = certs().path("ca.pem"), .cert_file = {}, .key_file = {}};
}

}  // namespace plait::sim
