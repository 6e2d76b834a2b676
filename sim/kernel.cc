#include "sim/kernel.h"

#include <algorithm>
#include <cerrno>

#include "plait/base/alloc_guard.h"
#include "plait/base/rare.h"

namespace plait::sim {
namespace {

constexpr uint32_t reads_per_turn = 4;

}  // namespace

int Names::answer(std::string_view host, uint16_t port, ResolveAnswer& out) const {
  const auto found = addresses_.find(host);
  if (found == addresses_.end()) return -ENOENT;
  out.count = 0;
  out.ttl_s = 60;
  for (const uint32_t address : found->second) out.addresses[out.count++] = addressOf(address, port);
  return 0;
}

TimeNs Names::delay() {
  if (sim.strikes(Fault::resolve_slow)) return sim.between(10, 4000) * ns_per_ms;
  return sim.between(1, 500) * ns_per_us;
}

Kernel::Kernel(Network& network, Names& names, BufferPool& buffers, uint32_t host, std::string actor)
    : sim(network.sim), network_(network), names_(names), buffers_(buffers), host_(host), actor_(std::move(actor)) {}

Kernel::Descriptor& Kernel::at(int fd) {
  PLAIT_ASSERT(fd >= first_descriptor && static_cast<size_t>(fd - first_descriptor) < descriptors_.size());
  Descriptor& descriptor = descriptors_[static_cast<size_t>(fd - first_descriptor)];
  PLAIT_ASSERT(descriptor.isOpen());
  return descriptor;
}

// The lowest free number, as the kernel gives it: what is still meant for a closed one finds another connection there.
int Kernel::takeDescriptor() {
  for (size_t i = 0; i < descriptors_.size(); ++i) {
    if (!descriptors_[i].isOpen()) return static_cast<int>(i) + first_descriptor;
  }
  if (descriptors_.size() >= max_descriptors) return -EMFILE;
  descriptors_.emplace_back();
  return static_cast<int>(descriptors_.size()) - 1 + first_descriptor;
}

void Kernel::enqueue(int fd) {
  Descriptor& descriptor = at(fd);
  if (!descriptor.queued) {
    descriptor.queued = true;
    pending_.push_back(fd);
  }
  if (asleep_ && wake) wake();
}

void Kernel::finish(const Completion& completion) {
  finished_.push_back(completion);
  if (asleep_ && wake) wake();
}

void Kernel::post(Op& op, int32_t result) {
  PLAIT_ASSERT(op.armed && op.kind == OpKind::message);
  finish({.op = &op, .result = result});
}

void Kernel::submit(Op& op) {
  const AllocGuard::Pause pause;
  if (op.isSynchronous()) return runSynchronous(op);
  PLAIT_ASSERT(!op.armed);
  op.armed = true;
  op.cancelled = false;
  switch (op.kind) {
    case OpKind::accept:
    case OpKind::recv: {
      Descriptor& descriptor = at(op.fd);
      PLAIT_ASSERT(descriptor.reader == nullptr);
      descriptor.reader = &op;
      return enqueue(op.fd);
    }
    case OpKind::send: {
      Descriptor& descriptor = at(op.fd);
      PLAIT_ASSERT(descriptor.writer == nullptr);
      descriptor.writer = &op;
      Completion completion;
      // At once, as epoll does, or when the kernel comes to it, as io_uring may.
      if (sim.oneIn(2) && trySend(descriptor, completion)) return finish(completion);
      return enqueue(op.fd);
    }
    case OpKind::connect:
      return startConnect(op);
    case OpKind::resolve:
      return startResolve(op);
    case OpKind::message:
      return;
    default:
      PLAIT_UNREACHABLE();
  }
}

void Kernel::cancel(Op& op) {
  const AllocGuard::Pause pause;
  if (!op.armed || op.cancelled) return;
  op.cancelled = true;
  if (op.kind == OpKind::resolve) return;
  if (op.kind == OpKind::message) return finish({.op = &op, .result = -ECANCELED});
  // A cancel takes effect at once or after what else happens first.
  if (sim.strikes(Fault::late_cancel)) {
    cancels_.push_back(&op);
    if (asleep_ && wake) wake();
  } else {
    cancelNow(op);
  }
}

void Kernel::cancelNow(Op& op) {
  if (op.fd < 0) return;  // a connect that has failed: its completion is on its way
  Descriptor& descriptor = at(op.fd);
  Op*& slot = op.kind == OpKind::accept || op.kind == OpKind::recv ? descriptor.reader : descriptor.writer;
  // The op may have finished already, with its completion still queued: then that completion is its last.
  if (slot != &op) return;
  slot = nullptr;
  if (op.kind == OpKind::connect) {
    network_.giveUp(*descriptor.socket);
    descriptor.socket = nullptr;
    op.fd = -1;
  }
  finish({.op = &op, .result = -ECANCELED});
}

size_t Kernel::poll(TimeNs until_ns, TimeNs gather_ns, std::span<Completion> completions) {
  const AllocGuard::Pause pause;
  size_t count = 0;
  while (!finished_.empty() && count < completions.size()) {
    completions[count++] = finished_.front();
    finished_.pop_front();
  }
  // Which descriptor has its turn first is the kernel's to choose.
  if (pending_.size() > 1) {
    for (size_t i = pending_.size() - 1; i != 0; --i) {
      std::swap(pending_[i], pending_[sim.below(static_cast<uint32_t>(i + 1))]);
    }
  }
  for (size_t round = pending_.size(); round != 0 && count + reads_per_turn < completions.size(); --round) {
    const int fd = pending_.front();
    pending_.pop_front();
    Descriptor& descriptor = descriptors_[static_cast<size_t>(fd - first_descriptor)];
    descriptor.queued = false;
    if (!descriptor.isOpen()) continue;
    Completion completion;
    if (descriptor.writer != nullptr && descriptor.writer->kind == OpKind::send && trySend(descriptor, completion)) {
      completions[count++] = completion;
    }
    bool more = false;
    for (uint32_t reads = 0; reads != reads_per_turn && descriptor.reader != nullptr; ++reads) {
      more = descriptor.listener ? tryAccept(descriptor, completion) : tryRecv(descriptor, completion);
      if (!more) break;
      completions[count++] = completion;
    }
    if (more && descriptor.reader != nullptr) {
      descriptor.queued = true;
      pending_.push_back(fd);
    }
  }
  // Cancels that were late: what they came after has been reported above.
  std::vector<Op*> late;
  late.swap(cancels_);
  for (Op* op : late) {
    bool done = true;
    for (size_t i = 0; i < count; ++i) done = done && !(completions[i].op == op && !completions[i].more);
    if (done) cancelNow(*op);
  }
  asleep_ = count == 0 && finished_.empty() && pending_.empty() && until_ns > sim.now();
  until_ns_ = until_ns;
  gather_ns_ = gather_ns;
  if (asleep_ && gather_ns != 0) PLAIT_RARE("a worker gathers");
  return count;
}

void Kernel::runSynchronous(Op& op) {
  switch (op.kind) {
    case OpKind::listen: {
      op.result = takeDescriptor();
      if (op.result < 0) return;
      const int fd = op.result;
      Descriptor& descriptor = descriptors_[static_cast<size_t>(fd - first_descriptor)];
      descriptor.listener = std::make_unique<Listener>();
      descriptor.listener->on_change = [this, fd] { enqueue(fd); };
      network_.listen(*op.address, *descriptor.listener);
      return;
    }
    case OpKind::accept_waiting: {
      Descriptor& descriptor = at(op.fd);
      op.result = descriptor.listener->pending.empty() ? -EAGAIN : accept(descriptor);
      descriptor.is_short = op.result < 0;
      return;
    }
    case OpKind::peer:
      *op.address = at(op.fd).socket->remote();
      op.result = 0;
      return;
    case OpKind::untaken:
      op.result = static_cast<int32_t>(at(op.fd).socket->untaken());
      return;
    case OpKind::shutdown:
      at(op.fd).socket->shutdown();
      op.result = 0;
      return;
    case OpKind::close: {
      Descriptor& descriptor = at(op.fd);
      PLAIT_ASSERT(descriptor.reader == nullptr && descriptor.writer == nullptr);
      if (descriptor.listener) {
        // Who was accepted by the kernel has seen no refusal.
        if (!descriptor.is_short && !descriptor.listener->pending.empty())
          sim.violate("listeners", "%s closes one while %zu clients wait to be accepted", actor_.c_str(),
                      descriptor.listener->pending.size());
        descriptor.is_short = false;
        network_.unlisten(*descriptor.listener);
        descriptor.listener.reset();
      } else {
        checkAlert(descriptor, op.fd);
        descriptor.socket->close(op.reset_on_close);
        descriptor.socket = nullptr;
        descriptor.alerted_ns = 0;
      }
      op.result = 0;
      op.fd = -1;
      return;
    }
    default:
      PLAIT_UNREACHABLE();
  }
}

void Kernel::startResolve(Op& op) {
  sim.after(names_.delay(), [this, &op] {
    if (op.cancelled) return finish({.op = &op, .result = -ECANCELED});
    if (sim.strikes(Fault::resolve_failure)) {
      constexpr int32_t failures[] = {-ENOENT, -EHOSTUNREACH, -ETIMEDOUT, -EAGAIN};
      return finish({.op = &op, .result = failures[sim.below(4)]});
    }
    finish({.op = &op, .result = names_.answer(op.lookup->host, op.lookup->port, *op.lookup->answer)});
  });
}

void Kernel::startConnect(Op& op) {
  const int fd = takeDescriptor();
  if (fd < 0) return finish({.op = &op, .result = fd});
  op.fd = fd;
  Descriptor& descriptor = descriptors_[static_cast<size_t>(fd - first_descriptor)];
  descriptor.writer = &op;
  descriptor.is_connected = true;
  sim.say(actor_.c_str(), "connects fd %d", fd);
  // A late answer must not find another op there: giveUp() takes care of it.
  descriptor.socket = network_.connect(addressOf(host_, next_port_++), *op.address, [this, &op, fd](int result) {
    Descriptor& connected = at(fd);
    connected.writer = nullptr;
    if (result < 0) {
      connected.socket->close(false);
      connected.socket = nullptr;
      op.fd = -1;
      return finish({.op = &op, .result = result});
    }
    connected.socket->on_change = [this, fd] { enqueue(fd); };
    finish({.op = &op, .result = fd});
  });
}

int Kernel::accept(Descriptor& from) {
  const int fd = sim.strikes(Fault::no_descriptors) ? -EMFILE : takeDescriptor();
  if (fd < 0) return fd;
  Socket* socket = from.listener->pending.front();
  from.listener->pending.pop_front();
  Descriptor& descriptor = descriptors_[static_cast<size_t>(fd - first_descriptor)];
  descriptor.socket = socket;
  descriptor.is_connected = false;
  socket->on_change = [this, fd] { enqueue(fd); };
  sim.say(actor_.c_str(), "accepts fd %d from client port %u", fd,
          ntohs(reinterpret_cast<const sockaddr_in&>(socket->remote()).sin_port));
  return fd;
}

// A record that holds a fatal alert, in the clear or as the simulated TLS seals it (RFC 8446 §5.1, §6).
static bool isFatalAlert(Bytes bytes) {
  for (const size_t size : {2, 14}) {
    if (bytes.size() < 5 + size) continue;
    const Bytes record = bytes.last(5 + size);
    if (record[0] == 21 && record[1] == 3 && record[3] == 0 && record[4] == size && record[5] == 2) return true;
  }
  return false;
}

// Bytes that a peer sends to a closed socket are answered with a reset, which takes the alert away from it.
void Kernel::checkAlert(const Descriptor& descriptor, int fd) {
  if (descriptor.alerted_ns == 0 || descriptor.socket->hasPeerEnded()) return;
  if (sim.now() - descriptor.alerted_ns >= ns_per_s) return;
  sim.violate("TLS", "%s closes fd %d right behind its alert, and its peer is still there", actor_.c_str(), fd);
}

bool Kernel::trySend(Descriptor& descriptor, Completion& completion) {
  Op& op = *descriptor.writer;
  int32_t total = 0;
  const bool is_short = sim.strikes(Fault::short_send);
  for (uint32_t i = 0; i < op.vector_count; ++i) {
    Bytes bytes(static_cast<const uint8_t*>(op.vectors[i].iov_base), op.vectors[i].iov_len);
    if (is_short) bytes = bytes.first(sim.between(1, static_cast<uint32_t>(bytes.size())));
    const int taken = descriptor.socket->write(bytes);
    if (taken < 0) {
      if (total != 0) break;
      if (taken == -EAGAIN) return false;
      total = taken;
      break;
    }
    total += taken;
    if (isFatalAlert(bytes.first(static_cast<size_t>(taken)))) descriptor.alerted_ns = sim.now();
    if (static_cast<size_t>(taken) != op.vectors[i].iov_len) break;
  }
  descriptor.writer = nullptr;
  completion = {.op = &op, .result = total};
  return true;
}

bool Kernel::tryAccept(Descriptor& descriptor, Completion& completion) {
  if (descriptor.listener->pending.empty()) return false;
  Op& op = *descriptor.reader;
  const int fd = accept(descriptor);
  const bool ends = fd < 0 || op.single || sim.strikes(Fault::rearm);
  if (ends) descriptor.reader = nullptr;
  completion = {.op = &op, .result = fd, .buffer_id = -1, .more = !ends};
  return true;
}

bool Kernel::tryRecv(Descriptor& descriptor, Completion& completion) {
  if (!descriptor.socket->isReadable()) return false;
  Op& op = *descriptor.reader;
  const uint32_t free = buffers_.count() - buffers_.lent();
  const int32_t id = sim.strikes(Fault::no_buffers) ? -1 : buffers_.takeFree(op.from_reserve);
  if (id >= 0 && !descriptor.is_connected && free <= buffers_.kept()) {
    sim.violate("receive buffers", "%s gives a client one of the last %u", actor_.c_str(), free);
  }
  int32_t result = -ENOBUFS;
  if (id >= 0) {
    const uint32_t most = sim.strikes(Fault::short_recv) ? sim.between(1, 50) : buffers_.bufferSize();
    result = descriptor.socket->read(buffers_.data(static_cast<uint32_t>(id)), std::min(most, buffers_.bufferSize()));
    if (result <= 0) buffers_.untake(static_cast<uint32_t>(id));
  }
  if (result > 0) {
    buffers_.markLent(static_cast<uint32_t>(id));
    const bool ends = op.single || sim.strikes(Fault::rearm);
    if (ends) descriptor.reader = nullptr;
    completion = {.op = &op, .result = result, .buffer_id = id, .more = !ends};
    return true;
  }
  descriptor.reader = nullptr;
  completion = {.op = &op, .result = result};
  return true;
}

size_t Kernel::openDescriptors() const {
  return static_cast<size_t>(
      std::ranges::count_if(descriptors_, [](const Descriptor& descriptor) { return descriptor.isOpen(); }));
}

std::string Kernel::describe() const {
  std::string text;
  for (size_t i = 0; i < descriptors_.size(); ++i) {
    if (!descriptors_[i].isOpen()) continue;
    text += (text.empty() ? "fd " : ", fd ") + std::to_string(i + first_descriptor) +
            (descriptors_[i].listener ? " (listening)" : "");
  }
  return text;
}

}  // namespace plait::sim
