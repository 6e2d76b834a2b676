// io_uring: one ring per worker, created and polled by the worker's thread (SINGLE_ISSUER), completions run when we ask
// for them (DEFER_TASKRUN). accept and recv are multishot, but for bulk, which is received in bundles; recv takes its
// buffers from a ring of provided ones only when bytes are there. One io_uring_enter a turn submits everything and
// reaps everything.
#include <liburing.h>
#include <poll.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "plait/io/backend.h"
#include "plait/io/mailbox.h"
#include "plait/io/op_queue.h"
#include "plait/io/socket_backend.h"
#include "plait/io/uring_buffers.h"

namespace plait {
namespace {

constexpr uint32_t submission_entries = 2048;
constexpr uint32_t completion_entries = 16384;

// Newer than the distribution's liburing (Linux 6.10): one recv fills as many buffers as it has bytes for. It prepares
// all that it may fill, so only bulk is received so. It may fill more than its length says (6.18 tries once more
// without a bound where the length is used up), so bulk has provided buffers of its own, and what one recv takes of
// the worker's buffers is bounded by them.
constexpr uint32_t recv_bundle = 1u << 4;           // IORING_RECVSEND_BUNDLE
constexpr uint32_t recv_bundle_feature = 1u << 14;  // IORING_FEAT_RECVSEND_BUNDLE
constexpr uint32_t bulk_provided = 16;
// With fewer buffers than that none are set aside for bulk.
constexpr uint32_t fewest_for_bulk = 8 * bulk_provided;

// So few buffers are with the kernel at least, and after so many turns fewer are, if fewer are enough.
constexpr uint32_t fewest_provided = 16;
constexpr uint32_t turns_before_fewer = 1024;

// Newer than the distribution's liburing (Linux 6.12): a wait for several completions that after its first part is
// content with one.
constexpr uint32_t min_wait_feature = 1u << 15;  // IORING_FEAT_MIN_TIMEOUT
constexpr uint32_t enough_gathered = 64;
constexpr uint32_t kernel_sigset_size = 8;

// user_data of requests that are no Op's: the mailbox's poll, and cancellations, whose own results nobody needs.
constexpr uint64_t mailbox_tag = 1;
constexpr uint64_t ignored_tag = 2;

class UringBackend final : public IoBackend {
 public:
  UringBackend(BufferPool& buffers, Mailbox& mailbox, ResolveService* resolver)
      : buffers_(buffers),
        mailbox_(mailbox),
        resolver_(resolver),
        common_(buffers, 0, buffers.count()),
        bulk_(buffers, 1, bulk_provided),
        reserve_(buffers, 2, std::bit_ceil(std::max(buffers.kept(), 1u))) {}

  ~UringBackend() override {
    if (ring_ready_) io_uring_queue_exit(&ring_);
  }

  // 0 or -errno.
  int start() {
    io_uring_params params{};
    params.flags =
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL;
    params.cq_entries = completion_entries;
    if (const int result = io_uring_queue_init_params(submission_entries, &ring_, &params); result < 0) return result;
    ring_ready_ = true;
    constexpr uint32_t needed = IORING_FEAT_EXT_ARG | IORING_FEAT_SUBMIT_STABLE;
    if ((params.features & needed) != needed) return -ENOSYS;
    receives_bundles_ = (params.features & recv_bundle_feature) != 0 && buffers_.count() >= fewest_for_bulk;
    // min_wait_usec is behind it: a kernel that registers no ring is older than that.
    can_gather_ = io_uring_register_ring_fd(&ring_) == 1 && (params.features & min_wait_feature) != 0;
    if (const int result = common_.registerAt(ring_); result < 0) return result;
    if (receives_bundles_) {
      if (const int result = bulk_.registerAt(ring_); result < 0) return result;
    }
    if (buffers_.kept() != 0) {
      if (const int result = reserve_.registerAt(ring_); result < 0) return result;
    }
    provideBuffers();
    armMailbox();
    return 0;
  }

