// One request's way through the pool. The RequestOp lives in the frame of whoever awaits request(), so a request costs
// no allocation wherever it waits: in a stream, in a backend's queue, or between two tries.
//
//   getOrCreate → [queued] → leased → sent → head → (body streams from Response)
//                                      └── not processed: back to the queue, on another connection, up to 5 times
#pragma once

#include <coroutine>

#include "plait/base/list.h"
#include "plait/http/message.h"
#include "plait/http/pipe.h"
#include "plait/io/cancel.h"
#include "plait/io/io.h"

namespace plait {

class Connection;
class UpstreamStream;

// Why a request was tried again; for counters and logs.
enum class RetryClass : uint8_t { none, unprocessed, unknown };

// Told about interim responses (1xx) before the final one.
class InterimSink {
 public:
  virtual void onInterim(const http::ResponseHead& head) = 0;

 protected:
  ~InterimSink() = default;
};

struct RequestOptions {
  TimeNs deadline_ns = never_ns;      // for the final response head
  int64_t head_timeout_ms = 0;        // not 0: each time the backend takes some of the body, the deadline starts anew
  http::Pipe* body = nullptr;         // null exactly when head.end_stream; must outlive the Response
  CancelToken* cancel = nullptr;      // ends the wait with its error; the stream is reset
  InterimSink* interim = nullptr;     // null: interim responses are dropped
  uint8_t* retries = nullptr;         // counts tries after the first, if not null
  RetryClass* retry_class = nullptr;  // class of the last retry, if not null
  // What whoever waits will use when the head is there. It is fetched back into the caches while the head is decoded.
  Bytes wanted_with_head;
  // A request of unknown fate is repeated once, however many backends are tried: whoever tries several shares this.
  bool* unknown_retried = nullptr;

  TimeNs deadlineAfterProgress(TimeNs now_ns, TimeNs present_ns) const {
    return head_timeout_ms == 0 ? present_ns : now_ns + head_timeout_ms * ns_per_ms;
  }
};

struct RequestOp {
  const http::RequestHead* head = nullptr;
  const RequestOptions* options = nullptr;
  uint32_t backend_idx = 0;
  uint32_t attempts = 0;
  bool unknown_retried = false;
  bool needs_http_1_1 = false;  // a tunnel, or the backend said HTTP_1_1_REQUIRED (RFC 9113 §7)
  ListNode queue_node;
  UpstreamStream* stream = nullptr;  // where the request is now
  Result<UpstreamStream*> result = fail({});
  uint64_t connection_serial = 0;  // of the last connection that had the request
  bool done = false;
  std::coroutine_handle<> waiter;
  void (*on_leased)(RequestOp& op, Result<Connection*> connection) = nullptr;
  void* owner = nullptr;
};

}  // namespace plait
