#include "plait/net/certificate_facts.h"

#include <openssl/evp.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace plait::net {
namespace {

using namespace std::string_view_literals;

enum Tag : uint8_t {
  boolean = 0x01,
  integer = 0x02,
  octet_string = 0x04,
  object_id = 0x06,
  utc_time = 0x17,
  generalized_time = 0x18,
  sequence = 0x30,
  dns_name = 0x82,    // GeneralName [2]
  version = 0xa0,     // TBSCertificate [0]
  extensions = 0xa3,  // TBSCertificate [3]
};

// A part of DER (X.690 §8.1): elements one behind the other. A mistake leaves it empty, and every later take() fails.
class Der {
 public:
  explicit Der(std::string_view text) : rest_(text) {}

  bool isEmpty() const { return rest_.empty(); }
  bool begins(Tag tag) const { return !rest_.empty() && static_cast<uint8_t>(rest_[0]) == tag; }
  // The next element's content, where its tag is this one.
  std::optional<std::string_view> take(Tag tag) { return begins(tag) ? takeAny() : std::nullopt; }
  std::optional<Der> enter(Tag tag) {
    const auto content = take(tag);
    return content ? std::optional(Der(*content)) : std::nullopt;
  }
  // The next element's content, whatever its tag.
  std::optional<std::string_view> takeAny() {
    const std::string_view all = std::exchange(rest_, {});
    // Tags of several bytes do not occur in certificates.
    if (all.size() < 2 || (all[0] & 0x1f) == 0x1f) return {};
    size_t size = static_cast<uint8_t>(all[1]);
    size_t header = 2;
    if (size >= 0x80) {
      const size_t bytes = size & 0x7f;
      if (bytes == 0 || bytes > 3 || all.size() < 2 + bytes) return {};
      size = 0;
      for (size_t i = 0; i < bytes; ++i) size = size << 8 | static_cast<uint8_t>(all[2 + i]);
      header += bytes;
    }
    if (all.size() - header < size) return {};
    rest_ = all.substr(header + size);
    return all.substr(header, size);
  }

 private:
  std::string_view rest_;
};

// RFC 5280 §4.1.2.5: always to the second and in UTC.
std::optional<int64_t> takeTime(Der& from) {
  const bool is_short = from.begins(utc_time);
  const auto text = from.take(is_short ? utc_time : generalized_time);
  if (!text || text->size() != (is_short ? 13 : 15) || text->back() != 'Z') return {};
  const std::string_view digits = text->substr(0, text->size() - 1);
  if (!std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; })) return {};
  const auto number = [&](size_t at, size_t count) {
    int value = 0;
    for (const char c : digits.substr(at, count)) value = value * 10 + (c - '0');
    return value;
  };
  const size_t at = is_short ? 2 : 4;
  const int short_year = is_short ? number(0, 2) : 0;
  const int year = is_short ? short_year + (short_year < 50 ? 2000 : 1900) : number(0, 4);
  using namespace std::chrono;
  const year_month_day day(std::chrono::year(year), month(static_cast<unsigned>(number(at, 2))),
                           std::chrono::day(static_cast<unsigned>(number(at + 2, 2))));
  if (!day.ok()) return {};
  return duration_cast<seconds>(sys_days(day).time_since_epoch()).count() + number(at + 4, 2) * 3600 +
         number(at + 6, 2) * 60 + number(at + 8, 2);
}

KeyKind kindOf(std::string_view algorithm, std::string_view curve) {
  if (algorithm == "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"sv) return KeyKind::rsa;
  if (algorithm == "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"sv) return KeyKind::rsa_pss;
  if (algorithm == "\x2b\x65\x70"sv) return KeyKind::ed25519;
  if (algorithm == "\x2b\x65\x71"sv) return KeyKind::ed448;
  if (algorithm != "\x2a\x86\x48\xce\x3d\x02\x01"sv) return KeyKind::other;
  if (curve == "\x2a\x86\x48\xce\x3d\x03\x01\x07"sv) return KeyKind::p256;
  if (curve == "\x2b\x81\x04\x00\x22"sv) return KeyKind::p384;
  if (curve == "\x2b\x81\x04\x00\x23"sv) return KeyKind::p521;
  return KeyKind::other;
}

void addNames(Der list, std::vector<std::string>& names) {
  while (!list.isEmpty()) {
    const bool is_name = list.begins(dns_name);
    const auto content = list.takeAny();
    if (!content) return;
    if (!is_name) continue;
    const bool is_wildcard = content->starts_with("*.");
    std::array<char, 256> room;
    const std::string_view host = hostName(is_wildcard ? content->substr(2) : *content, room);
    if (host.empty()) continue;
    std::string name = (is_wildcard ? "*." : "") + std::string(host);
    if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
  }
}