  void submit(Op& op) override {
    if (op.isSynchronous()) {
      socket_backend::runSynchronous(op);
      return;
    }
    PLAIT_ASSERT(!op.armed);
    op.armed = true;
    op.cancelled = false;
    switch (op.kind) {
      case OpKind::connect:
        op.fd = socket_backend::makeSocket(op);
        if (op.fd < 0) {
          op.result = op.fd;
          failed_.push(op);
          return;
        }
        break;
      case OpKind::resolve:
        PLAIT_ASSERT(resolver_ != nullptr);
        resolver_->resolve(op, mailbox_);
        return;
      case OpKind::errand:
        op.errand->start(op, mailbox_);
        return;
      case OpKind::message:
        return;
      default:
        break;
    }
    if (!prepare(op)) postponed_.push(op);
  }

  void cancel(Op& op) override {
    if (!op.armed || op.cancelled) return;
    op.cancelled = true;
    // A lookup, an errand or a message is another thread's to complete; the answer is awaited and thrown away.
    if (op.kind == OpKind::resolve || op.kind == OpKind::errand) return;
    if (op.kind == OpKind::message) {
      mailbox_.post(op, -ECANCELED);
      return;
    }
    if (!postponed_.empty() && postponed_.remove(op)) {
      if (op.kind == OpKind::connect) ::close(std::exchange(op.fd, -1));
      op.result = -ECANCELED;
      failed_.push(op);
      return;
    }
    if (!prepareCancel(op)) uncancelled_.push(op);
  }

  size_t poll(TimeNs until_ns, TimeNs gather_ns, std::span<Completion> completions) override {
    provideBuffers();
    if (isBehind()) catchUp();
    size_t count = takeFailed(completions);
    const bool must_wait = count == 0 && io_uring_cq_ready(&ring_) == 0 && !mailbox_ready_ && !isBehind();
    if (must_wait && until_ns > 0) {
      wait(until_ns, gather_ns);
    } else {
      io_uring_submit_and_get_events(&ring_);
    }
    sends_ = 0;
    forgetMessages();
    const uint32_t provided_before = common_.provided();
    unsigned head = 0;
    unsigned seen = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      const std::span<Completion> left = completions.subspan(count);
      if (left.size() < completionsOf(*cqe)) break;
      seen += 1;
      count += take(*cqe, left);
    }
    io_uring_cq_advance(&ring_, seen);
    adaptProvided(provided_before - common_.provided());
    while (mailbox_ready_ && count < completions.size()) {
      Op* op = mailbox_.take();
      if (op == nullptr) {
        mailbox_ready_ = false;
        break;
      }
      completions[count++] = {.op = op, .result = op->result};
    }
    return count;
  }

  TimeNs now() override { return socket_backend::monotonicNow(); }
  TimeNs threadCpu() override { return socket_backend::threadCpu(); }
  int64_t epochSeconds() override { return socket_backend::epochSeconds(); }
  uint64_t entropy() override { return socket_backend::entropy(); }

 private:
  static void setData(io_uring_sqe* sqe, Op* op) { sqe->user_data = reinterpret_cast<uint64_t>(op); }

  // Null where the ring is full and the kernel takes nothing: it has no memory, or wants its completions taken first.
  io_uring_sqe* entry() {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe != nullptr) [[likely]]
      return sqe;
    io_uring_submit(&ring_);
    forgetMessages();
    return io_uring_get_sqe(&ring_);
  }

  // Some of what was asked for is not in the ring yet.
  bool isBehind() const { return !postponed_.empty() || !uncancelled_.empty() || !is_mailbox_armed_; }

  void catchUp() {
    if (!is_mailbox_armed_) armMailbox();
    OpQueue later = std::exchange(uncancelled_, {});
    while (Op* op = later.pop()) {
      if (!prepareCancel(*op)) uncancelled_.push(*op);
    }
    later = std::exchange(postponed_, {});
    while (Op* op = later.pop()) {
      if (!prepare(*op)) postponed_.push(*op);
    }
  }

