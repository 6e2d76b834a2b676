#include "plait/base/log.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

TEST(Log, ALineHasATimeALevelAndASubject) {
  // 2026-03-04 05:06:07.089 UTC
  constexpr int64_t unix_ns = 1'772'600'767'089'000'000;
  EXPECT_EQ(formatLine({LogLevel::warning, "backend h2c://a:1", "cannot be used"}, unix_ns),
            "2026-03-04T05:06:07.089Z warning backend h2c://a:1: cannot be used\n");
  EXPECT_EQ(formatLine({LogLevel::info, "plait", "ready"}, unix_ns), "2026-03-04T05:06:07.089Z info plait: ready\n");
  EXPECT_EQ(formatLine({LogLevel::error, "access log a", "x"}, unix_ns),
            "2026-03-04T05:06:07.089Z error access log a: x\n");
}

}  // namespace
}  // namespace plait
