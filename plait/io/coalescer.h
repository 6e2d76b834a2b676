// How long a turn may let its first completion wait for more.
//
// Going to sleep, waking up and one send for each connection are paid for once a turn, so a busy thread that gathers
// what comes within a moment pays for them less often. The price is delay; so it is the smaller the less this thread
// runs, and smaller than what requests take anyhow:
//
//   wait = share × max(share × the time to a response's head, of the quick responses; 200 µs), at most `most_ns`,
//
// where share is that of the time in which this thread runs.
//
// Nobody waits
//   - where nothing has been answered yet, or nobody says so: a loop that serves no requests,
//   - where that is less than 100 µs, so with quick backends not before the thread runs half of the time: the timer
//     costs more than so short a wait saves,
//   - while there is bulk, whose sender may wait for the window that reading opens,
//   - for some time after waits in which too little came: a few clients that each wait for their answer.
#pragma once

#include <algorithm>
#include <cstdint>

#include "plait/base/time.h"

namespace plait {

class Coalescer {
 public:
  // `most_ns`: 0 for never.
  explicit Coalescer(TimeNs most_ns) : most_ns_(most_ns) {}

  // The head of a response was sent, `took_ns` behind its request.
  void noteAnswered(TimeNs took_ns) {
    answered_ += 1;
    // A step down is three times a step up: this stays where three quarters take longer, however much longer.
    const TimeNs step_ns = quick_answer_ns_ / 64 + ns_per_us;
    quick_answer_ns_ =
        took_ns > quick_answer_ns_ ? quick_answer_ns_ + step_ns : std::max<TimeNs>(quick_answer_ns_ - 3 * step_ns, 0);
  }

  // A buffer of bulk was received.
  void noteBulk(TimeNs now_ns) { pauseUntil(now_ns + 4 * ns_per_ms); }

  // How long the turn that begins now may wait for more than its first completion; mostly 0, and always where the turn
  // has work that is ready.
  TimeNs beginTurn(TimeNs now_ns, bool has_work) {
    const TimeNs fitting_ns = std::max(quick_answer_ns_ * busy_ / busy_one, usual_ns) * busy_ / busy_one;
    const TimeNs wait_ns = std::min(fitting_ns, most_ns_);
    has_waited_ = wait_ns >= least_ns && !has_work && quick_answer_ns_ != 0 && now_ns >= paused_until_ns_;
    return has_waited_ ? wait_ns : 0;
  }

  // A turn is over. `cpu_ns()`, how long this thread has run so far, is asked now and then.
  template <typename ThreadCpu>
  void endTurn(TimeNs now_ns, ThreadCpu&& cpu_ns) {
    if (most_ns_ == 0) return;
    if (has_waited_) judgeWait(now_ns);
    answered_ = 0;
    if (now_ns - measured_ns_ < 5 * ns_per_ms) return;
    const TimeNs ran_ns = cpu_ns();
    const int64_t share =
        std::clamp<int64_t>(busy_one * (ran_ns - ran_before_ns_) / (now_ns - measured_ns_), 0, busy_one);
    // The share from before a long sleep tells nothing.
    busy_ = now_ns - measured_ns_ > 50 * ns_per_ms ? share : (busy_ + share) / 2;
    measured_ns_ = now_ns;
    ran_before_ns_ = ran_ns;
  }

 private:
  static constexpr TimeNs least_ns = 100 * ns_per_us;
  static constexpr TimeNs usual_ns = 200 * ns_per_us;
  static constexpr int64_t busy_one = 1024;
  // The responses that a wait has to bring on the average, and the average from which it starts.
  static constexpr uint32_t least_brought = 4;
  static constexpr uint32_t brought_at_first = 8;

  void pauseUntil(TimeNs until_ns) { paused_until_ns_ = std::max(paused_until_ns_, until_ns); }

  void judgeWait(TimeNs now_ns) {
    brought_x8_ = brought_x8_ - brought_x8_ / 8 + answered_;
    if (brought_x8_ >= 8 * least_brought) return;
    pauseUntil(now_ns + 50 * ns_per_ms);
    brought_x8_ = 8 * brought_at_first;
  }

  const TimeNs most_ns_;
  TimeNs quick_answer_ns_ = 0;
  TimeNs paused_until_ns_ = 0;
  TimeNs measured_ns_ = 0;
  TimeNs ran_before_ns_ = 0;
  int64_t busy_ = 0;       // share of the time in which the thread runs, in 1/1024
  uint32_t answered_ = 0;  // in this turn
  uint32_t brought_x8_ = 8 * brought_at_first;
  bool has_waited_ = false;  // this turn
};

}  // namespace plait
