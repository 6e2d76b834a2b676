#include "plait/net/tls.h"

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "plait/net/tls_test.h"

namespace plait {
namespace {

using namespace tls_test;

TEST(Tls, AgreesOnHttp2AndCarriesBytesBothWays) {
  auto s = server();
  auto c = client();
  Side server_side(*s, ""), client_side(*c, "localhost");
  ASSERT_TRUE(shake(client_side, server_side).done);
  EXPECT_EQ(client_side.session.alpn(), "h2");
  EXPECT_EQ(server_side.session.alpn(), "h2");
  EXPECT_STREQ(client_side.session.version(), "TLSv1.3");
  transfer(client_side, server_side, "a request");
  transfer(server_side, client_side, "a response");
}

TEST(Tls, PrefersTheServersOrderOfProtocols) {
  auto s = server();
  auto c = client({.alpn = {"http/1.1", "h2"}});
  Side server_side(*s, ""), client_side(*c, "localhost");
  ASSERT_TRUE(shake(client_side, server_side).done);
  EXPECT_EQ(server_side.session.alpn(), "h2");
  EXPECT_EQ(client_side.session.alpn(), "h2");
}

TEST(Tls, FallsBackToHttp1) {
  auto s = server();
  auto c = client({.alpn = {"http/1.1"}});
  Side server_side(*s, ""), client_side(*c, "localhost");
  ASSERT_TRUE(shake(client_side, server_side).done);
  EXPECT_EQ(server_side.session.alpn(), "http/1.1");
}

TEST(Tls, GoesOnWithoutAlpnWhenNothingIsCommon) {
  auto s = server({.alpn = {"h2"}});
  auto c = client({.alpn = {"http/1.0"}});
  Side server_side(*s, ""), client_side(*c, "localhost");
  ASSERT_TRUE(shake(client_side, server_side).done);
  EXPECT_EQ(server_side.session.alpn(), "");
  EXPECT_EQ(client_side.session.alpn(), "");
}

TEST(Tls, RefusesAClientThatNamesOnlyForeignProtocols) {
  auto s = server();
  auto c = client({.alpn = {"acme/1"}});
  Side server_side(*s, ""), client_side(*c, "localhost");
  EXPECT_FALSE(shake(client_side, server_side).done);
}

TEST(Tls, OffersHttp1AloneWhereTheConnectionNeedsIt) {
  auto s = server();
  auto c = client();
  Side server_side(*s, ""), client_side(*c, "localhost", AlpnOffer::http_1_1);
  ASSERT_TRUE(shake(client_side, server_side).done);
  EXPECT_EQ(server_side.session.alpn(), "http/1.1");
}

TEST(Tls, VerifiesNamesWildcardsAndAddresses) {
  auto s = server();
  auto c = client();
  for (const char* name : {"localhost", "LOCALHOST", "localhost.", "api.example.test", "127.0.0.1", "::1", "[::1]"}) {
    Side server_side(*s, ""), client_side(*c, name);
    EXPECT_TRUE(shake(client_side, server_side).done) << name;
  }
}

TEST(Tls, RefusesACertificateForAnotherName) {
  auto s = server();
  auto c = client();
  for (const char* name : {"elsewhere.test", "a.b.example.test", "example.test"}) {
    Side server_side(*s, ""), client_side(*c, name);
    const Outcome outcome = shake(client_side, server_side);
    ASSERT_TRUE(outcome.client_error) << name;
    EXPECT_EQ(outcome.client_error->code, ErrorCode::tls_failed);
    EXPECT_EQ(outcome.client_error->detail, static_cast<uint32_t>(X509_V_ERR_HOSTNAME_MISMATCH)) << name;
    EXPECT_STREQ(outcome.client_error->reason, "hostname mismatch");
  }
  Side server_side(*s, ""), client_side(*c, "127.0.0.2");
  const Outcome outcome = shake(client_side, server_side);
  ASSERT_TRUE(outcome.client_error);
  EXPECT_EQ(outcome.client_error->detail, static_cast<uint32_t>(X509_V_ERR_IP_ADDRESS_MISMATCH));
}

TEST(Tls, RefusesACertificateOfAnUnknownAuthorityAndTellsThePeer) {
  auto s = server();
  auto c = client({.ca_file = certs().path("other-ca.pem")});
  Side server_side(*s, ""), client_side(*c, "localhost");
  const Outcome outcome = shake(client_side, server_side);
  ASSERT_TRUE(outcome.client_error);
  EXPECT_EQ(outcome.client_error->code, ErrorCode::tls_failed);
  EXPECT_NE(outcome.client_error->detail, 0u);
  ASSERT_TRUE(outcome.server_error);
  EXPECT_EQ(outcome.server_error->code, ErrorCode::tls_failed);
  EXPECT_EQ(outcome.server_error->detail, 0u);
  EXPECT_NE(std::string(outcome.server_error->reason).find("alert"), std::string::npos) << outcome.server_error->reason;
}

TEST(Tls, AcceptsAnyCertificateWhereVerificationIsOff) {
  auto s = server();
  auto c = client({.verify = false});
  Side server_side(*s, ""), client_side(*c, "elsewhere.test");
  EXPECT_TRUE(shake(client_side, server_side).done);
}

TEST(Tls, RefusesToVerifyWithoutAName) {
  auto c = client();
  for (const std::string& name : {std::string(), std::string(300, 'a'), std::string("local\0host", 10)}) {
    Side client_side(*c, name);
    const auto result = client_side.session.handshake();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::tls_failed);
    EXPECT_TRUE(client_side.out.empty());
  }
}

TEST(Tls, AsksClientsForACertificateWhereConfigured) {
  auto s = server({.client_ca_file = certs().path("ca.pem")});
  auto with = client({.cert_file = certs().path("client.pem"), .key_file = certs().path("client.key")});
  {
    Side server_side(*s, ""), client_side(*with, "localhost");
    EXPECT_TRUE(shake(client_side, server_side).done);
  }
  auto without = client();
  Side server_side(*s, ""), client_side(*without, "localhost");
  const Outcome outcome = shake(client_side, server_side);
  ASSERT_TRUE(outcome.server_error);
  EXPECT_STREQ(outcome.server_error->reason, "peer did not return a certificate");
}

TEST(Tls, WorksByteByByte) {
  auto s = server();
  auto c = client();
  Side server_side(*s, ""), client_side(*c, "localhost");
  ASSERT_TRUE(shake(client_side, server_side, 1).done);
  transfer(client_side, server_side, randomText(3000), 1);
  transfer(server_side, client_side, randomText(3000), 1);
}

TEST(Tls, WritesAsMuchAsThereIsRoomFor) {
  auto s = server();
  auto c = client();
  for (const size_t block_count : {1, 2, 5}) {
    Side server_side(*s, ""), client_side(*c, "localhost", AlpnOffer::all, block_count);
    ASSERT_TRUE(shake(client_side, server_side).done);
    const std::string text = randomText(1'000'000);
    const auto taken = client_side.session.write(asBytes(text));
    ASSERT_TRUE(taken);
    EXPECT_GT(*taken, 0u);
    EXPECT_LT(*taken, block_count * block_size);
    const auto more = client_side.session.write(asBytes(text));
    ASSERT_TRUE(more);
    EXPECT_LT(*more, 256u);
    while (server_side.takeFrom(client_side)) ASSERT_TRUE(server_side.readAll());
    EXPECT_EQ(server_side.received.size(), *taken + *more);
    transfer(client_side, server_side, text);
  }
}

TEST(Tls, ReadsManyRecordsFromOneBufferIntoSmallPieces) {
  auto s = server();
  auto c = client();
  Side server_side(*s, ""), client_side(*c, "localhost");
  ASSERT_TRUE(shake(client_side, server_side).done);
  std::string expected;
  for (int i = 0; i < 50; ++i) {
    const std::string text = randomText(static_cast<size_t>(i) * 7 + 1);
    ASSERT_EQ(*client_side.session.write(asBytes(text)), text.size());
    expected += text;
  }
  while (server_side.takeFrom(client_side)) {
    // One call gives at most a piece of one record and leaves the other records readable.
    std::vector<uint8_t> piece(10);
    const auto first = server_side.session.read(piece);
    ASSERT_TRUE(first);
    server_side.received.append(reinterpret_cast<const char*>(piece.data()), *first);
    ASSERT_TRUE(server_side.readAll(10));
    EXPECT_FALSE(server_side.session.hasUnread());
  }
  EXPECT_TRUE(server_side.received == expected);
}

TEST(Tls, SeesTheEndOnlyAfterCloseNotify) {
  auto s = server();
  auto c = client();
  Side server_side(*s, ""), client_side(*c, "localhost");
  ASSERT_TRUE(shake(client_side, server_side).done);
  ASSERT_EQ(*client_side.session.write(asBytes("last words")), 10u);
  client_side.session.closeNotify();
  EXPECT_FALSE(server_side.session.atEnd());
  while (server_side.takeFrom(client_side)) ASSERT_TRUE(server_side.readAll());
  EXPECT_EQ(server_side.received, "last words");
  EXPECT_TRUE(server_side.session.atEnd());
  // The other direction stays open (RFC 8446 §6.1).
  transfer(server_side, client_side, "an answer to that");
  server_side.session.closeNotify();
  while (client_side.takeFrom(server_side)) ASSERT_TRUE(client_side.readAll());
  EXPECT_TRUE(client_side.session.atEnd());
}

TEST(Tls, RefusesABrokenRecord) {
  auto s = server();
  auto c = client();
  Side server_side(*s, ""), client_side(*c, "localhost");
  ASSERT_TRUE(shake(client_side, server_side).done);
  ASSERT_TRUE(client_side.session.write(asBytes("genuine")));
  server_side.wire.assign(client_side.out.front().begin(), client_side.out.front().end());
  server_side.wire.back() ^= 1;
  server_side.session.feed(server_side.wire);
  const auto read = server_side.readAll();
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::tls_failed);
  EXPECT_EQ(read.error().detail, 0u);
  EXPECT_FALSE(server_side.session.write(asBytes("more")));
}

