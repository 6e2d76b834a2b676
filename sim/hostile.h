// Messages that no RFC allows, or that it allows and nobody should put up with: frames of HTTP/2 that are wrong by
// themselves or where they come, heads of HTTP/1.1 that can be read in two ways, floods, and bodies or heads that never
// end.
//
// A request for `malformed_path` must not leave the proxy; one for `hostile_path` is well-formed and may.
#pragma once

#include <string>
#include <string_view>

#include "sim/simulation.h"

namespace plait::sim {

constexpr std::string_view malformed_path = "/malformed";
constexpr std::string_view hostile_path = "/hostile";

// A field of HPACK that leaves the header table as it is (RFC 7541 §6.2.2).
std::string hpackField(std::string_view name, std::string_view value);

struct Hostility {
  const char* name = "";
  std::string bytes;
  bool is_last = false;  // nothing more is said; the other side has to find out
};

// Where in a conversation of HTTP/2 something hostile is to be said.
struct H2Place {
  bool is_client = true;
  uint32_t open_id = 0;       // a stream whose owner still sends; of a server, one that has not been answered; 0: none
  uint32_t closed_id = 0;     // a stream that is over; 0: none
  uint32_t next_id = 1;       // the client's next stream
  uint32_t honest_bytes = 0;  // and how long its body is
  std::string honest_head;    // of a server: the open stream's status and fields without a length, as HPACK
  uint32_t new_streams = 0;   // set: how many ids of the client's were used up
};
Hostility hostileFrames(Simulation& sim, H2Place& place);

// A request of HTTP/1.1 that must be refused, or ought to be watched.
Hostility hostileRequest(Simulation& sim);
// A response that must not be believed; the client knows its own by the honest lines, where a part is sound.
Hostility hostileResponse(Simulation& sim, const std::string& honest_start, const std::string& honest_fields);

}  // namespace plait::sim
