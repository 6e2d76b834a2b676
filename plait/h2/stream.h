// One stream as the engine sees it, a slot of the owner's. Its states are those of RFC 9113 §5.1, without the reserved
// ones, since nobody may push:
//
//   idle ── HEADERS ──▶ open ──── END_STREAM sent ────▶ half_closed_local ──┐
//                        │                                                  ├── the other END_STREAM ──▶ closed
//                        └────── END_STREAM received ─▶ half_closed_remote ─┘
//
//   from any of them: RST_STREAM sent ──▶ reset        what still comes has crossed it, and is ignored
//                     RST_STREAM received ──▶ reset_by_peer        nothing more may come
#pragma once

#include "plait/base/assert.h"
#include "plait/base/bytes.h"
#include "plait/base/list.h"
#include "plait/h2/flow_window.h"
#include "plait/http/message.h"

namespace plait::h2 {

// The end of our side is one step from open and from half_closed_remote, that of the peer's two from open and from
// half_closed_local.
enum class StreamState : uint8_t { idle, open, half_closed_local, half_closed_remote, closed, reset, reset_by_peer };

// The meaning of DATA on a stream.
enum class Content : uint8_t {
  measured,  // content, as long as Content-Length says, if it does
  none,      // the response to HEAD, a 204 or a 304 has none, whatever its Content-Length says (RFC 9110 §6.4.1)
  tunnel,    // CONNECT: what follows a 2xx head is no content, and has no length (RFC 9110 §9.3.6)
};

// Owners derive their slots from it.
struct Stream {
  uint32_t id = 0;  // 0 until its HEADERS are queued or accepted, and after release()
  StreamState state = StreamState::idle;
  Content content = Content::measured;
  bool head_received = false;  // the request head, or the final response head
  uint8_t interim_count = 0;   // client: 1xx heads so far
  bool was_too_large = false;  // server: a head or trailers of the request, which cost a token
  FlowWindow send_window;
  FlowWindow receive_window;
  uint32_t receive_window_size = 0;              // what receive_window is refilled to
  uint32_t credit = 0;                           // bytes the owner is done with and the peer has not been told about
  uint64_t content_left = http::unknown_length;  // of the announced Content-Length
  Stream* hash_next = nullptr;
  ListNode node;
  // Memory of the owner's that it will use when the next message on this stream is there.
  Bytes wanted[3];

  // Nothing more will be sent, nor taken.
  bool isClosed() const { return state >= StreamState::closed; }
  bool isReset() const { return state >= StreamState::reset; }
  bool maySend() const { return state == StreamState::open || state == StreamState::half_closed_remote; }
  bool mayReceive() const { return state == StreamState::open || state == StreamState::half_closed_local; }
  // We have sent END_STREAM, and there was no reset.
  bool hasSentEnd() const { return state == StreamState::half_closed_local || state == StreamState::closed; }

  void endLocal() {
    PLAIT_ASSERT(maySend());
    state = static_cast<StreamState>(static_cast<uint8_t>(state) + 1);
  }
  void endRemote() {
    PLAIT_ASSERT(mayReceive());
    state = static_cast<StreamState>(static_cast<uint8_t>(state) + 2);
  }
  // By us. A reset of the peer's stays one.
  void reset() {
    if (!isReset()) state = StreamState::reset;
  }
};

}  // namespace plait::h2