TEST(Tls, NamesTheReasonWhenAPeerSpeaksNoTls) {
  auto s = server();
  Side server_side(*s, "");
  const std::string_view request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  server_side.session.feed(asBytes(request));
  const auto result = server_side.session.handshake();
  ASSERT_FALSE(result);
  EXPECT_STREQ(result.error().reason, "http request");
}

TEST(Tls, FailsAHandshakeForWhichNoBlockIsLeft) {
  auto s = server();
  auto c = client();
  Side server_side(*s, "", AlpnOffer::all, 0), client_side(*c, "localhost");
  ASSERT_TRUE(client_side.session.handshake());
  ASSERT_TRUE(server_side.takeFrom(client_side));
  const auto result = server_side.session.handshake();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::no_memory);
}

TEST(Tls, ResumesASessionWithTheSameNameOnly) {
  auto s = server();
  auto c = client();
  const auto connect = [&](const char* name) {
    Side server_side(*s, ""), client_side(*c, name);
    EXPECT_TRUE(shake(client_side, server_side).done);
    // The tickets come behind the handshake and are read with the first bytes.
    transfer(server_side, client_side, "hello");
    return client_side.session.isResumed();
  };
  EXPECT_FALSE(connect("localhost"));
  EXPECT_FALSE(connect("api.example.test"));
  EXPECT_TRUE(connect("localhost"));
  EXPECT_TRUE(connect("api.example.test"));
  EXPECT_FALSE(connect("127.0.0.1"));
}

