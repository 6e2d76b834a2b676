// When a receive window grows, and the round trip by which that is judged. No clock: moments come as arguments.
//
// A window of W bytes lets the peer send W in each round trip. Where a reader takes all of W in less than two round
// trips it is W that holds the peer up, or nearly so, and W doubles. It comes to rest between two and four times what
// is taken in a round trip; that of a slow reader stays as it is.
//
//   32 KiB over 20 ms, and a reader of 10 MB/s: 32 KiB are taken in 3 ms → 64 → 128 → 256 KiB, taken in 26 ms → 512
//   KiB, taken in 52 ms, and no more
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "plait/base/time.h"

namespace plait::h2 {

// Differences are good for an hour.
constexpr uint32_t microseconds(TimeNs at_ns) {
  return static_cast<uint32_t>(at_ns / ns_per_us);
}

class WindowGrowth {
 public:
  // How much of the window has been taken: a part, or the whole of it since it was last whole, slowly or fast.
  enum class Taken : uint8_t { part, slow, fast };

  // `count` bytes more of what came through a window of `window` bytes have been taken. `round_trip_ns` is 0 while
  // nobody knows it: then nothing is fast.
  Taken take(size_t count, uint32_t window, TimeNs now_ns, TimeNs round_trip_ns) {
    if (has_begun_ == 0) since_us_ = microseconds(now_ns);
    has_begun_ = 1;
    taken_ += static_cast<uint32_t>(count) & INT32_MAX;
    if (taken_ < window) return Taken::part;
    const bool is_fast = passedNs(now_ns) < 2 * round_trip_ns;
    taken_ = 0;
    since_us_ = microseconds(now_ns);
    return is_fast ? Taken::fast : Taken::slow;
  }
  // The window has not been taken in eight round trips: half of it would do.
  bool isSlow(TimeNs now_ns, TimeNs round_trip_ns) const { return passedNs(now_ns) > 8 * round_trip_ns; }

 private:
  // A reader that needs longer than microseconds() can tell is taken for a fast one once in a while.
  TimeNs passedNs(TimeNs now_ns) const { return TimeNs{microseconds(now_ns) - since_us_} * ns_per_us; }

  uint32_t taken_ : 31 = 0;  // since since_us_
  uint32_t has_begun_ : 1 = 0;
  uint32_t since_us_ = 0;
};

// The round trip to the peer of one connection, as PINGs measure it: the least of what the last ten to twenty seconds
// of use have shown. A PING waits behind what is being sent, so a single one may show more.
class RoundTrip {
 public:
  // The least time between two PINGs that measure.
  static constexpr TimeNs pause_ns = 100 * ns_per_ms;

  // DATA has come. Only then is there a reason to measure: servers of gRPC take PINGs without DATA for an attack.
  void noteData() { has_data_ = true; }
  // A PING may go: none is under way, DATA came since the last one, and that was a while ago.
  bool isDue(TimeNs now_ns) const {
    return has_data_ && !is_asked_ && (least_us_ == 0 || microseconds(now_ns) - asked_us_ >= pause_us);
  }
  // The PING leaves; returns what it has to carry, which no other PING of a connection does.
  uint64_t ask(TimeNs now_ns) {
    is_asked_ = true;
    has_data_ = false;
    asked_us_ = microseconds(now_ns);
    return mark | asked_us_;
  }
  // The answer to some PING has come. False where it is none of ask()'s.
  bool take(uint64_t opaque, TimeNs now_ns) {
    if ((opaque & mark) == 0) return false;
    if (!is_asked_ || opaque != (mark | asked_us_)) return true;
    is_asked_ = false;
    const auto period = static_cast<uint16_t>(now_ns / period_ns);
    if (period != period_) {
      earlier_us_ = static_cast<uint16_t>(period_ + 1) == period ? least_us_ : 0;
      least_us_ = 0;
      period_ = period;
    }
    const uint32_t sample_us = std::max<uint32_t>(microseconds(now_ns) - asked_us_, 1);
    least_us_ = least_us_ == 0 ? sample_us : std::min(least_us_, sample_us);
    return true;
  }
  // 0 until it has been measured.
  TimeNs ns() const {
    const uint32_t us = earlier_us_ == 0 ? least_us_ : std::min(least_us_, earlier_us_);
    return us * ns_per_us;
  }

 private:
  static constexpr uint64_t mark = uint64_t{1} << 63;
  static constexpr uint32_t pause_us = pause_ns / ns_per_us;
  static constexpr TimeNs period_ns = 10 * ns_per_s;

  uint32_t asked_us_ = 0;
  uint32_t least_us_ = 0;    // of this period; 0: none
  uint32_t earlier_us_ = 0;  // of the one before
  uint16_t period_ = 0;
  bool is_asked_ = false;
  bool has_data_ = false;
};

}  // namespace plait::h2
