// What becomes of the requests that a route gets. Immutable; generations of the plan share those that did not change.
// A request holds its policy until its end, counted by its worker (proxy/plan_store.h).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plait/net/trusted_proxies.h"
#include "plait/plan/cluster_spec.h"
#include "plait/route/field_changes.h"

namespace plait {

// One side of a split: `upto` is the sum of the weights up to and with it.
struct SplitSide {
  std::shared_ptr<const ClusterIdentity> cluster;
  uint32_t upto = 0;
};

enum class SplitKey : uint8_t { none, cookie, field, client_address };

// A body that plait has by itself, read at start.
struct StoredBody {
  std::string content_type;
  std::string text;
};

struct RoutePolicy {
  enum class Action : uint8_t { forward, redirect, respond };

  std::string name;
  uint32_t number = 0;  // its place in each worker's counts
  Action action = Action::forward;

  // -- forward
  std::vector<SplitSide> sides;  // one without a split
  SplitKey split_key = SplitKey::none;
  std::string split_name;  // of the cookie or the field
  std::string rewrite_path;
  bool rewrites_prefix = false;  // the part that a prefix has matched is replaced, else the whole path
  std::string rewrite_host;
  route::FieldChanges request_fields;
  int64_t response_head_ms = 0;  // 0: the cluster's
  int64_t idle_ms = 0;           // 0: the cluster's stream_idle_ms
  int64_t total_ms = 0;          // 0: as long as it takes
  std::optional<uint32_t> most_retries;
  bool repeats_unknown = true;

  // -- redirect; empty strings and 0 keep the request's own
  uint16_t status = 0;  // of respond, too
  std::string redirect_scheme;
  std::string redirect_host;
  std::string redirect_path;
  uint16_t redirect_port = 0;

  // -- respond
  StoredBody body;

  // -- all
  route::FieldChanges response_fields;
  std::string hsts;  // the value of Strict-Transport-Security; empty: none
  TrustedProxies allow;
  TrustedProxies deny;
  std::optional<uint64_t> most_body_bytes;
  uint32_t most_requests = 0;  // at once, in the process; 0: as many as come
  mutable RequestCount requests;
  struct ErrorPage {
    uint16_t status = 0;
    StoredBody body;
  };
  std::vector<ErrorPage> error_pages;

  // Over plain HTTP it must not be sent (RFC 6797 §7.2).
  std::string_view hstsFor(bool is_tls) const { return is_tls ? std::string_view(hsts) : std::string_view(); }
  bool changesResponse() const { return !response_fields.empty() || !hsts.empty(); }
};

}  // namespace plait
