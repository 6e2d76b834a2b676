#include "plait/net/sock_input.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "plait/base/rare.h"
#include "plait/net/sock_room.h"

namespace plait {

SockInput::Taken SockInput::take(const Completion& completion, Demand demand, const ByteQueue& output, SockRoom& room,
                                 Io& io) {
  const bool was_from_reserve = op_.from_reserve;
  if (!completion.more) op_.from_reserve = false;
  if (completion.buffer_id >= 0) {
    const auto id = static_cast<uint32_t>(completion.buffer_id);
    const auto size = static_cast<uint32_t>(completion.result);
    Taken taken = Taken::bytes;
    if (spilled_ == nullptr && demand == Demand::bytes && !isDiscarding()) [[likely]] {
      append(id, size, io);
    } else if (isDiscarding()) {
      drop(completion, io);
    } else {
      taken = keep(id, size, demand, output, room, io);
    }
    noteFilled(size == io.buffers().bufferSize());
    // A reader that does not keep up stops the kernel here, and its peer by TCP's own window.
    if (completion.more && (isFull(output, demand, io) || is_bulk_ != op_.bulk)) io.cancel(op_);
    return taken;
  }
  if (completion.result == -ENOBUFS) {
    PLAIT_RARE("no receive buffer is left");
    // The buffers for bulk are few, and others may have them for long. A socket that finds none takes a buffer of the
    // usual kind, then one of the reserve that is kept for backends, and waits only where there is none of these.
    const bool was_bulk = op_.bulk;
    endBulk();
    if (was_bulk) return Taken::bytes;
    if (!is_to_backend_ || was_from_reserve) return Taken::no_buffer;
    op_.from_reserve = true;
    return Taken::bytes;
  }
  if (completion.result != -ECANCELED && completion.result != -EINTR) endWith(completion.result);
  return Taken::end;
}

SockInput::Taken SockInput::keep(uint32_t buffer_id, uint32_t size, Demand demand, const ByteQueue& output,
                                 SockRoom& room, Io& io) {
  const bool is_spilling = spilled_ != nullptr;
  if (!is_spilling && (demand == Demand::bytes || !io.buffers().isShort())) {
    append(buffer_id, size, io);
    return Taken::bytes;
  }
  const bool is_spilled = appendSpilled({io.buffers().data(buffer_id), size}, output, room);
  if (!is_spilled && !is_spilling) {
    append(buffer_id, size, io);
    return Taken::bytes;
  }
  PLAIT_RARE("what arrives is kept elsewhere");
  io.buffers().giveBack(buffer_id);
  // Behind spilled bytes no buffer can be kept: the stream would have a gap.
  return is_spilled ? Taken::bytes : Taken::no_room;
}

void SockInput::append(uint32_t buffer_id, uint32_t size, Io& io) {
  const auto id = static_cast<int16_t>(buffer_id);
  io.buffers().chained(buffer_id) = {size, -1};
  if (last_pending_ < 0) {
    first_pending_ = id;
  } else {
    io.buffers().chained(static_cast<uint32_t>(last_pending_)).next = id;
  }
  last_pending_ = id;
  pending_count_ += 1;
}

void SockInput::drop(const Completion& completion, Io& io) {
  io.buffers().giveBack(static_cast<uint32_t>(completion.buffer_id));
  discards_left_ -= std::min(discards_left_, static_cast<uint32_t>(completion.result));
  if (discards_left_ != 0) return;
  PLAIT_RARE("a flood is not read to its end");
  if (completion.more) io.cancel(op_);
}

// Where buffer after buffer comes filled it is less work to receive many at once. One between them may be partly
// filled.
void SockInput::noteFilled(bool is_filled) {
  if (!is_filled) is_careful_ = false;
  bulk_score_ = static_cast<uint8_t>(std::clamp(bulk_score_ + (is_filled ? 1 : -2), 0, most_bulk_score));
  if (bulk_score_ == 0) is_bulk_ = false;
  if (bulk_score_ == most_bulk_score) is_bulk_ = true;
}

void SockInput::keepLast(size_t count, Io& io) {
  if (spilled_lent_ != 0) {
    spilled_->consume(spilled_lent_ - count);
    spilled_lent_ = static_cast<uint32_t>(count);
    return;
  }
  const auto id = static_cast<uint32_t>(current_);
  uint32_t& size = io.buffers().chained(id).size;
  std::memmove(io.buffers().data(id), io.buffers().data(id) + size - count, count);
  size = static_cast<uint32_t>(count);
}

bool SockInput::moveCurrent(size_t count, const ByteQueue& output, SockRoom& room, Io& io) {
  if (current_ < 0 || hasPending() || !io.buffers().isShort()) return false;
  if (!appendSpilled(current(io).last(count), output, room)) return false;
  release(room, io);
  lendSpilled();
  return true;
}

bool SockInput::appendSpilled(Bytes bytes, const ByteQueue& output, SockRoom& room) {
  if (spilled_ == nullptr) {
    spilled_ = room.spilled.create(output.blocks());
    PLAIT_ASSERT(spilled_ != nullptr);  // there is one for every socket
    spilled_->leaveToOthers(output.leftToOthers());
  }
  if (spilled_->append(bytes)) return true;
  if (spilled_->empty()) room.spilled.destroy(std::exchange(spilled_, nullptr));
  return false;
}

// Gives the reader the next spilled bytes, and returns how many these are.
uint32_t SockInput::lendSpilled() {
  spilled_lent_ = spilled_ == nullptr ? 0 : static_cast<uint32_t>(spilled_->front().size());
  return spilled_lent_;
}

// True where those were the last.
bool SockInput::releaseSpilled(SockRoom& room) {
  spilled_->consume(std::exchange(spilled_lent_, 0));
  if (!spilled_->empty()) return false;
  room.spilled.destroy(std::exchange(spilled_, nullptr));
  return true;
}

}  // namespace plait
