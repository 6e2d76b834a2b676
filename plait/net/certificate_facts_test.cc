#include "plait/net/certificate_facts.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>

#include "plait/net/tls_test_certs.h"

namespace plait::net {
namespace {

const TestCerts& certs() {
  static const TestCerts made;
  return made;
}

std::string contentOf(const std::string& name) {
  std::ifstream in(certs().path(name), std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(CertificateFacts, NamesDatesAndKindAreThoseOfTheCertificate) {
  const int64_t now = ::time(nullptr);
  for (const auto& [type, kind] : {std::pair("EC", KeyKind::p256),
                                   {"P-384", KeyKind::p384},
                                   {"P-521", KeyKind::p521},
                                   {"ED25519", KeyKind::ed25519},
                                   {"RSA", KeyKind::rsa}}) {
    SCOPED_TRACE(type);
    certs().issue("facts", "DNS:Shop.Example,IP:127.0.0.1,DNS:*.shop.example,DNS:shop.example,URI:urn:x,DNS:f*.bad",
                  5000, -100, type);
    const auto found = readCertificates(contentOf("facts.pem"));
    ASSERT_TRUE(found) << found.error();
    ASSERT_EQ(found->size(), 1u);
    const CertificateFacts& facts = found->front();
    EXPECT_EQ(facts.names, (std::vector<std::string>{"shop.example", "*.shop.example"}));
    EXPECT_EQ(facts.kind, kind);
    EXPECT_NEAR(static_cast<double>(facts.not_before_s), static_cast<double>(now - 100), 30);
    EXPECT_EQ(facts.not_after_s - facts.not_before_s, 5100);
  }
}

TEST(CertificateFacts, DatesBeyond2049AreReadInTheirLongForm) {
  certs().issue("late", "DNS:late.example", 100L * 365 * 86400);
  const auto found = readCertificates(contentOf("late.pem"));
  ASSERT_TRUE(found);
  EXPECT_NEAR(static_cast<double>(found->front().not_after_s),
              static_cast<double>(::time(nullptr)) + 100.0 * 365 * 86400, 30);
}

TEST(CertificateFacts, AChainIsReadInItsOrderAndOtherPartsAreSkipped) {
  const std::string chain = "some words\n" + contentOf("server.key") + contentOf("server.pem") + contentOf("ca.pem");
  const auto found = readCertificates(chain);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ(found->front().names.front(), "localhost");
  EXPECT_TRUE(found->back().names.empty());
}

TEST(CertificateFacts, AFileWithoutOrWithADamagedCertificateIsRefused) {
  EXPECT_EQ(readCertificates("").error(), "it holds no certificate");
  EXPECT_EQ(readCertificates(contentOf("server.key")).error(), "it holds no certificate");
  const std::string whole = contentOf("server.pem");
  EXPECT_EQ(readCertificates(whole.substr(0, whole.find("-----END"))).error(), "a certificate in it has no END line");
  EXPECT_EQ(readCertificates("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n").error(),
            "a certificate in it is damaged");
}

// Whatever the file holds, nothing is read beyond it.
TEST(CertificateFacts, ChangedBytesMakeAnotherCertificateOrNone) {
  const std::string whole = contentOf("server.pem");
  std::mt19937 random(3);
  for (int i = 0; i < 20'000; ++i) {
    std::string changed = whole;
    for (unsigned k = random() % 4 + 1; k != 0; --k) changed[random() % changed.size()] = static_cast<char>(random());
    (void)readCertificates(changed);
    (void)readCertificates(std::string_view(whole).substr(0, random() % whole.size()));
  }
}

TEST(CertificateFacts, HostNamesAreComparedInLowerCaseAndWithoutTheLastDot) {
  std::array<char, 256> room;
  EXPECT_EQ(hostName("Shop.EXAMPLE.", room), "shop.example");
  EXPECT_EQ(hostName("_dmarc.a-b.example", room), "_dmarc.a-b.example");
  for (const std::string& wrong :
       {std::string(), std::string("."), std::string(".example"), std::string("a..b"), std::string("*.example"),
        std::string("a b"), std::string("a\0b", 3), std::string("[::1]"), std::string(256, 'a')}) {
    EXPECT_EQ(hostName(wrong, room), "") << wrong;
  }
}

}  // namespace
}  // namespace plait::net
