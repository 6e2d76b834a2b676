// Randomness for OpenSSL from the run's seed: session tickets have keys in both programs.
#include <openssl/rand.h>

#include "plait/base/random.h"
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

}  // namespace

void prepareRandomness() {
  static RAND_METHOD method = {nullptr, fill, nullptr, nullptr, fill, isReady};
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
  RAND_set_rand_method(&method);
#pragma clang diagnostic pop
}

void seedTls(uint64_t seed) {
  random_bytes = Random(seed ^ 0x7155);
}

}  // namespace plait::sim