void addExtensions(Der list, std::vector<std::string>& names) {
  while (!list.isEmpty()) {
    auto extension = list.enter(sequence);
    if (!extension) return;
    const auto id = extension->take(object_id);
    if (extension->begins(boolean)) extension->takeAny();
    const auto value = extension->take(octet_string);
    if (!id || !value || *id != "\x55\x1d\x11"sv) continue;  // subjectAltName, RFC 5280 §4.2.1.6
    if (auto general_names = Der(*value).enter(sequence)) addNames(*general_names, names);
  }
}

// The content of a PEM part, which may have line breaks and blanks anywhere (RFC 7468 §3).
std::optional<std::string> decodeBase64(std::string_view text) {
  std::string digits;
  digits.reserve(text.size());
  std::ranges::copy_if(text, std::back_inserter(digits),
                       [](char c) { return c != '\n' && c != '\r' && c != ' ' && c != '\t'; });
  std::string decoded(digits.size() / 4 * 3, '\0');
  const int size =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                      reinterpret_cast<const unsigned char*>(digits.data()), static_cast<int>(digits.size()));
  if (size < 0 || digits.empty()) return {};
  // EVP_DecodeBlock counts the padding too.
  const size_t padding = digits.ends_with("==") ? 2 : digits.ends_with('=') ? 1 : 0;
  decoded.resize(static_cast<size_t>(size) - padding);
  return decoded;
}

}  // namespace

const char* keyKindName(KeyKind kind) {
  switch (kind) {
    case KeyKind::p256:
      return "P-256";
    case KeyKind::ed25519:
      return "Ed25519";
    case KeyKind::p384:
      return "P-384";
    case KeyKind::p521:
      return "P-521";
    case KeyKind::ed448:
      return "Ed448";
    case KeyKind::rsa:
      return "RSA";
    case KeyKind::rsa_pss:
      return "RSA-PSS";
    case KeyKind::other:
      break;
  }
  return "unknown";
}

std::string_view hostName(std::string_view given, std::array<char, 256>& room) {
  if (given.ends_with('.')) given.remove_suffix(1);
  if (given.empty() || given.size() >= room.size() || given.front() == '.') return {};
  for (size_t i = 0; i < given.size(); ++i) {
    const char c = given[i];
    const bool is_upper = c >= 'A' && c <= 'Z';
    const bool is_other =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || (c == '.' && given[i - 1] != '.');
    if (!is_upper && !is_other) return {};
    room[i] = is_upper ? static_cast<char>(c + ('a' - 'A')) : c;
  }
  return {room.data(), given.size()};
}

std::optional<CertificateFacts> readCertificate(std::string_view der) {
  auto certificate = Der(der).enter(sequence);
  if (!certificate) return {};
  auto signed_part = certificate->enter(sequence);
  if (!signed_part) return {};
  if (signed_part->begins(version)) signed_part->takeAny();
  if (!signed_part->take(integer) || !signed_part->take(sequence) || !signed_part->take(sequence)) return {};
  auto validity = signed_part->enter(sequence);
  if (!validity) return {};
  const auto not_before = takeTime(*validity);
  const auto not_after = takeTime(*validity);
  if (!not_before || !not_after || !signed_part->take(sequence)) return {};
  auto key = signed_part->enter(sequence);
  if (!key) return {};
  auto algorithm = key->enter(sequence);
  if (!algorithm) return {};
  const auto id = algorithm->take(object_id);
  if (!id) return {};
  CertificateFacts facts;
  facts.not_before_s = *not_before;
  facts.not_after_s = *not_after;
  facts.kind = kindOf(*id, algorithm->take(object_id).value_or(""));
  while (!signed_part->isEmpty()) {
    const bool is_extensions = signed_part->begins(extensions);
    const auto content = signed_part->takeAny();
    if (!content) return {};
    if (!is_extensions) continue;
    if (auto list = Der(*content).enter(sequence)) addExtensions(*list, facts.names);
  }
  return facts;
}

std::expected<std::vector<CertificateFacts>, std::string> readCertificates(std::string_view pem) {
  static constexpr std::string_view begin = "-----BEGIN ";
  static constexpr std::string_view end = "-----END ";
  std::vector<CertificateFacts> found;
  for (size_t at = pem.find(begin); at != pem.npos; at = pem.find(begin, at)) {
    at += begin.size();
    const size_t label_end = pem.find("-----", at);
    if (label_end == pem.npos) break;
    const std::string_view label = pem.substr(at, label_end - at);
    // OpenSSL takes these three for a certificate.
    if (label != "CERTIFICATE" && label != "X509 CERTIFICATE" && label != "TRUSTED CERTIFICATE") continue;
    const size_t content = label_end + 5;
    const size_t content_end = pem.find(end, content);
    if (content_end == pem.npos) return std::unexpected("a certificate in it has no END line");
    const auto der = decodeBase64(pem.substr(content, content_end - content));
    auto facts = der ? readCertificate(*der) : std::nullopt;
    if (!facts) return std::unexpected("a certificate in it is damaged");
    found.push_back(std::move(*facts));
    at = content_end;
  }
  if (found.empty()) return std::unexpected("it holds no certificate");
  return found;
}

}  // namespace plait::net
