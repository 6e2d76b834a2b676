// CertificateStore: the certificates of a server's sites. The start reads names and dates; a certificate with its key
// is loaded when a client first asks for it, by somebody who may block (KeyLoader), while the handshake waits.
//
//   idle ──wait()──▶ asked ──loadNext()──▶ loaded ──(the least recently used of more than max_loaded)──▶ idle
//                      └────── the files are wrong: those who wait hear it ──────────────────────────────▶ idle
//
// All workers share the loaded keys. OpenSSL counts references to them, and dropping the last one frees, but
// a worker must not free memory that another thread's malloc gave. So the store keeps a reference as long as a
// handshake uses a key (LoadedKey::users), and only the loading thread, or the one that destroys the store, drops it.
// OpenSSL adds to a key while it signs (a blinding, Montgomery's form of a modulus). These additions may lie in a
// worker's TlsArena; when the loading thread frees them they go back there through the arena's remote list.
//
// No thread is held here. The mutex is met once or twice a handshake, for some hundred instructions, never while a file
// is read.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plait/base/bytes.h"
#include "plait/io/op.h"
#include "plait/net/certificate_facts.h"

struct evp_pkey_st;
struct stack_st_X509;
struct x509_st;

namespace plait::net {

class CertificateStore;

// A part of SHA-256.
using Fingerprint = std::array<uint8_t, 16>;

// A certificate with its chain and private key, in memory.
struct LoadedKey {
  LoadedKey() = default;
  ~LoadedKey();
  LoadedKey(const LoadedKey&) = delete;
  LoadedKey& operator=(const LoadedKey&) = delete;
  // Ends a use that CertificateStore::use() began. Before it the user has dropped all references that it took from
  // OpenSSL.
  void release() { users.fetch_sub(1, std::memory_order_release); }

  x509_st* certificate = nullptr;
  stack_st_X509* chain = nullptr;  // without `certificate`; null where there is none
  evp_pkey_st* key = nullptr;
  Fingerprint fingerprint{};  // of the certificate's file; zero where that changed while it was read
  std::atomic<uint32_t> users{0};
};

// The one that loads keys, on a thread that may block and allocate: the clerk.
class KeyLoader {
 public:
  // Calls store.loadNext() soon, until it answers that nothing is asked for. From any thread; neither blocks nor
  // allocates.
  virtual void request(CertificateStore& store) = 0;

 protected:
  ~KeyLoader() = default;
};

// Waits for a site's key: an errand, whose op completes with 0 when the key was loaded and with -errno when it could
// not be. It may be gone again at the time when its worker looks, and is asked for once more then.
class KeyWait final : public Errand {
 public:
  KeyWait(CertificateStore& store, uint32_t site) : store_(store), site_(site) { op.errand = this; }
  Op op{.kind = OpKind::errand};

 private:
  friend class CertificateStore;
  void start(Op& asked, Mailbox& mailbox) override;

  CertificateStore& store_;
  uint32_t site_;
  Mailbox* mailbox_ = nullptr;
  KeyWait* next_ = nullptr;
};

// The part of a ClientHello that tells which signatures its client can verify. The spans are the extensions' lists as
// on the wire, without their length; empty where the extension is missing.
struct ClientOffer {
  Bytes signature_algorithms;  // RFC 8446 §4.2.3
  Bytes groups;                // RFC 8446 §4.2.7
  bool speaks_tls_1_3 = false;
  bool has_ecdsa_suite = true;  // for TLS 1.2, among the cipher suites
  bool has_rsa_suite = true;

  bool accepts(KeyKind kind) const;
};

// A site is a certificate with its key, by its place in the configuration.
struct SiteFiles {
  std::string cert_file;  // PEM, the chain in order
  std::string key_file;   // PEM, not encrypted
  // Sites with the same number have the same authorities and TLS settings.
  uint32_t policy = 0;
};

struct SiteMistake {
  size_t site;
  std::string sentence;
};

// A sentence about a certificate that has ended at `now_s`, or is going to within warn_before_end_s (tls_files.h); else
// empty. Seconds since 1970.
std::string endWarning(const std::string& cert_file, int64_t not_after_s, int64_t now_s);

class CertificateStore {
 public:
  static constexpr size_t max_loaded = 1024;
  static constexpr uint32_t no_site = UINT32_MAX;

  // Reads the certificates, and looks whether there are keys. Every mistake of every site is in the error.
  static std::expected<std::unique_ptr<CertificateStore>, std::vector<SiteMistake>> make(
      std::span<const SiteFiles> sites, size_t most_loaded = max_loaded);
  ~CertificateStore();
  CertificateStore(const CertificateStore&) = delete;
  CertificateStore& operator=(const CertificateStore&) = delete;

