// What a server is told by those who make it: its timeouts, how a listener has its port, and who hears of faults.
#pragma once

#include <cstdint>

#include "plait/base/error.h"
#include "plait/base/time.h"

namespace plait {

struct ClientInfo;

struct ServerTimeouts {
  bool operator==(const ServerTimeouts&) const = default;

  int64_t client_header_ms = 10'000;  // from the first byte of a header block to its last
  int64_t client_idle_ms = 75'000;    // without a request in progress
  // Without a byte of progress that is the client's to make: its window stays closed, it does not read, or its
  // request's body stops before there is an answer. Seen a quarter of it too late at most.
  int64_t stall_ms = 60'000;
  int64_t drain_ms = 25'000;
  // A client of HTTP/1.1 whose FIN does not tell whether it still wants its answer gets so long without a byte of it.
  // 0: it has left.
  int64_t half_close_ms = 0;
  // An upload is stuck when its backend has taken nothing of it for so long. While memory for uploads is short some are
  // ended for that.
  int64_t stuck_upload_ms = 1000;
};

// How long a client may take for its FIN once all has been said to it.
inline constexpr int64_t linger_ms = 1000;
// How long after a drain began an idle client of HTTP/1.1 is still heard: a request of its may be on its way, and
// HTTP/1.1 has no other way to tell it beforehand.
inline constexpr int64_t drain_linger_ms = 200;

// How a listener has its port.
struct PortUse {
  // Beside sockets of this user that listen there already, as those of other workers do, or those of a process that is
  // to be relieved. Otherwise nobody may have the port.
  bool share = false;
  bool only_v6 = false;  // [::] does not take IPv4
};

// Hears of every fault of a client, however many there are.
class ServerObserver {
 public:
  virtual void onClientFault(const ClientInfo& client, const Error& error, TimeNs now_ns) = 0;

 protected:
  ~ServerObserver() = default;
};

}  // namespace plait
