// Which sites a host belongs to: by its exact name, then by wildcards from the longest to the shortest, then the site
// of routes without a host. Flat and immutable once it is built; the hash has a key, since clients choose hosts.
#pragma once

#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plait/base/sip_hash.h"

namespace plait::route {

inline constexpr size_t max_host = 255;

// The host of an authority in the form in which hosts are compared: in lower case, without port and without the dot at
// the end. A view of `authority` or of `buffer`; empty if it is too long to be a host.
std::string_view normalHost(std::string_view authority, char (&buffer)[max_host]);

// The same for a host of a route, which may be a wildcard. A phrase where it is none, else empty.
std::string readHostPattern(std::string_view written, std::string& pattern);
inline bool isWildcard(std::string_view pattern) {
  return pattern.starts_with("*.");
}
// `host` is normal.
bool matchesHost(std::string_view pattern, std::string_view host);

// The routes of one host or wildcard, or of none. Hosts with the same routes have equal ones.
struct Site {
  uint32_t root = 0;  // in the path tree
  uint32_t first_expression = 0;
  uint32_t expression_count = 0;
};

class HostTable {
 public:
  struct Entry {
    std::string_view pattern;  // as readHostPattern() gives it, each once
    Site site;
  };

  // `without_host` is null where no route is without a host.
  void build(std::span<const Entry> entries, const Site* without_host, const SipKey& key);
  size_t bytes() const { return slots_.capacity() * sizeof(Slot) + text_.capacity(); }

  // The sites of one host, from the most specific on. Each step is one search, so the first is all that most requests
  // pay.
  class Cursor {
   public:
    // `host` is normal, and stays while the cursor is used.
    Cursor(const HostTable& table, std::string_view host) : table_(table), host_(host), rest_(host) {}
    // Null: there is no further one.
    const Site* next();

   private:
    enum class Step : uint8_t { exact, wildcards, without_host, end };
    const HostTable& table_;
    std::string_view host_;
    std::string_view rest_;  // of the host, where wildcards are looked for
    Step step_ = Step::exact;
    size_t labels_ = 0;  // of rest_; 0: not yet counted
  };

 private:
  struct Slot {
    uint64_t hash = 0;
    uint32_t text = 0;
    uint32_t size = 0;  // 0: free
    Site site;
  };
  // A wildcard is found by what is behind its star, the dot included: ".shop.example".
  const Site* find(std::string_view name) const;

  SipKey key_;
  std::vector<Slot> slots_;  // a power of two, half of them free at least
  std::string text_;
  std::bitset<max_host> wildcard_labels_;  // how many labels there are behind the stars
  size_t most_wildcard_labels_ = 0;
  Site without_host_;
  bool has_without_host_ = false;
};

}  // namespace plait::route
