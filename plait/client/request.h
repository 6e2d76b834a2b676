// One request's way through the pool. The RequestOp lives in the frame of the coroutine that awaits request(), so a
// request costs no allocation wherever it waits: in a stream, in an endpoint's queue, or between two tries.
//
//   getOrCreate → [queued] → leased → sent → head → (body streams from Response)
//                                      └── may be repeated (retry.h): back to the queue, for another connection
#pragma once

#include <coroutine>

#include "plait/base/client_key.h"
#include "plait/base/list.h"
#include "plait/client/endpoint_id.h"
#include "plait/client/retry.h"
#include "plait/http/message.h"
#include "plait/http/pipe.h"
#include "plait/io/cancel.h"
#include "plait/io/io.h"

namespace plait {

class Connection;
class UpstreamStream;

// Told about interim responses (1xx) before the final one.
class InterimSink {
 public:
  virtual void onInterim(const http::ResponseHead& head) = 0;

 protected:
  ~InterimSink() = default;
};

struct RequestOptions {
  TimeNs deadline_ns = never_ns;  // for the final response head
  // If not 0, the deadline belongs to one try and is this long. It begins with the try, and anew whenever the backend
  // takes some of the body.
  int64_t head_timeout_ms = 0;
  // The silence that ends the response, in the place of PoolTimeouts::stream_idle_ms; 0: as that says.
  int64_t idle_ms = 0;
  http::Pipe* body = nullptr;      // null exactly when head.end_stream; must outlive the Response
  CancelToken* cancel = nullptr;   // ends the wait with its error; the stream is reset
  InterimSink* interim = nullptr;  // null: interim responses are dropped
  // Memory that the waiting coroutine touches first when the head arrives. It is prefetched while the head is decoded.
  Bytes wanted_with_head;
  // The request's tries, where its owner chooses among endpoints and waits for room by itself (pool_exhausted); null:
  // this call keeps them, and waits.
  Attempts* attempts = nullptr;
  Claim claim;  // whose share of the endpoint's streams this takes

  TimeNs deadlineFrom(TimeNs now_ns) const {
    return head_timeout_ms == 0 ? deadline_ns : now_ns + head_timeout_ms * ns_per_ms;
  }
  TimeNs deadlineAfterProgress(TimeNs now_ns, TimeNs present_ns) const {
    return head_timeout_ms == 0 ? present_ns : now_ns + head_timeout_ms * ns_per_ms;
  }
};

// A connection that may be gone when it is asked for (ConnectionPool::find).
struct ConnectionHandle {
  Connection* connection = nullptr;
  uint32_t generation = 0;
  bool is_http1 = false;
};

struct RequestOp {
  const http::RequestHead* head = nullptr;
  const RequestOptions* options = nullptr;
  Attempts* attempts = nullptr;
  EndpointId endpoint;
  bool needs_http_1_1 = false;  // a tunnel, or the backend said HTTP_1_1_REQUIRED (RFC 9113 §7)
  // A repetition of unknown fate: it gets a connection of its own whose dial began after `failed_ns`.
  bool needs_own = false;
  bool done = false;
  ListNode queue_node;     // while it waits for a stream
  ListNode awaiting_node;  // while it waits for a head (Endpoint::awaiting)
  TimeNs failed_ns = 0;
  TimeNs sent_ns = 0;
  TimeNs deadline_ns = never_ns;
  UpstreamStream* stream = nullptr;  // where the request is now
  Result<UpstreamStream*> result = fail({});
  ConnectionHandle connection;  // the last one that had the request
  std::coroutine_handle<> waiter;
  void (*on_leased)(RequestOp& op, Result<Connection*> connection) = nullptr;
  void* owner = nullptr;
};

}  // namespace plait