  // For an operator: certificates that nobody can be shown. At start.
  const std::vector<SiteMistake>& warnings() const { return warnings_; }
  size_t size() const { return sites_.size(); }
  std::string certFile(uint32_t site) const { return text(sites_[site].cert_at); }
  std::string keyFile(uint32_t site) const { return text(sites_[site].key_at); }
  KeyKind kind(uint32_t site) const { return sites_[site].kind; }

  // The site for a name, by its exact name, then by a wildcard, then the first one. Of several that differ in the kind
  // of their keys it is the first that the client can verify.
  uint32_t select(std::string_view server_name, const ClientOffer& offer) const;
  // The same without a client: any of several, which have one policy.
  uint32_t siteFor(std::string_view host) const { return candidates(host).front().site; }
  // Several could be chosen, so that select() looks at the offer.
  bool isChoice(std::string_view server_name) const { return candidates(server_name).size() > 1; }
  // The site is among those that select() could choose.
  bool couldSelect(uint32_t site, std::string_view server_name) const;

  // Seconds since 1970 at which the site's certificate ends, and at which the first of all does.
  int64_t notAfterS(uint32_t site) const { return sites_[site].not_after_s; }
  uint32_t soonest() const;
  // A sentence for each certificate that has ended, ends within warn_before_end_s, or has not begun.
  std::vector<SiteMistake> dateWarnings(int64_t now_s) const;

  // Null where the key is not loaded: then a KeyWait is the way. Else it stays until LoadedKey::release(). From any
  // thread.
  LoadedKey* use(uint32_t site);

  // Before any worker runs. Without a loader keys that are not loaded cannot be had.
  void setLoader(KeyLoader* loader) { loader_ = loader; }
  struct Outcome {
    uint32_t site;
    std::string wrong;  // a sentence; empty where the key is loaded
  };
  // Loads the key that was asked for first; nothing where none is asked for. One thread at a time, which blocks and
  // allocates.
  std::optional<Outcome> loadNext();
  // The same for a site that nobody has asked for. Returns what is wrong.
  std::string load(uint32_t site) { return load(site, false); }
  // Reads a key and lets go of it again: what `plait check` does. Returns what is wrong.
  std::string check(uint32_t site) const;
  // Takes over what a store of the generation before has loaded and what is the same here. On the loading thread.
  void takeOver(CertificateStore& before);

  // The sites whose certificate `before` does not have with the same key file; null: all.
  std::vector<uint32_t> newSince(const CertificateStore* before) const;

  size_t loadedCount() const;
  // All memory but that of loaded keys.
  size_t bytes() const;

 private:
  friend class KeyWait;
  struct Site {
    uint32_t cert_at = 0;  // in text_
    uint32_t key_at = 0;
    int64_t not_before_s = 0;
    int64_t not_after_s = 0;
    Fingerprint fingerprint{};  // of the certificate's file
    uint32_t policy = 0;
    KeyKind kind = KeyKind::other;
    bool is_asked = false;  // it waits to be loaded, or is being loaded
    uint32_t next_asked = no_site;
    uint64_t last_used = 0;
    KeyWait* waiting = nullptr;  // a list
    std::shared_ptr<LoadedKey> loaded;
  };
  // Sorted by name, those of one name by the kind of their keys.
  struct Name {
    uint32_t at;  // in text_
    uint32_t site;
  };

  explicit CertificateStore(size_t most_loaded) : most_loaded_(most_loaded) {}
  const char* text(uint32_t at) const { return text_.data() + at; }
  uint32_t keep(std::string_view text);
  std::string read(uint32_t site, std::vector<std::pair<std::string, uint32_t>>& names);
  void sortNames(std::vector<std::pair<std::string, uint32_t>>& names, std::vector<SiteMistake>& mistakes);
  std::span<const Name> find(std::string_view name) const;
  std::span<const Name> candidates(std::string_view host) const;
  void wait(KeyWait& wait);
  std::expected<std::shared_ptr<LoadedKey>, std::string> readKey(uint32_t site) const;
  std::string load(uint32_t site, bool is_asked);
  std::vector<std::shared_ptr<LoadedKey>> makeRoom();

  const size_t most_loaded_;
  std::vector<Site> sites_;
  std::vector<Name> names_;
  std::vector<Name> fallback_;  // the first site, and those of other kinds with the same names
  std::vector<char> text_;      // paths and names, each with its terminator
  std::vector<SiteMistake> warnings_;
  KeyLoader* loader_ = nullptr;

  mutable std::mutex mutex_;  // for what follows, and Site's members from is_asked on
  uint32_t first_asked_ = no_site;
  uint32_t last_asked_ = no_site;
  uint64_t uses_ = 0;
  std::vector<uint32_t> loaded_;                     // sites
  std::vector<std::shared_ptr<LoadedKey>> leaving_;  // in use by handshakes
};

}  // namespace plait::net
