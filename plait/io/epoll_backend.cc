// epoll, for hosts that forbid io_uring. Descriptors are registered once, edge-triggered; per descriptor we remember
// whether it may be readable or writable and try the armed ops in turn. A recv takes a buffer only when the socket has
// something to say, as the other backends do.
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "plait/base/ring.h"
#include "plait/io/backend.h"
#include "plait/io/mailbox.h"
#include "plait/io/op_queue.h"
#include "plait/io/socket_backend.h"

namespace plait {
namespace {

// Buffers that one descriptor fills in a turn: what one turn reads leaves in one send. The first is read alone, which
// is all there is in most cases; behind a full one the others are read together.
constexpr uint32_t buffers_per_turn = 16;
constexpr uint32_t buffers_at_once = 8;
constexpr unsigned long timer_slack_ns = 1000;

// The state of one descriptor. Zero is that of one that epoll does not watch.
struct Descriptor {
  Op* reader;  // accept or recv
  Op* writer;  // connect or send
  bool watched;
  bool readable;
  bool writable;
  bool hung_up;  // the peer has closed: a short read does not mean that nothing is left
  bool queued;
};

class EpollBackend final : public IoBackend {
 public:
  EpollBackend(BufferPool& buffers, Mailbox& mailbox, ResolveService* resolver, uint32_t descriptor_count)
      : buffers_(buffers),
        mailbox_(mailbox),
        resolver_(resolver),
        descriptor_count_(descriptor_count),
        memory_(sizeof(Descriptor) * descriptor_count),
        pending_(descriptor_count) {
    epoll_fd_ = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{.events = EPOLLIN, .data = {.fd = mailbox.wakeFd()}};
    ::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, mailbox.wakeFd(), &event);
  }
  ~EpollBackend() override { ::close(epoll_fd_); }

  void submit(Op& op) override {
    if (op.isSynchronous()) {
      if (op.kind == OpKind::close) forget(op.fd);
      socket_backend::runSynchronous(op);
      return;
    }
    PLAIT_ASSERT(!op.armed);
    op.armed = true;
    op.cancelled = false;
    switch (op.kind) {
      case OpKind::accept:
      case OpKind::recv: {
        if (const int error = watch(op.fd); error != 0) return finish(op, -error);
        Descriptor& descriptor = at(op.fd);
        PLAIT_ASSERT(descriptor.reader == nullptr);
        descriptor.reader = &op;
        if (descriptor.readable) enqueue(op.fd);
        return;
      }
      case OpKind::connect:
        startConnect(op);
        return;
      case OpKind::send: {
        if (const int error = watch(op.fd); error != 0) return finish(op, -error);
        Descriptor& descriptor = at(op.fd);
        PLAIT_ASSERT(descriptor.writer == nullptr);
        descriptor.writer = &op;
        // A fresh socket is writable before any edge has said so: trying is cheaper than asking.
        Completion completion;
        if (trySend(descriptor, completion)) finish(op, completion.result);
        return;
      }
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
        PLAIT_UNREACHABLE();
    }
  }

  void cancel(Op& op) override {
    if (!op.armed || op.cancelled) return;
    op.cancelled = true;
    if (op.kind == OpKind::resolve || op.kind == OpKind::errand) return;
    if (op.kind == OpKind::message) {
      mailbox_.post(op, -ECANCELED);
      return;
    }
    if (!hasPlace(op.fd)) return;  // its completion is on the way
    Descriptor& descriptor = at(op.fd);
    Op*& slot = op.kind == OpKind::accept || op.kind == OpKind::recv ? descriptor.reader : descriptor.writer;
    // The op may have finished already, with its completion still queued: then that completion is its last.
    if (slot != &op) return;
    slot = nullptr;
    if (op.kind == OpKind::connect) closeConnecting(op);
    finish(op, -ECANCELED);
  }

