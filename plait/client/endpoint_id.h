// EndpointId: the name by which everything outside the pool holds an endpoint. It is a place in the worker's table and
// the generation of the endpoint that lives there. Once that endpoint has gone the id finds nothing
// (EndpointTable::find), even when the place has another tenant.
#pragma once

#include <cstddef>
#include <cstdint>

namespace plait {

struct EndpointId {
  uint32_t index = UINT32_MAX;
  uint32_t generation = 0;
  uint32_t number = UINT32_MAX;  // BackendOptions::number: the same in every worker

  bool operator==(const EndpointId&) const = default;
  bool isNone() const { return index == UINT32_MAX; }
};

// See endpoint.h, where the diagram is.
enum class EndpointState : uint8_t { up, trial, down, ejected, leaving };
inline constexpr size_t endpoint_state_count = static_cast<size_t>(EndpointState::leaving) + 1;

}  // namespace plait
