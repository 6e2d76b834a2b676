#include "plait/net/certificate_store.h"

#include <gtest/gtest.h>
#include <openssl/x509.h>

#include <fstream>

#include "plait/io/mailbox.h"
#include "plait/net/tls_test_certs.h"

namespace plait::net {
namespace {

const TestCerts& certs() {
  static const TestCerts made;
  return made;
}

SiteFiles site(const std::string& name, const std::string& alternatives, uint32_t policy = 0, const char* type = "EC",
               long until_s = 90L * 86400) {
  certs().issue(name, alternatives, until_s, -3600, type);
  return {certs().path(name + ".pem"), certs().path(name + ".key"), policy};
}

std::unique_ptr<CertificateStore> store(const std::vector<SiteFiles>& sites,
                                        size_t most_loaded = CertificateStore::max_loaded) {
  auto made = CertificateStore::make(sites, most_loaded);
  if (!made) {
    for (const SiteMistake& one : made.error()) ADD_FAILURE() << one.site << ": " << one.sentence;
    return nullptr;
  }
  return std::move(*made);
}

std::vector<SiteMistake> mistakesOf(const std::vector<SiteFiles>& sites) {
  auto made = CertificateStore::make(sites);
  return made ? std::vector<SiteMistake>() : made.error();
}

// The schemes of a client that knows these.
struct Offer {
  std::vector<uint8_t> schemes;
  explicit Offer(std::initializer_list<uint16_t> listed) {
    for (const uint16_t one : listed) {
      schemes.push_back(static_cast<uint8_t>(one >> 8));
      schemes.push_back(static_cast<uint8_t>(one));
    }
  }
  ClientOffer tls13() const { return {.signature_algorithms = schemes, .speaks_tls_1_3 = true}; }
  ClientOffer tls12(bool has_ecdsa_suite = true, bool has_rsa_suite = true) const {
    return {.signature_algorithms = schemes, .has_ecdsa_suite = has_ecdsa_suite, .has_rsa_suite = has_rsa_suite};
  }
};

struct Loader final : KeyLoader {
  void request(CertificateStore&) override { requests += 1; }
  int requests = 0;
};

TEST(CertificateStore, ASiteIsFoundByItsExactNameThenByAWildcardOfOneLabelElseItIsTheFirst) {
  const auto made = store({site("first", "DNS:first.example"), site("wild", "DNS:*.shop.example,DNS:shop.example"),
                           site("exact", "DNS:api.shop.example"), site("deep", "DNS:*.api.shop.example")});
  ASSERT_NE(made, nullptr);
  const auto found = [&](std::string_view name) { return made->select(name, {}); };
  EXPECT_EQ(found("shop.example"), 1u);
  EXPECT_EQ(found("SHOP.example."), 1u);
  EXPECT_EQ(found("www.shop.example"), 1u);
  EXPECT_EQ(found("api.shop.example"), 2u) << "exact before wildcard";
  EXPECT_EQ(found("x.api.shop.example"), 3u);
  for (const char* other : {"a.www.shop.example", "example", "xshop.example", "", "elsewhere.example", "127.0.0.1",
                            "*.shop.example", ".shop.example"}) {
    EXPECT_EQ(found(other), 0u) << other;
  }
}

TEST(CertificateStore, OfTwoKindsOfKeyTheClientGetsTheOneThatItCanVerify) {
  const auto made = store({site("rsa", "DNS:both.example", 0, "RSA"), site("ec", "DNS:both.example", 0, "EC"),
                           site("only", "DNS:only.example", 0, "RSA")});
  ASSERT_NE(made, nullptr);
  EXPECT_TRUE(made->warnings().empty());
  const auto found = [&](const ClientOffer& offer) { return made->select("both.example", offer); };
  const Offer all{0x0403, 0x0804, 0x0401}, rsa{0x0804, 0x0401}, p384{0x0503};
  EXPECT_EQ(found(all.tls13()), 1u) << "the cheaper one";
  EXPECT_EQ(found(rsa.tls13()), 0u);
  EXPECT_EQ(found(p384.tls13()), 0u) << "in TLS 1.3 the scheme names the curve";
  EXPECT_EQ(found(p384.tls12()), 1u) << "and in TLS 1.2 it does not";
  EXPECT_EQ(found(all.tls12(false)), 0u) << "no suite for ECDSA";
  ClientOffer other_curve = all.tls12();
  const std::vector<uint8_t> groups = {0, 0x1d};
  other_curve.groups = groups;
  EXPECT_EQ(found(other_curve), 0u);
  EXPECT_EQ(found({}), 0u) << "a client from before TLS 1.2's extension";
  EXPECT_EQ(made->select("only.example", all.tls13()), 2u);
  EXPECT_EQ(made->select("", all.tls13()), 1u) << "for the fallback likewise";
  EXPECT_EQ(made->select("unknown.example", rsa.tls13()), 0u);
  EXPECT_TRUE(made->isChoice("both.example"));
  EXPECT_FALSE(made->isChoice("only.example"));
}

TEST(CertificateStore, NamesThatAreTakenOrMissingAreSaid) {
  const auto made = store(
      {site("one", "DNS:same.example"), site("two", "DNS:same.example,DNS:own.example"), site("none", "IP:127.0.0.1")});
  ASSERT_NE(made, nullptr);
  EXPECT_EQ(made->select("same.example", {}), 0u);
  EXPECT_EQ(made->select("own.example", {}), 1u);
  ASSERT_EQ(made->warnings().size(), 2u);
  EXPECT_EQ(made->warnings()[0].site, 2u);
  EXPECT_NE(made->warnings()[0].sentence.find("names no host"), std::string::npos);
  EXPECT_EQ(made->warnings()[1].site, 1u);
  EXPECT_NE(made->warnings()[1].sentence.find("are both for same.example"), std::string::npos);
}

// Else a client could choose by its signature algorithms which authority it is held against.
TEST(CertificateStore, TwoCertificatesOfOneNameMayNotDifferInTheirAuthorities) {
  const auto found = mistakesOf({site("open", "DNS:same.example", 0, "RSA"), site("closed", "DNS:same.example", 1)});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].site, 1u);
  EXPECT_NE(found[0].sentence.find("differ in their client_ca or TLS settings"), std::string::npos);
}

