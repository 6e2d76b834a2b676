// Streams that this side has reset, and how much may still come on them: frames that crossed our RST_STREAM are
// ignored (RFC 9113 §5.1).
//
// A peer that has more streams cancelled in one round trip than are remembered must not lose the connection for it, so
// ids up to the highest forgotten one get the benefit of the doubt.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <new>

#include "plait/base/assert.h"
#include "plait/base/slab.h"

namespace plait::h2 {

class Resets {
  // Memory that only a session that has reset a stream needs.
  struct Recent {
    static constexpr uint32_t count = 64;
    uint32_t ids[count];
    uint32_t added;
  };

 public:
  static constexpr size_t block_size = sizeof(Recent);

  // `blocks`: of block_size, one for each session. `window`: what the peer may have sent on the stream, or may still
  // send until it reads of the reset.
  void add(uint32_t id, uint32_t window, BlockSlab& blocks) {
    crossing_bytes_ = static_cast<uint32_t>(std::min<uint64_t>(uint64_t{crossing_bytes_} + window, UINT32_MAX));
    if (recent_ == nullptr) {
      void* const block = blocks.take();
      PLAIT_ASSERT(block != nullptr);  // there is one for every session
      recent_ = new (block) Recent{};
    }
    uint32_t& slot = recent_->ids[recent_->added++ % Recent::count];
    forgotten_ = std::max(forgotten_, slot);
    slot = id;
  }
  bool mayContain(uint32_t id) const {
    if (id <= forgotten_) return true;
    return recent_ != nullptr && std::ranges::find(recent_->ids, id) != std::end(recent_->ids);
  }
  // DATA of `length` bytes came on such a stream; false when the windows of all of them did not allow as much.
  bool takeCrossing(uint32_t length) {
    if (length > crossing_bytes_) return false;
    crossing_bytes_ -= length;
    return true;
  }
  void giveBlock(BlockSlab& blocks) {
    if (recent_ != nullptr) blocks.give(recent_);
    recent_ = nullptr;
  }

 private:
  Recent* recent_ = nullptr;  // from the first one on
  uint32_t forgotten_ = 0;    // the highest id that has left recent_
  // The bytes that the windows of all reset streams allowed when they were reset. Those that the peer did not use stay.
  uint32_t crossing_bytes_ = 0;
};

}  // namespace plait::h2
