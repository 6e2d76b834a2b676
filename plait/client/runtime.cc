#include "plait/client/runtime.h"

namespace plait {

Runtime::Runtime(const Limits& limits)
    : limits_(limits),
      buffers_(limits.receive_buffers, limits.receive_buffer_size),
      send_blocks_(limits.send_block_size, limits.send_blocks),
      record_blocks_(limits.send_block_size + 1024, limits.record_blocks),
      stream_blocks_(limits.stream_block_size, limits.streamBlocks()),
      headers_(limits.smallHeaderBlocks(), limits.medium_header_blocks, limits.large_header_blocks) {}

Runtime::~Runtime() = default;

Result<std::unique_ptr<Runtime>> Runtime::make(const RuntimeOptions& options) {
  std::unique_ptr<Runtime> runtime(new Runtime(options.limits));
  auto backend = makeBackend(options.io, runtime->buffers_, runtime->mailbox_, &runtime->resolver_, &runtime->kind_);
  if (!backend) return fail(backend.error());
  runtime->backend_ = std::move(*backend);
  runtime->io_ = std::make_unique<Io>(
      *runtime->backend_, runtime->buffers_,
      IoConfig{.frame_count = options.limits.frames(), .coalesce_ns = options.limits.coalesce_us * ns_per_us});
  return runtime;
}

std::unique_ptr<ConnectionPool> Runtime::makePool(std::vector<BackendOptions> backends, const PoolTimeouts& timeouts) {
  return std::make_unique<ConnectionPool>(*io_, limits_, timeouts, std::move(backends),
                                          UpstreamMemory{stream_blocks_, headers_}, send_blocks_, record_blocks_);
}

void Runtime::run(Task<void> task) {
  Scope scope;
  scope.spawn(std::move(task), *io_);
  while (scope.running() != 0) io_->turn();
}

}  // namespace plait
