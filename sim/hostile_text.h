// Pieces of hostile messages.
#pragma once

#include <string>
#include <string_view>

#include "sim/simulation.h"

namespace plait::sim {

inline std::string times(uint32_t count, std::string_view piece) {
  std::string made;
  for (uint32_t i = 0; i < count; ++i) made += piece;
  return made;
}

// So many random bytes at least, and up to 200.
inline std::string noise(Simulation& sim, uint32_t least) {
  std::string made;
  for (uint32_t i = sim.between(least, 200); i != 0; --i) made += static_cast<char>(sim.draw());
  return made;
}

}  // namespace plait::sim