TEST(Tls, TakesUpATicketWhileOneOfItsKeysIsKeptAndNoLonger) {
  constexpr TimeNs start_ns = 1'000'000 * ns_per_s;
  auto s = server();
  auto c = client();
  const auto connectAt = [&](TimeNs now_ns) {
    s->rotateTicketKeys(now_ns);
    Side server_side(*s, ""), client_side(*c, "localhost");
    EXPECT_TRUE(shake(client_side, server_side).done);
    transfer(server_side, client_side, "tickets come with the first bytes");
    return client_side.session.isResumed();
  };
  EXPECT_FALSE(connectAt(start_ns));
  EXPECT_TRUE(connectAt(start_ns + TicketKeys::period_ns - 1)) << "the same key";
  EXPECT_TRUE(connectAt(start_ns + TicketKeys::period_ns)) << "an older key, whose client gets a new ticket";
  // The remaining tickets of the first connection were sealed with the first key; the newest is taken first.
  EXPECT_TRUE(connectAt(start_ns + TicketKeys::lifetime_ns - 1)) << "the second key is still kept";
  EXPECT_FALSE(connectAt(start_ns + TicketKeys::lifetime_ns)) << "the last ticket is new, its chain is not";
  EXPECT_TRUE(connectAt(start_ns + 2 * TicketKeys::lifetime_ns - 1)) << "the next chain";
  EXPECT_FALSE(connectAt(start_ns + 50 * TicketKeys::period_ns)) << "all keys have changed";
  EXPECT_TRUE(connectAt(start_ns + 50 * TicketKeys::period_ns));
}

