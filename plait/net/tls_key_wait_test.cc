// A socket whose handshake waits for the key of its site, which another thread loads.
#include <semaphore>
#include <thread>

#include "plait/net/sock_test.h"

namespace plait {
namespace {

using namespace sock_test;

// A clerk: a thread that loads what it is asked for, from the time on when it may.
struct Clerk final : net::KeyLoader {
  explicit Clerk(net::CertificateStore& served) : store(served), thread([this] { run(); }) { store.setLoader(this); }
  ~Clerk() { (void)stop(); }
  // Ends the thread. Returns the last failure.
  std::string stop() {
    if (!thread.joinable()) return wrong;
    is_ending = true;
    asked.release();
    thread.join();
    return wrong;
  }
  void request(net::CertificateStore&) override {
    requests += 1;
    asked.release();
  }
  void run() {
    while (true) {
      asked.acquire();
      if (is_ending) return;
      if (is_slow) may_load.acquire();
      while (const auto outcome = store.loadNext()) wrong = outcome->wrong;
    }
  }
  net::CertificateStore& store;
  std::counting_semaphore<1000> asked{0};
  std::binary_semaphore may_load{0};
  std::atomic<bool> is_ending{false};
  std::atomic<bool> is_slow{false};
  std::atomic<int> requests{0};
  std::string wrong;
  std::thread thread;
};

struct TlsKeyWaitTest : SockTest {
  void connect() {
    certs().issue("second", "DNS:second.test");
    auto made = TlsContext::makeSites({.sites = {{certs().path("server.pem"), certs().path("server.key")},
                                                 {certs().path("second.pem"), certs().path("second.key")}}});
    ASSERT_TRUE(made);
    server_tls = std::move(*made);
    client_tls = std::move(*TlsContext::makeClient({.ca_file = certs().path("ca.pem")}));
    Recorder accept(io, OpKind::accept, listener);
    accept.submit();
    scope.spawn(Side::connectTo(client, answer, io.nowNs() + 5 * ns_per_s, io), io);
    ASSERT_TRUE(turnUntil([&] { return client.status && !accept.results.empty(); }));
    client.status.reset();
    server.sock.adopt(accept.results[0]);
    io.cancel(accept.op);
    ASSERT_TRUE(turnUntil([&] { return accept.ended; }));
  }
  void start(int64_t server_ms = 5000) {
    scope.spawn(Side::startTlsNow(client, *client_tls, "second.test", io.nowNs() + 5 * ns_per_s, io), io);
    scope.spawn(Side::startTlsNow(server, *server_tls, {}, io.nowNs() + server_ms * ns_per_ms, io), io);
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, TlsKeyWaitTest, tlsKinds(), kindName);

TEST_P(TlsKeyWaitTest, AHandshakeGoesOnWhenItsKeyIsThere) {
  connect();
  Clerk clerk(*server_tls->certificates());
  clerk.is_slow = true;
  start();
  ASSERT_TRUE(turnUntil([&] { return clerk.requests == 1; }));
  turnFor(20);
  EXPECT_FALSE(server.status);
  EXPECT_EQ(buffers.lent(), 0u) << "meanwhile it holds no receive buffer";
  clerk.may_load.release();
  ASSERT_TRUE(turnUntil([&] { return client.status && server.status; }));
  ASSERT_TRUE(server.status->has_value()) << server.status->error().reason;
  ASSERT_TRUE(client.status->has_value()) << client.status->error().reason;
  ASSERT_NE(server.sock.tls(), nullptr);
  EXPECT_EQ(server.sock.tls()->site(), 1u);
  EXPECT_EQ(server.sock.tls()->serverName(), "second.test");
  server.read(scope);
  client.write("hello");
  EXPECT_TRUE(turnUntil([&] { return server.text == "hello"; }));
}

TEST_P(TlsKeyWaitTest, AClientWhoseKeyIsMissingGetsAnAlert) {
  connect();
  std::filesystem::rename(certs().path("second.key"), certs().path("second.away"));
  Clerk clerk(*server_tls->certificates());
  start();
  ASSERT_TRUE(turnUntil([&] { return server.status.has_value(); }));
  ASSERT_FALSE(server.status->has_value());
  EXPECT_EQ(server.status->error().code, ErrorCode::tls_failed);
  EXPECT_STREQ(server.status->error().reason, "the site's private key could not be loaded");
  scope.spawn(Side::closeNow(server, false, io), io);
  ASSERT_TRUE(turnUntil([&] { return client.status.has_value(); }));
  ASSERT_FALSE(client.status->has_value());
  EXPECT_NE(std::string(client.status->error().reason).find("internal error"), std::string::npos);
  EXPECT_NE(clerk.stop().find("second.key"), std::string::npos);
  scope.spawn(Side::closeNow(client, false, io), io);
  EXPECT_TRUE(turnUntil([&] { return client.is_closed && server.is_closed; }));
}

TEST_P(TlsKeyWaitTest, AKeyThatComesTooLateMeansATimeout) {
  connect();
  Clerk clerk(*server_tls->certificates());
  clerk.is_slow = true;
  start(50);
  ASSERT_TRUE(turnUntil([&] { return clerk.requests == 1; }));
  turnFor(100);
  clerk.may_load.release();
  ASSERT_TRUE(turnUntil([&] { return server.status.has_value(); }));
  ASSERT_FALSE(server.status->has_value());
  EXPECT_EQ(server.status->error().code, ErrorCode::connect_timeout);
}

}  // namespace
}  // namespace plait
