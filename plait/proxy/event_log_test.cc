#include "plait/proxy/event_log.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <thread>

namespace plait {
namespace {

const Error refused = backendError(ErrorCode::connect_failed, "the connection was refused", ECONNREFUSED);

TEST(EventLog, SaysOnceThatABackendIsDownAndOnceThatItIsBack) {
  EventLog log({"h2c://a:1", "h2c://b:2"}, 2);
  const std::string down = log.sentenceOf({0, false, refused}, 0);
  EXPECT_NE(down.find("h2c://a:1"), std::string::npos);
  EXPECT_NE(down.find("Connection refused"), std::string::npos);
  EXPECT_EQ(log.sentenceOf({0, false, refused}, 1), "") << "the second worker brings no news";
  EXPECT_NE(log.sentenceOf({1, false, refused}, 1).find("h2c://b:2"), std::string::npos);
  EXPECT_EQ(log.sentenceOf({0, true, {}}, 0), "") << "one worker still cannot reach it";
  EXPECT_NE(log.sentenceOf({0, true, {}}, 1).find("again"), std::string::npos);
}

TEST(EventLog, RingKeepsOrderAcrossThreadsAndDropsWhatDoesNotFit) {
  EventRing ring;
  BackendEvent event;
  EXPECT_FALSE(ring.pop(event));
  for (uint32_t i = 0; i < 1000; ++i) ring.onBackendDown(i, refused);
  uint32_t count = 0;
  while (ring.pop(event)) EXPECT_EQ(event.backend_idx, count++);
  EXPECT_EQ(count, 256u);
  std::thread worker([&] {
    for (uint32_t i = 0; i < 100; ++i) ring.onBackendUp(i);
  });
  for (uint32_t seen = 0; seen < 100;) {
    if (!ring.pop(event)) continue;
    EXPECT_EQ(event.backend_idx, seen++);
    EXPECT_TRUE(event.is_up);
  }
  worker.join();
}

}  // namespace
}  // namespace plait
