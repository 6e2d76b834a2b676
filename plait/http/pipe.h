// A body on its way from the stream that receives it to the stream that sends it.
//
//   producer ── push/end/abort ──▶ [ buffered blocks ] ── onBody/onBodyEnd/onBodyAborted ──▶ consumer
//   producer ◀── onConsumed/onConsumerGone ──────────────────────────────── pump/cancel ──── consumer
//
// Bytes go straight through while the consumer has room and wait in 4 KiB blocks while it has not. Credit for them goes
// back to the producer only when the consumer took them, so what waits is bounded by the window that the producer gave
// its peer: back-pressure needs no further mechanism. With replay on, the first bytes stay until the request's fate is
// known, so that a request that was provably not processed can be sent again (RFC 9113 §8.7).
#pragma once

#include "plait/base/byte_queue.h"
#include "plait/base/error.h"
#include "plait/http/header_block.h"

namespace plait::http {

class BodyProducer {
 public:
  // `count` bytes have left through the consumer: the peer may send that many more.
  virtual void onConsumed(size_t count) = 0;
  // Nobody wants the rest. No call of the pipe follows.
  virtual void onConsumerGone(const Error& error) = 0;

 protected:
  ~BodyProducer() = default;
};

class BodyConsumer {
 public:
  // Takes some of `bytes`, which are never none, and returns how many. `last`: nothing follows them, neither bytes nor
  // trailers; taking all of them then also ends the body. A consumer that takes less calls Pipe::pump when it has room
  // again.
  virtual size_t onBody(Bytes bytes, bool last) = 0;
  // The end of a body that did not end with the last bytes; `trailers` may be null. False: no room now, pump later.
  virtual bool onBodyEnd(const FieldList* trailers) = 0;
  // The body will never be complete. The part that was forwarded must not look complete to its receiver.
  virtual void onBodyAborted(const Error& error) = 0;

 protected:
  ~BodyConsumer() = default;
};

// Which trailers may not pass.
class TrailerFilter {
 public:
  virtual bool drops(const Field& field) const = 0;

 protected:
  ~TrailerFilter() = default;
};

// Bytes of request bodies that may be held for replay, over all requests of a worker.
struct ReplayBudget {
  size_t available = 0;
};

class Pipe {
 public:
  // `blocks` are 4 KiB; `headers` hold trailers. Both must outlive the pipe.
  Pipe(BlockSlab& blocks, HeaderSlab& headers) : buffered_(blocks), trailers_block_(headers) {}
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() { disableReplay(); }

  // -- the producer's side
  void setProducer(BodyProducer* producer) { producer_ = producer; }
  // False when memory for what the consumer did not take has run out: the producer must then abort the body.
  [[nodiscard]] bool push(Bytes bytes, bool last);
  // Bytes beyond so many end the body, for both sides, with body_too_large. Before a consumer is attached.
  void limit(uint64_t most);
  // Copies `trailers`, which may be null. False when there is no memory for them.
  [[nodiscard]] bool end(const FieldList* trailers);
  void abort(const Error& error);
  // For trailers that are there, or will come. Before a consumer is attached; must outlive the pipe.
  void setTrailerFilter(const TrailerFilter& filter);

  // -- the consumer's side
  // Connects the consumer and hands over what is there.
  void attach(BodyConsumer& consumer);
  void detach() { consumer_ = nullptr; }
  // The consumer has room again.
  void pump();
  // The consumer wants no more: the producer is told, what is buffered is dropped.
  void cancel(const Error& error);

  // -- replay
  // Keeps up to `limit` bytes, as long as `budget` has room and most blocks are free, until disableReplay().
  void enableReplay(ReplayBudget& budget, uint32_t limit);
  void disableReplay();
  // True when every byte the consumer took can be given to another one.
  bool canReplay() const {
    return consumed_ == 0 || (replay_budget_ != nullptr && consumed_ == buffered_.retainedBytes());
  }
  // Starts over for another consumer. Only if canReplay().
  void rewind();

  // -- what anybody may ask
  bool isEnded() const { return ended_; }        // the producer has said all
  bool isFinished() const { return finished_; }  // the consumer has all
  bool isAborted() const { return error_.code != ErrorCode::none; }
  const Error& error() const { return error_; }
  size_t bufferedBytes() const { return buffered_.size(); }
  Bytes front() const { return buffered_.front(); }
  // For consumers that read front() by themselves: `count` bytes of it are done with.
  void consumed(size_t count);
  const FieldList* trailers() const { return trailers_; }
  uint64_t totalBytes() const { return total_; }

 private:
  void endTooLarge();
  void filterTrailers();
  void account(size_t count);
  void finish();

  ByteQueue buffered_;
  HeaderBlock trailers_block_;
  FieldList* trailers_ = nullptr;  // at the start of its block
  const TrailerFilter* trailer_filter_ = nullptr;
  BodyProducer* producer_ = nullptr;
  BodyConsumer* consumer_ = nullptr;
  ReplayBudget* replay_budget_ = nullptr;
  Error error_;
  uint64_t total_ = 0;  // bytes pushed
  uint64_t most_ = UINT64_MAX;
  uint64_t credited_ = 0;  // bytes for which the producer has been told onConsumed; never twice, also after a rewind
  uint64_t consumed_ = 0;  // bytes the present consumer has taken
  uint32_t replay_limit_ = 0;
  uint32_t replay_charged_ = 0;
  bool ended_ = false;
  bool finished_ = false;
  bool pumping_ = false;
};

}  // namespace plait::http
