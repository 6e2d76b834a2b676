#include "plait/http/pipe.h"

namespace plait::http {

void Pipe::account(size_t count) {
  consumed_ += count;
  // After a rewind the same bytes are taken again; their credit has gone back already.
  if (consumed_ <= credited_) return;
  const auto fresh = static_cast<size_t>(consumed_ - credited_);
  credited_ = consumed_;
  if (producer_ != nullptr) producer_->onConsumed(fresh);
}

void Pipe::consumed(size_t count) {
  if (count == 0) return;
  buffered_.consume(count);
  account(count);
}

bool Pipe::push(Bytes bytes, bool last) {
  if (isAborted() || finished_) return true;
  PLAIT_ASSERT(!ended_);
  total_ += bytes.size();
  if (total_ > most_) [[unlikely]] {
    endTooLarge();
    return true;
  }
  if (replay_budget_ != nullptr) {
    // Bytes kept for a repetition give way to bytes that have not been sent at all.
    if (total_ > replay_limit_ || bytes.size() > replay_budget_->available || buffered_.isScarce()) {
      disableReplay();
    } else {
      replay_budget_->available -= bytes.size();
      replay_charged_ += static_cast<uint32_t>(bytes.size());
    }
  }
  ended_ = last;
  // An end without bytes is pump()'s to say, by onBodyEnd: that it took no byte does not tell whether a consumer had
  // room for the end.
  if (!bytes.empty() && consumer_ != nullptr && buffered_.empty() && replay_budget_ == nullptr && !pumping_) {
    pumping_ = true;
    const size_t taken = consumer_->onBody(bytes, last);
    bytes = bytes.subspan(taken);
    if (bytes.empty() && last && !isAborted()) finish();
    account(taken);
    pumping_ = false;
    // A consumer that gave up while it was given bytes has cancelled the pipe, or the producer has aborted it.
    if (bytes.empty() || isAborted() || finished_) return true;
  }
  if (!bytes.empty() && !buffered_.append(bytes)) return false;
  pump();
  return true;
}

void Pipe::limit(uint64_t most) {
  PLAIT_ASSERT(consumer_ == nullptr && consumed_ == 0);
  most_ = most;
  if (total_ > most_ && !isAborted()) endTooLarge();
}

void Pipe::endTooLarge() {
  error_ = streamError(ErrorCode::body_too_large, "the request's body is larger than its route allows");
  disableReplay();
  buffered_.clear();
  BodyProducer* const producer = std::exchange(producer_, nullptr);
  if (BodyConsumer* consumer = std::exchange(consumer_, nullptr)) consumer->onBodyAborted(error_);
  if (producer != nullptr) producer->onConsumerGone(error_);
}

bool Pipe::end(const FieldList* trailers) {
  if (isAborted() || finished_) return true;
  PLAIT_ASSERT(!ended_);
  if (trailers != nullptr && trailers->count() != 0) {
    // Entries and bytes together: the list's own size counts 32 for each field, more than an entry takes.
    if (!trailers_block_.reserve(sizeof(FieldList) + trailers->listSize() + 64)) return false;
    const MutableBytes memory = trailers_block_.memory();
    auto* own = new (memory.data()) FieldList(memory.subspan(sizeof(FieldList)));
    if (!own->append(*trailers)) return false;
    trailers_ = own;
    filterTrailers();
  }
  ended_ = true;
  pump();
  return true;
}

void Pipe::setTrailerFilter(const TrailerFilter& filter) {
  PLAIT_ASSERT(consumer_ == nullptr && consumed_ == 0);
  trailer_filter_ = &filter;
  filterTrailers();
}

void Pipe::filterTrailers() {
  if (trailer_filter_ == nullptr || trailers_ == nullptr) return;
  trailers_->removeIf([this](const Field& field) { return trailer_filter_->drops(field); });
  // A section without a field would be a frame or a line for nothing.
  if (trailers_->count() == 0) trailers_ = nullptr;
}

void Pipe::abort(const Error& error) {
  if (isAborted() || finished_) return;
  PLAIT_ASSERT(error.code != ErrorCode::none);
  error_ = error;
  producer_ = nullptr;
  disableReplay();
  buffered_.clear();
  if (BodyConsumer* consumer = std::exchange(consumer_, nullptr)) consumer->onBodyAborted(error);
}

void Pipe::attach(BodyConsumer& consumer) {
  PLAIT_ASSERT(consumer_ == nullptr);
  if (isAborted()) {
    consumer.onBodyAborted(error_);
    return;
  }
  consumer_ = &consumer;
  pump();
}

void Pipe::pump() {
  // A consumer that pumps from inside onBody would take bytes twice.
  if (pumping_) return;
  pumping_ = true;
  while (consumer_ != nullptr && !finished_) {
    const Bytes front = buffered_.front();
    if (front.empty()) {
      if (ended_ && consumer_->onBodyEnd(trailers())) finish();
      break;
    }
    const bool last = ended_ && trailers_ == nullptr && front.size() == buffered_.size();
    const size_t taken = consumer_->onBody(front, last);
    consumed(taken);
    if (taken != front.size()) break;
    if (last) finish();
  }
  pumping_ = false;
}

void Pipe::finish() {
  finished_ = true;
  consumer_ = nullptr;
}

void Pipe::cancel(const Error& error) {
  consumer_ = nullptr;
  if (isAborted() || finished_) return;
  PLAIT_ASSERT(error.code != ErrorCode::none);
  error_ = error;
  disableReplay();
  buffered_.clear();
  if (BodyProducer* producer = std::exchange(producer_, nullptr)) producer->onConsumerGone(error);
}

void Pipe::enableReplay(ReplayBudget& budget, uint32_t limit) {
  PLAIT_ASSERT(consumed_ == 0 && replay_budget_ == nullptr);
  // Bytes that came before replay was enabled are still here, whole, and are the first to be held.
  if (isAborted() || total_ > limit || total_ > budget.available || buffered_.isScarce()) return;
  budget.available -= total_;
  replay_charged_ = static_cast<uint32_t>(total_);
  replay_budget_ = &budget;
  replay_limit_ = limit;
  buffered_.retain(true);
}

void Pipe::disableReplay() {
  if (replay_budget_ == nullptr) return;
  replay_budget_->available += replay_charged_;
  replay_charged_ = 0;
  replay_budget_ = nullptr;
  buffered_.retain(false);
}

void Pipe::rewind() {
  PLAIT_ASSERT(canReplay());
  consumer_ = nullptr;
  finished_ = false;
  if (consumed_ == 0) return;
  buffered_.rewind();
  consumed_ = 0;
}

}  // namespace plait::http
