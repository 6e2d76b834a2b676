// The synchronous operations and socket options that both real backends share.
#pragma once

#include "plait/io/op.h"

namespace plait::socket_backend {

// Performs listen, peer, shutdown or close at once and sets op.result.
void runSynchronous(Op& op);

// Whether a listen op could have that address now: 0 or -errno. It is bound for a moment, and no connection is taken.
int tryAddress(const sockaddr_storage& address, bool share_port, bool only_v6);

// Makes a non-blocking TCP socket of the family of op.address with the options every connection has; -errno on failure.
int makeSocket(const Op& op);
// Options for a descriptor that accept() has made.
void prepareAccepted(int fd);

uint32_t addressSize(const sockaddr_storage& address);

TimeNs monotonicNow();
TimeNs threadCpu();
int64_t epochSeconds();
uint64_t entropy();

}  // namespace plait::socket_backend
