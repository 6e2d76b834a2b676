#include "plait/proxy/event_log.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <thread>

namespace plait {
namespace {

const Error refused = backendError(ErrorCode::connect_failed, "the connection was refused", ECONNREFUSED);

LogEvent downEvent(uint32_t backend_idx) {
  return {.kind = LogEvent::Kind::backend_down, .backend_idx = backend_idx, .error = refused};
}

TEST(EventLog, SaysOnceThatABackendIsDownAndOnceThatItIsBack) {
  EventLog log({"h2c://a:1", "h2c://b:2"}, 2);
  const std::string down = log.sentenceOf(downEvent(0), 0);
  EXPECT_NE(down.find("h2c://a:1"), std::string::npos);
  EXPECT_NE(down.find("Connection refused"), std::string::npos);
  EXPECT_EQ(log.sentenceOf(downEvent(0), 1), "") << "the second worker brings no news";
  EXPECT_NE(log.sentenceOf(downEvent(1), 1).find("h2c://b:2"), std::string::npos);
  EXPECT_EQ(log.sentenceOf(LogEvent(), 0), "") << "one worker still cannot reach it";
  EXPECT_NE(log.sentenceOf(LogEvent(), 1).find("again"), std::string::npos);
}

TEST(EventLog, RingKeepsOrderAcrossThreadsAndDropsWhatDoesNotFit) {
  EventRing ring;
  LogEvent event;
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
    EXPECT_EQ(event.kind, LogEvent::Kind::backend_up);
  }
  worker.join();
}

TEST(EventLog, AFloodOfFaultsBecomesAFewLinesThatTellHowManyThereWere) {
  EventRing ring;
  EventLog log({"h2c://a:1"}, 1);
  const Error flood = connectionError(ErrorCode::protocol_error, "too many resets", 11).as(Fault::reset_flood);
  const Error other = connectionError(ErrorCode::protocol_error, "a wrong length", 6);
  ClientInfo client;
  std::memcpy(client.address_text, "10.0.0.1", 8);
  client.address_size = 8;
  for (int i = 0; i < 1000; ++i) ring.onClientFault(client, flood, ns_per_s);
  ring.onClientFault(client, other, ns_per_s);
  ring.onBackendFault(0, other, ns_per_s);
  for (int i = 0; i < 10; ++i) ring.onClientFault(client, flood, ns_per_s + LogRate::interval_ms * ns_per_ms);
  std::vector<std::string> lines;
  for (LogEvent event; ring.pop(event);) lines.push_back(log.sentenceOf(event, 0));
  ASSERT_EQ(lines.size(), LogRate::burst + 3);
  EXPECT_EQ(lines.front(), "client 10.0.0.1: connection ended, reset_flood: too many resets");
  EXPECT_EQ(lines[LogRate::burst], "client 10.0.0.1: connection ended, frame_size_error: a wrong length");
  EXPECT_EQ(lines[LogRate::burst + 1], "backend h2c://a:1: connection ended, frame_size_error: a wrong length");
  EXPECT_NE(lines.back().find("(995 more like it since the last line)"), std::string::npos);
}

}  // namespace
}  // namespace plait
