// What plait may have of the machine's memory, and limits that fit into it. The limits that somebody has set stay; the
// others become smaller together until the sum fits, and follow those that were set (Limits::mistake).
#pragma once

#include <optional>

#include "plait/config/config.h"
#include "plait/proxy/worker.h"

namespace plait {

// Lowers the limits of `options` that nobody has set until `workers` of them and the control thread reserve at most
// `bytes`. Otherwise the answer is the least that they reserve, and the options are as small as they become.
std::optional<uint64_t> fitMemory(WorkerOptions& options, const IsSaid& is_said, uint32_t workers, uint64_t bytes);

}  // namespace plait