TEST(CertificateStore, EveryMistakeWithAFileIsSaidAtOnce) {
  SiteFiles good = site("good", "DNS:good.example");
  const auto found = mistakesOf({good,
                                 {certs().path("missing.pem"), good.key_file},
                                 {good.key_file, good.key_file},
                                 {good.cert_file, certs().path("missing.key")},
                                 {good.cert_file, ""}});
  ASSERT_EQ(found.size(), 4u);
  EXPECT_NE(found[0].sentence.find("missing.pem: No such file or directory"), std::string::npos) << found[0].sentence;
  EXPECT_NE(found[1].sentence.find("it holds no certificate, but a"), std::string::npos) << found[1].sentence;
  EXPECT_NE(found[2].sentence.find("missing.key: No such file or directory"), std::string::npos) << found[2].sentence;
  EXPECT_NE(found[3].sentence.find("needs a private key"), std::string::npos) << found[3].sentence;
  for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].site, i + 1);
}

TEST(CertificateStore, AKeyIsLoadedWhenItIsFirstAskedForAndAllWhoWaitHearOfIt) {
  const auto made = store({site("a", "DNS:a.example"), site("b", "DNS:b.example")});
  Loader loader;
  made->setLoader(&loader);
  EXPECT_EQ(made->use(1), nullptr);
  Mailbox mailbox;
  KeyWait first(*made, 1), second(*made, 1), other(*made, 0);
  for (KeyWait* one : {&first, &second, &other}) one->op.errand->start(one->op, mailbox);
  EXPECT_EQ(loader.requests, 2) << "once for each site";
  EXPECT_EQ(mailbox.take(), nullptr);
  const auto outcome = made->loadNext();
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->site, 1u) << "the first that was asked for";
  EXPECT_EQ(outcome->wrong, "");
  for (int i = 0; i < 2; ++i) {
    const Op* done = mailbox.take();
    ASSERT_TRUE(done == &first.op || done == &second.op);
    EXPECT_EQ(done->result, 0);
  }
  EXPECT_EQ(mailbox.take(), nullptr);
  LoadedKey* key = made->use(1);
  ASSERT_NE(key, nullptr);
  EXPECT_EQ(X509_check_private_key(key->certificate, key->key), 1);
  key->release();
  EXPECT_EQ(made->use(0), nullptr);
  EXPECT_EQ(made->loadNext()->site, 0u);
  EXPECT_EQ(mailbox.take(), &other.op);
  EXPECT_FALSE(made->loadNext());
  KeyWait late(*made, 0);
  late.op.errand->start(late.op, mailbox);
  EXPECT_EQ(mailbox.take(), &late.op) << "it is there already";
  EXPECT_EQ(made->loadedCount(), 2u);
}

TEST(CertificateStore, AKeyThatCannotBeLoadedIsSaidAndTriedAgainForTheNextOne) {
  const SiteFiles a = site("gone", "DNS:gone.example");
  const auto made = store({a, site("kept", "DNS:kept.example")});
  Loader loader;
  made->setLoader(&loader);
  std::filesystem::rename(a.key_file, a.key_file + ".away");
  Mailbox mailbox;
  KeyWait wait(*made, 0);
  wait.op.errand->start(wait.op, mailbox);
  EXPECT_NE(made->loadNext()->wrong.find("gone.key: No such file or directory"), std::string::npos);
  ASSERT_EQ(mailbox.take(), &wait.op);
  EXPECT_LT(wait.op.result, 0);
  EXPECT_NE(made->check(0), "");
  std::filesystem::rename(a.key_file + ".away", a.key_file);
  EXPECT_EQ(made->check(0), "");
  EXPECT_EQ(made->loadedCount(), 0u) << "what is only checked is not kept";
  wait.op.errand->start(wait.op, mailbox);
  EXPECT_EQ(made->loadNext()->wrong, "");
  ASSERT_EQ(mailbox.take(), &wait.op);
  EXPECT_EQ(wait.op.result, 0);
}

