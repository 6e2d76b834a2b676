// Anything that a server may send to our client's session. The first byte chooses the size of the pieces.
#include "fuzz/session_feed.h"

using namespace plait;
using namespace plait::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const size_t step = input.byte() % 64u + 1;
  h2::wire::Wire wire = openingTo(h2::Role::client);
  const Bytes rest = input.rest();
  wire.insert(wire.end(), rest.begin(), rest.end());
  requireSameInPieces(h2::Role::client, wire, step);
  return 0;
}
