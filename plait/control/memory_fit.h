// What plait may have of the machine's memory, and limits that fit into it. The limits that somebody has set stay; the
// others become smaller together until the sum fits, and follow those that were set (Limits::mistake).
#pragma once

#include <optional>

#include "plait/config/config.h"
#include "plait/proxy/worker.h"

namespace plait {

// The memory that plait takes at the most: workers, the control thread, and plans.
uint64_t reservedInAll(const WorkerOptions& options, uint32_t workers);

// Lowers the limits of `options` that nobody has set until all of it is at most `bytes`; plan_bytes not below
// `plan_bytes`. Otherwise the answer is the least that is needed, and the options are as small as they become.
std::optional<uint64_t> fitMemory(WorkerOptions& options, const IsSaid& is_said, uint32_t workers, uint64_t bytes,
                                  uint32_t plan_bytes);

}  // namespace plait
