// One direction's flow-control window (RFC 9113 §5.2, §6.9). It can be negative: a peer that lowers
// SETTINGS_INITIAL_WINDOW_SIZE takes back what was already promised (§6.9.2).
//
//   initial 65,535 → 60,000 bytes sent → 5,535 left → the peer sets the initial window to 16,384 (−49,151) → −43,616
//   → nothing may be sent until WINDOW_UPDATEs have brought it above zero again
#pragma once

#include <cstdint>

namespace plait::h2 {

class FlowWindow {
 public:
  static constexpr int64_t max_size = 0x7fffffff;

  explicit FlowWindow(int64_t size = 65'535) : size_(static_cast<int32_t>(size)) {}

  int64_t size() const { return size_; }
  // The bytes that may be sent or received now.
  uint32_t available() const { return size_ > 0 ? static_cast<uint32_t>(size_) : 0; }
  void consume(uint32_t count) { size_ -= static_cast<int32_t>(count); }
  // False, and unchanged, when the window would exceed 2^31-1: a flow-control error of the peer.
  [[nodiscard]] bool grow(int64_t delta) {
    if (size_ + delta > max_size) return false;
    size_ = static_cast<int32_t>(size_ + delta);
    return true;
  }

 private:
  // Never below -(2^31-1): no more than 2^31-1 was ever promised, and it is taken back once.
  int32_t size_;
};

}  // namespace plait::h2
