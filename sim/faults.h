// What may go wrong in a simulated run, as named probabilities. Each seed switches some of them on (a swarm: runs in
// which everything fails at once never get far), and the quiet phase at the end of a run switches all of them off.
#pragma once

#include <array>
#include <string_view>

#include "plait/base/random.h"

namespace plait::sim {

// X(name, how often it happens at each occasion where it is switched on, in parts of 10,000)
#define PLAIT_SIM_FAULTS(X)                                                                      \
  X(partial_write, 3000)        /* the kernel takes a part of what is sent */                    \
  X(split_delivery, 3000)       /* bytes arrive in pieces */                                     \
  X(jitter, 3000)               /* a segment takes up to ten times as long */                    \
  X(connection_reset, 20)       /* a segment's connection breaks */                              \
  X(small_buffers, 5000)        /* a connection whose sockets hold a few hundred bytes */        \
  X(connect_refused, 500)       /* */                                                            \
  X(connect_blackhole, 300)     /* a SYN that nobody answers */                                  \
  X(slow_dns, 3000)             /* an answer takes up to two seconds */                          \
  X(dns_failure, 500)           /* */                                                            \
  X(clock_jump, 20)             /* a worker's clock jumps ahead by up to 20 s at a turn */       \
  X(shuffle, 5000)              /* completions of different descriptors in another order */      \
  X(few_buffers, 50)            /* recv finds no free buffer */                                  \
  X(backend_restart, 5000)      /* for each backend: goes down and comes back, a few times */    \
  X(backend_goaway, 100)        /* for each request: the connection says GOAWAY */               \
  X(backend_refuse, 500)        /* REFUSED_STREAM */                                             \
  X(backend_reset, 300)         /* RST_STREAM in the middle of a body */                         \
  X(backend_drop, 100)          /* the connection breaks in the middle of a body */              \
  X(backend_early, 500)         /* answers before it has read the request's body */              \
  X(backend_interim, 1000)      /* 103 before the head */                                        \
  X(backend_trailers, 1000)     /* */                                                            \
  X(backend_slow, 2000)         /* pauses of up to 400 ms in a response */                       \
  X(backend_silent, 20)         /* never answers */                                              \
  X(backend_tiny_window, 2000)  /* for each connection: stream windows of 1 to 400 bytes */      \
  X(backend_window_change, 200) /* for each request: INITIAL_WINDOW_SIZE changes */              \
  X(backend_max_streams, 200)   /* for each request: MAX_CONCURRENT_STREAMS changes, to 0 too */ \
  X(backend_table_size, 200)    /* for each request: HEADER_TABLE_SIZE changes */                \
  X(backend_close_idle, 300)    /* after a response: closes although asked to keep alive */      \
  X(client_cancel, 500)         /* RST_STREAM, or the connection is closed (HTTP/1.1) */         \
  X(client_vanish, 100)         /* the client's connection breaks */                             \
  X(client_slow, 2000)          /* for each client: reads with pauses */                         \
  X(client_stall, 100)          /* for each client: stops reading for good */                    \
  X(client_burst, 3000)         /* for each client: all its requests at once */                  \
  X(client_tiny_window, 2000)   /* for each client: stream windows of 1 to 400 bytes */          \
  X(client_half_close, 50)      /* after a request of HTTP/1.1: FIN */

enum class Fault : uint8_t {
#define PLAIT_SIM_FAULT_NAME(name, rate) name,
  PLAIT_SIM_FAULTS(PLAIT_SIM_FAULT_NAME)
#undef PLAIT_SIM_FAULT_NAME
      count
};

class Faults {
 public:
  static constexpr size_t count = static_cast<size_t>(Fault::count);

  // Each fault is on in two of five runs; one run in twenty has none.
  explicit Faults(Random& random) {
    const bool is_calm = random.below(20) == 0;
    for (bool& on : on_) on = !is_calm && random.below(5) < 2;
  }

  bool isOn(Fault fault) const { return !quiet_ && on_[static_cast<size_t>(fault)]; }
  // Whether it happens at this occasion.
  bool happens(Fault fault, Random& random) const {
    return isOn(fault) && random.below(10'000) < rates[static_cast<size_t>(fault)];
  }
  void quieten() { quiet_ = true; }
  bool isQuiet() const { return quiet_; }

  static std::string_view name(size_t index) { return names[index]; }

 private:
  static constexpr std::array<std::string_view, count> names = {
#define PLAIT_SIM_FAULT_NAME(name, rate) #name,
      PLAIT_SIM_FAULTS(PLAIT_SIM_FAULT_NAME)
#undef PLAIT_SIM_FAULT_NAME
  };
  static constexpr std::array<uint32_t, count> rates = {
#define PLAIT_SIM_FAULT_RATE(name, rate) rate,
      PLAIT_SIM_FAULTS(PLAIT_SIM_FAULT_RATE)
#undef PLAIT_SIM_FAULT_RATE
  };
  std::array<bool, count> on_{};
  bool quiet_ = false;
};

}  // namespace plait::sim
