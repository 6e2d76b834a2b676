#include "plait/server/stall_watch.h"

namespace plait {

bool StallWatch::isWindowStalled(bool is_stream_open, bool is_connection_open, uint64_t sent, Progress& progress,
                                 TimeNs& waits_since_ns) const {
  // Waiting for one's turn on a slow but moving connection is no stall.
  if (is_stream_open && is_connection_open) waits_since_ns = now_ns_;
  if (is_stream_open) progress.rest();
  return (!is_stream_open && isTakingTooLittle(progress, sent)) || isOver(waits_since_ns);
}

bool StallWatch::isBodyStalled(const Exchange& exchange, bool may_send, TimeNs moved_ns, uint64_t received,
                               Progress& progress) const {
  // After the response's head both sides may take their time: a stream of messages is silent for as long as it likes.
  if (!may_send || exchange.isHeadSent() || exchange.requestBody()->bufferedBytes() != 0) {
    progress.rest();
    return false;
  }
  return isOver(moved_ns) || progress.isTooSlow(now_ns_, received, rules_.stall_ns, uploadFloor(exchange));
}

uint32_t StallWatch::uploadFloor(const Exchange& exchange) const {
  const bool is_grpc = exchange.request().fields.value(http::FieldName::content_type).starts_with("application/grpc");
  return is_grpc && rules_.has_ample_exchanges ? 0 : rules_.upload_bytes_per_second;
}

}  // namespace plait
