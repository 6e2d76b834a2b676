#include "plait/net/buffered_input.h"

#include <cstring>

namespace plait {

void BufferedInput::giveBlock() {
  if (block_ != nullptr) blocks_[block_class_].give(std::exchange(block_, nullptr));
}

// Makes sure that the unread bytes are at the start of a block of at least `size` bytes.
bool BufferedInput::reserve(size_t size) {
  if (block_ != nullptr && blocks_[block_class_].blockSize() >= size) {
    if (bytes_.data() != block_) std::memmove(block_, bytes_.data(), bytes_.size());
    bytes_ = {block_, bytes_.size()};
    return true;
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (blocks_[i].blockSize() < size) continue;
    auto* larger = static_cast<uint8_t*>(blocks_[i].take());
    if (larger == nullptr) continue;
    std::memcpy(larger, bytes_.data(), bytes_.size());
    giveBlock();
    block_ = larger;
    block_class_ = i;
    bytes_ = {block_, bytes_.size()};
    return true;
  }
  return false;
}

Status BufferedInput::keepUnread() {
  if (bytes_.empty()) {
    giveBlock();
    return {};
  }
  if (bytes_.size() >= blocks_.back().blockSize()) {
    return fail(connectionError(ErrorCode::message_too_large, "a message's head exceeds the largest block"));
  }
  if (bytes_.data() == block_) return {};
  if (!reserve(bytes_.size() + 1))
    return fail(connectionError(ErrorCode::no_memory, "no block is left for a message's head"));
  return {};
}

Result<bool> BufferedInput::onReceived(const Result<Bytes>& received) {
  if (!received) return fail(received.error());
  if (received->empty()) return false;
  if (bytes_.empty()) {
    bytes_ = *received;
    return true;
  }
  const size_t size = bytes_.size() + received->size();
  if (size > blocks_.back().blockSize()) {
    return fail(connectionError(ErrorCode::message_too_large, "a message's head exceeds the largest block"));
  }
  if (!reserve(size)) return fail(connectionError(ErrorCode::no_memory, "no block is left for a message's head"));
  std::memcpy(block_ + bytes_.size(), received->data(), received->size());
  bytes_ = {block_, size};
  return true;
}

}  // namespace plait