  bool prepareCancel(Op& op) {
    io_uring_sqe* sqe = entry();
    if (sqe == nullptr) return false;
    io_uring_prep_cancel64(sqe, reinterpret_cast<uint64_t>(&op), 0);
    sqe->user_data = ignored_tag;
    return true;
  }

  // Puts the op into the ring; false where there is no room.
  bool prepare(Op& op) {
    io_uring_sqe* sqe = entry();
    if (sqe == nullptr) return false;
    switch (op.kind) {
      case OpKind::accept:
        if (op.single) {
          io_uring_prep_accept(sqe, op.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        } else {
          io_uring_prep_multishot_accept(sqe, op.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        }
        break;
      case OpKind::connect:
        io_uring_prep_connect(sqe, op.fd, reinterpret_cast<sockaddr*>(op.address),
                              socket_backend::addressSize(*op.address));
        break;
      case OpKind::recv: {
        const bool is_bundle = isBundle(op);
        if (op.single) {
          io_uring_prep_recv(sqe, op.fd, nullptr, buffers_.bufferSize(), 0);
        } else if (is_bundle) {
          // Behind the sends of this turn: what they bring about may have come by then.
          io_uring_prep_recv(sqe, op.fd, nullptr, size_t{bulk_provided} * buffers_.bufferSize(), 0);
          sqe->ioprio |= recv_bundle | IORING_RECVSEND_POLL_FIRST;
        } else {
          io_uring_prep_recv_multishot(sqe, op.fd, nullptr, 0, 0);
        }
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = ringOf(op).group();
        break;
      }
      case OpKind::send:
        sends_ += 1;
        if (op.vector_count == 1) {
          io_uring_prep_send(sqe, op.fd, op.vectors[0].iov_base, op.vectors[0].iov_len, MSG_NOSIGNAL);
        } else {
          // There is one for each entry of the ring: they are forgotten when the kernel has taken all entries.
          PLAIT_ASSERT(message_count_ < messages_.size());
          msghdr& message = messages_[message_count_++];
          message = {};
          message.msg_iov = const_cast<iovec*>(op.vectors);
          message.msg_iovlen = op.vector_count;
          io_uring_prep_sendmsg(sqe, op.fd, &message, MSG_NOSIGNAL);
        }
        break;
      default:
        PLAIT_UNREACHABLE();
    }
    setData(sqe, &op);
    return true;
  }

  // Submits, and waits for one completion. With `gather_ns` it waits for many, and after that for any, be it a send's.
  void wait(TimeNs until_ns, TimeNs gather_ns) {
    __kernel_timespec timeout{};
    __kernel_timespec* until = nullptr;
    if (until_ns != never_ns) {
      const TimeNs left_ns = std::max<TimeNs>(until_ns - now(), 0);
      timeout.tv_sec = left_ns / ns_per_s;
      timeout.tv_nsec = left_ns % ns_per_s;
      until = &timeout;
      gather_ns = std::min(gather_ns, left_ns);
    }
    if (gather_ns < ns_per_us || !can_gather_) {
      io_uring_cqe* cqe = nullptr;
      io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, until, nullptr);
      return;
    }
    io_uring_getevents_arg argument{};
    argument.sigmask_sz = kernel_sigset_size;
    argument.pad = static_cast<uint32_t>(gather_ns / ns_per_us);  // min_wait_usec
    argument.ts = reinterpret_cast<uint64_t>(until);
    // The prepared SQEs become the kernel's, as by io_uring_submit().
    io_uring_smp_store_release(ring_.sq.ktail, ring_.sq.sqe_tail);
    ring_.sq.sqe_head = ring_.sq.sqe_tail;
    // Most sends complete at once: those are not what is waited for.
    io_uring_enter2(static_cast<unsigned>(ring_.enter_ring_fd), io_uring_sq_ready(&ring_), sends_ + enough_gathered,
                    IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | IORING_ENTER_REGISTERED_RING,
                    reinterpret_cast<sigset_t*>(&argument), sizeof(argument));
  }

  // The kernel has copied the messages of what it has taken (IORING_FEAT_SUBMIT_STABLE).
  void forgetMessages() {
    if (io_uring_sq_ready(&ring_) == 0) message_count_ = 0;
  }

  void armMailbox() {
    io_uring_sqe* sqe = entry();
    is_mailbox_armed_ = sqe != nullptr;
    if (sqe == nullptr) return;
    io_uring_prep_poll_multishot(sqe, mailbox_.wakeFd(), POLLIN);
    sqe->user_data = mailbox_tag;
  }

  // An op that the kernel was not asked for completes like any other: through poll().
  size_t takeFailed(std::span<Completion> completions) {
    size_t count = 0;
    while (!failed_.empty() && count < completions.size()) {
      Op* const op = failed_.pop();
      completions[count++] = {.op = op, .result = op->result};
    }
    return count;
  }

  bool isBundle(const Op& op) const { return op.bulk && !op.single && receives_bundles_; }
  ProvidedBuffers& ringOf(const Op& op) {
    if (isBundle(op)) return bulk_;
    return op.from_reserve && buffers_.kept() != 0 ? reserve_ : common_;
  }

  // With few buffers the kernel comes back to one soon, while its memory is still in the caches; the rest wait in the
  // pool, the last that was used in front.
  void provideBuffers() {
    // The kernel chooses a buffer only when bytes have come, so what is kept for some lies in a ring of their own.
    if (reserve_.provided() != buffers_.kept()) {
      reserve_.provide(buffers_.kept(), true);
      buffers_.setAside(reserve_.provided());
    }
    // Those for bulk come first, or they would all end in the other ring, which gives none back. Where buffers are
    // short nobody receives in bundles, and who waits for one needs it there.
    if (receives_bundles_ && !buffers_.isShort()) bulk_.provide(bulk_provided);
    common_.provide(std::min(wanted_, buffers_.count() - buffers_.kept() - (receives_bundles_ ? bulk_provided : 0)));
  }

  // `filled` of the common buffers came back in this turn. The kernel should never be left without: a recv that finds
  // none has to be submitted again.
  void adaptProvided(uint32_t filled) {
    most_filled_ = std::max(most_filled_, filled);
    if (most_filled_ * 2 > wanted_) {
      wanted_ = std::min(wanted_ * 2, buffers_.count());
    } else if (++turns_ < turns_before_fewer) {
      return;
    } else if (most_filled_ * 4 < wanted_) {
      wanted_ = std::max(wanted_ / 2, std::min(fewest_provided, buffers_.count()));
    }
    turns_ = 0;
    most_filled_ = 0;
  }

  // A recv has a completion for each buffer that it filled, all others have one.
  size_t completionsOf(const io_uring_cqe& cqe) const {
    if ((cqe.flags & IORING_CQE_F_BUFFER) == 0 || cqe.res <= 0) return 1;
    return (static_cast<size_t>(cqe.res) + buffers_.bufferSize() - 1) / buffers_.bufferSize();
  }

  // Returns how many of `completions` were made; there are completionsOf(cqe) at least.
  size_t take(const io_uring_cqe& cqe, std::span<Completion> completions) {
    const bool more = (cqe.flags & IORING_CQE_F_MORE) != 0;
    if (cqe.user_data == ignored_tag) return 0;
    if (cqe.user_data == mailbox_tag) {
      mailbox_ready_ = true;
      if (!more) armMailbox();
      return 0;
    }
    Op* op = reinterpret_cast<Op*>(cqe.user_data);
    if (!uncancelled_.empty() && !more) [[unlikely]]
      uncancelled_.remove(*op);
    if (op->kind == OpKind::recv && (cqe.flags & IORING_CQE_F_BUFFER) != 0) return takeReceived(cqe, *op, completions);
    completions.front() = {.op = op, .result = cqe.res, .buffer_id = -1, .more = more};
    if (op->kind == OpKind::accept && cqe.res >= 0) {
      socket_backend::prepareAccepted(cqe.res);
    } else if (op->kind == OpKind::connect) {
      if (cqe.res == 0) {
        completions.front().result = op->fd;
      } else {
        ::close(op->fd);
        op->fd = -1;
      }
    }
    return 1;
  }

  // The kernel names the first buffer that it filled; it goes through them in the order in which they were provided.
  size_t takeReceived(const io_uring_cqe& cqe, Op& op, std::span<Completion> completions) {
    const bool more = (cqe.flags & IORING_CQE_F_MORE) != 0;
    const uint32_t first = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
    const size_t filled = completionsOf(cqe);
    ProvidedBuffers& provided = ringOf(op);
    provided.noteTaken(static_cast<uint32_t>(filled));
    if (&provided == &reserve_) buffers_.setAside(reserve_.provided());
    if (cqe.res <= 0) {
      buffers_.untake(first);
      completions.front() = {.op = &op, .result = cqe.res, .buffer_id = -1, .more = more};
      return 1;
    }
    auto left = static_cast<uint32_t>(cqe.res);
    for (uint32_t i = 0; i < filled; ++i) {
      const uint16_t id = provided.behind(first, i);
      const uint32_t size = std::min(left, buffers_.bufferSize());
      left -= size;
      buffers_.markLent(id);
      completions[i] = {
          .op = &op, .result = static_cast<int32_t>(size), .buffer_id = int32_t{id}, .more = more || left != 0};
    }
    return filled;
  }

  BufferPool& buffers_;
  Mailbox& mailbox_;
  ResolveService* resolver_;
  io_uring ring_{};
  // Of the sends that the kernel has not been told about yet.
  std::array<msghdr, submission_entries> messages_;
  uint32_t message_count_ = 0;
  uint32_t sends_ = 0;  // since the last poll
  ProvidedBuffers common_;
  ProvidedBuffers bulk_;
  ProvidedBuffers reserve_;
  uint32_t wanted_ = fewest_provided;
  uint32_t most_filled_ = 0;  // in one turn, since wanted_ was looked at
  uint32_t turns_ = 0;
  OpQueue failed_;       // the kernel was not asked for them
  OpQueue postponed_;    // it will be when there is room in the ring,
  OpQueue uncancelled_;  // likewise for the end of these
  bool receives_bundles_ = false;
  bool ring_ready_ = false;
  bool can_gather_ = false;
  bool mailbox_ready_ = false;
  bool is_mailbox_armed_ = true;
};

}  // namespace

