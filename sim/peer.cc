#include "sim/peer.h"

#include <cerrno>
#include <utility>

namespace plait::sim {

Peer::~Peer() {
  *is_gone_ = true;
  close(true);
}

void Peer::adopt(End& end) {
  end_ = &end;
  connection_id_ = end.connectionId();
  end.setOwner(this);
  saw_end_ = finishing_ = paused_ = false;
  backlog_.clear();
  if (!end.isReadable()) return;
  scene_.network.after(0, [this, gone = is_gone_, &end] {
    if (!*gone && end_ == &end) onReadable(end);
  });
}

void Peer::send(std::string_view bytes) {
  if (end_ == nullptr || finishing_) return;
  backlog_ += bytes;
  flush();
}

void Peer::flush() {
  while (end_ != nullptr && !backlog_.empty()) {
    const int64_t taken = end_->write(asBytes(backlog_));
    // Its end is found by reading.
    if (taken < 0) backlog_.clear();
    if (taken <= 0) return;
    backlog_.erase(0, static_cast<size_t>(taken));
  }
  if (end_ != nullptr && finishing_) end_->shutdown();
}

void Peer::finish() {
  finishing_ = true;
  flush();
}

void Peer::close(bool reset) {
  if (end_ == nullptr) return;
  std::exchange(end_, nullptr)->close(reset);
}

void Peer::resumeReading() {
  if (!std::exchange(paused_, false) || end_ == nullptr) return;
  End* end = end_;
  scene_.network.after(0, [this, gone = is_gone_, end] {
    if (!*gone && end_ == end) onReadable(*end);
  });
}

void Peer::onReadable(End& end) {
  uint8_t bytes[8192];
  while (end_ == &end && !paused_) {
    const int64_t got = end.read(bytes);
    if (got == -EAGAIN) return;
    if (got > 0) {
      onBytes(asText({bytes, static_cast<size_t>(got)}));
      continue;
    }
    if (got < 0) {
      close(true);
      return onGone();
    }
    if (!std::exchange(saw_end_, true)) onEnd();
    return;
  }
}

void Peer::onWritable(End&) {
  flush();
}

}  // namespace plait::sim
