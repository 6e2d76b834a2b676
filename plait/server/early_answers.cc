#include "plait/server/early_answers.h"

#include "plait/base/rare.h"

namespace plait {

EarlyAnswers::EarlyAnswers(Io& io, size_t most)
    : io_(io), most_(most), timer_(this, [](void* self) { static_cast<EarlyAnswers*>(self)->onTimer(); }) {}

void EarlyAnswers::add(H2Exchange& exchange) {
  if (count_ == most_) endFirst();
  exchange.told_by_ns_ = io_.nowNs() + grace_ms * ns_per_ms;
  waiting_.pushBack(exchange);
  count_ += 1;
  if (!timer_.isArmed()) io_.arm(timer_, exchange.told_by_ns_);
}

void EarlyAnswers::remove(H2Exchange& exchange) {
  if (!exchange.early_node_.isLinked()) return;
  exchange.early_node_.unlink();
  count_ -= 1;
}

bool EarlyAnswers::endFirst() {
  H2Exchange* const first = waiting_.front();
  if (first == nullptr) return false;
  PLAIT_RARE("an early answer is not waited for");
  first->stopRequest();
  return true;
}

void EarlyAnswers::onTimer() {
  const TimeNs now_ns = io_.nowNs();
  while (H2Exchange* const first = waiting_.front()) {
    if (first->told_by_ns_ > now_ns) return io_.arm(timer_, first->told_by_ns_);
    if (first->hasResponseLeft() || first->has_waited_) {
      PLAIT_RARE("the rest of an upload is not needed");
      first->stopRequest();
    } else {
      first->has_waited_ = true;
      first->told_by_ns_ = now_ns + grace_ms * ns_per_ms;
      first->early_node_.unlink();
      waiting_.pushBack(*first);
    }
  }
}

}  // namespace plait