Result<std::unique_ptr<IoBackend>> makeUringBackend(BufferPool& buffers, Mailbox& mailbox, ResolveService* resolver) {
  auto backend = std::make_unique<UringBackend>(buffers, mailbox, resolver);
  if (const int result = backend->start(); result < 0) {
    return plait::fail(backendError(ErrorCode::invalid_argument,
                                    "this kernel or its policy does not allow io_uring: use --io epoll",
                                    static_cast<uint32_t>(-result)));
  }
  return backend;
}

// The kernel's rings, and those of provided buffers.
size_t uringBackendBytes(uint32_t receive_buffers) {
  return submission_entries * (sizeof(io_uring_sqe) + sizeof(uint32_t)) + completion_entries * sizeof(io_uring_cqe) +
         (size_t{receive_buffers} * 3 + 2 * bulk_provided) * sizeof(io_uring_buf) + sizeof(UringBackend);
}

Result<std::unique_ptr<IoBackend>> makeBackend(IoKind kind, BufferPool& buffers, Mailbox& mailbox,
                                               ResolveService* resolver, IoKind* chosen, uint32_t descriptors) {
  if (kind != IoKind::epoll) {
    auto backend = makeUringBackend(buffers, mailbox, resolver);
    if (backend || kind == IoKind::uring) {
      if (chosen != nullptr) *chosen = IoKind::uring;
      return backend;
    }
  }
  if (chosen != nullptr) *chosen = IoKind::epoll;
  return makeEpollBackend(buffers, mailbox, resolver, descriptors);
}

}  // namespace plait
