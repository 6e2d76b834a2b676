#include "plait/net/tls_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "plait/net/tls.h"
#include "plait/net/tls_test_certs.h"

namespace plait {
namespace {

const TestCerts& certs() {
  static const TestCerts made;
  return made;
}

std::string serverError(TlsServerOptions options) {
  const auto made = TlsContext::makeServer(options);
  return made ? "" : made.error();
}

TEST(TlsFiles, SayWhichIsWrongAndWhy) {
  const std::string cert = certs().path("server.pem"), key = certs().path("server.key");
  const std::string missing = certs().path("missing.pem"), garbage = certs().path("garbage.pem");
  std::ofstream(garbage) << "this is no PEM\n";
  EXPECT_EQ(serverError({missing, key}), "cannot read the certificate " + missing + ": No such file or directory");
  EXPECT_EQ(serverError({garbage, key}),
            "cannot read the certificate " + garbage + ": it is no PEM file: no part of it begins with -----BEGIN");
  EXPECT_EQ(serverError({cert, missing}), "cannot read the private key " + missing + ": No such file or directory");
  EXPECT_NE(serverError({cert, garbage}).find("cannot read the private key " + garbage + ": "), std::string::npos);
  EXPECT_EQ(serverError({cert, certs().path("client.key")}),
            "the private key " + certs().path("client.key") + " does not belong to the certificate " + cert);
  EXPECT_NE(serverError({cert, ""}), "");
  EXPECT_NE(serverError({"", ""}), "");
  EXPECT_NE(serverError({cert, key, {std::string(256, 'x')}}), "");
  EXPECT_NE(serverError({cert, key, {""}}), "");
  EXPECT_EQ(serverError({.cert_file = cert, .key_file = key, .client_ca_file = missing}),
            "cannot read the clients' CA file " + missing + ": No such file or directory");
  const auto client_made = TlsContext::makeClient({.ca_file = missing});
  ASSERT_FALSE(client_made);
  EXPECT_NE(client_made.error().find("cannot read the CA file " + missing + ": "), std::string::npos)
      << client_made.error();
}

// Writes a private key in another form than that of the other tests.
template <class Write>
std::string writeKey(const std::string& name, Write write) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  const std::string path = certs().path(name);
  std::FILE* file = std::fopen(path.c_str(), "w");
  write(file, key);
  std::fclose(file);
  EVP_PKEY_free(key);
  return path;
}

TEST(TlsFiles, AKeyWithAPassphraseIsSaidInWordsAndNobodyIsAskedForIt) {
  const std::string cert = certs().path("server.pem");
  const std::string pkcs8 = writeKey("pkcs8.key", [](std::FILE* file, EVP_PKEY* key) {
    PEM_write_PKCS8PrivateKey(file, key, EVP_aes_128_cbc(), "secret", 6, nullptr, nullptr);
  });
  const std::string traditional = writeKey("traditional.key", [](std::FILE* file, EVP_PKEY* key) {
    BIO* bio = BIO_new_fp(file, BIO_NOCLOSE);
    PEM_write_bio_PrivateKey_traditional(bio, key, EVP_aes_128_cbc(), reinterpret_cast<const unsigned char*>("secret"),
                                         6, nullptr, nullptr);
    BIO_free(bio);
  });
  for (const std::string& path : {pkcs8, traditional}) {
    EXPECT_EQ(
        serverError({cert, path}),
        "cannot read the private key " + path +
            ": it is encrypted with a passphrase, for which plait cannot ask: openssl pkey writes it without one");
  }
}

TEST(TlsFiles, AFileOfAnotherKindIsNamedForWhatItIs) {
  const std::string cert = certs().path("server.pem"), key = certs().path("server.key");
  EXPECT_EQ(serverError({key, key}),
            "cannot read the certificate " + key + ": it holds no certificate, but a PRIVATE KEY");
  EXPECT_EQ(serverError({cert, cert}),
            "cannot read the private key " + cert + ": it holds no private key, but a CERTIFICATE");
  const std::string empty = certs().path("empty.pem");
  std::ofstream{empty};
  EXPECT_EQ(serverError({empty, key}), "cannot read the certificate " + empty + ": it is empty");
  const std::string folder = std::filesystem::path(cert).parent_path().string();
  EXPECT_EQ(serverError({folder, key}), "cannot read the certificate " + folder + ": it is a folder");
  const std::string der = writeKey("der.key", [](std::FILE* file, EVP_PKEY* made) { i2d_PrivateKey_fp(file, made); });
  EXPECT_EQ(serverError({cert, der}),
            "cannot read the private key " + der +
                ": it is in DER form, and plait reads PEM: openssl pkey -inform DER converts it");
}

TEST(TlsFiles, ACertificateOutOfItsTimeIsAWarning) {
  const auto warningsOf = [](const std::string& name) {
    const auto made =
        TlsContext::makeServer({.cert_file = certs().path(name + ".pem"), .key_file = certs().path(name + ".key")});
    EXPECT_TRUE(made) << (made ? "" : made.error());
    return made ? made->get()->warnings() : std::vector<std::string>();
  };
  EXPECT_TRUE(warningsOf("server").empty());
  certs().issue("old", "DNS:localhost", -60);
  certs().issue("early", "DNS:localhost", 90L * 86400, 60);
  certs().issue("soon", "DNS:localhost", 20L * 86400 + 3600);
  const auto old = warningsOf("old"), early = warningsOf("early"), soon = warningsOf("soon");
  ASSERT_EQ(soon.size(), 1u);
  EXPECT_TRUE(soon[0].starts_with("the certificate " + certs().path("soon.pem") + " expires in 20 days, at 20"))
      << soon[0];
  ASSERT_EQ(old.size(), 1u);
  EXPECT_TRUE(old[0].starts_with("the certificate " + certs().path("old.pem") + " has expired: it was valid until 20"))
      << old[0];
  EXPECT_TRUE(old[0].ends_with(" UTC")) << old[0];
  ASSERT_EQ(early.size(), 1u);
  EXPECT_TRUE(
      early[0].starts_with("the certificate " + certs().path("early.pem") + " is not valid yet: it will be from 20"))
      << early[0];
  // A server that is well, with an authority that is not.
  std::ofstream chain(certs().path("chain.pem"));
  for (const char* part : {"server.pem", "ca.pem", "old.pem"}) chain << std::ifstream(certs().path(part)).rdbuf();
  chain.close();
  std::filesystem::copy(certs().path("server.key"), certs().path("chain.key"));
  const auto third = warningsOf("chain");
  // The authority that made it ends soon, too.
  ASSERT_FALSE(third.empty());
  EXPECT_TRUE(third.back().starts_with("certificate 3 of the chain in " + certs().path("chain.pem") + " has expired"))
      << third.back();
}

}  // namespace
}  // namespace plait