TEST(Tls, WhoeverResumesGetsATicketForTheNextTime) {
  auto s = server();
  auto c = client();
  for (int i = 0; i < 8; ++i) {
    Side server_side(*s, ""), client_side(*c, "localhost");
    EXPECT_TRUE(shake(client_side, server_side).done);
    transfer(server_side, client_side, "a ticket");
    EXPECT_EQ(client_side.session.isResumed(), i != 0) << i;
  }
}

// Without it a chain of tickets would keep an access that a full handshake refuses.
TEST(Tls, AClientCertificateThatHasExpiredEndsItsResumptions) {
  certs().issue("brief", "DNS:client.test", 4);
  auto s = server({.client_ca_file = certs().path("ca.pem")});
  auto c = client({.cert_file = certs().path("brief.pem"), .key_file = certs().path("brief.key")});
  std::optional<Error> refused;
  const auto resumes = [&] {
    Side server_side(*s, ""), client_side(*c, "localhost");
    refused = shake(client_side, server_side).server_error;
    if (!refused) transfer(server_side, client_side, "tickets come with the first bytes");
    return client_side.session.isResumed();
  };
  EXPECT_FALSE(resumes());
  ASSERT_FALSE(refused);
  EXPECT_TRUE(resumes());
  const auto bound = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (resumes() && std::chrono::steady_clock::now() < bound) std::this_thread::yield();
  ASSERT_TRUE(refused);
  EXPECT_STREQ(refused->reason, "certificate has expired");
}

// A record of 25 bytes that begins a ClientHello of so many.
std::vector<uint8_t> beginHello(uint32_t size) {
  std::vector<uint8_t> bytes = {22,
                                3,
                                1,
                                0,
                                20,
                                1,
                                static_cast<uint8_t>(size >> 16),
                                static_cast<uint8_t>(size >> 8),
                                static_cast<uint8_t>(size)};
  bytes.resize(25);
  return bytes;
}

TEST(Tls, AHelloThatSaysItIsTooLongIsRefusedAtOnceWithAnAlert) {
  auto s = server();
  for (const size_t step : {1u, 3u, 25u}) {
    SCOPED_TRACE(step);
    Side server_side(*s, "");
    const auto hello = beginHello(HelloGuard::max_hello + 1);
    size_t fed = 0;
    auto result = server_side.session.handshake();
    for (; result && fed < hello.size(); fed += std::min(step, hello.size() - fed)) {
      server_side.session.feed(Bytes(hello).subspan(fed, std::min(step, hello.size() - fed)));
      result = server_side.session.handshake();
    }
    ASSERT_FALSE(result);
    EXPECT_LE(fed, 9u + step);
    EXPECT_STREQ(result.error().reason, "the ClientHello is too long");
    EXPECT_TRUE(server_side.session.hasAlerted());
    EXPECT_TRUE(std::ranges::equal(server_side.out.front(), HelloGuard::alert));
  }
  Side server_side(*s, "");
  const auto hello = beginHello(HelloGuard::max_hello);
  server_side.session.feed(hello);
  EXPECT_TRUE(server_side.session.handshake()) << "the longest that is waited for";
}

