// How the file descriptors that the process may have are shared. A client that is accepted needs one at a backend
// sooner or later, so those for backends are set aside before clients get theirs.
#pragma once

#include <cstdint>
#include <string>

#include "plait/limits.h"

namespace plait {

struct DescriptorUse {
  uint64_t allowed = 0;  // RLIMIT_NOFILE as it is now
  uint64_t open = 0;     // what the process has already
  uint32_t workers = 1;
  uint32_t listeners = 0;  // of each worker
  bool has_backends = false;
  bool has_admin = false;
  bool has_access_log = false;
  bool is_wish = false;  // somebody has asked for these numbers of connections; else they are the defaults
};

struct DescriptorsShared {
  std::string text;  // to tell the operator; empty where nothing had to be lowered
  // Less than was asked for, or than a worker needs on a busy day. Else it is no more than worth knowing.
  bool is_warning = false;
};

// Lowers the numbers of connections of `limits`, one worker's, to what there are descriptors for. Of those at least a
// quarter goes to connections to backends, unless that is more than were asked for. No client waits with a descriptor
// then (PlaceShares).
DescriptorsShared shareDescriptors(const DescriptorUse& use, Limits& limits);

// How many the process has open; 0 where that cannot be found out.
uint64_t openDescriptors();

}  // namespace plait
