// The memory by which the windows of streams to backends may exceed what each stream has for itself: a pool of blocks
// that all of a worker's streams share. Memory that is granted is there: the sum over all streams is never more than
// the pool, counted in blocks with their headers.
//
// A stream may have an eighth of what the others have left. One alone gets an eighth of the pool, sixteen greedy ones a
// twenty-third each, and a newcomer always finds something.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "plait/base/assert.h"

namespace plait {

class WindowPool {
 public:
  // Of so many blocks with `payload` bytes in each. Every stream has `own` bytes of window that do not come from here.
  WindowPool(size_t blocks, size_t payload, uint32_t own) : blocks_(blocks), payload_(payload), own_(own) {}

  // The window of a stream that has `window` bytes and would have `wanted`, with `held` blocks of the pool, from now
  // on; `held` becomes what that takes. No less than `window`.
  uint32_t grow(uint32_t window, uint32_t wanted, uint32_t& held) {
    const size_t most = (blocks_ - (used_ - held)) / 8;
    if (blocksFor(wanted) > most) {
      wanted = static_cast<uint32_t>(std::min<size_t>(wanted, (most + own_ / payload_) * payload_));
    }
    if (wanted <= window) return window;
    const auto needed = static_cast<uint32_t>(blocksFor(wanted));
    used_ += needed - held;
    held = needed;
    PLAIT_ASSERT(used_ <= blocks_);
    return wanted;
  }
  // A stream that has `held` blocks needs only those of a window of `window` bytes any more.
  void shrink(uint32_t window, uint32_t& held) {
    const auto needed = std::min(held, static_cast<uint32_t>(blocksFor(window)));
    used_ -= held - needed;
    held = needed;
  }

  // The size that a window of `window` bytes may grow to where the backend is near: there larger windows of many
  // streams only cost, but one or two alone would stand still for each piece until the backend's process gets the
  // processor.
  uint32_t mostNearBy(uint32_t window) const {
    const bool are_few = used_ + blocksFor(near_window) <= blocksFor(2 * near_window);
    return are_few ? std::max(window, near_window) : window;
  }

  size_t capacity() const { return blocks_; }
  size_t used() const { return used_; }
  // Half of it is free: enough for windows that somebody may use.
  bool isAmple() const { return used_ * 2 <= blocks_; }
  // Three quarters are granted.
  bool isScarce() const { return used_ > blocks_ - blocks_ / 4; }
  // The blocks that a window of `window` bytes takes beyond a stream's own. Bytes may begin anywhere in a block, which
  // is why each stream has one block more than its own bytes fill; that is no part of this.
  size_t blocksFor(uint32_t window) const { return window <= own_ ? 0 : window / payload_ - own_ / payload_; }

 private:
  static constexpr uint32_t near_window = 128 << 10;

  const size_t blocks_;
  const size_t payload_;
  const uint32_t own_;
  size_t used_ = 0;
};

}  // namespace plait