// The server asks for another key share, and the client's second hello is the long one (RFC 8446 §4.1.4).
TEST(Tls, ASecondHelloThatSaysItIsTooLongIsRefusedToo) {
  auto s = server();
  Side server_side(*s, "");
  RawClient raw;
  SSL_set1_groups_list(raw.ssl, "X25519:P-256");
  SSL_do_handshake(raw.ssl);
  auto first = raw.takeOutput();
  // The first group, whose key share it brings, becomes one that nobody has.
  for (const auto& extension : {std::array<uint8_t, 8>{0, 0x33, 0, 0x26, 0, 0x24, 0, 0x1d},
                                std::array<uint8_t, 8>{0, 0x0a, 0, 6, 0, 4, 0, 0x1d}}) {
    const auto found = std::ranges::search(first, extension);
    ASSERT_FALSE(found.empty());
    found.begin()[6] = found.begin()[7] = 0x3a;
  }
  server_side.session.feed(first);
  ASSERT_TRUE(server_side.session.handshake());
  ASSERT_FALSE(server_side.out.empty()) << "HelloRetryRequest";
  const std::vector<uint8_t> change_cipher_spec = {20, 3, 3, 0, 1, 1};
  server_side.session.feed(change_cipher_spec);
  ASSERT_TRUE(server_side.session.handshake());
  const auto second = beginHello(100'000);
  server_side.session.feed(second);
  const auto result = server_side.session.handshake();
  ASSERT_FALSE(result);
  EXPECT_STREQ(result.error().reason, "the ClientHello is too long");
}

TEST(Tls, ATicketOfAnotherServerMeansAFullHandshake) {
  auto c = client();
  for (int i = 0; i < 3; ++i) {
    auto s = server();
    s->rotateTicketKeys(ns_per_s);
    Side server_side(*s, ""), client_side(*c, "localhost");
    EXPECT_TRUE(shake(client_side, server_side).done);
    transfer(server_side, client_side, "a ticket");
    EXPECT_FALSE(client_side.session.isResumed());
  }
}

TEST(Tls, RefusesOldVersionsAndCiphersThatHttp2Forbids) {
  auto s = server();
  {
    RawClient old;
    SSL_set_security_level(old.ssl, 0);
    SSL_set_min_proto_version(old.ssl, TLS1_VERSION);
    SSL_set_max_proto_version(old.ssl, TLS1_1_VERSION);
    Side side(*s, "");
    EXPECT_FALSE(old.shake(side));
  }
  {
    RawClient cbc;
    SSL_set_max_proto_version(cbc.ssl, TLS1_2_VERSION);
    SSL_set_cipher_list(cbc.ssl, "ECDHE-ECDSA-AES128-SHA256");
    Side side(*s, "");
    EXPECT_FALSE(cbc.shake(side));
  }
  RawClient tls12;
  SSL_set_max_proto_version(tls12.ssl, TLS1_2_VERSION);
  Side side(*s, "");
  EXPECT_TRUE(tls12.shake(side));
  EXPECT_STREQ(side.session.version(), "TLSv1.2");
}

TEST(Tls, EndsAPeerThatMakesItAnswerAndDoesNotRead) {
  auto s = server();
  Side side(*s, "");
  RawClient peer;
  ASSERT_TRUE(peer.shake(side));
  std::optional<Error> error;
  for (int i = 0; i < 5000 && !error; ++i) {
    ASSERT_EQ(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    ASSERT_EQ(SSL_do_handshake(peer.ssl), 1);
    side.wire = peer.takeOutput();
    side.session.feed(side.wire);
    if (const auto read = side.readAll(); !read) error = read.error();
  }
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::stalled);
  EXPECT_LT(side.out.size(), 32u * 1024);
}

TEST(Tls, AnswersKeyUpdatesOfAPeerThatReads) {
  auto s = server();
  Side side(*s, "");
  RawClient peer;
  ASSERT_TRUE(peer.shake(side));
  for (int i = 0; i < 2000; ++i) {
    ASSERT_EQ(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    ASSERT_EQ(SSL_do_handshake(peer.ssl), 1);
    side.wire = peer.takeOutput();
    side.session.feed(side.wire);
    ASSERT_TRUE(side.readAll());
    ASSERT_EQ(*side.session.write(asBytes("x")), 1u);
    while (!side.out.empty()) {
      BIO_write(SSL_get_rbio(peer.ssl), side.out.front().data(), static_cast<int>(side.out.front().size()));
      side.out.consume(side.out.front().size());
    }
    char byte = 0;
    ASSERT_EQ(SSL_read(peer.ssl, &byte, 1), 1);
  }
}

}  // namespace
}  // namespace plait
