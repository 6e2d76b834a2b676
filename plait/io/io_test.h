// An Io of each kind over loopback sockets. For tests only.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>
#include <vector>

#include "plait/io/mailbox.h"
#include "plait/io/op_awaiter.h"
#include "plait/io/scope.h"
#include "plait/io/sync.h"

namespace plait::io_test {

struct IoTest : testing::TestWithParam<IoKind> {
  explicit IoTest(uint32_t buffer_count = 8, uint32_t buffer_size = 4096, uint32_t kept = 0)
      : buffers(buffer_count, buffer_size, kept),
        backend(std::move(*makeBackend(GetParam(), buffers, mailbox, nullptr))),
        io(*backend, buffers, {.frames = FrameCounts::evenly(256)}) {}
  ~IoTest() override {
    EXPECT_EQ(io.frames().used(), 0u);
    EXPECT_EQ(buffers.lent(), 0u);
  }

  bool turnUntil(const std::function<bool()>& done, int64_t bound_ms = 10'000) {
    const TimeNs end_ns = backend->now() + bound_ms * ns_per_ms;
    while (!done()) {
      if (backend->now() >= end_ns) return false;
      io.turn(io.nowNs() + 5 * ns_per_ms);
    }
    return true;
  }
  void turnFor(int64_t ms) {
    (void)turnUntil([] { return false; }, ms);
  }
  // Runs until every task of the scope has ended.
  void finish(Scope& scope) {
    EXPECT_TRUE(turnUntil([&] { return scope.running() == 0; }));
  }

  int listenOn(sockaddr_storage& address) {
    address = {};
    reinterpret_cast<sockaddr_in&>(address) = {
        .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    Op op;
    op.kind = OpKind::listen;
    op.address = &address;
    io.submit(op);
    return op.result;
  }
  int synchronous(OpKind kind, int fd, bool reset = false) {
    Op op;
    op.kind = kind;
    op.fd = fd;
    op.reset_on_close = reset;
    io.submit(op);
    return op.result;
  }

  BufferPool buffers;
  Mailbox mailbox;
  std::unique_ptr<IoBackend> backend;
  Io io;
};

// An op with everything that it has reported. Received bytes are copied and their buffers given back, unless kept.
struct Recorder {
  Recorder(Io& used, OpKind kind, int fd) : io(used) {
    op.kind = kind;
    op.fd = fd;
    op.owner = this;
    op.on_complete = [](void* self, const Completion& completion) { static_cast<Recorder*>(self)->note(completion); };
  }
  void submit() { io.submit(op); }
  void note(const Completion& completion) {
    results.push_back(completion.result);
    if (completion.buffer_id >= 0) {
      const auto id = static_cast<uint32_t>(completion.buffer_id);
      text.append(reinterpret_cast<const char*>(io.buffers().data(id)), static_cast<size_t>(completion.result));
      if (keeps) {
        kept.push_back(id);
      } else {
        io.buffers().giveBack(id);
      }
    }
    if (!completion.more) ended = true;
  }
  // A recv may end because no buffer was left, with or without bytes in its last completion: submitted again it goes
  // on.
  bool wantsBuffers() const { return ended && (last() > 0 || last() == -ENOBUFS); }
  void resume() {
    ended = false;
    submit();
  }
  int32_t last() const { return results.empty() ? 1 << 30 : results.back(); }
  void giveBack() {
    for (uint32_t id : kept) io.buffers().giveBack(id);
    kept.clear();
  }
  Io& io;
  Op op;
  std::vector<int32_t> results;
  std::string text;
  std::vector<uint32_t> kept;
  bool keeps = false;
  bool ended = false;
};

inline std::string backendName(const testing::TestParamInfo<IoKind>& info) {
  return info.param == IoKind::uring ? "uring" : "epoll";
}

}  // namespace plait::io_test
