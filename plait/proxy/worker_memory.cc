#include "plait/proxy/worker_memory.h"

#include <algorithm>
#include <fstream>

namespace plait {
namespace {

constexpr uint64_t page_size = 4096;

uint64_t pages(uint64_t bytes) {
  return (bytes + page_size - 1) / page_size * page_size;
}

}  // namespace

uint64_t tlsArenaBytes(const WorkerOptions& options) {
  const Limits& limits = options.limits;
  const bool has_clients =
      std::ranges::any_of(options.listeners, [](const ListenOptions& listener) { return listener.tls != nullptr; });
  const bool has_backends =
      std::ranges::any_of(options.backends, [](const BackendOptions& backend) { return backend.tls != nullptr; });
  return limits.tlsBytes((has_clients ? limits.client_connections : 0) +
                         (has_backends ? limits.upstream_connections : 0));
}

std::vector<MemoryItem> memoryOf(const WorkerOptions& options) {
  const Limits& limits = options.limits;
  const bool has_backends = !options.backends.empty();
  const auto& classes = http::HeaderSlab::class_sizes;
  const uint64_t tls = tlsArenaBytes(options);
  return {
      {"receive buffers", pages(uint64_t{limits.receive_buffers} * limits.receive_buffer_size)},
      {"send blocks", BlockSlab::bytesFor(limits.send_block_size, limits.send_blocks)},
      {"TLS records being read", BlockSlab::bytesFor(limits.recordBlockSize(), limits.record_blocks)},
      {"blocks of responses", BlockSlab::bytesFor(limits.stream_block_size, limits.streamBlocks())},
      {"blocks of uploads", BlockSlab::bytesFor(limits.stream_block_size, limits.uploadBlocks())},
      {"header blocks", BlockSlab::bytesFor(classes[0], limits.smallHeaderBlocks()) +
                            BlockSlab::bytesFor(classes[1], limits.medium_header_blocks) +
                            BlockSlab::bytesFor(classes[2], limits.large_header_blocks)},
      {"coroutine frames", FrameSlab::bytesFor(limits.frames())},
      {"arrays of sends", Io::vectorBytes()},
      {"clients' connections", Server::connectionBytes(limits)},
      {"exchanges", Server::exchangeBytes(limits)},
      {"upstream connections", has_backends ? ConnectionPool::connectionBytes(limits) : 0},
      {"upstream streams", has_backends ? ConnectionPool::streamBytes(limits) : 0},
      {"TLS arena", tls == 0 ? 0 : pages(tls) + page_size},  // a page for its own bookkeeping
      {"access log ring", options.has_access_log ? pages(limits.access_ring_bytes) : 0},
  };
}

uint64_t sumOf(const std::vector<MemoryItem>& items) {
  uint64_t total = 0;
  for (const MemoryItem& item : items) total += item.bytes;
  return total;
}

std::optional<uint64_t> memoryLimit(const std::string& root, const std::string& self) {
  std::optional<uint64_t> tightest;
  const auto look = [&](const std::string& file) {
    std::ifstream in(file);
    uint64_t bytes = 0;
    // "max" is no number; version 1 says a huge one where there is no limit.
    if (in >> bytes && bytes < uint64_t{1} << 60) tightest = std::min(bytes, tightest.value_or(bytes));
  };
  std::ifstream groups(self);
  for (std::string line; std::getline(groups, line);) {
    // HIERARCHY:CONTROLLERS:PATH, where version 2 names no controllers.
    const size_t first = line.find(':');
    const size_t second = first == line.npos ? first : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool is_v2 = controllers.empty();
    if (!is_v2 && ("," + controllers + ",").find(",memory,") == std::string::npos) continue;
    const std::string base = is_v2 ? root : root + "/memory";
    const std::string file = is_v2 ? "/memory.max" : "/memory.limit_in_bytes";
    // A group is bound by those above it as well. In a container the path may be that of the host: then the root is
    // ours.
    std::string path = line.substr(second + 1);
    while (path.size() > 1) {
      look(base + path + file);
      const size_t slash = path.rfind('/');
      path.resize(slash == path.npos ? 0 : slash);
    }
    look(base + file);
  }
  return tightest;
}

}  // namespace plait
