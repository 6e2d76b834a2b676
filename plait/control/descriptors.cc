#include "plait/control/descriptors.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "plait/server/place_shares.h"

namespace plait {
namespace {

// A ring or an epoll with its wake-up, and the mailbox's.
constexpr uint64_t for_each_loop = 3;
// The access log, and its successor while it is opened anew.
constexpr uint64_t for_access_log = 2;
// Lookups and the admin listener's clients come and go.
constexpr uint64_t most_for_others = 32;
// A worker with fewer places is told of as a warning.
constexpr uint64_t few_clients = 1000;

}  // namespace

DescriptorsShared shareDescriptors(const DescriptorUse& use, Limits& limits) {
  const uint64_t fixed = use.open + for_each_loop + (use.has_admin ? 1 : 0) +
                         (use.has_access_log ? for_access_log : 0) +
                         uint64_t{use.workers} * (for_each_loop + use.listeners);
  const uint64_t wanted_upstream = use.has_backends ? limits.upstream_connections : 0;
  const uint64_t wanted = limits.client_connections + wanted_upstream;
  // Clients whose address holds its share of the connections wait with a descriptor.
  const uint64_t needed = fixed + most_for_others + (wanted + PlaceShares::mostWaiting(limits)) * use.workers;
  if (needed <= use.allowed) return {};
  const uint64_t left = use.allowed - std::min(fixed, use.allowed);
  const uint64_t each = (left - std::min(left / 4, most_for_others)) / use.workers;
  const uint64_t part = std::clamp(each * wanted_upstream / wanted, each / 4, each / 2);
  const uint64_t upstream = std::min(wanted_upstream, std::max<uint64_t>(part, 1));
  const uint64_t clients = std::clamp<uint64_t>(each - std::min(each, upstream), 1, limits.client_connections);
  // Descriptors that the clients leave go to the backends again.
  if (use.has_backends) {
    limits.upstream_connections =
        static_cast<uint32_t>(std::clamp<uint64_t>(each - std::min(each, clients), 1, wanted_upstream));
  }
  const bool is_lowered = clients < limits.client_connections || limits.upstream_connections < wanted_upstream;
  limits.client_connections = static_cast<uint32_t>(clients);
  limits.accepts_one_by_one = true;
  if (!is_lowered) return {};
  const bool is_warning = use.is_wish || clients < few_clients;
  return {fmt::format("{}{} file descriptors are allowed: {} worker(s) take {} clients and {} connections to backends "
                      "each; the others wait. For {} {} are needed (ulimit -Hn)",
                      is_warning ? "only " : "", use.allowed, use.workers, limits.client_connections,
                      limits.upstream_connections, use.is_wish ? "all that is configured" : "the defaults", needed),
          is_warning};
}

uint64_t openDescriptors() {
  std::error_code failed;
  uint64_t count = 0;
  for (auto it = std::filesystem::directory_iterator("/proc/self/fd", failed);
       !failed && it != std::filesystem::directory_iterator(); it.increment(failed)) {
    count += 1;
  }
  // The folder itself was one of them.
  return count == 0 ? 0 : count - 1;
}

}  // namespace plait
