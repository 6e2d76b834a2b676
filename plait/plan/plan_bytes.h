// The memory that plans take, about: what is in objects and their texts, without what the allocator needs beside it.
#pragma once

#include <span>

#include "plait/plan/plan.h"

namespace plait {

// Of one generation alone: its table of routes and its lists. What it shares with others is PlanIdentities::bytes().
size_t bytesOf(const Plan& plan);
// Expressions that both have are counted once.
size_t bytesOfBoth(const Plan& one, const Plan& other);
size_t bytesOf(std::span<const route::RouteSpec> specs);

size_t bytesOf(const RoutePolicy& policy);
size_t bytesOf(const BackendOptions& options);

// Beside its own object.
inline size_t heapOf(const std::string& text) {
  return text.capacity() > std::string().capacity() ? text.capacity() + 1 : 0;
}

}  // namespace plait
