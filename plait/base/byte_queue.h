// A FIFO of bytes in fixed-size blocks from a slab: send buffers (16 KiB blocks) and stream bodies (4 KiB blocks).
// Appending coalesces into the last block. Nothing is moved once written, so a gathered write can point into it. Bytes
// of somebody's who lends them (ByteLender) are not even copied: a block then only says where they are.
//
//   appended ->  [ retained | unread ] -> read through front()/gather(), consume()
//
// With retain(true) consumed bytes stay, so that rewind() can read them again: the replay of a request body.
#pragma once

#include <sys/uio.h>

#include <algorithm>

#include "plait/base/bytes.h"
#include "plait/base/slab.h"

namespace plait {

// Whose bytes others may keep for a while where they are.
class ByteLender {
 public:
  // `start` of bytes that the caller may read now. True: they stay as they are until takeBack(start). False where they
  // are not this lender's, or enough of them are lent.
  virtual bool lend(const uint8_t* start) = 0;
  virtual void takeBack(const uint8_t* start) = 0;

 protected:
  ~ByteLender() = default;
};

class ByteQueue {
 public:
  // `blocks` must outlive the queue. All blocks go back when the queue is cleared or destroyed.
  explicit ByteQueue(BlockSlab& blocks) : blocks_(&blocks) {}
  ByteQueue(const ByteQueue&) = delete;
  ByteQueue& operator=(const ByteQueue&) = delete;
  ~ByteQueue() { clear(); }

  // So many bytes of each block are no room for bytes.
  static constexpr size_t block_header = 16;

  BlockSlab& blocks() const { return *blocks_; }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

  // So many free blocks of the slab are left to queues that matter more than this one.
  void leaveToOthers(size_t blocks) { left_to_others_ = static_cast<uint32_t>(blocks); }
  size_t leftToOthers() const { return left_to_others_; }
  // How many bytes may be appended right now: room in the last block plus the slab's free blocks.
  size_t room() const { return roomBeyond(left_to_others_); }
  // How many bytes of a body may be. While most of the slab is free that is room(). Later a queue that holds a block
  // gets no second one: those whose readers have stopped keep what they have, and everybody else still gets on.
  size_t bulkRoom() const {
    const size_t all = room();
    if (!blocks_->isScarce()) [[likely]]
      return all;
    const size_t own = tail_ != nullptr ? tailRoom() : is_bulk_held_ ? 0 : payload();
    return std::min(all, own > spare_ ? own - spare_ : 0);
  }
  // How many bytes may be that must be said at any price.
  size_t lastRoom() const { return roomBeyond(left_to_others_ / 2); }
  // Bytes that are read from this queue are written into another one, in blocks of the same slab, with at most `bytes`
  // more for each block: where blocks are scarce so much of one stays free, for the bytes of one to fit into one.
  void spareOfBlock(uint16_t bytes) { spare_ = bytes; }
  // While that other queue has a block, bulk gets none here where blocks are scarce: one is held for both.
  void holdBulk(bool on) { is_bulk_held_ = on; }
  bool isScarce() const { return blocks_->isScarce(); }
  // Bytes of memory held, in whole blocks.
  size_t heldBytes() const { return size_t{block_count_} * blocks_->blockSize(); }

  // Appends all of `bytes` or, when the slab cannot hold them, nothing; returns whether it did. Bytes that must be sent
  // at any price may use half of what is left to others.
  bool append(Bytes bytes) {
    if (bytes.empty()) return true;  // its data may be null, which memcpy must not be given
    if (bytes.size() <= tailRoom()) [[likely]] {
      std::memcpy(tail_->own() + tail_->end, bytes.data(), bytes.size());
      tail_->end += static_cast<uint32_t>(bytes.size());
      size_ += static_cast<uint32_t>(bytes.size());
      return true;
    }
    return appendSlow(bytes);
  }
  // The same, and long bytes that `lender` (null for none) lends stay where they are. Not while retaining.
  bool append(Bytes bytes, ByteLender* lender) {
    if (bytes.size() < fewest_lent || lender == nullptr || blocks_->isScarce() || !lender->lend(bytes.data()))
      return append(bytes);
    appendLent(bytes, *lender);
    return true;
  }
  // Appends as much as fits below `limit` more bytes and the slab's end; returns how much.
  size_t appendSome(Bytes bytes, size_t limit) {
    const size_t count = std::min({bytes.size(), limit, bulkRoom()});
    return count != 0 && append(bytes.first(count)) ? count : 0;
  }

