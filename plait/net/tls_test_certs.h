// Certificates for the tests of TLS, made when they are needed and removed with the object.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace plait {

class TestCerts {
 public:
  // `key_type`: "EC", which is P-256, "P-384", "ED25519" or "RSA".
  explicit TestCerts(const char* key_type = "EC") : key_type_(key_type) {
    std::string pattern = (std::filesystem::temp_directory_path() / "plait-tls-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    ca_key_ = makeKey();
    ca_ = make("plait test CA", "", ca_key_, nullptr, nullptr, 3600);
    write("ca.pem", ca_, nullptr);
    issue("server", "DNS:localhost,DNS:*.example.test,IP:127.0.0.1,IP:::1");
    issue("client", "DNS:client.test");
    EVP_PKEY* other_key = makeKey();
    X509* other = make("another CA", "", other_key, nullptr, nullptr, 3600);
    write("other-ca.pem", other, nullptr);
    X509_free(other);
    EVP_PKEY_free(other_key);
  }
  ~TestCerts() {
    X509_free(ca_);
    EVP_PKEY_free(ca_key_);
    std::filesystem::remove_all(directory_);
  }
  TestCerts(const TestCerts&) = delete;
  TestCerts& operator=(const TestCerts&) = delete;

  std::string path(const std::string& name) const { return (directory_ / name).string(); }

  // Makes `name`.pem and `name`.key, valid from and until so many seconds from now.
  void issue(const std::string& name, const std::string& alternatives, long until_s = 90L * 86400, long from_s = -3600,
             const char* key_type = nullptr) const {
    EVP_PKEY* key = makeKey(key_type == nullptr ? key_type_ : key_type);
    X509* cert = make(name.c_str(), alternatives, key, ca_, ca_key_, until_s, from_s);
    write(name + ".pem", cert, nullptr);
    write(name + ".key", nullptr, key);
    X509_free(cert);
    EVP_PKEY_free(key);
  }

 private:
  bool isEd25519() const { return key_type_ == "ED25519"; }
  EVP_PKEY* makeKey() const { return makeKey(key_type_); }
  static EVP_PKEY* makeKey(const std::string& type) {
    if (type == "RSA") return EVP_RSA_gen(2048);
    if (type == "ED25519") return EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
    return EVP_EC_gen(type == "EC" ? "P-256" : type.c_str());
  }

  X509* make(const char* name, const std::string& alternatives, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key,
             long until_s, long from_s = -3600) const {
    X509* cert = X509_new();
    X509_set_version(cert, X509_VERSION_3);
    static long serial = 1;
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), from_s);
    X509_gmtime_adj(X509_getm_notAfter(cert), until_s);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer == nullptr ? cert : issuer));
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer == nullptr ? cert : issuer, cert, nullptr, nullptr, 0);
    const auto extend = [&](int id, const char* value) {
      X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, id, value);
      X509_add_ext(cert, extension, -1);
      X509_EXTENSION_free(extension);
    };
    extend(NID_basic_constraints, issuer == nullptr ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (!alternatives.empty()) extend(NID_subject_alt_name, alternatives.c_str());
    X509_sign(cert, issuer == nullptr ? key : issuer_key, isEd25519() ? nullptr : EVP_sha256());
    return cert;
  }

  void write(const std::string& name, X509* cert, EVP_PKEY* key) const {
    std::FILE* file = std::fopen(path(name).c_str(), "w");
    if (cert != nullptr) PEM_write_X509(file, cert);
    if (key != nullptr) PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
  }

  std::string key_type_;
  std::filesystem::path directory_;
  X509* ca_;
  EVP_PKEY* ca_key_;
};

}  // namespace plait
