#include "plait/control/access_log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace plait {
namespace {

const std::vector<std::string> backends = {"h2c://one:9001", "https://two"};
// 2026-03-04 05:06:07.089 UTC
constexpr int64_t wall_ns = 1'772'600'767'089'000'000;

AccessRecord sample() {
  AccessRecord record;
  record.started_ns = 1'000;
  record.ended_ns = 1'000 + 12'345'678;
  record.bytes = 2326;
  record.endpoint = {.index = 1, .generation = 1, .number = 1};
  record.status = 200;
  record.retries = 2;
  record.retry_class = RetryClass::unprocessed;
  record.is_complete = true;
  record.client = "192.0.2.7";
  record.method = "GET";
  record.authority = "example.test";
  record.path = "/a?b=c";
  record.referer = "http://r/";
  record.user_agent = "curl/8";
  record.grpc_status = 14;
  record.cause = connectionError(ErrorCode::connection_lost, "it closed");
  record.cause_after_ns = 7'654'321;
  record.real_client = "10.1.1.1";
  record.request_id = "0123abcd";
  return record;
}

std::string combined(const AccessRecord& record) {
  std::string out;
  formatCombined(record, wall_ns - 1'000, backends, out);
  return out;
}
std::string json(const AccessRecord& record) {
  std::string out;
  formatJson(record, wall_ns - 1'000, backends, out);
  return out;
}

TEST(AccessLog, TheCombinedFormatIsTheWellKnownOneWithDurationUpstreamAndRetriesBehind) {
  EXPECT_EQ(
      combined(sample()),
      "192.0.2.7 - - [04/Mar/2026:05:06:07 +0000] \"GET /a?b=c HTTP/2.0\" 200 2326 \"http://r/\" \"curl/8\" 0.012346 "
      "\"https://two\" 2 unprocessed UNAVAILABLE \"connection_lost: it closed, after 7 ms\" \"10.1.1.1\" 0123abcd\n");
  AccessRecord nothing;
  nothing.started_ns = nothing.ended_ns = 1'000;
  nothing.version = http::Version::http_1_0;
  EXPECT_EQ(
      combined(nothing),
      "- - - [04/Mar/2026:05:06:07 +0000] \"- - HTTP/1.0\" 000 0 \"-\" \"-\" 0.000000 \"-\" 0 - - \"-\" \"-\" -\n");
}

TEST(AccessLog, TheJsonFormatSaysTheSame) {
  EXPECT_EQ(json(sample()),
            "{\"time\":\"2026-03-04T05:06:07.089Z\",\"ended\":\"2026-03-04T05:06:07.101Z\",\"client\":\"192.0.2.7\","
            "\"real_client\":\"10.1.1.1\",\"request_id\":\"0123abcd\",\"method\":\"GET\",\"authority\":"
            "\"example.test\",\"path\":\"/a?b=c\",\"protocol\":\"HTTP/2.0\",\"status\":200,\"bytes\":2326,"
            "\"duration_ms\":12.346,\"complete\":true,\"upstream\":\"https://two\",\"retries\":2,"
            "\"retry_class\":\"unprocessed\",\"cause\":\"connection_lost\",\"reason\":\"it closed\","
            "\"cause_after_ms\":7.654,\"grpc_status\":\"UNAVAILABLE\",\"referer\":\"http://r/\",\"user_agent\":\"curl/"
            "8\"}\n");
}

TEST(AccessLog, NoClientCanForgeALine) {
  AccessRecord record = sample();
  record.user_agent = "x\"\n127.0.0.1 - - \\ \x1b[31m \x7f \xc3\xa4\r";
  record.path = "/\"\n";
  const std::string line = combined(record);
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  EXPECT_NE(line.find("\"GET /\\x22\\x0a HTTP/2.0\""), line.npos) << line;
  EXPECT_NE(line.find("\"x\\x22\\x0a127.0.0.1 - - \\x5c \\x1b[31m \\x7f \\xc3\\xa4\\x0d\""), line.npos) << line;
  const std::string object = json(record);
  EXPECT_EQ(std::count(object.begin(), object.end(), '\n'), 1);
  EXPECT_NE(object.find("\"x\\\"\\u000a127.0.0.1 - - \\\\ \\u001b[31m \\u007f \\u00c3\\u00a4\\u000d\""), object.npos)
      << object;
}

TEST(AccessRing, GivesBackWhatWasPushedInOrder) {
  AccessRing ring(64 << 10);
  AccessRecord record;
  EXPECT_FALSE(ring.front(record));
  AccessRecord pushed = sample();
  ASSERT_TRUE(ring.push(pushed));
  pushed.path = "";
  pushed.status = 404;
  ASSERT_TRUE(ring.push(pushed));
  ASSERT_TRUE(ring.front(record));
  EXPECT_EQ(combined(record), combined(sample()));
  EXPECT_EQ(record.authority, "example.test");
  ring.popped();
  ASSERT_TRUE(ring.front(record));
  EXPECT_EQ(record.status, 404);
  EXPECT_EQ(record.path, "");
  ring.popped();
  EXPECT_FALSE(ring.front(record));
}

TEST(AccessRing, AFullOneDropsTheLineAndCountsIt) {
  AccessRing ring(64 << 10);
  AccessRecord record = sample();
  const std::string path(1000, 'p');
  record.path = path;
  uint64_t pushed = 0;
  while (ring.push(record)) pushed += 1;
  EXPECT_GT(pushed, 40u);
  EXPECT_EQ(ring.lines(), pushed);
  EXPECT_EQ(ring.dropped(), 1u);
  AccessRecord out;
  ASSERT_TRUE(ring.front(out));
  ring.popped();
  ASSERT_TRUE(ring.front(out));
  ring.popped();
  EXPECT_TRUE(ring.push(record)) << "there is room again, past the ring's end";
  uint64_t popped = 2;
  for (; ring.front(out); ring.popped(), ++popped) EXPECT_EQ(out.path, path);
  EXPECT_EQ(popped, pushed + 1);
}

TEST(AccessRing, CutsTextsThatWouldFillIt) {
  AccessRing ring(64 << 10);
  const std::string endless(60'000, 'x');
  AccessRecord record = sample();
  record.path = record.user_agent = endless;
  ASSERT_TRUE(ring.push(record));
  ASSERT_TRUE(ring.front(record));
  EXPECT_EQ(record.path, endless.substr(0, AccessRing::max_text));
  EXPECT_EQ(record.user_agent.size(), AccessRing::max_text);
}

TEST(AccessRing, TwoThreadsNeedNoLock) {
  AccessRing ring(64 << 10);
  constexpr uint64_t count = 100'000;
  std::thread worker([&] {
    AccessRecord record = sample();
    const std::string text(700, 'a');
    for (uint64_t i = 0; i < count; ++i) {
      record.bytes = i;
      record.path = std::string_view(text).substr(0, i % 700);
      while (!ring.push(record)) std::this_thread::yield();
    }
  });
  AccessRecord record;
  for (uint64_t i = 0; i < count;) {
    if (!ring.front(record)) {
      std::this_thread::yield();
      continue;
    }
    EXPECT_EQ(record.bytes, i);
    EXPECT_EQ(record.path.size(), i % 700);
    EXPECT_EQ(record.user_agent, "curl/8");
    ring.popped();
    ++i;
  }
  worker.join();
  EXPECT_EQ(ring.lines(), count);
}

TEST(AccessLog, IsOpenedAnewAfterItWasMovedAway) {
  std::string pattern = (std::filesystem::temp_directory_path() / "plait-log-XXXXXX").string();
  const std::filesystem::path directory = ::mkdtemp(pattern.data());
  const auto contentOf = [&](const char* name) {
    std::stringstream text;
    text << std::ifstream(directory / name).rdbuf();
    return text.str();
  };
  AccessRing ring(64 << 10);
  AccessLog log(directory / "access.log", LogFormat::combined);
  log.setBackends(backends);
  ASSERT_EQ(log.open(), "");
  AccessRecord record = sample();
  ring.push(record);
  ring.push(record);
  log.drain(ring, wall_ns - 1'000);
  EXPECT_EQ(contentOf("access.log"), combined(record) + combined(record));
  std::filesystem::rename(directory / "access.log", directory / "old.log");
  ASSERT_EQ(log.open(), "");
  record.status = 500;
  ring.push(record);
  log.drain(ring, wall_ns - 1'000);
  EXPECT_EQ(contentOf("access.log"), combined(record));
  EXPECT_EQ(log.failedLines(), 0u);
  std::filesystem::remove_all(directory);
  EXPECT_NE(log.open().find("cannot open the access log"), std::string::npos);
}

TEST(AccessLog, CountsWhatCannotBeWritten) {
  AccessLog log("/dev/full", LogFormat::json);
  ASSERT_EQ(log.open(), "");
  AccessRing ring(64 << 10);
  ring.push(sample());
  ring.push(sample());
  log.drain(ring, wall_ns);
  EXPECT_EQ(log.failedLines(), 2u);
}

}  // namespace
}  // namespace plait
