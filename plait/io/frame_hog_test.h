// Holds all coroutine frames of an Io, so that others find none. For tests only.
#pragma once

#include <algorithm>
#include <vector>

#include "plait/io/io.h"

namespace plait::io_test {

class FrameHog {
 public:
  // All but `left`, which are large enough for any coroutine.
  FrameHog(Io& io, size_t left) {
    const auto& sizes = FrameSlab::class_sizes;
    for (size_t i = sizes.size(); i-- > 0;) {
      const size_t largest = sizes[i] - FrameSlab::header_size;
      while (void* frame = io.frames().take(largest)) held_.push_back(frame);
    }
    left = std::min(left, held_.size());
    for (size_t i = 0; i < left; ++i) FrameSlab::give(held_[i]);
    held_.erase(held_.begin(), held_.begin() + static_cast<ptrdiff_t>(left));
  }
  FrameHog(const FrameHog&) = delete;
  FrameHog& operator=(const FrameHog&) = delete;
  ~FrameHog() {
    for (void* frame : held_) FrameSlab::give(frame);
  }

 private:
  std::vector<void*> held_;
};

}  // namespace plait::io_test
