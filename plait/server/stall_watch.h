// StallWatch: whether a client is too slow in what is its to do, at the moment when its connection is looked at. The
// conversations know whose turn it is; how long a turn may take is the same in both.
#pragma once

#include "plait/base/progress.h"
#include "plait/server/exchange.h"

namespace plait {

struct StallRules {
  TimeNs stall_ns;
  uint32_t upload_bytes_per_second;
  uint32_t download_bytes_per_second;
  // Half of the exchanges are free, so that a slow one is in nobody's way.
  bool has_ample_exchanges;
};

class StallWatch {
 public:
  StallWatch(const StallRules& rules, TimeNs now_ns) : rules_(rules), now_ns_(now_ns) {}

  // No byte has moved since then for too long.
  bool isOver(TimeNs since_ns) const { return now_ns_ - since_ns >= rules_.stall_ns; }

  // The client takes too little of what is sent to it. `sent` counts it.
  bool isTakingTooLittle(Progress& progress, uint64_t sent) const {
    return progress.isTooSlow(now_ns_, sent, rules_.stall_ns, rules_.download_bytes_per_second);
  }

  // A response waits for the client's window, since `waits_since_ns`; `sent` counts its bytes. A stream whose own
  // window is open waits for the connection's, which all streams share.
  bool isWindowStalled(bool is_stream_open, bool is_connection_open, uint64_t sent, Progress& progress,
                       TimeNs& waits_since_ns) const;

  // The client sends nothing of a request's body since `moved_ns`, or too little, where it may send. `received` counts
  // it.
  bool isBodyStalled(const Exchange& exchange, bool may_send, TimeNs moved_ns, uint64_t received,
                     Progress& progress) const;

 private:
  // The rate that a request's body must keep up. gRPC's messages come when they come, so as long as there are exchanges
  // enough only silence counts there.
  uint32_t uploadFloor(const Exchange& exchange) const;

  const StallRules rules_;
  const TimeNs now_ns_;
};

}  // namespace plait
