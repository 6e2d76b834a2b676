// The one seam to the outside. Behind it are io_uring, epoll, and the simulator; in front of it nothing
// knows a system call, a clock or a source of randomness.
#pragma once

#include <memory>
#include <span>

#include "plait/base/error.h"
#include "plait/io/buffer_pool.h"
#include "plait/io/op.h"

namespace plait {

class Mailbox;

class IoBackend {
 public:
  virtual ~IoBackend() = default;

  // Starts `op`. Synchronous kinds are done on return; the others complete through poll(), at least once.
  virtual void submit(Op& op) = 0;
  // Asks for the end of an armed op. It still completes: with -ECANCELED, or with what had happened before.
  virtual void cancel(Op& op) = 0;
  // Waits until something completed or `until_ns` has passed (a point of now()), whichever is first, and fills
  // `completions`; returns how many. Completions that do not fit stay for the next call. Before that it may let pass
  // `gather_ns`, so that more than one has completed, and return with none then; where it cannot, it does not.
  virtual size_t poll(TimeNs until_ns, TimeNs gather_ns, std::span<Completion> completions) = 0;
  // The monotonic clock.
  virtual TimeNs now() = 0;
  // How long the calling thread has run so far.
  virtual TimeNs threadCpu() = 0;
  // Seconds since 1970 by the wall clock, which may jump: for what people read, never for deadlines.
  virtual int64_t epochSeconds() = 0;
  // 64 bits that nobody can predict.
  virtual uint64_t entropy() = 0;
};

// Answers resolve ops; lives on the control thread and answers through the mailbox of the thread that asked.
class ResolveService {
 public:
  virtual ~ResolveService() = default;
  // Thread-safe. `op` completes by `mailbox.post`.
  virtual void resolve(Op& op, Mailbox& mailbox) = 0;
};

enum class IoKind : uint8_t { automatic, uring, epoll };

// The descriptors that the process may have open now (RLIMIT_NOFILE), a million at the most.
uint32_t descriptorLimit();

// The bytes that a backend of that kind reserves; with `automatic` the most that it may be. Arguments as for
// makeBackend.
size_t backendBytes(IoKind kind, uint32_t receive_buffers, uint32_t descriptors);

// Makes the backend for the calling thread, which must be the one that polls it. With `automatic`, io_uring where the
// kernel allows it, else epoll. Fails with a sentence for the operator when `uring` was asked for and cannot be had.
// `buffers` and `mailbox` must outlive the backend; `resolver` may be null where no names are looked up. epoll has a
// place for each of `descriptors`, 0 for descriptorLimit(): what is done with others fails with -EMFILE.
Result<std::unique_ptr<IoBackend>> makeBackend(IoKind kind, BufferPool& buffers, Mailbox& mailbox,
                                               ResolveService* resolver, IoKind* chosen = nullptr,
                                               uint32_t descriptors = 0);
Result<std::unique_ptr<IoBackend>> makeUringBackend(BufferPool& buffers, Mailbox& mailbox, ResolveService* resolver);
Result<std::unique_ptr<IoBackend>> makeEpollBackend(BufferPool& buffers, Mailbox& mailbox, ResolveService* resolver,
                                                    uint32_t descriptors = 0);
// The parts of backendBytes().
size_t epollBackendBytes(uint32_t descriptors);
size_t uringBackendBytes(uint32_t receive_buffers);

}  // namespace plait
