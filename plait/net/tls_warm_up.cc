#include "plait/net/tls_warm_up.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

namespace plait {
namespace {

X509* makeCertificate(EVP_PKEY* key) {
  X509* cert = X509_new();
  if (cert == nullptr) return nullptr;
  X509_set_version(cert, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
  X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
  X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
  X509_set_pubkey(cert, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("warm-up"), -1, -1, 0);
  X509_set_issuer_name(cert, X509_get_subject_name(cert));
  X509_sign(cert, key, EVP_sha256());
  return cert;
}

void shakeHands(SSL_CTX* server_context, SSL_CTX* client_context, int version) {
  SSL* server = SSL_new(server_context);
  SSL* client = SSL_new(client_context);
  BIO* server_end = nullptr;
  BIO* client_end = nullptr;
  // Each end of the pair takes 64 KiB, more than either side sends before it waits.
  if (server != nullptr && client != nullptr && BIO_new_bio_pair(&server_end, 64 << 10, &client_end, 64 << 10) == 1) {
    SSL_set_bio(server, server_end, server_end);
    SSL_set_bio(client, client_end, client_end);
    SSL_set_max_proto_version(client, version);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    for (int i = 0; i < 4; ++i) {
      SSL_do_handshake(client);
      SSL_do_handshake(server);
    }
    char byte = 'x';
    SSL_write(server, &byte, 1);
    SSL_read(client, &byte, 1);
    SSL_shutdown(client);
  }
  SSL_free(server);
  SSL_free(client);
}

void warmUp() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* cert = key == nullptr ? nullptr : makeCertificate(key);
  SSL_CTX* server = SSL_CTX_new(TLS_server_method());
  SSL_CTX* client = SSL_CTX_new(TLS_client_method());
  if (cert != nullptr && server != nullptr && client != nullptr) {
    SSL_CTX_use_certificate(server, cert);
    SSL_CTX_use_PrivateKey(server, key);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(client), cert);
    SSL_CTX_set_verify(client, SSL_VERIFY_PEER, nullptr);
    shakeHands(server, client, TLS1_3_VERSION);
    shakeHands(server, client, TLS1_2_VERSION);
  }
  SSL_CTX_free(client);
  SSL_CTX_free(server);
  X509_free(cert);
  EVP_PKEY_free(key);
  // The texts of errors are loaded on first use too.
  ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_NO_SHARED_CIPHER));
  ERR_clear_error();
}

}  // namespace

void warmUpTls() {
  [[maybe_unused]] static const bool is_warm = (warmUp(), true);
}

}  // namespace plait
