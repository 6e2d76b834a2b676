#include "plait/h2/stream_table.h"

#include <algorithm>
#include <utility>

#include "plait/base/assert.h"
#include "plait/base/rare.h"

namespace plait::h2 {

bool StreamTable::isFull(uint32_t limit) {
  if (count_ < limit) return false;
  if (count_ >= 2 * limit) return true;
  uint32_t live = 0;
  for (Stream* stream = streams_.front(); stream != nullptr; stream = streams_.next(*stream)) {
    if (!stream->isClosed()) live += 1;
  }
  return live >= limit;
}

void StreamTable::takeBuckets(BlockSlab& buckets) {
  PLAIT_RARE("a session of many streams");
  auto** const many = static_cast<Stream**>(buckets.take());
  PLAIT_ASSERT(many != nullptr);  // there is one for every session
  std::fill(many, many + many_buckets, nullptr);
  std::fill(few_, few_ + few_buckets, nullptr);
  buckets_ = many;
  bucket_count_ = many_buckets;
  for (Stream* stream = streams_.front(); stream != nullptr; stream = streams_.next(*stream)) {
    Stream*& bucket = buckets_[bucketOf(stream->id)];
    stream->hash_next = std::exchange(bucket, stream);
  }
}

void StreamTable::giveBuckets(BlockSlab& buckets) {
  buckets.give(buckets_);
  buckets_ = few_;
  bucket_count_ = few_buckets;
}

}  // namespace plait::h2
