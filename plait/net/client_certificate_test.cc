#include "plait/net/client_certificate.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "plait/net/tls_test_certs.h"

namespace plait::net {
namespace {

const TestCerts& certs() {
  static const TestCerts made;
  return made;
}

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

Certificate issued(const std::string& name, const std::string& alternatives) {
  certs().issue("shown", alternatives);
  std::FILE* file = std::fopen(certs().path("shown.pem").c_str(), "r");
  Certificate found(PEM_read_X509(file, nullptr, nullptr, nullptr), X509_free);
  std::fclose(file);
  // Signatures do not matter here.
  X509_NAME* subject = X509_NAME_new();
  X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("plait"), -1, -1, 0);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(name.data()),
                             static_cast<int>(name.size()), -1, 0);
  X509_set_subject_name(found.get(), subject);
  X509_NAME_free(subject);
  return found;
}

std::vector<unsigned char> derOf(X509* certificate) {
  std::vector<unsigned char> der(static_cast<size_t>(i2d_X509(certificate, nullptr)));
  unsigned char* at = der.data();
  i2d_X509(certificate, &at);
  return der;
}

TEST(ClientCertificate, ClientCertIsTheDerInBase64BetweenColons) {
  // Every remainder of the division by three.
  for (size_t more = 0; more < 3; ++more) {
    const Certificate shown = issued("client" + std::string(more, 'x'), "DNS:client.test");
    const auto der = derOf(shown.get());
    std::string expected(der.size() * 4 / 3 + 8, '\0');
    expected.resize(static_cast<size_t>(
        EVP_EncodeBlock(reinterpret_cast<unsigned char*>(expected.data()), der.data(), static_cast<int>(der.size()))));
    expected = ':' + expected + ':';
    std::vector<char> room(4096);
    EXPECT_EQ(ClientCertificate(shown.get()).clientCert(room), expected);
    std::vector<char> exact(expected.size());
    EXPECT_EQ(ClientCertificate(shown.get()).clientCert(exact), expected) << "it is written over its own input";
    std::vector<char> little(expected.size() - 1);
    EXPECT_EQ(ClientCertificate(shown.get()).clientCert(little), "");
  }
}

TEST(ClientCertificate, TheForwardedFormIsEnvoys) {
  const Certificate shown =
      issued("client", "URI:spiffe://plait.test/ns/shop,DNS:client.test,IP:127.0.0.1,DNS:other.test");
  std::vector<char> room(4096);
  const ClientCertificate certificate(shown.get());
  const std::string hash(certificate.fingerprint(room));
  EXPECT_EQ(hash.size(), 64u);
  EXPECT_EQ(
      certificate.forwardedClientCert(room),
      "Hash=" + hash + ";Subject=\"CN=client,O=plait\";URI=spiffe://plait.test/ns/shop;DNS=client.test;DNS=other.test");
  std::vector<char> little(100);
  EXPECT_EQ(certificate.forwardedClientCert(little), "");
  EXPECT_EQ(certificate.subject(room), "CN=client,O=plait");
}

// The next hop reads these values: what a certificate says must not become an element of its own.
TEST(ClientCertificate, NothingBreaksOutOfItsQuotes) {
  std::vector<char> room(4096);
  {
    const Certificate shown = issued("a\";Hash=0,b\r\nx: y\xc3\xa9", "URI:urn:a;DNS=root.test,DNS:b.test");
    EXPECT_EQ(ClientCertificate(shown.get()).subject(room), "CN=a\\\"\\;Hash=0\\,b\\0D\\0Ax: y\\C3\\A9,O=plait");
    const std::string_view forwarded = ClientCertificate(shown.get()).forwardedClientCert(room);
    EXPECT_NE(forwarded.find(";URI=\"urn:a;DNS=root.test\";DNS=b.test"), std::string_view::npos) << forwarded;
  }
  const Certificate shown = issued("client", "URI:urn:\"x\\,DNS:c.test");
  EXPECT_NE(ClientCertificate(shown.get()).forwardedClientCert(room).find("URI=\"urn:\\\"x\\\\\";"),
            std::string_view::npos);
}

TEST(ClientCertificate, WithoutOneNothingIsWritten) {
  std::array<char, 100> room;
  const ClientCertificate none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.clientCert(room), "");
  EXPECT_EQ(none.forwardedClientCert(room), "");
  EXPECT_EQ(none.subject(room), "");
}

}  // namespace
}  // namespace plait::net
