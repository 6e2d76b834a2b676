#include "plait/client/runtime.h"

#include <cerrno>
#include <utility>

namespace plait {

Runtime::Runtime(const LoopLimits& limits) : limits_(limits), memory_(limits) {}

Runtime::~Runtime() = default;

Result<std::unique_ptr<Runtime>> Runtime::make(const RuntimeOptions& options) {
  if (const auto mistake = options.limits.mistake())
    return fail(backendError(ErrorCode::invalid_argument, mistake->reason));
  if (!Reservation::isPossible(sumOf(memoryOfLoop(options.limits, options.io, 0))))
    return fail(backendError(ErrorCode::no_memory, "the system does not give what the limits reserve", ENOMEM));
  std::unique_ptr<Runtime> runtime(new Runtime(options.limits));
  auto backend =
      makeBackend(options.io, runtime->memory_.buffers, runtime->mailbox_, &runtime->resolver_, &runtime->kind_);
  if (!backend) return fail(backend.error());
  runtime->backend_ = std::move(*backend);
  runtime->io_ = std::make_unique<Io>(*runtime->backend_, runtime->memory_.buffers, ioConfigFor(options.limits));
  runtime->stop_op_.owner = runtime.get();
  runtime->stop_op_.on_complete = [](void* self, const Completion&) { static_cast<Runtime*>(self)->onStopRequested(); };
  runtime->io_->submit(runtime->stop_op_);
  return runtime;
}

void Runtime::onStopRequested() {
  is_stopping_ = true;
  if (stop_waiter_) io_->ready(std::exchange(stop_waiter_, nullptr));
}

std::unique_ptr<ConnectionPool> Runtime::makePool(std::vector<BackendOptions> backends, const PoolTimeouts& timeouts,
                                                  const PoolLimits& limits) {
  auto pool = std::make_unique<ConnectionPool>(*io_, limits_, limits, timeouts, std::move(backends),
                                               UpstreamMemory{memory_.stream_blocks, memory_.headers},
                                               memory_.send_blocks, memory_.record_blocks);
  pool->takeOrders(mailbox_);
  return pool;
}

void Runtime::run(Task<void> task) {
  Scope scope;
  scope.spawn(std::move(task), *io_);
  while (scope.running() != 0) io_->turn();
}

}  // namespace plait
