#include "sim/sim_backend.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "plait/base/alloc_guard.h"

namespace plait::sim {
namespace {

constexpr size_t listen_queue = 16;
constexpr int reads_per_turn = 4;

uint16_t portOf(const sockaddr_storage& address) {
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

void setAddress(sockaddr_storage& address, uint16_t port) {
  address = {};
  auto& v4 = reinterpret_cast<sockaddr_in&>(address);
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

}  // namespace

SimBackend::SimBackend(Network& network, BufferPool& buffers, std::function<void()> on_work)
    : network_(network), buffers_(buffers), on_work_(std::move(on_work)) {}

SimBackend::~SimBackend() {
  *is_gone_ = true;
}

void SimBackend::submit(Op& op) {
  // The simulator's own books are not the worker's memory.
  const AllocGuard::Pause pause;
  if (op.isSynchronous()) return runSynchronous(op);
  arm(op);
  switch (op.kind) {
    case OpKind::accept:
    case OpKind::recv: {
      Descriptor& descriptor = descriptors_[static_cast<size_t>(op.fd)];
      PLAIT_ASSERT(descriptor.kind != Descriptor::Kind::free && descriptor.reader == nullptr);
      descriptor.reader = &op;
      if (!descriptor.waiting.empty() || (descriptor.end != nullptr && descriptor.end->isReadable())) enqueue(op.fd);
      return;
    }
    case OpKind::send: {
      Descriptor& descriptor = descriptors_[static_cast<size_t>(op.fd)];
      PLAIT_ASSERT(descriptor.kind == Descriptor::Kind::stream && descriptor.writer == nullptr);
      descriptor.writer = &op;
      Completion completion;
      if (!trySend(descriptor, completion)) return;
      finished_.push_back(completion);
      on_work_();
      return;
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

void SimBackend::arm(Op& op) {
  PLAIT_ASSERT(!op.armed);
  op.armed = true;
  op.cancelled = false;
  armed_ += 1;
}

void SimBackend::finish(Op& op, int32_t result) {
  finished_.push_back({.op = &op, .result = result});
  on_work_();
}

void SimBackend::post(Op& op) {
  finish(op, 0);
}

void SimBackend::cancel(Op& op) {
  const AllocGuard::Pause pause;
  if (!op.armed || op.cancelled) return;
  op.cancelled = true;
  switch (op.kind) {
    case OpKind::resolve:
      return;  // its answer is on its way
    case OpKind::message:
      return finish(op, -ECANCELED);
    case OpKind::connect: {
      const auto found = connecting_.find(&op);
      if (found == connecting_.end()) return;
      *found->second.cancelled = true;
      connecting_.erase(found);
      return finish(op, -ECANCELED);
    }
    default:
      break;
  }
  Descriptor& descriptor = descriptors_[static_cast<size_t>(op.fd)];
  Op*& slot = op.kind == OpKind::send ? descriptor.writer : descriptor.reader;
  // Its last completion may be on its way already.
  if (slot != &op) return;
  slot = nullptr;
  finish(op, -ECANCELED);
}

void SimBackend::enqueue(int fd) {
  Descriptor& descriptor = descriptors_[static_cast<size_t>(fd)];
  if (descriptor.queued) return;
  descriptor.queued = true;
  ready_.push_back(fd);
  on_work_();
}

size_t SimBackend::poll(TimeNs until_ns, std::span<Completion> completions) {
  const AllocGuard::Pause pause;
  wake_ns_ = until_ns;
  if (network_.happens(Fault::clock_jump)) {
    skew_ns_ += network_.random().below(20'000) * ns_per_ms;
    network_.trace().note("a worker's clock jumps");
  }
  size_t count = 0;
  while (!finished_.empty() && count < completions.size()) {
    completions[count++] = finished_.front();
    finished_.pop_front();
  }
  std::vector<int> round;
  round.swap(ready_);
  if (network_.happens(Fault::shuffle)) {
    for (size_t i = round.size(); i > 1; --i) {
      std::swap(round[i - 1], round[network_.random().below(static_cast<uint32_t>(i))]);
    }
  }
  for (const int fd : round) descriptors_[static_cast<size_t>(fd)].queued = false;
  for (const int fd : round) {
    Descriptor& descriptor = descriptors_[static_cast<size_t>(fd)];
    for (int reads = 0; reads < reads_per_turn && descriptor.reader != nullptr; ++reads) {
      if (count == completions.size()) break;
      Completion completion;
      if (!tryRead(fd, completion)) break;
      completions[count++] = completion;
    }
    const bool is_left = descriptor.reader != nullptr &&
                         (!descriptor.waiting.empty() || (descriptor.end != nullptr && descriptor.end->isReadable()));
    if (is_left) enqueue(fd);
  }
  for (size_t i = 0; i < count; ++i) {
    if (!completions[i].more) armed_ -= 1;
  }
  if (count != 0) wake_ns_ = 0;  // one more look, at what these completions have set off
  return count;
}

bool SimBackend::tryRead(int fd, Completion& completion) {
  Descriptor& descriptor = descriptors_[static_cast<size_t>(fd)];
  Op& op = *descriptor.reader;
  return op.kind == OpKind::accept ? tryAccept(descriptor, op, completion) : tryRecv(descriptor, op, completion);
}

bool SimBackend::tryAccept(Descriptor& descriptor, Op& op, Completion& completion) {
  if (descriptor.waiting.empty()) return false;
  End* end = descriptor.waiting.front();
  descriptor.waiting.pop_front();
  completion = {.op = &op, .result = adopt(*end), .buffer_id = -1, .more = true};
  return true;
}

bool SimBackend::tryRecv(Descriptor& descriptor, Op& op, Completion& completion) {
  if (!descriptor.end->isReadable()) return false;
  const int32_t id = network_.happens(Fault::few_buffers) ? -1 : buffers_.takeFree();
  int64_t result = -ENOBUFS;
  if (id >= 0) {
    result = descriptor.end->read({buffers_.data(static_cast<uint32_t>(id)), buffers_.bufferSize()});
    if (result <= 0) buffers_.untake(static_cast<uint32_t>(id));
    if (result == -EAGAIN) return false;
  }
  if (result > 0) {
    buffers_.markLent(static_cast<uint32_t>(id));
    if (op.single) descriptor.reader = nullptr;
    completion = {.op = &op, .result = static_cast<int32_t>(result), .buffer_id = id, .more = !op.single};
    return true;
  }
  descriptor.reader = nullptr;
  completion = {.op = &op, .result = static_cast<int32_t>(result)};
  return true;
}

bool SimBackend::trySend(Descriptor& descriptor, Completion& completion) {
  Op& op = *descriptor.writer;
  int64_t sent = 0;
  for (uint32_t i = 0; i < op.vector_count; ++i) {
    const iovec& vector = op.vectors[i];
    const int64_t taken = descriptor.end->write({static_cast<const uint8_t*>(vector.iov_base), vector.iov_len});
    if (taken < 0 && sent == 0) sent = taken;
    if (taken <= 0) break;
    sent += taken;
    if (static_cast<size_t>(taken) != vector.iov_len) break;
  }
  if (sent == 0) return false;
  descriptor.writer = nullptr;
  completion = {.op = &op, .result = static_cast<int32_t>(sent)};
  return true;
}

void SimBackend::runSynchronous(Op& op) {
  switch (op.kind) {
    case OpKind::listen: {
      op.result = open(Descriptor::Kind::listener);
      Descriptor& descriptor = descriptors_[static_cast<size_t>(op.result)];
      descriptor.port = portOf(*op.address) == 0 ? proxy_port : portOf(*op.address);
      setAddress(*op.address, descriptor.port);
      network_.listen(descriptor.port, *this);
      return;
    }
    case OpKind::accept_waiting: {
      Descriptor& descriptor = descriptors_[static_cast<size_t>(op.fd)];
      op.result = -EAGAIN;
      if (descriptor.waiting.empty()) return;
      End* end = descriptor.waiting.front();
      descriptor.waiting.pop_front();
      op.result = adopt(*end);
      return;
    }
    case OpKind::peer:
      setAddress(*op.address, 40'000);
      op.result = 0;
      return;
    case OpKind::shutdown:
      descriptors_[static_cast<size_t>(op.fd)].end->shutdown();
      op.result = 0;
      return;
    case OpKind::close: {
      Descriptor& descriptor = descriptors_[static_cast<size_t>(op.fd)];
      PLAIT_ASSERT(descriptor.kind != Descriptor::Kind::free);
      PLAIT_ASSERT(descriptor.reader == nullptr && descriptor.writer == nullptr);
      if (descriptor.kind == Descriptor::Kind::listener) {
        network_.unlisten(descriptor.port, *this);
        for (End* end : descriptor.waiting) end->close(true);
      } else {
        by_end_.erase(descriptor.end);
        descriptor.end->close(op.reset_on_close);
      }
      const bool queued = descriptor.queued;
      descriptor = {};
      descriptor.queued = queued;
      open_ -= 1;
      op.result = 0;
      return;
    }
    default:
      PLAIT_UNREACHABLE();
  }
}

int SimBackend::open(Descriptor::Kind kind) {
  size_t fd = 0;
  while (fd < descriptors_.size() && descriptors_[fd].kind != Descriptor::Kind::free) fd += 1;
  if (fd == descriptors_.size()) descriptors_.emplace_back();
  descriptors_[fd].kind = kind;
  open_ += 1;
  return static_cast<int>(fd);
}

int SimBackend::adopt(End& end) {
  const int fd = open(Descriptor::Kind::stream);
  descriptors_[static_cast<size_t>(fd)].end = &end;
  by_end_[&end] = fd;
  end.setOwner(this);
  return fd;
}

void SimBackend::startConnect(Op& op) {
  auto cancelled = std::make_shared<bool>(false);
  connecting_[&op] = {cancelled};
  const uint16_t port = portOf(*op.address);
  network_.connect(port, cancelled, [this, &op, gone = is_gone_](End* end, int error) {
    if (*gone) return;
    connecting_.erase(&op);
    finish(op, end == nullptr ? error : adopt(*end));
  });
}

void SimBackend::startResolve(Op& op) {
  const TimeNs delay_ns = network_.happens(Fault::slow_dns) ? network_.random().below(2'000) * ns_per_ms : 300'000;
  const bool fails = network_.happens(Fault::dns_failure);
  network_.after(delay_ns, [this, &op, fails, gone = is_gone_] {
    if (*gone) return;
    if (op.cancelled) return finish(op, -ECANCELED);
    if (fails) return finish(op, -EHOSTUNREACH);
    op.answer->count = 1;
    op.answer->ttl_s = 1;
    setAddress(op.answer->addresses[0], op.port);
    finish(op, 0);
  });
}

bool SimBackend::onConnection(End& end) {
  // One listener each, as a worker has.
  for (size_t fd = 0; fd < descriptors_.size(); ++fd) {
    Descriptor& descriptor = descriptors_[fd];
    if (descriptor.kind != Descriptor::Kind::listener) continue;
    if (descriptor.waiting.size() == listen_queue) return false;
    descriptor.waiting.push_back(&end);
    if (descriptor.reader != nullptr) enqueue(static_cast<int>(fd));
    return true;
  }
  return false;
}

int SimBackend::descriptorOf(const End& end) const {
  const auto found = by_end_.find(&end);
  return found == by_end_.end() ? -1 : found->second;
}

void SimBackend::onReadable(End& end) {
  const int fd = descriptorOf(end);
  if (fd >= 0 && descriptors_[static_cast<size_t>(fd)].reader != nullptr) enqueue(fd);
}

void SimBackend::onWritable(End& end) {
  const int fd = descriptorOf(end);
  if (fd < 0) return;
  Descriptor& descriptor = descriptors_[static_cast<size_t>(fd)];
  if (descriptor.writer == nullptr) return;
  Completion completion;
  if (!trySend(descriptor, completion)) return;
  finished_.push_back(completion);
  on_work_();
}

}  // namespace plait::sim
