#include "plait/net/client_certificate.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace plait::net {
namespace {

// Appends to a span; what does not fit makes all of it void.
class Writer {
 public:
  explicit Writer(std::span<char> out) : out_(out) {}
  void add(std::string_view text) {
    if (!ok_ || out_.size() - size_ < text.size()) return fail();
    std::memcpy(out_.data() + size_, text.data(), text.size());
    size_ += text.size();
  }
  void add(char c) { add(std::string_view(&c, 1)); }
  void fail() { ok_ = false; }
  std::string_view written() const { return ok_ ? std::string_view(out_.data(), size_) : std::string_view(); }

 private:
  std::span<char> out_;
  size_t size_ = 0;
  bool ok_ = true;
};

// RFC 4648 §4. OpenSSL's ends with a terminator, for which there may be no room.
void encodeGroup(const uint8_t* in, size_t count, char* out) {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const uint32_t bits = in[0] << 16 | (count > 1 ? in[1] : 0) << 8 | (count > 2 ? in[2] : 0);
  out[0] = digits[bits >> 18];
  out[1] = digits[bits >> 12 & 63];
  out[2] = count > 1 ? digits[bits >> 6 & 63] : '=';
  out[3] = count > 2 ? digits[bits & 63] : '=';
}

// Names of hosts and URIs are printable ASCII (RFC 5280 §4.2.1.6); any other one is left out.
std::string_view nameOf(const ASN1_STRING* name) {
  const std::string_view text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name)),
                              static_cast<size_t>(ASN1_STRING_length(name)));
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; }) ? text : std::string_view();
}

// A value with a separator in it is quoted, and quotes in it are escaped.
void addValue(Writer& out, std::string_view value) {
  if (value.find_first_of(",;=\"\\") == value.npos) return out.add(value);
  out.add('"');
  for (const char c : value) {
    if (c == '"' || c == '\\') out.add('\\');
    out.add(c);
  }
  out.add('"');
}

// In RFC 2253's form quotes and backslashes are escaped already, and so is all that is not printable.
void addSubject(Writer& out, X509* certificate) {
  BIO* memory = BIO_new(BIO_s_mem());
  constexpr unsigned long form = XN_FLAG_RFC2253;
  char* text = nullptr;
  if (memory == nullptr || X509_NAME_print_ex(memory, X509_get_subject_name(certificate), 0, form) < 0) {
    out.fail();
  } else if (const long size = BIO_get_mem_data(memory, &text); size > 0) {
    out.add({text, static_cast<size_t>(size)});
  }
  BIO_free(memory);
  ERR_clear_error();
}

void addFingerprint(Writer& out, X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (X509_digest(certificate, EVP_sha256(), digest, &size) != 1) return out.fail();
  for (unsigned i = 0; i < size; ++i) {
    out.add("0123456789abcdef"[digest[i] >> 4]);
    out.add("0123456789abcdef"[digest[i] & 15]);
  }
}

}  // namespace

std::string_view ClientCertificate::clientCert(std::span<char> out) const {
  if (certificate_ == nullptr) return {};
  const int encoded = i2d_X509(certificate_, nullptr);
  if (encoded <= 0) return {};
  const auto size = static_cast<size_t>(encoded);
  const size_t groups = (size + 2) / 3;
  if (out.size() < groups * 4 + 2) return {};
  // The DER lies at the end of `out`. The text grows by four for three bytes that are read, and comes to that end at
  // the same time, so it overwrites nothing that is still to be read.
  uint8_t* der = reinterpret_cast<uint8_t*>(out.data()) + out.size() - size;
  const uint8_t* in = der;
  if (i2d_X509(certificate_, &der) != encoded) return {};
  char* to = out.data();
  *to++ = ':';
  for (size_t left = size; left != 0;) {
    std::array<uint8_t, 3> group{};
    const size_t count = std::min<size_t>(left, group.size());
    std::memcpy(group.data(), in, count);
    encodeGroup(group.data(), count, to);
    in += count;
    left -= count;
    to += 4;
  }
  *to++ = ':';
  return {out.data(), to};
}

std::string_view ClientCertificate::forwardedClientCert(std::span<char> out) const {
  if (certificate_ == nullptr) return {};
  Writer writer(out);
  writer.add("Hash=");
  addFingerprint(writer, certificate_);
  writer.add(";Subject=\"");
  addSubject(writer, certificate_);
  writer.add('"');
  auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate_, NID_subject_alt_name, nullptr, nullptr));
  for (const int type : {GEN_URI, GEN_DNS}) {
    for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
      int found = 0;
      const auto* text =
          static_cast<const ASN1_STRING*>(GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &found));
      const std::string_view name = found == type ? nameOf(text) : std::string_view();
      if (name.empty()) continue;
      writer.add(type == GEN_URI ? ";URI=" : ";DNS=");
      addValue(writer, name);
    }
  }
  GENERAL_NAMES_free(names);
  ERR_clear_error();
  return writer.written();
}

std::string_view ClientCertificate::subject(std::span<char> out) const {
  if (certificate_ == nullptr) return {};
  Writer writer(out);
  addSubject(writer, certificate_);
  return writer.written();
}

std::string_view ClientCertificate::fingerprint(std::span<char> out) const {
  if (certificate_ == nullptr) return {};
  Writer writer(out);
  addFingerprint(writer, certificate_);
  return writer.written();
}

}  // namespace plait::net
