#include "plait/net/tls_files.h"

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>

namespace plait {
namespace {

// The expected content of a file.
enum class Kind : uint8_t { certificate, key };

// The labels of a PEM file's parts, each of which begins with -----BEGIN LABEL----- (RFC 7468 §2).
std::vector<std::string> labelsOf(std::string_view text) {
  static constexpr std::string_view begin = "-----BEGIN ";
  std::vector<std::string> labels;
  for (size_t at = text.find(begin); at != text.npos; at = text.find(begin, at)) {
    at += begin.size();
    const size_t end = text.find("-----", at);
    if (end == text.npos) break;
    labels.emplace_back(text.substr(at, end - at));
  }
  return labels;
}

bool isKey(std::string_view label) {
  return label.ends_with("PRIVATE KEY");
}

// One SEQUENCE from end to end (X.690 §8.9).
bool isDer(std::string_view text) {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  long size = 0;
  int tag = 0, kind = 0;
  const int form = ASN1_get_object(&at, &size, &tag, &kind, static_cast<long>(text.size()));
  ERR_clear_error();
  return form == V_ASN1_CONSTRUCTED && tag == V_ASN1_SEQUENCE &&
         at + size == reinterpret_cast<const unsigned char*>(text.data() + text.size());
}

// The mistake in a file that OpenSSL did not take, as a phrase. `reason` is OpenSSL's own, for what has no better
// words.
std::string faultOfFile(const std::string& file, Kind kind, const std::string& reason) {
  struct stat status{};
  if (::stat(file.c_str(), &status) != 0) return std::strerror(errno);
  if (S_ISDIR(status.st_mode)) return "it is a folder";
  if (::access(file.c_str(), R_OK) != 0) return std::strerror(errno);
  // No PEM file that is meant comes near this size.
  std::string text(1 << 20, '\0');
  std::ifstream in(file, std::ios::binary);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.empty()) return "it is empty";
  const std::vector<std::string> labels = labelsOf(text);
  if (labels.empty()) {
    if (!isDer(text)) return "it is no PEM file: no part of it begins with -----BEGIN";
    return std::string("it is in DER form, and plait reads PEM: ") +
           (kind == Kind::certificate ? "openssl x509 -inform DER" : "openssl pkey -inform DER") + " converts it";
  }
  if (kind == Kind::key) {
    if (std::ranges::find(labels, "ENCRYPTED PRIVATE KEY") != labels.end() ||
        text.find("Proc-Type: 4,ENCRYPTED") != text.npos) {
      return "it is encrypted with a passphrase, for which plait cannot ask: openssl pkey writes it without one";
    }
    if (std::ranges::none_of(labels, isKey)) return "it holds no private key, but a " + labels[0];
  } else if (std::ranges::none_of(labels, [](const auto& label) { return label.ends_with("CERTIFICATE"); })) {
    return "it holds no certificate, but a " + labels[0];
  }
  return reason;
}

// The system's certificates in one file. OpenSSL's directory of them is not used: it is searched in the midst of a
// handshake, with file access and malloc on a worker's thread.
std::string useSystemStore(SSL_CTX* context) {
  const char* named = std::getenv(X509_get_default_cert_file_env());
  if (named != nullptr) {
    if (SSL_CTX_load_verify_file(context, named) == 1) return {};
    return std::string("cannot read the CA file ") + named + " that " + X509_get_default_cert_file_env() +
           " names: " + faultOfFile(named, Kind::certificate, tlsReason());
  }
  for (const char* file : {X509_get_default_cert_file(), "/etc/ssl/certs/ca-certificates.crt",
                           "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}) {
    if (::access(file, R_OK) != 0) continue;
    if (SSL_CTX_load_verify_file(context, file) == 1) return {};
    return std::string("cannot read the system's CA file ") + file + ": " +
           faultOfFile(file, Kind::certificate, tlsReason());
  }
  return "the system has no CA file where one is usually found: name one, or install the package ca-certificates";
}

// OpenSSL sorts the store at the first look-up, and the C library's sorting allocates: so it happens here.
void sortStore(SSL_CTX* context) {
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  X509_STORE_lock(store);
  sk_X509_OBJECT_sort(X509_STORE_get0_objects(store));
  X509_STORE_unlock(store);
}

std::string textOf(const tm& parts) {
  char text[64];
  const size_t size = ::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return {text, size};
}

std::string textOf(const ASN1_TIME* time) {
  tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return "an unreadable time";
  return textOf(parts);
}

}  // namespace

std::string tlsReason() {
  const unsigned long code = ERR_peek_error();
  std::string text = "OpenSSL gives no reason";
  if (ERR_SYSTEM_ERROR(code)) {
    text = std::strerror(ERR_GET_REASON(code));
  } else if (const char* reason = ERR_reason_error_string(code); reason != nullptr) {
    text = reason;
  }
  ERR_clear_error();
  return text;
}

std::string certificateFault(const std::string& file, const std::string& reason) {
  return faultOfFile(file, Kind::certificate, reason);
}

std::string timeText(int64_t epoch_s) {
  const auto time = static_cast<time_t>(epoch_s);
  tm parts{};
  if (::gmtime_r(&time, &parts) == nullptr) return "an unreadable time";
  return textOf(parts);
}

std::string useCertificate(SSL_CTX* context, const std::string& cert, const std::string& key) {
  if (key.empty()) return "the certificate " + cert + " needs a private key and none is named";
  if (cert.empty()) return "the private key " + key + " needs a certificate and none is named";
  if (SSL_CTX_use_certificate_chain_file(context, cert.c_str()) != 1) {
    return "cannot read the certificate " + cert + ": " + faultOfFile(cert, Kind::certificate, tlsReason());
  }
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH) {
      ERR_clear_error();
      return "the private key " + key + " does not belong to the certificate " + cert;
    }
    return "cannot read the private key " + key + ": " + faultOfFile(key, Kind::key, tlsReason());
  }
  if (SSL_CTX_check_private_key(context) != 1) {
    ERR_clear_error();
    return "the private key " + key + " does not belong to the certificate " + cert;
  }
  return {};
}

