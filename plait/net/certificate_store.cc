#include "plait/net/certificate_store.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <set>
#include <tuple>
#include <utility>

#include "plait/base/assert.h"
#include "plait/io/mailbox.h"
#include "plait/net/tls_files.h"

namespace plait::net {
namespace {

// The numbers of RFC 8446 §4.2.3 and §4.2.7 (RFC 8422 §5.1.1).
enum Group : uint16_t { secp256r1 = 0x0017, secp384r1 = 0x0018, secp521r1 = 0x0019 };

bool lists(Bytes list, uint16_t wanted) {
  for (size_t i = 0; i + 1 < list.size(); i += 2) {
    if ((list[i] << 8 | list[i + 1]) == wanted) return true;
  }
  return false;
}

bool listsAny(Bytes list, std::initializer_list<uint16_t> wanted) {
  return std::ranges::any_of(wanted, [&](uint16_t one) { return lists(list, one); });
}

// OpenSSL works some things out when a certificate or key is first used, and keeps them: better here than on a worker,
// whose arena may be at its end. A signature also shows that the key can be used at all.
void warmUp(const LoadedKey& loaded) {
  X509_check_purpose(loaded.certificate, -1, 0);
  for (int i = 0; i < sk_X509_num(loaded.chain); ++i) X509_check_purpose(sk_X509_value(loaded.chain, i), -1, 0);
  const int id = EVP_PKEY_get_id(loaded.key);
  const bool hashes_itself = id == EVP_PKEY_ED25519 || id == EVP_PKEY_ED448;
  unsigned char signature[2048];
  size_t size = sizeof(signature);
  EVP_MD_CTX* digest = EVP_MD_CTX_new();
  if (digest != nullptr &&
      EVP_DigestSignInit(digest, nullptr, hashes_itself ? nullptr : EVP_sha256(), nullptr, loaded.key) == 1) {
    EVP_DigestSign(digest, signature, &size, reinterpret_cast<const unsigned char*>("warm"), 4);
  }
  EVP_MD_CTX_free(digest);
  ERR_clear_error();
}

// The beginning of a file, up to more than any chain has; empty where it cannot be read.
std::string readFile(const std::string& name) {
  std::string text;
  const int fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  for (size_t size = 8 << 10; size <= 1 << 20; size *= 4) {
    const size_t had = text.size();
    text.resize(size);
    const ssize_t got = ::read(fd, text.data() + had, size - had);
    text.resize(had + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (text.size() < size) break;
  }
  ::close(fd);
  return text;
}

Fingerprint fingerprintOf(std::string_view text) {
  unsigned char hash[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash);
  Fingerprint made;
  std::memcpy(made.data(), hash, made.size());
  return made;
}

}  // namespace

LoadedKey::~LoadedKey() {
  PLAIT_ASSERT(users.load() == 0);
  X509_free(certificate);
  sk_X509_pop_free(chain, X509_free);
  EVP_PKEY_free(key);
}

bool ClientOffer::accepts(KeyKind kind) const {
  // A client of TLS 1.2 may sign with any curve that it names as a group, whatever the hash (RFC 8422 §5.1.1); in TLS
  // 1.3 the curve is part of the scheme.
  const auto ecdsa = [&](uint16_t scheme, uint16_t group) {
    if (speaks_tls_1_3) return lists(signature_algorithms, scheme);
    return has_ecdsa_suite && listsAny(signature_algorithms, {0x0403, 0x0503, 0x0603}) &&
           (groups.empty() || lists(groups, group));
  };
  const bool may_ecdsa = speaks_tls_1_3 || has_ecdsa_suite;
  const bool may_rsa = speaks_tls_1_3 || has_rsa_suite;
  switch (kind) {
    case KeyKind::p256:
      return ecdsa(0x0403, secp256r1);
    case KeyKind::p384:
      return ecdsa(0x0503, secp384r1);
    case KeyKind::p521:
      return ecdsa(0x0603, secp521r1);
    case KeyKind::ed25519:
      return may_ecdsa && lists(signature_algorithms, 0x0807);
    case KeyKind::ed448:
      return may_ecdsa && lists(signature_algorithms, 0x0808);
    case KeyKind::rsa:
      if (speaks_tls_1_3) return listsAny(signature_algorithms, {0x0804, 0x0805, 0x0806});
      return may_rsa && (signature_algorithms.empty() ||
                         listsAny(signature_algorithms, {0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806}));
    case KeyKind::rsa_pss:
      return may_rsa && listsAny(signature_algorithms, {0x0809, 0x080a, 0x080b});
    case KeyKind::other:
      break;
  }
  return false;
}

uint32_t CertificateStore::keep(std::string_view kept) {
  const auto at = static_cast<uint32_t>(text_.size());
  text_.insert(text_.end(), kept.begin(), kept.end());
  text_.push_back('\0');
  return at;
}

// The names go to `names`; the rest into the site.
std::string CertificateStore::read(uint32_t number, std::vector<std::pair<std::string, uint32_t>>& names) {
  Site& site = sites_[number];
  const std::string cert = certFile(number);
  const std::string pem = readFile(cert);
  auto facts = readCertificates(pem);
  if (!facts) return "cannot read the certificate " + cert + ": " + certificateFault(cert, facts.error());
  const std::string key = keyFile(number);
  if (::access(key.c_str(), R_OK) != 0) return "cannot read the private key " + key + ": " + std::strerror(errno);
  const CertificateFacts& own = facts->front();
  site.not_before_s = own.not_before_s;
  site.not_after_s = own.not_after_s;
  site.kind = own.kind;
  site.fingerprint = fingerprintOf(pem);
  for (const std::string& name : own.names) names.emplace_back(name, number);
  if (own.names.empty() && number != 0) {
    warnings_.push_back({number, "the certificate " + cert + " names no host, so no client will be shown it"});
  }
  return {};
}

void CertificateStore::sortNames(std::vector<std::pair<std::string, uint32_t>>& names,
                                 std::vector<SiteMistake>& mistakes) {
  std::ranges::sort(names, [&](const auto& one, const auto& other) {
    return std::tuple(std::string_view(one.first), sites_[one.second].kind, one.second) <
           std::tuple(std::string_view(other.first), sites_[other.second].kind, other.second);
  });
  for (size_t i = 0; i < names.size(); ++i) {
    const auto& [name, site] = names[i];
    uint32_t at = 0;
    if (i != 0 && names[i - 1].first == name) {
      const uint32_t other = names_.back().site;
      const std::string both = certFile(std::min(site, other)) + " and " + certFile(std::max(site, other));
      if (sites_[other].policy != sites_[site].policy) {
        // The client's taste in signatures must not decide which authority it is held against.
        mistakes.push_back({std::max(site, other), "the certificates " + both + " are both for " + name +
                                                       ", and differ in their client_ca or TLS settings"});
        continue;
      }
      if (sites_[other].kind == sites_[site].kind) {
        warnings_.push_back({site, "the certificates " + both + " are both for " + name + ", and the first is used"});
        continue;
      }
      at = names_.back().at;
    } else {
      at = keep(name);
    }
    names_.push_back({at, site});
  }
}

std::expected<std::unique_ptr<CertificateStore>, std::vector<SiteMistake>> CertificateStore::make(
    std::span<const SiteFiles> sites, size_t most_loaded) {
  PLAIT_ASSERT(!sites.empty() && sites.size() < no_site && most_loaded != 0);
  std::unique_ptr<CertificateStore> made(new CertificateStore(most_loaded));
  made->sites_.resize(sites.size());
  std::vector<SiteMistake> mistakes;
  std::vector<std::pair<std::string, uint32_t>> names;
  for (uint32_t i = 0; i < sites.size(); ++i) {
    Site& site = made->sites_[i];
    site.cert_at = made->keep(sites[i].cert_file);
    site.key_at = made->keep(sites[i].key_file);
    site.policy = sites[i].policy;
    if (sites[i].cert_file.empty() || sites[i].key_file.empty()) {
      mistakes.push_back({i, sites[i].cert_file.empty()
                                 ? "a site needs a certificate and none is named"
                                 : "the certificate " + sites[i].cert_file + " needs a private key and none is named"});
    } else if (std::string wrong = made->read(i, names); !wrong.empty()) {
      mistakes.push_back({i, std::move(wrong)});
    }
  }
  made->names_.reserve(names.size());
  made->sortNames(names, mistakes);
  if (!mistakes.empty()) return std::unexpected(std::move(mistakes));
  made->names_.shrink_to_fit();
  made->text_.shrink_to_fit();
  // Clients without a name, or with another one, may need another kind of key than the first site's.
  const auto first = std::ranges::find(names, 0u, &std::pair<std::string, uint32_t>::second);
  if (first != names.end()) {
    const auto same = made->find(first->first);
    made->fallback_.assign(same.begin(), same.end());
  }
  if (std::ranges::none_of(made->fallback_, [](const Name& name) { return name.site == 0; })) {
    made->fallback_.assign(1, {0, 0});
  }
  return made;
}

CertificateStore::~CertificateStore() {
  for (const Site& site : sites_) PLAIT_ASSERT(site.waiting == nullptr);
}

std::span<const CertificateStore::Name> CertificateStore::find(std::string_view name) const {
  const auto [first, last] =
      std::ranges::equal_range(names_, name, {}, [this](const Name& one) { return std::string_view(text(one.at)); });
  return {first, last};
}

std::span<const CertificateStore::Name> CertificateStore::candidates(std::string_view given) const {
  std::array<char, 256> room;
  const std::string_view host = hostName(given, room);
  if (host.empty()) return fallback_;
  if (const auto found = find(host); !found.empty()) return found;
  if (const size_t dot = host.find('.'); dot != host.npos && dot != 0) {
    room[dot - 1] = '*';
    if (const auto found = find(host.substr(dot - 1)); !found.empty()) return found;
  }
  return fallback_;
}

uint32_t CertificateStore::select(std::string_view server_name, const ClientOffer& offer) const {
  const std::span<const Name> found = candidates(server_name);
  if (found.size() > 1) {
    for (const Name& one : found) {
      if (offer.accepts(sites_[one.site].kind)) return one.site;
    }
  }
  // OpenSSL finds the words where a client can verify none.
  return found.back().site;
}

bool CertificateStore::couldSelect(uint32_t site, std::string_view server_name) const {
  return std::ranges::any_of(candidates(server_name), [&](const Name& one) { return one.site == site; });
}

uint32_t CertificateStore::soonest() const {
  const auto found = std::ranges::min_element(sites_, {}, &Site::not_after_s);
  return static_cast<uint32_t>(found - sites_.begin());
}

std::string endWarning(const std::string& cert_file, int64_t not_after_s, int64_t now_s) {
  return endSentence("the certificate " + cert_file, not_after_s, now_s);
}

std::vector<SiteMistake> CertificateStore::dateWarnings(int64_t now_s) const {
  std::vector<SiteMistake> found;
  for (size_t i = 0; i < sites_.size(); ++i) {
    const Site& site = sites_[i];
    std::string said = endWarning(text(site.cert_at), site.not_after_s, now_s);
    if (site.not_before_s > now_s) {
      said = std::string("the certificate ") + text(site.cert_at) + " is not valid yet: it will be from " +
             timeText(site.not_before_s);
    }
    if (!said.empty()) found.push_back({i, std::move(said)});
  }
  return found;
}

LoadedKey* CertificateStore::use(uint32_t number) {
  const std::lock_guard lock(mutex_);
  Site& site = sites_[number];
  if (site.loaded == nullptr) return nullptr;
  site.last_used = ++uses_;
  site.loaded->users.fetch_add(1, std::memory_order_relaxed);
  return site.loaded.get();
}

void KeyWait::start(Op&, Mailbox& mailbox) {
  mailbox_ = &mailbox;
  next_ = nullptr;
  store_.wait(*this);
}

void CertificateStore::wait(KeyWait& waiter) {
  bool is_new = false;
  {
    const std::lock_guard lock(mutex_);
    Site& site = sites_[waiter.site_];
    if (site.loaded != nullptr || loader_ == nullptr)
      return waiter.mailbox_->post(waiter.op, site.loaded != nullptr ? 0 : -ENOKEY);
    waiter.next_ = std::exchange(site.waiting, &waiter);
    is_new = !std::exchange(site.is_asked, true);
    if (is_new) {
      (first_asked_ == no_site ? first_asked_ : sites_[last_asked_].next_asked) = waiter.site_;
      last_asked_ = waiter.site_;
    }
  }
  if (is_new) loader_->request(*this);
}

std::expected<std::shared_ptr<LoadedKey>, std::string> CertificateStore::readKey(uint32_t site) const {
  ERR_clear_error();
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> reader(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (reader == nullptr) return std::unexpected("cannot set up TLS: " + tlsReason());
  // OpenSSL would ask for a passphrase on the terminal.
  SSL_CTX_set_default_passwd_cb(reader.get(), [](char*, int, int, void*) { return -1; });
  const Fingerprint before = fingerprintOf(readFile(certFile(site)));
  if (std::string wrong = useCertificate(reader.get(), certFile(site), keyFile(site)); !wrong.empty())
    return std::unexpected(std::move(wrong));
  auto loaded = std::make_shared<LoadedKey>();
  loaded->certificate = SSL_CTX_get0_certificate(reader.get());
  loaded->key = SSL_CTX_get0_privatekey(reader.get());
  X509_up_ref(loaded->certificate);
  EVP_PKEY_up_ref(loaded->key);
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(reader.get(), &chain);
  if (chain != nullptr) loaded->chain = X509_chain_up_ref(chain);
  if (fingerprintOf(readFile(certFile(site))) == before) loaded->fingerprint = before;
  return loaded;
}

// Makes room for one more key. The caller destroys those that had to go, outside the lock.
std::vector<std::shared_ptr<LoadedKey>> CertificateStore::makeRoom() {
  std::vector<std::shared_ptr<LoadedKey>> gone;
  const auto unused =
      std::ranges::partition(leaving_, [](const auto& one) { return one->users.load(std::memory_order_acquire) != 0; });
  std::ranges::move(unused, std::back_inserter(gone));
  leaving_.erase(unused.begin(), unused.end());
  while (loaded_.size() >= most_loaded_) {
    const auto oldest =
        std::ranges::min_element(loaded_, {}, [this](uint32_t number) { return sites_[number].last_used; });
    std::shared_ptr<LoadedKey>& key = sites_[*oldest].loaded;
    const bool is_used = key->users.load(std::memory_order_acquire) != 0;
    (is_used ? leaving_ : gone).push_back(std::exchange(key, nullptr));
    *oldest = loaded_.back();
    loaded_.pop_back();
  }
  return gone;
}

std::string CertificateStore::load(uint32_t number, bool is_asked) {
  auto loaded = readKey(number);
  if (loaded) warmUp(**loaded);
  std::vector<std::shared_ptr<LoadedKey>> gone;
  KeyWait* waiting = nullptr;
  {
    const std::lock_guard lock(mutex_);
    Site& site = sites_[number];
    if (loaded && site.loaded == nullptr) {
      gone = makeRoom();
      site.loaded = std::move(*loaded);
      site.last_used = ++uses_;
      loaded_.push_back(number);
    }
    waiting = std::exchange(site.waiting, nullptr);
    if (is_asked) site.is_asked = false;
  }
  while (waiting != nullptr) {
    // Its worker may end it once it is posted.
    KeyWait& one = *std::exchange(waiting, waiting->next_);
    one.mailbox_->post(one.op, loaded ? 0 : -ENOKEY);
  }
  return loaded ? std::string() : std::move(loaded.error());
}

std::optional<CertificateStore::Outcome> CertificateStore::loadNext() {
  uint32_t number = no_site;
  {
    const std::lock_guard lock(mutex_);
    if (first_asked_ == no_site) return {};
    number = first_asked_;
    first_asked_ = std::exchange(sites_[number].next_asked, no_site);
  }
  return Outcome{number, load(number, true)};
}

std::string CertificateStore::check(uint32_t site) const {
  const auto loaded = readKey(site);
  return loaded ? std::string() : loaded.error();
}

void CertificateStore::takeOver(CertificateStore& before) {
  struct Known {
    Fingerprint fingerprint;
    const char* key_file;
    std::shared_ptr<LoadedKey> loaded;
    uint64_t last_used;
  };
  std::vector<Known> known;
  known.reserve(before.most_loaded_);
  {
    // Workers still ask that store, so they must not wait for more than this.
    const std::lock_guard lock(before.mutex_);
    for (const uint32_t number : before.loaded_) {
      const Site& site = before.sites_[number];
      known.push_back({site.loaded->fingerprint, before.text(site.key_at), site.loaded, site.last_used});
    }
  }
  std::ranges::sort(known, {}, &Known::fingerprint);
  const std::lock_guard lock(mutex_);
  for (uint32_t number = 0; number < sites_.size() && loaded_.size() < most_loaded_; ++number) {
    Site& site = sites_[number];
    const auto same = std::ranges::equal_range(known, site.fingerprint, {}, &Known::fingerprint);
    const auto found =
        std::ranges::find_if(same, [&](const Known& one) { return std::strcmp(one.key_file, text(site.key_at)) == 0; });
    if (found == same.end() || site.loaded != nullptr) continue;
    site.loaded = found->loaded;
    site.last_used = found->last_used;
    uses_ = std::max(uses_, site.last_used);
    loaded_.push_back(number);
  }
}

std::vector<uint32_t> CertificateStore::newSince(const CertificateStore* before) const {
  std::set<std::pair<Fingerprint, std::string_view>> known;
  if (before != nullptr) {
    for (const Site& site : before->sites_) known.emplace(site.fingerprint, before->text(site.key_at));
  }
  std::vector<uint32_t> fresh;
  for (uint32_t number = 0; number < sites_.size(); ++number) {
    const Site& site = sites_[number];
    if (!known.contains({site.fingerprint, text(site.key_at)})) fresh.push_back(number);
  }
  return fresh;
}

size_t CertificateStore::loadedCount() const {
  const std::lock_guard lock(mutex_);
  return loaded_.size();
}

size_t CertificateStore::bytes() const {
  return sizeof(*this) + sites_.capacity() * sizeof(Site) + names_.capacity() * sizeof(Name) +
         fallback_.capacity() * sizeof(Name) + text_.capacity();
}

}  // namespace plait::net
