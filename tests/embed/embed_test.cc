// plait as an embedder sees it: pool and server on one runtime, through the public header alone.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "plait/plait.h"

namespace plait {
namespace {

struct Way {
  IoKind io;
  BackendProtocol protocol;
};

// Sends each request's body back, and says what length it had been announced with.
struct EchoHandler final : Handler {
  Task<void> handle(Exchange& exchange, Io&) override {
    announced = std::string(exchange.request().fields.value(http::FieldName::content_length));
    if (announced.empty() && exchange.request().content_length != http::unknown_length) {
      announced = std::to_string(exchange.request().content_length);
    }
    host = std::string(exchange.request().authority);
    if (http::Pipe* body = exchange.requestBody()) {
      alignas(8) uint8_t memory[64];
      http::ResponseHead head;
      head.status = 200;
      head.fields = http::FieldList(memory);
      exchange.sendHead(head, false);
      (void)co_await exchange.relay(*body);
    } else {
      exchange.respond(200, "text/plain", "no body");
    }
    exchange.end();
  }
  std::string announced;
  std::string host;
};

struct Asked {
  uint16_t status = 0;
  std::string text;
  const char* error = nullptr;
};

Task<void> ask(ConnectionPool& pool, std::string_view method, http::Pipe* body, Asked& asked, Io& io) {
  auto lease = co_await pool.getOrCreate(pool.endpoint(0), io);
  if (!lease) {
    asked.error = lease.error().reason;
    co_return;
  }
  auto response = co_await lease->request(method, "/echo", "embedder.test", body, io);
  pool.release(*lease, response || !response.error().reachesConnection(), io);
  if (!response) {
    asked.error = response.error().reason;
    co_return;
  }
  asked.status = response->status();
  while (true) {
    auto bytes = co_await response->read(io);
    if (!bytes) asked.error = bytes.error().reason;
    if (!bytes || bytes->empty()) co_return;
    asked.text += asText(*bytes);
  }
}

Task<void> end(ConnectionPool& pool, Server& server, Io& io) {
  co_await pool.close(io);
  co_await server.drain(io);
}

struct EmbedTest : testing::TestWithParam<Way> {
  EmbedTest() {
    RuntimeOptions options;
    options.io = GetParam().io;
    options.limits.exchanges = 64;
    options.limits.client_connections = 16;
    options.limits.receive_buffers = 64;
    auto made = Runtime::make(options);
    EXPECT_TRUE(made.has_value());
    runtime = std::move(*made);
    server = makeServer(*runtime, handler);
    sockaddr_storage address{};
    auto& v4 = reinterpret_cast<sockaddr_in&>(address);
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_TRUE(server->listen(address, nullptr));
    listening = v4;
    BackendOptions backend;
    backend.protocol = GetParam().protocol;
    backend.host = "127.0.0.1";
    backend.port = ntohs(v4.sin_port);
    pool = runtime->makePool({backend}, {}, {.h2_connections_per_backend = 1});
  }
  ~EmbedTest() override { runtime->run(end(*pool, *server, runtime->io())); }
  Asked request(std::string_view method, http::Pipe* body = nullptr) {
    Asked asked;
    runtime->run(ask(*pool, method, body, asked, runtime->io()));
    EXPECT_EQ(asked.error, nullptr) << asked.error;
    EXPECT_EQ(asked.status, 200);
    return asked;
  }
  sockaddr_in listening{};
  EchoHandler handler;
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<Server> server;
  std::unique_ptr<ConnectionPool> pool;
};
INSTANTIATE_TEST_SUITE_P(Ways, EmbedTest,
                         testing::Values(Way{IoKind::uring, BackendProtocol::h2c},
                                         Way{IoKind::epoll, BackendProtocol::h2c},
                                         Way{IoKind::epoll, BackendProtocol::h1},
                                         Way{IoKind::uring, BackendProtocol::probe}),
                         [](const testing::TestParamInfo<Way>& info) { return "Way" + std::to_string(info.index); });

TEST(Embed, LimitsThatDoNotGoTogetherAreAnErrorThatSaysWhy) {
  RuntimeOptions options;
  options.limits.send_blocks = 64;
  const auto made = Runtime::make(options);
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(std::string_view(made.error().reason), options.limits.mistake()->reason);
}

TEST_P(EmbedTest, ARequestIsOneLineAndItsAnswerIsReadWhole) {
  EXPECT_EQ(request("GET").text, "no body");
  EXPECT_EQ(handler.host, "embedder.test");
  EXPECT_EQ(request("GET").text, "no body");
  EXPECT_EQ(pool->counters().connects, 1u);
}

TEST_P(EmbedTest, ABodyThatIsCompleteIsAnnouncedWithItsLength) {
  http::Pipe body(runtime->streamBlocks(), runtime->headers());
  ASSERT_TRUE(body.push(asBytes("twelve bytes"), true));
  EXPECT_EQ(request("POST", &body).text, "twelve bytes");
  EXPECT_EQ(handler.announced, "12");
}

TEST_P(EmbedTest, ALargeBodyComesBackByteForByte) {
  std::string sent(1 << 20, 0);
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 31 >> 3);
  http::Pipe body(runtime->streamBlocks(), runtime->headers());
  ASSERT_TRUE(body.push(asBytes(sent), true));
  EXPECT_TRUE(request("POST", &body).text == sent);
  EXPECT_TRUE(body.isFinished());
}

TEST_P(EmbedTest, APortThatIsTakenIsAnErrorWithItsErrno) {
  sockaddr_storage taken = *parseLiteral("127.0.0.1", ntohs(listening.sin_port));
  const Status again = server->listen(taken, nullptr);
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, ErrorCode::listen_failed);
  EXPECT_EQ(again.error().detail, static_cast<uint32_t>(EADDRINUSE));
}

