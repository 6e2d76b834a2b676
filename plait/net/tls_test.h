// Both sides of TLS in memory. For tests only.
#pragma once

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "plait/net/tls.h"
#include "plait/net/tls_test_certs.h"

namespace plait::tls_test {

inline constexpr size_t block_size = 16 * 1024;

inline const TestCerts& certs() {
  static const TestCerts made;
  return made;
}

inline std::unique_ptr<TlsContext> server(TlsServerOptions options = {}) {
  if (options.cert_file.empty()) options.cert_file = certs().path("server.pem");
  if (options.key_file.empty()) options.key_file = certs().path("server.key");
  auto made = TlsContext::makeServer(options);
  EXPECT_TRUE(made) << made.error();
  return made ? std::move(*made) : nullptr;
}

inline std::unique_ptr<TlsContext> client(TlsClientOptions options = {}) {
  if (options.verify && options.ca_file.empty()) options.ca_file = certs().path("ca.pem");
  auto made = TlsContext::makeClient(options);
  EXPECT_TRUE(made) << made.error();
  return made ? std::move(*made) : nullptr;
}

// One side: a session, its cipher queue, and the ciphertext on its way to it.
struct Side {
  Side(TlsContext& context, std::string_view name, AlpnOffer offer = AlpnOffer::all, size_t block_count = 64)
      : blocks(block_size, block_count), out(blocks), session(context, out, name, offer) {}

  // Moves up to `limit` bytes of the other side's ciphertext here; false when there were none.
  bool takeFrom(Side& other, size_t limit = SIZE_MAX) {
    if (session.hasUnread() || other.out.empty()) return false;
    const Bytes bytes = other.out.front().first(std::min(limit, other.out.front().size()));
    wire.assign(bytes.begin(), bytes.end());
    other.out.consume(bytes.size());
    session.feed(wire);
    return true;
  }

  // Reads until more ciphertext is needed.
  Status readAll(size_t piece = block_size) {
    std::vector<uint8_t> plaintext(piece);
    while (true) {
      const auto size = session.read(plaintext);
      if (!size) return fail(size.error());
      if (*size == 0) return {};
      received.append(reinterpret_cast<const char*>(plaintext.data()), *size);
    }
  }

  BlockSlab blocks;
  ByteQueue out;
  TlsSession session;
  std::vector<uint8_t> wire;
  std::string received;
};

struct Outcome {
  bool done = false;
  std::optional<Error> client_error;
  std::optional<Error> server_error;
};

// Runs both handshakes, `step` bytes at a time.
inline Outcome shake(Side& client_side, Side& server_side, size_t step = SIZE_MAX) {
  Outcome outcome;
  bool client_done = false, server_done = false;
  for (int idle = 0; idle < 3;) {
    if (!client_done) {
      const auto result = client_side.session.handshake();
      if (!result) outcome.client_error = result.error();
      client_done = !result || *result == TlsSession::Step::done;
    }
    if (!server_done) {
      const auto result = server_side.session.handshake();
      if (!result) outcome.server_error = result.error();
      server_done = !result || *result == TlsSession::Step::done;
    }
    const bool to_server = !server_done && server_side.takeFrom(client_side, step);
    const bool to_client = !client_done && client_side.takeFrom(server_side, step);
    idle = to_server || to_client ? 0 : idle + 1;
  }
  outcome.done = client_done && server_done && !outcome.client_error && !outcome.server_error;
  return outcome;
}

inline std::string randomText(size_t size) {
  std::mt19937 random(7);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

// Writes all of `text` from one side to the other, reading whenever the writer has no room.
inline void transfer(Side& from, Side& to, std::string_view text, size_t step = SIZE_MAX) {
  to.received.clear();
  Bytes left = asBytes(text);
  for (int idle = 0; (!left.empty() || !from.out.empty()) && idle < 3;) {
    const auto taken = from.session.write(left);
    ASSERT_TRUE(taken) << taken.error().reason;
    left = left.subspan(*taken);
    bool moved = *taken != 0;
    while (to.takeFrom(from, step)) {
      moved = true;
      const auto read = to.readAll();
      ASSERT_TRUE(read) << read.error().reason;
    }
    idle = moved ? 0 : idle + 1;
  }
  EXPECT_TRUE(to.received == text) << "received " << to.received.size() << " of " << text.size();
}

// A client of OpenSSL's own, for what TlsSession does not do.
struct RawClient {
  explicit RawClient(const char* name = "localhost")
      : context(SSL_CTX_new(TLS_client_method())), ssl(SSL_new(context)) {
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_tlsext_host_name(ssl, name);
    SSL_set_connect_state(ssl);
  }
  ~RawClient() {
    SSL_free(ssl);
    SSL_CTX_free(context);
  }
  std::vector<uint8_t> takeOutput() {
    std::vector<uint8_t> bytes(BIO_ctrl_pending(SSL_get_wbio(ssl)));
    if (!bytes.empty()) BIO_read(SSL_get_wbio(ssl), bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
  }
  // Both handshakes; what the server answered last is left to be read.
  bool shake(Side& side) {
    for (int i = 0; i < 10; ++i) {
      const int result = SSL_do_handshake(ssl);
      side.wire = takeOutput();
      if (!side.wire.empty()) side.session.feed(side.wire);
      const auto step = side.session.handshake();
      if (!step) return false;
      while (!side.out.empty()) {
        BIO_write(SSL_get_rbio(ssl), side.out.front().data(), static_cast<int>(side.out.front().size()));
        side.out.consume(side.out.front().size());
      }
      if (result == 1 && *step == TlsSession::Step::done) return true;
    }
    return false;
  }
  SSL_CTX* context;
  SSL* ssl;
};

}  // namespace plait::tls_test
