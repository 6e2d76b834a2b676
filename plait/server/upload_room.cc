#include "plait/server/upload_room.h"

#include <algorithm>
#include <array>

#include "plait/base/rare.h"
#include "plait/server/server.h"

namespace plait {

bool UploadWait::await_ready() const {
  return connection_.server().uploads.takes(connection_.heldUpload()) || connection_.sock().isAborted();
}

void UploadWait::await_suspend(std::coroutine_handle<> handle) {
  PLAIT_RARE("an upload waits for memory");
  Server& server = connection_.server();
  server.counters_.upload_pauses += 1;
  suspend(handle);
  server.uploads.sort(*this, connection_.heldUpload());
  server.uploads.watch();
}

void UploadWait::await_resume() {
  // There may be room for the next one too.
  connection_.server().uploads.noteFreed();
}

UploadRoom::UploadRoom(Server& server, Io& io, uint32_t block_size, uint32_t block_count)
    : blocks(block_size, block_count),
      server_(server),
      io_(io),
      timer_(this, [](void* self) { static_cast<UploadRoom*>(self)->look(); }) {}

void UploadRoom::sort(UploadWait& waiting, size_t held) {
  const bool holds_little = held < little_upload;
  if (waiting.node.isLinked() && waiting.holds_little_ == holds_little) return;
  waiting.holds_little_ = holds_little;
  waiting.node.unlink();
  (holds_little ? little_ : large_).pushBack(waiting);
}

void UploadRoom::noteFreed() {
  // One at a time, first come first served, those that hold little first; each passes the word on.
  if (!little_.empty()) {
    if (takes(0)) little_.front()->connection().wakeForRoom();
  } else if (!large_.empty()) {
    if (takes(little_upload)) large_.front()->connection().wakeForRoom();
  }
}

void UploadRoom::look() {
  if (!isAmple()) {
    for (uint32_t i = 0; i < most_ended && !isAmple() && endStuckUpload(); ++i) {
    }
  }
  if (!isAmple()) return watch();
  server_.forEach([](ServerConnection& one) { one.creditWaiting(); });
  noteFreed();
}

bool UploadRoom::endStuckUpload() {
  const TimeNs before_ns = io_.nowNs() - server_.timeouts.stuck_upload_ms * ns_per_ms;
  // Addresses that fall into one place are looked at as one.
  std::array<uint64_t, 256> stuck{};
  const auto placeOf = [](const ServerConnection& one) {
    return static_cast<size_t>(one.client().address_number * 0x9e3779b97f4a7c15 >> 56);
  };
  server_.forEach([&](ServerConnection& one) { stuck[placeOf(one)] += one.stuckUpload(before_ns); });
  const auto most = static_cast<size_t>(std::ranges::max_element(stuck) - stuck.begin());
  ServerConnection* largest = nullptr;
  size_t held = 0;
  server_.forEach([&](ServerConnection& one) {
    if (placeOf(one) != most) return;
    const size_t own = one.stuckUpload(before_ns);
    if (own <= held) return;
    held = own;
    largest = &one;
  });
  if (largest == nullptr) return false;
  largest->endStuckUpload();
  return true;
}

size_t UploadRoom::buffersOfWaiting() {
  size_t held = 0;
  for (Line* line : {&little_, &large_}) {
    for (RoomWait* waiting = line->front(); waiting != nullptr; waiting = line->next(*waiting)) {
      const UltraSock& sock = waiting->connection().sock();
      if (!sock.isTls() && sock.holdsBuffer()) held += 1;
    }
  }
  return held;
}

}  // namespace plait
