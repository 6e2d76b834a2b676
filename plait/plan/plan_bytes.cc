#include "plait/plan/plan_bytes.h"

namespace plait {
namespace {

// A shared_ptr's counts, in the same block as the object.
constexpr size_t counts = 16;

using plait::heapOf;

template <class T>
size_t heapOf(const std::vector<T>& list) {
  return list.capacity() * sizeof(T);
}

size_t heapOf(const std::vector<std::string>& texts) {
  size_t bytes = texts.capacity() * sizeof(std::string);
  for (const std::string& text : texts) bytes += heapOf(text);
  return bytes;
}

size_t heapOf(const std::vector<route::Condition>& conditions) {
  size_t bytes = conditions.capacity() * sizeof(route::Condition);
  for (const route::Condition& one : conditions) bytes += heapOf(one.name) + heapOf(one.value);
  return bytes;
}

// A value's text, and about as much for its parts.
size_t heapOf(const route::FieldChanges& changes) {
  size_t bytes = heapOf(changes.removed) + changes.changes.capacity() * sizeof(route::FieldChange);
  for (const route::FieldChange& one : changes.changes) bytes += heapOf(one.name) + 2 * one.value.text().size();
  return bytes;
}

}  // namespace

size_t bytesOf(const Plan& plan) {
  size_t bytes = sizeof(Plan) + counts + heapOf(plan.clusters) + heapOf(plan.policies) + heapOf(plan.authorities);
  for (const BackendAuthority& one : plan.authorities) bytes += heapOf(one.fixed) + heapOf(one.own);
  for (const auto& cluster : plan.clusters) {
    if (cluster == nullptr) continue;
    bytes += sizeof(ClusterSpec) + counts + heapOf(cluster->endpoints);
    for (const EndpointSpec& one : cluster->endpoints) bytes += heapOf(one.authority.fixed) + heapOf(one.authority.own);
  }
  return bytes + (plan.routes ? plan.routes->bytes() : 0);
}

size_t bytesOfBoth(const Plan& one, const Plan& other) {
  const size_t shared =
      one.routes && other.routes && one.routes->sharesExpressions(*other.routes) ? one.routes->expressionBytes() : 0;
  return bytesOf(one) + bytesOf(other) - shared;
}

size_t bytesOf(std::span<const route::RouteSpec> specs) {
  size_t bytes = specs.size_bytes();
  for (const route::RouteSpec& spec : specs) {
    const route::Match& match = spec.match;
    bytes += heapOf(spec.name) + heapOf(match.path) + heapOf(match.example) + heapOf(match.hosts) +
             heapOf(match.methods) + heapOf(match.fields) + heapOf(match.query);
  }
  return bytes;
}

size_t bytesOf(const RoutePolicy& policy) {
  size_t bytes = sizeof(RoutePolicy) + counts + heapOf(policy.sides) + heapOf(policy.error_pages) +
                 heapOf(policy.request_fields) + heapOf(policy.response_fields) + policy.allow.text().size() * 3 +
                 policy.deny.text().size() * 3;
  for (const std::string* text :
       {&policy.name, &policy.split_name, &policy.rewrite_path, &policy.rewrite_host, &policy.redirect_scheme,
        &policy.redirect_host, &policy.redirect_path, &policy.body.content_type, &policy.body.text, &policy.hsts})
    bytes += heapOf(*text);
  for (const RoutePolicy::ErrorPage& page : policy.error_pages)
    bytes += heapOf(page.body.content_type) + heapOf(page.body.text);
  return bytes;
}

size_t bytesOf(const BackendOptions& options) {
  return sizeof(BackendOptions) + counts + heapOf(options.name) + heapOf(options.host) + heapOf(options.server_name);
}

}  // namespace plait
