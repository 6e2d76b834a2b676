// The memory of one loop, whoever runs on it: a worker, the control thread, an embedder, a test. Its blocks are made in
// one place, and what they and its Io come to is said before any of it is reserved.
#pragma once

#include <vector>

#include "plait/http/header_block.h"
#include "plait/io/io.h"
#include "plait/runtime/loop_limits.h"

namespace plait {

// The receive buffers among them are what an IoBackend is made with, so they come first.
struct LoopMemory {
  explicit LoopMemory(const LoopLimits& limits);

  BufferPool buffers;
  BlockSlab send_blocks;
  BlockSlab record_blocks;
  BlockSlab stream_blocks;
  http::HeaderSlab headers;

  size_t reservedBytes() const;
  void prefault();
};

// Of an Io with these limits.
IoConfig ioConfigFor(const LoopLimits& limits);

// One addend of a sum, by its consumer.
struct MemoryItem {
  const char* name;
  uint64_t bytes;
};
uint64_t sumOf(const std::vector<MemoryItem>& items);

// What LoopMemory, an Io and its backend reserve with these limits. `descriptors` as for makeBackend().
std::vector<MemoryItem> memoryOfLoop(const LoopLimits& limits, IoKind kind, uint32_t descriptors);

}  // namespace plait
