#include "plait/io/io.h"

#include <bit>

#include "plait/base/rare.h"

namespace plait {
namespace {

constexpr size_t completions_per_turn = 256;
constexpr size_t usual_frame_size = 448;  // of the coroutines that requests have
constexpr size_t usual_owner_size = 832;  // of a client's socket and what lies behind it

}  // namespace

void* FrameSlab::refuse() {
  PLAIT_RARE("no coroutine frame is left");
  refusals_ += 1;
  return nullptr;
}

Io::Io(IoBackend& backend, BufferPool& buffers, const IoConfig& config)
    : backend_(backend),
      buffers_(buffers),
      frames_(config.frames),
      vector_arrays_(max_vectors * sizeof(iovec), vector_array_count),
      now_ns_(backend.now()),
      random_(backend.entropy()),
      timers_(now_ns_),
      coalescer_(config.coalesce_ns),
      ready_capacity_(static_cast<uint32_t>(std::bit_ceil(frames_.capacity()))),
      ready_(ready_capacity_ * sizeof(void*)),
      completions_(new Completion[completions_per_turn]) {}

size_t Io::readyBytesFor(const FrameCounts& frames) {
  constexpr size_t page_size = 4096;
  size_t count = frames.last;
  for (const uint32_t of_class : frames.by_class) count += of_class;
  return (std::bit_ceil(count) * sizeof(void*) + page_size - 1) / page_size * page_size;
}

Io::~Io() {
  PLAIT_ASSERT(next_turn_.empty());
  PLAIT_ASSERT(ready_head_ == ready_tail_);
}

void Io::runReady() {
  if (ready_head_ == ready_tail_) return;
  // A coroutine that makes another ready adds a round: a request that can go on does not wait for the kernel.
  for (; ready_head_ != ready_tail_ && rounds_left_ != 0; --rounds_left_) {
    const uint32_t round_end = ready_tail_;
    while (ready_head_ != round_end) {
      void* const frame = readyAt(ready_head_++);
      if (ready_head_ != ready_tail_) prefetch(readyAt(ready_head_), usual_frame_size);
      std::coroutine_handle<>::from_address(frame).resume();
    }
  }
  // From the start again, so that the same few lines are used and not one after the other of a megabyte.
  if (ready_head_ == ready_tail_) ready_head_ = ready_tail_ = 0;
}

void Io::turn(TimeNs until_ns) {
  TimeNs until = until_ns;
  const TimeNs look = timers_.nextLook();
  List<TurnAwaiter, &TurnAwaiter::node> gave_way;
  gave_way.spliceBack(next_turn_);
  if (ready_head_ != ready_tail_ || !flush_.empty() || !gave_way.empty()) {
    until = 0;
  } else if (look < until) {
    until = look;
  }
  const TimeNs gather_ns = coalescer_.beginTurn(now_ns_, until == 0);
  // Completions are copied out first and delivered afterwards, so nothing runs while the backend reaps.
  const size_t count = backend_.poll(until, gather_ns, {completions_.get(), completions_per_turn});
  now_ns_ = backend_.now();
  turn_number_ += 1;
  rounds_left_ = rounds_per_turn;
  for (size_t i = 0; i < count; ++i) {
    if (!completions_[i].more) completions_[i].op->reaped = true;
  }
  runReady();
  for (size_t i = 0; i < count; ++i) {
    // Of thousands of connections none is in the caches: what comes next is fetched while this one is served.
    if (i + 2 < count) prefetch(completions_[i + 2].op, sizeof(Op));
    if (i + 1 < count) prefetch(completions_[i + 1].op->owner, usual_owner_size);
    const Completion completion = completions_[i];
    if (!completion.more) completion.op->armed = completion.op->reaped = false;
    if (completion.op->bulk) coalescer_.noteBulk(now_ns_);
    completion.op->on_complete(completion.op->owner, completion);
    runReady();
  }
  while (TurnAwaiter* awaiter = gave_way.popFront()) {
    ready(awaiter->handle);
    runReady();
  }
  // A process that was stopped for a while, or moved to another machine, looks first at all that has arrived meanwhile:
  // deadlines are for peers that are late.
  const bool was_stopped = count != 0 && now_ns_ - look > ns_per_s;
  if (!was_stopped || was_stopped_) timers_.advance(now_ns_);
  was_stopped_ = was_stopped;
  // Flushing can make coroutines ready (a failed send), and those can produce output: until neither is left.
  do {
    runReady();
    List<Flusher, &Flusher::flush_node> flushing;
    flushing.spliceBack(flush_);
    while (Flusher* flusher = flushing.popFront()) {
      flusher->flush();
      runReady();
    }
    if (rounds_left_ != 0) rounds_left_ -= 1;
  } while ((ready_head_ != ready_tail_ || !flush_.empty()) && rounds_left_ != 0);
  coalescer_.endTurn(now_ns_, [this] { return backend_.threadCpu(); });
}

void Io::run() {
  while (!stopped_) turn();
  stopped_ = false;
}

}  // namespace plait
