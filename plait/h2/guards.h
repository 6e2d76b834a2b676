// Limits on frames of a peer that cost work and bring nothing (RFC 9113 §10.5): two budgets of one connection. The
// session says what they are spent on; SessionConfig has their sizes.
#pragma once

#include "plait/base/token_bucket.h"
#include "plait/h2/session_scratch.h"

namespace plait::h2 {

class Guards {
 public:
  // How many frames that carry nothing go with one that carries something.
  static constexpr uint32_t frames_for_headers = 8;
  static constexpr uint32_t frames_for_data = 4;

  explicit Guards(const SessionConfig& config) : resets_(resetRate(config), 0), frames_(frameRate(config), 0) {}

  void refill(const SessionConfig& config, uint32_t now_s) {
    if (frames_.refilled() == now_s) return;
    resets_.refill(resetRate(config), now_s);
    frames_.refill(frameRate(config), now_s);
  }

  // Streams that end by a reset of either side.
  bool takeReset() { return resets_.take(1); }
  void takeResets(uint32_t count) { (void)resets_.take(std::min(count, resets_.left())); }
  // A stream has ended well.
  void giveReset(const SessionConfig& config) { resets_.give(resetRate(config), 1); }
  uint32_t resetsLeft() const { return resets_.left(); }

  // Frames that carry nothing. Where there are too few tokens none is left afterwards.
  bool takeFrames(uint32_t price) {
    if (frames_.take(price)) return true;
    (void)frames_.take(frames_.left());
    return false;
  }
  void giveFrames(const SessionConfig& config, uint32_t count) { frames_.give(frameRate(config), count); }
  uint32_t framesLeft() const { return frames_.left(); }

 private:
  static TokenRate resetRate(const SessionConfig& config) { return {config.reset_burst, config.resets_per_second, 1}; }
  static TokenRate frameRate(const SessionConfig& config) {
    return {config.idle_frame_burst, config.idle_frames_per_second, 1};
  }

  // Times are whole seconds.
  Tokens<uint32_t> resets_;
  Tokens<uint32_t> frames_;
};

}  // namespace plait::h2
