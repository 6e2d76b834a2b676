// A certificate's names and dates: none is read that OpenSSL does not find in the same bytes. It finds more, for it
// takes BER where DER is asked for.
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <time.h>

#include "fuzz/target.h"
#include "plait/net/certificate_facts.h"

using namespace plait;
using namespace plait::fuzz;

namespace {

// Nothing where the list makes no sense, or is there twice.
std::optional<std::vector<std::string>> namesOf(X509* certificate) {
  auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  if (names == nullptr) return {};
  std::vector<std::string> found;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    int type = 0;
    const auto* text = static_cast<const ASN1_STRING*>(GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type));
    if (type != GEN_DNS) continue;
    const std::string_view name(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                                static_cast<size_t>(ASN1_STRING_length(text)));
    std::array<char, 256> room;
    const bool is_wildcard = name.starts_with("*.");
    const std::string_view host = net::hostName(is_wildcard ? name.substr(2) : name, room);
    std::string made = (is_wildcard ? "*." : "") + std::string(host);
    if (!host.empty() && std::ranges::find(found, made) == found.end()) found.push_back(std::move(made));
  }
  GENERAL_NAMES_free(names);
  return found;
}

bool isAt(const ASN1_TIME* time, int64_t epoch_s) {
  tm parts{};
  return ASN1_TIME_to_tm(time, &parts) != 1 || ::timegm(&parts) == epoch_s;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> copy = exact({data, size});
  const auto facts = net::readCertificate(asText(copy));
  const uint8_t* at = copy.data();
  X509* certificate = d2i_X509(nullptr, &at, static_cast<long>(copy.size()));
  if (certificate != nullptr && facts) {
    require(isAt(X509_get0_notBefore(certificate), facts->not_before_s));
    require(isAt(X509_get0_notAfter(certificate), facts->not_after_s));
    const auto names = namesOf(certificate);
    for (const std::string& name : facts->names) require(!names || std::ranges::find(*names, name) != names->end());
  }
  X509_free(certificate);
  ERR_clear_error();
  // Text of any kind.
  (void)net::readCertificates(asText(copy));
  std::array<char, 256> room;
  const std::string_view host = net::hostName(asText(copy), room);
  for (const char c : host)
    require((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.');
  return 0;
}
