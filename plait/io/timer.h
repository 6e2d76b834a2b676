// A coarse hashed wheel: 1,024 buckets of 8 ms. Arming and cancelling are a list operation; a timer fires up to one
// tick late, never early. Owners whose deadline moves with every byte do not re-arm: they let the timer fire, look at
// the time of the last activity, and arm again for the rest. So there is one node per connection, not one per request.
#pragma once

#include "plait/base/list.h"
#include "plait/base/time.h"

namespace plait {

class Timer {
 public:
  using Fire = void (*)(void* owner);
  Timer(void* owner, Fire fire) : owner_(owner), fire_(fire) {}
  ~Timer() { node_.unlink(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  bool isArmed() const { return node_.isLinked(); }
  TimeNs due() const { return due_; }
  void cancel() { node_.unlink(); }

 private:
  friend class TimerWheel;
  ListNode node_;
  TimeNs due_ = never_ns;
  void* owner_;
  Fire fire_;
};

class TimerWheel {
 public:
  static constexpr int64_t tick_ns = 8 * ns_per_ms;
  static constexpr size_t bucket_count = 1024;

  explicit TimerWheel(TimeNs now) : tick_(now / tick_ns) {}

  // (Re-)arms `timer`. never_ns disarms it.
  void arm(Timer& timer, TimeNs due) {
    timer.node_.unlink();
    timer.due_ = due;
    if (due == never_ns) return;
    int64_t tick = (due + tick_ns - 1) / tick_ns;
    if (tick <= tick_) tick = tick_ + 1;
    const size_t index = static_cast<size_t>(tick) % bucket_count;
    buckets_[index].pushBack(timer);
    occupied_[index / 64] |= uint64_t{1} << (index % 64);
    // The bucket is passed before a timer that is due after a whole round.
    const int64_t passes = tick_ + 1 + (tick - tick_ - 1) % static_cast<int64_t>(bucket_count);
    if (passes < look_tick_) look_tick_ = passes;
  }

  // Fires what is due at `now`.
  void advance(TimeNs now) {
    const int64_t target = now / tick_ns;
    if (target <= tick_) return;
    look_tick_ = unknown_tick;
    // A long pause needs one look at each bucket, not one per missed tick.
    if (target - tick_ > static_cast<int64_t>(bucket_count)) tick_ = target - static_cast<int64_t>(bucket_count);
    while (tick_ < target) {
      tick_ += 1;
      const size_t index = static_cast<size_t>(tick_) % bucket_count;
      if ((occupied_[index / 64] >> (index % 64) & 1) == 0) continue;
      Bucket due;
      due.spliceBack(buckets_[index]);
      occupied_[index / 64] &= ~(uint64_t{1} << (index % 64));
      while (Timer* timer = due.popFront()) {
        if (timer->due_ > now) {
          arm(*timer, timer->due_);
        } else {
          timer->fire_(timer->owner_);
        }
      }
    }
  }

  // When advance() has something to look at next; never_ns when no timer is armed.
  TimeNs nextLook() {
    if (look_tick_ == unknown_tick) look_tick_ = searchLook();
    return look_tick_ == no_tick ? never_ns : look_tick_ * tick_ns;
  }

 private:
  static constexpr int64_t unknown_tick = INT64_MIN;
  static constexpr int64_t no_tick = INT64_MAX;
  int64_t searchLook() const {
    for (size_t step = 1; step <= bucket_count;) {
      const size_t index = static_cast<size_t>(tick_ + static_cast<int64_t>(step)) % bucket_count;
      const uint64_t word = occupied_[index / 64] >> (index % 64);
      if (word != 0) return tick_ + static_cast<int64_t>(step) + __builtin_ctzll(word);
      step += 64 - index % 64;
    }
    return no_tick;
  }

  using Bucket = List<Timer, &Timer::node_>;
  int64_t tick_;
  int64_t look_tick_ = unknown_tick;  // when the next bucket in use is passed, as long as tick_ stays the same
  Bucket buckets_[bucket_count];
  uint64_t occupied_[bucket_count / 64] = {};
};

}  // namespace plait
