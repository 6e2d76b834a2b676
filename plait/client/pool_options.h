// How a pool of connections to backends is configured, what it counts, and who hears of what happens to them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "plait/base/client_key.h"
#include "plait/base/error.h"
#include "plait/base/list.h"
#include "plait/base/time.h"
#include "plait/client/endpoint_id.h"
#include "plait/h2/frame.h"
#include "plait/io/cancel.h"
#include "plait/net/tls.h"

namespace plait {

// h2c: HTTP/2 by prior knowledge. https: TLS, where ALPN chooses between HTTP/2 and HTTP/1.1. h1: HTTP/1.1. probe: the
// HTTP/2 preface is tried before any request, and what the backend makes of it is remembered.
enum class BackendProtocol : uint8_t { h2c, https, h1, probe };

struct PoolTimeouts {
  bool operator==(const PoolTimeouts&) const = default;

  int64_t connect_ms = 3000;
  int64_t queue_ms = 5000;
  int64_t probe_ms = 1000;
  int64_t idle_ms = 90'000;
  int64_t stream_idle_ms = 900'000;    // no byte of a response, with nothing of it waiting for the client
  int64_t tunnel_idle_ms = 3'600'000;  // no byte either way through a tunnel
  int64_t ping_ms = 15'000;            // silence with streams open, after which the backend is asked; 0: never
  int64_t ping_answer_ms = 10'000;
  int64_t shrink_ms = 10'000;  // how often a connection asks whether it is still needed
  int64_t drain_ms = 25'000;
  int64_t max_age_ms = 3'600'000;
  int64_t backoff_min_ms = 20;
  int64_t backoff_max_ms = 1000;
};

struct BackendOptions {
  std::string name;  // as in the configuration, for logs and metrics
  BackendProtocol protocol = BackendProtocol::probe;
  std::string host;
  uint16_t port = 0;
  std::string server_name;    // SNI and verification; the host where empty
  TlsContext* tls = nullptr;  // with https; must outlive the pool
  bool starts_down = false;   // its name could not be resolved: it is down until a trial succeeds
  // By which counters and logs know it, for as long as it lives; less than limits.endpoints. Nobody else gets it while
  // `identity` is held.
  uint32_t number = 0;
  std::shared_ptr<const void> identity;
  uint32_t connections = 0;              // at most, for each worker; 0: as Limits says for the version
  std::optional<PoolTimeouts> timeouts;  // its own; else the pool's
};

// Counted by the worker's thread alone; other threads get copies.
struct PoolCounters {
  uint64_t connects = 0;
  uint64_t connect_failures = 0;
  // Of those, the ones for which something of this worker or machine had run out.
  struct Shortages {
    uint64_t memory = 0;
    uint64_t descriptors = 0;
    uint64_t local_ports = 0;
  } shortages;
  uint64_t retries_unprocessed = 0;
  uint64_t retries_unknown = 0;
  uint64_t requests = 0;
  uint64_t queue_waits = 0;
  uint64_t trials = 0;
  // By EndpointState: how often an endpoint became that.
  std::array<uint64_t, endpoint_state_count> state_changes{};
  // By Fault: what backends did wrong.
  std::array<uint64_t, fault_count> stream_faults{};
  std::array<uint64_t, fault_count> connection_faults{};
};

// Hears what happens to endpoints.
class PoolObserver {
 public:
  // The state has changed; `cause` is why, where the new one is not `up`.
  virtual void onEndpointState(EndpointId endpoint, EndpointState state, const Error& cause) = 0;
  // A backend's fault on a connection or a stream (the error's reach). Called for each one, however many come. `said`:
  // the beginning of what came from a backend that does not speak HTTP/2, any bytes; else empty.
  virtual void onEndpointFault(EndpointId, const Error&, Bytes, TimeNs) {}
  // A GOAWAY with an error or a text. The text may hold any bytes.
  virtual void onEndpointGoaway(EndpointId, h2::H2Error, Bytes, TimeNs) {}

 protected:
  ~PoolObserver() = default;
};

// Hears that there may be room where there was none: a stream, a place for a connection, an endpoint that may be used.
// It is told in the middle of a connection's work, so the listener acts later in the turn.
class RoomListener {
 public:
  virtual void onRoomChanged() = 0;
  // Which endpoints may be used, or what they take, has changed.
  virtual void onStatesChanged() = 0;

  ListNode listening_node;  // while it listens (ConnectionPool::addRoomListener)
  ListNode waiting_node;    // while somebody of it waits for room

 protected:
  ~RoomListener() = default;
};

// The terms on which a lease is asked for.
struct LeaseOptions {
  CancelToken* cancel = nullptr;
  bool own = false;             // for a repetition of unknown fate: on a connection of its own that is made from now on
  bool needs_http_1_1 = false;  // for a tunnel
  Claim claim;                  // whose share of the endpoint's streams it is to be
};

}  // namespace plait
