// The streams of one session, by id and in the order in which they began. The table owns none of them: slots belong to
// the owner of the session, and are linked here as long as they have an id.
#pragma once

#include "plait/base/assert.h"
#include "plait/base/list.h"
#include "plait/base/prefetch.h"
#include "plait/base/slab.h"
#include "plait/h2/stream.h"

namespace plait::h2 {

using StreamList = List<Stream, &Stream::node>;

class StreamTable {
 public:
  static constexpr uint32_t few_streams = 8;  // for more than these a session borrows buckets
  static constexpr uint32_t many_buckets = 64;

  StreamTable() = default;
  StreamTable(const StreamTable&) = delete;
  StreamTable& operator=(const StreamTable&) = delete;

  Stream* find(uint32_t id) const {
    for (Stream* stream = buckets_[bucketOf(id)]; stream != nullptr; stream = stream->hash_next) {
      if (stream->id == id) return stream;
    }
    return nullptr;
  }
  // `buckets`: blocks of many_buckets pointers, of which there must be one for each session.
  void link(Stream& stream, uint32_t id, BlockSlab& buckets) {
    PLAIT_ASSERT(stream.id == 0);
    if (count_ == few_streams && buckets_ == few_) takeBuckets(buckets);
    stream.id = id;
    stream.state = StreamState::open;
    stream.hash_next = buckets_[bucketOf(id)];
    buckets_[bucketOf(id)] = &stream;
    streams_.pushBack(stream);
    count_ += 1;
  }
  void unlink(Stream& stream, BlockSlab& buckets) {
    Stream** link = &buckets_[bucketOf(stream.id)];
    while (*link != &stream) {
      PLAIT_ASSERT(*link != nullptr);
      link = &(*link)->hash_next;
    }
    *link = stream.hash_next;
    stream.node.unlink();
    stream.id = 0;
    count_ -= 1;
    if (count_ == 0 && buckets_ != few_) giveBuckets(buckets);
  }

  uint32_t count() const { return count_; }
  StreamList& list() { return streams_; }
  // Fetches what find(id) will look at first.
  void expect(uint32_t id) const {
    if (const Stream* const first = buckets_[bucketOf(id)]) prefetch(first, sizeof(Stream));
  }
  // Whether `limit` streams are under way. Streams that are over count no longer (RFC 9113 §5.1.2), although their
  // owners may not have let go of them yet; of those there may be as many again.
  bool isFull(uint32_t limit);

 private:
  static constexpr uint32_t few_buckets = 2;
  uint32_t bucketOf(uint32_t id) const { return (id >> 1) & (bucket_count_ - 1); }
  void takeBuckets(BlockSlab& buckets);
  void giveBuckets(BlockSlab& buckets);

  Stream** buckets_ = few_;
  Stream* few_[few_buckets] = {};
  StreamList streams_;
  uint32_t count_ = 0;
  uint8_t bucket_count_ = few_buckets;
};

}  // namespace plait::h2
