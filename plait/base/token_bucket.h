// A budget that refills with time: `capacity` at once, and `earned` in each period on average. Spending is for the
// caller to decide by: a bucket never goes below zero.
//
//   TokenBucket resets(400, 30, now);               // 400 at once, then 30 a second
//   TokenBucket lines(5, 1, now, 2 * ns_per_s);     // 5 at once, then one in two seconds
//   if (!resets.take(now)) …               // the 401st within a second is refused
#pragma once

#include <algorithm>
#include <cstdint>

#include "plait/base/time.h"

namespace plait {

// The period is in the unit of the times that a bucket is given.
struct TokenRate {
  uint32_t capacity;
  uint32_t earned;
  int64_t period = ns_per_s;
};

// The state of one bucket. Its rate lies elsewhere: there are many buckets and few rates.
template <typename Time>
class Tokens {
 public:
  Tokens(const TokenRate& rate, Time now) : tokens_(rate.capacity), refilled_(now) {}

  void refill(const TokenRate& rate, Time now) {
    // A bucket that was full long ago would overflow the product: it is full after capacity / earned periods.
    const int64_t passed = int64_t{now} - int64_t{refilled_};
    if (rate.earned == 0 || passed <= 0) return;
    const int64_t whole = passed / rate.period;
    const auto period = static_cast<uint64_t>(rate.period);
    const uint64_t earned =
        whole > rate.capacity ? rate.capacity : static_cast<uint64_t>(passed) * rate.earned / period;
    if (earned == 0) return;
    tokens_ = static_cast<uint32_t>(std::min<uint64_t>(rate.capacity, tokens_ + earned));
    // The part of a token that has been earned already stays earned.
    refilled_ = tokens_ == rate.capacity
                    ? now
                    : static_cast<Time>(refilled_ + static_cast<Time>(earned * period / rate.earned));
  }
  // Takes `count`; false, and nothing is taken, where there are fewer.
  bool take(uint32_t count) {
    if (tokens_ < count) return false;
    tokens_ -= count;
    return true;
  }
  void give(const TokenRate& rate, uint32_t count) { tokens_ = std::min(tokens_ + count, rate.capacity); }
  // The tokens that were left at the last refill().
  uint32_t left() const { return tokens_; }
  // Since when time has earned nothing yet.
  Time refilled() const { return refilled_; }

 private:
  uint32_t tokens_;
  Time refilled_;
};

class TokenBucket {
 public:
  TokenBucket(uint32_t capacity, uint32_t earned, TimeNs now_ns, int64_t period_ns = ns_per_s)
      : rate_{capacity, earned, period_ns}, tokens_(rate_, now_ns) {}

  // Takes `count`; false, and nothing is taken, where there are fewer.
  bool take(TimeNs now_ns, uint32_t count = 1) {
    tokens_.refill(rate_, now_ns);
    return tokens_.take(count);
  }
  // Gives some back, or adds some otherwise than by time.
  void give(uint32_t count) { tokens_.give(rate_, count); }
  uint32_t left(TimeNs now_ns) {
    tokens_.refill(rate_, now_ns);
    return tokens_.left();
  }

 private:
  TokenRate rate_;
  Tokens<TimeNs> tokens_;
};

}  // namespace plait
