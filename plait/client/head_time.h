// HeadTime: the time that an endpoint takes to a response's head, as a moving average that forgets. Without new
// readings it returns to the siblings' average with a half-life of 10 s. So an endpoint that was slow is measured
// again, and a new one attracts nobody by having no history.
//
//   siblings 10 ms, one reading of 90 ms       20 ms (an eighth of the way)
//   10 s later, without another reading        15 ms
#pragma once

#include <cstdint>

#include "plait/base/time.h"

namespace plait {

// `value` after `elapsed_ns` of decay with that half-life; between two halvings it goes down in a straight line.
constexpr int64_t decayed(int64_t value, int64_t elapsed_ns, int64_t half_life_ns) {
  const int64_t halvings = elapsed_ns / half_life_ns;
  if (halvings >= 40) return 0;
  value /= int64_t{1} << halvings;
  const int64_t permille = elapsed_ns % half_life_ns * 1000 / half_life_ns;
  return value - value * permille / 2000;
}

class HeadTime {
 public:
  static constexpr int64_t half_life_ns = 10 * ns_per_s;

  void add(TimeNs now_ns, int64_t took_ns) {
    const int64_t before_ns = average(now_ns, siblings_ns_);
    // Only where nothing is known of the siblings either does the first reading count whole. A new process is slow
    // once, and would be left alone for long.
    const bool is_known = is_measured_ || siblings_ns_ != 0;
    away_ns_ = (is_known ? before_ns + (took_ns - before_ns) / 8 : took_ns) - siblings_ns_;
    noted_ns_ = now_ns;
    is_measured_ = true;
  }
  // The average at `now_ns`, while that of the siblings is `siblings_ns`.
  int64_t average(TimeNs now_ns, int64_t siblings_ns) {
    if (siblings_ns != siblings_ns_) {
      away_ns_ = is_measured_ ? away(now_ns) + siblings_ns_ - siblings_ns : 0;
      siblings_ns_ = siblings_ns;
      noted_ns_ = now_ns;
    }
    return siblings_ns_ + away(now_ns);
  }
  bool isMeasured() const { return is_measured_; }

 private:
  int64_t away(TimeNs now_ns) const { return decayed(away_ns_, now_ns - noted_ns_, half_life_ns); }

  int64_t siblings_ns_ = 0;
  int64_t away_ns_ = 0;  // distance from the siblings' average, when it was noted
  TimeNs noted_ns_ = 0;
  bool is_measured_ = false;
};

}  // namespace plait