Task<void> waitForStop(Runtime& runtime, Io&) {
  co_await runtime.stopRequested();
}

TEST_P(EmbedTest, AStopThatIsRequestedBeforeAnybodyWaitsForItIsNotLost) {
  std::thread other([this] {
    runtime->requestStop();
    runtime->requestStop();
  });
  other.join();
  EXPECT_EQ(request("GET").text, "no body") << "the loop goes on until its program ends it";
  runtime->run(waitForStop(*runtime, runtime->io()));
  runtime->run(waitForStop(*runtime, runtime->io()));
}

struct Lines final : LogSink {
  void say(const LogLine& line) override { said.push_back(line.subject + ": " + line.text); }
  std::vector<std::string> said;
};

// Takes a lease, which is expected to fail, and closes the pool.
Task<void> askInVain(ConnectionPool& pool, Io& io) {
  const auto lease = co_await pool.getOrCreate(pool.endpoint(0), io);
  EXPECT_FALSE(lease.has_value());
  co_await pool.close(io);
}

Task<void> waitForLine(const Lines& lines, Io& io) {
  const TimeNs until_ns = io.nowNs() + 10 * ns_per_s;
  while (lines.said.empty() && io.nowNs() < until_ns) co_await sleepUntil(io.nowNs() + ns_per_ms, io);
}

int connectTo(const sockaddr_in& address) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

TEST_P(EmbedTest, WhatBackendsAndClientsDoIsToldToTheSinkAndNotToStandardError) {
  testing::internal::CaptureStderr();
  // A port that is bound, and at which nobody listens.
  sockaddr_in nobody{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  const int bound = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(bound, reinterpret_cast<sockaddr*>(&nobody), sizeof(nobody)), 0);
  socklen_t size = sizeof(nobody);
  ::getsockname(bound, reinterpret_cast<sockaddr*>(&nobody), &size);
  BackendOptions backend;
  backend.name = "api-1";
  backend.protocol = GetParam().protocol;
  backend.host = "127.0.0.1";
  backend.port = ntohs(nobody.sin_port);
  auto lone = runtime->makePool({backend});
  Lines lines;
  PoolLines pool_lines(lines, *lone);
  runtime->run(askInVain(*lone, runtime->io()));
  ASSERT_EQ(lines.said.size(), 1u);
  EXPECT_TRUE(lines.said[0].starts_with("backend api-1: cannot be used: ")) << lines.said[0];
  EXPECT_TRUE(lines.said[0].ends_with(" (Connection refused); it is tried again with growing pauses")) << lines.said[0];
  ::close(bound);
  lines.said.clear();
  ServerLines server_lines(lines, *server);
  const int client = connectTo(listening);
  constexpr std::string_view twice = "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
  ASSERT_EQ(::send(client, twice.data(), twice.size(), 0), static_cast<ssize_t>(twice.size()));
  runtime->run(waitForLine(lines, runtime->io()));
  ASSERT_EQ(lines.said.size(), 1u);
  EXPECT_TRUE(lines.said[0].starts_with("client 127.0.0.1: ")) << lines.said[0];
  EXPECT_NE(lines.said[0].find(" ended, malformed_message: "), std::string::npos) << lines.said[0];
  ::close(client);
  server->setObserver(nullptr);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace plait