std::string useAuthorities(SSL_CTX* context, const std::string& file) {
  std::string wrong;
  if (file.empty()) {
    wrong = useSystemStore(context);
  } else if (SSL_CTX_load_verify_file(context, file.c_str()) != 1) {
    wrong = "cannot read the CA file " + file + ": " + faultOfFile(file, Kind::certificate, tlsReason());
  }
  if (wrong.empty()) sortStore(context);
  return wrong;
}

std::string useClientAuthorities(SSL_CTX* context, const std::string& file) {
  STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(file.c_str());
  if (names == nullptr || SSL_CTX_load_verify_file(context, file.c_str()) != 1) {
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    return "cannot read the clients' CA file " + file + ": " + faultOfFile(file, Kind::certificate, tlsReason());
  }
  SSL_CTX_set_client_CA_list(context, names);
  sortStore(context);
  return {};
}

int64_t certificateEnd(SSL_CTX* context) {
  const X509* own = SSL_CTX_get0_certificate(context);
  tm parts{};
  if (own == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(own), &parts) != 1) return 0;
  return ::timegm(&parts);
}

std::string endSentence(const std::string& which, int64_t not_after_s, int64_t now_s) {
  const int64_t left_s = not_after_s - now_s;
  if (left_s < 0) return which + " has expired: it was valid until " + timeText(not_after_s);
  if (left_s >= warn_before_end_s) return {};
  const int64_t days = left_s / 86400;
  return which + " expires in " + std::to_string(days) + (days == 1 ? " day" : " days") + ", at " +
         timeText(not_after_s);
}

std::vector<std::string> certificateWarnings(SSL_CTX* context, const std::string& cert, int64_t now_s) {
  std::vector<std::string> warnings;
  auto now = static_cast<time_t>(now_s);
  const auto look = [&](const X509* certificate, const std::string& which) {
    tm parts{};
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) != 1) {
      warnings.push_back(which + " has an end that cannot be read");
    } else if (std::string ends = endSentence(which, ::timegm(&parts), now_s); !ends.empty()) {
      warnings.push_back(std::move(ends));
    }
    if (X509_cmp_time(X509_get0_notBefore(certificate), &now) > 0)
      warnings.push_back(which + " is not valid yet: it will be from " + textOf(X509_get0_notBefore(certificate)));
  };
  if (const X509* own = SSL_CTX_get0_certificate(context)) look(own, "the certificate " + cert);
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(context, &chain);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    look(sk_X509_value(chain, i), "certificate " + std::to_string(i + 2) + " of the chain in " + cert);
  }
  return warnings;
}

}  // namespace plait
