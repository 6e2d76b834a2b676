#include "plait/control/event_log.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <thread>

namespace plait {
namespace {

const Error refused = backendError(ErrorCode::connect_failed, "the connection was refused", ECONNREFUSED);

LogEvent stateEvent(uint32_t index, EndpointState state, const Error& cause = {}) {
  return {.kind = LogEvent::Kind::endpoint_state, .state = state, .endpoint = {index, 1, index}, .error = cause};
}
LogEvent downEvent(uint32_t index) {
  return stateEvent(index, EndpointState::down, refused);
}
LogEvent upEvent(uint32_t index) {
  return stateEvent(index, EndpointState::up);
}

std::string lineOf(EventLog& log, const LogEvent& event, size_t worker) {
  const LogLine line = log.lineOf(event, worker);
  return line.text.empty() ? "" : line.subject + ": " + line.text;
}

TEST(EventLog, SaysOnceThatABackendIsDownAndOnceThatItIsBack) {
  EventLog log({"h2c://a:1", "h2c://b:2"}, 2);
  const std::string down = lineOf(log, downEvent(0), 0);
  EXPECT_NE(down.find("h2c://a:1"), std::string::npos);
  EXPECT_NE(down.find("Connection refused"), std::string::npos);
  EXPECT_EQ(lineOf(log, downEvent(0), 1), "") << "the second worker brings no news";
  EXPECT_NE(lineOf(log, downEvent(1), 1).find("h2c://b:2"), std::string::npos);
  EXPECT_EQ(lineOf(log, stateEvent(0, EndpointState::trial), 0), "") << "a trial is no news";
  EXPECT_EQ(lineOf(log, downEvent(0), 0), "") << "nor that it failed";
  EXPECT_EQ(lineOf(log, upEvent(0), 0), "") << "one worker still cannot reach it";
  EXPECT_NE(lineOf(log, upEvent(0), 1).find("again"), std::string::npos);
}

TEST(EventLog, SaysWhatAnEjectedBackendDidAndWhenFewAreLeft) {
  EventLog log({"h2c://a:1"}, 2);
  const Error bad = backendError(ErrorCode::ejected, "it answers with 502, 503 or 504");
  EXPECT_EQ(lineOf(log, stateEvent(0, EndpointState::ejected, bad), 0),
            "backend h2c://a:1: left out for a while: it answers with 502, 503 or 504");
  EXPECT_EQ(lineOf(log, stateEvent(0, EndpointState::ejected, bad), 1), "");
  LogEvent panic{.kind = LogEvent::Kind::panic, .is_panic = true};
  EXPECT_NE(lineOf(log, panic, 0).find("fewer than half"), std::string::npos);
  EXPECT_EQ(lineOf(log, panic, 1), "");
  panic.is_panic = false;
  EXPECT_EQ(lineOf(log, panic, 0), "");
  EXPECT_NE(lineOf(log, panic, 1).find("not used any more"), std::string::npos);
  EXPECT_EQ(lineOf(log, upEvent(0), 0), "");
  EXPECT_EQ(lineOf(log, upEvent(0), 1), "backend h2c://a:1: used again");
}

TEST(EventLog, RingKeepsOrderAcrossThreadsAndDropsWhatDoesNotFit) {
  EventRing ring;
  LogEvent event;
  EXPECT_FALSE(ring.pop(event));
  for (uint32_t i = 0; i < 1000; ++i) ring.onEndpointState({i, 1}, EndpointState::down, refused);
  uint32_t count = 0;
  while (ring.pop(event)) EXPECT_EQ(event.endpoint.index, count++);
  EXPECT_EQ(count, 256u);
  std::thread worker([&] {
    for (uint32_t i = 0; i < 100; ++i) ring.onEndpointState({i, 1}, EndpointState::up, {});
  });
  for (uint32_t seen = 0; seen < 100;) {
    if (!ring.pop(event)) continue;
    EXPECT_EQ(event.endpoint.index, seen++);
    EXPECT_EQ(event.state, EndpointState::up);
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
  ring.onEndpointFault({0, 1, 0}, other, {}, ns_per_s);
  for (int i = 0; i < 10; ++i) ring.onClientFault(client, flood, ns_per_s + LogRate::interval_ms * ns_per_ms);
  std::vector<std::string> lines;
  for (LogEvent event; ring.pop(event);) lines.push_back(lineOf(log, event, 0));
  ASSERT_EQ(lines.size(), LogRate::burst + 3);
  EXPECT_EQ(lines.front(), "client 10.0.0.1: connection ended, reset_flood: too many resets");
  EXPECT_EQ(lines[LogRate::burst], "client 10.0.0.1: connection ended, frame_size_error: a wrong length");
  EXPECT_EQ(lines[LogRate::burst + 1], "backend h2c://a:1: connection ended, frame_size_error: a wrong length");
  EXPECT_NE(lines.back().find("(995 more like it since the last line)"), std::string::npos);
}

TEST(EventLog, ARequestThatFailedIsToldWithItsCauseAndItsId) {
  EventRing ring;
  EventLog log({"h2c://a:1"}, 1);
  const Error lost = connectionError(ErrorCode::connection_lost, "the backend closed the connection");
  ring.onRequestFailed({0, 1, 0}, 502, lost, 12 * ns_per_ms, "0123456789abcdef", ns_per_s);
  ring.onRequestFailed({0, 1, 0}, 0, lost, 7 * ns_per_ms, "", ns_per_s);
  ring.onRequestFailed({}, 503, backendError(ErrorCode::pool_exhausted, "no room"), 5 * ns_per_s, "", ns_per_s);
  std::vector<std::string> lines;
  for (LogEvent event; ring.pop(event);) lines.push_back(lineOf(log, event, 0));
  EXPECT_EQ(lines, (std::vector<std::string>{
                       "backend h2c://a:1: a request was answered with 502, connection_lost: the backend closed "
                       "the connection, after 12 ms (request 0123456789abcdef)",
                       "backend h2c://a:1: a request ended without a whole response, connection_lost: the backend "
                       "closed the connection, after 7 ms",
                       "backends: a request was answered with 503, pool_exhausted: no room, after 5000 ms"}));
}

TEST(EventLog, WhatABackendThatDoesNotSpeakHttp2HasAnsweredIsShown) {
  EventRing ring;
  EventLog log({"h2c://a:1"}, 1);
  const Error error = connectionError(ErrorCode::protocol_error, "the backend does not speak HTTP/2", 6);
  ring.onEndpointFault({0, 1, 0}, error, asBytes("SSH-2.0-\"a\"\r\n"), ns_per_s);
  ring.onEndpointFault({0, 1, 0}, error, asBytes(std::string(300, 'x')), ns_per_s);
  std::vector<std::string> lines;
  for (LogEvent event; ring.pop(event);) lines.push_back(lineOf(log, event, 0));
  ASSERT_EQ(lines.size(), 2u);
  const std::string begin =
      "backend h2c://a:1: connection ended, frame_size_error: the backend does not speak HTTP/2 (it answered ";
  EXPECT_EQ(lines[0], begin + "\"SSH-2.0-\\\"a\\\"\\x0d\\x0a\")");
  EXPECT_EQ(lines[1], begin + "\"" + std::string(60, 'x') + "...\")");
}

TEST(EventLog, AGoawayIsToldWithItsCodeAndWhatCanBeShownOfItsText) {
  EventRing ring;
  EventLog log({"h2c://a:1"}, 1);
  const std::string hostile = std::string("a \"b\"\\\n\x1b[31m\xff") + std::string(300, 'x');
  ring.onEndpointGoaway({0, 1, 0}, h2::H2Error::enhance_your_calm, asBytes("too_many_pings"), ns_per_s);
  ring.onEndpointGoaway({0, 1, 0}, h2::H2Error::internal_error, {}, ns_per_s);
  ring.onEndpointGoaway({0, 1, 0}, h2::H2Error::no_error, asBytes(hostile), ns_per_s);
  ring.onEndpointGoaway({0, 1, 0}, static_cast<h2::H2Error>(0xbad), {}, ns_per_s);
  std::vector<std::string> lines;
  for (LogEvent event; ring.pop(event);) lines.push_back(lineOf(log, event, 0));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0], "backend h2c://a:1: GOAWAY, ENHANCE_YOUR_CALM: \"too_many_pings\"");
  EXPECT_EQ(lines[1], "backend h2c://a:1: GOAWAY, INTERNAL_ERROR");
  EXPECT_EQ(lines[2], "backend h2c://a:1: GOAWAY, NO_ERROR: \"a \\\"b\\\"\\\\\\x0a\\x1b[31m\\xff" +
                          std::string(LogEvent::most_text - 13, 'x') + "...\"");
  EXPECT_EQ(lines[3], "backend h2c://a:1: GOAWAY, UNKNOWN_ERROR 0xbad");
}

}  // namespace
}  // namespace plait