  size_t poll(TimeNs until_ns, TimeNs gather_ns, std::span<Completion> completions) override {
    epoll_event events[256];
    // Sends that have finished can wait for what comes as well.
    if (gather_ns != 0 && pending_.empty() && !mailbox_ready_) gather(until_ns, gather_ns);
    int timeout_ms = -1;
    if (!pending_.empty() || !finished_.empty() || mailbox_ready_) {
      timeout_ms = 0;
    } else if (until_ns != never_ns) {
      const TimeNs left = std::max<TimeNs>(until_ns - (until_ns == 0 ? 0 : now()), 0);
      timeout_ms = static_cast<int>(std::min<TimeNs>((left + ns_per_ms - 1) / ns_per_ms, 3'600'000));
    }
    const int ready = ::epoll_wait(epoll_fd_, events, std::size(events), timeout_ms);
    for (int i = 0; i < ready; ++i) noteEvent(events[i]);
    size_t count = 0;
    while (!finished_.empty() && count < completions.size()) {
      Op* const op = finished_.pop();
      completions[count++] = {.op = op, .result = op->result};
    }
    // Each pending descriptor has one go a turn, so that one busy peer does not keep the others waiting.
    for (size_t round = pending_.size(); round != 0 && count < completions.size(); --round) {
      const int fd = pending_.pop();
      Descriptor& descriptor = at(fd);
      descriptor.queued = false;
      if (descriptor.writable && descriptor.writer != nullptr) {
        Completion completion;
        if (tryWrite(descriptor, completion)) completions[count++] = completion;
      }
      for (uint32_t left = buffers_per_turn; left != 0 && descriptor.readable && descriptor.reader != nullptr;) {
        if (count == completions.size()) break;
        const size_t most =
            std::min<size_t>({left, left == buffers_per_turn ? 1u : buffers_at_once, completions.size() - count});
        const size_t made = tryRead(descriptor, completions.subspan(count, most));
        count += made;
        left -= static_cast<uint32_t>(std::max<size_t>(made, 1));
      }
      if (descriptor.readable && descriptor.reader != nullptr) enqueue(fd);
    }
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
  void gather(TimeNs until_ns, TimeNs gather_ns) {
    if (until_ns != never_ns) gather_ns = std::min(gather_ns, until_ns - now());
    if (gather_ns <= 0) return;
    // By default the kernel may add fifty microseconds.
    if (!is_punctual_) is_punctual_ = ::prctl(PR_SET_TIMERSLACK, timer_slack_ns) == 0;
    const timespec pause{.tv_sec = 0, .tv_nsec = gather_ns};
    ::nanosleep(&pause, nullptr);
  }

  Descriptor& at(int fd) {
    PLAIT_ASSERT(hasPlace(fd));
    return reinterpret_cast<Descriptor*>(memory_.data())[fd];
  }

  bool hasPlace(int fd) const { return static_cast<uint32_t>(fd) < descriptor_count_; }

  // 0 or errno: the kernel watches no more than it has memory for, or fs.epoll.max_user_watches allows, and there may
  // be no place for the descriptor.
  int watch(int fd) {
    if (!hasPlace(fd)) [[unlikely]]
      return EMFILE;
    Descriptor& descriptor = at(fd);
    if (descriptor.watched) [[likely]]
      return 0;
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.fd = fd}};
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) return errno;
    descriptor.watched = true;
    return 0;
  }

  // Closing a descriptor takes it out of epoll; its number may come back as another connection at once.
  void forget(int fd) {
    if (!hasPlace(fd)) return;
    Descriptor& descriptor = at(fd);
    PLAIT_ASSERT(descriptor.reader == nullptr && descriptor.writer == nullptr);
    const bool queued = descriptor.queued;
    descriptor = {};
    descriptor.queued = queued;
  }

  void enqueue(int fd) {
    Descriptor& descriptor = at(fd);
    if (descriptor.queued) return;
    descriptor.queued = true;
    pending_.push(fd);
  }

  // The op completes with the next poll().
  void finish(Op& op, int32_t result) {
    op.result = result;
    finished_.push(op);
  }

  void noteEvent(const epoll_event& event) {
    if (event.data.fd == mailbox_.wakeFd()) {
      mailbox_ready_ = true;
      return;
    }
    Descriptor& descriptor = at(event.data.fd);
    if ((event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) descriptor.readable = true;
    if ((event.events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) descriptor.writable = true;
    if ((event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) descriptor.hung_up = true;
    const bool wanted =
        (descriptor.readable && descriptor.reader != nullptr) || (descriptor.writable && descriptor.writer != nullptr);
    if (wanted) enqueue(event.data.fd);
  }

  void startConnect(Op& op) {
    op.fd = socket_backend::makeSocket(op);
    int error = op.fd < 0 ? -op.fd : 0;
    if (error == 0 && !hasPlace(op.fd)) {
      ::close(std::exchange(op.fd, -1));
      error = EMFILE;
    }
    if (error == 0 &&
        ::connect(op.fd, reinterpret_cast<sockaddr*>(op.address), socket_backend::addressSize(*op.address)) != 0) {
      error = errno;
    }
    if (error == EINPROGRESS) {
      error = watch(op.fd);
      if (error == 0) {
        at(op.fd).writer = &op;
        return;
      }
    } else if (error == 0) {
      finish(op, op.fd);
      return;
    }
    if (op.fd >= 0) closeConnecting(op);
    finish(op, -error);
  }

  void closeConnecting(Op& op) {
    if (at(op.fd).writer == &op) at(op.fd).writer = nullptr;
    forget(op.fd);
    ::close(op.fd);
    op.fd = -1;
  }

  bool tryWrite(Descriptor& descriptor, Completion& completion) {
    Op& op = *descriptor.writer;
    if (op.kind == OpKind::send) return trySend(descriptor, completion);
    int error = 0;
    socklen_t size = sizeof(error);
    if (::getsockopt(op.fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    descriptor.writer = nullptr;
    if (error != 0) closeConnecting(op);
    completion = {.op = &op, .result = error == 0 ? op.fd : -error};
    return true;
  }

  bool trySend(Descriptor& descriptor, Completion& completion) {
    Op& op = *descriptor.writer;
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(op.vectors);
    message.msg_iovlen = op.vector_count;
    ssize_t sent = 0;
    do {
      sent = ::sendmsg(op.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN) {
      descriptor.writable = false;
      return false;
    }
    const int32_t result = sent < 0 ? -errno : static_cast<int32_t>(sent);
    descriptor.writer = nullptr;
    completion = {.op = &op, .result = result};
    return true;
  }

  // Returns how many of `completions` were made.
  size_t tryRead(Descriptor& descriptor, std::span<Completion> completions) {
    Op& op = *descriptor.reader;
    if (op.kind == OpKind::accept) return tryAccept(descriptor, op, completions.front()) ? 1 : 0;
    return tryRecv(descriptor, op, completions);
  }

  bool tryAccept(Descriptor& descriptor, Op& op, Completion& completion) {
    const int fd = ::accept4(op.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN) descriptor.readable = false;
      // A connection that was gone before we took it is no news; a shortage of descriptors or memory is.
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return false;
      completion = {.op = &op, .result = -errno};
      descriptor.reader = nullptr;
      return true;
    }
    if (!hasPlace(fd)) {
      ::close(fd);
      completion = {.op = &op, .result = -EMFILE};
      descriptor.reader = nullptr;
      return true;
    }
    socket_backend::prepareAccepted(fd);
    if (op.single) descriptor.reader = nullptr;
    completion = {.op = &op, .result = fd, .buffer_id = -1, .more = !op.single};
    return true;
  }

  size_t tryRecv(Descriptor& descriptor, Op& op, std::span<Completion> completions) {
    const size_t buffer_size = buffers_.bufferSize();
    int32_t ids[buffers_at_once];
    iovec vectors[buffers_at_once];
    size_t taken = 0;
    const size_t wanted = op.single || buffers_.isShort() ? 1 : std::min(completions.size(), std::size(ids));
    while (taken < wanted && (ids[taken] = buffers_.takeFree(op.from_reserve)) >= 0) {
      vectors[taken] = {buffers_.data(static_cast<uint32_t>(ids[taken])), buffer_size};
      taken += 1;
    }
    ssize_t got = -ENOBUFS;
    if (taken != 0) {
      do {
        // A socket that epoll watches does not block.
        got = taken == 1 ? ::recv(op.fd, vectors[0].iov_base, buffer_size, MSG_DONTWAIT)
                         : ::readv(op.fd, vectors, static_cast<int>(taken));
      } while (got < 0 && errno == EINTR);
      if (got < 0) got = -errno;
    }
    const size_t filled = got <= 0 ? 0 : (static_cast<size_t>(got) + buffer_size - 1) / buffer_size;
    // The last taken is the first to be taken again.
    for (size_t i = taken; i-- > filled;) buffers_.untake(static_cast<uint32_t>(ids[i]));
    if (got == -EAGAIN) {
      descriptor.readable = false;
      return 0;
    }
    if (got <= 0) {
      // The end of the stream, an error, or no buffer: the owner decides whether to arm again.
      descriptor.reader = nullptr;
      completions.front() = {.op = &op, .result = static_cast<int32_t>(got)};
      return 1;
    }
    if (static_cast<size_t>(got) < taken * buffer_size && !descriptor.hung_up) descriptor.readable = false;
    if (op.single) descriptor.reader = nullptr;
    size_t left = static_cast<size_t>(got);
    for (size_t i = 0; i < filled; ++i) {
      buffers_.markLent(static_cast<uint32_t>(ids[i]));
      const size_t size = std::min(left, buffer_size);
      completions[i] = {.op = &op, .result = static_cast<int32_t>(size), .buffer_id = ids[i], .more = !op.single};
      left -= size;
    }
    return filled;
  }

  BufferPool& buffers_;
  Mailbox& mailbox_;
  ResolveService* resolver_;
  uint32_t descriptor_count_;
  Reservation memory_;
  Ring<int> pending_;
  OpQueue finished_;
  int epoll_fd_ = -1;
  bool mailbox_ready_ = false;
  bool is_punctual_ = false;
};

}  // namespace

Result<std::unique_ptr<IoBackend>> makeEpollBackend(BufferPool& buffers, Mailbox& mailbox, ResolveService* resolver,
                                                    uint32_t descriptors) {
  return std::make_unique<EpollBackend>(buffers, mailbox, resolver, descriptors == 0 ? descriptorLimit() : descriptors);
}

uint32_t descriptorLimit() {
  constexpr rlim_t most = 1 << 20;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return most;
  return static_cast<uint32_t>(std::min(limit.rlim_cur, most));
}

size_t epollBackendBytes(uint32_t descriptors) {
  constexpr size_t page_size = 4096;
  const size_t count = descriptors == 0 ? descriptorLimit() : descriptors;
  const auto pages = [](size_t bytes) { return (bytes + page_size - 1) / page_size * page_size; };
  return pages(count * sizeof(Descriptor)) + pages(std::bit_ceil(count) * sizeof(int));
}

size_t backendBytes(IoKind kind, uint32_t receive_buffers, uint32_t descriptors) {
  const size_t epoll = kind == IoKind::uring ? 0 : epollBackendBytes(descriptors);
  const size_t uring = kind == IoKind::epoll ? 0 : uringBackendBytes(receive_buffers);
  return std::max(epoll, uring);
}

}  // namespace plait
