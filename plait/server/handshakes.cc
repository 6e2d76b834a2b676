#include "plait/server/handshakes.h"

#include <algorithm>

#include "plait/base/rare.h"
#include "plait/server/server.h"

namespace plait {

bool Handshake::await_ready() {
  Server& server = connection_.server();
  address_ = server.handler.addressOf(connection_.client());
  if (!server.handshakes().mayBegin(address_)) return false;
  server.handshakes().begin(*this);
  return true;
}

void Handshake::await_suspend(std::coroutine_handle<> handle) {
  suspend(handle);
  connection_.server().handshakes().wait(*this);
}

void Handshake::end() {
  if (has_place_) connection_.server().handshakes().end(*this);
}

Handshakes::Handshakes(Server& server, Io& io, uint32_t most, uint64_t seed)
    : server_(server), io_(io), most_(most), shares_(most, seed), timer_(this, [](void* self) {
        static_cast<Handshakes*>(self)->look();
      }) {}

bool Handshakes::mayBegin(uint64_t address) const {
  return count_ < most_ && (address == 0 || shares_.mayTake(address, most_, most_ - count_));
}

void Handshakes::begin(Handshake& one) {
  one.has_place_ = true;
  one.begun_ns_ = io_.nowNs();
  count_ += 1;
  if (one.address_ != 0) shares_.add(one.address_);
  running_.pushBack(one);
}

void Handshakes::wait(Handshake& one) {
  PLAIT_RARE("a TLS handshake waits for others");
  server_.counters_.handshake_waits += 1;
  waiting_.pushBack(one);
  if (!timer_.isArmed()) io_.arm(timer_, io_.nowNs() + look_ms * ns_per_ms);
}

void Handshakes::end(Handshake& one) {
  one.node.unlink();
  one.has_place_ = false;
  count_ -= 1;
  if (one.address_ != 0) shares_.remove(one.address_);
  if (!waiting_.empty()) [[unlikely]]
    admit();
}

// First come, first served, but for those whose address has its share.
void Handshakes::admit() {
  RoomWait* next = nullptr;
  size_t looked_at = 0;
  for (RoomWait* one = waiting_.front(); one != nullptr && looked_at < most_looked_at && count_ < most_; one = next) {
    next = waiting_.next(*one);
    looked_at += 1;
    auto& handshake = *static_cast<Handshake*>(one);
    if (!mayBegin(handshake.address_)) continue;
    handshake.connection().wakeForRoom();
    begin(handshake);
  }
}

void Handshakes::look() {
  if (waiting_.empty()) return;
  const TimeNs before_ns = io_.nowNs() - patience_ms * ns_per_ms;
  for (size_t i = 0; i < most_looked_at && !running_.empty(); ++i) {
    auto& longest = *static_cast<Handshake*>(running_.front());
    if (longest.begun_ns_ > before_ns) break;
    PLAIT_RARE("a TLS handshake makes way for others");
    longest.node.unlink();
    longest.connection().sock().abort(
        connectionError(ErrorCode::stalled, "the TLS handshake took long while others waited for theirs")
            .as(Fault::handshake_timeout));
  }
  admit();
  io_.arm(timer_, io_.nowNs() + look_ms * ns_per_ms);
}

}  // namespace plait
