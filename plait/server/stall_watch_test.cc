#include "plait/server/stall_watch.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

constexpr TimeNs stall_ns = 4 * ns_per_s;

StallWatch at(TimeNs now_ns) {
  return StallWatch({.stall_ns = stall_ns,
                     .upload_bytes_per_second = 240,
                     .download_bytes_per_second = 100,
                     .has_ample_exchanges = true},
                    now_ns);
}

TEST(StallWatch, AWindowThatStaysClosedIsAStallWhenTheTimeIsOver) {
  Progress progress;
  TimeNs since_ns = ns_per_s;
  EXPECT_FALSE(at(2 * ns_per_s).isWindowStalled(false, true, 0, progress, since_ns));
  EXPECT_TRUE(at(5 * ns_per_s).isWindowStalled(false, true, 0, progress, since_ns));
}

TEST(StallWatch, AWindowThatOpensByATrickleIsAStall) {
  for (const bool is_trickle : {true, false}) {
    Progress progress;
    TimeNs since_ns = ns_per_s;
    (void)at(ns_per_s).isWindowStalled(false, true, 0, progress, since_ns);
    since_ns = 5 * ns_per_s;  // something went through just now
    EXPECT_EQ(at(5 * ns_per_s).isWindowStalled(false, true, is_trickle ? 399 : 400, progress, since_ns), is_trickle);
  }
}

TEST(StallWatch, AStreamWhoseTurnHasNotComeIsNotStalled) {
  Progress progress;
  TimeNs since_ns = ns_per_s;
  EXPECT_FALSE(at(9 * ns_per_s).isWindowStalled(true, true, 0, progress, since_ns));
  EXPECT_EQ(since_ns, 9 * ns_per_s) << "and its time begins anew";
  // Where the connection's window is closed its client is at fault all the same.
  EXPECT_FALSE(at(10 * ns_per_s).isWindowStalled(true, false, 0, progress, since_ns));
  EXPECT_TRUE(at(13 * ns_per_s).isWindowStalled(true, false, 0, progress, since_ns));
}

}  // namespace
}  // namespace plait
