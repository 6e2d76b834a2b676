#include "plait/h2/session_scratch.h"

#include "plait/h2/frame_reader.h"
#include "plait/h2/resets.h"
#include "plait/h2/stream_table.h"

namespace plait::h2 {

SessionScratch::SessionScratch(size_t sessions, BlockSlab& carry)
    : carry_blocks(carry),
      tables(DynamicTable::blocksFor(2 * sessions)),
      buckets(StreamTable::many_buckets * sizeof(Stream*), sessions),
      resets(Resets::block_size, sessions),
      small_carries(FrameReader::small_carry_size, sessions) {
  PLAIT_ASSERT(carry.blockSize() <= HpackScratch::max_block_size);
}

size_t SessionScratch::lentBytesFor(size_t sessions) {
  return ClassedSlab::bytesFor(DynamicTable::blocksFor(2 * sessions)) +
         BlockSlab::bytesFor(StreamTable::many_buckets * sizeof(Stream*), sessions) +
         BlockSlab::bytesFor(Resets::block_size, sessions) +
         BlockSlab::bytesFor(FrameReader::small_carry_size, sessions);
}

size_t SessionScratch::lentBytes() const {
  return tables.reservedBytes() + buckets.reservedBytes() + resets.reservedBytes() + small_carries.reservedBytes();
}

void SessionScratch::prefault() {
  tables.prefault();
  buckets.prefault();
  resets.prefault();
  small_carries.prefault();
}

}  // namespace plait::h2