  // Where at least `count` bytes, more than 0, can be written in one piece, behind which commit() appends them; empty
  // where the last block has no such room.
  MutableBytes tail(size_t count) {
    if (tail_ == nullptr && count <= room()) grow();
    if (count > tailRoom()) return {};
    return {tail_->own() + tail_->end, tailRoom()};
  }
  // Appends the first `count` bytes of what tail() has just shown.
  void commit(size_t count) {
    tail_->end += static_cast<uint32_t>(count) & INT32_MAX;
    size_ += static_cast<uint32_t>(count);
  }

  // The first contiguous run of unread bytes; empty when there are none.
  Bytes front() const;
  // Fills `vectors` with the unread bytes in order; returns how many were used. They stay valid until consumed.
  size_t gather(std::span<iovec> vectors) const;
  // Reads `count` bytes away; at most size().
  void consume(size_t count);
  // Takes back what was appended last, so that `size` unread bytes are left; at most size(). Not while retaining.
  void truncate(size_t size);

  // While on, consumed blocks are kept. Turning it off frees what is already consumed.
  void retain(bool on);
  size_t retainedBytes() const { return retained_; }
  // Makes every retained byte unread again. Only while retaining.
  void rewind();

  void clear();

 private:
  static constexpr size_t max_size = size_t{1} << 31;

  // Fewer bytes are copied sooner than another block and another piece of a gathered write are made.
  static constexpr size_t fewest_lent = 8192;

  // The content of a block whose bytes are lent, instead of bytes.
  struct Lent {
    const uint8_t* start;
    ByteLender* lender;
  };
  struct Block {
    Block* next;
    uint32_t begin;     // first unread byte
    uint32_t end : 31;  // one past the last byte
    uint32_t is_lent : 1;
    uint8_t* own() { return reinterpret_cast<uint8_t*>(this + 1); }
    Lent& lent() { return *reinterpret_cast<Lent*>(this + 1); }
    const uint8_t* text() { return is_lent ? lent().start : own(); }
  };
  static_assert(sizeof(Block) == block_header);
  size_t payload() const { return blocks_->blockSize() - block_header; }
  size_t tailRoom() const { return tail_ == nullptr || tail_->is_lent ? 0 : payload() - tail_->end; }
  size_t roomBeyond(size_t kept) const {
    const size_t available = blocks_->available();
    return std::min(tailRoom() + (available > kept ? available - kept : 0) * payload(), max_size - size_);
  }
  bool appendSlow(Bytes bytes);
  void appendLent(Bytes bytes, ByteLender& lender);
  Block* grow();
  void give(Block* block);
  void freeConsumed();

  BlockSlab* blocks_;
  Block* head_ = nullptr;  // oldest block held
  Block* read_ = nullptr;  // block of the first unread byte; equals head_ unless retaining
  Block* tail_ = nullptr;
  uint32_t size_ = 0;      // unread bytes
  uint32_t retained_ = 0;  // consumed bytes still held because of retain(true)
  uint32_t left_to_others_ = 0;
  uint32_t block_count_ = 0;
  uint32_t retain_from_ = 0;  // where head_ began when retaining did: what was consumed before does not come back
  uint16_t spare_ = 0;
  bool is_bulk_held_ = false;
  bool retain_ = false;
};

}  // namespace plait
