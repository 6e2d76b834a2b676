#include "plait/plan/identities.h"

#include <fmt/format.h>

#include <algorithm>

#include "plait/plan/plan_bytes.h"

namespace plait {

namespace {

// A node of a map beside its key and value.
constexpr size_t bytes_of_node = 32;

}  // namespace

uint32_t Numbers::take() {
  if (!free_.empty()) {
    // The lowest, so that tables by number stay short.
    std::ranges::pop_heap(free_, std::greater());
    const uint32_t number = free_.back();
    free_.pop_back();
    return number;
  }
  return next_ < most_ ? next_++ : UINT32_MAX;
}

void Numbers::give(uint32_t number) {
  free_.push_back(number);
  std::ranges::push_heap(free_, std::greater());
}

std::shared_ptr<const BackendOptions> PlanIdentities::endpoint(const std::string& cluster,
                                                               const BackendOptions& options) {
  const std::string key =
      fmt::format("{}\n{}\n{}\n{}\n{}\n{}", cluster, static_cast<int>(options.protocol), options.host, options.port,
                  options.server_name, static_cast<const void*>(options.tls));
  KnownEndpoint& known = endpoints_[key];
  if (known.identity == nullptr) {
    const uint32_t number = endpoint_numbers_.take();
    if (number == UINT32_MAX) {
      endpoints_.erase(key);
      return nullptr;
    }
    known.identity = std::make_shared<const EndpointIdentity>(number);
  }
  if (known.options != nullptr && known.options->name == options.name &&
      known.options->connections == options.connections && known.options->timeouts == options.timeouts)
    return known.options;
  auto made = std::make_shared<BackendOptions>(options);
  made->number = known.identity->number;
  made->identity = known.identity;
  if (known.options != nullptr) former_options_.push_back(std::move(known.options));
  return known.options = std::move(made);
}

std::shared_ptr<const ClusterIdentity> PlanIdentities::cluster(const std::string& name) {
  auto& place = clusters_[name];
  if (place) return place;
  auto made = std::make_shared<ClusterIdentity>();
  made->name = name;
  made->number = cluster_numbers_.take();
  if (made->number == UINT32_MAX) {
    clusters_.erase(name);
    return nullptr;
  }
  return place = std::move(made);
}

std::shared_ptr<const RoutePolicy> PlanIdentities::policy(const std::string& key,
                                                          const std::function<std::shared_ptr<RoutePolicy>()>& make) {
  const auto [place, is_new] = policies_.try_emplace(key);
  if (!is_new) return place->second.policy;
  std::shared_ptr<RoutePolicy> made = make();
  made->number = policy_numbers_.take();
  if (made->number == UINT32_MAX) {
    policies_.erase(place);
    return nullptr;
  }
  KnownPolicy& known = place->second;
  known.bytes = bytes_of_node + sizeof(*place) + heapOf(key) + bytesOf(*made);
  policy_bytes_ += known.bytes;
  return known.policy = std::move(made);
}

size_t PlanIdentities::bytes() const {
  const auto sumOf = [](const auto& map, auto of) {
    size_t bytes = 0;
    for (const auto& one : map) bytes += bytes_of_node + sizeof(one) + heapOf(one.first) + of(one.second);
    return bytes;
  };
  size_t bytes = policy_bytes_ +
                 sumOf(clusters_, [](const auto& one) { return sizeof(ClusterIdentity) + heapOf(one->name); }) +
                 sumOf(forwards_, [](const auto&) { return sizeof(ForwardOptions); }) +
                 sumOf(endpoints_, [](const KnownEndpoint& one) {
                   return sizeof(EndpointIdentity) + (one.options ? bytesOf(*one.options) : 0);
                 });
  for (const auto& one : former_options_) bytes += bytesOf(*one);
  return bytes;
}

std::shared_ptr<const ForwardOptions> PlanIdentities::forward(const ForwardOptions& options) {
  auto& place = forwards_[options.text()];
  if (!place) place = std::make_shared<const ForwardOptions>(options);
  return place;
}

void PlanIdentities::sweep(const std::function<uint32_t(const RoutePolicy&)>& holders) {
  // Policies first: they hold clusters' identities.
  std::erase_if(policies_, [&](const auto& one) {
    const KnownPolicy& known = one.second;
    if (known.policy.use_count() != 1 || holders(*known.policy) != 0) return false;
    policy_numbers_.give(known.policy->number);
    policy_bytes_ -= known.bytes;
    return true;
  });
  std::erase_if(clusters_, [&](const auto& one) {
    // A request that no route has sent there holds nothing else.
    const bool is_used = one.second->requests.now != 0 || one.second->waiting.now != 0;
    if (one.second.use_count() != 1 || is_used) return false;
    cluster_numbers_.give(one.second->number);
    return true;
  });
  std::erase_if(former_options_, [](const auto& one) { return one.use_count() == 1; });
  for (auto& [key, known] : endpoints_) {
    if (known.options.use_count() == 1) known.options = nullptr;
  }
  std::erase_if(endpoints_, [&](const auto& one) {
    const KnownEndpoint& known = one.second;
    if (known.identity.use_count() != 1) return false;
    endpoint_numbers_.give(known.identity->number);
    return true;
  });
}

bool PlanIdentities::names(const TlsContext* tls) const {
  const auto isIts = [tls](const auto& options) { return options != nullptr && options->tls == tls; };
  return std::ranges::any_of(former_options_, isIts) ||
         std::ranges::any_of(endpoints_, [&](const auto& one) { return isIts(one.second.options); });
}

std::vector<std::string> endpointNames(const Plan& plan) {
  std::vector<std::string> names(plan.authorities.size());
  for (const auto& cluster : plan.clusters) {
    if (cluster == nullptr) continue;
    for (const EndpointSpec& endpoint : cluster->endpoints) names[endpoint.options->number] = endpoint.options->name;
  }
  return names;
}

std::shared_ptr<Plan> planOf(std::vector<BackendOptions> backends, std::vector<BackendAuthority> authorities,
                             const PoolTimeouts& pool_timeouts, const ServerTimeouts& server_timeouts,
                             int64_t response_head_ms) {
  auto plan = std::make_shared<Plan>();
  plan->pool_timeouts = pool_timeouts;
  plan->server_timeouts = server_timeouts;
  auto identity = std::make_shared<ClusterIdentity>();
  identity->name = "default";
  auto spec = std::make_shared<ClusterSpec>();
  spec->identity = std::move(identity);
  spec->queue_ms = pool_timeouts.queue_ms;
  spec->response_head_ms = response_head_ms;
  authorities.resize(backends.size());
  for (BackendOptions& options : backends) {
    const size_t number = spec->endpoints.size();
    options.number = static_cast<uint32_t>(number);
    spec->endpoints.push_back({std::make_shared<const BackendOptions>(std::move(options)), authorities[number]});
  }
  plan->authorities = std::move(authorities);
  plan->clusters.push_back(std::move(spec));
  return plan;
}

}  // namespace plait
