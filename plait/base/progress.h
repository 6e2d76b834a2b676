// Whether a peer moves bytes fast enough while it is waited for. One that moves something now and then is no stall, and
// yet it holds what it holds for as long as it likes: so over each whole span of `span_ns` it must keep up a floor.
#pragma once

#include <algorithm>
#include <cstdint>

#include "plait/base/time.h"

namespace plait {

class Progress {
 public:
  // Nothing is waited for: what comes next is measured anew.
  void rest() { since_ns_ = 0; }

  // To be asked every now and then while the peer is waited for; `total` is what it has moved so far. True when a span
  // is over and less than `bytes_per_second` went through in it; 0 asks for nothing.
  bool isTooSlow(TimeNs now_ns, uint64_t total, int64_t span_ns, uint32_t bytes_per_second) {
    if (since_ns_ == 0) {
      since_ns_ = std::max<TimeNs>(now_ns, 1);
      total_ = total;
      return false;
    }
    const int64_t passed_ns = now_ns - since_ns_;
    if (passed_ns < span_ns) return false;
    const uint64_t moved = total - total_;
    since_ns_ = now_ns;
    total_ = total;
    return static_cast<double>(moved) < static_cast<double>(passed_ns) / ns_per_s * bytes_per_second;
  }

 private:
  TimeNs since_ns_ = 0;
  uint64_t total_ = 0;
};

}  // namespace plait
