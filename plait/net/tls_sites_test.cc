// Several sites on one port: which certificate a client is shown, what is asked of it, and which tickets it may use.
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <thread>

#include "plait/net/tls_arena.h"
#include "plait/net/tls_test.h"

namespace plait {
namespace {

using namespace tls_test;
using net::ClientAuth;

TlsSite site(const std::string& name, const std::string& alternatives, const char* type = "EC") {
  certs().issue(name, alternatives, 90L * 86400, -3600, type);
  return {.cert_file = certs().path(name + ".pem"), .key_file = certs().path(name + ".key")};
}

TlsSite with(TlsSite made, const std::string& authority, ClientAuth auth = ClientAuth::require) {
  made.client_ca_file = certs().path(authority);
  made.client_auth = auth;
  return made;
}

// All keys are loaded.
std::unique_ptr<TlsContext> sites(const std::vector<TlsSite>& made_of, bool loads = true) {
  auto made = TlsContext::makeSites({.sites = made_of});
  if (!made) {
    for (const auto& one : made.error()) ADD_FAILURE() << one.sentence;
    return nullptr;
  }
  for (uint32_t i = 0; loads && i < made_of.size(); ++i) EXPECT_EQ((*made)->certificates()->load(i), "");
  return std::move(*made);
}

std::unique_ptr<TlsContext> knownClient() {
  return client({.cert_file = certs().path("client.pem"), .key_file = certs().path("client.key")});
}

// The key of the certificate that a raw client was shown.
int keyShown(const RawClient& raw) {
  X509* shown = SSL_get0_peer_certificate(raw.ssl);
  return shown == nullptr ? 0 : EVP_PKEY_get_base_id(X509_get0_pubkey(shown));
}

TEST(TlsSites, AClientIsShownTheCertificateOfTheSiteThatItNames) {
  const auto s = sites({site("a", "DNS:a.test"), site("b", "DNS:*.b.test")});
  const auto c = client();
  for (const auto& [name, number] : {std::pair("a.test", 0u), {"www.b.test", 1u}}) {
    Side server_side(*s, ""), client_side(*c, name);
    ASSERT_TRUE(shake(client_side, server_side).done) << name;
    EXPECT_EQ(server_side.session.site(), number);
    EXPECT_EQ(server_side.session.serverName(), name);
    EXPECT_EQ(server_side.session.alpn(), "h2");
    transfer(client_side, server_side, "a request");
  }
  Side server_side(*s, ""), client_side(*c, "elsewhere.test");
  EXPECT_TRUE(shake(client_side, server_side).client_error) << "the first site's, which is not for that name";
  EXPECT_EQ(server_side.session.site(), 0u);
}

TEST(TlsSites, TheSignaturesThatAClientKnowsDecideBetweenEcdsaAndRsa) {
  const auto s = sites({site("ec", "DNS:both.test"), site("rsa", "DNS:both.test", "RSA")});
  struct Case {
    const char* schemes;
    const char* ciphers;
    int version;
    int key;
  };
  for (const Case& one : {Case{"ECDSA+SHA256:RSA-PSS+SHA256:RSA+SHA256", "", TLS1_3_VERSION, EVP_PKEY_EC},
                          Case{"RSA-PSS+SHA256:RSA+SHA256", "", TLS1_3_VERSION, EVP_PKEY_RSA},
                          Case{"ECDSA+SHA384:RSA-PSS+SHA256", "", TLS1_3_VERSION, EVP_PKEY_RSA},
                          Case{"ECDSA+SHA256:RSA+SHA256", "", TLS1_2_VERSION, EVP_PKEY_EC},
                          Case{"ECDSA+SHA384:RSA+SHA256", "", TLS1_2_VERSION, EVP_PKEY_EC},
                          Case{"RSA+SHA256", "", TLS1_2_VERSION, EVP_PKEY_RSA},
                          Case{"ECDSA+SHA256:RSA+SHA256", "ECDHE-RSA-AES128-GCM-SHA256", TLS1_2_VERSION, EVP_PKEY_RSA},
                          Case{"ECDSA+SHA256", "", TLS1_3_VERSION, EVP_PKEY_EC}}) {
    SCOPED_TRACE(std::string(one.schemes) + " " + one.ciphers);
    Side server_side(*s, "");
    RawClient raw("both.test");
    SSL_set_max_proto_version(raw.ssl, one.version);
    SSL_set1_sigalgs_list(raw.ssl, one.schemes);
    if (*one.ciphers != '\0') SSL_set_cipher_list(raw.ssl, one.ciphers);
    EXPECT_TRUE(raw.shake(server_side));
    EXPECT_EQ(keyShown(raw), one.key);
  }
}

TEST(TlsSites, ASiteAsksForCertificatesAndAnotherDoesNot) {
  const auto s = sites({site("open", "DNS:open.test"), with(site("closed", "DNS:closed.test"), "ca.pem"),
                        with(site("asking", "DNS:asking.test"), "ca.pem", ClientAuth::request),
                        with(site("other", "DNS:other.test"), "other-ca.pem")});
  const auto stranger = client();
  const auto known = knownClient();
  const auto connect = [&](TlsContext& c, const char* name, std::string* subject = nullptr) {
    Side server_side(*s, ""), client_side(c, name);
    const bool done = shake(client_side, server_side).done;
    std::array<char, 100> room;
    if (subject != nullptr) *subject = server_side.session.clientCertificate().subject(room);
    return done;
  };
  EXPECT_TRUE(connect(*stranger, "open.test"));
  EXPECT_FALSE(connect(*stranger, "closed.test"));
  std::string subject;
  EXPECT_TRUE(connect(*stranger, "asking.test", &subject));
  EXPECT_EQ(subject, "");
  EXPECT_TRUE(connect(*known, "closed.test", &subject));
  EXPECT_EQ(subject, "CN=client");
  EXPECT_TRUE(connect(*known, "asking.test", &subject));
  EXPECT_EQ(subject, "CN=client");
  EXPECT_TRUE(connect(*known, "open.test", &subject));
  EXPECT_EQ(subject, "") << "nobody asked for it";
  EXPECT_FALSE(connect(*known, "other.test")) << "its authority does not know that client";
}

TEST(TlsSites, ARequestForASiteWithOtherSettingsIsTold) {
  TlsSite newer = site("newer", "DNS:newer.test");
  newer.settings.min_version = net::TlsSettings::tls_1_3;
  const auto s = sites({site("a", "DNS:a.test"), site("b", "DNS:b.test"), with(site("c", "DNS:c.test"), "ca.pem"),
                        with(site("d", "DNS:d.test"), "ca.pem"),
                        with(site("e", "DNS:e.test"), "ca.pem", ClientAuth::request), newer});
  EXPECT_EQ(s->siteFor("C.test"), 2u);
  EXPECT_EQ(s->siteFor("unknown.test"), 0u);
  EXPECT_TRUE(s->sameTlsSettings(0, 1));
  EXPECT_TRUE(s->sameTlsSettings(2, 3));
  for (const auto& [one, other] : {std::pair(0u, 2u), {2u, 4u}, {0u, 5u}}) EXPECT_FALSE(s->sameTlsSettings(one, other));
  const auto single = server();
  EXPECT_EQ(single->siteFor("anything.test"), 0u);
  EXPECT_NEAR(static_cast<double>(single->notAfterS()), static_cast<double>(::time(nullptr)) + 90.0 * 86400, 1800);
  EXPECT_NEAR(static_cast<double>(s->notAfterS()), static_cast<double>(::time(nullptr)) + 90.0 * 86400, 1800);
  EXPECT_TRUE(single->sameTlsSettings(0, 0));
}

TEST(TlsSites, AConnectionCarriesRequestsForSitesThatAskTheSameOfTheirClients) {
  const auto s = sites({site("a", "DNS:a.test"), site("b", "DNS:b.test"), with(site("c", "DNS:c.test"), "ca.pem")});
  const auto c = client();
  Side server_side(*s, ""), client_side(*c, "a.test");
  ASSERT_TRUE(shake(client_side, server_side).done);
  const TlsSession& session = server_side.session;
  EXPECT_FALSE(s->isMisdirected(session, "a.test"));
  EXPECT_FALSE(s->isMisdirected(session, "B.test."));
  EXPECT_FALSE(s->isMisdirected(session, "unknown.test")) << "it would get the first site's certificate";
  EXPECT_TRUE(s->isMisdirected(session, "c.test"));

  // Contexts that follow: a handshake goes on to be good for its own site, unless that asks for other certificates.
  TlsSite newer = site("a", "DNS:a.test");
  newer.settings.min_version = net::TlsSettings::tls_1_3;
  const auto renewed = sites({newer, site("b", "DNS:b.test"), with(site("c", "DNS:c.test"), "ca.pem")});
  EXPECT_FALSE(renewed->isMisdirected(session, "a.test"));
  EXPECT_FALSE(renewed->isMisdirected(session, "b.test"));
  EXPECT_TRUE(renewed->isMisdirected(session, "c.test"));
  const auto closed =
      sites({with(site("a", "DNS:a.test"), "ca.pem"), site("b", "DNS:b.test"), site("c", "DNS:c.test")});
  EXPECT_TRUE(closed->isMisdirected(session, "a.test"));
  EXPECT_FALSE(closed->isMisdirected(session, "b.test"));
  EXPECT_FALSE(closed->isMisdirected(session, "c.test")) << "it asks for nothing any more";
}

TEST(TlsSites, VersionsSuitesAndGroupsAreThoseOfTheSite) {
  TlsSite newer = site("newer", "DNS:newer.test");
  newer.settings.min_version = net::TlsSettings::tls_1_3;
  newer.settings.suites = "TLS_CHACHA20_POLY1305_SHA256";
  newer.settings.groups = "P-384";
  TlsSite older = site("older", "DNS:older.test");
  older.settings.max_version = net::TlsSettings::tls_1_2;
  older.settings.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384";
  // The fallback's policy is that with which each connection begins, so both ways are looked at.
  for (const bool is_plain_first : {true, false}) {
    const TlsSite plain = site("plain", "DNS:plain.test");
    const auto s = sites(is_plain_first ? std::vector{plain, newer, older} : std::vector{newer, older, plain});
    const auto connect = [&](const char* name, int version, std::string* cipher = nullptr, int* group = nullptr) {
      Side server_side(*s, "");
      RawClient raw(name);
      SSL_set_max_proto_version(raw.ssl, version);
      const bool done = raw.shake(server_side);
      if (cipher != nullptr) *cipher = SSL_get_cipher_name(raw.ssl);
      if (group != nullptr) *group = static_cast<int>(SSL_get_negotiated_group(raw.ssl));
      return done ? std::string(server_side.session.version()) : "";
    };
    std::string cipher;
    int group = 0;
    EXPECT_EQ(connect("newer.test", TLS1_3_VERSION, &cipher, &group), "TLSv1.3");
    EXPECT_EQ(cipher, "TLS_CHACHA20_POLY1305_SHA256");
    EXPECT_EQ(group, NID_secp384r1);
    EXPECT_EQ(connect("newer.test", TLS1_2_VERSION), "");
    EXPECT_EQ(connect("older.test", TLS1_3_VERSION, &cipher), "TLSv1.2");
    EXPECT_EQ(cipher, "ECDHE-ECDSA-AES256-GCM-SHA384");
    EXPECT_EQ(connect("plain.test", TLS1_3_VERSION, &cipher, &group), "TLSv1.3");
    EXPECT_EQ(cipher, "TLS_AES_256_GCM_SHA384");
    EXPECT_EQ(group, NID_X25519);
    EXPECT_EQ(connect("plain.test", TLS1_2_VERSION), "TLSv1.2");
  }
}

TEST(TlsSites, SettingsThatHttp2ForbidsOrNobodyKnowsAreMistakesOfTheirSites) {
  TlsSite cbc = site("cbc", "DNS:cbc.test"), unknown = cbc, reversed = cbc, groups = cbc, authority = cbc;
  cbc.settings.ciphers = "ECDHE-ECDSA-AES128-SHA256";
  unknown.settings.suites = "TLS_NONE";
  groups.settings.groups = "P-1";
  reversed.settings.min_version = net::TlsSettings::tls_1_3;
  reversed.settings.max_version = net::TlsSettings::tls_1_2;
  authority.client_ca_file = certs().path("missing.pem");
  TlsSite lost = site("lost", "DNS:lost.test");
  lost.cert_file = "/missing/cert.pem";
  const auto made = TlsContext::makeSites({.sites = {cbc, unknown, groups, reversed, authority, lost}});
  ASSERT_FALSE(made);
  std::array<std::string, 6> said;
  for (const net::SiteMistake& one : made.error()) said[one.site] += one.sentence;
  EXPECT_NE(said[0].find("ECDHE-ECDSA-AES128-SHA256 is forbidden for HTTP/2"), std::string::npos) << said[0];
  EXPECT_NE(said[1].find("does not know the suites \"TLS_NONE\""), std::string::npos) << said[1];
  EXPECT_NE(said[2].find("does not know the groups \"P-1\""), std::string::npos) << said[2];
  EXPECT_NE(said[3].find("the least version of TLS is above the greatest"), std::string::npos) << said[3];
  EXPECT_NE(said[4].find("cannot read the clients' CA file"), std::string::npos) << said[4];
  EXPECT_NE(said[5].find("cannot read the certificate /missing/cert.pem"), std::string::npos) << said[5];
}

// Connects, and reads so much that tickets have come. Returns whether the session was taken up.
bool resumes(TlsContext& s, TlsContext& c, const char* name) {
  Side server_side(s, ""), client_side(c, name);
  const bool done = shake(client_side, server_side).done;
  EXPECT_TRUE(done);
  if (done) transfer(server_side, client_side, "tickets come with the first bytes");
  EXPECT_EQ(server_side.session.serverName(), name);
  return client_side.session.isResumed();
}

TEST(TlsSites, ATicketIsTakenUpAfterAReload) {
  const std::vector<TlsSite> one = {site("a", "DNS:a.test"), site("b", "DNS:b.test")};
  const auto before = sites(one);
  const auto c = client();
  EXPECT_FALSE(resumes(*before, *c, "b.test"));
  EXPECT_TRUE(resumes(*before, *c, "b.test"));
  const auto stranger = sites(one);
  EXPECT_FALSE(resumes(*stranger, *c, "b.test"));
  EXPECT_FALSE(resumes(*before, *c, "b.test")) << "the newest ticket is the stranger's";
  // The same site, in another place, beside a new one.
  auto after = sites({site("c", "DNS:c.test"), one[1]}, false);
  after->goOnFrom(*before);
  EXPECT_EQ(after->certificates()->loadedCount(), 1u);
  EXPECT_TRUE(resumes(*after, *c, "b.test"));
  before->rotateTicketKeys(ns_per_s);
  EXPECT_TRUE(resumes(*before, *c, "b.test")) << "and the other way round, while both are served";
}

TEST(TlsSites, AChangedAuthorityOrSettingMakesOldTicketsVoid) {
  const TlsSite open = site("open", "DNS:open.test"), closed = site("closed", "DNS:closed.test");
  const auto before = sites({open, with(closed, "ca.pem")});
  const auto c = knownClient();
  EXPECT_FALSE(resumes(*before, *c, "closed.test"));
  EXPECT_TRUE(resumes(*before, *c, "closed.test"));
  auto changed = sites({open, with(closed, "other-ca.pem")});
  changed->goOnFrom(*before);
  Side server_side(*changed, ""), client_side(*c, "closed.test");
  EXPECT_FALSE(shake(client_side, server_side).done) << "a full handshake, in which the client is refused";
  EXPECT_FALSE(client_side.session.isResumed());
  auto asking = sites({open, with(closed, "ca.pem", ClientAuth::request)});
  asking->goOnFrom(*before);
  (void)resumes(*before, *c, "closed.test");
  EXPECT_FALSE(resumes(*asking, *c, "closed.test"));
  EXPECT_TRUE(resumes(*asking, *c, "closed.test"));
}

// A client that has been let into one site may not come into another one by that ticket.
TEST(TlsSites, ATicketIsForTheNameThatItWasGivenFor) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    SCOPED_TRACE(version);
    const auto s = sites({site("a", "DNS:a.test"), site("b", "DNS:b.test"), with(site("c", "DNS:c.test"), "ca.pem")});
    const auto connect = [&](const char* name, SSL_SESSION* offered, SSL_SESSION** given) {
      Side server_side(*s, "");
      RawClient raw(name);
      SSL_set_max_proto_version(raw.ssl, version);
      if (offered != nullptr) SSL_set_session(raw.ssl, offered);
      const bool done = raw.shake(server_side);
      if (done) {
        EXPECT_EQ(*server_side.session.write(asBytes("x")), 1u);
        BIO_write(SSL_get_rbio(raw.ssl), server_side.out.front().data(),
                  static_cast<int>(server_side.out.front().size()));
        server_side.out.consume(server_side.out.front().size());
        char byte = 0;
        EXPECT_EQ(SSL_read(raw.ssl, &byte, 1), 1);
        EXPECT_EQ(server_side.session.serverName(), name);
        if (given != nullptr) *given = SSL_get1_session(raw.ssl);
        SSL_set_shutdown(raw.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
      }
      return std::pair(done, SSL_session_reused(raw.ssl) == 1);
    };
    SSL_SESSION* ticket = nullptr;
    EXPECT_EQ(connect("a.test", nullptr, &ticket), std::pair(true, false));
    EXPECT_EQ(connect("a.test", ticket, nullptr), std::pair(true, true));
    EXPECT_EQ(connect("b.test", ticket, nullptr), std::pair(true, false));
    EXPECT_EQ(connect("c.test", ticket, nullptr), std::pair(false, false));
    SSL_SESSION_free(ticket);
  }
}

TEST(TlsSites, AHandshakeWaitsForItsKeyAndGoesOn) {
  const auto s = sites({site("a", "DNS:a.test"), site("b", "DNS:b.test")}, false);
  const auto c = client();
  Side server_side(*s, ""), client_side(*c, "b.test");
  ASSERT_TRUE(client_side.session.handshake());
  ASSERT_TRUE(server_side.takeFrom(client_side));
  for (int i = 0; i < 3; ++i) {
    const auto step = server_side.session.handshake();
    ASSERT_TRUE(step);
    EXPECT_EQ(*step, TlsSession::Step::want_key);
    EXPECT_EQ(server_side.session.site(), 1u);
    EXPECT_TRUE(server_side.out.empty());
    EXPECT_FALSE(server_side.session.hasUnread());
  }
  EXPECT_EQ(s->certificates()->load(1), "");
  EXPECT_TRUE(shake(client_side, server_side).done);
  EXPECT_TRUE(server_side.session.serverName() == "b.test");
  transfer(client_side, server_side, "a request");
}

TEST(TlsSites, AClientWhoseSiteHasNoKeyIsToldThatItIsNotItsFault) {
  const auto s = sites({site("a", "DNS:a.test")}, false);
  const auto c = client();
  Side server_side(*s, ""), client_side(*c, "a.test");
  ASSERT_TRUE(client_side.session.handshake());
  ASSERT_TRUE(server_side.takeFrom(client_side));
  EXPECT_EQ(*server_side.session.handshake(), TlsSession::Step::want_key);
  server_side.session.refuseKey();
  const auto step = server_side.session.handshake();
  ASSERT_FALSE(step);
  EXPECT_STREQ(step.error().reason, "the site's private key could not be loaded");
  EXPECT_TRUE(server_side.session.hasAlerted());
  ASSERT_TRUE(client_side.takeFrom(server_side));
  const auto heard = client_side.session.handshake();
  ASSERT_FALSE(heard);
  EXPECT_NE(std::string(heard.error().reason).find("internal error"), std::string::npos) << heard.error().reason;
}

// An evicted key must not stay for as long as somebody is connected.
TEST(TlsSites, AKeyIsHeldDuringTheHandshakeAlone) {
  const auto s = sites({site("a", "DNS:a.test")});
  const auto c = client();
  net::LoadedKey* key = s->certificates()->use(0);
  key->release();
  {
    Side server_side(*s, ""), client_side(*c, "a.test");
    ASSERT_TRUE(client_side.session.handshake());
    ASSERT_TRUE(server_side.takeFrom(client_side));
    ASSERT_TRUE(server_side.session.handshake());
    EXPECT_EQ(key->users.load(), 1u);
    EXPECT_TRUE(shake(client_side, server_side).done);
    EXPECT_EQ(key->users.load(), 0u);
    transfer(client_side, server_side, "it goes on without");
    transfer(server_side, client_side, "an answer");
  }
  Side server_side(*s, "");
  {
    Side broken(*s, ""), client_side(*c, "a.test");
    ASSERT_TRUE(client_side.session.handshake());
    ASSERT_TRUE(broken.takeFrom(client_side));
    ASSERT_TRUE(broken.session.handshake());
  }
  EXPECT_EQ(key->users.load(), 0u) << "nor by one that breaks off";
}

// HelloRetryRequest: the second hello is the first one with another key share.
TEST(TlsSites, ASecondHelloForAnotherSiteIsRefused) {
  TlsSite p384 = site("a", "DNS:aaaa.test"), other = site("b", "DNS:bbbb.test");
  for (TlsSite* one : {&p384, &other}) one->settings.groups = "P-384";
  const auto s = sites({site("first", "DNS:first.test"), p384, other});
  for (const bool changes : {false, true}) {
    Side server_side(*s, "");
    RawClient raw("aaaa.test");
    SSL_set1_groups_list(raw.ssl, "X25519:P-384");
    SSL_do_handshake(raw.ssl);
    server_side.wire = raw.takeOutput();
    server_side.session.feed(server_side.wire);
    ASSERT_TRUE(server_side.session.handshake());
    ASSERT_FALSE(server_side.out.empty());
    BIO_write(SSL_get_rbio(raw.ssl), server_side.out.front().data(), static_cast<int>(server_side.out.front().size()));
    server_side.out.clear();
    SSL_do_handshake(raw.ssl);
    server_side.wire = raw.takeOutput();
    const std::string_view name = "aaaa.test";
    const auto found = std::ranges::search(server_side.wire, name);
    ASSERT_FALSE(found.empty());
    if (changes) std::ranges::copy(std::string_view("bbbb.test"), found.begin());
    server_side.session.feed(server_side.wire);
    const auto step = server_side.session.handshake();
    EXPECT_EQ(step.has_value(), !changes);
    EXPECT_EQ(server_side.session.hasAlerted(), changes);
    ERR_clear_error();
  }
}

// What the loading thread's malloc gave is not freed by workers, and what workers' arenas gave comes back to them.
TEST(TlsSites, KeysAreSharedByWorkersAndFreedByTheOneWhoLoadedThem) {
  ASSERT_TRUE(installTlsArena());
  constexpr int workers = 3;
  auto s = sites({site("ec", "DNS:ec.test"), site("rsa", "DNS:rsa.test", "RSA")});
  const auto c = client();
  std::vector<std::unique_ptr<TlsArena>> arenas;
  for (int i = 0; i < workers; ++i) arenas.push_back(std::make_unique<TlsArena>(8 << 20));
  std::vector<std::thread> threads;
  for (auto& arena : arenas) {
    threads.emplace_back([&] {
      TlsArena::bind(arena.get());
      for (int i = 0; i < 20; ++i) {
        for (const char* name : {"ec.test", "rsa.test"}) {
          Side server_side(*s, ""), client_side(*c, name);
          EXPECT_TRUE(shake(client_side, server_side).done);
        }
      }
      TlsArena::bind(nullptr);
    });
  }
  for (std::thread& one : threads) one.join();
  s.reset();
  for (auto& arena : arenas) {
    std::thread([&] {
      TlsArena::bind(arena.get());
      OPENSSL_free(OPENSSL_malloc(1));  // takes back what others freed
      TlsArena::bind(nullptr);
    }).join();
    // The client's sessions, which tickets gave, may lie here.
    EXPECT_LT(arena->liveBytes(), 300u << 10);
    EXPECT_EQ(arena->refusals(), 0u);
  }
}

}  // namespace
}  // namespace plait
