#include "plait/base/byte_queue.h"

namespace plait {

ByteQueue::Block* ByteQueue::grow() {
  auto* block = static_cast<Block*>(blocks_->take());
  if (block == nullptr) return nullptr;
  block->next = nullptr;
  block->begin = 0;
  block->end = 0;
  block->is_lent = 0;
  if (tail_ != nullptr) {
    tail_->next = block;
  } else {
    head_ = block;
  }
  // A reader that has eaten everything before stands at the new block.
  if (read_ == nullptr) read_ = block;
  tail_ = block;
  block_count_ += 1;
  return block;
}

void ByteQueue::give(Block* block) {
  if (block->is_lent) block->lent().lender->takeBack(block->lent().start);
  blocks_->give(block);
}

void ByteQueue::appendLent(Bytes bytes, ByteLender& lender) {
  Block* block = grow();
  PLAIT_ASSERT(block != nullptr && !retain_);  // most of the slab is free
  block->lent() = {bytes.data(), &lender};
  block->is_lent = 1;
  block->end = static_cast<uint32_t>(bytes.size()) & INT32_MAX;
  size_ += block->end;
}

bool ByteQueue::appendSlow(Bytes bytes) {
  if (bytes.size() > roomBeyond(left_to_others_ / 2)) return false;
  while (!bytes.empty()) {
    if (tailRoom() == 0) {
      Block* block = grow();
      PLAIT_ASSERT(block != nullptr);
    }
    const size_t count = std::min(bytes.size(), tailRoom());
    std::memcpy(tail_->own() + tail_->end, bytes.data(), count);
    tail_->end += static_cast<uint32_t>(count);
    size_ += static_cast<uint32_t>(count);
    bytes = bytes.subspan(count);
  }
  return true;
}

Bytes ByteQueue::front() const {
  Block* block = read_;
  while (block != nullptr && block->begin == block->end) block = block->next;
  if (block == nullptr) return {};
  return {block->text() + block->begin, block->end - block->begin};
}

size_t ByteQueue::gather(std::span<iovec> vectors) const {
  size_t count = 0;
  for (Block* block = read_; block != nullptr && count < vectors.size(); block = block->next) {
    if (block->begin == block->end) continue;
    vectors[count++] = {const_cast<uint8_t*>(block->text()) + block->begin, block->end - block->begin};
  }
  return count;
}

void ByteQueue::consume(size_t count) {
  PLAIT_ASSERT(count <= size_);
  size_ -= static_cast<uint32_t>(count);
  if (retain_) retained_ += static_cast<uint32_t>(count);
  while (count != 0) {
    const size_t here = std::min<size_t>(count, read_->end - read_->begin);
    read_->begin += static_cast<uint32_t>(here);
    count -= here;
    if (read_->begin == read_->end && count != 0) read_ = read_->next;
  }
  if (!retain_) freeConsumed();
}

void ByteQueue::truncate(size_t size) {
  PLAIT_ASSERT(size <= size_ && !retain_);
  if (size == 0) return clear();
  size_t kept = 0;
  Block* last = read_;
  while (kept + (last->end - last->begin) < size) {
    kept += last->end - last->begin;
    last = last->next;
  }
  last->end = last->begin + static_cast<uint32_t>(size - kept);
  for (Block* block = std::exchange(last->next, nullptr); block != nullptr; block_count_ -= 1) {
    give(std::exchange(block, block->next));
  }
  tail_ = last;
  size_ = static_cast<uint32_t>(size);
}

void ByteQueue::freeConsumed() {
  // The last block goes too once it is read to its end: an idle queue holds no memory.
  while (head_ != nullptr && head_->begin == head_->end) {
    Block* next = head_->next;
    if (read_ == head_) read_ = next;
    give(head_);
    block_count_ -= 1;
    head_ = next;
  }
  if (head_ == nullptr) tail_ = read_ = nullptr;
}

void ByteQueue::retain(bool on) {
  if (on && !retain_) retain_from_ = head_ == nullptr ? 0 : head_->begin;
  retain_ = on;
  if (on) return;
  retained_ = 0;
  freeConsumed();
}

void ByteQueue::rewind() {
  PLAIT_ASSERT(retain_);
  for (Block* block = head_; block != nullptr; block = block->next) block->begin = 0;
  if (head_ != nullptr) head_->begin = retain_from_;
  read_ = head_;
  size_ += retained_;
  retained_ = 0;
}

void ByteQueue::clear() {
  while (head_ != nullptr) {
    Block* next = head_->next;
    give(head_);
    head_ = next;
  }
  read_ = tail_ = nullptr;
  size_ = retained_ = block_count_ = 0;
  retain_from_ = 0;
}

}  // namespace plait
