// What cannot stand side by side in one configuration: an address that two listeners would have, a backend that is
// named twice.
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <tuple>

#include "plait/config/config.h"
#include "plait/net/address.h"

namespace plait {
namespace {

// A listener, or the admin address, which has no certificate.
struct Claim {
  const Text& address;
  const sockaddr_storage& parsed;
  const ListenConfig* listener = nullptr;
};

std::string textOf(const sockaddr_storage& address) {
  char text[address_text_size];
  return std::string(formatAddress(address, text));
}

bool isAnyAddress(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) return reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr == INADDR_ANY;
  return IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
}

// Whether that claim is on all addresses, of which `other` is one.
bool takes(const Claim& claim, const sockaddr_storage& other) {
  if (!isAnyAddress(claim.parsed)) return false;
  const bool takes_v4 = claim.listener == nullptr || !claim.listener->only_v6;
  return claim.parsed.ss_family == other.ss_family || (claim.parsed.ss_family == AF_INET6 && takes_v4);
}

// The mistake of claiming `later` beside `earlier`; empty where they do not meet.
std::string conflict(const Claim& earlier, const Claim& later) {
  const sockaddr_storage& a = earlier.parsed;
  const sockaddr_storage& b = later.parsed;
  // Port 0 is another one for each; an address that could not be read is a mistake already.
  if (a.ss_family == AF_UNSPEC || b.ss_family == AF_UNSPEC || portOf(a) != portOf(b) || portOf(a) == 0) return {};
  const std::string place = earlier.address.place.text();
  if (textOf(a) == textOf(b)) {
    if (earlier.listener == nullptr || later.listener == nullptr) {
      return fmt::format("{} has this address already, and a listener cannot share it with [admin]", place);
    }
    const bool is_other = earlier.listener->cert.value != later.listener->cert.value;
    return fmt::format(
        "{} has this address already{}", place,
        is_other ? ", with another certificate: a listener has one, which may be for several names" : "");
  }
  const char* hint = a.ss_family == b.ss_family ? "" : "; with only_v6 = true [::] does not take IPv4";
  if (takes(earlier, b)) return fmt::format("{} has this address already, as one of all: {}{}", place, textOf(a), hint);
  if (takes(later, a)) {
    return fmt::format("this is all addresses, of which {} has one already: {}{}", place, textOf(a), hint);
  }
  return {};
}

std::vector<ConfigError> addressConflicts(const Config& config) {
  std::vector<Claim> claims;
  for (const ListenConfig& listen : config.listeners) claims.push_back({listen.address, listen.parsed, &listen});
  if (!config.admin.empty()) claims.push_back({config.admin, config.admin_address});
  std::vector<ConfigError> errors;
  for (size_t later = 1; later < claims.size(); ++later) {
    for (size_t earlier = 0; earlier < later; ++earlier) {
      std::string wrong = conflict(claims[earlier], claims[later]);
      if (wrong.empty()) continue;
      errors.push_back({claims[later].address.place, std::move(wrong)});
      break;
    }
  }
  return errors;
}

// Names have no case, and IPv6 addresses more than one spelling.
std::string plainName(const std::string& name) {
  if (const auto literal = parseLiteral(name, 0)) {
    char text[address_text_size];
    return std::string(formatHost(*literal, text));
  }
  std::string lower = name;
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return lower;
}

bool isSameBackend(const BackendConfig& a, const BackendConfig& b) {
  return a.protocol == b.protocol && a.port == b.port && plainName(a.name) == plainName(b.name);
}

bool hasSameSettings(const BackendConfig& a, const BackendConfig& b) {
  const auto settings = [](const BackendConfig& one) {
    return std::tie(one.host.value, one.server_name.value, one.ca_file.value, one.client_cert.value,
                    one.client_key.value, one.insecure);
  };
  return settings(a) == settings(b);
}

// One endpoint of the cluster for each backend, and one series in the metrics.
void mergeBackends(std::vector<BackendConfig>& backends, Config& config, std::vector<ConfigError>& errors) {
  std::vector<BackendConfig> kept;
  for (BackendConfig& backend : backends) {
    const auto same = backend.name.empty() ? kept.end() : std::ranges::find_if(kept, [&](const BackendConfig& one) {
      return isSameBackend(one, backend);
    });
    if (same == kept.end()) {
      kept.push_back(std::move(backend));
    } else if (hasSameSettings(*same, backend)) {
      config.warnings.push_back({backend.url.place, fmt::format("this is the backend of {} once more: it is used once",
                                                                same->url.place.text())});
    } else {
      errors.push_back(
          {backend.url.place, fmt::format("this is the backend of {} with other settings", same->url.place.text())});
    }
  }
  backends = std::move(kept);
}

}  // namespace

std::vector<ConfigError> settleConflicts(Config& config) {
  std::vector<ConfigError> errors = addressConflicts(config);
  mergeBackends(config.backends, config, errors);
  for (ClusterConfig& cluster : config.clusters) mergeBackends(cluster.backends, config, errors);
  return errors;
}

}  // namespace plait
