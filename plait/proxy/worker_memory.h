// The sum of what a worker reserves, told before any of it is: what plait prints at start, and compares with what the
// machine allows. Every addend names its consumer; the bounds themselves are in limits.h.
#pragma once

#include <vector>

#include "plait/proxy/worker.h"
#include "plait/runtime/loop_memory.h"

namespace plait {

// The memory that one worker with these options reserves. The worker checks at start that it reserves no more.
std::vector<MemoryItem> memoryOf(const WorkerOptions& options);
// The limits of the control thread's server: few and small, for scrapers and not for clients. And what it reserves
// beside such workers.
Limits adminLimits();
std::vector<MemoryItem> memoryOfControl(const WorkerOptions& options);

// Bytes for the TLS arena: a share for each connection that may speak TLS; 0 where none may.
uint64_t tlsArenaBytes(const WorkerOptions& options);

}  // namespace plait
