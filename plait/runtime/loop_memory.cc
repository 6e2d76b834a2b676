#include "plait/runtime/loop_memory.h"

#include <algorithm>
#include <iterator>

namespace plait {
namespace {

// How many coroutines of each size there may be at once, by who has them. Where a class is used up frames come from the
// next larger one, and in the end there are none (FrameSlab::take).
FrameCounts framesFor(const LoopLimits& limits) {
  const uint32_t clients = limits.client_connections;
  const uint32_t upstream = limits.upstream_connections;
  // Those of HTTP/2, and those of HTTP/1.1, of which a client has one.
  const uint32_t requests = limits.exchanges + std::min(limits.exchanges, clients);
  FrameCounts counts;
  counts.by_class = {
      2 * clients + 3 * upstream + 16,  // Server::serve, the servers' run; dial, runConnection, UltraSock::drain
      clients + 2 * upstream + 16,      // startTls, closeGracefully; H2Connection::run
      // greet, or H1Conversation::serveOne; connect, or H1Connection::run; a request's attempt
      clients + upstream + requests + 16,
      requests + 16,              // its handler
      requests / 2 + 32,          // embedders'
      limits.exchanges / 4 + 32,  // likewise
      upstream / 4 + 16,          // openSocket, with the addresses of a name
      16,
  };
#if __has_feature(address_sanitizer)
  // Frames are larger there.
  for (size_t i = 5; i > 0; --i) counts.by_class[i] = std::max(counts.by_class[i], counts.by_class[i - 1]);
#endif
  // The end of each socket; and of the server and the pool.
  counts.last = clients + upstream + 2;
  return counts;
}

uint64_t pages(uint64_t bytes) {
  constexpr uint64_t page_size = 4096;
  return (bytes + page_size - 1) / page_size * page_size;
}

}  // namespace

LoopMemory::LoopMemory(const LoopLimits& limits)
    : buffers(limits.receive_buffers, limits.receive_buffer_size, limits.buffersLeftByClients()),
      send_blocks(limits.send_block_size, limits.send_blocks),
      record_blocks(limits.recordBlockSize(), limits.record_blocks),
      stream_blocks(limits.stream_block_size, limits.streamBlocks()),
      headers(limits.smallHeaderBlocks(), limits.medium_header_blocks, limits.large_header_blocks) {}

size_t LoopMemory::reservedBytes() const {
  return buffers.reservedBytes() + send_blocks.reservedBytes() + record_blocks.reservedBytes() +
         stream_blocks.reservedBytes() + headers.reservedBytes();
}

void LoopMemory::prefault() {
  buffers.prefault();
  send_blocks.prefault();
  record_blocks.prefault();
  stream_blocks.prefault();
  for (size_t i = 0; i < std::size(http::HeaderSlab::class_sizes); ++i) headers.ofClass(i).prefault();
}

IoConfig ioConfigFor(const LoopLimits& limits) {
  return {.frames = framesFor(limits), .coalesce_ns = limits.coalesce_us * ns_per_us};
}

uint64_t sumOf(const std::vector<MemoryItem>& items) {
  uint64_t total = 0;
  for (const MemoryItem& item : items) total += item.bytes;
  return total;
}

std::vector<MemoryItem> memoryOfLoop(const LoopLimits& limits, IoKind kind, uint32_t descriptors) {
  const auto& classes = http::HeaderSlab::class_sizes;
  const FrameCounts frames = framesFor(limits);
  return {
      {"receive buffers", pages(uint64_t{limits.receive_buffers} * limits.receive_buffer_size)},
      {"send blocks", BlockSlab::bytesFor(limits.send_block_size, limits.send_blocks)},
      {"TLS records being read", BlockSlab::bytesFor(limits.recordBlockSize(), limits.record_blocks)},
      {"blocks of responses", BlockSlab::bytesFor(limits.stream_block_size, limits.streamBlocks())},
      {"header blocks", BlockSlab::bytesFor(classes[0], limits.smallHeaderBlocks()) +
                            BlockSlab::bytesFor(classes[1], limits.medium_header_blocks) +
                            BlockSlab::bytesFor(classes[2], limits.large_header_blocks)},
      {"coroutine frames", FrameSlab::bytesFor(frames)},
      {"coroutines that are ready", Io::readyBytesFor(frames)},
      {"arrays of sends", Io::vectorBytes()},
      {"rings and descriptors of I/O", backendBytes(kind, limits.receive_buffers, descriptors)},
  };
}

}  // namespace plait