TEST(CertificateStore, AKeyOfAnotherCertificateIsRefused) {
  const SiteFiles a = site("mine", "DNS:mine.example"), b = site("theirs", "DNS:theirs.example");
  const auto made = store({{a.cert_file, b.key_file}});
  EXPECT_NE(made->check(0).find("does not belong to the certificate"), std::string::npos);
  EXPECT_NE(made->load(0), "");
  EXPECT_EQ(made->use(0), nullptr);
}

TEST(CertificateStore, WithoutALoaderNobodyWaitsForEver) {
  const auto made = store({site("lone", "DNS:lone.example")});
  Mailbox mailbox;
  KeyWait wait(*made, 0);
  wait.op.errand->start(wait.op, mailbox);
  ASSERT_EQ(mailbox.take(), &wait.op);
  EXPECT_LT(wait.op.result, 0);
}

TEST(CertificateStore, TheLeastRecentlyUsedKeyGoesAndOneInUseStaysForItsHandshake) {
  std::vector<SiteFiles> sites;
  for (int i = 0; i < 5; ++i) {
    const std::string name = "lru" + std::to_string(i);
    sites.push_back(site(name, "DNS:" + name + ".example"));
  }
  const auto made = store(sites, 3);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(made->load(i), "");
  made->use(0)->release();
  EXPECT_EQ(made->load(3), "");
  EXPECT_EQ(made->loadedCount(), 3u);
  EXPECT_EQ(made->use(1), nullptr) << "the least recent";
  LoadedKey* held = made->use(2);
  ASSERT_NE(held, nullptr);
  made->use(0)->release();
  made->use(3)->release();
  EXPECT_EQ(made->load(4), "");
  EXPECT_EQ(made->use(2), nullptr) << "gone for others";
  EXPECT_EQ(X509_check_private_key(held->certificate, held->key), 1) << "and there for its handshake";
  held->release();
  EXPECT_EQ(made->load(1), "");
  EXPECT_EQ(made->loadedCount(), 3u);
}

TEST(CertificateStore, ACertificateCostsLessThanAKibibyteUntilItIsUsed) {
  std::vector<SiteFiles> sites;
  const SiteFiles first = site("many", "DNS:many.example");
  for (int i = 0; i < 300; ++i) {
    const std::string name = "customer-" + std::to_string(i) + ".shop.example.com";
    certs().issue(name, "DNS:" + name + ",DNS:www." + name);
    // As long as paths usually are.
    std::filesystem::create_directories(certs().path("etc-plait-certificates-of-customers/" + name));
    const std::string folder = certs().path("etc-plait-certificates-of-customers/" + name);
    std::filesystem::rename(certs().path(name + ".pem"), folder + "/fullchain.pem");
    std::filesystem::rename(certs().path(name + ".key"), folder + "/privkey.pem");
    sites.push_back({folder + "/fullchain.pem", folder + "/privkey.pem"});
  }
  const auto made = store(sites);
  EXPECT_LT(made->bytes() / sites.size(), 512u);
  EXPECT_EQ(made->select("www.customer-299.shop.example.com", {}), 299u);
  EXPECT_EQ(made->loadedCount(), 0u);
}

TEST(CertificateStore, TheEndOfEachCertificateIsKnownAndSaidThreeWeeksBefore) {
  constexpr int64_t day = 86400;
  const auto made =
      store({site("late", "DNS:late.example", 0, "EC", 60 * day), site("soon", "DNS:soon.example", 0, "EC", 20 * day),
             site("over", "DNS:over.example", 0, "EC", 10 * day)});
  const int64_t now = ::time(nullptr);
  EXPECT_EQ(made->soonest(), 2u);
  EXPECT_NEAR(static_cast<double>(made->notAfterS(0) - now), 60.0 * day, 30);
  const auto warnings = made->dateWarnings(now + 15 * day - 100);
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_NE(warnings[0].sentence.find("soon.pem expires in 5 days, at "), std::string::npos) << warnings[0].sentence;
  EXPECT_NE(warnings[1].sentence.find("over.pem has expired"), std::string::npos) << warnings[1].sentence;
  EXPECT_NE(made->dateWarnings(now - 2 * day)[0].sentence.find("is not valid yet"), std::string::npos);
}

TEST(CertificateStore, TheNextGenerationTakesOverWhatDidNotChange) {
  const SiteFiles a = site("same", "DNS:same.example"), b = site("changed", "DNS:changed.example");
  auto before = store({a, b});
  EXPECT_EQ(before->load(0), "");
  EXPECT_EQ(before->load(1), "");
  certs().issue("changed", "DNS:changed.example");
  const auto after = store({b, a});
  after->takeOver(*before);
  EXPECT_EQ(after->loadedCount(), 1u);
  EXPECT_EQ(after->use(0), nullptr) << "another certificate in a file of the same name";
  before.reset();
  LoadedKey* key = after->use(1);
  ASSERT_NE(key, nullptr);
  EXPECT_EQ(X509_check_private_key(key->certificate, key->key), 1);
  key->release();
}

}  // namespace
}  // namespace plait::net
