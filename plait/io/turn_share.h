// How much of a turn one connection has had. A connection that has used up its share gives way to the others until the
// next turn, so that a peer that makes much work makes it wait for nobody but itself.
#pragma once

#include <utility>

#include "plait/io/io.h"

namespace plait {

class TurnShare {
 public:
  // To be called before work is done: a share is for one turn.
  void enter(const Io& io) {
    if (std::exchange(turn_, io.turnNumber()) != io.turnNumber()) work_ = 0;
  }
  void add(uint32_t work) { work_ += work; }
  // `limit` is LoopLimits::work_per_turn.
  bool isUsedUp(uint32_t limit) const { return work_ >= limit; }

 private:
  uint32_t turn_ = 0;
  uint32_t work_ = 0;
};

}  // namespace plait
